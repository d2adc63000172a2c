//! How many questions one check puts, whatever a domain's servers say.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What was asked, at which address.
type QueryCounts = Arc<Mutex<BTreeMap<Ipv4Addr, usize>>>;

/// `count` servers at addresses of their own and one port, which answer alike and count what they are asked.
async fn crowd(count: u8, reply: impl Fn(&mut Message) + Send + Sync + 'static) -> (SocketAddr, QueryCounts) {
    let address = |n: u8| Ipv4Addr::new(127, 0, 7, n);
    let sockets = loop {
        let first = UdpSocket::bind((address(1), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut sockets = vec![first];
        for n in 2..=count {
            sockets.extend(UdpSocket::bind((address(n), port)).await);
        }
        if sockets.len() == usize::from(count) {
            break sockets;
        }
    };
    let (query_counts, reply) = (QueryCounts::default(), Arc::new(reply));
    let server = sockets[0].local_addr().unwrap();
    for socket in sockets {
        let (query_counts, reply) = (Arc::clone(&query_counts), Arc::clone(&reply));
        let SocketAddr::V4(own) = socket.local_addr().unwrap() else { panic!() };
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                *query_counts.lock().unwrap().entry(*own.ip()).or_default() += 1;
                let mut message = Message::from_vec(&buffer[..length]).unwrap();
                message.metadata.message_type = MessageType::Response;
                message.metadata.authoritative = true;
                reply(&mut message);
                socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
            }
        });
    }
    (server, query_counts)
}

/// Eight hosts of four addresses each for every zone; else there is nothing, or a TXT record that has much to look up.
fn crowded(message: &mut Message, spf: &str) {
    let (name, kind) = (message.queries[0].name().clone(), message.queries[0].query_type().to_string());
    let zone: Name = "acme.test.".parse().unwrap();
    let host = |n: u8| Name::from_ascii(format!("n{n}.acme.test.")).unwrap();
    let first = name.to_ascii().split('.').next().unwrap().to_owned();
    let number = first.strip_prefix('n').and_then(|n| n.parse::<u8>().ok());
    let data: Vec<RData> = match (kind.as_str(), number) {
        ("NS", _) if name == zone => (0..8).map(|n| RData::NS(rdata::NS(host(n)))).collect(),
        ("A", Some(n)) => (1..=4).map(|k| RData::A(rdata::A::new(127, 0, 7, n * 4 + k))).collect(),
        ("TXT", _) if name == zone && !spf.is_empty() => vec![RData::TXT(rdata::TXT::new(vec![spf.to_owned()]))],
        _ => Vec::new(),
    };
    message.answers.extend(data.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)));
    if message.answers.is_empty() {
        let soa = rdata::SOA::new(host(0), host(1), 1, 3600, 600, 86_400, 5);
        message.authorities.push(Record::from_rdata(zone, 5, RData::SOA(soa)));
    }
}

/// All that a claim with a return path and a record of ownership may have to publish.
fn claim() -> Vec<Expected> {
    let template = Template {
        dkim_zone: "dkim.example".parse().unwrap(),
        mx_host: "smtp.example".parse().unwrap(),
        mx_priority: 10,
        spf: "v=spf1 include:spf.example ~all".into(),
        dmarc: "v=DMARC1; p=none;".into(),
        required: vec![Purpose::Dkim],
    };
    let mut all =
        template.records(&"acme.test".parse().unwrap(), &["t1", "t2", "t3"].map(String::from), Some("s3cret"));
    for (purpose, record_type, value) in [
        (Purpose::ReturnPath, RecordType::Mx, "smtp.example"),
        (Purpose::ReturnPathSpf, RecordType::Txt, "v=spf1 ~all"),
    ] {
        let (name, host_label, value) = ("bounce.acme.test".to_owned(), "bounce".to_owned(), value.to_owned());
        all.push(Expected { purpose, record_type, name, host_label, value, priority: None, required: false });
    }
    all
}

fn patient(server: SocketAddr) -> Resolver {
    Resolver::new(&config::Dns {
        resolvers: vec![server],
        authoritative_port: server.port(),
        allow_networks: AllowedNetworks::loopback(),
        timeout: config::HumanDuration(Duration::from_secs(20)),
    })
    .unwrap()
}

fn hosts_asked(observations: &[Observation]) -> (usize, usize) {
    let servers = observations.iter().flat_map(|observation| &observation.servers).filter(|one| one.authoritative);
    let of: BTreeSet<_> = servers.map(|one| (one.server, one.name.clone())).collect();
    let names: BTreeSet<_> = of.iter().map(|(_, name)| name).collect();
    (of.len(), names.len())
}

#[tokio::test]
async fn a_domain_with_many_servers_and_no_records_is_asked_all_that_there_is_to_ask() {
    let (server, query_counts) = crowd(32, |message| crowded(message, "")).await;
    let all = claim();
    let observations = patient(server).observe(&all.iter().collect::<Vec<_>>(), &Progress::default()).await;
    assert!(
        observations.iter().all(|observation| observation.servers.iter().all(|one| one.answer.is_definite())),
        "{observations:?}"
    );
    // Of each of the eight hosts one address.
    assert_eq!(hosts_asked(&observations), (bounds::SERVERS, 8));
    let total: usize = query_counts.lock().unwrap().values().sum();
    assert!(total < bounds::QUESTIONS, "{total} questions");
}

#[tokio::test]
async fn servers_that_do_not_know_edns_are_told_from_then_on_without_it() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let plain = move |message: &mut Message| match message.edns.take() {
        Some(_) => {
            count.fetch_add(1, Ordering::Relaxed);
            message.metadata.response_code = ResponseCode::NotImp;
        }
        None => crowded(message, ""),
    };
    let (server, query_counts) = crowd(32, plain).await;
    let all = claim();
    let observations = patient(server).observe(&all.iter().collect::<Vec<_>>(), &Progress::default()).await;
    assert!(observations.iter().all(|observation| observation.answer.is_definite()), "{observations:?}");
    let total: usize = query_counts.lock().unwrap().values().sum();
    let refused = refused.load(Ordering::Relaxed);
    // Only what was under way already when the first refusal came.
    assert!(refused >= bounds::SERVERS && refused * 3 < total, "{refused} of {total}");
}

#[tokio::test]
async fn a_check_puts_so_many_questions_and_no_more() {
    // The text leads to many other names, which are somebody else's.
    let terms: Vec<String> = (0..15).map(|n| format!("a:v{n}.example")).collect();
    let spf = format!("v=spf1 {} ~all", terms.join(" "));
    let (server, query_counts) = crowd(32, move |message| crowded(message, &spf)).await;
    let mut all = claim();
    let spf = all[4].clone();
    for n in 0..60 {
        all.push(Expected { name: format!("s{n}.acme.test"), ..spf.clone() });
    }
    let observations = patient(server).observe(&all.iter().collect::<Vec<_>>(), &Progress::default()).await;
    let total: usize = query_counts.lock().unwrap().values().sum();
    assert_eq!(total, bounds::QUESTIONS);
    let answers: Vec<&Answer> =
        observations.iter().flat_map(|observation| &observation.servers).map(|one| &one.answer).collect();
    let over = |answer: &&&Answer| matches!(answer, Answer::Indefinite { reason: Indefinite::TooMany, .. });
    assert!(answers.iter().any(|answer| answer.is_definite()) && answers.iter().filter(over).count() > 100);
}
