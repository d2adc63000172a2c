//! Limits the octets read between two writes. Invariant: no more is read than a correct reply can have. The library
//! buffers a reply until its last line, and a reply of continuation lines never ends (RFC 5321 §4.5.3.1.5 limits a
//! line to 512 octets, but not the number of lines).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets of a reply, or of a TLS handshake with its certificates.
const LIMIT: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct ReadLimited<S> {
    stream: S,
    read: usize,
}

impl<S> ReadLimited<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadLimited<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read > LIMIT {
            let endless = "the server's reply has no end";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, endless)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.read += buffer.filled().len().saturating_sub(before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadLimited<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.read = 0;
        Pin::new(&mut this.stream).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
