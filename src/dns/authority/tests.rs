//! Queries over real sockets: raw, and with hickory-resolver.

use super::play::{Fault, Kind, Play, PlayError};
use super::*;
use crate::clock::Timestamp;
use crate::config::Dkim;
use crate::id::DomainId;
use crate::store::Store;
use crate::store::testing::{account, claim};
use hickory_proto::op::{Edns, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::{IpAddr, Ipv4Addr};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

async fn start(zones: Zones, limited: bool) -> (SocketAddr, Shutdown) {
    let authority = Authority::bind((LOOPBACK, 0).into()).await.unwrap();
    let (address, shutdown) = (authority.address(), Shutdown::new());
    tokio::spawn(authority.serve(zones, limited, shutdown.clone()));
    (address, shutdown)
}

async fn keys_server() -> (tempfile::TempDir, SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let text = format!("v=DKIM1; k=rsa; p={}", "A".repeat(480));
    let (id, now) = (DomainId::new(), Timestamp::real());
    claim(&store, &account(&store).await, &id, "token1 token2 token3").await;
    store.dkim_put("token1".into(), Some(id), vec![1], text.clone(), now).await.unwrap();
    // The platform's own key is published in the platform domain.
    store.dkim_put("inboxlayer".into(), None, vec![2], text, now).await.unwrap();
    let zone = KeysZone::new(&Dkim::default(), store).unwrap();
    (dir, start(Zones::of_keys(zone), false).await.0)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    message
}

async fn over_udp(server: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(octets, server).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).await.unwrap();
    buffer.truncate(length);
    buffer
}

async fn ask(server: SocketAddr, message: &Message) -> Message {
    let octets = over_udp(server, &message.to_vec().unwrap()).await;
    let mut decoder = BinDecoder::new(&octets);
    let answer = Message::read(&mut decoder).unwrap();
    // Strict clients reject octets after the end of a message.
    assert!(decoder.is_empty());
    assert_eq!(answer.metadata.id, message.metadata.id);
    answer
}

async fn ask_tcp(server: SocketAddr, messages: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    for message in messages {
        let octets = message.to_vec().unwrap();
        stream.write_u16(octets.len() as u16).await.unwrap();
        stream.write_all(&octets).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in messages {
        answers.push(Message::from_vec(&read_framed(&mut stream).await.unwrap()).unwrap());
    }
    answers
}

fn texts(message: &Message) -> Vec<String> {
    message.answers.iter().map(|r| r.data.to_string()).collect()
}

#[tokio::test]
async fn the_zone_of_keys_is_served_with_authority() {
    let (_dir, server) = keys_server().await;
    let key = ask(server, &with_edns(question("ToKen1.dkim.inboxlayer.dev.", RecordType::TXT))).await;
    assert!(key.metadata.authoritative && !key.metadata.recursion_available && !key.metadata.truncation);
    let RData::TXT(txt) = &key.answers[0].data else { panic!("{key:?}") };
    assert!(txt.txt_data.len() == 2 && txt.txt_data.iter().all(|s| s.len() <= 255));
    assert!(txt.txt_data.concat().starts_with(b"v=DKIM1; k=rsa; p=AAAA"));
    // The case of the question is preserved (0x20).
    assert_eq!(key.queries[0].name().to_ascii(), "ToKen1.dkim.inboxlayer.dev.");

    for (name, kind, code) in [
        ("token1.dkim.inboxlayer.dev.", RecordType::A, ResponseCode::NoError),
        ("dkim.inboxlayer.dev.", RecordType::TXT, ResponseCode::NoError),
        ("token2.dkim.inboxlayer.dev.", RecordType::TXT, ResponseCode::NXDomain),
        ("inboxlayer.dkim.inboxlayer.dev.", RecordType::TXT, ResponseCode::NXDomain),
        ("a.token1.dkim.inboxlayer.dev.", RecordType::TXT, ResponseCode::NXDomain),
    ] {
        let absent = ask(server, &question(name, kind)).await;
        assert_eq!(absent.metadata.response_code, code, "{name} {kind}");
        assert!(absent.metadata.authoritative && absent.answers.is_empty());
        assert_eq!(absent.authorities[0].record_type(), RecordType::SOA);
    }
    for kind in [RecordType::SOA, RecordType::NS] {
        assert_eq!(ask(server, &question("dkim.inboxlayer.dev.", kind)).await.answers[0].record_type(), kind);
    }
    for name in ["inboxlayer.dev.", "example.org.", "notdkim.inboxlayer.dev.", "."] {
        let foreign = ask(server, &question(name, RecordType::A)).await;
        assert_eq!(foreign.metadata.response_code, ResponseCode::Refused, "{name}");
        assert!(!foreign.metadata.authoritative);
    }
}

#[tokio::test]
async fn a_name_server_inside_the_zone_has_its_addresses_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = Dkim {
        name_server: crate::address::DomainName::parse("a.ns.dkim.inboxlayer.dev").unwrap(),
        name_server_addresses: ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|a| a.parse().unwrap()).to_vec(),
        ..Dkim::default()
    };
    let zone = KeysZone::new(&config, Store::open(dir.path()).unwrap()).unwrap();
    let (server, _) = start(Zones::of_keys(zone), false).await;
    for (kind, count) in [(RecordType::A, 2), (RecordType::AAAA, 1), (RecordType::ANY, 2), (RecordType::TXT, 0)] {
        let found = ask(server, &question("A.ns.dkim.inboxlayer.dev.", kind)).await;
        assert_eq!((found.metadata.response_code, found.answers.len()), (ResponseCode::NoError, count), "{kind}");
        assert_eq!(found.authorities.len(), usize::from(count == 0));
    }
    for (name, code) in [("ns", ResponseCode::NoError), ("b.ns", ResponseCode::NXDomain)] {
        let name = format!("{name}.dkim.inboxlayer.dev.");
        assert_eq!(ask(server, &question(&name, RecordType::A)).await.metadata.response_code, code, "{name}");
    }
}

#[tokio::test]
async fn a_large_response_is_truncated_and_complete_over_tcp() {
    let (_dir, server) = keys_server().await;
    let long = question("token1.dkim.inboxlayer.dev.", RecordType::TXT);
    let octets = over_udp(server, &long.to_vec().unwrap()).await;
    assert!(octets.len() <= 512);
    let cut = ask(server, &long).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.queries == long.queries);
    // Two queries on one connection.
    for answer in ask_tcp(server, &[long.clone(), long]).await {
        assert_eq!(answer.answers.len(), 1);
        assert!(!answer.metadata.truncation);
    }
}

#[tokio::test]
async fn unsupported_queries_get_the_proper_error() {
    let (_dir, server) = keys_server().await;
    let mut transfer = question("dkim.inboxlayer.dev.", RecordType::AXFR);
    assert_eq!(ask_tcp(server, &[transfer.clone()]).await[0].metadata.response_code, ResponseCode::Refused);
    transfer.queries.clear();
    assert_eq!(ask(server, &transfer).await.metadata.response_code, ResponseCode::FormErr);
    let mut update = question("dkim.inboxlayer.dev.", RecordType::SOA);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(server, &update).await.metadata.response_code, ResponseCode::NotImp);
    let mut future = with_edns(question("dkim.inboxlayer.dev.", RecordType::SOA));
    future.edns.as_mut().unwrap().set_version(9);
    assert_eq!(u16::from(ask(server, &future).await.metadata.response_code), 16);

    let garbage = over_udp(server, b"\x12\x34\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\xff").await;
    assert_eq!(garbage[..2], [0x12, 0x34]);
    assert_eq!(garbage[3] & 0x0f, 1);
    // A response and a fragment are ignored: the next query is answered.
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let answer = question("dkim.inboxlayer.dev.", RecordType::SOA).into_response();
    for silent in [answer.to_vec().unwrap(), b"\x12".to_vec(), vec![], vec![0xff; 600]] {
        socket.send_to(&silent, server).await.unwrap();
    }
    assert_eq!(ask(server, &question("dkim.inboxlayer.dev.", RecordType::SOA)).await.answers.len(), 1);
    assert!(socket.try_recv(&mut [0; 512]).is_err());
}

#[tokio::test]
async fn a_flood_is_truncated() {
    let zones = Zones::of_play(Play::new(LOOPBACK));
    let (server, _) = start(zones, true).await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let octets = question("example.org.", RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 512];
    loop {
        socket.send_to(&octets, server).await.unwrap();
        let Ok(received) = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await else {
            continue;
        };
        let answer = Message::from_vec(&buffer[..received.unwrap()]).unwrap();
        if answer.metadata.truncation {
            assert!(answer.answers.is_empty());
            break;
        }
    }
}

fn set(play: &Play, name: &str, kind: Kind, values: &[&str]) {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    play.set(name, kind, &values, 60).unwrap();
}

#[tokio::test]
async fn a_real_resolver_resolves_the_simulated_internet() {
    let play = Play::new(LOOPBACK);
    let (server, _) = start(Zones::of_play(play.clone()), false).await;
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let name_server = NameServerConfig::new(IpAddr::V4(LOOPBACK), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, vec![], vec![name_server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();

    set(&play, "Acme.test", Kind::Mx, &["10 mail.acme.test.", "20 b.acme.test"]);
    set(&play, "_dmarc.acme.test", Kind::Txt, &["v=DMARC1; p=none;"]);
    set(&play, "t1._domainkey.acme.test", Kind::Cname, &["t1.keys.example"]);
    set(&play, "t1.keys.example", Kind::Txt, &["v=DKIM1; p=x"]);

    let mx = resolver.mx_lookup("acme.test.").await.unwrap();
    assert_eq!(mx.answers().len(), 2);
    // A chain through two zones ends at the TXT record.
    let txt = resolver.txt_lookup("t1._domainkey.acme.test.").await.unwrap();
    assert!(txt.answers().iter().any(|r| r.data.to_string().contains("v=DKIM1")), "{txt:?}");
    let a = resolver.ipv4_lookup("never.set.example.org.").await.unwrap();
    assert_eq!(a.answers()[0].data.to_string(), "127.0.0.1");
    for nothing in ["t9._domainkey.acme.test.", "nobody.invalid.", "_dmarc.com."] {
        assert!(resolver.txt_lookup(nothing).await.unwrap_err().is_nx_domain(), "{nothing}");
    }
    // Empty non-terminals exist.
    let between = resolver.txt_lookup("_domainkey.acme.test.").await.unwrap_err();
    assert!(between.is_no_records_found() && !between.is_nx_domain());
}

#[tokio::test]
async fn an_authoritative_walk_finds_zone_and_server() {
    let play = Play::new(LOOPBACK);
    set(&play, "t1._domainkey.acme.test", Kind::Cname, &["t1.keys.example"]);
    let (server, _) = start(Zones::of_play(play), false).await;
    let below = ask(server, &question("_domainkey.acme.test.", RecordType::NS)).await;
    assert!(below.answers.is_empty() && below.authorities[0].name.to_ascii() == "acme.test.");
    let apex = ask(server, &question("acme.test.", RecordType::NS)).await;
    assert_eq!(texts(&apex), ["ns.play.test."]);
    assert_eq!(texts(&ask(server, &question("ns.play.test.", RecordType::A)).await), ["127.0.0.1"]);
    // Without recursion the chain ends at the edge of the zone.
    let key = ask(server, &question("t1._domainkey.acme.test.", RecordType::TXT)).await;
    assert!(key.metadata.authoritative);
    assert_eq!(texts(&key), ["t1.keys.example."]);
}

#[tokio::test]
async fn a_name_exists_while_it_or_a_name_below_it_has_records() {
    let play = Play::new(LOOPBACK);
    let (server, _) = start(Zones::of_play(play.clone()), false).await;
    let exists = async |name: &str| {
        let answer = ask(server, &question(name, RecordType::TXT)).await;
        assert_eq!(answer.authorities.len(), usize::from(answer.answers.is_empty()), "{name}");
        assert!(answer.authorities.iter().all(|soa| soa.record_type() == RecordType::SOA), "{name}");
        match answer.metadata.response_code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            other => panic!("{name}: {other}"),
        }
    };
    // Its neighbours in every order: shorter, longer, before and after it in the alphabet, and similar.
    for name in ["_a._c.acme.test", "_ca.acme.test", "_c-.acme.test", "_b.acme.test", r"x\._d.acme.test", "_c.acme.tes"]
    {
        set(&play, name, Kind::Txt, &["neighbour"]);
    }
    for (name, there) in [
        ("_c.acme.test.", true),
        ("_C.ACME.test.", true),
        ("_a._c.acme.test.", true),
        ("_b._c.acme.test.", false),
        ("_b._a._c.acme.test.", false),
        ("c.acme.test.", true),
        ("_.acme.test.", false),
        ("_d.acme.test.", false),
        ("x._d.acme.test.", false),
        (r"x\._d.acme.test.", true),
    ] {
        assert_eq!(exists(name).await, there, "{name}");
    }
    // Deeper, then removed: empty non-terminals disappear too.
    set(&play, "_1._2._3.acme.test", Kind::Txt, &["deep"]);
    set(&play, "_2._3.acme.test", Kind::A, &["192.0.2.1"]);
    assert!(exists("_3.acme.test.").await && exists("_2._3.acme.test.").await);
    assert!(play.remove("_1._2._3.acme.test", Kind::Txt).unwrap());
    assert!(exists("_3.acme.test.").await && exists("_2._3.acme.test.").await && !exists("_1._2._3.acme.test.").await);
    assert!(play.remove("_2._3.acme.test", Kind::A).unwrap());
    assert!(!exists("_3.acme.test.").await && !exists("_2._3.acme.test.").await);
    assert!(play.remove("_a._c.acme.test", Kind::Txt).unwrap());
    assert!(!exists("_c.acme.test.").await);
}

#[tokio::test]
async fn faults_have_their_effect_and_can_be_cleared() {
    let play = Play::new(LOOPBACK);
    set(&play, "acme.test", Kind::Txt, &["x"]);
    set(&play, "alias.example", Kind::Cname, &["acme.test"]);
    let (server, _) = start(Zones::of_play(play.clone()), false).await;
    let mut queried = question("alias.example.", RecordType::TXT);
    queried.metadata.recursion_desired = true;
    for (fault, code) in [(Fault::Servfail, ResponseCode::ServFail), (Fault::Refused, ResponseCode::Refused)] {
        play.set_fault("ACME.test.", Some(fault)).unwrap();
        for name in ["acme.test.", "_dmarc.acme.test."] {
            assert_eq!(ask(server, &question(name, RecordType::TXT)).await.metadata.response_code, code);
        }
        let chained = ask(server, &queried).await;
        assert!(chained.metadata.response_code == code && chained.answers.is_empty());
    }
    play.set_fault("acme.test", Some(Fault::Timeout)).unwrap();
    let request = question("acme.test.", RecordType::TXT).to_vec().unwrap();
    assert_eq!(reply(&Zones::of_play(play.clone()), &request, None).await, None);
    play.set_fault("acme.test", None).unwrap();
    assert_eq!(ask(server, &queried).await.answers.len(), 2);
    assert_eq!(play.set_fault_at("acme.test", Some(2), Some(Fault::Refused)), Err(PlayError::Server(1)));
}

#[tokio::test]
async fn a_fault_of_one_server_is_not_one_of_the_others_and_of_the_resolver() {
    let play = Play::with_servers(LOOPBACK, 3);
    set(&play, "acme.test", Kind::Txt, &["x"]);
    let zones = Zones::of_play(play.clone());
    let (first, _) = start(zones.clone(), false).await;
    let (second, _) = start(zones.at_server(2), false).await;
    assert_eq!(texts(&ask(first, &question("acme.test.", RecordType::NS)).await).len(), 3);
    let third = ask(second, &question("ns3.play.test.", RecordType::A)).await;
    assert_eq!(texts(&third), ["127.0.0.3"]);
    play.set_fault_at("acme.test", Some(2), Some(Fault::Missing)).unwrap();
    play.set_fault_at("acme.test", Some(1), Some(Fault::Servfail)).unwrap();
    let query = question("acme.test.", RecordType::TXT);
    assert_eq!(ask(first, &query).await.metadata.response_code, ResponseCode::ServFail);
    let missing = ask(second, &query).await;
    assert_eq!((missing.metadata.response_code, missing.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(texts(&ask(second, &question("acme.test.", RecordType::NS)).await).len(), 3);
    let mut resolved = query.clone();
    resolved.metadata.recursion_desired = true;
    assert_eq!(ask(first, &resolved).await.answers.len(), 1);
    play.set_fault_at("acme.test", Some(2), None).unwrap();
    assert_eq!(ask(second, &query).await.answers.len(), 1);
}

#[tokio::test]
async fn an_alias_loop_ends() {
    let play = Play::new(LOOPBACK);
    set(&play, "a.example", Kind::Cname, &["b.example"]);
    set(&play, "b.example", Kind::Cname, &["a.example"]);
    let (server, _) = start(Zones::of_play(play), false).await;
    let mut queried = question("a.example.", RecordType::TXT);
    queried.metadata.recursion_desired = true;
    let answer = ask(server, &queried).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn invalid_records_are_rejected_with_the_reason() {
    let play = Play::new(LOOPBACK);
    let one = |kind, value: &str| play.set("acme.test", kind, &[value.to_owned()], 60);
    for (kind, value) in [
        (Kind::A, "1.2.3"),
        (Kind::A, "::1"),
        (Kind::Aaaa, "1.2.3.4"),
        (Kind::Mx, "mail.acme.test"),
        (Kind::Mx, "70000 mail.acme.test"),
        (Kind::Mx, "10 "),
        (Kind::Cname, ""),
        (Kind::Cname, "a b"),
        (Kind::Ns, "a\0b"),
    ] {
        assert!(matches!(one(kind, value), Err(PlayError::Value { .. })), "{kind:?} {value:?}");
    }
    assert!(one(Kind::Mx, "0 .").is_ok() && one(Kind::Txt, &"x".repeat(3000)).is_ok());
    assert_eq!(one(Kind::Txt, &"x".repeat(9000)), Err(PlayError::Size));
    assert_eq!(play.set("acme.test", Kind::Txt, &[], 60), Err(PlayError::Size));
    let two = ["a.test".to_owned(), "b.test".to_owned()];
    assert_eq!(play.set("acme.test", Kind::Cname, &two, 60), Err(PlayError::Size));
    for name in ["", " ", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
        assert!(matches!(play.set(name, Kind::Txt, &two, 60), Err(PlayError::Name(_))), "{name:?}");
    }
    assert!(matches!(Kind::parse("SPF"), Err(PlayError::Type(_))));
    assert_eq!(play.remove("acme.test", Kind::Mx), Ok(true));
    assert_eq!(play.remove("acme.test", Kind::Mx), Ok(false));
}
