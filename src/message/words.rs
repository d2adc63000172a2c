//! Texts in header fields, decoded: encoded words. RFC 2047, RFC 2231 §5.
//!
//! Invariant: reading is linear and lenient; what is wrong stays as it stands. A decoded text holds no control character
//! and no line end, whatever was encoded in it.

use super::charset;
use super::decode::{base64, unescape};
use super::fields::unfold;

/// Control characters, and the separators that end a line or paragraph.
pub(super) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A text that may stand in one line: a tab is a blank, and other control characters are left out.
pub(crate) fn without_controls(mut text: String) -> String {
    if text.contains('\t') {
        text = text.replace('\t', " ");
    }
    text.retain(|c| !is_control(c));
    text
}

/// An unstructured text, unfolded, with its encoded words decoded.
pub(crate) fn decoded_words(text: &[u8]) -> String {
    without_controls(decoded_with_controls(text))
}

/// The same with the control characters that were encoded in it.
pub(super) fn decoded_with_controls(text: &[u8]) -> String {
    let text = unfold(text);
    let mut out = String::with_capacity(text.len());
    // Octets of encoded words that follow one another in one charset: a character may lie in two of them.
    let mut run: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = text.as_slice();
    let mut plain = 0;
    while let Some(at) = memchr::memmem::find(rest.get(plain..).unwrap_or_default(), b"=?").map(|at| at + plain) {
        let Some((word, after)) = EncodedWord::read(rest.get(at..).unwrap_or_default()) else {
            plain = at + 2;
            continue;
        };
        let before = rest.get(..at).unwrap_or_default();
        match &mut run {
            // White space between two encoded words is none (RFC 2047 §6.2).
            Some((charset, octets)) if before.trim_ascii().is_empty() && charset.eq_ignore_ascii_case(word.charset) => {
                octets.extend(word.octets());
            }
            _ => {
                let is_next = run.is_some() && before.trim_ascii().is_empty();
                end_run(&mut out, run.take());
                if !is_next {
                    out.push_str(&charset::decoded(b"", before));
                }
                run = Some((word.charset, word.octets()));
            }
        }
        rest = after;
        plain = 0;
    }
    end_run(&mut out, run);
    out.push_str(&charset::decoded(b"", rest));
    out
}

fn end_run(out: &mut String, run: Option<(&[u8], Vec<u8>)>) {
    if let Some((charset, octets)) = run {
        out.push_str(&charset::decoded(charset, &octets));
    }
}

/// `=?charset?encoding?text?=`
struct EncodedWord<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
}

impl<'a> EncodedWord<'a> {
    /// The encoded word at the start of a text, and what follows it.
    fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (word, rest) = Self::read_open(text)?;
        let rest = rest.strip_prefix(b"?=")?;
        (!word.charset.is_empty() && word.charset.iter().all(u8::is_ascii_graphic)).then_some((word, rest))
    }

    /// The same, be it closed or not. What follows it begins with `?`, or is nothing.
    fn read_open(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut pieces = text.strip_prefix(b"=?")?.splitn(3, |octet| *octet == b'?');
        let (charset, encoding, rest) = (pieces.next()?, pieces.next()?, pieces.next()?);
        // RFC 2231 §5: a language may stand after the charset.
        let charset = charset.split(|octet| *octet == b'*').next().unwrap_or_default();
        let is_base64 = match encoding {
            b"b" | b"B" => true,
            b"q" | b"Q" => false,
            _ => return None,
        };
        let end = memchr::memchr(b'?', rest).unwrap_or(rest.len());
        let (text, rest) = rest.split_at_checked(end)?;
        Some((Self { charset, is_base64, text }, rest))
    }

    fn octets(&self) -> Vec<u8> {
        if self.is_base64 {
            return base64(self.text);
        }
        let spaced: Vec<u8> = self.text.iter().map(|octet| if *octet == b'_' { b' ' } else { *octet }).collect();
        let mut out = Vec::with_capacity(spaced.len());
        unescape(&spaced, b'=', &mut out);
        out
    }
}

/// All that a lax reader may take for an encoded word, be it closed or not: charset and decoded octets.
pub(super) fn encoded_words(text: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    let starts = memchr::memmem::find_iter(text, b"=?");
    starts.filter_map(|at| {
        let (word, _) = EncodedWord::read_open(text.get(at..)?)?;
        Some((word.charset, word.octets()))
    })
}

/// Whether each `=?` begins an encoded word that ends in here: an open one makes lax readers look for its end in the
/// lines that follow.
pub(super) fn encoded_words_are_closed(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        match EncodedWord::read(rest.get(at..).unwrap_or_default()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_and_joined() {
        for (text, read) in [
            ("plain  text", "plain  text"),
            ("=?utf-8?q?J=C3=BC_x?= and =?ISO-8859-1*de?B?/A==?=", "Jü x and ü"),
            ("=?utf-8?q?=C3?=\r\n =?UTF-8?q?=BC?= !", "ü !"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?=FC?= b", "aü b"),
            ("=?iso-2022-jp?b?GyRCJCIbKEI=?= =?iso-2022-jp?b?GyRCJCIbKEI=?=", "ああ"),
            ("=?utf-8?x?a?= =? =?q =?utf-8?q?a", "=?utf-8?x?a?= =? =?q =?utf-8?q?a"),
            ("=?=?utf-8?q?a?=", "=?a"),
            ("=?utf-8?q?a b?=", "a b"),
            ("=?utf-8?Q?a=0D=0ABcc:_x@y.example?= b\tc\x01", "aBcc: x@y.example b c"),
            ("=?utf-8?b?4oCoeMKFeQ==?=", "xy"),
        ] {
            assert_eq!(decoded_words(text.as_bytes()), read, "{text}");
        }
        for piece in ["=?", "=?a?q?", "=?a?q?a?=", "=?a?q?a?= ", "=?utf-8?b?"] {
            let text = piece.repeat(1_000_000);
            assert!(decoded_words(text.as_bytes()).len() <= text.len());
        }
    }
}
