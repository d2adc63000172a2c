//! Responses to the client, in batches.

use super::{BATCH, Wire};
use imap_codec::ResponseCodec;
use imap_codec::encode::Encoder;
use imap_codec::imap_types::response::Response;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// For the last response, and for the closing of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Wire {
    /// Adds a response to the output.
    pub fn push(&mut self, response: &Response<'_>) {
        for fragment in ResponseCodec::new().encode(response) {
            use imap_codec::encode::Fragment::{Line, Literal};
            let (Line { data } | Literal { data, .. }) = fragment;
            self.output.extend_from_slice(&data);
        }
    }

    /// Adds octets to the output.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Adds octets to the output. Many are written at once, uncopied.
    pub async fn push_large(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.output.len() + bytes.len() <= BATCH {
            self.output.extend_from_slice(bytes);
            return Ok(());
        }
        self.at_line_start = false;
        self.write_out().await?;
        self.stream.write_all(bytes).await
    }

    /// Writes the output if it is a batch. Between responses only.
    pub async fn flush_batch(&mut self) -> io::Result<()> {
        if self.output.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    /// Writes the output. Between responses only.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.at_line_start = false;
            self.write_out().await?;
        }
        self.stream.flush().await?;
        self.at_line_start = true;
        if self.output.capacity() > BATCH {
            self.output = Vec::new();
        }
        Ok(())
    }

    async fn write_out(&mut self) -> io::Result<()> {
        self.count().map_err(|full| io::Error::new(io::ErrorKind::OutOfMemory, full))?;
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output).await?;
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Writes the output, and closes.
    pub async fn close_flushed(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, self.flush()).await;
        let _ = timeout(CLOSE_TIMEOUT, self.stream.shutdown()).await;
    }

    /// Writes a last response, unless the client has received half of another, and closes.
    pub async fn close(mut self, last: &Response<'_>) {
        if self.at_line_start {
            self.output.clear();
            self.push(last);
            let _ = timeout(CLOSE_TIMEOUT, self.flush()).await;
        }
        let _ = timeout(CLOSE_TIMEOUT, self.stream.shutdown()).await;
    }
}
