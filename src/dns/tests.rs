//! Queries over real sockets to real servers: the simulated internet, and misbehaving servers.

mod crowd;

use super::authority::play::{Fault, Kind, Play};
use super::authority::{Authority, Zones};
use super::*;
use crate::config;
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::verification::bounds;
use crate::verification::judge::Observation;
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::verification::records::{Expected, Purpose, Template};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, rdata};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

async fn play() -> (Play, SocketAddr) {
    let play = Play::new(Ipv4Addr::LOCALHOST);
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = authority.address();
    tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, Shutdown::new()));
    (play, address)
}

fn resolver(servers: &[SocketAddr], authoritative: SocketAddr) -> Resolver {
    Resolver::new(&config::Dns {
        resolvers: servers.to_vec(),
        authoritative_port: authoritative.port(),
        allow_networks: AllowedNetworks::loopback(),
        timeout: config::HumanDuration(Duration::from_millis(400)),
    })
    .unwrap()
}

fn set(play: &Play, name: &str, kind: Kind, values: &[&str]) {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    play.set(name, kind, &values, 60).unwrap();
}

/// An expected record whose value is never found.
fn question(name: &str, record_type: RecordType) -> Expected {
    let purpose = match record_type {
        RecordType::Cname => Purpose::Dkim,
        RecordType::Mx => Purpose::Mx,
        _ => Purpose::Ownership,
    };
    let host_label = name.strip_suffix(".acme.test").unwrap_or("@").to_owned();
    let (name, value) = (name.to_owned(), "wanted".to_owned());
    Expected { purpose, record_type, name, host_label, value, priority: None, required: true }
}

/// A server whose responses are modified by `reply`; TCP if they do not fit a datagram.
async fn forged(reply: impl Fn(&mut Message) + Send + Sync + 'static) -> SocketAddr {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    let answer = Arc::new(move |question: &[u8]| {
        let mut message = Message::from_vec(question).unwrap();
        message.metadata.message_type = MessageType::Response;
        reply(&mut message);
        message
    });
    let over_tcp = Arc::clone(&answer);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = answer(&buffer[..length]);
            if message.to_vec().unwrap().len() > 1232 {
                message.answers.clear();
                message.metadata.truncation = true;
            }
            socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            let message = over_tcp(&question).to_vec().unwrap();
            stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
            stream.write_all(&message).await.unwrap();
        }
    });
    address
}

/// A TXT record of this size.
fn text(owner: Name, octets: usize) -> Record {
    let strings =
        "x".repeat(octets).into_bytes().chunks(255).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
    Record::from_rdata(owner, 60, RData::TXT(rdata::TXT::new(strings)))
}

#[tokio::test]
async fn answers_are_converted_to_our_own_types() {
    let (play, server) = play().await;
    set(&play, "acme.test", Kind::Mx, &["10 MX1.acme.test.", "0 ."]);
    set(&play, "www.acme.test", Kind::Cname, &["Acme.test."]);
    let resolver = resolver(&[server], server);
    let mx = resolver.lookup("ACME.test", RecordType::Mx).await;
    let host = |preference, exchange: &str| RecordData::Mx { preference, exchange: exchange.into() };
    assert_eq!(mx.records(), [host(10, "mx1.acme.test"), host(0, ".")]);
    assert_eq!(mx.server(), Some(server));
    let Answer::Found { aliases, .. } = resolver.lookup("www.acme.test", RecordType::Mx).await else { panic!() };
    assert_eq!(aliases, ["acme.test"]);
    let none = resolver.lookup("acme.test", RecordType::Txt).await;
    assert!(matches!(none, Answer::NoRecord { nxdomain: false, negative_ttl: Some(_), .. }), "{none:?}");
    let none = resolver.lookup("_x.acme.test", RecordType::Txt).await;
    assert!(matches!(none, Answer::NoRecord { nxdomain: true, .. }), "{none:?}");
    assert_eq!(resolver.addresses("acme.test").await, Addresses::Found(vec![Ipv4Addr::LOCALHOST.into()]));
    assert_eq!(resolver.addresses("a.b.invalid").await, Addresses::None { nxdomain: true });
}

#[tokio::test]
async fn an_alias_chain_is_followed_up_to_the_limit() {
    let server = forged(|message| {
        let sent_queries = message.queries[0].name().clone();
        let links: usize =
            sent_queries.iter().next().map(|label| std::str::from_utf8(label).unwrap().parse().unwrap()).unwrap();
        let name = |link: usize| match link {
            0 => sent_queries.clone(),
            _ => Name::from_ascii(format!("a{link}.acme.test.")).unwrap(),
        };
        // The links are in reverse order, the worst case for following them.
        message.answers.push(text(name(links), 4));
        for link in (0..links).rev() {
            let next = RData::CNAME(rdata::CNAME(name(link + 1)));
            message.answers.push(Record::from_rdata(name(link), 60, next));
        }
    })
    .await;
    let resolver = resolver(&[server], server);
    let answer = resolver.lookup("16.acme.test", RecordType::Txt).await;
    assert_eq!((answer.records().len(), answer.aliases().len()), (1, 16), "{answer:?}");
    let answer = resolver.lookup("17.acme.test", RecordType::Txt).await;
    let Answer::Indefinite { reason: Indefinite::Broken(why), .. } = answer else { panic!("{answer:?}") };
    assert_eq!(why, "its alias chain has more than 16 names");
}

#[tokio::test]
async fn a_text_is_read_up_to_a_maximum_length() {
    for octets in [4096, 4097, 60_000] {
        let server = forged(move |message| {
            let name = message.queries[0].name().clone();
            message.answers.push(text(name, octets));
        })
        .await;
        let answer = resolver(&[server], server).lookup("acme.test", RecordType::Txt).await;
        let [RecordData::Txt(text)] = answer.records() else { panic!("{answer:?}") };
        assert!((4096..4136).contains(&text.len()), "{} of {octets}", text.len());
        assert_eq!(bounds::is_cut(text), octets > 4096);
    }
}

#[tokio::test]
async fn among_too_many_records_the_expected_one_is_read() {
    let server = forged(|message| {
        message.metadata.authoritative = true;
        let name = message.queries[0].name().clone();
        let texts = (0..500).map(|n| format!("{n}")).chain(["wanted".to_owned()]);
        let record = |text| Record::from_rdata(name.clone(), 60, RData::TXT(rdata::TXT::new(vec![text])));
        message.answers.extend(texts.map(record));
    })
    .await;
    let observations =
        resolver(&[server], server).observe(&[&question("acme.test", RecordType::Txt)], &Progress::default()).await;
    let records = observations[0].answer.records();
    assert_eq!(records.len(), bounds::RECORDS);
    assert!(records.contains(&RecordData::Txt("wanted".into())), "{records:?}");
}

#[tokio::test]
async fn a_response_too_large_for_a_datagram_comes_over_tcp() {
    let (play, server) = play().await;
    let long: Vec<String> = (0..40).map(|i| format!("{i} {}", "x".repeat(200))).collect();
    play.set("acme.test", Kind::Txt, &long, 60).unwrap();
    assert_eq!(resolver(&[server], server).lookup("acme.test", RecordType::Txt).await.records().len(), 40);
}

#[tokio::test]
async fn faults_are_indefinite_and_the_next_resolver_is_queried() {
    let (play, server) = play().await;
    set(&play, "acme.test", Kind::Txt, &["here"]);
    let one = resolver(&[server], server);
    for (fault, reason) in [
        (Fault::Servfail, Indefinite::ServFail),
        (Fault::Refused, Indefinite::Refused),
        (Fault::Timeout, Indefinite::Timeout),
    ] {
        play.set_fault("acme.test", Some(fault)).unwrap();
        let answer = one.lookup("acme.test", RecordType::Txt).await;
        assert_eq!(answer, Answer::indefinite(reason, Some(server)));
    }
    play.set_fault("acme.test", None).unwrap();
    let broken = forged(|message| message.metadata.response_code = ResponseCode::ServFail).await;
    assert_eq!(resolver(&[broken, server], server).lookup("acme.test", RecordType::Txt).await.records().len(), 1);
    let odd = forged(|message| message.metadata.response_code = ResponseCode::NotZone).await;
    let answer = resolver(&[odd], odd).lookup("acme.test", RecordType::Txt).await;
    assert!(matches!(answer, Answer::Indefinite { reason: Indefinite::ResponseCode(_), .. }), "{answer:?}");
    assert!(!one.lookup(&format!("{}.test", "x".repeat(64)), RecordType::Txt).await.is_definite());
}

#[tokio::test]
async fn forged_and_malformed_answers_are_ignored() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let garbled = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..2.min(length)], peer).await.unwrap();
        }
    });
    assert!(!resolver(&[garbled], garbled).lookup("acme.test", RecordType::A).await.is_definite());
    // NXDOMAIN for another query, with another id.
    let other = forged(|message| {
        message.metadata.id ^= 1;
        message.metadata.response_code = ResponseCode::NXDomain;
    })
    .await;
    assert!(!resolver(&[other], other).lookup("acme.test", RecordType::A).await.is_definite());
}

#[tokio::test]
async fn an_observation_queries_authoritative_servers_and_detects_a_stale_cache() {
    let (play, server) = play().await;
    set(&play, "t1._domainkey.acme.test", Kind::Cname, &["t1.dkim.example."]);
    set(&play, "t2._domainkey.acme.test", Kind::Txt, &["t2.dkim.example"]);
    set(&play, "acme.test", Kind::Txt, &["v=spf1 ~all"]);
    // The resolver has the delegation, and a cached negative answer for the record.
    let (cache, stale) = self::play().await;
    set(&cache, "t1._domainkey.acme.test", Kind::Txt, &["old"]);
    let questions = [
        question("acme.test", RecordType::Txt),
        question("t1._domainkey.acme.test", RecordType::Cname),
        question("t2._domainkey.acme.test", RecordType::Cname),
        question("t3._domainkey.acme.test", RecordType::Cname),
        question("acme.test", RecordType::Txt),
    ];
    let observations = resolver(&[stale], server).observe(&questions.each_ref(), &Progress::default()).await;
    assert_eq!(observations[0].answer.records(), [RecordData::Txt("v=spf1 ~all".into())]);
    assert_eq!(observations[1].answer.records(), [RecordData::Cname("t1.dkim.example".into())]);
    assert_eq!(observations[1].answer.server(), Some(server));
    assert!(matches!(observations[3].answer, Answer::NoRecord { nxdomain: true, .. }));
    assert_eq!(observations[4], observations[0]);
    let Observation { answer, other_types, .. } =
        resolver(&[server], server).observe(&[&questions[2]], &Progress::default()).await.remove(0);
    assert!(matches!(answer, Answer::NoRecord { nxdomain: false, .. }));
    assert_eq!(other_types, [RecordData::Txt("t2.dkim.example".into())]);
}

#[tokio::test]
async fn a_zone_that_cannot_be_resolved_is_indefinite_whatever_its_servers_have() {
    let (play, server) = play().await;
    set(&play, "t1._domainkey.acme.test", Kind::Cname, &["t1.dkim.example."]);
    play.set_fault("t1._domainkey.acme.test", Some(Fault::Servfail)).unwrap();
    let observations = resolver(&[server], server)
        .observe(&[&question("t1._domainkey.acme.test", RecordType::Cname)], &Progress::default())
        .await;
    assert_eq!(observations[0].answer, Answer::indefinite(Indefinite::ServFail, Some(server)));
}

#[tokio::test]
async fn a_dead_zone_is_not_searched_in_its_parent() {
    let (play, server) = play().await;
    // The zone's servers do not answer; the registry's do, without records of the zone.
    play.set_fault("broken.co.uk", Some(Fault::Servfail)).unwrap();
    let mut dkim = question("t1._domainkey.broken.co.uk", RecordType::Cname);
    dkim.host_label = "t1._domainkey".into();
    let mx = question("broken.co.uk", RecordType::Mx);
    for observation in resolver(&[server], server).observe(&[&dkim, &mx], &Progress::default()).await {
        assert!(observation.servers.iter().all(|one| !one.authoritative), "{observation:?}");
        assert_eq!(observation.answer, Answer::indefinite(Indefinite::ServFail, Some(server)));
    }
}

#[tokio::test]
async fn a_lame_server_is_not_authoritative_and_private_addresses_are_not_queried() {
    let (play, server) = play().await;
    set(&play, "acme.test", Kind::Txt, &["here"]);
    // It answers, but without authority for the zone.
    let lame = forged(|message| message.metadata.response_code = ResponseCode::NXDomain).await;
    let observations =
        resolver(&[server], lame).observe(&[&question("acme.test", RecordType::Txt)], &Progress::default()).await;
    assert_eq!(observations[0].answer.records(), [RecordData::Txt("here".into())]);
    // With the AA bit the answer would count, but the address is private.
    let liar = forged(|message| {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.metadata.authoritative = true;
    })
    .await;
    let believed =
        resolver(&[server], liar).observe(&[&question("acme.test", RecordType::Txt)], &Progress::default()).await;
    assert!(matches!(believed[0].answer, Answer::NoRecord { .. }));
    let closed = config::Dns {
        resolvers: vec![server],
        authoritative_port: liar.port(),
        allow_networks: AllowedNetworks::default(),
        timeout: config::HumanDuration(Duration::from_millis(400)),
    };
    let observations =
        Resolver::new(&closed).unwrap().observe(&[&question("acme.test", RecordType::Txt)], &Progress::default()).await;
    assert_eq!(observations[0].answer.records(), [RecordData::Txt("here".into())]);
}

#[tokio::test]
async fn a_non_validating_resolver_does_not_override_a_validating_one() {
    let there = |message: &mut Message| {
        if message.queries[0].query_type() == hickory_resolver::proto::rr::RecordType::TXT {
            message.answers.push(text(message.queries[0].name().clone(), 8));
        }
    };
    let careless = forged(there).await;
    let validating = forged(move |message| match message.metadata.checking_disabled {
        true => there(message),
        false => message.metadata.response_code = ResponseCode::ServFail,
    })
    .await;
    let broken = forged(|message| message.metadata.response_code = ResponseCode::ServFail).await;
    for (resolvers, bogus) in [
        (vec![careless, validating], true),
        (vec![validating, careless], true),
        (vec![validating], true),
        (vec![careless], false),
        // One that fails with checking disabled too is just broken.
        (vec![broken, careless], false),
    ] {
        let expected = question("acme.test", RecordType::Txt);
        let observations = resolver(&resolvers, careless).observe(&[&expected], &Progress::default()).await;
        assert_eq!(observations[0].bogus, bogus, "{resolvers:?}");
        assert_eq!(observations[0].answer.is_definite(), !bogus, "{resolvers:?}: {:?}", observations[0].answer);
    }
}

/// The verdict for a TXT record at `acme.test` that a resolver has, if the zone's only server responds like this.
async fn said_of(reply: impl Fn(&mut Message) + Send + Sync + 'static) -> (String, String) {
    let (play, resolving) = play().await;
    set(&play, "_inboxlayer.acme.test", Kind::Txt, &["wanted"]);
    let expected = question("_inboxlayer.acme.test", RecordType::Txt);
    let observations = resolver(&[resolving], forged(reply).await).observe(&[&expected], &Progress::default()).await;
    let all = [expected];
    let seen = crate::verification::judge::judge(&all[0], &all, &observations[0], crate::clock::Timestamp::real());
    let error = seen.error.unwrap();
    (format!("{}:{}", seen.status, error.code), format!("{} {}", error.message, error.fix))
}

#[tokio::test]
async fn a_correct_answer_without_the_aa_flag_is_reported_mildly() {
    let answer = |value: &'static str| {
        move |message: &mut Message| {
            let name = message.queries[0].name().clone();
            message.answers.push(Record::from_rdata(name, 60, RData::TXT(rdata::TXT::new(vec![value.to_owned()]))));
        }
    };
    let (status, text) = said_of(answer("wanted")).await;
    assert_eq!(status, "valid:lame_delegation");
    assert!(text.contains("answers correctly") && text.contains("AA flag") && !text.contains("registrar"), "{text}");
    // A different answer without AA comes from an old provider or an unrelated server.
    let (status, text) = said_of(answer("old")).await;
    assert_eq!(status, "valid:lame_delegation");
    assert!(text.contains("registrar"), "{text}");
}

#[tokio::test]
async fn a_server_that_refuses_one_name_only_is_reported_mildly() {
    let refuse = |one_only: bool| {
        move |message: &mut Message| {
            let name = message.queries[0].name().clone();
            if !one_only || name.to_ascii().starts_with('_') {
                message.metadata.response_code = ResponseCode::Refused;
                return;
            }
            message.metadata.authoritative = true;
            let host = RData::NS(rdata::NS(Name::from_ascii("ns1.acme.test.").unwrap()));
            message.answers.push(Record::from_rdata(name, 60, host));
        }
    };
    let (status, text) = said_of(refuse(true)).await;
    assert_eq!(status, "valid:lame_delegation");
    assert!(text.contains("serves the zone, but refuses") && text.contains("may stay as they are"), "{text}");
    let (status, text) = said_of(refuse(false)).await;
    assert_eq!(status, "valid:lame_delegation");
    assert!(text.contains("not authoritative") && text.contains("registrar"), "{text}");
}
