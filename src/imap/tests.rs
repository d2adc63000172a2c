//! The server over real sockets, with a real store and real TLS.

mod appending;
mod bad_input;
mod binary;
mod condstore;
mod damaged;
mod dialogues;
mod enable;
mod log_in;
mod mailboxes;
mod model;
mod multi_search;
mod notify;
mod object_ids;
mod qresync;
mod search;
mod search_index;
mod sessions;
mod sort;
mod syntax;
mod uid_only;
mod watching;

use super::{ImapServer, PROGRESS_EVERY, serve};
use crate::address::DomainName;
use crate::auth::login::{Authenticator, Scope};
use crate::auth::token::Token;
use crate::clock::Clock;
use crate::config::{Config, HumanDuration};
use crate::events::{Event, Events};
use crate::id::{AccountId, InboxId, TokenId};
use crate::mailbox::MailboxService;
use crate::net::listener::Shutdown;
use crate::net::tls::ServerTls;
use crate::reading::Reading;
use crate::resources::reading::ReadingLog;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::secret::Secret;
use crate::store::inboxes::NewInbox;
use crate::store::names::NameLimits;
use crate::store::testing::{put, waiting_writes};
use crate::store::tokens::NewToken;
use crate::store::{Store, StoreError};
use rustls_pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A server on port 0, with the inbox `anna` in it.
struct World {
    dir: TempDir,
    store: Store,
    events: Events,
    account: AccountId,
    inbox: InboxId,
    token: Secret,
    token_id: TokenId,
    plaintext: SocketAddr,
    tls: SocketAddr,
    shutdown: Shutdown,
    config: Config,
}

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

/// A client that reads and writes lines.
struct Client {
    stream: BufStream<Box<dyn Both>>,
    tag: u32,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::telling(PROGRESS_EVERY, change).await
    }

    /// Clients hear this often that a long command is still running.
    async fn telling(progress_every: Duration, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).unwrap();
        let clock = Clock::System;
        let account = store.account_create("x".into(), clock.now()).await.unwrap().id;
        let new = NewInbox::new(account.clone(), "anna".parse().unwrap());
        let inbox = store.inbox_create(new, NameLimits::new(10, 10), clock.now()).await.unwrap().id;
        let token = Token::generate().unwrap();
        let scope = Scope::Account(account.clone());
        let new = NewToken::new("t", scope, token.hash());
        let token_id = store.token_create(new, 10, clock.now()).await.unwrap().id;

        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (pem, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&pem, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();

        let mut config = Config::default();
        change(&mut config);
        let (plaintext, tls, shutdown) = Self::serve(&dir, &store, &config, progress_every).await;
        let (events, token) = (store.events().clone(), token.secret().clone());
        Self { dir, store, events, account, inbox, token, token_id, plaintext, tls, shutdown, config }
    }

    /// With `count` messages in INBOX, none of them `\Recent`.
    async fn of(messages: usize) -> Self {
        let world = Self::new().await;
        for _ in 0..messages {
            world.arrives("From: a@b\r\nSubject: s\r\n\r\nbody\r\n").await;
        }
        world.user().await.ok("SELECT INBOX").await;
        world
    }

    /// Serves a store on two ports: plaintext, and TLS.
    async fn serve(
        dir: &TempDir,
        store: &Store,
        config: &Config,
        progress_every: Duration,
    ) -> (SocketAddr, SocketAddr, Shutdown) {
        let (pem, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let limits = config.limits.clone();
        let clock = Clock::System;
        let platform = DomainName::parse("inboxlayer.dev").unwrap();
        let server = Arc::new(ImapServer {
            progress_every,
            authenticator: Authenticator::new(store.clone(), clock, platform, &config.limits),
            spool: Spool::open(dir.path(), &config.limits).unwrap(),
            reading: Reading::new(config, WorkPool::default(), ReadingLog::default()),
            config: Arc::new(config.clone()),
            mailboxes: MailboxService::new(store.clone(), &limits),
            store: store.clone(),
            tls: ServerTls::load(&pem, &key).unwrap(),
        });
        let shutdown = Shutdown::new();
        let mut addresses = Vec::new();
        for implicit_tls in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (server, ending) = (Arc::clone(&server), shutdown.clone());
            shutdown.spawn(serve(listener, server, implicit_tls, ending));
        }
        (addresses[0], addresses[1], shutdown)
    }

    /// The same after a restart: the store has been closed and opened again.
    async fn restarted(self) -> Self {
        self.shutdown.request();
        assert!(self.shutdown.finished(std::time::Duration::from_secs(20)).await);
        let Self { dir, store, events, account, inbox, token, token_id, config, .. } = self;
        drop((store, events));
        let store = Store::open(&dir.path().join("data")).unwrap();
        let (plaintext, tls, shutdown) = Self::serve(&dir, &store, &config, PROGRESS_EVERY).await;
        let events = store.events().clone();
        Self { dir, store, events, account, inbox, token, token_id, plaintext, tls, shutdown, config }
    }

    async fn encrypt(&self, stream: impl Both + 'static) -> Box<dyn Both> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = rustls_pki_types::CertificateDer::from_pem_file(self.dir.path().join("cert.pem")).unwrap();
        roots.add(pem).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Box::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap())
    }

    /// Connects without TLS and reads the greeting.
    async fn in_the_clear(&self) -> Client {
        let stream = TcpStream::connect(self.plaintext).await.unwrap();
        let mut client = Client::over(Box::new(stream));
        assert!(client.line().await.starts_with("* OK [CAPABILITY IMAP4rev1 "));
        client
    }

    /// Connects over TLS and reads the greeting.
    async fn not_authenticated(&self) -> Client {
        let stream = TcpStream::connect(self.tls).await.unwrap();
        let mut client = Client::over(self.encrypt(stream).await);
        assert!(client.line().await.starts_with("* OK [CAPABILITY IMAP4rev1 "));
        client
    }

    /// Logs in.
    async fn user(&self) -> Client {
        let mut client = self.not_authenticated().await;
        let answer = client.ask(&format!("LOGIN anna@inboxlayer.dev {}", self.token.reveal())).await;
        assert!(answer.last().unwrap().contains("OK [CAPABILITY"), "{answer:?}");
        client
    }

    /// A message arrives in INBOX, as the inbound service does it.
    async fn arrives(&self, raw: &str) {
        put(&self.store, &self.inbox, raw.as_bytes()).await;
    }
}

impl Client {
    fn over(stream: Box<dyn Both>) -> Self {
        Self { stream: BufStream::new(stream), tag: 0 }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// One response, literals included, without its last CRLF; empty at the end of the connection.
    async fn response(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            loop {
                match self.stream.read_u8().await {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => return bytes,
                }
                if bytes.ends_with(b"\r\n") {
                    break;
                }
            }
            bytes.truncate(bytes.len() - 2);
            let line = String::from_utf8_lossy(&bytes[start..]).into_owned();
            let literal = line.strip_suffix('}').and_then(|l| l.rsplit_once('{')).and_then(|(_, n)| n.parse().ok());
            let Some(length) = literal else { return bytes };
            bytes.extend_from_slice(b"\r\n");
            let mut literal = vec![0; length];
            self.stream.read_exact(&mut literal).await.unwrap();
            bytes.extend_from_slice(&literal);
        }
    }

    async fn line(&mut self) -> String {
        let response = tokio::time::timeout(std::time::Duration::from_secs(20), self.response()).await;
        String::from_utf8_lossy(&response.expect("an answer")).into_owned()
    }

    /// Sends a command and reads up to its tagged response.
    async fn ask(&mut self, command: &str) -> Vec<String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} {command}\r\n")).await;
        self.answer(&tag).await
    }

    async fn answer(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let done = line.is_empty() || line.starts_with(&format!("{tag} ")) || line.starts_with("* BYE");
            lines.push(line);
            if done {
                return lines;
            }
        }
    }

    /// Sends a command that must be answered OK; the untagged responses.
    async fn ok(&mut self, command: &str) -> Vec<String> {
        let mut lines = self.ask(command).await;
        let last = lines.pop().unwrap();
        assert!(last.split(' ').nth(1) == Some("OK"), "{command}: {last}");
        lines
    }
}

fn short_timeouts(config: &mut Config) {
    config.limits.imap_timeout = HumanDuration::seconds(1);
}

/// The number after a word of a response.
fn number_after(line: &str, word: &str) -> u64 {
    let (_, after) = line.split_once(word).unwrap_or_else(|| panic!("{word} in {line}"));
    let digits = after.trim_start_matches([' ', '(']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_else(|_| panic!("{word} in {line}"))
}

/// The same in the line that has the word.
fn number_of(lines: &[String], word: &str) -> u64 {
    let line = lines.iter().find(|line| line.contains(word));
    number_after(line.unwrap_or_else(|| panic!("{word} in {lines:?}")), word)
}
