//! Line ends: CRLF, and nothing else (RFC 5322 §2.3).

use bytes::Bytes;
use memchr::memchr_iter;

/// A CR without LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bare CR: lines must end in CRLF")]
pub struct BareCr;

/// Converts every bare LF to CRLF. Without any, the input is returned uncopied.
pub fn with_crlf(octets: Bytes) -> Result<Bytes, BareCr> {
    let before = |at: usize| at.checked_sub(1).and_then(|before| octets.get(before));
    if memchr_iter(b'\r', &octets).any(|at| octets.get(at + 1) != Some(&b'\n')) {
        return Err(BareCr);
    }
    let bare = || memchr_iter(b'\n', &octets).filter(|at| before(*at) != Some(&b'\r'));
    let count = bare().count();
    if count == 0 {
        return Ok(octets);
    }
    let mut whole = Vec::with_capacity(octets.len().saturating_add(count));
    let mut from = 0;
    for at in bare() {
        whole.extend_from_slice(octets.get(from..at).unwrap_or_default());
        whole.push(b'\r');
        from = at;
    }
    whole.extend_from_slice(octets.get(from..).unwrap_or_default());
    Ok(whole.into())
}

/// Converts bare CR and bare LF to CRLF: for messages whose end does not depend on their line ends.
pub fn line_ends_as_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(line_ends_as_crlf(b"a\nb\rc\r\nd\r\r\n\n"), b"a\r\nb\r\nc\r\nd\r\n\r\n\r\n");
    }

    #[test]
    fn bare_lf_becomes_crlf_and_bare_cr_is_refused() {
        let crlf =
            |text: &str| with_crlf(text.to_owned().into()).map(|octets| String::from_utf8(octets.to_vec()).unwrap());
        for (text, expected) in [
            ("", ""),
            ("a", "a"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb", "a\r\nb"),
            ("\n\n", "\r\n\r\n"),
            ("\r\n\n", "\r\n\r\n"),
            ("a\n\r\nb\n", "a\r\n\r\nb\r\n"),
        ] {
            assert_eq!(crlf(text).as_deref(), Ok(expected), "{text:?}");
        }
        for text in ["\r", "a\rb", "a\r", "\r\r\n", "a\n\rb"] {
            assert_eq!(crlf(text), Err(BareCr), "{text:?}");
        }
    }
}
