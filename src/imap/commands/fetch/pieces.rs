//! `BODY[…]<offset.count>` of large bodies: clients fetch one in hundreds of pieces, each of which costs only its own octets.
//!
//! The structure of the last such message is kept, so that it is parsed once.

use super::items::{depth, is_decoded, needs_structure};
use super::{DECODED_FACTOR, PIECE, STRUCTURE_FACTOR};
use crate::id::{InboxId, MailboxId};
use crate::imap::content::section::part_at;
use crate::imap::context::CommandError;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::imap::wire::syntax::fetch::{Item, Section};
use crate::message::mime::Tree;
use crate::message::preview;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::resources::spool::PATIENCE;
use crate::store::open_mailbox::{Depth, Fetched};
use crate::store::{Store, StoreError};
use std::ops::Range;

/// Where the octets of a body are read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub store: &'a Store,
    pub inbox: &'a InboxId,
    pub reading: &'a Reading,
    pub owner: &'a Owner,
}

/// What a piece of a section consists of.
pub(super) struct Piece {
    pub of_header: Range<usize>,
    pub of_body: Range<usize>,
    /// The first octets of `of_body`, at most [`PIECE`].
    pub first: Vec<u8>,
}

impl Piece {
    pub fn len(&self) -> usize {
        self.of_header.len().saturating_add(self.of_body.len())
    }
}

/// Whether all body items of a FETCH are pieces of undecoded parts.
pub(super) fn wants_pieces(names: &[Item]) -> bool {
    let is_piece = |name: &&Item| match name {
        Item::Section { section, partial, .. } => {
            partial.is_some() && matches!(section, Section::Whole | Section::Text(None) | Section::Part(_))
        }
        _ => false,
    };
    let mut of_body = names.iter().filter(|name| depth(name) == Depth::Body).peekable();
    of_body.peek().is_some() && of_body.all(|name| is_piece(&name))
}

impl Source<'_> {
    /// Reads what the items need and has not been read with the messages, and claims memory for it. False: out of memory.
    pub async fn complete(
        self,
        wire: &mut Wire,
        selected: &mut SelectedMailbox,
        names: &[Item],
        messages: &mut [Fetched],
        claim: &mut Claim,
        in_pieces: bool,
    ) -> Result<bool, CommandError> {
        for message in messages.iter_mut().filter(|message| in_pieces || message.lacks_body()) {
            let has_room = if !names.iter().any(needs_structure) {
                let (mailbox, uid) = (selected.mailbox, message.flags.uid);
                // Once the length of a literal is sent, an error ends the connection.
                if message.lacks_body()
                    && let Err(error) = self.store.body_range(self.inbox, mailbox, uid, 0..1).await
                {
                    message.note_damage(self.inbox, error)?;
                }
                let has_room = claim.grow_to(PIECE).is_ok();
                if has_room && names.iter().any(|name| matches!(name, Item::Preview { .. })) {
                    let beginning = self.store.body_range(self.inbox, mailbox, uid, 0..preview::READ).await;
                    match beginning {
                        Ok(beginning) => message.body = beginning.unwrap_or_default(),
                        Err(error) => message.note_damage(self.inbox, error)?,
                    }
                }
                has_room
            } else if in_pieces {
                let is_read = match self.read_structure(wire, selected, message).await {
                    Err(CommandError::Store(error)) => message.note_damage(self.inbox, error).map(|()| true)?,
                    read => read?,
                };
                is_read && claim.grow_to(PIECE).is_ok()
            } else {
                let decoded = if names.iter().any(is_decoded) { DECODED_FACTOR } else { 0 };
                let needed = message.body_size.saturating_mul(STRUCTURE_FACTOR.saturating_add(decoded));
                let has_room = claim.wait_to_grow(needed, PATIENCE).await.is_ok();
                if has_room {
                    let whole =
                        self.store.body_range(self.inbox, selected.mailbox, message.flags.uid, 0..message.body_size);
                    match whole.await {
                        Ok(body) => message.body = body.unwrap_or_default(),
                        Err(error) => message.note_damage(self.inbox, error)?,
                    }
                }
                has_room
            };
            if !has_room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A piece of a section, of which the first octets are read. `None`: no such part, or it has been expunged.
    pub async fn piece(
        self,
        selected: &mut SelectedMailbox,
        message: &Fetched,
        section: &Section,
        range: Range<usize>,
    ) -> Result<Option<Piece>, CommandError> {
        let (header, size) = (message.header.len(), usize::try_from(message.size).unwrap_or(usize::MAX));
        let body = size.saturating_sub(header);
        let within_body = |start: usize, end: usize| start.min(body)..end.min(body);
        let (of_header, of_body) = match section {
            // Both, one after the other.
            Section::Whole => {
                let of_body = within_body(range.start.saturating_sub(header), range.end.saturating_sub(header));
                (range.start.min(header)..range.end.min(header), of_body)
            }
            Section::Part(path) => {
                let known = selected.structure.as_ref().filter(|(uid, _)| *uid == message.flags.uid);
                let Some(part) = known.and_then(|(_, root)| part_at(root, path)) else { return Ok(None) };
                let start = part.body.start.saturating_add(range.start).min(part.body.end);
                (0..0, start..part.body.start.saturating_add(range.end).min(part.body.end))
            }
            _ => (0..0, within_body(range.start, range.end)),
        };
        if of_body.is_empty() {
            return Ok(Some(Piece { of_header, of_body, first: Vec::new() }));
        }
        let wanted = of_body.start..of_body.end.min(of_body.start.saturating_add(PIECE));
        let first = self.store.body_range(self.inbox, selected.mailbox, message.flags.uid, wanted).await?;
        Ok(first.map(|first| Piece { of_header, of_body, first }))
    }

    /// Parses the structure of a message, unless it is the last one parsed. False: out of memory.
    pub async fn read_structure(
        self,
        wire: &mut Wire,
        selected: &mut SelectedMailbox,
        message: &Fetched,
    ) -> Result<bool, CommandError> {
        let uid = message.flags.uid;
        if selected.structure.as_ref().is_some_and(|(known, _)| *known == uid) {
            return Ok(true);
        }
        let size = usize::try_from(message.size).unwrap_or(usize::MAX);
        let mut claim = wire.claim();
        if claim.wait_to_grow(size.saturating_mul(STRUCTURE_FACTOR), PATIENCE).await.is_err() {
            return Ok(false);
        }
        let body = self.store.body_range(self.inbox, selected.mailbox, uid, 0..size).await?;
        selected.structure = match body {
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

    /// Copies octets of a large body to the client. The literal's length has been sent before, so an error closes the connection.
    pub async fn push_body(
        self,
        wire: &mut Wire,
        mailbox: MailboxId,
        uid: u32,
        range: Range<usize>,
    ) -> Result<(), CommandError> {
        let mut at = range.start;
        while at < range.end {
            let wanted = at..range.end.min(at.saturating_add(PIECE));
            let read = self.store.body_range(self.inbox, mailbox, uid, wanted).await;
            let piece = read.map_err(CommandError::Interrupted)?.filter(|piece| !piece.is_empty());
            let expunged = || StoreError::Aborted(format!("the message with UID {uid} was expunged while it was sent"));
            let piece = piece.ok_or_else(|| CommandError::Interrupted(expunged()))?;
            at = at.saturating_add(piece.len());
            wire.push_large(&piece).await?;
        }
        Ok(())
    }
}
