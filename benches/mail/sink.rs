//! The destination of all outbound mail: an SMTP server that accepts everything and stores nothing, and can be paused.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Sink {
    pub address: SocketAddr,
    count: Arc<AtomicU64>,
    paused: watch::Sender<bool>,
}

impl Sink {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let (paused, is_paused) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counted, is_paused) = (Arc::clone(&counted), is_paused.clone());
                // Clients may disconnect at any time.
                tokio::spawn(async move { drop(session(stream, &counted, is_paused).await) });
            }
        });
        Ok(Self { address, count, paused })
    }

    /// Paused, it holds back all replies.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

async fn session(stream: TcpStream, count: &AtomicU64, mut is_paused: watch::Receiver<bool>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    is_paused.wait_for(|paused| !paused).await?;
    stream.get_mut().write_all(b"220 sink ESMTP\r\n").await?;
    let mut line = Vec::new();
    let mut in_data = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let reply: &[u8] = if in_data {
            if line != b".\r\n" {
                continue;
            }
            in_data = false;
            count.fetch_add(1, Ordering::Relaxed);
            b"250 2.0.0 taken\r\n"
        } else if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"EHLO") {
            b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        } else if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"DATA") {
            in_data = true;
            b"354 go on\r\n"
        } else if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"QUIT") {
            stream.get_mut().write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else {
            b"250 2.0.0 ok\r\n"
        };
        is_paused.wait_for(|paused| !paused).await?;
        stream.get_mut().write_all(reply).await?;
    }
}
