//! An Amazon SES for tests: the verbs that are called, as its API reference has them, with faults on demand.
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Operations.html>
//!
//! It knows nothing of this program: the stories use this very file.

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

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of AWS: status and type.
    Error(u16, &'static str),
    /// No answer, and nothing done.
    Silence,
    /// What was asked is done, and the answer is lost.
    LostAnswer,
    /// What was asked is done, and the answer comes when the fault is over.
    LateAnswer,
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

    /// From now on every call ends in this.
    pub(crate) fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.fault.send_replace(fault.into().map(|fault| ("", fault)));
    }

    /// From now on every call by this method does.
    pub(crate) fn fault_of(&self, method: &'static str, fault: Fault) {
        self.fault.send_replace(Some((method, fault)));
    }

    /// An identity that somebody else has made, or that has got another state.
    pub(crate) fn put(&self, name: &str, identity: Value) {
        self.account.lock().unwrap().identities.insert(name.into(), identity);
    }

    pub(crate) fn get(&self, name: &str) -> Value {
        self.account.lock().unwrap().identities[name].clone()
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

    /// Somebody has switched signing off.
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

    /// Somebody has taken the MAIL FROM domain away.
    pub(crate) fn forget_mail_from(&self, name: &str) {
        let attributes = json!({"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"});
        self.account.lock().unwrap().identities.get_mut(name).unwrap()["MailFromAttributes"] = attributes;
    }

    /// The MAIL FROM domain of an identity.
    pub(crate) fn mail_from(&self, name: &str) -> Option<String> {
        self.get(name)["MailFromAttributes"]["MailFromDomain"].as_str().map(str::to_owned)
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

/// An identity with Easy DKIM, as SES shows one that it has not looked for yet.
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

/// The attributes that a request leads to. Without a domain, or with an empty one, there is none.
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
