//! `inboxlayer mcp`: the daemon's MCP server over standard input and output, for clients that start a program.
//!
//! Invariant: standard output has the daemon's messages alone, one a line, and each request gets one. The daemon keeps no sessions, so
//! notifications are for it of no use; the one that cancels a request is honoured here.

use super::failure::Failure;
use super::rest::{DaemonArgs, chain, connect, problem};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

/// Longer than the daemon lets a tool wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum octets of a message, as at the daemon.
const LONGEST: usize = 4 * 1024 * 1024;
/// Requests in progress.
const AT_ONCE: usize = 64;
/// Messages that standard output has not taken yet.
const WAITING: usize = 16;
const VERSION_OF_REQUEST: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  INBOXLAYER_TOKEN=ilt_… inboxlayer mcp --url https://mail.example.com")]
pub(super) struct McpArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// The daemon's MCP server.
#[derive(Clone)]
struct Server {
    client: reqwest::Client,
    url: String,
    base: String,
    token: Secret,
    /// Of the protocol, once a session has agreed on it.
    version: Arc<Mutex<Option<String>>>,
}

pub(super) fn run(args: &McpArgs) -> Result<ExitCode, Failure> {
    let runtime = super::small_runtime()?;
    let ended = runtime.block_on(bridge(args));
    // Standard input may still be read.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn bridge(args: &McpArgs) -> Result<(), Failure> {
    let (client, base, token) = connect(&args.daemon, TIMEOUT)?;
    let server = Server { client, url: format!("{base}/mcp"), base, token, version: Arc::default() };
    server.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "ping"})).await?;
    let (out, lines) = channel(WAITING);
    let mut output = tokio::spawn(write(lines));
    let mut input = FramedRead::new(tokio::io::stdin(), LinesCodec::new_with_max_length(LONGEST));
    let mut running = Running::default();
    // The codec ends once after an error, and goes on.
    let mut goes_on = false;
    loop {
        tokio::select! {
            line = input.next() => match line {
                Some(Ok(line)) => running.take(&server, &out, &line).await,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    goes_on = true;
                    let _ = out.send(error(&Value::Null, -32600, &format!("A message has at most {LONGEST} octets."))).await;
                }
                Some(Err(LinesCodecError::Io(error))) => return Err(error.into()),
                None if std::mem::take(&mut goes_on) => {}
                None => break,
            },
            Some(ended) = running.tasks.join_next_with_id() => running.forget(ended.map_or_else(|error| error.id(), |(id, ())| id)),
            _ = &mut output => return Ok(()),
        }
    }
    while running.tasks.join_next().await.is_some() {}
    drop(out);
    let _ = output.await;
    Ok(())
}

/// Requests in progress, by their ids in JSON.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    requests: HashMap<String, AbortHandle>,
}

impl Running {
    async fn take(&mut self, server: &Server, out: &Sender<String>, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            let _ = out.send(error(&Value::Null, -32700, "A line is not JSON.")).await;
            return;
        };
        let id = message.get("id").cloned().unwrap_or_default();
        if id.is_null() {
            let of = message.pointer("/params/requestId").map(Value::to_string);
            let is_cancelled = message.get("method").is_some_and(|method| method == "notifications/cancelled");
            if let Some(request) = of.filter(|_| is_cancelled).and_then(|id| self.requests.remove(&id)) {
                request.abort();
            }
            return;
        }
        if self.tasks.len() >= AT_ONCE {
            let _ = out
                .send(error(&id, -32000, &format!("There are {AT_ONCE} requests in progress, which is the limit.")))
                .await;
            return;
        }
        let (server, out, key) = (server.clone(), out.clone(), id.to_string());
        let task = self.tasks.spawn(async move {
            let answer = server.answer(&message, &id).await;
            let _ = out.send(answer).await;
        });
        self.requests.insert(key, task);
    }

    fn forget(&mut self, ended: Id) {
        self.requests.retain(|_, task| task.id() != ended);
    }
}

impl Server {
    /// The daemon's answer to a request, or an error in its place.
    async fn answer(&self, message: &Value, id: &Value) -> String {
        match self.post(message).await {
            Ok(answer) => {
                if message.get("method").is_some_and(|method| method == "initialize") {
                    let parsed: Value = serde_json::from_str(&answer).unwrap_or_default();
                    let version = parsed.pointer("/result/protocolVersion").and_then(Value::as_str).map(str::to_owned);
                    *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
                }
                answer
            }
            Err(failure) => error(id, -32000, &format!("{} {}", failure.what, failure.fix)),
        }
    }

    async fn post(&self, message: &Value) -> Result<String, Failure> {
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        let agreed = self.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let version = text(VERSION_OF_REQUEST).map(str::to_owned).or(agreed);
        let fields = [
            ("Mcp-Protocol-Version", version),
            ("Mcp-Method", text("/method").map(in_header)),
            ("Mcp-Name", text("/params/name").map(in_header)),
        ];
        let mut request = self.client.post(&self.url).bearer_auth(self.token.reveal()).body(message.to_string());
        request =
            request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json, text/event-stream");
        for (name, value) in fields {
            request = value.into_iter().fold(request, |request, value| request.header(name, value));
        }
        let response = request.send().await.map_err(|error| {
            let fix = "start it with `inboxlayer serve`, or set --url or INBOXLAYER_URL";
            let what =
                if error.is_connect() { format!("cannot reach the daemon at {}", self.base) } else { chain(&error) };
            Failure::new(what, fix)
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.map_err(|error| Failure::new(chain(&error), "try again"))?;
        let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        if parsed.get("jsonrpc").is_some() {
            // A line of its own: in JSON, line ends are between tokens alone.
            return Ok(body.replace(['\r', '\n'], " "));
        }
        if status == StatusCode::NOT_FOUND || parsed.get("code").is_none() {
            return Err(Failure::new(
                format!("{} is not an Inboxlayer daemon with MCP", self.base),
                "check --url or INBOXLAYER_URL",
            ));
        }
        let mut failure = problem(status, &parsed);
        if let Some(seconds) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) {
            failure.fix = format!("try again after {seconds} seconds");
        }
        Err(failure)
    }
}

/// A value in a header field of MCP's HTTP transport.
fn in_header(text: &str) -> String {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.starts_with("=?base64?");
    if is_plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

fn error(id: &Value, code: i32, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message.trim()}}).to_string()
}

async fn write(mut lines: Receiver<String>) {
    let mut output = tokio::io::stdout();
    while let Some(line) = lines.recv().await {
        let line = format!("{line}\n");
        if output.write_all(line.as_bytes()).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_field_cannot_have_is_encoded() {
        assert_eq!(in_header("tools/call"), "tools/call");
        assert_eq!(in_header("é\r\n"), "=?base64?w6kNCg==?=");
        assert_eq!(in_header("=?base64?x?="), "=?base64?PT9iYXNlNjQ/eD89?=");
    }

    #[test]
    fn the_version_of_a_request_is_in_its_metadata() {
        let message = json!({"params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
        assert_eq!(message.pointer(VERSION_OF_REQUEST).unwrap(), "2026-07-28");
    }
}
