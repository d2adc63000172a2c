//! The guard of connections with real names and real sockets.

use super::client::Client;
use super::outcome::Answer;
use super::signature::{WebhookSecret, sign};
use crate::clock::Timestamp;
use crate::config;
use crate::dns::Resolver;
use crate::dns::authority::play::{Fault, Kind, Play};
use crate::dns::authority::{Authority, Zones};
use crate::net::client_tls::ClientTls;
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A DNS server, and a client whose internet is 127.0.0.2.
async fn world() -> (Play, Client, Shutdown) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (dns, play, shutdown) = (authority.address(), Play::new(Ipv4Addr::LOCALHOST), Shutdown::new());
    shutdown.spawn(authority.serve(Zones::of_play(play.clone()), false, shutdown.clone()));
    let config = config::Dns {
        resolvers: vec![dns],
        authoritative_port: dns.port(),
        allow_networks: AllowedNetworks::loopback(),
        ..config::Dns::default()
    };
    let allowed: AllowedNetworks = serde_json::from_str("[\"127.0.0.2\"]").unwrap();
    let client = Client::new(&ClientTls::new(None).unwrap(), &Resolver::new(&config).unwrap(), &allowed);
    (play, client, shutdown)
}

/// Accepts connections and answers the first request of each; returns its octets.
async fn listen(
    address: SocketAddr,
    answer: &'static [u8],
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let (mut all, mut octets) = (Vec::new(), [0; 4096]);
                while !all.ends_with(b"{}") {
                    let count = stream.read(&mut octets).await.unwrap();
                    assert!(count > 0, "the request ends early");
                    all.extend_from_slice(&octets[..count]);
                }
                tell.send(String::from_utf8(all).unwrap()).unwrap();
                stream.write_all(answer).await.unwrap();
            });
        }
    });
    (address, received)
}

async fn post(client: &Client, url: &str) -> Answer {
    let secret = WebhookSecret::generate().unwrap();
    let signed = sign("evt_1", Timestamp::real(), b"{}", &secret, None);
    client.post(url, signed, Bytes::from_static(b"{}")).await.0
}

fn failed(answer: Answer) -> String {
    match answer {
        Answer::Failed(error) => error,
        answer => panic!("{answer:?}"),
    }
}

const CLOSES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_name_is_checked_at_each_connection() {
    let (play, client, _shutdown) = world().await;
    let (outside, mut received) = listen(([127, 0, 0, 2], 0).into(), CLOSES).await;
    let (_, mut inside) = listen(([127, 0, 0, 3], outside.port()).into(), CLOSES).await;
    let url = format!("http://rebound.test:{}/hook?a=b", outside.port());
    let lead_to = |address: &str| play.set("rebound.test", Kind::A, &[address.to_owned()], 0).unwrap();
    lead_to("127.0.0.2");
    assert_eq!(post(&client, &url).await, Answer::Status { code: 200, retry_after: None });
    let request = received.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /hook?a=b http/1.1\r\n"), "{request}");
    for field in ["content-length: 2", "webhook-id: evt_1", "host: rebound.test", "content-type: application/json"] {
        assert!(request.contains(field), "{request}");
    }
    lead_to("127.0.0.3");
    let error = failed(post(&client, &url).await);
    assert!(error.contains("rebound.test has the address 127.0.0.3, which is not on the internet"), "{error}");
    // Of several addresses, the one that may be dialled is.
    play.set("rebound.test", Kind::A, &["127.0.0.3".to_owned(), "127.0.0.2".to_owned()], 0).unwrap();
    assert_eq!(post(&client, &url).await, Answer::Status { code: 200, retry_after: None });
    assert!(received.recv().await.is_some() && inside.try_recv().is_err());
}

#[tokio::test]
async fn other_names_and_addresses_are_not_dialled() {
    let (play, client, _shutdown) = world().await;
    play.set("public.test", Kind::A, &["8.8.8.8".to_owned()], 0).unwrap();
    play.set_fault("none.test", Some(Fault::Servfail)).unwrap();
    for (url, error) in [
        ("http://public.test/", "without TLS"),
        ("http://localhost/", "not on the internet"),
        ("http://127.0.0.1/", "not on the internet"),
        ("https://localhost/", "not on the internet"),
        ("https://169.254.169.254/", "not on the internet"),
        ("http://none.test/", "the DNS could not say"),
    ] {
        let found = failed(post(&client, url).await);
        assert!(found.contains(error), "{url}: {found}");
    }
}

#[tokio::test]
async fn redirects_are_answers_and_an_endless_body_is_cut() {
    let (_, client, _shutdown) = world().await;
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n";
    let (address, _received) = listen(([127, 0, 0, 2], 0).into(), redirect).await;
    assert_eq!(post(&client, &format!("http://{address}/")).await.status(), Some(302));
    let large: &'static [u8] =
        [b"HTTP/1.1 503 x\r\nRetry-After: 7\r\n\r\n".as_slice(), &[b'x'; 200_000]].concat().leak();
    let (address, _received) = listen(([127, 0, 0, 2], 0).into(), large).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), post(&client, &format!("http://{address}/"))).await;
    assert_eq!(answer.unwrap(), Answer::Status { code: 503, retry_after: Some(Duration::from_secs(7)) });
}

/// Answers each request with `answer` and interim responses before it, `interim` octets of them in all.
async fn listen_with_interim(interim: usize, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let one = b"HTTP/1.1 103 Early Hints\r\nLink: </>; rel=preload\r\n\r\n";
    let answer = [one.repeat(interim / one.len()).as_slice(), answer].concat();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone()));
        }
    });
    address
}

async fn answer_all(mut stream: TcpStream, answer: Vec<u8>) -> std::io::Result<()> {
    let (mut request, mut octets) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut octets).await?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&octets[..count]);
        if request.ends_with(b"{}") {
            request.clear();
            stream.write_all(&answer).await?;
        }
    }
}

#[tokio::test]
async fn interim_responses_count_towards_the_limit_of_an_answer_alone() {
    let (_, client, _shutdown) = world().await;
    let many = listen_with_interim(1_000_000, OPEN).await;
    let error = failed(post(&client, &format!("http://{many}/")).await);
    assert_eq!(error, "the endpoint sent more than 64 KiB without a final status");
    // Each answer on a connection has the limit for itself.
    let few = listen_with_interim(20_000, OPEN).await;
    for _ in 0..10 {
        assert_eq!(post(&client, &format!("http://{few}/")).await.status(), Some(200));
    }
}
