//! Requests per second of the REST API, one at a time, in inboxes of several sizes; beside each the bare statements or the commit that
//! it needs, on the same database in the same run, and the same answer of a server that does nothing else.
//!
//! `cargo bench --bench api` (1,000 and 100,000 messages) · `-- --quick` (200 and 2,000) · `-- --messages=1000000` (up to that)
//!
//! Everything is on loopback and ends by itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bare;
mod http;
mod mail;
#[path = "../common/server.rs"]
mod server;

use anyhow::{Context, Result};
use bare::Bare;
use base64::Engine;
use http::Http;
use serde_json::{Value, json};
use server::Server;
use std::time::{Duration, Instant};

/// Messages in a request while the inbox is filled.
const AT_ONCE: usize = 500;
/// For the index to have all mail.
const INDEXED: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
enum Stage {
    List,
    /// A list of one message in ten.
    Label,
    Get,
    /// A word that one message has.
    Rare,
    /// Two words that one in about a hundred has, as a phrase.
    Phrase,
    Sender,
    Send,
}

const STAGES: [Stage; 7] =
    [Stage::List, Stage::Label, Stage::Get, Stage::Rare, Stage::Phrase, Stage::Sender, Stage::Send];

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    // `cargo test --benches` and `cargo bench` pass options of the standard harness.
    let options: Vec<String> = std::env::args().skip(1).collect();
    let quick = options.iter().any(|o| o == "--quick");
    let largest: Option<usize> = options.iter().find_map(|o| o.strip_prefix("--messages=")?.parse().ok());
    let mut sizes = if quick { vec![200, 2000] } else { vec![1000, 100_000] };
    sizes.extend(largest.filter(|size| sizes.last().is_some_and(|last| last < size)));
    let span = Duration::from_secs(if quick { 1 } else { 5 });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::start().await?;
        let http = Http::start().await?;
        println!("| messages | | requests/s | bare/s | HTTP alone/s | times bare | times bare, without HTTP | hits |");
        println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        let mut filled = 0;
        for size in sizes {
            let begun = Instant::now();
            fill(&server, filled, size).await?;
            eprintln!("{} messages put in, {:.0?}", size - filled, begun.elapsed());
            filled = size;
            let bare = Bare::open(&server.database())?;
            while bare.tail()? > 0 {
                anyhow::ensure!(begun.elapsed() < INDEXED, "the index lacks {} messages", bare.tail()?);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            eprintln!(
                "indexed, {:.0?}; {} octets of index a message",
                begun.elapsed(),
                bare.index_size()? / i64::try_from(size)?
            );
            for stage in STAGES {
                measure(&server, &bare, &http, stage, size, span).await?;
            }
        }
        server.stop()
    })
}

/// Puts messages from the number `first` on into the inbox.
async fn fill(server: &Server, first: usize, end: usize) -> Result<()> {
    for begin in (first..end).step_by(AT_ONCE) {
        let email = |number: usize| {
            let raw = base64::engine::general_purpose::STANDARD.encode(mail::message(number));
            let flags: &[&str] = if number.is_multiple_of(mail::LABELLED) { &[mail::LABEL] } else { &[] };
            json!({"raw": raw, "flags": flags})
        };
        let emails: Vec<Value> = (begin..end.min(begin + AT_ONCE)).map(email).collect();
        server
            .send(&format!("inboxes/{}/import", server.inbox), &json!({"mailbox": "INBOX", "emails": emails}))
            .await?;
    }
    Ok(())
}

/// Requests of a kind, their bare statements and HTTP alone, in turn.
async fn measure(server: &Server, bare: &Bare, http: &Http, stage: Stage, size: usize, span: Duration) -> Result<()> {
    let newest = server.get(&format!("emails?inbox={}&per_page=100", server.inbox)).await?;
    let ids: Vec<&str> = newest["data"].as_array().context("a list")?.iter().filter_map(|e| e["id"].as_str()).collect();
    let [mut requests, mut bares, mut alone] = [(0_u32, Duration::ZERO); 3];
    let (mut answer, mut n) = (Vec::new(), 0);
    while requests.1 < span {
        let (number, id) = (n * 7919 % size, ids[n % ids.len()]);
        n += 1;
        let begun = Instant::now();
        answer = request(server, stage, number, id).await?;
        requests = (requests.0 + 1, requests.1 + begun.elapsed());
        let begun = Instant::now();
        match stage {
            Stage::List => bare.list(&server.inbox)?,
            Stage::Label => bare.labelled(&server.inbox)?,
            Stage::Get => bare.get(id)?,
            Stage::Rare => bare.search(&[&mail::reference(number)])?,
            Stage::Phrase => bare.search(&mail::PHRASE.split(' ').collect::<Vec<_>>())?,
            Stage::Sender => bare.sender(&mail::sender(number))?,
            Stage::Send => bare.commit(&mail::message(number))?,
        }
        bares = (bares.0 + 1, bares.1 + begun.elapsed());
        http.answers(&answer);
        let begun = Instant::now();
        http.request().await?;
        alone = (alone.0 + 1, alone.1 + begun.elapsed());
    }
    let answer: Value = serde_json::from_slice(&answer)?;
    let hits = answer["data"].as_array().map_or(1, Vec::len);
    let seconds = |(count, time): (u32, Duration)| time.as_secs_f64() / f64::from(count);
    let [request, bare, http] = [requests, bares, alone].map(seconds);
    println!(
        "| {size} | {stage:?} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {hits} |",
        1.0 / request,
        1.0 / bare,
        1.0 / http,
        request / bare,
        (request - http) / bare
    );
    Ok(())
}

/// The octets of the answer.
async fn request(server: &Server, stage: Stage, number: usize, id: &str) -> Result<Vec<u8>> {
    let search = |q: &str| format!("emails/search?inbox={}&q={}", server.inbox, q.replace(' ', "%20"));
    match stage {
        Stage::List => server.fetch(&format!("emails?inbox={}", server.inbox)).await,
        Stage::Label => server.fetch(&format!("emails?inbox={}&label={}", server.inbox, mail::LABEL)).await,
        Stage::Get => server.fetch(&format!("emails/{id}")).await,
        Stage::Rare => server.fetch(&search(&mail::reference(number))).await,
        Stage::Phrase => server.fetch(&search(&format!("\"{}\"", mail::PHRASE))).await,
        Stage::Sender => server.fetch(&search(&format!("from:{}", mail::sender(number)))).await,
        Stage::Send => {
            let body = json!({"inbox_id": server.inbox, "to": "somebody@example.com", "subject": "Bench", "text_body": mail::text(number)});
            server.send("emails/send", &body).await
        }
    }
}
