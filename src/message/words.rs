//! Texts in header fields, decoded: encoded words and parameters. RFC 2047, RFC 2231.
//!
//! Invariant: reading is linear and lenient; what is wrong stays as it stands. A decoded text holds no control character
//! and no line end, whatever was encoded in it.

use super::charset;
use super::decode::{base64, unescape};
use super::fields::unfold;
use super::mime::Parameters;
use std::collections::BTreeMap;

/// Sections of a parameter that is continued (RFC 2231 §3).
const SECTIONS: usize = 100;

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

/// A parameter in sections.
struct Sections {
    /// Where its first one stood among the parameters that are whole.
    place: usize,
    /// By number: whether it is percent-encoded, and its value.
    sections: BTreeMap<usize, (bool, Vec<u8>)>,
}

impl Sections {
    /// Their values together, up to a number that is missing; and whether these are percent-encoded, since one of them is.
    fn joined(self) -> (Vec<u8>, bool) {
        let is_encoded = self.sections.values().any(|(is_encoded, _)| *is_encoded);
        let mut value = Vec::new();
        for (at, (number, (section_is_encoded, section))) in self.sections.into_iter().enumerate() {
            if at != number {
                break;
            }
            if is_encoded && !section_is_encoded {
                percent_encoded(&section, number == 0, &mut value);
            } else {
                value.extend(section);
            }
        }
        (value, is_encoded)
    }
}

/// The parameters of a value with those that come in sections put together (RFC 2231 §3): `name*0=a; name*1=b` is
/// `name=ab`. Where a section is percent-encoded the whole is, and its name is `name*`.
pub(super) fn joined_sections(parameters: Parameters) -> Parameters {
    let mut joined = Parameters::with_capacity(parameters.len());
    let mut sectioned: BTreeMap<Vec<u8>, Sections> = BTreeMap::new();
    for (name, value) in parameters {
        let Some((base, number, is_encoded)) = section(&name) else {
            joined.push((name, value));
            continue;
        };
        let place = joined.len();
        let entry = sectioned.entry(base.to_vec());
        let of_name = entry.or_insert_with(|| Sections { place, sections: BTreeMap::new() });
        of_name.sections.entry(number).or_insert((is_encoded, value));
    }
    // From the last on, so that places stay what they are.
    let mut whole: Vec<_> = sectioned.into_iter().filter(|(_, of_name)| of_name.sections.contains_key(&0)).collect();
    whole.sort_by_key(|(_, of_name)| std::cmp::Reverse(of_name.place));
    for (mut name, of_name) in whole {
        let place = of_name.place;
        let (value, is_encoded) = of_name.joined();
        if is_encoded {
            name.push(b'*');
        }
        joined.insert(place, (name, value));
    }
    joined
}

/// `name*1*` taken apart: name, number, whether it is percent-encoded.
fn section(name: &[u8]) -> Option<(&[u8], usize, bool)> {
    let (rest, is_encoded) = name.strip_suffix(b"*").map_or((name, false), |rest| (rest, true));
    let star = rest.iter().rposition(|octet| *octet == b'*')?;
    let number = std::str::from_utf8(rest.get(star + 1..)?).ok()?;
    let number = number.parse().ok().filter(|number| *number < SECTIONS)?;
    Some((rest.get(..star).filter(|base| !base.is_empty())?, number, is_encoded))
}

/// A section that is not encoded, as part of a value that is. The first one then names no charset.
fn percent_encoded(section: &[u8], is_first: bool, out: &mut Vec<u8>) {
    if is_first {
        out.extend_from_slice(b"''");
    }
    for octet in section {
        match octet {
            b'%' | b'\'' => out.extend_from_slice(format!("%{octet:02X}").as_bytes()),
            _ => out.push(*octet),
        }
    }
}

/// The octets of a parameter: of `name*` without its charset, or of `name`.
pub(super) fn parameter_octets(parameters: &Parameters, name: &str) -> Option<Vec<u8>> {
    match extended(parameters, name) {
        Some((_, octets)) => Some(octets),
        None => named(parameters, name.as_bytes()).map(<[u8]>::to_vec),
    }
}

/// A parameter's value, decoded: with a charset, or with encoded words, which are wrong there and common.
pub(crate) fn decoded_parameter(parameters: &Parameters, name: &str) -> Option<String> {
    match extended(parameters, name) {
        Some((charset, octets)) => Some(without_controls(charset::decoded(charset, &octets))),
        None => named(parameters, name.as_bytes()).map(decoded_words),
    }
}

fn named<'a>(parameters: &'a Parameters, wanted: &[u8]) -> Option<&'a [u8]> {
    parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_slice())
}

/// Charset and octets of `name*=charset'language'value`.
fn extended<'a>(parameters: &'a Parameters, name: &str) -> Option<(&'a [u8], Vec<u8>)> {
    let value = named(parameters, format!("{name}*").as_bytes())?;
    let mut pieces = value.splitn(3, |octet| *octet == b'\'');
    let (charset, value) = match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(charset), Some(_), Some(value)) => (charset, value),
        _ => (&b""[..], value),
    };
    let mut octets = Vec::with_capacity(value.len());
    unescape(value, b'%', &mut octets);
    Some((charset, octets))
}

#[cfg(test)]
mod tests {
    use super::super::mime::parameterized;
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

    #[test]
    fn parameters_are_decoded_in_all_their_forms() {
        for (value, read) in [
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; filename=\"=?utf-8?q?=C3=BC?=.txt\"", Some("ü.txt")),
            ("attachment; filename*=utf-8'de'%C3%BC.txt; filename=u.txt", Some("ü.txt")),
            ("attachment; filename=u.txt; filename*0*=utf-8''%C3; filename*1*=%BC.txt", Some("ü.txt")),
            ("attachment; filename*1=\"b.txt\"; filename*0*=iso-8859-1''%FC-a", Some("ü-ab.txt")),
            ("attachment; filename*0=\"100%\"; filename*1*=%20a; filename*2=\"'b\"", Some("100% a'b")),
            ("attachment; filename*0=a; filename*1=b; filename*3=d", Some("ab")),
            ("attachment; filename*0=\"=?utf-8?q?=C3\"; filename*1=\"=BC?=\"", Some("ü")),
            ("attachment; filename*=%C3%BC", Some("ü")),
            ("attachment; filename*=x'", Some("x'")),
            ("attachment; filename*=utf-8''a%0D%0Ab", Some("ab")),
            ("attachment; filename*1=b", None),
            ("attachment; name=x", None),
        ] {
            let (_, parameters) = parameterized(value.as_bytes());
            assert_eq!(decoded_parameter(&parameters, "filename").as_deref(), read, "{value}");
        }
    }

    #[test]
    fn sections_are_put_together_where_the_first_stands() {
        let (_, parameters) =
            parameterized(b"a/b; x=1; boundary*1=d; y=2; boundary*0=\"c \"; n*0*=u'l'%41; n*1=\"'\"; z=3");
        let shown: Vec<_> = parameters
            .iter()
            .map(|(name, value)| [&name[..], b"=", value].concat())
            .map(|text| String::from_utf8(text).unwrap())
            .collect();
        assert_eq!(shown, ["x=1", "boundary=c d", "y=2", "n*=u'l'%41%27", "z=3"]);
        assert_eq!(parameter_octets(&parameters, "boundary").unwrap(), b"c d");
        assert_eq!(parameter_octets(&parameters, "n").unwrap(), b"A'");
        assert_eq!(parameter_octets(&parameters, "none"), None);
    }
}
