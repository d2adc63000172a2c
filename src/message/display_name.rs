//! Writes a mailbox's display name before another address. RFC 5322 §3.2.5, RFC 2047 §5. Invariant: the output has
//! complete words, no line break other than folding, no unclosed encoded word and no control character, encoded or
//! not, so it cannot affect other fields.

use super::addresses::{Addresses, Listed, Mailbox, unescaped};
use super::words::{decoded_with_controls, encoded_words, encoded_words_are_closed, is_control};
use crate::address::Address;
use mail_builder::headers::Header;
use mail_builder::headers::address::Address as WrittenAddress;

/// Maximum octets of a display name.
const LONGEST_NAME: usize = 2000;
/// Maximum words of a display name.
const MOST_WORDS: usize = 256;
/// A longer word might not fit on a line of 998 octets.
const LONGEST_WORD: usize = 900;
/// Where lines are folded (RFC 5322 §2.1.1).
const LINE: usize = 78;

/// Writes `name <address>` with folding: the name of a mailbox, and an address of ours. `written` octets are already
/// on the line. An unsafe or oversized name is left out.
pub(super) fn write(mailbox: &Mailbox<'_>, out: &mut Vec<u8>, written: usize, address: &Address) {
    let mut column = written;
    for word in written_name(mailbox).unwrap_or_default() {
        fold(out, &mut column, word.len());
        out.extend_from_slice(&word);
        out.push(b' ');
        column += word.len() + 1;
    }
    let address = address.to_string();
    fold(out, &mut column, address.len() + 2);
    out.push(b'<');
    out.extend_from_slice(address.as_bytes());
    out.push(b'>');
}

/// Folds at the preceding space if `length` more octets would make the line too long.
fn fold(out: &mut Vec<u8>, column: &mut usize, length: usize) {
    if *column + length > LINE && out.last() == Some(&b' ') {
        out.pop();
        out.extend_from_slice(b"\r\n ");
        *column = 1;
    }
}

/// The words of the name to write: the client's, or, if they decode to control characters, the name re-encoded without
/// them.
fn written_name(mailbox: &Mailbox<'_>) -> Option<Vec<Vec<u8>>> {
    let words = words(mailbox)?;
    let name = words.join(&b' ');
    if !shows_controls(&name) {
        return Some(words);
    }
    let words = without_controls(&name)?;
    let fits = words.iter().map(Vec::len).sum::<usize>() <= LONGEST_NAME;
    (fits && words.iter().all(|word| word.len() <= LONGEST_WORD)).then_some(words)
}

/// The client's words of the name. Encoded words, quoted strings and 8-bit octets are kept; words that are not atoms
/// are quoted, also those of a comment.
fn words(mailbox: &Mailbox<'_>) -> Option<Vec<Vec<u8>>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut length = 0;
    let mut add = |octets: &[u8], is_quoted: bool| {
        let written = if is_quoted {
            octets.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
        } else if octets.iter().all(|b| is_phrase(*b)) {
            octets.to_vec()
        } else {
            quoted(octets)
        };
        length += written.len();
        let fits = words.len() < MOST_WORDS
            && length <= LONGEST_NAME
            && written.len() <= LONGEST_WORD
            && encoded_words_are_closed(&written);
        words.push(written);
        fits
    };
    let fits = match mailbox.comment() {
        None => mailbox.phrase().iter().all(|word| add(word.octets, word.is_quoted())),
        Some(comment) => {
            let text: Vec<u8> = comment.iter().copied().filter(|b| *b >= b' ' && *b != 0x7f).collect();
            let text = unescaped(&text);
            text.split(|b| *b == b' ').filter(|word| !word.is_empty()).all(|word| add(word, false))
        }
    };
    fits.then_some(words)
}

/// True for octets allowed in a phrase without quotes: atoms, dots (RFC 5322 §4.1), 8-bit octets (RFC 6532 and older
/// practice).
fn is_phrase(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&b)
}

/// A quoted-string.
pub(super) fn quoted(octets: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for b in octets {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*b);
    }
    out.push(b'"');
    out
}

/// True if a reader may see control characters in a From field's value: literally or in an encoded word, also in a
/// comment or quoted string, where some readers decode them too.
pub(super) fn shows_controls(value: &[u8]) -> bool {
    encoded_words(value).any(|(charset, octets)| octets.iter().any(|b| is_control_octet(*b, charset)))
        || decoded_with_controls(value).contains(|c| c != '\t' && is_control(c))
}

/// True for control characters in any charset that contains ASCII. ISO 2022 uses some of them as shifts; UTF-16 and
/// UTF-32 contain them everywhere.
fn is_control_octet(octet: u8, charset: &[u8]) -> bool {
    let charset = charset.to_ascii_lowercase();
    let shifts = charset.starts_with(b"iso-2022") && matches!(octet, 0x0e | 0x0f | 0x1b);
    let wide = charset.starts_with(b"utf-16") || charset.starts_with(b"utf-32");
    (octet < 0x20 || octet == 0x7f) && !shifts && !wide
}

/// A phrase decoded, stripped of control characters and re-encoded, as words between which the line may be folded;
/// `None` if nothing is left.
fn without_controls(phrase: &[u8]) -> Option<Vec<Vec<u8>>> {
    let value = [phrase, b" <a@b.c>"].concat();
    let name = Addresses::of(&value).find_map(Listed::mailbox)?.display_name()?;
    // What still looks like an encoded word could not be decoded: another reader may support its charset.
    if name.contains("=?") || encoded_words(phrase).any(|(charset, _)| !super::charset::is_known(charset)) {
        return None;
    }
    let mut written = Vec::new();
    WrittenAddress::new_address(Some(name.as_str()), "").write_header(&mut written, 0);
    written.truncate(written.iter().rposition(|b| *b == b'<')?);
    let words = written.split(|b| matches!(b, b'\r' | b'\n')).map(|word| word.trim_ascii().to_vec());
    Some(words.filter(|word| !word.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &[u8]) -> Vec<u8> {
        let mut out = b"From: ".to_vec();
        let identity = Address::parse("me@acme.com").unwrap();
        let mut mailboxes = Addresses::of(value).filter_map(Listed::mailbox);
        write(&mailboxes.find(|mailbox| mailbox.address().is_some()).unwrap(), &mut out, 6, &identity);
        out
    }

    #[test]
    fn names_are_kept_and_cannot_leave_their_field() {
        for (value, written) in [
            (&b"Ann <a@x.org>"[..], &b"From: Ann <me@acme.com>"[..]),
            (b"a@x.org (Ann)", b"From: Ann <me@acme.com>"),
            (
                b"a@x.org (Cron\r\n \"Daemon\" \\(x\\) Jos\xe9)",
                b"From: Cron \"\\\"Daemon\\\"\" \"(x)\" Jos\xe9 <me@acme.com>",
            ),
            (b"a@x.org (a\x01b =?utf-8?q?=C3=BC?= =?utf-8?q?=0A?=)", b"From: =?utf-8?B?YWIgw7w=?= <me@acme.com>"),
            (b"a@x.org (<b@x.org>, )", b"From: \"<b@x.org>,\" <me@acme.com>"),
            (b"Ann (x) J. Lee <a@x.org>", b"From: Ann J. Lee <me@acme.com>"),
            (b"\"Ann\\\" Lee\"\r\n <a@x.org>", b"From: \"Ann\\\" Lee\" <me@acme.com>"),
            (b"\"Ann\r\n Lee\" <a@x.org>", b"From: \"Ann Lee\" <me@acme.com>"),
            (b"=?utf-8?B?w4Q=?= <a@x.org>", b"From: =?utf-8?B?w4Q=?= <me@acme.com>"),
            (b"=?utf-8?B?w4Q= <a@x.org>", b"From: <me@acme.com>"),
            (b"=?utf-8?q?Ann=0D=0AFrom=3A_x?= Lee <a@x.org>", b"From: \"AnnFrom: x Lee\" <me@acme.com>"),
            (b"=?utf-8?q?=0A?= <a@x.org>", b"From: <me@acme.com>"),
            (b"=?x-unknown?q?=0A?= <a@x.org>", b"From: <me@acme.com>"),
            (b"Jos\xe9 <a@x.org>", b"From: Jos\xe9 <me@acme.com>"),
            (b"a@x.org <a@x.org>", b"From: \"a@x.org\" <me@acme.com>"),
            (b"Ann [X] <a@x.org>", b"From: Ann \"[X]\" <me@acme.com>"),
            (b"broken <b>, Bob <b@x.org>", b"From: Bob <me@acme.com>"),
        ] {
            let shown = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            assert_eq!(shown(&named(value)), shown(written), "{}", shown(value));
        }
    }

    #[test]
    fn long_names_are_folded_and_oversized_ones_left_out() {
        let long = format!("{}<a@x.org>", "word ".repeat(100));
        let field = named(long.as_bytes());
        assert!(field.split(|b| *b == b'\n').all(|line| line.len() <= 79));
        assert_eq!(named(format!("{} <a@x.org>", "w".repeat(901)).as_bytes()), b"From: <me@acme.com>");
        assert_eq!(named(format!("{}<a@x.org>", "word ".repeat(501)).as_bytes()), b"From: <me@acme.com>");
        let umlauts = format!("=?utf-8?q?{}=00=0D=0Aevil?=", "=C3=84nn_".repeat(60));
        let field = named(format!("{umlauts} <a@x.org>").as_bytes());
        assert_eq!(decoded_with_controls(&field), format!("From: {}evil <me@acme.com>", "Änn ".repeat(60)));
    }

    /// A phrase before an address, and a comment after one.
    fn values(name: &str) -> [Vec<u8>; 2] {
        [format!("{name} <a@b.c>").into_bytes(), format!("a@b.c ({name})").into_bytes()]
    }

    #[test]
    fn controls_are_found_in_every_encoding() {
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
}
