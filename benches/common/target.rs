//! A server under test, and a minimal client of its listeners over TLS, the same for every server.

#![allow(dead_code, reason = "each benchmark uses a part")]

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
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
    pub fn user(&self, number: usize) -> &User {
        &self.users[number % self.users.len()]
    }
}

/// One connection; reads lines and counted octets.
pub struct Client {
    stream: BufReader<TlsStream<TcpStream>>,
    line: Vec<u8>,
}

impl Client {
    pub async fn connect(target: &Target, addresses: &[SocketAddr], number: usize) -> Result<Self> {
        let address = addresses[number % addresses.len()];
        let tcp = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        tcp.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(Arc::clone(&target.roots)).connect(name, tcp).await?;
        Ok(Self { stream: BufReader::with_capacity(16 * 1024, tls), line: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).await?;
        self.stream.get_mut().flush().await?;
        Ok(())
    }

    pub async fn read_line(&mut self) -> Result<&[u8]> {
        self.line.clear();
        if self.stream.read_until(b'\n', &mut self.line).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(&self.line)
    }

    /// The last line of an SMTP reply, which must begin with `code`.
    pub async fn expect(&mut self, code: &str) -> Result<()> {
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
    pub async fn imap(&mut self, command: &str) -> Result<usize> {
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
pub const DIGITS: usize = 20;

/// A message of about `size` octets. Its last line is a number, so that no two have the same body.
pub fn message(from: &str, size: usize) -> Vec<u8> {
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
pub fn number_anew(message: &mut [u8]) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = format!("{:0DIGITS$}", LAST.fetch_add(1, Ordering::Relaxed));
    let end = message.len() - 2;
    message[end - DIGITS..end].copy_from_slice(number.as_bytes());
}

impl Client {
    pub async fn append(&mut self, mailbox: &str, text: &[u8]) -> Result<()> {
        self.send(format!("a APPEND {mailbox} {{{}}}\r\n", text.len()).as_bytes()).await?;
        let line = self.read_line().await?;
        if !line.starts_with(b"+") {
            bail!("APPEND: {}", String::from_utf8_lossy(line));
        }
        self.send(text).await?;
        self.imap_rest().await
    }

    /// Appends many in one command (RFC 3502), with literals that do not wait (RFC 7888).
    pub async fn append_all(&mut self, mailbox: &str, messages: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let mut command = format!("a APPEND {mailbox}").into_bytes();
        for message in messages {
            command.extend_from_slice(format!(" {{{}+}}\r\n", message.len()).as_bytes());
            command.extend_from_slice(&message);
        }
        self.send(&command).await?;
        self.imap_rest().await
    }

    /// Sends an IMAP command without literals in its response: the lines of the response.
    pub async fn imap_lines(&mut self, command: &str) -> Result<Vec<String>> {
        self.send(format!("a {command}\r\n").as_bytes()).await?;
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8_lossy(self.read_line().await?).trim_end().to_owned();
            if line.starts_with("a ") {
                if !line.starts_with("a OK") {
                    bail!("{command}: {line}");
                }
                lines.push(line);
                return Ok(lines);
            }
            lines.push(line);
        }
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
pub async fn logged_in(target: &Target, number: usize, user: usize) -> Result<Client> {
    let (mut client, user) = (Client::connect(target, &target.imaps, number).await?, target.user(user));
    client.read_line().await?;
    client.imap(&format!("LOGIN {} {}", user.address, user.password)).await?;
    Ok(client)
}

/// Waits until something listens there, at most a minute.
pub async fn wait_for(address: SocketAddr) -> Result<()> {
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing listens at {address} after a minute")
}

/// The server's process tree.
pub fn processes(target: &Target) -> Vec<u32> {
    let mut all = target.pids.clone();
    let mut next = 0;
    while next < all.len() {
        let children = format!("/proc/{0}/task/{0}/children", all[next]);
        let text = std::fs::read_to_string(children).unwrap_or_default();
        all.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    all
}

/// CPU time of the server's process tree, ended processes included.
pub fn cpu_time(target: &Target) -> Duration {
    let ticks = |pid: &u32| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // utime, stime, cutime, cstime: the 14th to the 17th field, the second of which is in parentheses.
        let fields = text.rsplit(')').next()?.split_ascii_whitespace().skip(11).take(4);
        Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
    };
    // 100 of them a second, on every Linux.
    Duration::from_millis(processes(target).iter().filter_map(ticks).sum::<u64>() * 10)
}

/// Proportional set size in KiB of the server's process tree: shared pages count once.
pub fn resident(target: &Target) -> f64 {
    std::thread::sleep(Duration::from_millis(300));
    let pss = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()
    };
    processes(target).iter().filter_map(pss).sum()
}
