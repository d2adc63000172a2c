//! What is measured.

use crate::target::{Client, Target, logged_in, message, number_anew, processes, resident};
use anyhow::{Context, Result, bail, ensure};
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Octets of a message of the small mailbox, and of the large one.
const SIZE: usize = 10 * 1024;
const SIZE_IN_LARGE: usize = 2 * 1024;
/// Messages in one APPEND while a mailbox is filled.
const BATCH: usize = 100;
/// Messages changed between two resynchronisations.
const CHANGED: usize = 100;

const SMALL: &str = "small";
const LARGE: &str = "large";

pub struct Scale {
    /// Of a rate.
    pub span: Duration,
    /// Messages of the small mailbox, and of the large one.
    pub small: usize,
    pub large: usize,
    /// Connections.
    pub idle: usize,
    /// Deliveries that are timed.
    pub pushes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

#[derive(Clone)]
pub struct Figure {
    pub label: &'static str,
    pub value: f64,
    pub better: Better,
}

fn rate(label: &'static str, value: f64) -> Figure {
    Figure { label, value, better: Better::Higher }
}

fn cost(label: &'static str, value: f64) -> Figure {
    Figure { label, value, better: Better::Lower }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Login,
    Append,
    Flags,
    List,
    Bodies,
    Store,
    Search,
    Sort,
    Qresync,
    Push,
    Idle,
}

impl Stage {
    pub const ALL: &[Self] = &[
        Self::Login,
        Self::Append,
        Self::Flags,
        Self::List,
        Self::Bodies,
        Self::Store,
        Self::Search,
        Self::Sort,
        Self::Qresync,
        Self::Push,
        Self::Idle,
    ];

    /// Selects it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Append => "append",
            Self::Flags => "flags",
            Self::List => "list",
            Self::Bodies => "bodies",
            Self::Store => "store",
            Self::Search => "search",
            Self::Sort => "sort",
            Self::Qresync => "qresync",
            Self::Push => "push",
            Self::Idle => "idle",
        }
    }

    /// Idle connections are opened once: memory that an allocator keeps would count for less the second time.
    pub fn is_repeated(self) -> bool {
        self != Self::Idle
    }

    pub async fn measure(self, target: &Target, scale: &Scale) -> Result<Vec<Figure>> {
        let span = scale.span;
        Ok(match self {
            Self::Login => vec![rate("log-ins/s (TLS, LOGIN, LOGOUT; 10 at a time)", logins(target, span).await?)],
            Self::Append => vec![rate("APPENDs/s (10 KiB, 8 connections)", appends(target, span).await?)],
            Self::Flags => {
                let listed = listed(target, scale, "FETCH 1:* (UID FLAGS)").await?;
                vec![rate("messages/s, FETCH 1:* (UID FLAGS)", listed)]
            }
            Self::List => {
                let command = "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)";
                vec![rate("messages/s, flags, dates, sizes and envelopes", listed(target, scale, command).await?)]
            }
            Self::Bodies => {
                vec![rate("whole messages/s (10 KiB, 4 connections, one FETCH each)", bodies(target, scale).await?)]
            }
            Self::Store => vec![rate("messages/s, STORE 1:* of a flag", stored(target, scale).await?)],
            Self::Search => {
                let mut client = selected(target, LARGE).await?;
                let header = timed(&mut client, 3, "SEARCH HEADER Subject \"number 77\"").await?;
                let body = timed(&mut client, 3, "SEARCH BODY \"needle 4242\"").await?;
                let flags = timed(&mut client, 3, "SEARCH UNSEEN").await?;
                vec![cost("ms, SEARCH HEADER", header), cost("ms, SEARCH BODY", body), cost("ms, SEARCH UNSEEN", flags)]
            }
            Self::Sort => {
                let mut client = selected(target, LARGE).await?;
                let date = timed(&mut client, 2, "SORT (REVERSE DATE) UTF-8 ALL").await?;
                let subject = timed(&mut client, 2, "SORT (SUBJECT) UTF-8 ALL").await?;
                vec![cost("ms, SORT (REVERSE DATE)", date), cost("ms, SORT (SUBJECT)", subject)]
            }
            Self::Qresync => {
                vec![cost("ms, SELECT with QRESYNC, 100 messages changed", resync(target, scale).await?)]
            }
            Self::Push => vec![cost("ms from the 250 of a delivery to EXISTS in IDLE", push(target, scale).await?)],
            Self::Idle => idle(target, scale).await?,
        })
    }
}

/// The median milliseconds of a command that is repeated.
async fn timed(client: &mut Client, count: usize, command: &str) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        client.imap(command).await?;
        all.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(middle(all))
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Two mailboxes, the same on every server.
pub async fn fill(target: &Target, scale: &Scale) -> Result<()> {
    let mut client = logged_in(target, 0, 0).await?;
    for (mailbox, count, size) in [(SMALL, scale.small, SIZE), (LARGE, scale.large, SIZE_IN_LARGE)] {
        client.imap(&format!("CREATE {mailbox}")).await?;
        let mut text = message(&target.user(0).address, size);
        let numbers: Vec<usize> = (0..count).collect();
        for batch in numbers.chunks(BATCH) {
            let messages = batch.iter().map(|number| {
                number_anew(&mut text);
                numbered(&text, *number)
            });
            client.append_all(mailbox, messages).await?;
        }
        // Caches and indexes are built once, as by the first client that opens the mailbox.
        client.imap(&format!("SELECT {mailbox}")).await?;
        client.imap("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)").await?;
    }
    Ok(())
}

/// The message with another subject, date and text.
fn numbered(text: &[u8], number: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let time = format!("{:02}:{:02}:{:02}", number / 3600 % 24, number / 60 % 60, number % 60);
    let (fields, body) = text.split_once("\r\n\r\n").unwrap();
    let fields =
        fields.replace("a message of the benchmark", &format!("number {} of the benchmark", number * 7919 % 1_000_003));
    let fields = fields.replace("05:31:07", &time);
    format!("{fields}\r\n\r\nneedle {number}\r\n{body}").into_bytes()
}

async fn selected(target: &Target, mailbox: &str) -> Result<Client> {
    let mut client = logged_in(target, 0, 0).await?;
    client.imap(&format!("SELECT {mailbox}")).await?;
    Ok(client)
}

/// How many are done per second by `clients` at a time.
async fn rate_of<F>(clients: usize, span: Duration, client: impl Fn(usize, Instant) -> F) -> Result<f64>
where
    F: Future<Output = Result<usize>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for number in 0..clients {
        tasks.spawn(client(number, begin + span));
    }
    let mut done = 0;
    while let Some(of_one) = tasks.join_next().await {
        done += of_one??;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

async fn logins(target: &Target, span: Duration) -> Result<f64> {
    rate_of(10, span, |number, end| {
        let target = target.clone();
        async move {
            let mut done = 0;
            while Instant::now() < end {
                logged_in(&target, number, 0).await?.imap("LOGOUT").await?;
                done += 1;
            }
            Ok(done)
        }
    })
    .await
}

async fn appends(target: &Target, span: Duration) -> Result<f64> {
    rate_of(8, span, |number, end| {
        let target = target.clone();
        async move {
            let mut client = logged_in(&target, number, 0).await?;
            let (mailbox, mut text) = (format!("appended{number}"), message(&target.user(0).address, SIZE));
            // It is there in later rounds.
            let _ = client.imap(&format!("CREATE {mailbox}")).await;
            let mut done = 0;
            while Instant::now() < end {
                number_anew(&mut text);
                client.append(&mailbox, &text).await?;
                done += 1;
            }
            Ok(done)
        }
    })
    .await
}

async fn bodies(target: &Target, scale: &Scale) -> Result<f64> {
    let count = scale.small;
    rate_of(4, scale.span, |number, end| {
        let target = target.clone();
        async move {
            let mut client = selected(&target, SMALL).await?;
            let mut done = 0;
            while Instant::now() < end {
                let message = (number * 997 + done) % count + 1;
                client.imap(&format!("FETCH {message} (UID FLAGS BODY.PEEK[])")).await?;
                done += 1;
            }
            Ok(done)
        }
    })
    .await
}

/// Messages per second of a FETCH of all of the small mailbox, again and again.
async fn listed(target: &Target, scale: &Scale, command: &str) -> Result<f64> {
    let mut client = selected(target, SMALL).await?;
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < scale.span {
        client.imap(command).await?;
        done += scale.small;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

async fn stored(target: &Target, scale: &Scale) -> Result<f64> {
    let mut client = selected(target, SMALL).await?;
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < scale.span {
        let sign = if (done / scale.small).is_multiple_of(2) { '+' } else { '-' };
        client.imap(&format!("STORE 1:* {sign}FLAGS.SILENT (\\Flagged)")).await?;
        done += scale.small;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// Milliseconds of a SELECT of the large mailbox, after changes by another session.
async fn resync(target: &Target, scale: &Scale) -> Result<f64> {
    let mut other = selected(target, LARGE).await?;
    let mut all = Vec::new();
    for n in 0..5 {
        let mut client = logged_in(target, 0, 0).await?;
        client.imap("ENABLE QRESYNC").await?;
        let state = client.imap_lines(&format!("SELECT {LARGE}")).await?;
        let code =
            |name: &str| state.iter().find_map(|line| line.split_once(name)?.1.split_once(']')?.0.parse::<u64>().ok());
        let (validity, modseq) =
            (code("[UIDVALIDITY ").context("UIDVALIDITY")?, code("[HIGHESTMODSEQ ").context("HIGHESTMODSEQ")?);
        client.imap("UNSELECT").await?;
        let first = n * CHANGED % (scale.large - CHANGED) + 1;
        let sign = if n.is_multiple_of(2) { '+' } else { '-' };
        other.imap(&format!("STORE {first}:{} {sign}FLAGS.SILENT (\\Answered)", first + CHANGED - 1)).await?;
        let begin = Instant::now();
        let read = client.imap_lines(&format!("SELECT {LARGE} (QRESYNC ({validity} {modseq}))")).await?;
        all.push(begin.elapsed().as_secs_f64() * 1e3);
        let fetched = read.iter().filter(|line| line.contains(" FETCH (")).count();
        ensure!(fetched <= CHANGED, "{fetched} FETCH responses");
    }
    Ok(middle(all))
}

/// Milliseconds from the reply to a delivery to EXISTS in a session that is in IDLE.
async fn push(target: &Target, scale: &Scale) -> Result<f64> {
    let mut waiting = idling(target, 0).await?;
    let text = message("someone@elsewhere.test", SIZE);
    let is_lmtp = target.name != "Inboxlayer";
    let mut sender = Sender::connect(target.mx[0], is_lmtp).await?;
    let mut all = Vec::new();
    for _ in 0..scale.pushes {
        // A moment in which nothing happens.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let accepted = async {
            sender.deliver(&target.user(0).address, &text).await?;
            Ok::<_, anyhow::Error>(Instant::now())
        };
        let seen = async {
            while !waiting.read_line().await?.ends_with(b" EXISTS\r\n") {}
            Ok::<_, anyhow::Error>(Instant::now())
        };
        let (accepted, seen) = tokio::try_join!(accepted, seen)?;
        all.push(seen.saturating_duration_since(accepted).as_secs_f64() * 1e3);
    }
    Ok(middle(all).max(0.001))
}

/// A session in IDLE on INBOX.
async fn idling(target: &Target, number: usize) -> Result<Client> {
    let mut client = logged_in(target, number, 0).await?;
    client.imap("SELECT INBOX").await?;
    client.send(b"a IDLE\r\n").await?;
    let line = client.read_line().await?;
    ensure!(line.starts_with(b"+"), "IDLE: {}", String::from_utf8_lossy(line));
    Ok(client)
}

async fn idle(target: &Target, scale: &Scale) -> Result<Vec<Figure>> {
    let (memory, files) = (resident(target), open_files(target));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for part in 0..20 {
        let (target, idle) = (target.clone(), scale.idle);
        tasks.spawn(async move {
            let mut waiting = Vec::new();
            for number in (part..idle).step_by(20) {
                waiting.push(idling(&target, number).await?);
            }
            Ok::<_, anyhow::Error>(waiting)
        });
    }
    let mut waiting = Vec::new();
    while let Some(some) = tasks.join_next().await {
        waiting.extend(some??);
    }
    let connected = begin.elapsed().as_secs_f64();
    // Longer than a connection waits to be hibernated.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let count = scale.idle as f64;
    let figures = vec![
        cost("KiB of memory per idle TLS connection", (resident(target) - memory) / count),
        cost("descriptors per idle TLS connection", (open_files(target) - files) / count),
        cost("s until all of them are in IDLE", connected),
    ];
    // None of them was closed.
    for mut client in waiting {
        client.send(b"DONE\r\n").await?;
        client.imap("NOOP").await?;
    }
    Ok(figures)
}

/// Open descriptors of the server's processes.
fn open_files(target: &Target) -> f64 {
    let count = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    processes(target).iter().map(count).sum::<usize>() as f64
}

/// Hands messages in, over SMTP or LMTP.
struct Sender(BufReader<TcpStream>);

impl Sender {
    async fn connect(address: SocketAddr, is_lmtp: bool) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut sender = Self(BufReader::new(tcp));
        sender.reply("220").await?;
        let hello = if is_lmtp { "LHLO" } else { "EHLO" };
        sender.command(format!("{hello} elsewhere.test\r\n").as_bytes(), "250").await?;
        Ok(sender)
    }

    async fn deliver(&mut self, to: &str, text: &[u8]) -> Result<()> {
        self.command(b"MAIL FROM:<someone@elsewhere.test>\r\n", "250").await?;
        self.command(format!("RCPT TO:<{to}>\r\n").as_bytes(), "250").await?;
        self.command(b"DATA\r\n", "354").await?;
        self.command(&[text, b".\r\n"].concat(), "250").await
    }

    async fn command(&mut self, octets: &[u8], code: &str) -> Result<()> {
        self.0.get_mut().write_all(octets).await?;
        self.reply(code).await
    }

    async fn reply(&mut self, code: &str) -> Result<()> {
        loop {
            let mut line = String::new();
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
