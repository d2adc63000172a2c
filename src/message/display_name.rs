//! What a display name shows once its encoded words are decoded. RFC 2047.
//!
//! Invariant: a name that [`without_controls`] gives back shows no control character to a reader that decodes encoded
//! words, wherever they stand, and holds no line end.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use mail_builder::headers::Header;
use mail_builder::headers::address::Address as WrittenAddress;
use mail_parser::MessageParser;

/// As lax as readers are.
const LAX_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a reader may see control characters in a From field's value: in its text, or in that of an encoded word, also in
/// a comment or a quoted string, where some decode them all the same.
pub(super) fn shows_controls(value: &[u8]) -> bool {
    encoded_words(value).any(|(charset, octets)| octets.iter().any(|b| is_control_octet(*b, charset)))
        || name_of(value).is_some_and(|name| name.contains(is_control))
}

/// The display name of a From field's value, decoded, without its control characters and encoded anew, as the words that a
/// line may be folded between; none when nothing is left of it.
pub(super) fn without_controls(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let name: String = name_of(value)?.chars().filter(|c| !is_control(*c)).collect();
    // What looks like an encoded word still could not be decoded: another reader may know its charset.
    if name.trim().is_empty() || name.contains("=?") {
        return None;
    }
    let mut written = Vec::new();
    WrittenAddress::new_address(Some(name.trim()), "").write_header(&mut written, 0);
    written.truncate(written.iter().rposition(|b| *b == b'<')?);
    let words = written.split(|b| matches!(b, b'\r' | b'\n')).map(|word| word.trim_ascii().to_vec());
    Some(words.filter(|word| !word.is_empty()).collect())
}

/// Control characters, and the separators that end a line or paragraph.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Octets that are control characters in any charset that has ASCII in it. ISO 2022 shifts with some of them, and UTF-16 and
/// UTF-32 have them everywhere.
fn is_control_octet(octet: u8, charset: &[u8]) -> bool {
    let charset = charset.to_ascii_lowercase();
    let shifts = charset.starts_with(b"iso-2022") && matches!(octet, 0x0e | 0x0f | 0x1b);
    let wide = charset.starts_with(b"utf-16") || charset.starts_with(b"utf-32");
    (octet < 0x20 || octet == 0x7f) && !shifts && !wide
}

/// The display name that mail-parser shows of a From field's value.
fn name_of(value: &[u8]) -> Option<String> {
    let block = [b"From: ", value.trim_ascii(), b"\r\n\r\n"].concat();
    let message = MessageParser::new().parse_headers(&block)?;
    message.from()?.first()?.name().map(str::to_owned)
}

/// The encoded words of a text: charset (with its language) and decoded octets.
pub(super) fn encoded_words(text: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = memchr::memmem::find(rest, b"=?")?;
            rest = rest.get(at + 2..)?;
            let mut parts = rest.splitn(4, |b| *b == b'?');
            let (charset, encoding, encoded) = (parts.next()?, parts.next()?, parts.next()?);
            match encoding {
                [b'b' | b'B'] => return Some((charset, LAX_BASE64.decode(encoded).unwrap_or_default())),
                [b'q' | b'Q'] => return Some((charset, unquoted(encoded))),
                _ => {}
            }
        }
    })
}

/// RFC 2047 §4.2.
fn unquoted(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        let hex = |b: &u8| char::from(*b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = after;
        match (first, after) {
            (b'=', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                out.push(hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0));
                rest = tail;
            }
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phrase before an address, and a comment after one.
    fn values(name: &str) -> [Vec<u8>; 2] {
        [format!("{name} <a@b.c>").into_bytes(), format!("a@b.c ({name})").into_bytes()]
    }

    #[test]
    fn controls_are_found_however_they_are_written() {
        for shown in [
            "=?utf-8?q?a=0Ab?=",
            "=?UTF-8*en?Q?=7F?=",
            "=?utf-8?B?YQpi?=",
            "=?x-unknown?b?Cg?=",
            "\"=?utf-8?q?=00?=\"",
            "Ann =?utf-8?q?=C2=85?=",
            "=?utf-8?b?4oCo?=",
            "=?utf-7?q?+AAo-?=",
        ] {
            for value in values(shown) {
                assert!(shows_controls(&value), "{shown}");
            }
        }
        for plain in [
            "Ann",
            "\"Ann, at home\"",
            "=?utf-8?q?=C3=84nn?=",
            "=?utf-8?B?w4Q=?= =?utf-8?Q?_Lee?=",
            "=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=",
            "=?utf-8?x?=0A?=",
            "=?",
            "José",
        ] {
            for value in values(plain) {
                assert!(!shows_controls(&value), "{plain}");
            }
        }
    }

    #[test]
    fn the_rest_of_the_name_stays() {
        let cleaned = |phrase: &str| {
            let words = without_controls(format!("{phrase} <a@b.c>").as_bytes())?;
            Some(String::from_utf8(words.join(&b' ')).unwrap())
        };
        assert_eq!(cleaned("=?utf-8?q?Ann=0A_Lee?=").as_deref(), Some("\"Ann Lee\""));
        assert_eq!(cleaned("=?utf-8?q?=0A?="), None);
        assert_eq!(cleaned("=?x-unknown?q?=0A?="), None);
        let umlauts = format!("=?utf-8?q?{}=00=0D=0Aevil?=", "=C3=84nn_".repeat(60));
        let value = format!("{} <a@b.c>", cleaned(&umlauts).unwrap());
        assert_eq!(name_of(value.as_bytes()).unwrap(), format!("{}evil", "Änn ".repeat(60)));
        assert!(!shows_controls(value.as_bytes()));
    }
}
