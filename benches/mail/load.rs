//! The load: SMTP submissions and IMAP fetches over TLS from minimal clients, the same for every server.

use crate::target::{Client, Target, logged_in, message, number_anew};
use anyhow::{Context, Result, bail};
use base64::Engine;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Accepted submissions per second, and their number: each of `connections` logs in once, then sends until the time is over.
pub async fn submissions(target: &Target, connections: usize, size: usize, span: Duration) -> Result<(f64, u64)> {
    let ready = Arc::new(tokio::sync::Barrier::new(connections));
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..connections {
        let (target, ready) = (target.clone(), Arc::clone(&ready));
        senders.spawn(async move {
            let user = target.user(number);
            let mut text = message(&user.address, size);
            let mut client = Client::connect(&target, &target.submissions, number).await?;
            client.expect("220").await?;
            client.send(b"EHLO bench.test\r\n").await?;
            client.expect("250").await?;
            let plain = format!("\0{}\0{}", user.address, user.password);
            let plain = base64::engine::general_purpose::STANDARD.encode(plain);
            client.send(format!("AUTH PLAIN {plain}\r\n").as_bytes()).await?;
            client.expect("235").await?;
            let mail = format!("MAIL FROM:<{}>\r\nRCPT TO:<outside@elsewhere.test>\r\nDATA\r\n", user.address);
            ready.wait().await;
            let begin = Instant::now();
            let mut accepted = 0_u64;
            while begin.elapsed() < span {
                client.send(mail.as_bytes()).await?;
                client.expect("250").await?;
                client.expect("250").await?;
                client.expect("354").await?;
                number_anew(&mut text);
                client.send(&[&text[..], b".\r\n"].concat()).await?;
                client.expect("250").await?;
                accepted += 1;
            }
            Ok::<_, anyhow::Error>((accepted, begin.elapsed()))
        });
    }
    let (mut rate, mut all) = (0.0, 0);
    while let Some(done) = senders.join_next().await {
        let (accepted, took) = done??;
        rate += accepted as f64 / took.as_secs_f64();
        all += accepted;
    }
    Ok((rate, all))
}

/// Messages from outside that were accepted per second, and their number: each of `connections` sends to one inbox after the other, of
/// `box1` to `box<inboxes>`.
pub async fn received(
    target: &Target,
    connections: usize,
    inboxes: usize,
    size: usize,
    span: Duration,
) -> Result<(f64, usize)> {
    let ready = Arc::new(tokio::sync::Barrier::new(connections));
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..connections {
        let (target, ready) = (target.clone(), Arc::clone(&ready));
        senders.spawn(async move {
            let mut text = message("someone@elsewhere.test", size);
            let mut client = Plain::connect(target.mx[number % target.mx.len()]).await?;
            client.expect("220").await?;
            client.command(b"EHLO elsewhere.test\r\n", "250").await?;
            ready.wait().await;
            let begin = Instant::now();
            let mut accepted = 0_usize;
            while begin.elapsed() < span {
                // A step that is prime to the number of inboxes: all over the table.
                let inbox = (number * 1_000_003 + accepted * 7919) % inboxes + 1;
                client.command(b"MAIL FROM:<someone@elsewhere.test>\r\n", "250").await?;
                client.command(format!("RCPT TO:<box{inbox}@inboxlayer.dev>\r\n").as_bytes(), "250").await?;
                client.command(b"DATA\r\n", "354").await?;
                number_anew(&mut text);
                client.command(&[&text[..], b".\r\n"].concat(), "250").await?;
                accepted += 1;
            }
            Ok::<_, anyhow::Error>((accepted, begin.elapsed()))
        });
    }
    sum(senders).await
}

/// An SMTP connection without TLS.
struct Plain(BufReader<TcpStream>);

impl Plain {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        tcp.set_nodelay(true)?;
        Ok(Self(BufReader::new(tcp)))
    }

    async fn command(&mut self, octets: &[u8], code: &str) -> Result<()> {
        self.0.get_mut().write_all(octets).await?;
        self.expect(code).await
    }

    async fn expect(&mut self, code: &str) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).await?;
            if !line.starts_with(code) {
                bail!("expected {code}, got {line}");
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// Fills INBOX with `count` messages by APPEND.
pub async fn fill(target: &Target, count: usize, size: usize) -> Result<()> {
    let mut client = logged_in(target, 0, 0).await?;
    let mut text = message(&target.user(0).address, size);
    for _ in 0..count {
        number_anew(&mut text);
        client.append("INBOX", &text).await?;
    }
    Ok(())
}

/// Messages appended per second, and how many: each of `connections` sessions appends to a mailbox of its own.
pub async fn appends(target: &Target, connections: usize, size: usize, span: Duration) -> Result<(f64, usize)> {
    let ready = Arc::new(tokio::sync::Barrier::new(connections));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..connections {
        let (target, ready) = (target.clone(), Arc::clone(&ready));
        writers.spawn(async move {
            let mut text = message(&target.user(number).address, size);
            let mut client = logged_in(&target, number, number).await?;
            let mailbox = format!("appended-{number}");
            // It is there in later rounds.
            let _ = client.imap(&format!("CREATE {mailbox}")).await;
            ready.wait().await;
            let begin = Instant::now();
            let mut done = 0_usize;
            while begin.elapsed() < span {
                number_anew(&mut text);
                client.append(&mailbox, &text).await?;
                done += 1;
            }
            Ok::<_, anyhow::Error>((done, begin.elapsed()))
        });
    }
    sum(writers).await
}

/// Commits per second of one session that changes a flag, one command after the other, and how many.
pub async fn commits(target: &Target, span: Duration) -> Result<(f64, usize)> {
    let mut client = logged_in(target, 0, 0).await?;
    client.imap("SELECT INBOX").await?;
    let begin = Instant::now();
    let mut done = 0_usize;
    while begin.elapsed() < span {
        let sign = if done.is_multiple_of(2) { '+' } else { '-' };
        client.imap(&format!("STORE 1 {sign}FLAGS.SILENT (\\Flagged)")).await?;
        done += 1;
    }
    Ok((done as f64 / begin.elapsed().as_secs_f64(), done))
}

/// The rates and the counts of all, added up.
async fn sum(mut clients: tokio::task::JoinSet<Result<(usize, Duration)>>) -> Result<(f64, usize)> {
    let (mut rate, mut all) = (0.0, 0);
    while let Some(done) = clients.join_next().await {
        let (done, took) = done??;
        rate += done as f64 / took.as_secs_f64();
        all += done;
    }
    Ok((rate, all))
}

/// Complete messages fetched per second, and how many: `connections` sessions on INBOX, one message per FETCH, in sequence.
pub async fn fetches(target: &Target, connections: usize, count: usize, span: Duration) -> Result<(f64, usize)> {
    let ready = Arc::new(tokio::sync::Barrier::new(connections));
    let mut readers = tokio::task::JoinSet::new();
    for first in 0..connections {
        let (target, ready) = (target.clone(), Arc::clone(&ready));
        readers.spawn(async move {
            let mut client = logged_in(&target, first, 0).await?;
            client.imap("SELECT INBOX").await?;
            ready.wait().await;
            let begin = Instant::now();
            let mut done = 0_usize;
            while begin.elapsed() < span {
                let number = (first * 37 + done) % count + 1;
                client.imap(&format!("FETCH {number} (UID FLAGS BODY.PEEK[])")).await?;
                done += 1;
            }
            Ok::<_, anyhow::Error>((done, begin.elapsed()))
        });
    }
    sum(readers).await
}

/// Messages listed per second, and how many, as by a client that opens a folder: flags, envelope and size of all of them.
pub async fn listings(target: &Target, count: usize, span: Duration) -> Result<(f64, usize)> {
    let mut client = logged_in(target, 0, 0).await?;
    client.imap("SELECT INBOX").await?;
    let begin = Instant::now();
    let mut rounds = 0_usize;
    while begin.elapsed() < span {
        client.imap("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)").await?;
        rounds += 1;
    }
    let listed = rounds * count;
    Ok((listed as f64 / begin.elapsed().as_secs_f64(), listed))
}

/// Connections with INBOX selected, in IDLE.
pub async fn idle(target: &Target, connections: usize) -> Result<Vec<Client>> {
    let mut waiting = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut client = logged_in(target, number, 0).await?;
        client.imap("SELECT INBOX").await?;
        client.send(b"a IDLE\r\n").await?;
        let line = client.read_line().await?;
        if !line.starts_with(b"+") {
            bail!("IDLE: {}", String::from_utf8_lossy(line));
        }
        waiting.push(client);
    }
    Ok(waiting)
}
