//! The fields of a header block, as they stand. RFC 5322 §2.2, RFC 2045 §5.1.
//!
//! Invariant: the fields together are the header block less its last empty line; malformed lines belong to the field
//! before them, or are a field without a name.

use std::ops::Range;

/// Octets of a structured field that are taken apart; each costs a hundred times its size in memory.
const TAKEN_APART: usize = 64 * 1024;

/// One field.
#[derive(Clone, Copy, Debug)]
pub(in crate::imap) struct Field<'a> {
    /// Without the colon and white space before it.
    pub name: &'a [u8],
    /// What follows the colon, line breaks included but the last.
    pub value: &'a [u8],
    /// All of it, with the last line break.
    pub whole: &'a [u8],
}

/// The octets of `range`, or as many of them as there are.
pub(in crate::imap) fn slice(bytes: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(bytes.len());
    bytes.get(range.start.min(end)..end).unwrap_or_default()
}

/// Where the line that begins at `from` ends, its line break included.
pub(super) fn line_end(bytes: &[u8], from: usize) -> usize {
    match slice(bytes, from..bytes.len()).iter().position(|b| *b == b'\n') {
        Some(at) => from + at + 1,
        None => bytes.len(),
    }
}

/// A line without its line break.
pub(super) fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where a header block ends: after its empty line.
pub(in crate::imap) fn header_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let end = line_end(bytes, at);
        if chomp(slice(bytes, at..end)).is_empty() {
            return end;
        }
        at = end;
    }
    bytes.len()
}

/// The fields of a header block, in order.
pub(in crate::imap) fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let mut end = line_end(header, start);
        if chomp(slice(header, start..end)).is_empty() {
            return None;
        }
        while matches!(header.get(end), Some(b' ' | b'\t')) {
            end = line_end(header, end);
        }
        at = end;
        let whole = slice(header, start..end);
        let line = chomp(whole);
        let colon = line.iter().position(|b| *b == b':');
        let (name, value) = match colon {
            Some(colon) => (slice(line, 0..colon), slice(line, colon + 1..line.len())),
            None => (&[][..], line),
        };
        Some(Field { name: name.trim_ascii_end(), value, whole })
    })
}

/// The value of the first field of a name.
pub(in crate::imap) fn find<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(header).find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
}

/// A value on one line: line breaks and NUL taken out, white space around it too.
pub(in crate::imap) fn unfold(value: &[u8]) -> Vec<u8> {
    value.trim_ascii().iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect()
}

/// A piece of a structured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An atom, dots and encoded words included, or a quoted string or domain literal. Its quotes are gone.
    Word(Vec<u8>),
    /// A comment, without its parentheses.
    Comment(Vec<u8>),
    /// One of the octets asked for.
    Special(u8),
}

/// Cuts a structured value into pieces at `specials`.
pub(super) fn tokens(value: &[u8], specials: &[u8]) -> Vec<Token> {
    let value = unfold(slice(value, 0..TAKEN_APART));
    let mut tokens = Vec::new();
    let mut octets = value.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' => {}
            b'"' => tokens.push(Token::Word(quoted(&mut octets, b'"'))),
            b'(' => tokens.push(Token::Comment(comment(&mut octets))),
            _ if specials.contains(&octet) => tokens.push(Token::Special(octet)),
            _ => {
                let mut word = vec![octet];
                while let Some(next) =
                    octets.next_if(|next| !matches!(next, b' ' | b'\t' | b'"' | b'(') && !specials.contains(next))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

fn quoted(octets: &mut impl Iterator<Item = u8>, end: u8) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => text.extend(octets.next()),
            _ if octet == end => break,
            _ => text.push(octet),
        }
    }
    text
}

fn comment(octets: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut depth = 0_usize;
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => text.extend(octets.next()),
            b')' if depth == 0 => break,
            b')' => {
                depth -= 1;
                text.push(octet);
            }
            b'(' => {
                depth += 1;
                text.push(octet);
            }
            _ => text.push(octet),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_block_cut_in_pieces() {
        let header = b"Subject : a\r\n b\r\nno colon\r\n\tmore\r\nTo:x\r\n\r\n";
        let names: Vec<_> = fields(header).map(|f| f.name).collect();
        assert_eq!(names, [&b"Subject"[..], b"", b"To"]);
        let whole: Vec<u8> = fields(header).flat_map(|f| f.whole.to_vec()).collect();
        assert_eq!(whole, header[..header.len() - 2]);
        assert_eq!(unfold(find(header, "SUBJECT").unwrap()), b"a b");
        assert_eq!(header_end(header), header.len());
    }

    #[test]
    fn structured_values_lose_quotes_and_keep_comments_apart() {
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(
            tokens(b"\"a \\\"b\" (c (d)) e.f@g", b"@"),
            [word("a \"b"), Token::Comment(b"c (d)".to_vec()), word("e.f"), Token::Special(b'@'), word("g")]
        );
        assert_eq!(tokens(b"\"open", b"@"), [word("open")]);
        assert_eq!(tokens(b"(open (", b"@"), [Token::Comment(b"open (".to_vec())]);
    }
}
