//! Headers in UTF-8, for clients that have not enabled that: in ASCII (RFC 6855 §7, RFC 6857).

use crate::imap::context::CommandError;
use crate::imap::wire::Wire;
use crate::imap::wire::syntax::fetch::Item;
use crate::message::downgrade::downgraded;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::store::open_mailbox::{Depth, Fetched};

/// How much of a message an item needs so that its size is that of what is sent.
pub(super) fn depth_for_size(name: &Item) -> Depth {
    match name {
        Item::Rfc822Size | Item::BinarySize { path: None } => Depth::Header,
        _ => Depth::Flags,
    }
}

/// The messages with their headers in ASCII, and their sizes with these.
pub(super) async fn in_ascii(
    wire: &mut Wire,
    (reading, owner): (&Reading, &Owner),
    mut messages: Vec<Fetched>,
) -> Result<Vec<Fetched>, CommandError> {
    let octets = messages.iter().map(|message| &message.header).filter(|header| !header.is_ascii()).map(Vec::len).sum();
    if octets == 0 {
        return Ok(messages);
    }
    let read = reading.read(owner, octets, move |reader, budget| {
        for message in &mut messages {
            budget.check()?;
            if let Some(header) = downgraded(&message.header, &reader.begin(message.content).limits) {
                let [before, after] =
                    [message.header.len(), header.len()].map(|octets| u32::try_from(octets).unwrap_or(u32::MAX));
                message.size = message.size.saturating_sub(before).saturating_add(after);
                message.header = header;
            }
        }
        Ok(messages)
    });
    Ok(wire.watch(read).await??)
}
