//! FETCH. RFC 3501 §6.4.5, §7.4.2; RFC 7162 (MODSEQ, CHANGEDSINCE, VANISHED), RFC 9394 (PARTIAL).
//!
//! Invariant: no more than a batch of messages is in memory while the client is waited for, and it is counted; what is not
//! requested is not read; a large body is copied from the store to the client piece by piece.

mod ascii;
mod changes;
mod contents;
mod items;
mod pieces;
mod seen;

use self::ascii::{depth_for_size, in_ascii};
use self::contents::{Content, Unmade, contents, made_octets, octets_to_read};
use self::items::{depth, is_decoded, is_parsed, once, sets_seen, write_label};
use self::pieces::{Piece, Source, wants_pieces};
use self::seen::SeenMarker;
use super::{EXPUNGED, NO_SUCH_MESSAGE, known_modseq, no_memory};
use crate::clock::Timestamp;
use crate::id::{MailboxId, ThreadId};
use crate::imap::content::section::Octets;
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::flags::{begin_fetch, push_new_keywords, write_flags, write_modseq};
use crate::imap::selected::SelectedMailbox;
use crate::imap::updates::enable_condstore;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::fetch::{Fetch, Item, Section};
use crate::message::fields::slice;
use crate::message::{ReadLimits, has_nul};
use crate::resources::memory::Claim;
use crate::resources::work::INLINE;
use crate::store::messages::Flags;
use crate::store::object_ids::ObjectIds;
use crate::store::open_mailbox::{Depth, Fetched, LARGE_BODY};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

/// Messages read at once.
const MESSAGES: usize = 1000;
/// Octets read at once, except when a single message has more.
const OCTETS: usize = 1024 * 1024;
/// Octets of a large body that are read at once. The store reads over all that comes before a piece.
const PIECE: usize = 512 * 1024;
/// Memory for parsing the structure of a message, in multiples of its size.
const STRUCTURE_FACTOR: usize = 2;
/// Memory for decoding the parts of a message, in multiples of its size: what is sent, and one that is being cut.
const DECODED_FACTOR: usize = 2;

/// FETCH and UID FETCH.
pub async fn fetch(context: &mut Context<'_>, wire: &mut Wire, command: Fetch) -> Result<Reply, CommandError> {
    let Fetch { set, mut items, by_uid, modifiers } = command;
    if modifiers.vanished && !context.enabled.contains(Enabled::QRESYNC) {
        return Ok(Reply::bad("QRESYNC has to be enabled first"));
    }
    if modifiers.changed_since.is_some() {
        items.push(Item::ModSeq);
    }
    // RFC 9586 §3.3: UIDFETCH names the UID.
    let names = match once(items, by_uid && !context.enabled.contains(Enabled::UIDONLY)) {
        Ok(names) => names,
        Err(refused) => return Ok(refused),
    };
    if names.contains(&Item::ModSeq) {
        enable_condstore(context, wire);
        // Changes with lower mod-sequences than these are sent, too.
        context.changed.set();
    }
    let Some(selected) = &mut context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    let Ok(mut uids) = selected.select(&set, by_uid) else { return Ok(Reply::bad(NO_SUCH_MESSAGE)) };
    if let Some(since) = modifiers.changed_since {
        let store = (&context.server.store, &context.login.inbox);
        let since = (known_modseq(since), modifiers.vanished);
        uids = changes::since(store, wire, selected, (&set, uids), since).await?;
    }
    if let Some(range) = modifiers.partial {
        uids = range.of(&uids).to_vec();
    }
    let enabled = context.enabled;
    let in_pieces = wants_pieces(&names);
    let utf8 = context.enabled.takes_utf8();
    let needed = |name: &Item| if utf8 { depth(name) } else { depth(name).max(depth_for_size(name)) };
    let deepest = names.iter().map(needed).max().unwrap_or(Depth::Flags);
    let depth = if in_pieces { Depth::Header } else { deepest };
    let sets_seen = !selected.read_only && names.iter().any(sets_seen);
    let (store, inbox, mailbox) = (&context.server.store, &context.login.inbox, selected.mailbox);
    let (reading, owner) = (&context.server.reading, &context.owner);
    let source = Source { store, inbox, reading, owner };
    let seen = SeenMarker { server: context.server, inbox, mailbox, changed: context.changed };
    let parsed = names.iter().filter(|name| is_parsed(name)).count();
    let decodes = names.iter().any(is_decoded);
    // Once the octets have been sent: a message that cannot be read does not become \Seen.
    let marks_late = sets_seen && (in_pieces || decodes);
    let wants_ids = names.iter().any(|name| matches!(name, Item::EmailId | Item::ThreadId));

    let (mut rest, mut sent, mut failed) = (uids.as_slice(), 0, Failed::default());
    let mut claim = wire.claim();
    while !rest.is_empty() {
        let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest).to_vec();
        let (mut messages, looked_for) = store.messages_fetch(inbox, mailbox, batch, depth, OCTETS).await?;
        sent += messages.len();
        failed.take_damaged(&mut messages);
        if !utf8 {
            messages = in_ascii(wire, (reading, owner), messages).await?;
        }
        if !claim_memory(&mut claim, &messages, if decodes { 1 + DECODED_FACTOR } else { 1 }) {
            return Ok(no_memory());
        }
        let ids = match wants_ids {
            true => {
                let uids = messages.iter().map(|message| message.flags.uid).collect();
                store.messages_object_ids(inbox, mailbox, uids).await?
            }
            false => Vec::new(),
        };
        rest = rest.get(looked_for.max(1)..).unwrap_or_default();
        let newly_seen = match sets_seen && !marks_late {
            true => seen.set(&mut messages, |message| !message.lacks_body()).await,
            false => Vec::new(),
        };
        let mut messages = messages.into_iter();
        while messages.len() > 0 {
            let count = read_together(messages.as_slice(), parsed, in_pieces);
            let mut run: Vec<Fetched> = messages.by_ref().take(count).collect();
            if !source.complete(wire, selected, &names, &mut run, &mut claim, in_pieces).await? {
                return Ok(no_memory());
            }
            failed.take_damaged(&mut run);
            let octets = run.iter().map(|message| octets_to_read(parsed, message)).sum();
            let read_names = Arc::clone(&names);
            let read = reading.read(owner, octets, move |reader, budget| {
                let contents = run.iter().map(|message| {
                    // What is sent as it is stored is not parsed.
                    let limits = if parsed > 0 { reader.begin(message.content).limits } else { ReadLimits::NOTHING };
                    contents(&read_names, message, &limits, budget, in_pieces, utf8)
                });
                let contents = contents.collect::<Result<Vec<_>, _>>()?;
                Ok((run, contents))
            });
            let (run, contents) = wire.watch(read).await??;
            for (mut message, contents) in run.into_iter().zip(contents) {
                let uid = message.flags.uid;
                let contents = match contents {
                    Ok(contents) => contents,
                    Err(unmade) => {
                        failed.unmade.push((uid, unmade));
                        continue;
                    }
                };
                if message.body_size > LARGE_BODY {
                    // It is read again, piece by piece.
                    message.body = Vec::new();
                    let kept = message.header.len().saturating_add(made_octets(&contents));
                    claim.shrink_to(kept.saturating_add(PIECE));
                }
                let is_late = sets_seen && (marks_late || message.lacks_body());
                let late = is_late.then_some(seen).filter(|_| !message.flags.flags.contains(Flags::SEEN));
                let became_seen = newly_seen.binary_search(&uid).is_ok();
                let first = match first_piece(&names, &contents) {
                    None => None,
                    Some((section, range)) => {
                        match wire.watch(source.piece(selected, &message, section, range)).await? {
                            Ok(piece) => Some(piece),
                            Err(CommandError::Store(error)) => {
                                message.note_damage(inbox, error)?;
                                failed.damaged.push(uid);
                                continue;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                };
                let ids = ids.binary_search_by_key(&uid, |ids| ids.uid).ok().and_then(|at| ids.get(at));
                if wants_ids && ids.is_none() {
                    // It was expunged a moment ago.
                    sent = sent.saturating_sub(1);
                    continue;
                }
                let answer = Answer { message, contents, ids, first, became_seen, enabled, late };
                push_message(wire, selected, &names, answer, source).await?;
            }
            if messages.len() > 0 || !rest.is_empty() {
                // Many messages take long.
                tokio::task::yield_now().await;
            }
        }
    }
    if let Some(reply) = failed.reply() {
        return Ok(reply);
    }
    // RFC 2180 §4.1.2: the others have been sent.
    if sent < uids.len() && !by_uid {
        return Ok(Reply::no(EXPUNGED).code(Code::ExpungeIssued));
    }
    Ok(Reply::completed())
}

/// UIDs of the messages that were not sent.
#[derive(Debug, Default)]
struct Failed {
    damaged: Vec<u32>,
    unmade: Vec<(u32, Unmade)>,
}

impl Failed {
    /// Takes out the messages whose bodies are damaged.
    fn take_damaged(&mut self, messages: &mut Vec<Fetched>) {
        self.damaged.extend(messages.extract_if(.., |message| message.is_damaged).map(|message| message.flags.uid));
    }

    /// The reply, if there are any.
    fn reply(&self) -> Option<Reply> {
        if !self.damaged.is_empty() {
            return Some(super::damaged(&self.damaged));
        }
        let (uid, unmade) = self.unmade.first()?;
        Some(match unmade {
            // RFC 3516 §4.3.
            Unmade::UnknownEncoding => {
                let text = format!("UID {uid} has an unknown Content-Transfer-Encoding there, fetch it with BODY");
                Reply::no(text).code(Code::UnknownCte)
            }
            Unmade::TooLarge => {
                let text = format!("the parts fetched of UID {uid} are larger than it, fetch each once");
                Reply::no(text).code(Code::Limit)
            }
        })
    }
}

/// Sets a claim to `times` the size of these messages. False if that exceeds the budget.
fn claim_memory(claim: &mut Claim, messages: &[Fetched], times: usize) -> bool {
    let octets: usize = messages.iter().map(|message| message.header.len() + message.body.len()).sum();
    let octets = octets.saturating_mul(times);
    claim.shrink_to(octets);
    claim.grow_to(octets).is_ok()
}

/// How many of the next messages are read together: as many as are small work, or one that is not or whose body is not in
/// memory.
fn read_together(messages: &[Fetched], parsed: usize, in_pieces: bool) -> usize {
    let mut octets = 0_usize;
    let is_more = |message: &Fetched| {
        octets = octets.saturating_add(octets_to_read(parsed, message));
        in_pieces || message.lacks_body() || octets > INLINE
    };
    messages.iter().position(is_more).unwrap_or(messages.len()).max(1)
}

/// The first item that is read in pieces: its section, and the range of it. It is read before the response begins: once part of
/// that is written, an error has to end the connection.
fn first_piece<'a>(names: &'a [Item], contents: &[Content]) -> Option<(&'a Section, Range<usize>)> {
    names.iter().zip(contents).find_map(|(name, content)| match (name, content) {
        (Item::Section { section, partial: Some(partial), .. }, Content::Nothing) => {
            Some((section, range_of(*partial)))
        }
        _ => None,
    })
}

/// The octets that a partial FETCH names.
fn range_of((offset, count): (u32, NonZeroU32)) -> Range<usize> {
    let start = index(offset);
    start..start.saturating_add(index(count.get()))
}

/// What one FETCH response is made of.
struct Answer<'a> {
    message: Fetched,
    contents: Vec<Content>,
    /// Where EMAILID or THREADID is fetched.
    ids: Option<&'a ObjectIds>,
    first: Option<Option<Piece>>,
    /// It has become `\Seen`: its flags are sent, and with CONDSTORE its UID and mod-sequence (RFC 7162 §3.2.4).
    became_seen: bool,
    enabled: Enabled,
    /// It becomes `\Seen` once its octets have been sent.
    late: Option<SeenMarker<'a>>,
}

/// One FETCH response.
async fn push_message(
    wire: &mut Wire,
    selected: &mut SelectedMailbox,
    names: &[Item],
    answer: Answer<'_>,
    source: Source<'_>,
) -> Result<(), CommandError> {
    let Answer { mut message, contents, ids, mut first, mut became_seen, enabled, late } = answer;
    if selected.sequence_number(message.flags.uid).is_none() {
        return Ok(());
    }
    let shows_modseq = enabled.contains(Enabled::CONDSTORE);
    push_new_keywords(wire, selected, &message.flags);
    begin_fetch(&mut wire.writer(), selected, message.flags.uid, enabled);
    let mut is_first = true;
    for (name, content) in names.iter().zip(contents) {
        if late.is_some() && matches!(name, Item::Flags | Item::ModSeq) {
            // At the end.
            continue;
        }
        if !std::mem::take(&mut is_first) {
            wire.writer().raw(" ");
        }
        match name {
            Item::Uid => {
                wire.writer().raw("UID ").number(message.flags.uid);
            }
            Item::Flags => write_flags(&mut wire.writer(), selected, &message.flags),
            Item::ModSeq => write_modseq(&mut wire.writer(), message.modseq),
            Item::InternalDate => {
                wire.writer().raw("INTERNALDATE ").date_time(message.internal_date);
            }
            Item::Rfc822Size => {
                wire.writer().raw("RFC822.SIZE ").number(message.size);
            }
            Item::BinarySize { path: None } => {
                wire.writer().raw("BINARY.SIZE[] ").number(message.size);
            }
            Item::SaveDate => push_save_date(wire, message.saved_at),
            Item::EmailId => push_object_id(wire, "EMAILID", ids.map(|ids| ids.email.as_str())),
            Item::ThreadId => {
                push_object_id(wire, "THREADID", ids.and_then(|ids| ids.thread.as_ref()).map(ThreadId::as_str));
            }
            _ => match name {
                Item::Section { section, partial: Some(partial), .. } if matches!(content, Content::Nothing) => {
                    let piece = match first.take() {
                        Some(piece) => piece,
                        None => {
                            let range = range_of(*partial);
                            let read = source.piece(selected, &message, section, range);
                            wire.watch(read).await?.map_err(interrupts)?
                        }
                    };
                    match piece {
                        Some(piece) => {
                            push_label(wire, name, piece.len(), false);
                            push_piece(wire, selected.mailbox, &message, piece, source).await?;
                        }
                        None => push_nil(wire, name),
                    }
                }
                _ => match content {
                    Content::Octets(Some(Octets::Stored { header, body }))
                        if message.lacks_body() && !body.is_empty() =>
                    {
                        let of_header = slice(&message.header, header);
                        let length = of_header.len().saturating_add(body.len());
                        push_label(wire, name, length, false);
                        wire.push_large(of_header).await?;
                        source.push_body(wire, selected.mailbox, message.flags.uid, body).await?;
                    }
                    content => push_content(wire, name, &message, content).await?,
                },
            },
        }
    }
    let is_late = late.is_some();
    if let Some(seen) = late {
        became_seen |= !seen.set(std::slice::from_mut(&mut message), |_| true).await.is_empty();
    }
    // An item that was not requested, or that had to wait.
    let is_missing = |item, is_implied| match names.contains(&item) {
        true => is_late && item != Item::Uid,
        false => is_implied && became_seen,
    };
    let mut writer = wire.writer();
    if is_missing(Item::Uid, shows_modseq && !enabled.contains(Enabled::UIDONLY)) {
        writer.raw(" UID ").number(message.flags.uid);
    }
    if is_missing(Item::Flags, true) {
        write_flags(writer.raw(" "), selected, &message.flags);
    }
    if is_missing(Item::ModSeq, shows_modseq) {
        write_modseq(writer.raw(" "), message.modseq);
    }
    if became_seen || names.contains(&Item::Flags) {
        selected.set_flags(&message.flags);
    }
    wire.writer().raw(")").end();
    Ok(wire.flush_batch().await?)
}

/// The octets of a literal that is a piece of a large message.
async fn push_piece(
    wire: &mut Wire,
    mailbox: MailboxId,
    message: &Fetched,
    piece: Piece,
    source: Source<'_>,
) -> Result<(), CommandError> {
    let Piece { of_header, of_body, first } = piece;
    wire.push_large(slice(&message.header, of_header)).await?;
    wire.push_large(&first).await?;
    let rest = of_body.start.saturating_add(first.len())..of_body.end;
    drop(first);
    source.push_body(wire, mailbox, message.flags.uid, rest).await
}

/// An error after part of a response was written.
fn interrupts(error: CommandError) -> CommandError {
    match error {
        CommandError::Store(error) => CommandError::Interrupted(error),
        other => other,
    }
}

async fn push_content(wire: &mut Wire, name: &Item, message: &Fetched, content: Content) -> std::io::Result<()> {
    match content {
        Content::Encoded(item) => wire.push_large(&item).await,
        Content::Octets(Some(octets)) => {
            let pieces = octets.pieces(&message.header, &message.body);
            let is_binary = matches!(name, Item::Binary { .. }) && pieces.iter().any(|piece| has_nul(piece));
            push_label(wire, name, pieces.iter().map(|piece| piece.len()).sum(), is_binary);
            for piece in pieces {
                wire.push_large(piece).await?;
            }
            Ok(())
        }
        Content::Octets(None) => {
            push_nil(wire, name);
            Ok(())
        }
        Content::Nothing => Ok(()),
    }
}

/// The label of an item and the length of its literal, a literal8 if it `is_binary`.
fn push_label(wire: &mut Wire, name: &Item, length: usize, is_binary: bool) {
    let mut writer = wire.writer();
    write_label(&mut writer, name);
    writer.raw(if is_binary { "~" } else { "" }).literal(length);
}

/// RFC 8514 §4.2.
fn push_save_date(wire: &mut Wire, saved_at: Option<Timestamp>) {
    let mut writer = wire.writer();
    writer.raw("SAVEDATE ");
    match saved_at {
        Some(date) => writer.date_time(date),
        None => writer.raw("NIL"),
    };
}

/// RFC 8474 §5.3.
fn push_object_id(wire: &mut Wire, name: &str, id: Option<&str>) {
    let mut writer = wire.writer();
    writer.raw(name).raw(" ");
    match id {
        Some(id) => writer.raw("(").raw(id).raw(")"),
        None => writer.raw("NIL"),
    };
}

fn push_nil(wire: &mut Wire, name: &Item) {
    let mut writer = wire.writer();
    write_label(&mut writer, name);
    writer.raw("NIL");
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
