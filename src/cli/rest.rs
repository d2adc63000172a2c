//! A client of the daemon's REST API. Invariant: the token is sent only in the Authorization header. Errors are RFC
//! 9457 problems.

use super::failure::Failure;
use super::printable::{self, printable};
use crate::secret::Secret;
use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// The daemon to use, and the credentials.
#[derive(Debug, Args)]
pub(super) struct RestArgs {
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

impl Rest {
    pub(super) fn new(args: &RestArgs) -> Result<Self, Failure> {
        let Some(token) = args.token.clone() else {
            return Err(Failure::usage(
                "no API token given",
                "set INBOXLAYER_TOKEN; the first one is created with `inboxlayer token create --operator` while the daemon is stopped",
            ));
        };
        let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(60));
        if args.url.starts_with("http://") {
            // Plain HTTP needs no certificates, so a machine without root certificates works.
            builder = builder.tls_certs_only([]);
        }
        let client =
            builder.build().map_err(|e| Failure::new(chain(&e), "check --url and the system's certificates"))?;
        Ok(Self { client, base: args.url.trim_end_matches('/').to_owned(), token, account: args.account.clone() })
    }

    /// A successful response; null without a body (204).
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None, None).await
    }

    /// A text response.
    pub(super) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let (status, text) = self.send(Method::GET, path, None, None).await?;
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
        let mut cursor: Option<String> = None;
        loop {
            let mut page = format!("{path}?limit=100");
            for (name, value) in [("cursor", &cursor), ("account_id", account)] {
                if let Some(value) = value {
                    page.push_str(&format!("&{name}={}", encoded(value)));
                }
            }
            let mut body = self.get(&page).await?;
            if let Some(Value::Array(data)) = body.get_mut("data").map(Value::take) {
                all.extend(data);
            }
            match body.get("next_cursor").and_then(Value::as_str) {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok(all),
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        prefer: Option<String>,
    ) -> Result<Value, Failure> {
        let (status, text) = self.send(method, path, body, prefer).await?;
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
    ) -> Result<(StatusCode, String), Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.reveal());
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(prefer) = prefer {
            request = request.header("Prefer", prefer);
        }
        let response = request.send().await.map_err(|error| {
            let fix = "start it with `inboxlayer serve`, or set --url or INBOXLAYER_URL";
            if error.is_connect() {
                Failure::new(format!("cannot reach the daemon at {}", self.base), fix)
            } else {
                Failure::new(chain(&error), fix)
            }
        })?;
        let status = response.status();
        Ok((status, response.text().await.map_err(|e| Failure::new(chain(&e), "try again"))?))
    }
}

/// Converts a problem document to a failure.
fn problem(status: StatusCode, body: &Value) -> Failure {
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
fn chain(error: &dyn std::error::Error) -> String {
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
    fn query_values_are_encoded() {
        assert_eq!(encoded("a&b=c/é"), "a%26b%3Dc%2F%C3%A9");
    }
}
