//! IDLE. RFC 2177.

use crate::imap::session::{CommandError, Session};
use crate::imap::wire::Wire;
use crate::imap::wire::response::Reply;
use imap_codec::IdleDoneCodec;
use imap_codec::decode::Decoder;
use tokio::time::{Instant, sleep_until};

impl Session<'_> {
    /// Sends changes as they happen, until DONE.
    pub async fn idle(&mut self, wire: &mut Wire) -> Result<Reply, CommandError> {
        let deadline = Instant::now() + self.server.config.limits.imap_timeout.0;
        self.push_changes(wire, true).await?;
        wire.push_bytes(b"+ idling\r\n");
        loop {
            wire.flush().await?;
            let changed = self.changed;
            tokio::select! {
                biased;
                line = wire.line() => {
                    return Ok(match line? {
                        Some(line) if matches!(IdleDoneCodec::new().decode(&line), Ok(([], _))) => Reply::completed(),
                        _ => Reply::bad("expected DONE"),
                    });
                }
                () = changed.wait(), if self.selected.is_some() => self.push_changes(wire, true).await?,
                () = sleep_until(deadline) => return Err(CommandError::IdleTimeout),
            }
        }
    }
}
