//! IDLE. RFC 2177; RFC 5465 §4 (NOTIFY).

use super::notify;
use crate::imap::context::{CommandError, Context};
use crate::imap::updates::push_changes;
use crate::imap::wire::Wire;
use crate::imap::wire::response::Reply;
use imap_codec::IdleDoneCodec;
use imap_codec::decode::Decoder;
use tokio::time::{Instant, sleep_until};

/// Sends changes as they happen, until DONE.
pub async fn idle(context: &mut Context<'_>, wire: &mut Wire) -> Result<Reply, CommandError> {
    let deadline = Instant::now() + context.server.config.limits.imap_timeout.0;
    // First and by itself: imap-tools takes the first line for the continuation, and then waits for more to come.
    wire.push_continuation("idling");
    wire.flush().await?;
    push_changes(context, wire, true).await?;
    loop {
        wire.flush().await?;
        let changed = context.changed;
        tokio::select! {
            biased;
            line = wire.line() => {
                return Ok(match line? {
                    Some(line) if matches!(IdleDoneCodec::new().decode(&line), Ok(([], _))) => Reply::completed(),
                    _ => Reply::bad("expected DONE"),
                });
            }
            () = changed.wait(), if context.selected.is_some() || context.notified.is_some() => {
                push_changes(context, wire, true).await?;
                notify::push(context, wire).await?;
            }
            () = sleep_until(deadline) => return Err(CommandError::IdleTimeout),
        }
    }
}
