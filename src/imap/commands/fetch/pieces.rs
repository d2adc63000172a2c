//! `BODY[…]<offset.count>` of large bodies: clients ask for one in hundreds of pieces, and each costs only its own octets.
//!
//! The structure of the last message asked for stays with the session's view, so that it is read once.

use super::{Name, PIECE, STRUCTURE_FACTOR};
use crate::id::{InboxId, MailboxId};
use crate::imap::commands::Fault;
use crate::imap::content::section::part_at;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::message::mime::Tree;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::Store;
use crate::store::open_mailbox::{Depth, Fetched};
use imap_codec::imap_types::fetch::Section;
use std::io;
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
        view: &mut SelectedMailbox,
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
                let known = view.structure.as_ref().filter(|(uid, _)| *uid == message.marks.uid);
                let Some(part) = known.and_then(|(_, root)| part_at(root, path)) else { return Ok(None) };
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

    /// Reads the structure of a message, unless it is known. False when there is no memory for that.
    pub async fn read_structure(
        self,
        wire: &mut Wire,
        view: &mut SelectedMailbox,
        message: &Fetched,
    ) -> Result<bool, Fault> {
        let uid = message.marks.uid;
        if view.structure.as_ref().is_some_and(|(known, _)| *known == uid) {
            return Ok(true);
        }
        let size = usize::try_from(message.size).unwrap_or(usize::MAX);
        let mut claim = wire.claim();
        if claim.wait_to_grow(size.saturating_mul(STRUCTURE_FACTOR), PATIENCE).await.is_err() {
            return Ok(false);
        }
        let body = self.store.body_range(self.inbox, view.mailbox, uid, 0..size).await?;
        view.structure = match body {
            None => None,
            Some(body) => {
                let (header, content) = (message.header.clone(), message.content);
                let read = self.reading.read(self.owner, size, move |reader, _| {
                    let limits = reader.begin(content).limits;
                    Ok(Tree::parse(&header, &body, &limits).root.without_parameters())
                });
                Some((uid, wire.watch(read).await??))
            }
        };
        Ok(true)
    }

    /// Octets of a large body, read as the client takes them. Whatever fails ends the connection: their number is said.
    pub async fn push_body(self, wire: &mut Wire, mailbox: MailboxId, uid: u32, range: Range<usize>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let wanted = at..range.end.min(at.saturating_add(PIECE));
            let piece = self.store.body_range(self.inbox, mailbox, uid, wanted).await.map_err(io::Error::other)?;
            let piece = piece.filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| io::Error::other("the message has been expunged"))?;
            at = at.saturating_add(piece.len());
            wire.push_large(&piece).await?;
        }
        Ok(())
    }
}
