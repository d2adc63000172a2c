//! A fake Amazon SES for tests: the calls in use, as in its API reference, with faults on demand.
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Operations.html>
//!
//! Independent of this program: the stories use this file too.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;

const IDENTITIES: &str = "/v2/email/identities";

/// A simulated fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An AWS error: status and type.
    Error(u16, &'static str),
    /// No response; nothing is done.
    Silence,
    /// The request is performed, and the response is lost.
    LostAnswer,
    /// The request is performed, and the response comes after the fault ends.
    LateAnswer,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) body: Value,
    pub(crate) authorization: String,
}

#[derive(Debug, Default)]
struct Account {
    identities: BTreeMap<String, Value>,
    calls: Vec<Call>,
    made: usize,
}

/// The server; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct FakeSes {
    pub(crate) endpoint: String,
    account: Arc<Mutex<Account>>,
    fault: watch::Sender<Option<(&'static str, Fault)>>,
}

impl FakeSes {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { endpoint, account: Arc::default(), fault: watch::Sender::new(None) };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    /// Every call fails like this from now on.
    pub(crate) fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.fault.send_replace(fault.into().map(|fault| ("", fault)));
    }

    /// Every call with this method fails like this from now on.
    pub(crate) fn fault_of(&self, method: &'static str, fault: Fault) {
        self.fault.send_replace(Some((method, fault)));
    }

    /// Creates or changes an identity from outside.
    pub(crate) fn put(&self, name: &str, identity: Value) {
        self.account.lock().unwrap().identities.insert(name.into(), identity);
    }

    pub(crate) fn get(&self, name: &str) -> Value {
        self.account.lock().unwrap().identities[name].clone()
    }

    pub(crate) fn remove(&self, name: &str) {
        self.account.lock().unwrap().identities.remove(name).unwrap();
    }

    /// SES has found the DKIM records, or given up.
    pub(crate) fn says(&self, name: &str, status: &str, sending: bool) {
        let mut account = self.account.lock().unwrap();
        let identity = account.identities.get_mut(name).unwrap();
        identity["DkimAttributes"]["Status"] = status.into();
        identity["VerifiedForSendingStatus"] = sending.into();
    }

    /// Signing is switched off from outside.
    pub(crate) fn stop_signing(&self, name: &str) {
        let mut account = self.account.lock().unwrap();
        account.identities.get_mut(name).unwrap()["DkimAttributes"]["SigningEnabled"] = false.into();
    }

    /// SES has looked for the MX record of a MAIL FROM domain.
    pub(crate) fn says_of_mail_from(&self, name: &str, status: &str) {
        let mut account = self.account.lock().unwrap();
        let attributes = &mut account.identities.get_mut(name).unwrap()["MailFromAttributes"];
        assert!(attributes["MailFromDomain"].is_string(), "{attributes}");
        attributes["MailFromDomainStatus"] = status.into();
    }

    /// The MAIL FROM domain is removed from outside.
    pub(crate) fn forget_mail_from(&self, name: &str) {
        let attributes = json!({"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"});
        self.account.lock().unwrap().identities.get_mut(name).unwrap()["MailFromAttributes"] = attributes;
    }

    pub(crate) fn mail_from(&self, name: &str) -> Option<String> {
        self.get(name)["MailFromAttributes"]["MailFromDomain"].as_str().map(str::to_owned)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.account.lock().unwrap().identities.keys().cloned().collect()
    }

    /// The requests since the last call.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.account.lock().unwrap().calls)
    }

    pub(crate) fn verbs(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.verb).collect()
    }
}

/// An identity with Easy DKIM that SES has not verified yet.
pub(crate) fn identity(tokens: [&str; 3], tags: &Value) -> Value {
    json!({
        "IdentityType": "DOMAIN", "FeedbackForwardingStatus": true, "VerifiedForSendingStatus": false,
        "DkimAttributes": {
            "SigningEnabled": true, "Status": "NOT_STARTED", "Tokens": tokens, "SigningAttributesOrigin": "AWS_SES",
            "SigningHostedZone": "dkim.amazonses.com",
            "NextSigningKeyLength": "RSA_2048_BIT", "CurrentSigningKeyLength": "RSA_2048_BIT",
            "LastKeyGenerationTimestamp": 1_764_000_000
        },
        "MailFromAttributes": {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"},
        "Policies": {}, "Tags": tags, "VerificationStatus": "NOT_STARTED"
    })
}

async fn answer(State(fake): State<FakeSes>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let all = *fake.fault.borrow();
    let fault = all.filter(|(of, _)| method.as_str().starts_with(of)).map(|(_, fault)| fault);
    let answer = {
        let mut account = fake.account.lock().unwrap();
        account.calls.push(Call { verb: format!("{method} {}", uri.path()), body: body.clone(), authorization });
        match fault {
            Some(Fault::Error(status, kind)) => error(status, kind, "a fault of the test"),
            Some(Fault::Silence) => StatusCode::IM_A_TEAPOT.into_response(),
            None | Some(Fault::LostAnswer | Fault::LateAnswer) => account.act(&method, uri.path(), &body),
        }
    };
    match fault {
        None | Some(Fault::Error(..)) => {}
        Some(Fault::LateAnswer) => {
            fake.fault.subscribe().wait_for(|now| *now != all).await.unwrap();
        }
        Some(Fault::Silence | Fault::LostAnswer) => std::future::pending().await,
    }
    answer
}

impl Account {
    fn act(&mut self, method: &Method, path: &str, body: &Value) -> Response {
        if path == IDENTITIES && *method == Method::POST {
            return self.create(body);
        }
        let path = path.trim_start_matches(IDENTITIES).trim_matches('/');
        let (name, of) = path.split_once('/').unwrap_or((path, ""));
        let Some(identity) = self.identities.get_mut(name) else {
            return error(404, "NotFoundException", &format!("Email identity {name} does not exist."));
        };
        match (method.as_str(), of) {
            ("GET", "") => ok(identity),
            ("DELETE", "") => {
                self.identities.remove(name);
                ok(&json!({}))
            }
            ("PUT", "dkim/signing") => {
                identity["DkimAttributes"]["Status"] = "PENDING".into();
                ok(&json!({"DkimStatus": "PENDING", "DkimTokens": identity["DkimAttributes"]["Tokens"]}))
            }
            ("PUT", "dkim") => {
                identity["DkimAttributes"]["SigningEnabled"] = body["SigningEnabled"].clone();
                ok(&json!({}))
            }
            ("PUT", "mail-from") => match mail_from(name, body) {
                Ok(attributes) => {
                    identity["MailFromAttributes"] = attributes;
                    ok(&json!({}))
                }
                Err(message) => error(400, "BadRequestException", &message),
            },
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

/// The attributes set by a request. An empty domain removes the setting.
fn mail_from(name: &str, body: &Value) -> Result<Value, String> {
    let behavior = body["BehaviorOnMxFailure"].as_str().unwrap_or("USE_DEFAULT_VALUE");
    match body["MailFromDomain"].as_str().unwrap_or_default() {
        "" => Ok(json!({"BehaviorOnMxFailure": behavior})),
        domain if domain.ends_with(&format!(".{name}")) => Ok(json!({
            "MailFromDomain": domain, "MailFromDomainStatus": "PENDING", "BehaviorOnMxFailure": behavior
        })),
        domain => Err(format!("Provided MAIL-FROM domain <{domain}> is not subdomain of <{name}>.")),
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
