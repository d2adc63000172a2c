//! BODY and BODYSTRUCTURE. RFC 3501 §7.4.2.

use super::envelope::{ADDRESSES, write_envelope, write_text};
use crate::imap::wire::writer::Writer;
use crate::message::fields::Header;
use crate::message::mime::{ContentType, Kind, Part, Tree};
use crate::message::octets_read;
use crate::message::parameters::{self, Parameters, transfer_encoding};
use std::borrow::Cow;

/// Writes the structure of a message; `extended` for BODYSTRUCTURE, not for BODY.
pub(in crate::imap) fn write_structure(writer: &mut Writer<'_>, tree: &Tree<'_>, extended: bool) {
    write_part(writer, tree, &tree.root, extended, &mut { ADDRESSES });
}

fn write_part(writer: &mut Writer<'_>, tree: &Tree<'_>, part: &Part, extended: bool, addresses_left: &mut usize) {
    let header = &tree.fields_of(part);
    writer.raw("(");
    if let Kind::Multipart(parts) = &part.kind {
        for part in parts {
            write_part(writer, tree, part, extended, addresses_left);
        }
        writer.raw(" ").string(&part.content_type.subtype);
        if extended {
            writer.raw(" ");
            write_parameters(writer, &part.content_type.parameters);
            write_disposition(writer, header);
        }
    } else {
        write_single(writer, tree, part, header, extended, addresses_left);
        if extended {
            writer.raw(" ");
            write_text(writer, header, "Content-MD5");
            write_disposition(writer, header);
        }
    }
    writer.raw(")");
}

/// A part without parts, up to its extension data.
fn write_single(
    writer: &mut Writer<'_>,
    tree: &Tree<'_>,
    part: &Part,
    header: &Header<'_>,
    extended: bool,
    addresses_left: &mut usize,
) {
    let octets = tree.body_of(part);
    let ContentType { kind, subtype, .. } = &part.content_type;
    octets_read::count(octets.len());
    let is_text = kind == b"text";
    match &part.kind {
        // RFC 9051 §7.5.2. In the grammar of RFC 3501 only RFC822 has an envelope.
        Kind::Message(_) if part.content_type.subtype == b"global" && writer.is_utf8() => {
            writer.raw("\"MESSAGE\" \"GLOBAL\"")
        }
        Kind::Message(_) => writer.raw("\"MESSAGE\" \"RFC822\""),
        _ if is_text => writer.raw("\"TEXT\" ").string(subtype),
        // Nested too deeply to parse: as octets, since the grammar needs the parsed content of these two.
        _ if kind == b"multipart" || part.content_type.is("message", "rfc822") => {
            writer.raw("\"application\" \"octet-stream\"")
        }
        _ => writer.string(kind).raw(" ").string(subtype),
    };
    writer.raw(" ");
    write_parameters(writer, &shown_parameters(&part.content_type));
    for name in ["Content-ID", "Content-Description"] {
        writer.raw(" ");
        write_text(writer, header, name);
    }
    let encoding = header.find("Content-Transfer-Encoding").and_then(transfer_encoding);
    writer.raw(" ").string(encoding.as_deref().unwrap_or(b"7bit")).raw(" ").number(size(octets.len()));
    if let Kind::Message(inner) = &part.kind {
        writer.raw(" ");
        write_envelope(writer, &tree.fields_of(inner), addresses_left);
        writer.raw(" ");
        write_part(writer, tree, inner, extended, addresses_left);
    }
    if is_text || matches!(part.kind, Kind::Message(_)) {
        writer.raw(" ").number(size(memchr::memchr_iter(b'\n', octets).count()));
    }
}

/// The parameters of a type; plain text has a charset, US-ASCII if none is named (RFC 2046 §4.1.2).
pub(super) fn shown_parameters(of: &ContentType) -> Cow<'_, Parameters> {
    let is_charset = |(name, _): &(Vec<u8>, Vec<u8>)| name == b"charset" || name == b"charset*";
    if !of.is("text", "plain") || of.parameters.iter().any(is_charset) {
        return Cow::Borrowed(&of.parameters);
    }
    let charset = (b"charset".to_vec(), b"us-ascii".to_vec());
    Cow::Owned(of.parameters.iter().cloned().chain([charset]).collect())
}

fn size(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn write_parameters(writer: &mut Writer<'_>, given: &[(Vec<u8>, Vec<u8>)]) {
    if given.is_empty() {
        writer.raw("NIL");
        return;
    }
    writer.raw("(").joined(given, |writer, (name, value)| {
        writer.string(name).raw(" ").string(value);
    });
    writer.raw(")");
}

/// Disposition, languages and location, each with a space before it.
fn write_disposition(writer: &mut Writer<'_>, header: &Header<'_>) {
    match parameters::disposition(header) {
        Some((word, given)) => {
            writer.raw(" (").string(&word).raw(" ");
            write_parameters(writer, &given);
            writer.raw(")");
        }
        None => {
            writer.raw(" NIL");
        }
    }
    let languages = parameters::languages(header);
    if languages.is_empty() {
        writer.raw(" NIL ");
    } else {
        writer.raw(" (").joined(&languages, |writer, tag| {
            writer.string(tag);
        });
        writer.raw(") ");
    }
    write_text(writer, header, "Content-Location");
}

#[cfg(test)]
mod tests {
    use super::super::oracle;
    use super::*;
    use crate::message::ReadLimits;
    use crate::message::fields::header_end;
    use proptest::prelude::*;

    fn written(tree: &Tree<'_>, extended: bool) -> Vec<u8> {
        let mut output = Vec::new();
        write_structure(&mut Writer::new(&mut output, false), tree, extended);
        output
    }

    fn shown(header: &str, body: &str, extended: bool) -> String {
        let tree = Tree::parse(header.as_bytes(), body.as_bytes(), &ReadLimits::default());
        String::from_utf8(written(&tree, extended)).unwrap()
    }

    #[test]
    fn structures_are_as_in_rfc_3501() {
        assert_eq!(
            shown("Subject: x\r\n\r\n", "a\r\nb\r\n", false),
            "(\"TEXT\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 2)"
        );
        let header = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let body = "--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b\r\nContent-Type: image/PNG; name=\"a\\\"b\"\r\nContent-Disposition: attachment; filename=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n";
        assert_eq!(
            shown(header, body, true),
            "((\"TEXT\" \"html\" NIL NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)(\"image\" \"png\" (\"name\" \"a\\\"b\") NIL NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"a.png\")) NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"
        );
        for (value, parameters) in [
            ("text/plain", r#"("charset" "us-ascii")"#),
            ("text/plain; format=flowed", r#"("format" "flowed" "charset" "us-ascii")"#),
            ("text/plain; charset*=utf-8''utf-8", r#"("charset*" "utf-8''utf-8")"#),
            ("text/html", "NIL"),
        ] {
            let structure = shown(&format!("Content-Type: {value}\r\n\r\n"), "x", false);
            let expected = format!("{parameters} NIL NIL \"7bit\" 1 0)");
            assert!(structure.ends_with(&expected), "{value}: {structure}");
        }
        let message = shown("Content-Type: message/rfc822\r\n\r\n", "Subject: in\r\n\r\nhi\r\n", false);
        assert!(message.contains("(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"TEXT\" \"plain\""), "{message}");
    }

    #[test]
    fn a_global_message_is_named_so_to_clients_that_take_utf8() {
        let (header, body) = (b"Content-Type: message/global\r\n\r\n", "Subject: gr\u{fc}n\r\n\r\nx".as_bytes());
        let tree = Tree::parse(header, body, &ReadLimits::default());
        for (utf8, name, subject) in [(true, "GLOBAL", "\"gr\u{fc}n\""), (false, "RFC822", "{5}\r\ngr\u{fc}n")] {
            let mut output = Vec::new();
            write_structure(&mut Writer::new(&mut output, utf8), &tree, false);
            let expected = format!("(\"MESSAGE\" \"{name}\" NIL NIL NIL \"7bit\" 19 (NIL {subject} NIL");
            let structure = String::from_utf8(output).unwrap();
            assert!(structure.starts_with(&expected), "{structure}");
        }
    }

    proptest! {
        #[test]
        fn every_structure_is_as_the_codec_writes_it(message in oracle::message()) {
            let (header, body) = message.split_at(header_end(&message));
            let tree = Tree::parse(header, body, &ReadLimits::default());
            for extended in [false, true] {
                let ours = written(&tree, extended);
                let theirs = oracle::encoded_structure(oracle::structure(&tree, extended));
                prop_assert_eq!(
                    String::from_utf8_lossy(&ours),
                    String::from_utf8_lossy(&theirs)
                );
                let item = [b"BODYSTRUCTURE ", ours.as_slice()].concat();
                prop_assert!(oracle::is_fetch(&item) || oracle::levels(&tree.root) >= 8);
            }
        }
    }
}
