//! `BODY[…]<offset.count>` of large bodies: clients ask for one in hundreds of pieces, and each costs only its own octets.
//!
//! The structure of the last message asked for stays with the session's view, so that it is read once.

use super::Name;
use crate::id::InboxId;
use crate::imap::commands::Fault;
use crate::imap::content::section::part_at;
use crate::imap::view::View;
use crate::message::mime::{Part, Tree};
use crate::reading::Reading;
use crate::resources::Owner;
use crate::store::Store;
use crate::store::open_mailbox::{Depth, Fetched};
use imap_codec::imap_types::fetch::Section;
use std::ops::Range;

/// Where the octets of a body are read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub store: &'a Store,
    pub inbox: &'a InboxId,
    pub reading: &'a Reading,
    pub owner: &'a Owner,
}

/// Whether all that a FETCH wants of bodies are pieces of a part that is read as it stands.
pub(super) fn wants_pieces(names: &[Name]) -> bool {
    let is_piece = |name: &&Name| match name {
        Name::BodyExt { section, partial, .. } => {
            partial.is_some() && matches!(section, None | Some(Section::Text(None) | Section::Part(_)))
        }
        _ => false,
    };
    let mut of_body = names.iter().filter(|name| super::depth(name) == Depth::Body).peekable();
    of_body.peek().is_some() && of_body.all(|name| is_piece(&name))
}

impl Source<'_> {
    /// A piece of a section, its header and its body octets; `None` where there is no such part, or it is gone.
    pub async fn piece(
        self,
        view: &mut View,
        message: &Fetched,
        section: Option<&Section<'_>>,
        range: Range<usize>,
    ) -> Result<Option<(Range<usize>, Vec<u8>)>, Fault> {
        let header = message.header.len();
        let (of_header, of_body) = match section {
            // Both, one after the other.
            None => {
                let of_body = range.start.saturating_sub(header)..range.end.saturating_sub(header);
                (range.start.min(header)..range.end.min(header), of_body)
            }
            Some(Section::Part(path)) => {
                let root = self.structure(view, message).await?;
                let Some(part) = root.and_then(|root| part_at(root, path)) else { return Ok(None) };
                let start = part.body.start.saturating_add(range.start).min(part.body.end);
                (0..0, start..part.body.start.saturating_add(range.end).min(part.body.end))
            }
            Some(_) => (0..0, range),
        };
        if of_body.is_empty() {
            return Ok(Some((of_header, Vec::new())));
        }
        let octets = self.store.body_range(self.inbox, view.mailbox, message.marks.uid, of_body).await?;
        Ok(octets.map(|octets| (of_header, octets)))
    }

    async fn structure<'v>(self, view: &'v mut View, message: &Fetched) -> Result<Option<&'v Part>, Fault> {
        let uid = message.marks.uid;
        if view.structure.as_ref().is_none_or(|(known, _)| *known != uid) {
            let (whole, _) =
                self.store.messages_fetch(self.inbox, view.mailbox, vec![uid], Depth::Body, usize::MAX).await?;
            view.structure = match whole.into_iter().next() {
                None => None,
                Some(message) => {
                    let octets = message.header.len().saturating_add(message.body.len());
                    let read = self.reading.read(self.owner, octets, move |limits, _| {
                        Ok(Tree::parse(&message.header, &message.body, limits).root.without_parameters())
                    });
                    Some((uid, read.await?))
                }
            };
        }
        Ok(view.structure.as_ref().map(|(_, root)| root))
    }
}
