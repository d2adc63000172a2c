//! A connection whose octets are compressed in both directions, after COMPRESS DEFLATE. RFC 4978, RFC 1951.
//!
//! Invariant: what is flushed ends at an octet, so that the other side can read all of it; what is held beside the two states
//! of the algorithm is bounded, whatever the client sends and however slowly it reads.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets of memory of the state that decompresses: a window of 32 KiB, and tables.
const DECOMPRESSOR: usize = 48 * 1024;
/// Octets of memory of the state that compresses.
const COMPRESSOR: usize = 384 * 1024;
/// Compressed octets read at once.
const READ_AT_ONCE: usize = 4 * 1024;
/// Octets compressed at once.
const WRITE_AT_ONCE: usize = 16 * 1024;
/// Room for the end of what is flushed.
const FLUSH_ROOM: usize = 64;

/// A stream whose octets are compressed from some time on.
#[derive(Debug)]
pub struct Compressible<S> {
    stream: S,
    /// Boxed: connections without it do not pay for it.
    deflate: Option<Box<Deflate>>,
}

/// The states of both directions.
#[derive(Debug)]
struct Deflate {
    decompressor: Decompress,
    /// Read, and not decompressed yet.
    received: Vec<u8>,
    /// None while the connection is idle.
    compressor: Option<Compress>,
    /// Compressed, and not written yet.
    output: Vec<u8>,
    /// How many octets of the output are written.
    written: usize,
    /// The compressor holds octets.
    is_unflushed: bool,
}

impl<S> Compressible<S> {
    /// Not compressed yet.
    pub fn new(stream: S) -> Self {
        Self { stream, deflate: None }
    }

    /// Compression from here on, in both directions; `received` is what has been read of the compressed octets already.
    pub fn compress(&mut self, received: Vec<u8>) {
        self.deflate = Some(Box::new(Deflate {
            decompressor: Decompress::new(false),
            received,
            compressor: None,
            output: Vec::new(),
            written: 0,
            is_unflushed: false,
        }));
    }

    pub fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Octets of memory that the compression takes.
    pub fn memory(&self) -> usize {
        self.deflate.as_ref().map_or(0, |deflate| deflate.memory())
    }

    /// Makes what compresses, so that it is counted before it is used.
    pub fn begin_writing(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.compressor.get_or_insert_with(compressor);
        }
    }

    /// Whether [`Self::rest`] would free memory.
    pub fn can_rest(&self) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| deflate.compressor.is_some() && !deflate.is_unflushed)
    }

    /// Frees the state that compresses. What is written later refers to nothing from before.
    pub fn rest(&mut self) {
        if let Some(deflate) = self.deflate.as_mut().filter(|deflate| !deflate.is_unflushed) {
            deflate.compressor = None;
        }
    }
}

impl Deflate {
    fn memory(&self) -> usize {
        let compressor = if self.compressor.is_some() { COMPRESSOR } else { 0 };
        DECOMPRESSOR + compressor + self.received.capacity() + self.output.capacity()
    }

    /// Decompresses into `buffer`: how many octets were taken, and whether some were made, or the stream has ended.
    fn decompress(&mut self, buffer: &mut ReadBuf<'_>, received: &[u8]) -> io::Result<(usize, bool)> {
        let before = (self.decompressor.total_in(), self.decompressor.total_out());
        let unfilled = buffer.initialize_unfilled();
        let status = self.decompressor.decompress(received, unfilled, FlushDecompress::None).map_err(invalid)?;
        let made = count(self.decompressor.total_out(), before.1);
        buffer.advance(made);
        Ok((count(self.decompressor.total_in(), before.0), made > 0 || status == Status::StreamEnd))
    }

    /// Compresses octets, or flushes what is held.
    fn compress(&mut self, mut octets: &[u8], flush: FlushCompress) -> io::Result<()> {
        let compressor = self.compressor.get_or_insert_with(compressor);
        loop {
            self.output.reserve(octets.len() / 2 + FLUSH_ROOM);
            let before = compressor.total_in();
            compressor.compress_vec(octets, &mut self.output, flush).map_err(invalid)?;
            octets = octets.get(count(compressor.total_in(), before)..).unwrap_or_default();
            // A full buffer may have left more to come.
            if octets.is_empty() && self.output.len() < self.output.capacity() {
                return Ok(());
            }
        }
    }

    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut received = std::mem::take(&mut self.received);
        let mut fresh = [0; READ_AT_ONCE];
        loop {
            // The decompressor may hold octets even if nothing has been received.
            let (taken, is_done) = self.decompress(buffer, &received)?;
            received.drain(..taken.min(received.len()));
            if is_done {
                // An idle connection keeps no empty buffer.
                self.received = if received.is_empty() { Vec::new() } else { received };
                return Poll::Ready(Ok(()));
            }
            if !received.is_empty() {
                if taken == 0 {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "the deflate stream does not go on");
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            let mut raw = ReadBuf::new(&mut fresh);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut raw))?;
            if raw.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            received.extend_from_slice(raw.filled());
        }
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(stream, cx))?;
        let octets = octets.get(..WRITE_AT_ONCE).unwrap_or(octets);
        self.compress(octets, FlushCompress::None)?;
        self.is_unflushed |= !octets.is_empty();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            self.compress(&[], FlushCompress::Sync)?;
            self.is_unflushed = false;
        }
        ready!(self.poll_drain(stream, cx))?;
        self.output = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Writes all that is compressed.
    fn poll_drain<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(written);
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

fn compressor() -> Compress {
    Compress::new(Compression::fast(), false)
}

fn count(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + Unpin> AsyncRead for Compressible<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.deflate {
            Some(deflate) => deflate.poll_read(&mut this.stream, cx, buffer),
            None => Pin::new(&mut this.stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Compressible<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.deflate {
            Some(deflate) => deflate.poll_write(&mut this.stream, cx, octets),
            None => Pin::new(&mut this.stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(deflate) = &mut this.deflate {
            ready!(deflate.poll_flush(&mut this.stream, cx))?;
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn deflated<S>(stream: S, received: Vec<u8>) -> Compressible<S> {
        let mut stream = Compressible::new(stream);
        stream.compress(received);
        stream
    }

    /// Compressed octets, flushed after each piece; the state rests in between where asked for.
    async fn compressed(pieces: &[(Vec<u8>, bool)]) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(100);
        let mut near = deflated(near, Vec::new());
        let read = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        };
        let write = async {
            for (piece, rests) in pieces {
                near.write_all(piece).await.unwrap();
                near.flush().await.unwrap();
                if *rests {
                    near.rest();
                    assert!(near.memory() < 2 * DECOMPRESSOR);
                }
            }
            drop(near);
        };
        tokio::join!(read, write).0
    }

    /// What a reader that is not ours makes of it.
    fn inflated(octets: &[u8]) -> Vec<u8> {
        let mut decoder = Decompress::new(false);
        let mut all = Vec::with_capacity(4 * 1024 * 1024);
        decoder.decompress_vec(octets, &mut all, FlushDecompress::Sync).unwrap();
        all
    }

    #[tokio::test]
    async fn all_that_is_flushed_can_be_read() {
        let many: Vec<u8> = (0..60_000).flat_map(|n| format!("* {n} EXISTS\r\n").into_bytes()).collect();
        let pieces = [(b"* OK\r\n".to_vec(), false), (many.clone(), true), (Vec::new(), true), (many.clone(), false)];
        let octets = compressed(&pieces).await;
        assert!(octets.len() < many.len());
        let expected = pieces.map(|(piece, _)| piece).concat();
        assert_eq!(inflated(&octets), expected);

        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = deflated(near, octets.get(..70).unwrap().to_vec());
        let rest = octets.get(70..).unwrap().to_vec();
        let write = async {
            far.write_all(&rest).await.unwrap();
            drop(far);
        };
        let mut read = Vec::new();
        let (_, result) = tokio::join!(write, near.read_to_end(&mut read));
        assert_eq!(result.unwrap(), expected.len());
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn what_is_not_deflated_is_an_error_and_a_bomb_takes_no_memory() {
        let mut near = deflated(tokio::io::empty(), b"\xff\xff\xff\xff".to_vec());
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);

        let mut bomb = Vec::new();
        let zeros = io::repeat(0).take(10 * 1024 * 1024);
        flate2::read::DeflateEncoder::new(zeros, Compression::best()).read_to_end(&mut bomb).unwrap();
        bomb.shrink_to_fit();
        let length = bomb.len();
        let mut near = deflated(tokio::io::empty(), bomb);
        let mut piece = vec![0; 1024];
        for _ in 0..1000 {
            near.read_exact(&mut piece).await.unwrap();
        }
        assert!(near.memory() <= DECOMPRESSOR + length + READ_AT_ONCE);
    }

    proptest! {
        #[test]
        fn any_pieces_come_through(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 0..9),
        ) {
            let octets = runtime().block_on(compressed(&pieces));
            let expected: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| piece).collect();
            prop_assert_eq!(inflated(&octets), expected);
        }

        #[test]
        fn no_octets_stop_it(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut near = deflated(tokio::io::empty(), octets);
            let mut all = Vec::new();
            let _ = runtime().block_on((&mut near).take(1_000_000).read_to_end(&mut all));
        }
    }
}
