//! Decodes encoded words in header fields. RFC 2047, RFC 2231 §5. Invariant: decoding is linear and lenient; invalid
//! input is kept. Decoded text has no control character or line end, whatever was encoded.

use super::charset;
use super::decode::{base64, unescape};
use super::fields::unfold;

/// Control characters and line or paragraph separators.
pub(super) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text for one line: a tab becomes a space, other control characters are removed.
pub(crate) fn without_controls(mut text: String) -> String {
    if text.contains('\t') {
        text = text.replace('\t', " ");
    }
    text.retain(|c| !is_control(c));
    text
}

/// Unstructured text, unfolded, with encoded words decoded.
pub(crate) fn decoded_words(text: &[u8]) -> String {
    without_controls(decoded_with_controls(text))
}

/// Like [`decoded_words`], keeping encoded control characters.
pub(super) fn decoded_with_controls(text: &[u8]) -> String {
    let text = unfold(text);
    let mut out = String::with_capacity(text.len());
    // Octets of consecutive encoded words in one charset: a character may be split between two.
    let mut run: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = &*text;
    let mut plain = 0;
    while let Some(at) = memchr::memmem::find(rest.get(plain..).unwrap_or_default(), b"=?").map(|at| at + plain) {
        let Some((word, after)) = EncodedWord::read(rest.get(at..).unwrap_or_default()) else {
            plain = at + 2;
            continue;
        };
        let before = rest.get(..at).unwrap_or_default();
        match &mut run {
            // White space between two encoded words is ignored (RFC 2047 §6.2).
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
    /// The encoded word at the start of a text, and the rest.
    fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (word, rest) = Self::read_open(text)?;
        let rest = rest.strip_prefix(b"?=")?;
        (!word.charset.is_empty() && word.charset.iter().all(u8::is_ascii_graphic)).then_some((word, rest))
    }

    /// The same, closed or not. The rest begins with `?`, or is empty.
    fn read_open(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut pieces = text.strip_prefix(b"=?")?.splitn(3, |octet| *octet == b'?');
        let (charset, encoding, rest) = (pieces.next()?, pieces.next()?, pieces.next()?);
        // RFC 2231 §5: a language may follow the charset.
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

/// Everything a lenient reader may take for an encoded word, closed or not: charset and decoded octets.
pub(super) fn encoded_words(text: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    let starts = memchr::memmem::find_iter(text, b"=?");
    starts.filter_map(|at| {
        let (word, _) = EncodedWord::read_open(text.get(at..)?)?;
        Some((word.charset, word.octets()))
    })
}

/// True if every `=?` starts an encoded word that ends within the text: an open one makes lenient readers search the
/// following lines for its end.
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
