//! The MIME tree of a message, as ranges of its octets. RFC 2046 §5.1, RFC 2045 §5.2. Invariant: every range is within
//! the body, a child's within its parent's. Work is bounded by the body's length times [`ReadLimits::nesting`]. A tree
//! has at most [`ReadLimits::parts`] parts besides the root, plus one for each level of nesting with the rest of its
//! multipart. Depth is limited by the nesting, so recursion is safe.

use super::fields::{Header, ReadLimits, chomp, header_end, line_end, slice};
use super::parameters::{Parameters, parameter_octets, parameterized};
use std::ops::Range;

/// Maximum nested messages that are parsed, each shown with its own envelope.
const MAX_MESSAGES: usize = 100;

/// A media type in lower case with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentType {
    pub kind: Vec<u8>,
    pub subtype: Vec<u8>,
    pub parameters: Parameters,
}

/// The structure of a part.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// No nested parts.
    Leaf,
    /// At least one part.
    Multipart(Vec<Part>),
    /// A message with its own header block.
    Message(Box<Part>),
}

/// A part: the ranges of its header block and its body within the message's body.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The header block with its empty line. For the root it is elsewhere: see [`Tree`].
    pub header: Range<usize>,
    pub body: Range<usize>,
    /// Its media type; plain text if it is missing or the parts cannot be separated.
    pub content_type: ContentType,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) struct Tree<'a> {
    pub header: &'a [u8],
    pub body: &'a [u8],
    /// Its `header` range is empty: the header block is `self.header`.
    pub root: Part,
    limits: ReadLimits,
}

impl ContentType {
    fn new(kind: &str, subtype: &str) -> Self {
        Self { kind: kind.into(), subtype: subtype.into(), parameters: Vec::new() }
    }

    fn plain() -> Self {
        Self { parameters: vec![(b"charset".to_vec(), b"us-ascii".to_vec())], ..Self::new("text", "plain") }
    }

    fn of(header: &Header<'_>, in_digest: bool) -> Self {
        let Some(value) = header.find("Content-Type") else {
            return if in_digest { Self::new("message", "rfc822") } else { Self::plain() };
        };
        let (words, parameters) = parameterized(value);
        let mut words = words.into_iter();
        let read = match (words.next(), words.next()) {
            (Some(kind), Some(subtype)) => Self { kind, subtype, parameters },
            (Some(kind), None) if kind == b"multipart" => Self { kind, subtype: b"mixed".to_vec(), parameters },
            (Some(kind), None) if kind == b"text" => Self { parameters, ..Self::new("text", "plain") },
            // RFC 2045 §5.2: an unreadable type is plain text.
            _ => return Self::plain(),
        };
        // The parts cannot be separated: it is one text.
        if read.kind == b"multipart" && read.boundary().is_none() { Self::plain() } else { read }
    }

    pub fn parameter(&self, name: &str) -> Option<Vec<u8>> {
        parameter_octets(&self.parameters, name)
    }

    fn boundary(&self) -> Option<Vec<u8>> {
        self.parameter("boundary").filter(|boundary| !boundary.is_empty())
    }

    /// True for this type; both arguments in lower case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind == kind.as_bytes() && self.subtype == subtype.as_bytes()
    }
}

impl Part {
    /// Drops the parameters to save memory.
    pub fn without_parameters(mut self) -> Self {
        self.forget_parameters();
        self
    }

    fn forget_parameters(&mut self) {
        self.content_type.parameters = Vec::new();
        match &mut self.kind {
            Kind::Leaf => {}
            Kind::Multipart(parts) => parts.iter_mut().for_each(Self::forget_parameters),
            Kind::Message(inner) => inner.forget_parameters(),
        }
    }
}

impl<'a> Tree<'a> {
    pub fn parse(header: &'a [u8], body: &'a [u8], limits: &ReadLimits) -> Self {
        let mut scan = Scan { body, limits, parts_left: limits.parts, messages_left: MAX_MESSAGES };
        let root = scan.entity(header, 0..0, 0..body.len(), false, 0);
        Self { header, body, root, limits: *limits }
    }

    pub fn header_of(&self, part: &Part) -> &'a [u8] {
        if std::ptr::eq(part, &raw const self.root) { self.header } else { slice(self.body, part.header.clone()) }
    }

    pub fn fields_of(&self, part: &Part) -> Header<'a> {
        Header::read(self.header_of(part), &self.limits)
    }

    pub fn body_of(&self, part: &Part) -> &'a [u8] {
        slice(self.body, part.body.clone())
    }
}

struct Scan<'a> {
    body: &'a [u8],
    limits: &'a ReadLimits,
    parts_left: usize,
    messages_left: usize,
}

impl Scan<'_> {
    /// A part with known header and body ranges.
    fn entity(
        &mut self,
        header: &[u8],
        header_range: Range<usize>,
        body: Range<usize>,
        in_digest: bool,
        depth: usize,
    ) -> Part {
        let content_type = ContentType::of(&Header::read(header, self.limits), in_digest);
        let deeper = depth < self.limits.nesting && self.parts_left > 0;
        let kind = if deeper && content_type.kind == b"multipart" {
            let boundary = content_type.boundary().unwrap_or_default();
            self.multipart(&boundary, body.clone(), content_type.subtype == b"digest", depth)
        } else if deeper
            && self.messages_left > 0
            && (content_type.is("message", "rfc822") || content_type.is("message", "global"))
        {
            self.messages_left -= 1;
            self.parts_left -= 1;
            Kind::Message(Box::new(self.part(body.clone(), false, depth + 1)))
        } else {
            Kind::Leaf
        };
        Part { header: header_range, body, content_type, kind }
    }

    /// A part that starts with a header block.
    fn part(&mut self, range: Range<usize>, in_digest: bool, depth: usize) -> Part {
        let bytes = slice(self.body, range.clone());
        let split = header_end(bytes);
        let middle = range.start + split;
        self.entity(slice(bytes, 0..split), range.start..middle, middle..range.end, in_digest, depth)
    }

    fn multipart(&mut self, boundary: &[u8], range: Range<usize>, is_digest: bool, depth: usize) -> Kind {
        let mut children = Vec::new();
        // The start of the current part; `None` in the preamble.
        let mut open: Option<usize> = None;
        let mut at = range.start;
        let mut closed = false;
        while at < range.end {
            let end = line_end(slice(self.body, 0..range.end), at);
            if let Some(is_last) = delimiter(slice(self.body, at..end), boundary) {
                if let Some(start) = open {
                    self.child(&mut children, start..self.before_line_break(start, at), is_digest, depth);
                }
                open = Some(end);
                if is_last || self.parts_left == 0 {
                    closed = is_last;
                    break;
                }
            }
            at = end;
        }
        // The last delimiter is missing: the rest is shown.
        if let (Some(start), false) = (open, closed) {
            self.child(&mut children, start..range.end, is_digest, depth);
        }
        if children.is_empty() {
            // The grammar requires one part. If the boundary never occurs, the whole body is shown.
            let body = if open.is_none() { range.clone() } else { range.end..range.end };
            self.parts_left = self.parts_left.saturating_sub(1);
            children.push(Part {
                header: body.start..body.start,
                body,
                content_type: ContentType::plain(),
                kind: Kind::Leaf,
            });
        }
        Kind::Multipart(children)
    }

    fn child(&mut self, children: &mut Vec<Part>, range: Range<usize>, in_digest: bool, depth: usize) {
        self.parts_left = self.parts_left.saturating_sub(1);
        children.push(self.part(range, in_digest, depth + 1));
    }

    /// The line break before a delimiter belongs to it.
    fn before_line_break(&self, start: usize, at: usize) -> usize {
        start + chomp(slice(self.body, start..at)).len()
    }
}

/// Whether a line is a delimiter of `boundary`, and whether it is the closing one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = chomp(line).strip_prefix(b"--")?.strip_prefix(boundary)?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(tree: &Tree<'a>, part: &Part) -> (&'a str, &'a str) {
        (std::str::from_utf8(tree.header_of(part)).unwrap(), std::str::from_utf8(tree.body_of(part)).unwrap())
    }

    #[test]
    fn parts_are_between_the_delimiters() {
        let body = b"preamble\r\n--b\r\n\r\none\r\n--b \r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n\r\n--bb\r\n--b--\r\nepilogue\r\n";
        let tree = Tree::parse(b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n", body, &ReadLimits::default());
        let Kind::Multipart(parts) = &tree.root.kind else { panic!() };
        assert_eq!(text(&tree, &parts[0]), ("\r\n", "one"));
        let Kind::Message(inner) = &parts[1].kind else { panic!() };
        assert_eq!(text(&tree, inner), ("Subject: in\r\n\r\n", "two\r\n\r\n--bb"));
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn a_truncated_or_empty_multipart_has_a_part() {
        let header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        for (body, expected) in [
            (&b"--b\r\n\r\ncut"[..], "cut"),
            (b"", ""),
            (b"--b--\r\n", ""),
            (b"--b", ""),
            (b"another\r\n--a--", "another\r\n--a--"),
        ] {
            let tree = Tree::parse(header, body, &ReadLimits::default());
            let Kind::Multipart(parts) = &tree.root.kind else { panic!() };
            assert_eq!((parts.len(), text(&tree, &parts[0]).1), (1, expected), "{body:?}");
        }
    }

    #[test]
    fn media_types_are_parsed_leniently() {
        for (value, read) in [
            ("text/plain; charset=utf-8", "text/plain charset=utf-8"),
            ("TEXT/Html;\r\n\tCharset = \"utf-8\" (c)", "text/html charset=utf-8"),
            ("text/plain charset=utf-8", "text/plain charset=utf-8"),
            ("text/plain; charset=utf-8 format=flowed", "text/plain charset=utf-8 format=flowed"),
            ("text; charset=utf-8", "text/plain charset=utf-8"),
            ("text", "text/plain"),
            ("image", "text/plain charset=us-ascii"),
            ("", "text/plain charset=us-ascii"),
            ("multipart; boundary=b", "multipart/mixed boundary=b"),
            ("multipart/mixed", "text/plain charset=us-ascii"),
            ("multipart/mixed; boundary=\"\"", "text/plain charset=us-ascii"),
            ("multipart/mixed; boundary=a=b/c", "multipart/mixed boundary=a=b/c"),
            ("multipart/mixed; boundary=\r\n \"Q\"", "multipart/mixed boundary=Q"),
            ("multipart/mixed; boundary*0=a; boundary*1=\"b c\"", "multipart/mixed boundary=ab c"),
            ("application/x; name=my file (1).txt", "application/x name=my file .txt"),
            ("application/x;;; name=;x=1;", "application/x name= x=1"),
        ] {
            let header = format!("Content-Type: {value}\r\n\r\n");
            let ContentType { kind, subtype, parameters } =
                ContentType::of(&Header::read(header.as_bytes(), &ReadLimits::default()), false);
            let parameters = parameters.iter().flat_map(|(name, value)| [b" ", &name[..], b"=", value].concat());
            let shown: Vec<u8> = [&kind[..], b"/", &subtype].concat().into_iter().chain(parameters).collect();
            assert_eq!(String::from_utf8(shown).unwrap(), read, "{value}");
        }
    }

    fn count(part: &Part) -> usize {
        1 + match &part.kind {
            Kind::Leaf => 0,
            Kind::Multipart(parts) => parts.iter().map(count).sum(),
            Kind::Message(inner) => count(inner),
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let limits = ReadLimits::default();
        let mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let deep: String =
            (0..500).map(|n| format!("--b{n}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", n + 1)).collect();
        let tree = Tree::parse(b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n", deep.as_bytes(), &limits);
        let (mut depth, mut part) = (0, &tree.root);
        while let Kind::Multipart(parts) = &part.kind {
            (depth, part) = (depth + 1, &parts[0]);
        }
        assert_eq!(depth, limits.nesting);
        let wide = b"--b\r\n\r\n".repeat(2_400_000);
        let tree = Tree::parse(mixed, &wide, &limits);
        let Kind::Multipart(parts) = &tree.root.kind else { panic!() };
        assert_eq!(parts.len(), limits.parts + 1);
        let empty = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n".repeat(5000);
        let tree = Tree::parse(mixed, &empty, &limits);
        assert!(count(&tree.root) <= 1 + limits.parts + limits.nesting, "{} parts", count(&tree.root));
        let mail = b"--b\r\nContent-Type: message/rfc822\r\n\r\nTo: a@b\r\n\r\n".repeat(MAX_MESSAGES * 2);
        let tree = Tree::parse(mixed, &mail, &limits);
        let Kind::Multipart(parts) = &tree.root.kind else { panic!() };
        assert_eq!(parts.len(), MAX_MESSAGES * 2);
        assert_eq!(parts.iter().filter(|part| matches!(part.kind, Kind::Message(_))).count(), MAX_MESSAGES);
    }

    #[test]
    fn messages_within_messages_end_at_the_limit() {
        let limits = ReadLimits::default();
        for (header, inner) in [
            ("Content-Type: message/rfc822\r\n\r\n", "Content-Type: message/rfc822\r\n\r\n"),
            (
                "Content-Type: multipart/digest; boundary=b\r\n\r\n",
                "--b\r\n\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n",
            ),
        ] {
            let body = inner.repeat(600_000);
            let tree = Tree::parse(header.as_bytes(), body.as_bytes(), &limits);
            let (mut depth, mut part) = (0, &tree.root);
            loop {
                part = match &part.kind {
                    Kind::Leaf => break,
                    Kind::Multipart(parts) => &parts[0],
                    Kind::Message(inner) => inner,
                };
                depth += 1;
            }
            assert!(depth <= limits.nesting, "{depth}");
        }
    }
}
