//! A connection to a server that may not talk without end.
//!
//! Invariant: between two things we say, no more is read than any honest answer has. The library that reads replies keeps
//! what it reads until their last line, and a reply of empty lines has none (RFC 5321 §4.5.3.1.5 lets a line have 512
//! octets, and nothing limits the lines).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets of one answer, a TLS handshake with its certificates included.
const MOST: usize = 256 * 1024;

/// The connection, and what was heard since we last spoke.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    heard: usize,
}

impl<S> Metered<S> {
    /// Nothing was heard yet.
    pub fn new(stream: S) -> Self {
        Self { stream, heard: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.heard > MOST {
            let endless = "the server's answer has no end";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, endless)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.heard += buffer.filled().len().saturating_sub(before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.heard = 0;
        Pin::new(&mut this.stream).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
