//! DKIM: what is signed, compared with mail-auth's reading of the same octets.

use super::canonical::{BodyForm, fields, relaxed_field};
use super::is_signed_by;
use crate::address::DomainName;
use crate::message::ReadLimits;
use crate::message::fields::Header;
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

/// The public half of a key that signed the seeds of [`own_signature`] and was thrown away.
const RECORD: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvCWVQwoMZEVV+wsVqQcdeG/B4Ea+9D+RYqM6XWlUt+uJ42wupHbaOMzF9lROmovTuRdQAHJcWCzdZHg3QEU0pvOOy4iLxUJ7JY6oO2h8xg3cbQzTTOUi5EuwNCJHihWPpNNS8CUMkNpMBFzfVZaM2noisrrZXzD7SoZokuE/iXF1iCbwoDBq08bljq8aMONwOz4nmdQH51i5UBTmc/hKgQyBYwf1WxOmgpChmUlz/VDuUR89Vjnv0/CfjVDhs15fstv2aRcFG5NgBpss8nxAXX28B1uTjRAha/XgNtdCBSdoyZlq/wR/FAgw0OFvLeLRu9YvCX9ckePDvv6PlrReFwIDAQAB";
const SIGNED_BODY: &[u8] = b"hello  there\r\n\r\nAnn\r\n";

/// A message from outside that may carry a signature of ours: where it verifies, the author and the text are those that were
/// signed.
pub fn own_signature(input: &[u8]) {
    // What the listener lets in: lines end in CRLF, and there is no NUL.
    let text: Vec<u8> = input.iter().copied().filter(|b| !matches!(b, b'\r' | 0)).collect();
    let message = text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    let (header, body) = crate::message::split(&message);
    let domain = DomainName::parse("inboxlayer.dev").unwrap();
    if !is_signed_by(&message, header, &domain, "mail", RECORD) {
        return;
    }
    let shown = || String::from_utf8_lossy(&message).into_owned();
    let mut authors = Vec::new();
    for field in Header::read(header, &ReadLimits::default()).all("From") {
        relaxed_field(b"From", field.value, &mut authors);
    }
    assert_eq!(String::from_utf8_lossy(&authors), "from:Ann <ann@inboxlayer.dev>", "{:?}", shown());
    let relaxed = |body: &[u8]| {
        let mut octets = Octets(Vec::new());
        Canonicalization::Relaxed.canonical_body(body, 0).write(&mut octets);
        octets.0
    };
    assert_eq!(relaxed(body), relaxed(SIGNED_BODY), "{:?}", shown());
}
