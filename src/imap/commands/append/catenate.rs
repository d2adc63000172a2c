//! CATENATE: a message put together from literals and from what other messages of the inbox hold. RFC 4469.
//!
//! Invariant: no more than a piece of it is in memory, and that is counted; the rest is in the spool.

use super::url::MessageUrl;
use super::{Stop, no_memory};
use crate::id::MailboxId;
use crate::imap::content::section::{Octets, Reach, reach, section};
use crate::imap::context::Context;
use crate::imap::names;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::append::Piece;
use crate::imap::wire::syntax::fetch::Section;
use crate::imap::wire::values::Mailbox;
use crate::imap::wire::{Refusal, Wire};
use crate::message::ReadLimits;
use crate::message::fields::slice;
use crate::message::mime::Tree;
use crate::resources::memory::Claim;
use crate::resources::spool::{Incoming, PATIENCE, SpoolError};
use crate::store::open_mailbox::{Depth, Fetched};

/// URLs in one command, each of which costs a message to read.
const URLS: usize = 100;
/// Octets of a large body that are read at once.
const PIECE: usize = 512 * 1024;
/// Memory for parsing the structure of a message, in multiples of its size.
const STRUCTURE_FACTOR: usize = 2;

/// What a message is put together from.
pub(super) struct Pieces<'a> {
    pub pieces: Vec<Piece>,
    pub literals: &'a mut [Option<Incoming>],
    /// Those of earlier messages of the command.
    pub urls: &'a mut usize,
}

/// A message as far as it is put together.
struct Whole {
    octets: Incoming,
    limit: usize,
}

impl Whole {
    async fn push(&mut self, octets: &[u8]) -> Result<(), Stop> {
        if self.octets.len().saturating_add(octets.len()) > self.limit {
            return Err(Reply::from(Refusal::MessageTooLong).into());
        }
        self.octets.push(octets).map_err(SpoolError::from)?;
        Ok(self.octets.spill().await.map_err(SpoolError::Disk)?)
    }
}

pub(super) async fn catenated(
    context: &mut Context<'_>,
    wire: &mut Wire,
    Pieces { pieces, literals, urls }: Pieces<'_>,
) -> Result<Incoming, Stop> {
    let mut whole = Whole { octets: wire.begin_message(), limit: context.server.config.limits.message_size };
    for piece in pieces {
        match piece {
            Piece::Text(spooled) => {
                let literal = literals.get_mut(spooled.index).and_then(Option::take);
                let text = literal.ok_or_else(|| Reply::bad("a TEXT is missing"))?.into_bytes().await?;
                for piece in text.chunks(PIECE) {
                    whole.push(piece).await?;
                }
            }
            Piece::Url(url) => {
                *urls = urls.saturating_add(1);
                if *urls > URLS {
                    return Err(Reply::no("too many URLs, the limit is 100 in one command").code(Code::Limit).into());
                }
                push_url(context, wire, &url, &mut whole).await?;
            }
        }
    }
    Ok(whole.octets)
}

/// RFC 4469 §4.
fn bad_url(url: &[u8], text: &'static str) -> Stop {
    Reply::no(text).code(Code::BadUrl(String::from_utf8_lossy(url).into_owned())).into()
}

/// Adds what a URL names.
async fn push_url(context: &mut Context<'_>, wire: &mut Wire, text: &[u8], whole: &mut Whole) -> Result<(), Stop> {
    let url = MessageUrl::parse(text).ok_or_else(|| {
        bad_url(text, "the URL is not a relative one that names a message: /mailbox;UIDVALIDITY=n/;UID=n/;SECTION=part")
    })?;
    let mailbox = mailbox_of(context, text, &url).await?;
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let (found, _) = store.messages_fetch(inbox, mailbox, vec![url.uid], Depth::Body, 0).await?;
    let mut message = found.into_iter().next().ok_or_else(|| bad_url(text, "no message has this UID"))?;
    if message.is_damaged {
        return Err(super::super::damaged(&[url.uid]).into());
    }
    let mut claim = wire.claim();
    claim.grow_to(message.header.len().saturating_add(PIECE)).map_err(|_| no_memory())?;
    let octets = octets_of(context, wire, &mut claim, mailbox, &url, &mut message).await?;
    let octets = octets.ok_or_else(|| bad_url(text, "the message has no such part"))?;
    let octets = match url.partial {
        Some((offset, count)) => octets.partial(index(offset), index(count.get())),
        None => octets,
    };
    let (header, body) = match octets {
        Octets::Made(octets) => return whole.push(&octets).await,
        Octets::Stored { header, body } => (header, body),
    };
    whole.push(slice(&message.header, header)).await?;
    if !message.lacks_body() {
        return whole.push(slice(&message.body, body)).await;
    }
    let mut at = body.start;
    while at < body.end {
        let wanted = at..body.end.min(at.saturating_add(PIECE));
        let piece = context.server.store.body_range(&context.login.inbox, mailbox, url.uid, wanted).await?;
        let piece = piece.filter(|piece| !piece.is_empty()).ok_or_else(|| bad_url(text, "the message was expunged"))?;
        at = at.saturating_add(piece.len());
        whole.push(&piece).await?;
    }
    Ok(())
}

async fn mailbox_of(context: &Context<'_>, text: &[u8], url: &MessageUrl) -> Result<MailboxId, Stop> {
    let missing = || bad_url(text, "no mailbox has this name and UIDVALIDITY");
    let Some(name) = &url.mailbox else {
        let selected = context.selected.as_ref().ok_or_else(|| bad_url(text, "no mailbox is selected"))?;
        return Ok(selected.mailbox);
    };
    let name = names::read(&Mailbox(name.clone()), true).ok_or_else(missing)?;
    let status = context.server.store.mailbox_status(&context.login.inbox, &name).await?.ok_or_else(missing)?;
    match url.uid_validity.is_none_or(|wanted| wanted == status.uid_validity) {
        true => Ok(status.id),
        false => Err(missing()),
    }
}

/// The octets of a section of a message, whose body is read whole only to find a part of it.
async fn octets_of(
    context: &Context<'_>,
    wire: &mut Wire,
    claim: &mut Claim,
    mailbox: MailboxId,
    url: &MessageUrl,
    message: &mut Fetched,
) -> Result<Option<Octets>, Stop> {
    let is_stored = matches!(reach(&url.section), Reach::Body | Reach::Header);
    let wanted = url.section.clone();
    let (header, size) = (message.header.clone(), message.body_size);
    if is_stored && size_is_enough(&url.section) {
        return Ok(section(&header, (&[], size), None, &wanted, &ReadLimits::NOTHING));
    }
    let mut body = Vec::new();
    if !is_stored {
        let needed = message.header.len().saturating_add(size.saturating_mul(STRUCTURE_FACTOR)).saturating_add(PIECE);
        claim.wait_to_grow(needed, PATIENCE).await.map_err(|_| no_memory())?;
        body = match message.lacks_body() {
            true => {
                let range = 0..size;
                let read = context.server.store.body_range(&context.login.inbox, mailbox, url.uid, range).await?;
                read.unwrap_or_default()
            }
            false => message.body.clone(),
        };
    }
    let content = message.content;
    let read =
        context.server.reading.read(&context.owner, header.len().saturating_add(body.len()), move |reader, _| {
            let limits = reader.begin(content).limits;
            let tree = (!is_stored).then(|| Tree::parse(&header, &body, &limits));
            Ok(section(&header, (&body, size), tree.as_ref(), &wanted, &limits))
        });
    Ok(wire.watch(read).await??)
}

/// Whether a section is found without parsing.
fn size_is_enough(section: &Section) -> bool {
    matches!(section, Section::Whole | Section::Header(None) | Section::Text(None))
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
