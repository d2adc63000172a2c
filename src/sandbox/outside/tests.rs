//! The outside mailbox, tested with a foreign client.

use super::*;
use mail_send::SmtpClient;
use std::time::Duration;
use tokio::net::TcpStream;

async fn start(dir: &Path) -> (Outside, std::net::SocketAddr) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let files = super::super::certificates::Certificates::in_dir(dir);
    let name = crate::address::DomainName::parse("smtp.inboxlayer.dev").unwrap();
    files.make(&name, &name).unwrap();
    let tls = ServerTls::load(&files.certificate, &files.private_key).unwrap();
    let outside = Outside::open(dir.join("outside")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(outside.clone().serve(listener, tls, Shutdown::new()));
    (outside, address)
}

async fn client(address: std::net::SocketAddr) -> SmtpClient<TcpStream> {
    let mut client = SmtpClient::connect(address, Duration::from_secs(10)).await.unwrap();
    assert_eq!(client.read().await.unwrap().code, 220);
    client
}

#[tokio::test]
async fn mail_is_stored_unchanged_also_over_tls_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (outside, address) = start(dir.path()).await;
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(dir.path().join("ca.pem")).unwrap();
    let ca = <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(&ca).unwrap();
    roots.add(ca).unwrap();
    let trusting = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting));

    let mut plain = client(address).await;
    assert_eq!(plain.cmd("EHLO x\r\n").await.unwrap().code, 250);
    let mut client = plain.start_tls(&connector, "smtp.inboxlayer.dev").await.unwrap();
    let message = b"From: =?utf-8?q?J=C3=BCrgen?= <j@acme.test>\r\nSubject: hi\r\n\r\n..\r\nx\r\n.\r\n";
    for (command, code) in [
        ("EHLO x\r\n", 250),
        ("STARTTLS\r\n", 500),
        ("RCPT TO:<early@x.test>\r\n", 503),
        ("MAIL FROM:<j@acme.test> BODY=8BITMIME\r\n", 250),
        ("DATA\r\n", 503),
        ("RCPT TO:<\"a>b\"@x.test>\r\n", 250),
        ("RCPT TO:<c@x.test>\r\n", 250),
        ("RCPT TO:<Bounce@simulator.test>\r\n", 550),
        ("RCPT TO:<defer@simulator.test>\r\n", 451),
        ("NONSENSE\r\n", 500),
    ] {
        assert_eq!(client.cmd(command).await.unwrap().code, code, "{command}");
    }
    assert_eq!(client.data(message).await.unwrap().code, 250);

    let kept = outside.list();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].rcpt_to, ["\"a>b\"@x.test", "c@x.test"]);
    assert_eq!((kept[0].from.as_str(), kept[0].subject.as_str()), ("Jürgen <j@acme.test>", "hi"));
    // mail-send ends every message with an extra line break.
    assert_eq!(outside.raw(&kept[0].id).await.unwrap(), [message.as_slice(), b"\r\n"].concat());
    assert_eq!(Outside::open(dir.path().join("outside")).unwrap().list(), kept);

    assert_eq!(outside.raw("../ca").await, None);
    outside.clear().await;
    assert!(outside.list().is_empty() && Outside::open(dir.path().join("outside")).unwrap().list().is_empty());
}

#[tokio::test]
async fn an_incomplete_message_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (outside, address) = start(dir.path()).await;
    let mut client = client(address).await;
    for command in ["EHLO x\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@x.test>\r\n", "DATA\r\n"] {
        client.cmd(command).await.unwrap();
    }
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"Subject: cut\r\n\r\n.\nhalf").await.unwrap();
    drop(client);
    assert!(outside.list().is_empty());
}
