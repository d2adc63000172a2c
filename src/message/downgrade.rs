//! Header blocks for clients that take no UTF-8 in them. RFC 6857.
//!
//! Invariant: of fields in UTF-8 (RFC 6532), ASCII comes out that shows the same; all others stay as they are, those in another charset
//! too. An address that is not ASCII becomes the name of an empty group, so that no answer goes to a wrong one (§3.1.8).

use super::addresses::{Addresses, Listed, Mailbox};
use super::display_name::quoted;
use super::fields::{Field, Header, ReadLimits, unfold};
use super::parameters::parameterized;
use super::words::{decoded_words, without_controls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Octets of a text in one encoded word, which has at most 75 (RFC 2047 §2).
const IN_WORD: usize = 45;
/// Fields that are lists of addresses.
const ADDRESSES: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Disposition-Notification-To",
];
/// Fields whose syntax has no place for encoded words: they come out under another name (§3.2).
const RENAMED: &[&str] = &[
    "Message-ID",
    "In-Reply-To",
    "References",
    "Resent-Message-ID",
    "Content-ID",
    "Received",
    "Return-Path",
    "Original-Recipient",
    "Final-Recipient",
];
/// Fields with parameters.
const WITH_PARAMETERS: &[&str] = &["Content-Type", "Content-Disposition"];

/// The block in ASCII; `None` if nothing of it changes.
pub(crate) fn downgraded(block: &[u8], limits: &ReadLimits) -> Option<Vec<u8>> {
    if block.is_ascii() {
        return None;
    }
    let header = Header::read(block, limits);
    let (mut out, mut at, mut is_changed) = (Vec::with_capacity(block.len()), 0_usize, false);
    for field in header.fields() {
        at = at.saturating_add(field.whole.len());
        if !is_international(field) {
            out.extend_from_slice(field.whole);
            continue;
        }
        is_changed = true;
        push_field(&mut out, field);
        if field.whole.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    // The empty line.
    out.extend_from_slice(block.get(at..).unwrap_or_default());
    is_changed.then_some(out)
}

/// Whether a field has a value in UTF-8 that is not ASCII. What is no field stays as it is.
fn is_international(field: &Field<'_>) -> bool {
    let has_name = !field.name.is_empty() && field.name.is_ascii();
    has_name && !field.value.is_ascii() && std::str::from_utf8(field.value).is_ok()
}

/// A field without the CRLF at its end.
fn push_field(out: &mut Vec<u8>, field: &Field<'_>) {
    let is_one_of = |names: &[&str]| names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
    let value = unfold(field.value);
    let start = out.len();
    if is_one_of(RENAMED) {
        out.extend_from_slice(b"Downgraded-");
    }
    out.extend_from_slice(field.name);
    out.extend_from_slice(b": ");
    if is_one_of(ADDRESSES) {
        push_addresses(out, field.value);
    } else if is_one_of(WITH_PARAMETERS) {
        push_parameters(out, &value);
    } else if is_one_of(RENAMED) {
        push_encoded(out, &String::from_utf8_lossy(value.trim_ascii()));
    } else {
        push_encoded(out, decoded_words(value.trim_ascii()).trim());
    }
    // Whatever the field held that no rule names.
    if !out.get(start..).unwrap_or_default().is_ascii() {
        out.truncate(start);
        out.extend_from_slice(b"Downgraded-");
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        push_encoded(out, &String::from_utf8_lossy(value.trim_ascii()));
    }
}

/// A text as encoded words, a line each.
fn push_encoded(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(IN_WORD));
        if rest.len() < text.len() {
            out.extend_from_slice(b"\r\n ");
        }
        out.extend_from_slice(b"=?UTF-8?B?");
        out.extend_from_slice(STANDARD.encode(piece).as_bytes());
        out.extend_from_slice(b"?=");
        rest = after;
    }
}

/// A list of addresses. Addresses that are not ASCII and are of a group come behind it.
fn push_addresses(out: &mut Vec<u8>, value: &[u8]) {
    let (mut separator, mut behind) = (&b""[..], Vec::new());
    let mut in_group = false;
    for listed in Addresses::of(value) {
        match listed {
            Listed::Mailbox(mailbox) => {
                let Some(address) = mailbox.shown_address() else { continue };
                if in_group && !address.is_ascii() {
                    behind.push((mailbox, address));
                    continue;
                }
                out.extend_from_slice(std::mem::replace(&mut separator, b",\r\n "));
                push_mailbox(out, &mailbox, &address);
            }
            Listed::GroupStart(name) => {
                out.extend_from_slice(separator);
                push_phrase(out, &without_controls(decoded_words(&name)));
                out.extend_from_slice(b":");
                (separator, in_group) = (b" ", true);
            }
            Listed::GroupEnd => {
                out.extend_from_slice(b";");
                (separator, in_group) = (b",\r\n ", false);
                for (mailbox, address) in std::mem::take(&mut behind) {
                    out.extend_from_slice(separator);
                    push_mailbox(out, &mailbox, &address);
                }
            }
        }
    }
}

fn push_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox<'_>, address: &str) {
    let name = mailbox.display_name().map(without_controls);
    if let Some(name) = &name {
        push_phrase(out, name);
        out.extend_from_slice(b" ");
    }
    if !address.is_ascii() {
        push_encoded(out, address);
        out.extend_from_slice(b" :;");
    } else if name.is_some() {
        out.extend_from_slice(format!("<{address}>").as_bytes());
    } else {
        out.extend_from_slice(address.as_bytes());
    }
}

/// A display name.
fn push_phrase(out: &mut Vec<u8>, name: &str) {
    match name.is_ascii() {
        true => out.extend_from_slice(&quoted(name.as_bytes())),
        false => push_encoded(out, name),
    }
}

/// A value with parameters; those that are not ASCII as in RFC 2231.
fn push_parameters(out: &mut Vec<u8>, value: &[u8]) {
    let (words, parameters) = parameterized(value);
    out.extend_from_slice(&words.join(&b'/'));
    for (name, value) in parameters {
        out.extend_from_slice(b";\r\n ");
        let (name, value): (Cow<'_, [u8]>, Vec<u8>) = match value.is_ascii() {
            true if name.ends_with(b"*") => (name.into(), value),
            true => (name.into(), quoted(&value)),
            false if name.ends_with(b"*") => (name.into(), percent_encoded(&value, b"%'")),
            false => ([&name, &b"*"[..]].concat().into(), [&b"utf-8''"[..], &percent_encoded(&value, b"")].concat()),
        };
        out.extend_from_slice(&name);
        out.extend_from_slice(b"=");
        out.extend_from_slice(&value);
    }
}

fn percent_encoded(text: &[u8], kept: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for octet in text {
        match octet.is_ascii_alphanumeric() || b"-._".contains(octet) || kept.contains(octet) {
            true => out.push(*octet),
            false => out.extend_from_slice(format!("%{octet:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parameters::{disposition, parameter_octets};
    use proptest::prelude::*;

    fn ascii(block: &[u8]) -> Option<Vec<u8>> {
        downgraded(block, &ReadLimits::default())
    }

    fn of(block: &str) -> String {
        String::from_utf8(ascii(block.as_bytes()).unwrap()).unwrap()
    }

    /// An encoded word.
    fn word(text: &str) -> String {
        format!("=?UTF-8?B?{}?=", STANDARD.encode(text))
    }

    #[test]
    fn fields_are_downgraded_each_by_its_syntax() {
        let (ann, greeting, address) = (word("Änn"), word("grün"), word("jö@b.example"));
        for (field, expected) in [
            ("Subject: grün\r\n", format!("Subject: {greeting}\r\n")),
            ("Subject: =?utf-8?q?gr=C3=BC?=\r\n ün\r\n", format!("Subject: {}\r\n", word("grü ün"))),
            ("From: Änn <a@b.example>\r\n", format!("From: {ann} <a@b.example>\r\n")),
            ("To: Jo <jö@b.example>, x@y\r\n", format!("To: \"Jo\" {address} :;,\r\n x@y\r\n")),
            ("Cc: jö@b.example\r\n", format!("Cc: {address} :;\r\n")),
            ("Cc: Änn: jö@b.example, c@d;, e@f\r\n", format!("Cc: {ann}: c@d;,\r\n {address} :;,\r\n e@f\r\n")),
            ("Message-ID: <grün>\r\n", format!("Downgraded-Message-ID: {}\r\n", word("<grün>"))),
            (
                "Content-Disposition: attachment; filename=\"grün.txt\"; size=1\r\n",
                "Content-Disposition: attachment;\r\n filename*=utf-8''gr%C3%BCn.txt;\r\n size=\"1\"\r\n".to_owned(),
            ),
        ] {
            assert_eq!(
                of(&format!("A: b\r\n{field}C: d\r\n\r\n")),
                format!("A: b\r\n{expected}C: d\r\n\r\n"),
                "{field}"
            );
        }
    }

    #[test]
    fn what_is_not_utf8_stays_and_what_is_long_is_folded() {
        for same in [&b"Subject: x\r\n\r\n"[..], b"Subject: gr\xfcn\r\n\r\n", "grün\r\n ü: x\r\n\r\n".as_bytes()] {
            assert_eq!(ascii(same), None, "{}", String::from_utf8_lossy(same));
        }
        // A line that is no field does not end the header.
        assert!(of("garbage\r\nSubject: ü\r\n\r\n").starts_with("garbage\r\nSubject: =?"));
        let long = of(&format!("Subject: {}\r\n\r\n", "ü".repeat(200)));
        assert!(long.lines().all(|line| line.len() < 90), "{long}");
        let header = Header::read(long.as_bytes(), &ReadLimits::default());
        assert_eq!(decoded_words(&unfold(header.find("Subject").unwrap())), "ü".repeat(200));
        let block = of("Content-Disposition: attachment; filename=é\r\n\r\n");
        let header = Header::read(block.as_bytes(), &ReadLimits::default());
        let (_, parameters) = disposition(&header).unwrap();
        assert_eq!(parameter_octets(&parameters, "filename"), Some("é".as_bytes().to_vec()));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_ascii_and_has_the_same_fields(
            name in "(Subject|From|To|Message-ID|Content-Type|X-Y)",
            value in "[^\r\n\0]{0,60}",
        ) {
            let block = format!("{name}: ü{value}\r\nA: b\r\n\r\n");
            let out = ascii(block.as_bytes()).unwrap();
            prop_assert!(out.is_ascii(), "{}", String::from_utf8_lossy(&out));
            prop_assert_eq!(Header::read(&out, &ReadLimits::default()).fields().len(), 2);
            prop_assert!(out.ends_with(b"\r\nA: b\r\n\r\n"));
            prop_assert_eq!(ascii(&out), None);
        }
    }
}
