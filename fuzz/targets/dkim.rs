//! DKIM: what is signed, compared with mail-auth's reading of the same octets.

use super::canonical::{BodyForm, fields, relaxed_field};
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::Canonicalization;

struct Octets(Vec<u8>);

impl Writer for Octets {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }
}

/// A message with CRLF as its only line end, as every message is that is signed here.
pub fn canonical_forms(input: &[u8]) {
    let text: Vec<u8> = input
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    let text: Vec<u8> = text
        .iter()
        .enumerate()
        .filter(|(at, b)| **b != b'\r' || text.get(at + 1) == Some(&b'\n'))
        .map(|(_, b)| *b)
        .collect();
    let (header, rest) = crate::message::split(&text);
    body(rest);
    header_fields(header);
}

fn body(body: &[u8]) {
    let form = BodyForm::of(body);
    let mut ours = Vec::new();
    form.feed(body, |piece| ours.extend_from_slice(piece));
    let theirs = match form {
        BodyForm::Simple => Canonicalization::Simple,
        BodyForm::Relaxed => Canonicalization::Relaxed,
    };
    let mut octets = Octets(Vec::new());
    theirs.canonical_body(body, 0).write(&mut octets);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&octets.0), "{form:?}");
    assert_eq!(ours, octets.0);
    assert!(ours.len() <= body.len() + 2);
    let mut again = Vec::new();
    form.feed(&ours, |piece| again.extend_from_slice(piece));
    assert_eq!(ours, again, "the canonical form of itself");
}

fn header_fields(header: &[u8]) {
    let (names, canonical) = fields(header);
    assert!(canonical.len() <= header.len() + 2 * names.len(), "{} of {} octets", canonical.len(), header.len());
    assert!(names.iter().filter(|name| **name == "From").count() >= 1, "From is always signed");
    for line in canonical.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").expect("each field ends in CRLF");
        let colon = line.iter().position(|b| *b == b':').expect("each field has a colon");
        let (name, value) = line.split_at(colon);
        assert!(
            names.iter().any(|signed| signed.as_bytes().eq_ignore_ascii_case(name)),
            "{:?}",
            String::from_utf8_lossy(name)
        );
        let mut again = Vec::new();
        relaxed_field(name, &value[1..], &mut again);
        assert_eq!(again, line, "the canonical form of itself");
    }
}
