//! A server on loopback that answers each request with given octets: what HTTP alone takes, in the same run and with the same client.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

pub struct Http {
    base: String,
    client: reqwest::Client,
    answer: Arc<Mutex<Bytes>>,
}

impl Http {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let answer = Arc::new(Mutex::new(Bytes::new()));
        let shown = Arc::clone(&answer);
        let router = Router::new().route("/", get(async move || shown.lock().unwrap().clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { base, client: reqwest::Client::new(), answer })
    }

    /// The octets of the next answers.
    pub fn answers(&self, octets: &[u8]) {
        *self.answer.lock().unwrap() = Bytes::copy_from_slice(octets);
    }

    pub async fn request(&self) -> Result<()> {
        std::hint::black_box(self.client.get(&self.base).send().await?.bytes().await?);
        Ok(())
    }
}
