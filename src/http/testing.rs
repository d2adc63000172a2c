//! A real server on loopback with two accounts, and a JSON client.

use super::{HttpContext, Readiness, Streams, router, serve};
use crate::auth::login::{Authenticator, Scope};
use crate::auth::passwords::Passwords;
use crate::auth::token::Token;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::Keys;
use crate::dns::Resolver;
use crate::id::AccountId;
use crate::mailbox::MailboxService;
use crate::net::listener::Shutdown;
use crate::public_events::PublicEvents;
use crate::queue::{AttemptTimes, Queue};
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::reading::ReadingLog;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::rotation::Rotation;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::testing::settled;
use crate::store::tokens::NewToken;
use crate::submission::Submission;
use crate::verifier::Verifier;
use crate::webhooks::Webhooks;
use axum::Router;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub(crate) struct Tenant {
    pub(crate) account: AccountId,
    pub(crate) token: String,
}

pub(crate) struct World {
    pub(crate) context: HttpContext,
    pub(crate) address: SocketAddr,
    pub(crate) ours: Tenant,
    pub(crate) theirs: Tenant,
    pub(crate) operator: String,
    pub(crate) shutdown: Shutdown,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> &'static str {
        self.json()["code"].as_str().unwrap_or_default().to_owned().leak()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn fields(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.json())).to_owned()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::serving(router).await
    }

    pub(crate) async fn serving(router: impl FnOnce(HttpContext) -> Router) -> Self {
        Self::serving_with(Config::default(), router).await
    }

    pub(crate) async fn serving_with(config: Config, router: impl FnOnce(HttpContext) -> Router) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let clock = Clock::manual();
        let context = context(config, dir.path(), store.clone(), clock.clone()).await;
        let ours = tenant(&store, &clock).await;
        let theirs = tenant(&store, &clock).await;
        let operator = token(&store, &clock, Scope::Operator).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let mut config = Config::clone(&context.config);
        (config.limits.connections, config.limits.connections_per_address) = (100, 100);
        let (router, ending) = (router(context.clone()), shutdown.clone());
        tokio::spawn(async move { serve(listener, router, None, &config, ending).await });
        // Other tests may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { context, address, ours, theirs, operator, shutdown, client: reqwest::Client::new(), _dir: dir }
    }

    pub(crate) async fn token(&self, scope: Scope) -> String {
        token(&self.context.store, &self.context.clock, scope).await
    }

    /// Returns once the readers of the event log get all of our events.
    pub(crate) async fn settled(&self) {
        settled(&self.context.store, &self.ours.account).await;
    }

    pub(crate) fn request(&self, method: &str, token: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        Self::send(self.request("GET", token, path)).await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> Answer {
        Self::send(self.request("DELETE", token, path)).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        Self::send(self.request("POST", token, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        Self::send(self.request("PATCH", token, path).json(&body)).await
    }
}

async fn context(config: Config, dir: &Path, store: Store, clock: Clock) -> HttpContext {
    let config = Arc::new(config);
    let events = store.events().clone();
    let mailboxes = MailboxService::new(store.clone(), &config.limits);
    let platform = config.platform.domain.clone();
    let authenticator = Authenticator::new(store.clone(), clock.clone(), platform, &config.limits);
    let keys = Keys::open(store.clone(), dir, &config, clock.clone()).await.unwrap();
    let resolver = Resolver::new(&config.dns).unwrap();
    let rotation = Rotation::new(&config, store.clone(), clock.clone(), resolver.clone(), keys.clone());
    let signer = keys.signer();
    let queue = Queue::new(
        Arc::clone(&config),
        store.clone(),
        clock.clone(),
        mailboxes.clone(),
        signer,
        resolver.clone(),
        AttemptTimes::default(),
    )
    .unwrap();
    let submission = Submission::new(
        Arc::clone(&config),
        store.clone(),
        clock.clone(),
        mailboxes.clone(),
        keys.signer(),
        keys.secrets(),
        queue.clone(),
    );
    let verifier = Verifier::new(Arc::clone(&config), store.clone(), clock.clone(), resolver.clone());
    let links = keys.links();
    let secrets = keys.secrets();
    let registry = Registry::new(Arc::clone(&config), store.clone(), clock.clone(), keys, verifier);
    let spool = Spool::open(dir, &config.limits).unwrap();
    let reading = Reading::new(&config, WorkPool::default(), ReadingLog::default());
    let public_events = PublicEvents::new(
        store.clone(),
        clock.clone(),
        config.platform.domain.clone(),
        registry.clone(),
        reading.clone(),
        &spool,
    );
    let webhooks =
        Webhooks::new(&config, store.clone(), clock.clone(), &resolver, secrets, public_events.clone()).unwrap();
    let streams = Streams::new(&config.limits, authenticator.clone(), public_events.clone());
    let passwords = Passwords::new(reading.work().clone());
    let creations = HttpContext::creations(&config.limits, &store);
    let readiness = Readiness::new(store.clone());
    HttpContext {
        config,
        store,
        mailboxes,
        clock,
        events,
        authenticator,
        registry,
        public_events,
        streams,
        rotation,
        submission,
        queue,
        webhooks,
        reading,
        spool,
        links,
        creations,
        passwords,
        readiness,
    }
}

async fn tenant(store: &Store, clock: &Clock) -> Tenant {
    let account = store.account_create("tenant".into(), clock.now()).await.unwrap().id;
    let token = token(store, clock, Scope::Account(account.clone())).await;
    Tenant { account, token }
}

async fn token(store: &Store, clock: &Clock, scope: Scope) -> String {
    let token = Token::generate().unwrap();
    let new = NewToken::new("test", scope, token.hash());
    store.token_create(new, 100, clock.now()).await.unwrap();
    Secret::reveal(token.secret()).to_owned()
}
