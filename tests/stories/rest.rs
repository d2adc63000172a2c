//! The REST API as the stories use it.

use reqwest::Method;
use serde_json::Value;
use std::sync::Once;
use std::time::{Duration, Instant};

/// How long [`Rest::poll`] looks before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with a token.
pub struct Rest {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: String,
    token: String,
}

/// An answer: its status and its JSON (null when there is none).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub text: String,
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The answer, which must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// A text at a JSON pointer (RFC 6901).
    #[track_caller]
    pub fn at(&self, pointer: &str) -> &str {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text))
    }
}

impl Rest {
    pub fn new(base: &str, token: &str) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .tls_certs_only([])
            .build()
            .expect("an HTTP client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { client, runtime, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[])
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body), &[])
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body), &[])
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None, &[])
    }

    /// Any request.
    pub fn call(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.runtime.block_on(async {
            let response = request.send().await.expect("the daemon answers");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = response.text().await.expect("a body that ends");
            Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text, headers }
        })
    }

    /// Gets `path` until `done` is true for the answer.
    #[track_caller]
    pub fn poll(&self, path: &str, done: impl Fn(&Answer) -> bool) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.get(path);
            if done(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "timed out waiting for {path}: {}", answer.text);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
