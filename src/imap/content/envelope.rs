//! ENVELOPE: the header's chief fields, addresses taken apart. RFC 3501 §7.4.2, RFC 5322 §3.4.
//!
//! Invariant: texts are unfolded and unquoted, and encoded words are not decoded.

use crate::message::addresses::{self, Listed};
use crate::message::fields::{Header, unfold};
use imap_codec::imap_types::core::{IString, NString};
use imap_codec::imap_types::envelope::{Address, Envelope};

/// Addresses in one response, those of nested messages included.
pub(in crate::imap) const ADDRESSES: usize = 5000;

/// A text as a string of the protocol: quoted where that is possible, a literal where not.
pub(super) fn istring(mut text: Vec<u8>) -> IString<'static> {
    text.retain(|octet| *octet != 0);
    IString::try_from(text).unwrap_or_else(|_| IString::from(imap_codec::imap_types::core::Quoted::unvalidated("")))
}

/// The same, where NIL would be possible.
pub(super) fn nstring(text: Option<Vec<u8>>) -> NString<'static> {
    NString(text.map(istring))
}

/// The envelope of a header block. `addresses_left` is what may still be shown of [`ADDRESSES`].
pub(in crate::imap) fn envelope(header: &Header<'_>, addresses_left: &mut usize) -> Envelope<'static> {
    let text = |name| nstring(header.find(name).map(unfold));
    let mut list = |name| listed(header, name, addresses_left);
    let from = list("From");
    // RFC 3501: a server takes From for Sender and Reply-To that are missing or empty.
    let or_from = |list: Vec<Address<'static>>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date: text("Date"),
        subject: text("Subject"),
        sender: or_from(list("Sender")),
        reply_to: or_from(list("Reply-To")),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
        from,
    }
}

/// The addresses of the fields of a name. A group is its name, its members, and an end (RFC 3501: NIL hosts mark both).
fn listed(header: &Header<'_>, name: &str, addresses_left: &mut usize) -> Vec<Address<'static>> {
    let nil = || NString(None);
    let show = |listed| match listed {
        Listed::Mailbox(mailbox) => {
            let (local, host) = mailbox.local_and_host();
            Address {
                name: nstring(mailbox.name()),
                adl: nstring(mailbox.route()),
                mailbox: nstring(Some(local)),
                host: nstring(Some(host)),
            }
        }
        Listed::GroupStart(name) => Address { name: nil(), adl: nil(), mailbox: nstring(Some(name)), host: nil() },
        Listed::GroupEnd => Address { name: nil(), adl: nil(), mailbox: nil(), host: nil() },
    };
    let shown: Vec<_> = addresses::listed(header, name).take(*addresses_left).map(show).collect();
    *addresses_left -= shown.len();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;
    use crate::message::addresses::LISTED;

    #[test]
    fn the_addresses_of_an_envelope_are_limited() {
        let many = "a@b,".repeat(10_000);
        let block = format!("From: f@g\r\nTo: {many}\r\nCc: team: {many};\r\n\r\n");
        let mut left = LISTED + 100;
        let envelope = envelope(&Header::read(block.as_bytes(), &ReadLimits::default()), &mut left);
        assert_eq!((envelope.from.len(), envelope.sender.len(), envelope.to.len()), (1, 1, LISTED));
        assert_eq!((envelope.cc.len(), left), (99, 0));
    }
}
