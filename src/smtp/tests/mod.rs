//! The servers on real sockets, with a real store and real TLS; and dialogues out of `fixtures/smtp`.

mod dialogue;
mod machine;
mod servers;

use super::{MxServer, SubmissionServer};
use crate::address::DomainName;
use crate::auth::login::{Authenticator, Scope};
use crate::auth::token::Token;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::Keys;
use crate::dns::Resolver;
use crate::events::Events;
use crate::id::{AccountId, DomainId, InboxId, TokenId};
use crate::inbound::Inbound;
use crate::mailbox::MailboxService;
use crate::net::listener::Shutdown;
use crate::net::tls::ServerTls;
use crate::queue::{AttemptTimes, Queue};
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::secret::Secret;
use crate::store::emails::EmailFilter;
use crate::store::params;
use crate::store::tokens::NewToken;
use crate::store::{Store, StoreError, testing};
use crate::submission::Submission;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// The platform's own, as the default configuration has it.
const SELECTOR: &str = "inboxlayer";

/// The listener that a client connects to.
#[derive(Clone, Copy, Debug)]
enum Listener {
    /// 587
    Submission,
    /// 465
    Submissions,
    /// 25
    Mx,
}

/// Both servers, with a real store.
struct World {
    store: Store,
    events: Events,
    shutdown: Shutdown,
    account: AccountId,
    ann: InboxId,
    ben: InboxId,
    domain: DomainId,
    token: Secret,
    token_id: TokenId,
    addresses: [SocketAddr; 3],
    certificate: CertificateDer<'static>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Inboxes `ann` and `ben`; `acme.test` verified, `pending.test` pending, `failed.test` verified once.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (dir, store, account) = testing::store_with_account().await;
        let ann = testing::inbox(&store, &account, "ann").await;
        let ben = testing::inbox(&store, &account, "ben").await;
        store.ensure_platform_account(crate::clock::Timestamp::real()).await.unwrap();
        let token = Token::generate().unwrap();
        let new = NewToken::new("t", Scope::Account(account.clone()), token.hash());
        let token_id = store.token_create(new, 10, crate::clock::Timestamp::real()).await.unwrap().id;

        let mut config = Config::default();
        config.data_dir.0 = dir.path().to_owned();
        config.limits.message_size = 64 * 1024;
        config.limits.recipients = 3;
        config.queue.hop_limit = 5;
        change(&mut config);
        let config = Arc::new(config);
        let (tls, certificate) = certificate(dir.path());
        let (events, clock, shutdown) = (store.events().clone(), Clock::System, Shutdown::new());
        let mailboxes = MailboxService::new(store.clone(), &config.limits);
        let authenticator =
            Authenticator::new(store.clone(), clock.clone(), config.platform.domain.clone(), &config.limits);
        let submission = outbound(&config, &store, &clock, &mailboxes).await;
        let domain = claim(&store, &account, "acme.test", "verified", true).await;
        claim(&store, &account, "pending.test", "pending", false).await;
        claim(&store, &account, "failed.test", "failed", true).await;
        let spool = Spool::open(dir.path(), &config.limits).unwrap();
        let inbound = Inbound::new(Arc::clone(&config), store.clone(), clock.clone(), mailboxes, WorkPool::default());
        let server = Arc::new(SubmissionServer {
            config: Arc::clone(&config),
            tls: tls.clone(),
            authenticator,
            submission,
            spool: spool.clone(),
        });
        let mx = Arc::new(MxServer { config, tls, inbound, spool });
        let (submission, at_submission) = listen().await;
        let (submissions, at_submissions) = listen().await;
        let (mx_listener, at_mx) = listen().await;
        shutdown.spawn(super::submission(submission, Arc::clone(&server), false, shutdown.clone()));
        shutdown.spawn(super::submission(submissions, server, true, shutdown.clone()));
        shutdown.spawn(super::mx(mx_listener, mx, shutdown.clone()));
        Self {
            store,
            events,
            shutdown,
            account,
            ann,
            ben,
            domain,
            token: token.secret().clone(),
            token_id,
            addresses: [at_submission, at_submissions, at_mx],
            certificate,
            _dir: dir,
        }
    }

    async fn connect(&self, server: Listener) -> Client {
        let [submission, submissions, mx] = self.addresses;
        let connect = async |address| TcpStream::connect::<SocketAddr>(address).await.unwrap();
        let client = |stream| Client { stream: Some(stream), certificate: self.certificate.clone(), input: Vec::new() };
        match server {
            Listener::Submission => client(Box::new(connect(submission).await)),
            Listener::Mx => client(Box::new(connect(mx).await)),
            Listener::Submissions => {
                let mut client = client(Box::new(connect(submissions).await));
                client.start_tls().await;
                client
            }
        }
    }

    /// A client that has logged in as `user`.
    async fn logged_in(&self, user: &str) -> Client {
        let mut client = self.connect(Listener::Submissions).await;
        client.expect("220 ").await;
        client.say("EHLO client.example", "250").await;
        client.say(&format!("AUTH PLAIN {}", self.plain(user)), "235 2.7.0").await;
        client
    }

    fn plain(&self, user: &str) -> String {
        base64(&format!("\0{user}\0{}", self.token.reveal()))
    }

    /// The messages in an inbox's INBOX, whole.
    async fn mail(&self, inbox: &InboxId) -> Vec<String> {
        let mut all = Vec::new();
        let page = self.store.emails(vec![inbox.clone()], EmailFilter::default(), 100).await.unwrap();
        for row in page.rows {
            let raw = self.store.message_raw(inbox, &row.message.id).await.unwrap().unwrap().into_bytes();
            all.push(String::from_utf8(raw).unwrap());
        }
        all
    }

    /// How many rows a table has.
    async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.store.read(move |c| c.query_row(&sql, params![], |row| row.get(0))).await.unwrap()
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn certificate(dir: &std::path::Path) -> (ServerTls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (ServerTls::load(&chain, &key).unwrap(), made.cert.der().clone())
}

/// A claim that signs with the platform's key: its first token is that key's selector.
async fn claim(store: &Store, account: &AccountId, name: &str, status: &'static str, ever: bool) -> DomainId {
    let id = DomainId::new();
    let (made, account, name) = (id.clone(), account.clone(), DomainName::parse(name).unwrap());
    store
        .write(move |c| {
            let sql = "INSERT INTO custom_domain (id, account_id, name, status, receiving, dkim_tokens, takes_mail,
                           verified_at, window_ends_at, created_at, updated_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, 'inboxlayer b c', ?5, 0, 9000000000000, 0, 0)";
            c.execute(sql, params![made, account, name, status, ever])?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    id
}

/// A data directory whose store has the platform's key: making one takes a while, so all worlds share one.
async fn template() -> &'static (tempfile::TempDir, Vec<u8>, String) {
    static TEMPLATE: tokio::sync::OnceCell<(tempfile::TempDir, Vec<u8>, String)> = tokio::sync::OnceCell::const_new();
    TEMPLATE
        .get_or_init(async || {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            Keys::open(store.clone(), dir.path(), &Config::default(), Clock::System).await.unwrap();
            let sealed = store.dkim_sealed(SELECTOR, 0).await.unwrap().unwrap();
            let public = store.dkim_public(SELECTOR).await.unwrap().unwrap();
            (dir, sealed, public)
        })
        .await
}

/// The submission service; its queue does not run, so what is accepted stays in it.
async fn outbound(config: &Arc<Config>, store: &Store, clock: &Clock, mailboxes: &MailboxService) -> Submission {
    let (dir, sealed, public) = template().await;
    std::fs::copy(dir.path().join("secret.key"), config.data_dir.0.join("secret.key")).unwrap();
    let now = crate::clock::Timestamp::real();
    store.dkim_put(SELECTOR.into(), None, sealed.clone(), public.clone(), now).await.unwrap();
    let keys = Keys::open(store.clone(), &config.data_dir.0, config, Clock::System).await.unwrap();
    let (config, store, clock, mailboxes) = (Arc::clone(config), store.clone(), clock.clone(), mailboxes.clone());
    let (resolver, signer) = (Resolver::new(&config.dns).unwrap(), keys.signer());
    let queue = Queue::new(
        Arc::clone(&config),
        store.clone(),
        clock.clone(),
        mailboxes.clone(),
        signer.clone(),
        resolver,
        AttemptTimes::default(),
    )
    .unwrap();
    Submission::new(config, store, clock, mailboxes, signer, keys.secrets(), queue)
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A client that sends raw octets.
struct Client {
    stream: Option<Box<dyn Wire>>,
    certificate: CertificateDer<'static>,
    input: Vec<u8>,
}

impl Client {
    /// Sends octets as they are.
    async fn send(&mut self, octets: &[u8]) {
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(octets).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// Reads one line, without its CRLF; `None` when the server has closed.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
                let line = self.input.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            // Only a hang ends here: no reply takes a minute.
            let read = self.stream.as_mut().unwrap().read_buf(&mut self.input);
            let read = tokio::time::timeout(Duration::from_secs(60), read).await.expect("a reply");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads a whole reply; its last line begins so.
    async fn expect(&mut self, prefix: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("closed, not {prefix:?}; before: {lines:?}"));
            let goes_on = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !goes_on {
                break;
            }
        }
        assert!(lines.last().unwrap().starts_with(prefix), "{lines:?}, not {prefix:?}");
        lines
    }

    async fn say(&mut self, command: &str, prefix: &str) -> Vec<String> {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.expect(prefix).await
    }

    /// The server has closed without another reply.
    async fn expect_end(&mut self) {
        assert_eq!(self.line().await, None);
    }

    async fn start_tls(&mut self) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.stream.take().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        self.stream = Some(Box::new(stream));
        assert!(self.input.is_empty(), "octets before TLS: {:?}", self.input);
    }
}
