//! How long an event takes from the 250 of SMTP to a stream, to a request that waits and to a webhook, beside a bare HTTP request on
//! loopback in the same run; what idle streams cost, in memory and for other requests.
//!
//! `cargo bench --bench events` (1,000 emails, 10,000 streams) · `-- --quick` (50 and 500) · `-- --streams=20000`
//!
//! Everything is on loopback and ends by itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod clients;
#[path = "../common/server.rs"]
mod server;

use anyhow::{Context, Result};
use clients::{Http, Sender, Stream};
use serde_json::json;
use server::Server;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Descriptors that many streams need, in this process and in the daemon.
const DESCRIPTORS: &str = "BENCH_DESCRIPTORS";
/// Between a request that waits and the email that ends it.
const PAUSE: Duration = Duration::from_millis(5);
const TO: &str = "bench@inboxlayer.dev";

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let options: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(DESCRIPTORS).is_none() {
        let mut again = std::process::Command::new("sh");
        again.args(["-c", "ulimit -n $(ulimit -H -n); exec \"$0\" \"$@\""]).arg(std::env::current_exe()?).args(options);
        return Err(again.env(DESCRIPTORS, "raised").exec().into());
    }
    let quick = options.iter().any(|o| o == "--quick");
    let given = options.iter().find_map(|o| o.strip_prefix("--streams=")?.parse().ok());
    let (emails, streams) = if quick { (50, 500) } else { (1000, 10_000) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::start().await?;
        println!("| | p50 µs | p99 µs |\n| --- | ---: | ---: |");
        let bare = bare_requests(emails).await?;
        show("bare HTTP request", bare);
        show("250 to stream", to_stream(&server, emails).await?);
        show("250 to long poll", to_waiting(&server, emails).await?);
        show("250 to webhook", to_webhook(&server, emails).await?);
        idle(&server, given.unwrap_or(streams), 10 * emails).await?;
        server.stop()
    })
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    println!("| {what} | {} | {} |", at(50), at(99));
}

/// Requests to a server that answers each at once.
async fn bare_requests(count: usize) -> Result<Vec<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut head = [0; 4096];
        while stream.read(&mut head).await.is_ok_and(|octets| octets > 0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    requests(address, "", "/", count).await
}

async fn requests(address: SocketAddr, token: &str, path: &str, count: usize) -> Result<Vec<Duration>> {
    let mut client = Http::connect(address, token).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.get(path).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

async fn open(server: &Server) -> Result<Stream> {
    let path = format!("/api/v1/inboxes/{}/stream?types=email.received", server.inbox);
    Http::connect(server.http, &server.token).await?.open_stream(&path).await
}

async fn to_stream(server: &Server, count: usize) -> Result<Vec<Duration>> {
    let (mut stream, mut sender) = (open(server).await?, Sender::connect(server.mx).await?);
    // It is read while the 250 is on its way.
    let (tell, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let reading =
        tokio::spawn(
            async move { while stream.line_with("data: ").await.is_ok() && tell.send(Instant::now()).is_ok() {} },
        );
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        sender.send(TO, &format!("s{number}")).await?;
        let acknowledged = Instant::now();
        let arrived = arrived.recv().await.context("the stream has ended")?;
        times.push(arrived.saturating_duration_since(acknowledged));
    }
    reading.abort();
    Ok(times)
}

async fn to_waiting(server: &Server, count: usize) -> Result<Vec<Duration>> {
    let mut sender = Sender::connect(server.mx).await?;
    let mut times = Vec::with_capacity(count);
    let mut path = format!("/api/v1/inboxes/{}/wait?has=code&timeout=60", server.inbox);
    let mut client = Some(Http::connect(server.http, &server.token).await?);
    for number in 0..count {
        let (mut waiting, next) = (client.take().context("a client")?, path.clone());
        let request = tokio::spawn(async move {
            let (fields, _) = waiting.get(&next).await?;
            Ok::<_, anyhow::Error>((waiting, fields, Instant::now()))
        });
        tokio::time::sleep(PAUSE).await;
        sender.send(TO, &format!("w{number}")).await?;
        let acknowledged = Instant::now();
        let (waiting, fields, arrived) = request.await??;
        times.push(arrived.saturating_duration_since(acknowledged));
        // What it leads to begins after this email.
        let link = fields.iter().find_map(|field| field.split_once('<')?.1.split_once('>')).context("a link")?;
        (client, path) = (Some(waiting), link.0.to_owned());
    }
    Ok(times)
}

async fn to_webhook(server: &Server, count: usize) -> Result<Vec<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    server.post("webhook_subscriptions", &json!({"url": url, "events": ["email.received"]})).await?;
    let (tell, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(clients::answer_all(connection, tell.clone()));
        }
    });
    let mut sender = Sender::connect(server.mx).await?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        sender.send(TO, &format!("h{number}")).await?;
        let acknowledged = Instant::now();
        let arrived = arrived.recv().await.context("the endpoint has ended")?;
        times.push(arrived.saturating_duration_since(acknowledged));
    }
    endpoint.abort();
    Ok(times)
}

/// Memory and other requests with and without idle streams.
async fn idle(server: &Server, streams: usize, requested: usize) -> Result<()> {
    let path = format!("/api/v1/emails?inbox={}&per_page=1", server.inbox);
    show("GET of a list, no stream", requests(server.http, &server.token, &path, requested).await?);
    let before = server.resident()?;
    let begun = Instant::now();
    let mut open_streams = Vec::with_capacity(streams);
    for _ in 0..streams {
        open_streams.push(open(server).await?);
    }
    eprintln!("{streams} streams opened, {:.1?}", begun.elapsed());
    let after = server.resident()?;
    show(
        &format!("GET of a list, {streams} idle streams"),
        requests(server.http, &server.token, &path, requested).await?,
    );
    #[expect(clippy::cast_precision_loss, reason = "kibibytes")]
    let each = after.saturating_sub(before) as f64 / streams as f64;
    println!("\n{each:.1} KiB of the daemon's memory for each idle stream ({before} KiB before, {after} after).");
    drop(open_streams);
    Ok(())
}
