//! Header blocks as octets: where each field begins and ends, and where the header ends. Invariant: [`Fields`] parses
//! strictly, so that a lenient reader finds no additional field: a name is printable ASCII without spaces at the start
//! of a line, followed by a colon (white space before it is obsolete but accepted). The first line that is neither a
//! field nor a continuation ends the header, as in Postfix: it and everything after it is body. RFC 5322 §2.2
//! (fields), §2.2.3 (folding), §4.5 (white space before the colon).

#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// The whole field with folded lines; the last field may lack its line end.
    pub raw: &'a [u8],
    pub name: &'a [u8],
    /// Everything after the colon, with line ends.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// True if the field has this name, ignoring case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header block in order.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first line, skipping an mbox envelope line (`From ann@x Tue Nov 24 …`), which old scripts leave
    /// in messages.
    pub fn new(block: &'a [u8]) -> Self {
        let mut fields = Self { rest: block };
        let unquoted = block.strip_prefix(b">").unwrap_or(block);
        if unquoted.starts_with(b"From ") && fields.clone().next().is_none() {
            fields.rest = block.get(line_length(block)..).unwrap_or_default();
        }
        fields
    }

    /// What follows the last field: the empty line, a line that is not a field, or nothing.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let block = self.rest;
        let name_end = block.iter().take_while(|b| matches!(b, b'!'..=b'9' | b';'..=b'~')).count();
        let (name, after) = block.split_at_checked(name_end).filter(|(name, _)| !name.is_empty())?;
        let blanks = after.iter().take_while(|b| is_blank(**b)).count();
        let colon = name_end + blanks;
        if block.get(colon) != Some(&b':') {
            return None;
        }
        let mut end = colon + 1;
        loop {
            end += block.get(end..).map_or(0, line_length);
            // A line that begins with white space continues the field.
            if !block.get(end).is_some_and(|b| is_blank(*b)) {
                break;
            }
        }
        let (raw, rest) = block.split_at_checked(end)?;
        self.rest = rest;
        Some(Field { raw, name, value: raw.get(colon + 1..).unwrap_or_default() })
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// The length of the first line with its end. A bare CR or LF also ends a line, since some readers accept it; the
/// servers already refuse both.
fn line_length(block: &[u8]) -> usize {
    match block.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        None => block.len(),
        Some(at) => at + line_end_length(block.get(at..).unwrap_or_default()),
    }
}

/// The length of the line end at the start of the block: 0, 1 or 2.
fn line_end_length(block: &[u8]) -> usize {
    match block {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

pub(super) fn after_line(block: &[u8]) -> &[u8] {
    block.get(line_length(block)..).unwrap_or_default()
}

/// True at the empty line or at the end of the block.
pub(super) fn ends_header(block: &[u8]) -> bool {
    block.is_empty() || line_end_length(block) > 0
}

/// The block without a leading empty line.
pub(super) fn after_empty_line(block: &[u8]) -> &[u8] {
    block.get(line_end_length(block)..).unwrap_or_default()
}

/// Splits a message after the empty line that ends its header. Without one, the whole message is header;
/// [`outgoing`](super::outgoing) adds the empty line. A line that is neither a field nor a continuation also ends the
/// header and begins the body: the parts joined are always the message.
pub fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut fields = Fields::new(raw);
    fields.by_ref().for_each(drop);
    let body = after_empty_line(fields.rest());
    raw.split_at_checked(raw.len() - body.len()).unwrap_or((raw, b""))
}

/// The line end that the body lacks, if any.
pub fn missing_line_end(body: &[u8]) -> &'static [u8] {
    match body {
        [] | [.., b'\r', b'\n'] => b"",
        [.., b'\r'] => b"\n",
        _ => b"\r\n",
    }
}

/// The error text for a message with NUL octets, which IMAP could not transfer (RFC 3501 §4.3).
pub const NUL_REFUSED: &str = "the message contains NUL octets, which no mail may (RFC 5322 §4)";

/// RFC 5322 §4 forbids NUL.
pub fn has_nul(raw: &[u8]) -> bool {
    memchr::memchr(0, raw).is_some()
}

/// The number of Received fields (RFC 5321 §6.3).
pub fn hop_count(header: &[u8]) -> usize {
    Fields::new(header).filter(|field| field.is("Received")).count()
}

/// Writes a field unchanged, except that a bare CR or LF, or a missing line end, becomes CRLF.
pub(super) fn write_field(out: &mut Vec<u8>, raw: &[u8]) {
    let mut rest = raw;
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(line_length(rest)).unwrap_or((rest, b""));
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(block: &[u8]) -> Vec<String> {
        Fields::new(block).map(|f| String::from_utf8_lossy(f.name).into_owned()).collect()
    }

    #[test]
    fn fields_end_where_no_continuation_follows() {
        let block = b"A: 1\r\n 2\r\n\t3\r\nB :x\r\nC:\r\n \r\n\r\nD: body\r\n";
        let fields: Vec<_> = Fields::new(block).collect();
        assert_eq!(names(block), ["A", "B", "C"]);
        assert_eq!(fields[0].raw, b"A: 1\r\n 2\r\n\t3\r\n");
        assert_eq!(fields[0].value, b" 1\r\n 2\r\n\t3\r\n");
        assert_eq!(fields[1].value, b"x\r\n");
        assert_eq!(split(block), (&block[..29], &b"D: body\r\n"[..]));
    }

    #[test]
    fn the_first_line_that_is_not_a_field_begins_the_body() {
        for junk in [
            "no colon\r\nFrom: x\r\n\r\n",
            "two words: x\r\nFrom: x\r\n\r\n",
            ":From: x\r\n",
            "\u{c}From: x\r\n",
            "Fr\0om: x\r\n",
            "\u{feff}From: x\r\n",
        ] {
            let message = format!("A: 1\r\n{junk}");
            assert_eq!(names(message.as_bytes()), ["A"], "{junk:?}");
            assert_eq!(split(message.as_bytes()), (&b"A: 1\r\n"[..], junk.as_bytes()));
        }
        assert!(names(b" From: x\r\n").is_empty());
    }

    #[test]
    fn a_message_may_lack_anything() {
        assert_eq!(split(b""), (&b""[..], &b""[..]));
        assert_eq!(split(b"\r\nbody"), (&b"\r\n"[..], &b"body"[..]));
        assert_eq!(split(b"A: 1"), (&b"A: 1"[..], &b""[..]));
        assert_eq!(split(b"A: 1\r\n"), (&b"A: 1\r\n"[..], &b""[..]));
        assert_eq!(split(b"body only\r\n"), (&b""[..], &b"body only\r\n"[..]));
    }

    #[test]
    fn an_mbox_envelope_line_is_skipped() {
        let message = b"From ann@x.org Tue Nov 24 05:31:07 2026\r\nSubject: hi\r\n\r\nbody";
        assert_eq!(names(message), ["Subject"]);
        assert_eq!(split(message).1, b"body");
        assert_eq!(names(b"From : ann@x.org\r\n"), ["From"]);
    }

    #[test]
    fn bare_cr_or_lf_ends_a_line_and_is_written_as_crlf() {
        let block = b"A: 1\rFrom: x\nB: 2\r\n";
        assert_eq!(names(block), ["A", "From", "B"]);
        let mut out = Vec::new();
        Fields::new(block).for_each(|f| write_field(&mut out, f.raw));
        assert_eq!(out, b"A: 1\r\nFrom: x\r\nB: 2\r\n");
    }

    #[test]
    fn hops_are_received_fields() {
        assert_eq!(hop_count(b"Received: a\r\n b\r\nX-Received: c\r\nRECEIVED : d\r\n\r\nReceived: body\r\n"), 2);
    }

    #[test]
    fn a_missing_final_line_end_is_added() {
        for (body, end) in [("", ""), ("a\r\n", ""), ("a", "\r\n"), ("a\r", "\n"), ("\n", "\r\n")] {
            assert_eq!(missing_line_end(body.as_bytes()), end.as_bytes(), "{body:?}");
        }
    }
}
