//! A client of the daemon's REST API. Invariant: the token is sent only in the Authorization header. Errors are RFC
//! 9457 problems; the pages of a list are linked (RFC 8288).

use super::failure::Failure;
use super::printable::{self, printable};
use crate::secret::Secret;
use clap::Args;
use reqwest::header::{CONTENT_TYPE, LINK, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// The daemon to use, and the credentials.
#[derive(Debug, Args)]
pub(super) struct DaemonArgs {
    /// The URL of the daemon.
    #[arg(
        long,
        env = "INBOXLAYER_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        help_heading = "Daemon"
    )]
    url: String,
    /// The API token. Prefer INBOXLAYER_TOKEN: other users can see command lines.
    #[arg(long, env = "INBOXLAYER_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = secret, help_heading = "Daemon")]
    token: Option<Secret>,
}

#[derive(Debug, Args)]
pub(super) struct RestArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// The account to act for, with an operator token.
    #[arg(long, value_name = "ACCOUNT", help_heading = "Daemon")]
    account: Option<String>,
    /// Print the daemon's JSON unchanged.
    #[arg(long, help_heading = "Daemon")]
    pub(super) json: bool,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

pub(super) struct Rest {
    client: reqwest::Client,
    base: String,
    token: Secret,
    account: Option<String>,
}

/// A client of the daemon, its URL and the token.
pub(super) fn connect(args: &DaemonArgs, timeout: Duration) -> Result<(reqwest::Client, String, Secret), Failure> {
    let Some(token) = args.token.clone() else {
        return Err(Failure::usage(
            "no API token given",
            "set INBOXLAYER_TOKEN; the first one is created with `inboxlayer token create --operator` while the daemon is stopped",
        ));
    };
    let mut builder = reqwest::Client::builder().timeout(timeout);
    if args.url.starts_with("http://") {
        // Plain HTTP needs no certificates, so a machine without root certificates works.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|e| Failure::new(chain(&e), "check --url and the system's certificates"))?;
    Ok((client, args.url.trim_end_matches('/').to_owned(), token))
}

impl Rest {
    pub(super) fn new(args: &RestArgs) -> Result<Self, Failure> {
        let (client, base, token) = connect(&args.daemon, Duration::from_secs(60))?;
        Ok(Self { client, base, token, account: args.account.clone() })
    }

    /// With time for requests and answers that hold many messages.
    pub(super) fn for_transfers(args: &RestArgs) -> Result<Self, Failure> {
        let (client, base, token) = connect(&args.daemon, Duration::from_secs(600))?;
        Ok(Self { client, base, token, account: args.account.clone() })
    }

    /// A successful response; null without a body (204).
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None, None).await
    }

    /// A text response.
    pub(super) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let Answer { status, text, .. } = self.send(Method::GET, path, None, None).await?;
        if status.is_success() {
            return Ok(text);
        }
        Err(problem(status, &serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// A POST that creates something in an account; with an operator token the account has to be named.
    pub(super) async fn create(&self, path: &str, mut body: Value) -> Result<Value, Failure> {
        if let (Some(account), Some(fields)) = (&self.account, body.as_object_mut()) {
            fields.insert("account_id".to_owned(), account.clone().into());
        }
        self.post(path, body).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.call(Method::PATCH, path, Some(body), None).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, None, None).await
    }

    /// A POST that may wait for its outcome (RFC 7240 §4.3).
    pub(super) async fn post_and_wait(&self, path: &str, seconds: u64) -> Result<Value, Failure> {
        self.call(Method::POST, path, None, Some(format!("wait={seconds}"))).await
    }

    /// All pages of a list of an account.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        self.pages(path, &self.account).await
    }

    /// All pages of a list that is not of an account, or of one named in the path.
    pub(super) async fn list_all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        self.pages(path, &None).await
    }

    async fn pages(&self, path: &str, account: &Option<String>) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut page = format!("{path}?per_page=100");
        if let Some(account) = account {
            page.push_str(&format!("&account_id={}", encoded(account)));
        }
        self.each_row(page, |row| all.push(row)).await?;
        Ok(all)
    }

    /// Takes each row of a list, page by page from the first one on.
    pub(super) async fn each_row(&self, mut page: String, mut take: impl FnMut(Value)) -> Result<(), Failure> {
        loop {
            let answer = self.send(Method::GET, &page, None, None).await?;
            let next = answer.next.clone();
            let mut body = self.successful(answer)?;
            let rows = if body.is_array() { Some(body) } else { body.get_mut("data").map(Value::take) };
            if let Some(Value::Array(rows)) = rows {
                rows.into_iter().for_each(&mut take);
            }
            match next {
                Some(next) if next != page => page = next,
                _ => return Ok(()),
            }
        }
    }

    /// A POST of JSON that the daemon may refuse, in the inner result, with what it says of another attempt.
    pub(super) async fn post_once(&self, path: &str, json: Vec<u8>) -> Result<Result<Value, Refused>, Failure> {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(self.token.reveal());
        let request = request.header(CONTENT_TYPE, "application/json").body(json);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let retry_after = retry_after(&response);
        let status = response.status();
        let text = response.text().await.map_err(|e| Failure::new(chain(&e), "try again"))?;
        match self.successful(Answer { status, text, next: None }) {
            Err(failure) if !status.is_success() => Ok(Err(Refused { status, retry_after, failure })),
            other => other.map(Ok),
        }
    }

    /// The octets of an answer that is no JSON, or the refusal.
    pub(super) async fn get_octets(&self, path: &str) -> Result<Result<Vec<u8>, Refused>, Failure> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(self.token.reveal());
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let octets = response.bytes().await.map_err(|e| Failure::new(chain(&e), "try again"))?;
        if status.is_success() {
            return Ok(Ok(octets.into()));
        }
        let failure = problem(status, &serde_json::from_slice(&octets).unwrap_or(Value::Null));
        Ok(Err(Refused { status, retry_after, failure }))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        prefer: Option<String>,
    ) -> Result<Value, Failure> {
        self.successful(self.send(method, path, body, prefer).await?)
    }

    /// The JSON of a successful answer.
    fn successful(&self, Answer { status, text, .. }: Answer) -> Result<Value, Failure> {
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            if body.is_null() && !text.is_empty() {
                return Err(Failure::new(
                    format!("{} is not an Inboxlayer API", self.base),
                    "check --url or INBOXLAYER_URL",
                ));
            }
            return Ok(body);
        }
        Err(problem(status, &body))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        prefer: Option<String>,
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.reveal());
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(prefer) = prefer {
            request = request.header("Prefer", prefer);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let next = response.headers().get(LINK).and_then(|link| next_page(link.to_str().ok()?));
        let text = response.text().await.map_err(|e| Failure::new(chain(&e), "try again"))?;
        Ok(Answer { status, text, next })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let fix = "start it with `inboxlayer serve`, or set --url or INBOXLAYER_URL";
        let what = if error.is_connect() { format!("cannot reach the daemon at {}", self.base) } else { chain(error) };
        Failure::new(what, fix)
    }
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A request that the daemon did not carry out.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) failure: Failure,
}

struct Answer {
    status: StatusCode,
    text: String,
    /// The path of the next page, if the answer is a page of a list.
    next: Option<String>,
}

/// The path that a `Link` field of the daemon gives for the next page.
fn next_page(link: &str) -> Option<String> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"");
    (is_next && target.starts_with('/')).then(|| target.to_owned())
}

/// Converts a problem document to a failure.
pub(super) fn problem(status: StatusCode, body: &Value) -> Failure {
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(printable).filter(|t| !t.is_empty());
    let mut what = text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("HTTP status {status}"));
    for error in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |names: [&str; 2]| {
            names.into_iter().find_map(|n| error.get(n).and_then(Value::as_str)).map(printable).unwrap_or_default()
        };
        let message = part(["message", "detail"]);
        // The detail often includes the first one already.
        if !what.contains(&message) {
            what.push_str(&format!("; {}: {message}", part(["field", "pointer"])));
        }
    }
    Failure::new(what, text("fix").unwrap_or_default())
}

/// An error with its sources, which reqwest does not print.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// Percent-encodes text for a query or path (RFC 3986 §2.1).
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// Prints a value as JSON, indented.
pub(super) fn print_json(value: &Value) {
    println!("{}", printable::json(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_becomes_what_and_fix() {
        let body = json!({"title": "Unprocessable", "detail": "the body is wrong", "fix": "leave it out",
            "errors": [{"field": "domian", "message": "unknown field"}]});
        let failure = problem(StatusCode::UNPROCESSABLE_ENTITY, &body);
        assert_eq!(failure.to_string(), "error: the body is wrong; domian: unknown field\n  fix: leave it out");
        let failure = problem(StatusCode::BAD_GATEWAY, &Value::Null);
        assert_eq!(failure.to_string(), "error: HTTP status 502 Bad Gateway");
    }

    #[test]
    fn the_next_page_is_a_path_of_the_same_daemon() {
        assert_eq!(next_page("</list?cursor=a>; rel=\"next\""), Some("/list?cursor=a".into()));
        for other in ["</list?cursor=a>; rel=\"prev\"", "<http://elsewhere/list>; rel=\"next\"", "/list", ""] {
            assert_eq!(next_page(other), None, "{other}");
        }
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encoded("a&b=c/é"), "a%26b%3Dc%2F%C3%A9");
    }
}
