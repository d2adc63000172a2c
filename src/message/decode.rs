//! Transfer decoding. RFC 2045 §6. Invariant: decoding is linear and lenient. Invalid input is skipped or kept
//! unchanged.

use super::fields::chomp;
use std::borrow::Cow;

/// The body decoded by the named transfer encoding, in lower case; unchanged if it is unknown.
pub(crate) fn transfer_decoded<'a>(encoding: Option<&[u8]>, body: &'a [u8]) -> Cow<'a, [u8]> {
    match encoding {
        Some(b"base64") => Cow::Owned(base64(body)),
        Some(b"quoted-printable") => Cow::Owned(quoted_printable(body)),
        _ => Cow::Borrowed(body),
    }
}

/// Whether a body with the named transfer encoding, in lower case, is the content itself. Without a name, it is.
pub(crate) fn is_identity(encoding: Option<&[u8]>) -> bool {
    matches!(encoding, None | Some(b"7bit" | b"8bit" | b"binary"))
}

/// Whether [`transfer_decoded`] decodes it, or there is nothing to decode.
pub(crate) fn is_known(encoding: Option<&[u8]>) -> bool {
    is_identity(encoding) || matches!(encoding, Some(b"base64" | b"quoted-printable"))
}

/// The value of a base64 digit.
pub(super) fn base64_digit(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet - b'A'),
        b'a'..=b'z' => Some(octet - b'a' + 26),
        b'0'..=b'9' => Some(octet - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes base64 with foreign characters. Padding ends it (RFC 2045 §6.8), unless only further lines of base64
/// follow: some programs encode in pieces, and some append a footer.
pub(super) fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut is_padded = false;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if is_padded && !is_base64(chomp(line)) {
            break;
        }
        for octet in line {
            let Some(digit) = base64_digit(*octet) else {
                if *octet == b'=' {
                    is_padded = true;
                    count = 0;
                }
                continue;
            };
            bits = (bits << 6) | u32::from(digit);
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push(u8::try_from((bits >> count) & 0xff).unwrap_or(0));
            }
        }
    }
    out
}

/// True if the line is only base64.
fn is_base64(line: &[u8]) -> bool {
    line.len().is_multiple_of(4) && line.iter().all(|octet| *octet == b'=' || base64_digit(*octet).is_some())
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

/// Decodes `=41` or `%41` escapes; an invalid escape is kept.
pub(crate) fn unescape(text: &[u8], sign: u8, out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parameters::transfer_encoding;

    #[test]
    fn bodies_are_decoded_as_far_as_possible() {
        for (encoding, body, expected) in [
            ("Base64", "aGVs\r\nbG8=\r\nIQ==\r\n", "hello!"),
            ("base64", "aGVsbG8-?", "hello"),
            ("base64", "SGVs!bG8g\r\nd29ybGQ=\r\n-- \r\nscanned by a gateway\r\n", "Hello world"),
            ("base64", "SGVs bG8=\r\nfooter\r\n", "Hello"),
            ("base64", "aGVsbG8=IQ==", "hello!"),
            ("\"base64\"", "aGVsbG8=", "hello"),
            ("base64;", "aGVsbG8=", "hello"),
            ("(a) base64 (b)", "aGVsbG8=", "hello"),
            ("Quoted-Printable", "a=3D=\r\nb \t\r\n=zz=4\n c=", "a=b\r\n=zz=4\n c"),
            ("Quoted-Printable (safe)", "=41", "A"),
            ("8bit", "=41", "=41"),
            ("", "=41", "=41"),
        ] {
            let name = transfer_encoding(encoding.as_bytes());
            let decoded = transfer_decoded(name.as_deref(), body.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(decoded).unwrap(), expected, "{encoding} {body:?}");
        }
    }
}
