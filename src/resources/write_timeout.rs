//! A stream with time limits for its peer's reading.
//!
//! Invariant: a write without progress for [`WriteLimits::timeout`], or below the minimum rate, fails with
//! [`io::ErrorKind::TimedOut`], so that a client that requests much and reads an octet a minute cannot keep its connection and the
//! response in memory. Only time spent waiting for the peer counts.

use super::rate::{MinimumRate, Progress};
use crate::net::connections::Activity;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The limits of a slow peer.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// Maximum time of a write without progress.
    pub timeout: Duration,
    /// The minimum rate.
    pub rate: MinimumRate,
}

/// The stream, and its peer's progress.
#[derive(Debug)]
pub struct WriteTimeout<S> {
    stream: S,
    timeout: Duration,
    progress: Progress,
    /// When the last write stopped waiting.
    waited_until: Instant,
    waiting: Option<Waiting>,
    activity: Option<Arc<Activity>>,
}

/// A write waiting for the peer.
#[derive(Debug)]
struct Waiting {
    /// When it fails without progress.
    fails: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> WriteTimeout<S> {
    pub fn new(stream: S, limits: WriteLimits) -> Self {
        let now = Instant::now();
        let progress = Progress::new(limits.rate, now);
        Self { stream, timeout: limits.timeout, progress, waited_until: now, waiting: None, activity: None }
    }

    /// The same, with reads counting as activity.
    pub fn with_activity(self, activity: Arc<Activity>) -> Self {
        Self { activity: Some(activity), ..self }
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Records the result of a write of which the peer took `octets`.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        octets: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.progress.received(octets);
            if self.waiting.take().is_some() {
                self.waited_until = Instant::now();
            }
            if let Some(activity) = &self.activity {
                activity.goes_on();
            }
            return written;
        }
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            none => {
                let now = Instant::now();
                self.progress.pause(now.saturating_duration_since(self.waited_until));
                let fails = now + self.timeout;
                let timer = Box::pin(sleep_until(fails.min(self.progress.period_ends())));
                none.insert(Waiting { fails, timer })
            }
        };
        loop {
            ready!(waiting.timer.as_mut().poll(context));
            let now = Instant::now();
            if now >= waiting.fails {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")));
            }
            if self.progress.is_too_slow(now) {
                let error = "the client reads more slowly than limits.minimum_rate";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
            }
            waiting.timer.as_mut().reset(waiting.fails.min(self.progress.period_ends()));
        }
    }
}

fn octets(written: &Poll<io::Result<usize>>) -> usize {
    match written {
        Poll::Ready(Ok(octets)) => *octets,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        let octets = octets(&written);
        this.judge(written, octets, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        let octets = octets(&written);
        this.judge(written, octets, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(flushed, 0, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(closed, 0, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const LONG: Duration = Duration::from_secs(300);
    static MANY: [u8; 100_000] = [b'x'; 100_000];

    fn pair(timeout: Duration, octets_per_second: u64, period: Duration) -> (WriteTimeout<DuplexStream>, DuplexStream) {
        let (server, client) = tokio::io::duplex(4096);
        let rate = MinimumRate { octets_per_second, period };
        (WriteTimeout::new(server, WriteLimits { timeout, rate }), client)
    }

    #[tokio::test]
    async fn who_reads_octet_by_octet_is_too_slow_and_who_keeps_up_gets_all() {
        let (mut server, mut client) = pair(LONG, 1_000_000, Duration::from_millis(50));
        let reads = tokio::spawn(async move {
            let mut count = 0;
            while client.read_u8().await.is_ok() {
                count += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            count
        });
        let error = server.write_all(&MANY).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("limits.minimum_rate"), "{error}");
        drop(server);
        assert!(reads.await.unwrap() < MANY.len());

        let (mut server, mut client) = pair(LONG, 10, Duration::from_secs(60));
        let reads = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.map(|_| all.len())
        });
        server.write_all(&MANY).await.unwrap();
        drop(server);
        assert_eq!(reads.await.unwrap().unwrap(), MANY.len());
    }

    #[tokio::test]
    async fn time_in_which_nothing_waits_for_the_client_does_not_count() {
        let (mut server, mut client) = pair(LONG, 1, LONG);
        let begins = server.progress.period_ends();
        let mut read = vec![0; 4096];
        let mut pauses = Duration::ZERO;
        for _ in 0..3 {
            let pause = Duration::from_millis(20);
            tokio::time::sleep(pause).await;
            pauses += pause;
            server.write_all(&[b'x'; 4096]).await.unwrap();
            let one_more = async { server.write_all(b"x").await.unwrap() };
            let (_, ()) = tokio::join!(one_more, async {
                tokio::task::yield_now().await;
                client.read_exact(&mut read).await.unwrap();
            });
            assert!(server.progress.period_ends() >= begins + pauses);
            client.read_u8().await.unwrap();
        }
    }

    #[tokio::test]
    async fn without_a_rate_a_write_still_has_to_make_progress() {
        let (mut server, _client) = pair(Duration::from_millis(50), 0, LONG);
        assert_eq!(server.write_all(&MANY).await.unwrap_err().to_string(), "the client reads nothing");
    }
}
