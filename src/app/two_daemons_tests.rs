//! Two daemons on one database: a session on one sees what the other has acknowledged, and ends when the other ends it.

use super::{App, Services};
use crate::auth::login::Scope;
use crate::auth::token::Token;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dns::authority::play::Play;
use crate::dns::authority::{Authority, Zones};
use crate::id::{AccountId, DomainId, InboxId, TokenId};
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::registry::{Answered, LONGEST_WAIT};
use crate::secret::Secret;
use crate::store::emails::EmailFilter;
use crate::store::inboxes::NewInbox;
use crate::store::names::NameLimits;
use crate::store::testing::daemon_config;
use crate::store::tokens::NewToken;
use base64::Engine;
use rustls_pki_types::pem::PemObject;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

mod honoured;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";

struct World {
    dir: TempDir,
    play: Play,
    one: Services,
    two: Services,
    account: AccountId,
    inbox: InboxId,
    domain: DomainId,
}

fn config(dir: &TempDir, name: &str, dns: SocketAddr) -> Config {
    let data_dir = dir.path().join(name);
    std::fs::create_dir_all(&data_dir).unwrap();
    let mut config = daemon_config(dir.path(), &data_dir);
    let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.tls.certificate = Some(dir.path().join("cert.pem"));
    config.tls.private_key = Some(dir.path().join("key.pem"));
    config.http.listen = free();
    (config.smtp.mx, config.smtp.submission, config.smtp.submissions) = (None, None, Some(free()));
    (config.imap.imap, config.imap.imaps) = (None, Some(free()));
    config.platform.allow_special_use = vec!["test".into()];
    config.dns.resolvers = vec![dns];
    config.dns.authoritative_port = dns.port();
    config.dns.allow_networks = AllowedNetworks::loopback();
    config
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (dns, play) = (authority.address(), Play::new(Ipv4Addr::LOCALHOST));
    tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, Shutdown::new()));

    let one = Services::open(config(&dir, "one", dns), Clock::System).await.unwrap();
    // Both seal with the same key.
    let two = config(&dir, "two", dns);
    std::fs::copy(dir.path().join("one/secret.key"), dir.path().join("two/secret.key")).unwrap();
    let two = Services::open(two, Clock::System).await.unwrap();
    let now = Timestamp::real();
    let account = one.store.account_create("x".into(), now).await.unwrap().id;
    let new = NewInbox::new(account.clone(), "anna".parse().unwrap());
    let inbox = one.store.inbox_create(new, NameLimits::new(10, 10), now).await.unwrap().id;
    let domain = one.registry.create(&account, "acme.test", None).await.unwrap().id;
    World { dir, play, one, two, account, inbox, domain }
}

impl World {
    /// Made in the first daemon.
    async fn token(&self) -> (TokenId, Secret) {
        let token = Token::generate().unwrap();
        let scope = Scope::Account(self.account.clone());
        let new = NewToken::new("t", scope, token.hash());
        (self.one.store.token_create(new, 10, Timestamp::real()).await.unwrap().id, token.secret().clone())
    }

    async fn connect(&self, address: Option<SocketAddr>) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        let pem = rustls_pki_types::CertificateDer::from_pem_file(self.dir.path().join("cert.pem")).unwrap();
        roots.add(pem).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address.unwrap()).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let mut client = Client(BufStream::new(stream));
        client.line().await;
        client
    }

    async fn imap(&self, app: &App, user: &str, token: &Secret) -> Client {
        let mut client = self.connect(app.addresses().imaps).await;
        client.ok(&format!("LOGIN {user} {}", token.reveal())).await;
        client
    }

    async fn smtp(&self, app: &App, user: &str, token: &Secret) -> Client {
        let mut client = self.connect(app.addresses().submissions).await;
        client.send("EHLO client.example\r\n").await;
        while !client.line().await.starts_with("250 ") {}
        let response = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{}", token.reveal()));
        client.send(&format!("AUTH PLAIN {response}\r\n")).await;
        assert!(client.line().await.starts_with("235 "));
        client
    }
}

struct Client(BufStream<tokio_rustls::client::TlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Without its end; empty when the connection has been closed.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(LONG, self.0.read_line(&mut line)).await.expect("no line came");
        // Closed without TLS's close_notify, it is an error.
        read.unwrap_or_default();
        line.trim_end().to_owned()
    }

    /// The untagged responses of an IMAP command that is answered OK.
    async fn ok(&mut self, command: &str) -> Vec<String> {
        self.send(&format!("t {command}\r\n")).await;
        self.answer(command).await
    }

    async fn answer(&mut self, command: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.starts_with("t ") {
                assert!(line.starts_with("t OK"), "{command}: {line}");
                return lines;
            }
            assert!(line.starts_with("* ") && !line.starts_with("* BYE"), "{command}: {line}");
            lines.push(line);
        }
    }

    async fn append(&mut self) {
        self.send(&format!("t APPEND INBOX {{{}}}\r\n", MESSAGE.len())).await;
        assert!(self.line().await.starts_with('+'));
        self.send(&format!("{MESSAGE}\r\n")).await;
        self.answer("APPEND").await;
    }
}

fn has(lines: &[String], wanted: &str) -> bool {
    lines.iter().any(|line| line.contains(wanted))
}

#[tokio::test]
async fn a_session_sees_what_another_daemon_has_acknowledged() {
    let world = world().await;
    let (one, two) = (world.one.clone(), world.two.clone());
    let (one, two) = (start(one).await, start(two).await);
    let (_, token) = world.token().await;
    let (mut idle, mut reader) = (world.imap(&two, "anna", &token).await, world.imap(&two, "anna", &token).await);
    idle.ok("SELECT INBOX").await;
    reader.ok("SELECT INBOX").await;
    idle.send("t IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    let mut writer = world.imap(&one, "anna", &token).await;
    for number in 1..=5 {
        writer.append().await;
        let read = reader.ok(&format!("UID FETCH {number} (FLAGS RFC822.SIZE)")).await;
        assert!(has(&read, &format!("* {number} EXISTS")) && has(&read, &format!("* {number} FETCH")), "{read:?}");
        assert_eq!(idle.line().await, format!("* {number} EXISTS"));
        idle.line().await;
    }
    writer.ok("SELECT INBOX").await;
    writer.ok("STORE 2 +FLAGS.SILENT (\\Flagged)").await;
    assert!(has(&reader.ok("NOOP").await, "* 2 FETCH (UID 2 FLAGS (\\Flagged"));
    assert!(idle.line().await.starts_with("* 2 FETCH (UID 2 FLAGS (\\Flagged"));
    writer.ok("STORE 3 +FLAGS.SILENT (\\Answered)").await;
    assert!(has(&reader.ok("SEARCH ANSWERED").await, "* SEARCH 3"));
    assert!(idle.line().await.starts_with("* 3 FETCH"));
    writer.ok("COPY 1:3 Archive").await;
    assert!(has(&reader.ok("STATUS Archive (MESSAGES UIDNEXT)").await, "(MESSAGES 3 UIDNEXT 4)"));
    writer.ok("STORE 1,4 +FLAGS.SILENT (\\Deleted)").await;
    writer.ok("EXPUNGE").await;
    assert_eq!(
        world.two.store.emails(vec![world.inbox.clone()], EmailFilter::default(), 10).await.unwrap().rows.len(),
        6
    );
    let noop = reader.ok("NOOP").await;
    assert!(has(&noop, "* 4 EXPUNGE") && has(&noop, "* 1 EXPUNGE"), "{noop:?}");
    while idle.line().await != "* 1 EXPUNGE" {}
    let mut fresh = world.imap(&two, "anna", &token).await;
    assert!(has(&fresh.ok("SELECT INBOX").await, "* 3 EXISTS"));
    assert!(has(&fresh.ok("FETCH 1:* (UID)").await, "* 3 FETCH (UID 5)"));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_domain_or_inbox_in_whatever_daemon_that_is_ended() {
    let world = world().await;
    let (one, two) = (start(world.one.clone()).await, start(world.two.clone()).await);
    let ((revoked, first), (_, second)) = (world.token().await, world.token().await);
    let mut sessions = Vec::new();
    for app in [&one, &two] {
        for (user, token) in [("anna", &first), ("anna@acme.test", &second), ("anna", &second)] {
            let mut idle = world.imap(app, user, token).await;
            idle.ok("SELECT INBOX").await;
            idle.send("t IDLE\r\n").await;
            assert_eq!(idle.line().await, "+ idling");
            sessions.push((idle, world.smtp(app, user, token).await));
        }
    }
    let end = async |sessions: &mut Vec<(Client, Client)>, places: [usize; 2], reason: &str| {
        for place in places {
            let (imap, smtp) = &mut sessions[place];
            assert_eq!(imap.line().await, format!("* BYE {reason}"));
            let reply = smtp.line().await;
            assert!(reply.starts_with("421 4.7.0"), "{reply}");
        }
    };
    one.services().store.token_revoke(None, &revoked, Timestamp::real()).await.unwrap().unwrap();
    end(&mut sessions, [0, 3], "this API token has been revoked").await;
    assert!(two.services().registry.delete(&world.account, &world.domain).await.unwrap());
    end(&mut sessions, [1, 4], "this domain has been deleted").await;
    assert!(one.services().mailboxes.delete_inbox(&world.account, &world.inbox).await.unwrap());
    end(&mut sessions, [2, 5], "this inbox has been deleted").await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_request_waits_for_a_check_that_another_daemon_makes() {
    let world = world().await;
    let (one, two) = (start(world.one.clone()).await, &world.two);
    // The first check, which the claim made due.
    let is_checked = async || {
        let domain = two.registry.get(&world.account, &world.domain).await.unwrap().unwrap();
        domain.last_checked_at.is_some()
    };
    while !is_checked().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let past = |transaction: &crate::store::Transaction<'_>| {
        transaction.execute("UPDATE custom_domain SET check_started_at = 0", crate::store::params![])
    };
    two.store.write::<_, crate::store::StoreError, _>(past).await.unwrap();
    // The second daemon makes no checks itself.
    let wait = two.registry.verify(&world.account, &world.domain, Some(LONGEST_WAIT));
    let wake = async {
        loop {
            one.services().verifier.wake();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (_, answered) = tokio::select! {
        done = wait => done.unwrap(),
        () = wake => unreachable!(),
    };
    assert_eq!(answered, Answered::Settled);
    one.stop().await;
}

/// Sessions of the daemon learn of what ends them by events alone.
async fn start(mut services: Services) -> App {
    services.authenticator = services.authenticator.checking_every(Duration::from_secs(3600));
    App::start(services, None).await.unwrap()
}
