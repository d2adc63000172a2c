//! The fields of a header block, for all readers. RFC 5322 §2.2, RFC 2045 §5.1. Invariant: the fields joined are the
//! header block without its final empty line; a malformed line belongs to the preceding field, or is a field without a
//! name. What exceeds [`ReadLimits`] is one last field without a name: kept and shown unchanged, never parsed. Parsing
//! is linear.

use super::octets_read;
use std::borrow::Cow;
use std::ops::Range;

/// Maximum octets of a structured field that are parsed; each costs a hundred times its size in memory.
const TAKEN_APART: usize = 64 * 1024;

/// Limits on what is parsed of a message. The rest is kept and shown unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Levels of nested parts and messages; also the recursion depth.
    pub nesting: usize,
    /// Parts of a message, at all levels together.
    pub parts: usize,
    pub header_size: usize,
    pub fields: usize,
}

impl ReadLimits {
    /// Treats the message as a single text.
    pub const NOTHING: Self = Self { nesting: 0, parts: 0, header_size: 0, fields: 0 };
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { nesting: 20, parts: 2000, header_size: 1024 * 1024, fields: 10_000 }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Without the colon and white space before it.
    pub name: &'a [u8],
    /// Everything after the colon, without the last line break.
    pub value: &'a [u8],
    /// The whole field with its last line break.
    pub whole: &'a [u8],
}

/// The octets of `range` that exist.
pub(crate) fn slice(bytes: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(bytes.len());
    bytes.get(range.start.min(end)..end).unwrap_or_default()
}

/// The end of the line starting at `from`, after its line break.
pub(super) fn line_end(bytes: &[u8], from: usize) -> usize {
    let end = memchr::memchr(b'\n', slice(bytes, from..bytes.len())).map_or(bytes.len(), |at| from + at + 1);
    octets_read::count(end.saturating_sub(from));
    end
}

pub(super) fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The end of a header block, after its empty line.
pub(crate) fn header_end(bytes: &[u8]) -> usize {
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

#[derive(Clone, Debug, Default)]
pub(crate) struct Header<'a> {
    fields: Vec<Field<'a>>,
}

impl<'a> Header<'a> {
    /// Reads up to the empty line, or to the end.
    pub fn read(block: &'a [u8], limits: &ReadLimits) -> Self {
        let mut fields = Vec::new();
        let mut start = 0;
        loop {
            if fields.len() >= limits.fields || start >= limits.header_size {
                fields.extend(opaque(block, start));
                break;
            }
            let mut end = line_end(block, start);
            if chomp(slice(block, start..end)).is_empty() {
                break;
            }
            while matches!(block.get(end), Some(b' ' | b'\t')) && end <= limits.header_size {
                end = line_end(block, end);
            }
            if end > limits.header_size {
                fields.extend(opaque(block, start));
                break;
            }
            fields.push(Field::new(slice(block, start..end)));
            start = end;
        }
        Self { fields }
    }

    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The value of the first field with this name.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next().map(|field| field.value)
    }

    /// The fields with this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }
}

impl<'a> Field<'a> {
    fn new(whole: &'a [u8]) -> Self {
        let line = chomp(whole);
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (slice(line, 0..colon), slice(line, colon + 1..line.len())),
            None => (&[][..], line),
        };
        Self { name: name.trim_ascii_end(), value, whole }
    }
}

/// The rest of a block as a field without a name, without its empty line.
fn opaque(block: &[u8], start: usize) -> Option<Field<'_>> {
    let rest = slice(block, start..block.len());
    let lines = rest.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    let whole = lines.filter(|lines| lines.is_empty() || lines.ends_with(b"\n")).unwrap_or(rest);
    (!whole.is_empty()).then_some(Field { name: &[], value: whole, whole })
}

/// A value on one line, trimmed, without line breaks and NUL.
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    octets_read::count(value.len());
    let value = value.trim_ascii();
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect())
}

/// A token of a structured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An atom, including dots and encoded words, or a quoted string or domain literal without its delimiters.
    Word(Vec<u8>),
    /// Without its parentheses.
    Comment(Vec<u8>),
    /// One of the requested octets.
    Special(u8),
}

impl Token {
    pub(super) fn word(&self) -> Option<&[u8]> {
        match self {
            Self::Word(word) => Some(word),
            Self::Comment(_) | Self::Special(_) => None,
        }
    }
}

/// Splits a structured value at `specials`.
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

    fn whole(header: &Header<'_>) -> Vec<u8> {
        header.fields().iter().flat_map(|f| f.whole.to_vec()).collect()
    }

    #[test]
    fn fields_are_the_block_cut_in_pieces() {
        let block = b"Subject : a\r\n b\r\nno colon\r\n\tmore\r\nTo:x\r\n\r\n";
        let header = Header::read(block, &ReadLimits::default());
        let names: Vec<_> = header.fields().iter().map(|f| f.name).collect();
        assert_eq!(names, [&b"Subject"[..], b"", b"To"]);
        assert_eq!(whole(&header), block[..block.len() - 2]);
        assert_eq!(&*unfold(header.find("SUBJECT").unwrap()), b"a b");
        assert_eq!(header_end(block), block.len());
    }

    #[test]
    fn input_over_a_limit_is_one_field_without_a_name() {
        let block = b"A: 1\r\nB: 2\r\n 2\r\nC: 3\r\n\r\n";
        let last = block.len() - 2;
        for (fields, header_size, read) in [
            (3, last, vec!["A", "B", "C"]),
            (2, last, vec!["A", "B", ""]),
            (0, last, vec![""]),
            (9, last - 1, vec!["A", "B", ""]),
            (9, 15, vec!["A", ""]),
            (9, 6, vec!["A", ""]),
            (9, 0, vec![""]),
        ] {
            let limits = ReadLimits { fields, header_size, ..ReadLimits::default() };
            let header = Header::read(block, &limits);
            let names: Vec<_> = header.fields().iter().map(|f| std::str::from_utf8(f.name).unwrap()).collect();
            assert_eq!(names, read, "{limits:?}");
            assert_eq!(whole(&header), block[..last]);
        }
        let many = b"a:\n".repeat(6_000_000);
        let header = Header::read(&many, &ReadLimits::default());
        assert_eq!(header.fields().len(), ReadLimits::default().fields + 1);
        assert_eq!(whole(&header), many);
    }

    #[test]
    fn quotes_are_removed_and_comments_separated() {
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(
            tokens(b"\"a \\\"b\" (c (d)) e.f@g", b"@"),
            [word("a \"b"), Token::Comment(b"c (d)".to_vec()), word("e.f"), Token::Special(b'@'), word("g")]
        );
        assert_eq!(tokens(b"\"open", b"@"), [word("open")]);
        assert_eq!(tokens(b"(open (", b"@"), [Token::Comment(b"open (".to_vec())]);
    }
}
