//! The header block of a message that leaves: sets From to the identity, removes private fields, adds missing ones.
//! Invariant: exactly one From field with exactly one mailbox leaves, and it is the returned address; every octet not
//! covered by a rule is unchanged. RFC 5322 §3.6, RFC 6409 §8 (what a submission server may change), RFC 8601 §5.

use super::addresses::{Addresses, Listed, Mailbox};
use super::display_name::{self, shows_controls};
use super::headers::{Field, Fields, after_empty_line, write_field};
use super::received::{authserv_id, literal};
use super::words::encoded_words_are_closed;
use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::clock::Timestamp;
use crate::identity::Choice;
use std::net::IpAddr;

/// Marks a message that left under a fallback identity.
const FALLBACK: &str = "Inboxlayer-Fallback";
/// Of a draft: what it answers (`reply msg_…`), to be marked as answered when the draft is sent.
pub const ANSWERS: &str = "Inboxlayer-Answers";
/// A longer From field is always rewritten.
const LONGEST_KEPT_FROM: usize = 4096;

/// A message as submitted: what its outgoing header block depends on.
#[derive(Debug)]
pub struct Submitted {
    /// The identity, and whether it is a fallback.
    pub choice: Choice,
    /// The sender's inbox: with its aliases, decides which addresses are its own.
    pub inbox: InboxName,
    /// In Received, and the local part of a missing Message-ID at the identity's domain.
    pub queue_id: String,
    /// `ESMTPSA`, `HTTP`.
    pub protocol: String,
    /// The client's address, if the configuration discloses it.
    pub client: Option<IpAddr>,
    /// Real time, for Date and Received.
    pub arrived_at: Timestamp,
}

/// Input for an outgoing header block.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub message: &'a Submitted,
    /// The local parts of the inbox's aliases at the identity's own domain (lower case).
    pub aliases: &'a [String],
    /// The account's verified domains and the platform's, for Sender, Resent-Sender and Resent-From.
    pub own_domains: &'a [DomainName],
    /// The platform's domain: with `hostname`, our names in Authentication-Results.
    pub platform: &'a DomainName,
    /// Our name, for Received and Authentication-Results.
    pub hostname: &'a DomainName,
}

/// Writes the outgoing header block, ending with the empty line, and returns it with the final From, which is also the
/// envelope sender. `header` comes from [`split`](super::split); anything after its end follows the empty line
/// unchanged.
pub fn outgoing(header: &[u8], with: &Outgoing<'_>) -> (Vec<u8>, Address) {
    let message = with.message;
    let identity = identity_address(&message.choice);
    let own = Own { inbox: &message.inbox, aliases: with.aliases, identity: &identity };
    let mut out = Vec::with_capacity(header.len() + 1024);
    out.extend_from_slice(received_field(with).as_bytes());

    let mut froms: Vec<Field<'_>> = Vec::new();
    let (mut from_at, mut has_date, mut has_message_id) = (None, false, false);
    let mut last = Last::Ours;
    let mut fields = Fields::new(header);
    for field in fields.by_ref() {
        if field.is("From") {
            if froms.is_empty() {
                last.fence(&mut out, &message.queue_id, Next::Field);
                from_at = Some(out.len());
            }
            froms.push(field);
        } else if leaves(&field, &own, with) {
            has_date |= field.is("Date");
            has_message_id |= field.is("Message-ID");
            write_field(&mut out, field.raw);
            last = last.then(field);
        }
    }
    if froms.is_empty() {
        last.fence(&mut out, &message.queue_id, Next::Field);
    } else if has_date && has_message_id && message.choice.fallback.is_none() {
        last.fence(&mut out, &message.queue_id, Next::Body);
    }

    let (author, address) = author(&froms, &own);
    let at = from_at.unwrap_or(out.len());
    out.splice(at..at, author);
    let mut add = |name: &str, value: String| out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    if !has_date {
        add("Date", message.arrived_at.to_rfc5322());
    }
    if !has_message_id {
        add("Message-ID", format!("<{}@{}>", message.queue_id, identity.domain));
    }
    if let Some(fallback) = &message.choice.fallback {
        add(FALLBACK, format!("from={}; reason={}", fallback.from, fallback.reason));
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(after_empty_line(fields.rest()));
    (out, address)
}

/// Received, with the client only if the configuration discloses it.
fn received_field(with: &Outgoing<'_>) -> String {
    let Submitted { queue_id, protocol, client, arrived_at, .. } = with.message;
    let from = client.map(|ip| format!("from {}\r\n\t", literal(ip))).unwrap_or_default();
    let (hostname, date) = (with.hostname, arrived_at.to_rfc5322());
    format!("Received: {from}by {hostname} with {protocol} id {queue_id};\r\n\t{date}\r\n")
}

/// What is written next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Field,
    Body,
}

/// The last field of the block being written. Some readers, mail-parser among them, run past the end of two kinds of
/// fields: a date with a one-letter zone absorbs the next line, repeatedly; an unclosed base64 encoded word extends
/// past the empty line. They would miss our From, or read the start of the body as fields and find another one there.
#[derive(Clone, Copy)]
enum Last<'a> {
    /// A field of ours, which ends properly.
    Ours,
    /// A client's field; `in_date` if a reader may still be inside a date.
    Clients { field: Field<'a>, in_date: bool },
}

impl<'a> Last<'a> {
    /// The client's `field` follows.
    fn then(self, field: Field<'a>) -> Self {
        let lone_letter = |b: &[u8]| matches!(b, [.., a, z] if !a.is_ascii_alphabetic() && z.is_ascii_alphabetic());
        let dated = matches!(self, Self::Clients { in_date: true, .. }) || field.is("Date") || field.is("Resent-Date");
        Self::Clients { field, in_date: dated && lone_letter(field.raw.trim_ascii_end()) }
    }

    /// Writes a separating field if a reader could run past the last one.
    fn fence(&mut self, out: &mut Vec<u8>, queue_id: &str, next: Next) {
        // No encoded word extends past a field of ours, since its colon is not base64.
        if let Self::Clients { field, in_date } = self
            && (*in_date || (next == Next::Body && !encoded_words_are_closed(field.value)))
        {
            out.extend_from_slice(format!("X-Inboxlayer-Queue-ID: {queue_id}\r\n").as_bytes());
        }
        *self = Self::Ours;
    }
}

/// The identity's address. If its tag needs quotes, the tag is dropped, since many readers misread quoted local parts.
fn identity_address(choice: &Choice) -> Address {
    let address = choice.identity.address();
    match LocalPart::parse(&address.local.base()) {
        Ok(local) if address.local.is_quoted() => Address { local, domain: address.domain },
        _ => address,
    }
}

/// The sender's own addresses.
struct Own<'a> {
    inbox: &'a InboxName,
    aliases: &'a [String],
    identity: &'a Address,
}

impl Own<'_> {
    /// At the identity's domain: the inbox's name or an alias, with any tag.
    fn at_identity(&self, address: &Address) -> bool {
        let base = address.local.base();
        let named = base == self.inbox.as_str()
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(&base))
            || address.local.as_str().eq_ignore_ascii_case(self.identity.local.as_str());
        named && address.domain == self.identity.domain
    }

    /// At any domain of the account; aliases only at the identity's.
    fn anywhere(&self, address: &Address, domains: &[DomainName]) -> bool {
        self.at_identity(address) || (address.local.base() == self.inbox.as_str() && domains.contains(&address.domain))
    }
}

/// Whether a field other than From is kept.
fn leaves(field: &Field<'_>, own: &Own<'_>, with: &Outgoing<'_>) -> bool {
    if ["Bcc", "Resent-Bcc", "Return-Path", FALLBACK, ANSWERS].iter().any(|name| field.is(name)) {
        return false;
    }
    if ["Sender", "Resent-Sender", "Resent-From"].iter().any(|name| field.is(name)) {
        let mut some = false;
        let all = Addresses::of(field.value).filter_map(Listed::mailbox).all(|mailbox| {
            some = true;
            mailbox.address().is_some_and(|address| own.anywhere(&address, with.own_domains))
        });
        return some && all;
    }
    !bears_name(field, &[with.hostname, with.platform])
}

/// The value of the field [`ANSWERS`].
pub fn answers(header: &[u8]) -> Option<&str> {
    let field = Fields::new(header).find(|field| field.is(ANSWERS))?;
    std::str::from_utf8(field.value).ok().map(str::trim)
}

/// The fields that [`outgoing`] removes to hide recipients from each other, unchanged.
pub fn blind_copies(header: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    for field in Fields::new(header).filter(|field| field.is("Bcc") || field.is("Resent-Bcc")) {
        write_field(&mut found, field.raw);
    }
    found
}

/// A header block with fields appended.
pub fn with_fields(header: &[u8], fields: &[u8]) -> Vec<u8> {
    let end = b"\r\n";
    [header.strip_suffix(end).unwrap_or(header), fields, end].concat()
}

/// True for an Authentication-Results field whose authserv-id is one of `names` (RFC 8601 §2.2).
fn bears_name(field: &Field<'_>, names: &[&DomainName]) -> bool {
    field.is("Authentication-Results")
        && authserv_id(field.value).and_then(|id| DomainName::parse(&id).ok()).is_some_and(|id| names.contains(&&id))
}

/// Removes Authentication-Results whose authserv-id is one of `names`, as a border server must for mail from outside
/// (RFC 8601 §5). Everything else is unchanged.
pub fn without_results_of(header: &[u8], names: &[&DomainName]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    let mut fields = Fields::new(header);
    for field in fields.by_ref().filter(|field| !bears_name(field, names)) {
        out.extend_from_slice(field.raw);
    }
    out.extend_from_slice(fields.rest());
    out
}

/// The outgoing From field and its address: the client's own field if it is one mailbox of the sender at the
/// identity's domain, else the identity with the display name of the first mailbox that can be parsed.
fn author(froms: &[Field<'_>], own: &Own<'_>) -> (Vec<u8>, Address) {
    if let [only] = froms
        && let Some(Sole { mailbox, address, is_plain }) = sole_mailbox(only)
        && own.at_identity(&address)
        && !address.local.is_quoted()
    {
        if is_plain && is_clear(only, &mailbox, &address) {
            let mut kept = Vec::with_capacity(only.raw.len() + 2);
            write_field(&mut kept, only.raw);
            return (kept, address);
        }
        return (written(Some(&mailbox), &address), address);
    }
    // One with an address, or else with only a local part: `root (Cron Daemon)`.
    let mailboxes = || froms.iter().flat_map(|field| Addresses::of(field.value)).filter_map(Listed::mailbox);
    let named = mailboxes().find(|mailbox| mailbox.address().is_some());
    let named = named.or_else(|| mailboxes().find(Mailbox::is_whole));
    (written(named.as_ref(), own.identity), own.identity.clone())
}

/// The only mailbox of a field.
struct Sole<'a> {
    mailbox: Mailbox<'a>,
    address: Address,
    /// The field has nothing else: no group, no empty list element.
    is_plain: bool,
}

/// `None` for several mailboxes, none, or one without an address.
fn sole_mailbox<'a>(field: &Field<'a>) -> Option<Sole<'a>> {
    let mut list = Addresses::of(field.value);
    let mailbox = list.next()?.mailbox()?;
    let address = mailbox.address()?;
    list.next().is_none().then_some(Sole { mailbox, address, is_plain: list.plain })
}

/// A rewritten From field.
fn written(named: Option<&Mailbox<'_>>, address: &Address) -> Vec<u8> {
    let mut field = b"From: ".to_vec();
    match named {
        Some(mailbox) => display_name::write(mailbox, &mut field, "From: ".len(), address),
        None => field.extend_from_slice(format!("<{address}>").as_bytes()),
    }
    field.extend_from_slice(b"\r\n");
    field
}

/// True if every reader sees this one address in the field, and no control character in its display name, so that the
/// field may be kept.
fn is_clear(field: &Field<'_>, mailbox: &Mailbox<'_>, address: &Address) -> bool {
    field.raw.len() <= LONGEST_KEPT_FROM
        && !field.raw.iter().any(|b| matches!(b, 0..=8 | 11 | 12 | 14..=31 | 127))
        && mailbox.is_plainly(address)
        && !mailbox.shows_another_address()
        && encoded_words_are_closed(field.raw)
        && !shows_controls(field.value)
}
