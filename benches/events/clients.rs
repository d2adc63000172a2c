//! Minimal clients: an SMTP client of the MX, an HTTP client that keeps its connection, and streams.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

/// A connection that lines are read from.
struct Lines {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Lines {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        // Ten thousand of them are idle.
        Ok(Self { stream: BufReader::with_capacity(512, tcp), line: String::new() })
    }

    async fn next(&mut self) -> Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(self.line.trim_end())
    }
}

/// Hands mail in at the MX.
pub struct Sender(Lines);

impl Sender {
    pub async fn connect(mx: SocketAddr) -> Result<Self> {
        let mut sender = Self(Lines::connect(mx).await?);
        sender.expect("220").await?;
        sender.command("EHLO bench.example\r\n", "250").await?;
        Ok(sender)
    }

    /// Returns once the message is acknowledged.
    pub async fn send(&mut self, to: &str, subject: &str) -> Result<()> {
        self.command("MAIL FROM:<ann@bench.example>\r\n", "250").await?;
        self.command(&format!("RCPT TO:<{to}>\r\n"), "250").await?;
        self.command("DATA\r\n", "354").await?;
        let message = format!(
            "From: Ann <ann@bench.example>\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@bench.example>\r\n\r\nYour code is 482913.\r\n.\r\n"
        );
        self.command(&message, "250").await
    }

    async fn command(&mut self, octets: &str, code: &str) -> Result<()> {
        self.0.stream.get_mut().write_all(octets.as_bytes()).await?;
        self.expect(code).await
    }

    async fn expect(&mut self, code: &str) -> Result<()> {
        loop {
            let line = self.0.next().await?;
            if !line.starts_with(code) {
                bail!("expected {code}, got {line}");
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// An HTTP client.
pub struct Http {
    lines: Lines,
    token: String,
}

impl Http {
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self { lines: Lines::connect(address).await?, token: token.to_owned() })
    }

    async fn request(&mut self, path: &str) -> Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        Ok(self.lines.stream.get_mut().write_all(head.as_bytes()).await?)
    }

    /// The fields of the answer, in lower case, and its body.
    pub async fn get(&mut self, path: &str) -> Result<(Vec<String>, Vec<u8>)> {
        self.request(path).await?;
        let mut fields = Vec::new();
        loop {
            match self.lines.next().await? {
                "" => break,
                field => fields.push(field.to_owned()),
            }
        }
        let status = fields.first().context("a status")?;
        if !status.contains(" 200 ") && !status.contains(" 204 ") {
            bail!("{path}: {status}");
        }
        let length = |field: &String| field.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
        let mut body = vec![0; fields.iter().find_map(length).unwrap_or(0)];
        self.lines.stream.read_exact(&mut body).await?;
        Ok((fields, body))
    }

    /// Opens a stream; returns when its first block is there.
    pub async fn open_stream(mut self, path: &str) -> Result<Stream> {
        self.request(path).await?;
        let status = self.lines.next().await?.to_owned();
        if !status.contains(" 200 ") {
            bail!("{path}: {status}");
        }
        let mut stream = Stream(self.lines);
        stream.line_with("id: ").await?;
        Ok(stream)
    }
}

/// The endpoint of a webhook: tells when each request is complete, and answers it.
pub async fn answer_all(connection: TcpStream, tell: UnboundedSender<Instant>) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut lines = Lines { stream: BufReader::new(connection), line: String::new() };
    loop {
        let mut length = 0;
        loop {
            match lines.next().await? {
                "" => break,
                field => {
                    if let Some(octets) = field.to_lowercase().strip_prefix("content-length: ") {
                        length = octets.parse()?;
                    }
                }
            }
        }
        lines.stream.read_exact(&mut vec![0; length]).await?;
        tell.send(Instant::now())?;
        lines.stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

/// An open stream.
pub struct Stream(Lines);

impl Stream {
    /// The next line that begins so.
    pub async fn line_with(&mut self, start: &str) -> Result<&str> {
        loop {
            if self.0.next().await?.starts_with(start) {
                return Ok(self.0.line.trim_end());
            }
        }
    }
}
