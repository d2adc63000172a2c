//! Texts decoded: transfer encodings, charsets, encoded words, parameters. RFC 2045 §6, RFC 2047, RFC 2231.
//!
//! Invariant: reading is linear and lenient. What is wrong is passed over, or stays as it stands.

use super::fields::slice;
use super::mime::Parameters;
use mail_parser::DateTime;
use mail_parser::decoders::charsets::map::charset_decoder;
use std::borrow::Cow;

/// Sections of a parameter that is continued (RFC 2231 §3).
const SECTIONS: usize = 100;
/// More octets than any date has.
const LONGEST_DATE: usize = 1000;

/// The octets of a body without its transfer encoding. An encoding that is not known is none.
pub(crate) fn transfer_decoded<'a>(encoding: &[u8], body: &'a [u8]) -> Cow<'a, [u8]> {
    if encoding.eq_ignore_ascii_case(b"base64") {
        Cow::Owned(base64(body))
    } else if encoding.eq_ignore_ascii_case(b"quoted-printable") {
        Cow::Owned(quoted_printable(body))
    } else {
        Cow::Borrowed(body)
    }
}

/// A text of a charset. Octets of a charset that is not known are read as UTF-8.
pub(crate) fn charset_decoded(charset: &[u8], bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && (bytes.is_ascii() || is_utf8(charset))
        && !is_seven_bit_code(charset)
    {
        return text.to_owned();
    }
    match charset_decoder(charset) {
        Some(decode) if !is_utf8(charset) => decode(bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// UTF-8, and what has no other octets than ASCII's: where it has, it is UTF-8 as a rule.
fn is_utf8(charset: &[u8]) -> bool {
    let names = [&b""[..], b"utf-8", b"utf8", b"us-ascii", b"ascii"];
    names.iter().any(|name| charset.eq_ignore_ascii_case(name))
}

/// Whether ASCII octets may mean other characters than ASCII's.
fn is_seven_bit_code(charset: &[u8]) -> bool {
    let begins = |start: &[u8]| charset.get(..start.len()).is_some_and(|c| c.eq_ignore_ascii_case(start));
    begins(b"iso-2022") || begins(b"utf-7") || begins(b"utf-16") || begins(b"hz") || begins(b"csiso2022")
}

fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for octet in text {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // What follows the padding begins anew.
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap_or(0));
        }
    }
    out
}

fn hex(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |octet: Option<&u8>| char::from(*octet?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let content = line.trim_ascii_end();
        let line_break = if line.ends_with(b"\r\n") { &b"\r\n"[..] } else { line.get(line.len() - 1..).unwrap_or(b"") };
        let is_broken = line_break.ends_with(b"\n");
        let soft = content.strip_suffix(b"=");
        unescape(soft.unwrap_or(content), b'=', &mut out);
        if soft.is_none() && is_broken {
            out.extend_from_slice(line_break);
        }
    }
    out
}

/// Octets with each `=41` or `%41` made one; an escape that is none stays.
fn unescape(text: &[u8], sign: u8, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match hex(after.first(), after.get(1)).filter(|_| *first == sign) {
            Some(octet) => {
                out.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
}

/// An unstructured text, unfolded, with its encoded words decoded.
pub(crate) fn decoded_words(text: &[u8]) -> String {
    let text = super::fields::unfold(text);
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
                    out.push_str(&String::from_utf8_lossy(before));
                }
                run = Some((word.charset, word.octets()));
            }
        }
        rest = after;
        plain = 0;
    }
    end_run(&mut out, run);
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

fn end_run(out: &mut String, run: Option<(&[u8], Vec<u8>)>) {
    if let Some((charset, octets)) = run {
        out.push_str(&charset_decoded(charset, &octets));
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
        let mut pieces = text.strip_prefix(b"=?")?.splitn(4, |octet| *octet == b'?');
        let (charset, encoding, text, rest) = (pieces.next()?, pieces.next()?, pieces.next()?, pieces.next()?);
        let rest = rest.strip_prefix(b"=")?;
        // RFC 2231 §5: a language may stand after the charset.
        let charset = charset.split(|octet| *octet == b'*').next().unwrap_or_default();
        let is_base64 = match encoding {
            b"b" | b"B" => true,
            b"q" | b"Q" => false,
            _ => return None,
        };
        (!charset.is_empty() && charset.iter().all(u8::is_ascii_graphic))
            .then_some((Self { charset, is_base64, text }, rest))
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

/// The date of a Date field.
pub(crate) fn date(value: &[u8]) -> Option<DateTime> {
    DateTime::parse_rfc822(std::str::from_utf8(slice(value, 0..LONGEST_DATE)).ok()?.trim())
}

/// A parameter's value, decoded: in sections, with a charset, or with encoded words, which are wrong there and common.
pub(crate) fn decoded_parameter(parameters: &Parameters, name: &str) -> Option<String> {
    let named = |wanted: &[u8]| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_slice());
    if let Some(value) = named(format!("{name}*").as_bytes()) {
        let (charset, value) = charset_and_value(value);
        return Some(charset_decoded(charset, &percent_decoded(value)));
    }
    if let Some(value) = named(name.as_bytes()) {
        return Some(decoded_words(value));
    }
    let (mut charset, mut octets) = (&b""[..], Vec::new());
    for number in 0..SECTIONS {
        if let Some(value) = named(format!("{name}*{number}*").as_bytes()) {
            let value = if number == 0 {
                let (given, value) = charset_and_value(value);
                charset = given;
                value
            } else {
                value
            };
            octets.extend(percent_decoded(value));
        } else if let Some(value) = named(format!("{name}*{number}").as_bytes()) {
            octets.extend_from_slice(value);
        } else if number == 0 {
            return None;
        } else {
            break;
        }
    }
    Some(charset_decoded(charset, &octets))
}

/// `charset'language'value`
fn charset_and_value(value: &[u8]) -> (&[u8], &[u8]) {
    let mut pieces = value.splitn(3, |octet| *octet == b'\'');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(charset), Some(_), Some(value)) => (charset, value),
        _ => (b"", value),
    }
}

fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    unescape(value, b'%', &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::super::mime::parameterized;
    use super::*;

    #[test]
    fn bodies_are_decoded_as_far_as_they_can_be() {
        let decoded = |encoding: &str, body: &str| {
            String::from_utf8(transfer_decoded(encoding.as_bytes(), body.as_bytes()).into_owned()).unwrap()
        };
        assert_eq!(decoded("Base64", "aGVs\r\nbG8=\r\nIQ==\r\n"), "hello!");
        assert_eq!(decoded("base64", "aGVsbG8-?"), "hello");
        let soft = decoded("Quoted-Printable", "a=3D=\r\nb \t\r\n=zz=4\n c=");
        assert_eq!(soft, "a=b\r\n=zz=4\n c");
        assert_eq!(decoded("8bit", "=41"), "=41");
        assert_eq!(charset_decoded(b"iso-8859-1", b"Gr\xfc\xdfe"), "Grüße");
        assert_eq!(charset_decoded(b"ISO-2022-JP", b"\x1b$B$\"\x1b(B"), "あ");
        assert_eq!(charset_decoded(b"x-unknown", "é".as_bytes()), "é");
    }

    #[test]
    fn encoded_words_are_decoded_and_joined() {
        for (text, read) in [
            ("plain  text", "plain  text"),
            ("=?utf-8?q?J=C3=BC_x?= and =?ISO-8859-1*de?B?/A==?=", "Jü x and ü"),
            ("=?utf-8?q?=C3?=\r\n =?UTF-8?q?=BC?= !", "ü !"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?=FC?= b", "aü b"),
            ("=?utf-8?x?a?= =? =?q =?utf-8?q?a", "=?utf-8?x?a?= =? =?q =?utf-8?q?a"),
            ("=?=?utf-8?q?a?=", "=?a"),
        ] {
            assert_eq!(decoded_words(text.as_bytes()), read, "{text}");
        }
        for piece in ["=?", "=?a?q?", "=?a?q?a?=", "=?a?q?a?= ", "=?utf-8?b?"] {
            let text = piece.repeat(1_000_000);
            assert!(decoded_words(text.as_bytes()).len() <= text.len());
        }
    }

    #[test]
    fn parameters_are_decoded_in_all_their_forms() {
        for (value, read) in [
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; filename=\"=?utf-8?q?=C3=BC?=.txt\"", Some("ü.txt")),
            ("attachment; filename*=utf-8'de'%C3%BC.txt; filename=u.txt", Some("ü.txt")),
            ("attachment; filename*1=\"b.txt\"; filename*0*=iso-8859-1''%FC-a", Some("ü-ab.txt")),
            ("attachment; name=x", None),
        ] {
            let (_, parameters) = parameterized(value.as_bytes());
            assert_eq!(decoded_parameter(&parameters, "filename").as_deref(), read, "{value}");
        }
    }
}
