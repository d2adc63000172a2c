//! IDLE. RFC 2177.

use super::Fault;
use crate::imap::response::{Answer, go_on};
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use imap_codec::IdleDoneCodec;
use imap_codec::decode::Decoder;
use tokio::time::{Instant, sleep_until};

impl Session<'_> {
    /// Tells what changes until the client says DONE.
    pub async fn idle(&mut self, wire: &mut Wire) -> Result<Answer, Fault> {
        let deadline = Instant::now() + self.server.config.limits.imap_timeout.0;
        self.tell(wire, true).await?;
        wire.push(&go_on("idling"));
        loop {
            wire.flush().await?;
            let changed = self.changed;
            tokio::select! {
                biased;
                line = wire.line() => {
                    return Ok(match line? {
                        Some(line) if matches!(IdleDoneCodec::new().decode(&line), Ok(([], _))) => Answer::ok("done"),
                        _ => Answer::bad("IDLE ends with DONE"),
                    });
                }
                () = changed.wait(), if self.selected.is_some() => self.tell(wire, true).await?,
                () = sleep_until(deadline) => return Err(Fault::Silent),
            }
        }
    }
}
