//! Values with parameters: Content-Type, Content-Disposition. RFC 2045 §5.1, RFC 2183, RFC 2231. Invariant: parsing is
//! linear and lenient. A value has at most [`MAX_PARAMETERS`] parameters; continuations are joined.

use super::charset;
use super::decode::unescape;
use super::fields::{Header, Token, tokens};
use super::words::{decoded_words, without_controls};
use std::collections::BTreeMap;

/// Maximum parameters of a value.
const MAX_PARAMETERS: usize = 100;
/// Maximum languages of a part.
const LANGUAGES: usize = 100;
/// Maximum continuations of a parameter (RFC 2231 §3).
const SECTIONS: usize = 100;

/// `name=value`, names in lower case.
pub(crate) type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// A value with parameters (RFC 2045 §5.1, RFC 2183 §2): the words before the first `;` in lower case, and
/// `name=value` pairs. Continuations are joined (RFC 2231 §3). A missing `;` is detected by the `=`.
pub(crate) fn parameterized(value: &[u8]) -> (Vec<Vec<u8>>, Parameters) {
    let mut tokens = tokens(value, b"/;=");
    tokens.retain(|token| !matches!(token, Token::Comment(_)));
    let mut words = Vec::new();
    let mut parameters: Parameters = Vec::new();
    // Unquoted punctuation and spaces inside a value are kept: wrong, but common.
    let mut after_word = false;
    let mut in_words = true;
    let mut is_named = false;
    let mut left = tokens.as_slice();
    while let Some((token, rest)) = left.split_first() {
        left = rest;
        match token {
            Token::Special(b';') => (in_words, is_named, after_word) = (false, false, false),
            Token::Word(name) if rest.first() == Some(&Token::Special(b'=')) && (!is_named || after_word) => {
                if parameters.len() == MAX_PARAMETERS {
                    break;
                }
                // A comma in the place of the `;`.
                if let Some((_, value)) = parameters.last_mut().filter(|(_, value)| is_named && value.ends_with(b",")) {
                    value.pop();
                }
                parameters.push((name.to_ascii_lowercase(), Vec::new()));
                left = rest.get(1..).unwrap_or_default();
                (in_words, is_named, after_word) = (false, true, false);
            }
            Token::Word(word) if in_words => words.push(without_comma(word).to_ascii_lowercase()),
            Token::Word(_) | Token::Special(_) if is_named => {
                let Some((_, value)) = parameters.last_mut() else { continue };
                match token {
                    Token::Word(word) => {
                        if std::mem::replace(&mut after_word, true) && !word.is_empty() {
                            value.push(b' ');
                        }
                        value.extend_from_slice(word);
                    }
                    Token::Special(special) => {
                        value.push(*special);
                        after_word = false;
                    }
                    Token::Comment(_) => {}
                }
            }
            _ => {}
        }
    }
    (words, joined_sections(parameters))
}

/// A word up to a comma, which no token holds (RFC 2045 §5.1).
fn without_comma(word: &[u8]) -> &[u8] {
    word.split(|octet| *octet == b',').next().unwrap_or_default()
}

/// The languages of a part (RFC 3282 §2), without comments.
pub(crate) fn languages(header: &Header<'_>) -> Vec<Vec<u8>> {
    let tokens = header.find("Content-Language").map(|value| tokens(value, b",;")).unwrap_or_default();
    let first_word = |tag: &[Token]| tag.iter().find_map(Token::word).map(<[u8]>::to_vec);
    tokens.split(|token| *token == Token::Special(b',')).filter_map(first_word).take(LANGUAGES).collect()
}

/// The disposition of a part (RFC 2183) and its parameters. With parameters only, it is an attachment.
pub(crate) fn disposition(header: &Header<'_>) -> Option<(Vec<u8>, Parameters)> {
    let (words, parameters) = parameterized(header.find("Content-Disposition")?);
    match words.into_iter().next() {
        Some(word) => Some((word, parameters)),
        None => (!parameters.is_empty()).then(|| (b"attachment".to_vec(), parameters)),
    }
}

/// A continued parameter.
struct Sections {
    /// The position of its first section among the other parameters.
    place: usize,
    /// By number: whether it is percent-encoded, and its value.
    sections: BTreeMap<usize, (bool, Vec<u8>)>,
}

impl Sections {
    /// The values joined up to a missing number, and whether the result is percent-encoded.
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

/// Joins continuations (RFC 2231 §3): `name*0=a; name*1=b` is `name=ab`. If a section is percent-encoded, the whole
/// value is, and its name is `name*`.
pub(super) fn joined_sections(parameters: Parameters) -> Parameters {
    let mut joined = Parameters::with_capacity(parameters.len());
    let mut sectioned: BTreeMap<Vec<u8>, Sections> = BTreeMap::new();
    for (name, value) in parameters {
        let Some(Section { base, number, is_encoded }) = section(&name) else {
            joined.push((name, value));
            continue;
        };
        let place = joined.len();
        let entry = sectioned.entry(base.to_vec());
        let of_name = entry.or_insert_with(|| Sections { place, sections: BTreeMap::new() });
        of_name.sections.entry(number).or_insert((is_encoded, value));
    }
    // From the last on, so that positions remain valid.
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

/// The parts of a parameter name like `base*1*`.
struct Section<'a> {
    base: &'a [u8],
    number: usize,
    /// With an asterisk at the end, the value is percent-encoded.
    is_encoded: bool,
}

fn section(name: &[u8]) -> Option<Section<'_>> {
    let (rest, is_encoded) = name.strip_suffix(b"*").map_or((name, false), |rest| (rest, true));
    let star = rest.iter().rposition(|octet| *octet == b'*')?;
    let number = std::str::from_utf8(rest.get(star + 1..)?).ok()?;
    let number = number.parse().ok().filter(|number| *number < SECTIONS)?;
    let base = rest.get(..star).filter(|base| !base.is_empty())?;
    Some(Section { base, number, is_encoded })
}

/// Encodes a plain section of a percent-encoded value. As the first section it has no charset.
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

/// A parameter's decoded value: with a charset, or with encoded words, which are invalid but common.
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

/// The name of a transfer encoding in lower case, without comments, quotes and trailing text.
pub(crate) fn transfer_encoding(value: &[u8]) -> Option<Vec<u8>> {
    parameterized(value).0.into_iter().next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;

    #[test]
    fn values_are_parsed_leniently_and_within_bounds() {
        assert_eq!(parameterized(b"filename=x"), (vec![], vec![(b"filename".to_vec(), b"x".to_vec())]));
        assert_eq!(parameterized(&b"a=".repeat(1_000_000)).1.len(), 1);
        assert_eq!(parameterized(&b";a=b".repeat(1_000_000)).1.len(), MAX_PARAMETERS);
    }

    #[test]
    fn a_comma_or_a_quote_at_the_end_is_no_part_of_a_value() {
        for (value, read) in [
            ("text/plain; charset=utf-8, format=flowed", ["charset=utf-8", "format=flowed"]),
            ("text/plain; format=flowed; charset=utf-8\"", ["format=flowed", "charset=utf-8"]),
            ("text/plain; name=a, b; format=flowed", ["name=a, b", "format=flowed"]),
        ] {
            let read_now = parameterized(value.as_bytes()).1.into_iter().map(|(name, value)| [name, value].join(&b'='));
            assert_eq!(read_now.collect::<Vec<_>>(), read.map(|text| text.as_bytes().to_vec()), "{value}");
        }
    }

    #[test]
    fn words_end_at_a_comma() {
        for (value, words) in
            [("attachment, inline", ["attachment", "inline"]), ("text/plain,charset", ["text", "plain"])]
        {
            assert_eq!(parameterized(value.as_bytes()).0, words.map(|word| word.as_bytes().to_vec()), "{value}");
        }
    }

    #[test]
    fn languages_are_listed_without_comments() {
        for (value, read) in [
            ("de", "de"),
            ("(Deutsch) de, EN-gb (English)", "de EN-gb"),
            ("de , en ,", "de en"),
            (",, de", "de"),
            ("de\r\n ,en", "de en"),
            ("de en; fr, \"pt\"", "de pt"),
            ("", ""),
            (",", ""),
            ("(none)", ""),
        ] {
            let block = format!("Content-Language: {value}\r\n\r\n");
            let read_now = languages(&Header::read(block.as_bytes(), &ReadLimits::default()));
            assert_eq!(String::from_utf8(read_now.join(&b' ')).unwrap(), read, "{value}");
        }
        let many = format!("Content-Language: {}\r\n\r\n", "de,".repeat(1000));
        assert_eq!(languages(&Header::read(many.as_bytes(), &ReadLimits::default())).len(), LANGUAGES);
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
    fn continuations_are_joined_at_the_position_of_the_first() {
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
