//! The load: SMTP submissions and IMAP fetches over TLS from minimal clients, the same for every server.

use anyhow::{Context, Result, bail};
use base64::Engine;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An inbox to log in to.
#[derive(Clone)]
pub struct User {
    pub address: String,
    pub password: String,
}

/// A server under test.
#[derive(Clone)]
pub struct Target {
    pub name: &'static str,
    /// Of each daemon; connections take turns by their number.
    pub submissions: Vec<SocketAddr>,
    pub imaps: Vec<SocketAddr>,
    /// For mail from outside; none for peers.
    pub mx: Vec<SocketAddr>,
    /// One at least; INBOX of the first is filled. Clients that write take turns by their number.
    pub users: Vec<User>,
    pub roots: Arc<rustls::ClientConfig>,
    /// The server's processes, for its memory.
    pub pids: Vec<u32>,
}

impl Target {
    fn user(&self, number: usize) -> &User {
        &self.users[number % self.users.len()]
    }
}

/// One connection; reads lines and counted octets.
pub struct Client {
    stream: BufReader<TlsStream<TcpStream>>,
    line: Vec<u8>,
}

impl Client {
    async fn connect(target: &Target, addresses: &[SocketAddr], number: usize) -> Result<Self> {
        let address = addresses[number % addresses.len()];
        let tcp = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        tcp.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(Arc::clone(&target.roots)).connect(name, tcp).await?;
        Ok(Self { stream: BufReader::with_capacity(16 * 1024, tls), line: Vec::new() })
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).await?;
        self.stream.get_mut().flush().await?;
        Ok(())
    }

    async fn read_line(&mut self) -> Result<&[u8]> {
        self.line.clear();
        if self.stream.read_until(b'\n', &mut self.line).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(&self.line)
    }

    /// The last line of an SMTP reply, which must begin with `code`.
    async fn expect(&mut self, code: &str) -> Result<()> {
        loop {
            let line = self.read_line().await?;
            if !line.starts_with(code.as_bytes()) {
                bail!("expected {code}, got {}", String::from_utf8_lossy(line));
            }
            if line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// Sends an IMAP command and reads to its tagged OK; literals are read and dropped. Returns the octets read.
    async fn imap(&mut self, command: &str) -> Result<usize> {
        self.send(format!("a {command}\r\n").as_bytes()).await?;
        let mut octets = 0;
        let mut sink = vec![0; 64 * 1024];
        loop {
            let line = self.read_line().await?;
            octets += line.len();
            if line.starts_with(b"a ") {
                if !line.starts_with(b"a OK") {
                    bail!("{command}: {}", String::from_utf8_lossy(line));
                }
                return Ok(octets);
            }
            if let Some(mut left) = literal(line) {
                octets += left;
                while left > 0 {
                    let some = left.min(sink.len());
                    self.stream.read_exact(&mut sink[..some]).await?;
                    left -= some;
                }
            }
        }
    }
}

fn literal(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}\r\n")?;
    let open = inner.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()
}

/// Digits at the end of a message.
const DIGITS: usize = 20;

/// A message of about `size` octets. Its last line is a number, so that no two have the same body.
fn message(from: &str, size: usize) -> Vec<u8> {
    let mut text = format!(
        "From: Bench <{from}>\r\nTo: outside@elsewhere.test\r\nSubject: a message of the benchmark\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\nDate: Tue, 24 Nov 2026 05:31:07 +0000\r\n\r\n"
    );
    while text.len() < size {
        text.push_str("The quick brown fox jumps over the lazy dog and goes on to the next line.\r\n");
    }
    text.push_str(&format!("{:0DIGITS$}\r\n", 0));
    text.into_bytes()
}

/// Gives a message another number than every other of the process.
fn number_anew(message: &mut [u8]) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = format!("{:0DIGITS$}", LAST.fetch_add(1, Ordering::Relaxed));
    let end = message.len() - 2;
    message[end - DIGITS..end].copy_from_slice(number.as_bytes());
}

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

impl Client {
    async fn append(&mut self, mailbox: &str, text: &[u8]) -> Result<()> {
        self.send(format!("a APPEND {mailbox} {{{}}}\r\n", text.len()).as_bytes()).await?;
        let line = self.read_line().await?;
        if !line.starts_with(b"+") {
            bail!("APPEND: {}", String::from_utf8_lossy(line));
        }
        self.send(text).await?;
        self.imap_rest().await
    }

    /// Ends an APPEND's literal and reads to its tagged OK.
    async fn imap_rest(&mut self) -> Result<()> {
        self.send(b"\r\n").await?;
        loop {
            let line = self.read_line().await?;
            if line.starts_with(b"a OK") {
                return Ok(());
            }
            if line.starts_with(b"a ") {
                bail!("APPEND: {}", String::from_utf8_lossy(line));
            }
        }
    }
}

/// An IMAP connection after log-in.
async fn logged_in(target: &Target, number: usize, user: usize) -> Result<Client> {
    let (mut client, user) = (Client::connect(target, &target.imaps, number).await?, target.user(user));
    client.read_line().await?;
    client.imap(&format!("LOGIN {} {}", user.address, user.password)).await?;
    Ok(client)
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
