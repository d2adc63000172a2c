//! Real sockets, real DNS: a queue among scripted mail servers.

mod attempts;
mod fairness;
mod hops;
mod identities;
mod local;
mod next_host;
mod reports;
mod reuse;
mod server;
mod two_runners;

use super::*;
use crate::auth::login::Login;
use crate::dkim::Keys;
use crate::dns::authority::play::{Kind, Play};
use crate::dns::authority::{Authority, Zones};
use crate::envelope::{MailParameters, RecipientParameters, Recipients};
use crate::id::{AccountId, DomainId, InboxId};
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::resources::Owner;
use crate::store::params;
use crate::store::queue::QueueEntry;
use crate::store::sent::Note;
use crate::store::testing;
use crate::submission::{Accepted, Draft, Recipient, RecipientError, Refusal, Submission};
use server::{Script, Server};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub const MESSAGE: &[u8] = b"From: Me <x@y.example>\r\nSubject: hi\r\n\r\nbody\r\n";

const SHORT: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    command: Duration::from_secs(5),
    block: Duration::from_secs(5),
    end_of_data: Duration::from_secs(5),
};

/// A data directory with an account, inboxes `hello` and `friend`, a verified `acme.com`, and all keys: those take long.
static TEMPLATE: OnceCell<Template> = OnceCell::const_new();

struct Template {
    dir: TempDir,
    account: AccountId,
    hello: InboxId,
    acme: DomainId,
}

async fn template() -> Template {
    let (dir, store, account) = testing::store_with_account().await;
    let hello = testing::inbox(&store, &account, "hello").await;
    testing::inbox(&store, &account, "friend").await;
    // What is in the store then is the queue's alone. `local` tests the copies.
    store.write(|c| c.execute("UPDATE inbox SET save_sent = 0", params![])).await.unwrap();
    let acme = DomainId::new();
    let (id, owner) = (acme.clone(), account.clone());
    let sql =
        "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, takes_mail, created_at, updated_at)
               VALUES (?1, ?2, 'acme.com', 'verified', 'tokenone tokentwo tokenthree', 1, 0, 0)";
    store.write(move |c| c.execute(sql, params![id, owner])).await.unwrap();
    Keys::open(store.clone(), dir.path(), &Config::default(), Clock::System).await.unwrap();
    while !store.dkim_missing().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close().await;
    Template { dir, account, hello, acme }
}

pub struct World {
    _dir: TempDir,
    pub config: Arc<Config>,
    pub store: Store,
    pub clock: Clock,
    pub queue: Queue,
    pub submission: Submission,
    pub login: Login,
    pub acme: DomainId,
    pub keys: Keys,
    pub play: Play,
    /// The MX at 127.0.0.1; the others share its port.
    pub mx: Server,
    dns: Shutdown,
}

impl Drop for World {
    fn drop(&mut self) {
        self.dns.request();
    }
}

impl World {
    pub async fn open() -> Self {
        Self::configured(|_| {}).await
    }

    /// `example.org` has its MX at 127.0.0.1, as every name that is not set.
    pub async fn configured(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::with_times(AttemptTimes { smtp: SHORT, ..AttemptTimes::default() }, adjust).await
    }

    pub async fn with_times(times: AttemptTimes, adjust: impl FnOnce(&mut Config)) -> Self {
        let template = TEMPLATE.get_or_init(template).await;
        let dir = tempfile::tempdir().unwrap();
        testing::copy(template.dir.path(), dir.path());
        let mx = Server::start((Ipv4Addr::LOCALHOST, 0).into(), Script::default()).await;

        let play = Play::new(Ipv4Addr::LOCALHOST);
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let mut config = Config::default();
        config.dns.resolvers = vec![authority.address()];
        config.queue.smtp_port = mx.address.port();
        config.queue.allow_networks = AllowedNetworks::loopback();
        adjust(&mut config);
        let dns = Shutdown::new();
        tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, dns.clone()));

        let config = Arc::new(config);
        let store = Store::open(dir.path()).unwrap();
        let keys = Keys::open(store.clone(), dir.path(), &config, Clock::System).await.unwrap();
        let (clock, mailboxes) = (Clock::manual(), MailboxService::new(store.clone(), &config.limits));
        let resolver = Resolver::new(&config.dns).unwrap();
        let queue = Queue::new(
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            mailboxes.clone(),
            keys.signer(),
            resolver,
            times,
        );
        let queue = queue.unwrap();
        let submission = Submission::new(
            Arc::clone(&config),
            store.clone(),
            clock.clone(),
            mailboxes,
            keys.signer(),
            keys.secrets(),
            queue.clone(),
        );
        let login = Login::for_test(template.account.clone(), template.hello.clone(), "hello");
        let acme = template.acme.clone();
        Self { _dir: dir, config, store, clock, queue, submission, login, acme, keys, play, mx, dns }
    }

    /// Logged in at the custom domain.
    pub fn log_in_at_acme(&mut self) {
        self.login.address = "hello@acme.com".parse().unwrap();
        self.login.domain = Some(self.acme.clone());
    }

    /// Logged in to another account, of one inbox.
    pub async fn other_account(&self, inbox: &str) -> Login {
        let account = AccountId::new();
        let id = account.clone();
        let make = move |c: &crate::store::Transaction<'_>| {
            c.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'x', 0)", params![id])
        };
        self.store.write(move |c| make(c)).await.unwrap();
        let id = testing::inbox(&self.store, &account, inbox).await;
        Login::for_test(account, id, inbox)
    }

    /// Another mail server, at another address and the same port.
    pub async fn server(&self, ip: [u8; 4], script: Script) -> Server {
        Server::start(SocketAddr::new(IpAddr::from(ip), self.config.queue.smtp_port), script).await
    }

    pub fn set(&self, owner: &str, kind: Kind, values: &[&str]) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.play.set(owner, kind, &values, 60).unwrap();
    }

    pub async fn send(&self, rcpt_to: &[&str]) -> Accepted {
        self.submit(rcpt_to, MESSAGE).await.unwrap()
    }

    pub async fn submit(&self, rcpt_to: &[&str], raw: &[u8]) -> Result<Accepted, Refusal> {
        self.submit_as(&self.login, rcpt_to, raw).await
    }

    pub async fn submit_as(&self, login: &Login, rcpt_to: &[&str], raw: &[u8]) -> Result<Accepted, Refusal> {
        self.submit_with(login, rcpt_to, raw, MailParameters::default(), &RecipientParameters::default()).await
    }

    /// The same parameters for all recipients.
    pub async fn submit_with(
        &self,
        login: &Login,
        rcpt_to: &[&str],
        raw: &[u8],
        parameters: MailParameters,
        of_each: &RecipientParameters,
    ) -> Result<Accepted, Refusal> {
        let rcpt_to = self.recipients(rcpt_to, raw.len()).await.unwrap();
        let rcpt_to = Recipients::new(rcpt_to).unwrap().map(|to| (to, of_each.clone()));
        let draft = Draft {
            parameters,
            rcpt_to,
            raw: raw.to_vec().into(),
            protocol: "ESMTPSA",
            client: None,
            send_at: None,
            note: Note::default(),
        };
        self.submission.accept(login, draft).await
    }

    pub async fn recipients(&self, rcpt_to: &[&str], octets: usize) -> Result<Vec<Recipient>, RecipientError> {
        let rcpt_to = rcpt_to.iter().map(|r| r.parse().unwrap()).collect();
        self.submission.recipients(Owner::System, &self.login.inbox, rcpt_to, octets).await
    }

    /// Moves the clock to the next attempt, and makes it.
    pub async fn next_try(&self) {
        let due = self.queue.next_due().await.expect("something to try");
        self.clock.advance_to(due);
        self.queue.settle().await;
    }

    pub async fn queued(&self) -> Vec<QueueEntry> {
        self.store.queue_list(None, None, 100).await.unwrap()
    }

    /// What was said last about the only recipient in the queue.
    pub async fn waiting(&self) -> String {
        let queued = self.queued().await;
        assert_eq!(queued.len(), 1, "{queued:?}");
        assert_eq!(queued[0].deliveries.len(), 1, "{queued:?}");
        queued[0].deliveries[0].last_reply.clone().unwrap_or_default()
    }

    /// The messages in the INBOX of an inbox.
    pub async fn inbox(&self, name: &'static str) -> Vec<String> {
        self.mailbox(name, "INBOX").await
    }

    /// The messages in a mailbox of an inbox.
    pub async fn mailbox(&self, name: &'static str, mailbox: &'static str) -> Vec<String> {
        let read = move |c: &crate::store::Transaction<'_>| {
            let sql = "SELECT m.content_id FROM message m JOIN inbox i ON i.id = m.inbox_id
                       JOIN mailbox p ON p.id = m.mailbox_id WHERE i.name = ?1 AND p.name = ?2 ORDER BY m.uid";
            c.query(sql, params![name, mailbox], |row| row.get::<crate::id::ContentId>(0))
        };
        let mut messages = Vec::new();
        for content in self.store.read(read).await.unwrap() {
            messages.push(String::from_utf8(self.store.content(content).await.unwrap().into_bytes()).unwrap());
        }
        messages
    }

    /// The only bounce in the sender's INBOX. There may be a report of the delay before it.
    pub async fn bounce(&self) -> String {
        let mut inbox = self.inbox("hello").await;
        inbox.retain(|report| !report.contains("Action: delayed"));
        assert_eq!(inbox.len(), 1, "{inbox:?}");
        inbox.pop().unwrap()
    }

    /// The only message in the sender's INBOX.
    pub async fn report(&self) -> String {
        let mut inbox = self.inbox("hello").await;
        assert_eq!(inbox.len(), 1, "{inbox:?}");
        inbox.pop().unwrap()
    }

    pub async fn execute(&self, sql: &'static str) {
        self.store.write(move |c| c.batch(sql)).await.unwrap();
    }

    pub async fn count(&self, table: &'static str) -> i64 {
        while self.store.bodies_sweep(std::time::Duration::ZERO).await.unwrap() {}
        let sql = format!("SELECT count(*) FROM {table}");
        self.store.read(move |c| c.query_row(&sql, params![], |r| r.get(0))).await.unwrap()
    }
}

impl Queue {
    /// The next message to any server opens a connection.
    async fn close_idle(&self) {
        self.runner.work().deliverer.client.close_idle().await;
    }
}
