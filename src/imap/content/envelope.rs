//! ENVELOPE: the header's chief fields, addresses taken apart. RFC 3501 §7.4.2, RFC 5322 §3.4.
//!
//! Invariant: texts are unfolded and unquoted, and encoded words are not decoded.

use crate::imap::wire::writer::Writer;
use crate::message::addresses::{self, Listed};
use crate::message::fields::{Header, unfold};

/// Addresses in one response, those of nested messages included.
pub(in crate::imap) const ADDRESSES: usize = 5000;

/// Writes the envelope of a header block. `addresses_left` is what may still be shown of [`ADDRESSES`].
pub(in crate::imap) fn write_envelope(writer: &mut Writer<'_>, header: &Header<'_>, addresses_left: &mut usize) {
    writer.raw("(");
    write_text(writer, header, "Date");
    writer.raw(" ");
    write_text(writer, header, "Subject");
    writer.raw(" ");
    let from = writer.position();
    write_addresses(writer, header, "From", addresses_left);
    let from = from..writer.position();
    for name in ["Sender", "Reply-To"] {
        writer.raw(" ");
        // RFC 3501: a server takes From for Sender and Reply-To that are missing or empty.
        if !has_addresses(header, name, *addresses_left) {
            writer.repeat(from.clone());
        } else {
            write_addresses(writer, header, name, addresses_left);
        }
    }
    for name in ["To", "Cc", "Bcc"] {
        writer.raw(" ");
        write_addresses(writer, header, name, addresses_left);
    }
    for name in ["In-Reply-To", "Message-ID"] {
        writer.raw(" ");
        write_text(writer, header, name);
    }
    writer.raw(")");
}

/// The value of the first field of a name, as a string or NIL.
pub(super) fn write_text(writer: &mut Writer<'_>, header: &Header<'_>, name: &str) {
    writer.nstring(header.find(name).map(unfold));
}

fn has_addresses(header: &Header<'_>, name: &str, left: usize) -> bool {
    left > 0 && addresses::listed(header, name).next().is_some()
}

/// The addresses of the fields of a name. A group is its name, its members, and an end (RFC 3501: NIL hosts mark both).
fn write_addresses(writer: &mut Writer<'_>, header: &Header<'_>, name: &str, left: &mut usize) {
    let mut is_first = true;
    for listed in addresses::listed(header, name).take(*left) {
        *left = left.saturating_sub(1);
        writer.raw(if std::mem::take(&mut is_first) { "((" } else { "(" });
        match listed {
            Listed::Mailbox(mailbox) => {
                let (local, host) = mailbox.local_and_host();
                writer.nstring(mailbox.name()).raw(" ").nstring(mailbox.route());
                writer.raw(" ").string(&local).raw(" ").string(&host);
            }
            Listed::GroupStart(name) => {
                writer.raw("NIL NIL ").string(&name).raw(" NIL");
            }
            Listed::GroupEnd => {
                writer.raw("NIL NIL NIL NIL");
            }
        }
        writer.raw(")");
    }
    writer.raw(if is_first { "NIL" } else { ")" });
}

#[cfg(test)]
mod tests {
    use super::super::oracle;
    use super::*;
    use crate::message::ReadLimits;
    use crate::message::addresses::LISTED;
    use proptest::prelude::*;

    fn written(block: &[u8], left: &mut usize, utf8: bool) -> Vec<u8> {
        let mut output = Vec::new();
        write_envelope(&mut Writer::new(&mut output, utf8), &Header::read(block, &ReadLimits::default()), left);
        output
    }

    #[test]
    fn the_addresses_of_an_envelope_are_limited() {
        let many = "a@b,".repeat(10_000);
        let block = format!("From: f@g\r\nTo: {many}\r\nCc: team: {many};\r\n\r\n");
        let mut left = LISTED + 100;
        let envelope = oracle::read_envelope(&written(block.as_bytes(), &mut left, false));
        assert_eq!((envelope.from.len(), envelope.sender.len(), envelope.to.len()), (1, 1, LISTED));
        assert_eq!((envelope.cc.len(), left), (99, 0));
    }

    #[test]
    fn an_envelope_is_in_utf8_for_clients_that_take_it() {
        let block = "Subject: grün\r\nFrom: \"Ä\" <ä@ö.example>\r\n\r\n".as_bytes();
        let from = "((\"Ä\" NIL \"ä\" \"ö.example\"))";
        assert_eq!(
            String::from_utf8(written(block, &mut { ADDRESSES }, true)).unwrap(),
            format!("(NIL \"grün\" {from} {from} {from} NIL NIL NIL NIL NIL)")
        );
        let literals = String::from_utf8(written(block, &mut { ADDRESSES }, false)).unwrap();
        assert!(literals.starts_with("(NIL {5}\r\ngrün (({2}\r\nÄ NIL {2}\r\nä {10}\r\nö.example))"), "{literals}");
    }

    proptest! {
        #[test]
        fn every_envelope_is_as_the_codec_writes_it(block in oracle::header(), left in 0_usize..12) {
            let (mut ours_left, mut theirs_left) = (left, left);
            let ours = written(&block, &mut ours_left, false);
            let header = Header::read(&block, &ReadLimits::default());
            let theirs = oracle::envelope(&header, &mut theirs_left);
            let read = oracle::read_envelope(&ours);
            prop_assert_eq!(&read, &theirs);
            prop_assert_eq!(ours, oracle::encoded_envelope(theirs));
            prop_assert_eq!(ours_left, theirs_left);
        }
    }
}
