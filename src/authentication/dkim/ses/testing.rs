//! An Amazon SES for tests: the four verbs that are called, as its API reference has them, with faults on demand.
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Operations.html>

use super::client::Client;
use super::{PATIENCE, Ses};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::store::Store;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

const IDENTITIES: &str = "/v2/email/identities";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of AWS: status and type.
    Error(u16, &'static str),
    /// No answer, and nothing done.
    Silence,
    /// What was asked is done, and the answer is lost.
    LostAnswer,
}

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) body: Value,
    pub(crate) authorization: String,
}

#[derive(Debug, Default)]
struct Account {
    identities: BTreeMap<String, Value>,
    fault: Option<Fault>,
    calls: Vec<Call>,
    made: usize,
}

/// The server; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct FakeSes {
    pub(crate) endpoint: String,
    account: Arc<Mutex<Account>>,
}

impl FakeSes {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let fake = Self { endpoint: format!("http://{}", listener.local_addr().unwrap()), account: Arc::default() };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    /// A service that speaks with this server.
    pub(crate) async fn service(&self, store: &Store, clock: &Clock) -> Ses {
        self.service_with(store, clock, PATIENCE).await
    }

    /// The same with another patience.
    pub(crate) async fn service_with(&self, store: &Store, clock: &Clock, patience: Duration) -> Ses {
        service(&self.endpoint, store, clock, patience).await
    }

    /// From now on every call ends in this.
    pub(crate) fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.account.lock().unwrap().fault = fault.into();
    }

    /// An identity that somebody else has made, or that has got another state.
    pub(crate) fn put(&self, name: &str, identity: Value) {
        self.account.lock().unwrap().identities.insert(name.into(), identity);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.account.lock().unwrap().identities.remove(name).unwrap();
    }

    /// SES has found the DKIM records, or given up on them.
    pub(crate) fn says(&self, name: &str, status: &str, sending: bool) {
        let mut account = self.account.lock().unwrap();
        let identity = account.identities.get_mut(name).unwrap();
        identity["DkimAttributes"]["Status"] = status.into();
        identity["VerifiedForSendingStatus"] = sending.into();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.account.lock().unwrap().identities.keys().cloned().collect()
    }

    /// What was called since the last time.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.account.lock().unwrap().calls)
    }

    pub(crate) fn verbs(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.verb).collect()
    }
}

/// A service that speaks with an endpoint.
pub(super) async fn service(endpoint: &str, store: &Store, clock: &Clock, patience: Duration) -> Ses {
    let ses = config::Ses { region: Some("eu-west-1".into()), endpoint: Some(endpoint.into()) };
    let config = Config { ses, ..Config::default() };
    let client = Client::for_tests(&config.ses, patience).await;
    Ses::with(client, &config, store.clone(), clock.clone(), patience)
}

/// An identity with Easy DKIM, as SES shows one that it has not looked for yet.
pub(crate) fn identity(tokens: [&str; 3], tags: &Value) -> Value {
    json!({
        "IdentityType": "DOMAIN", "FeedbackForwardingStatus": true, "VerifiedForSendingStatus": false,
        "DkimAttributes": {
            "SigningEnabled": true, "Status": "NOT_STARTED", "Tokens": tokens, "SigningAttributesOrigin": "AWS_SES",
            "NextSigningKeyLength": "RSA_2048_BIT", "CurrentSigningKeyLength": "RSA_2048_BIT",
            "LastKeyGenerationTimestamp": 1_764_000_000
        },
        "Policies": {}, "Tags": tags, "VerificationStatus": "NOT_STARTED"
    })
}

async fn answer(State(fake): State<FakeSes>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (fault, answer) = {
        let mut account = fake.account.lock().unwrap();
        account.calls.push(Call { verb: format!("{method} {}", uri.path()), body: body.clone(), authorization });
        let fault = account.fault;
        let done = matches!(fault, None | Some(Fault::LostAnswer));
        (fault, done.then(|| account.act(&method, uri.path(), &body)))
    };
    match (fault, answer) {
        (None, Some(answer)) => answer,
        (Some(Fault::Error(status, kind)), _) => error(status, kind, "a fault of the test"),
        _ => std::future::pending().await,
    }
}

impl Account {
    fn act(&mut self, method: &Method, path: &str, body: &Value) -> Response {
        if path == IDENTITIES && *method == Method::POST {
            return self.create(body);
        }
        let name = path.trim_start_matches(IDENTITIES).trim_matches('/');
        let name = name.trim_end_matches("/dkim/signing").to_owned();
        let Some(identity) = self.identities.get_mut(&name) else {
            return error(404, "NotFoundException", &format!("Email identity {name} does not exist."));
        };
        match method.as_str() {
            "GET" => ok(identity),
            "DELETE" => {
                self.identities.remove(&name);
                ok(&json!({}))
            }
            "PUT" => {
                identity["DkimAttributes"]["Status"] = "PENDING".into();
                ok(&json!({"DkimStatus": "PENDING", "DkimTokens": identity["DkimAttributes"]["Tokens"]}))
            }
            _ => error(405, "BadRequestException", "no such verb"),
        }
    }

    fn create(&mut self, body: &Value) -> Response {
        let name = body["EmailIdentity"].as_str().unwrap_or_default().to_owned();
        if self.identities.contains_key(&name) {
            return error(400, "AlreadyExistsException", &format!("Email identity {name} already exist."));
        }
        self.made += 1;
        let token = |n: usize| format!("{:0>32}", format!("{}t{n}", self.made));
        let made = identity([&token(1), &token(2), &token(3)], &body["Tags"]);
        let answer = json!({
            "IdentityType": "DOMAIN", "VerifiedForSendingStatus": false, "DkimAttributes": made["DkimAttributes"]
        });
        self.identities.insert(name, made);
        ok(&answer)
    }
}

fn ok(body: &Value) -> Response {
    (StatusCode::OK, [("content-type", "application/json")], body.to_string()).into_response()
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let headers = [("content-type", "application/json"), ("x-amzn-errortype", kind)];
    (status, headers, json!({"message": message}).to_string()).into_response()
}
