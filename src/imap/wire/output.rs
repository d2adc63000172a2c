//! Responses to the client, in batches.

use super::response::Reply;
use super::writer::Writer;
use super::{BATCH, Wire};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// For the last response, and for the closing of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Wire {
    /// Writes to the output what is the same whatever the client has enabled.
    pub fn writer(&mut self) -> Writer<'_> {
        self.writer_for(false)
    }

    /// Writes to the output, in UTF-8 where the client takes that.
    pub fn writer_for(&mut self, utf8: bool) -> Writer<'_> {
        Writer::new(&mut self.output, utf8)
    }

    /// Adds the response that ends a command.
    pub fn reply(&mut self, tag: Option<&str>, reply: &Reply) {
        reply.write(tag, &mut self.writer());
    }

    /// Adds a continuation request. RFC 9051 §7.5
    pub fn push_continuation(&mut self, text: &str) {
        self.writer().raw("+ ").raw(text).end();
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
        self.stream.get_mut().begin_writing();
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

    /// Writes a BYE, unless the client has received half of another response, and closes.
    pub async fn close(mut self, text: &str) {
        if self.at_line_start {
            self.output.clear();
            self.writer().bye(text);
            let _ = timeout(CLOSE_TIMEOUT, self.flush()).await;
        }
        let _ = timeout(CLOSE_TIMEOUT, self.stream.shutdown()).await;
    }
}
