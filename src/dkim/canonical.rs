//! The signed parts of a message in canonical form. Invariant: every implementation of RFC 6376 hashes the same
//! octets. Where verifiers in use disagree on `relaxed`, the body is signed as `simple`, on which they agree. RFC 6376
//! §3.4 (canonical forms), §5.4.2 (several fields of one name), §8.15 (fields added later).

/// Oversigned, that is signed once more than present: adding such a field breaks the signature.
const OVERSIGNED: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Signed as often as present: relays and lists may add their own.
const SIGNED: &[&str] = &["Content-Disposition", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Autocrypt"];

/// A header field: its name, and everything after the colon with the line end.
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The names for `h=`, and the signed fields in canonical form, in that order.
pub(super) fn fields(header: &[u8]) -> (Vec<&'static str>, Vec<u8>) {
    let present = parse(header);
    let (mut names, mut canonical) = (Vec::new(), Vec::new());
    let kinds = OVERSIGNED.iter().map(|name| (*name, true)).chain(SIGNED.iter().map(|name| (*name, false)));
    for (name, oversign) in kinds {
        // From the last field up, as in §5.4.2.
        for field in present.iter().rev().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())) {
            names.push(name);
            relaxed_field(name.as_bytes(), field.value, &mut canonical);
            canonical.extend_from_slice(b"\r\n");
        }
        if oversign {
            names.push(name);
        }
    }
    (names, canonical)
}

pub(super) fn parse(header: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut rest = header;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(end_of_field(rest));
        rest = after;
        if let Some(colon) = field.iter().position(|b| *b == b':')
            && let (name, [_, value @ ..]) = field.split_at(colon)
        {
            fields.push(Field { name: name.trim_ascii_end(), value });
        }
    }
    fields
}

/// The end of the first field: after a line break not followed by white space.
fn end_of_field(text: &[u8]) -> usize {
    let mut end = 0;
    while let Some(found) = text.get(end..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        end += found + 1;
        if !matches!(text.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    text.len()
}

/// §3.4.2, without the line break at the end.
pub(super) fn relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut space = false;
    for byte in value {
        match byte {
            b' ' | b'\t' => space = true,
            b'\r' | b'\n' => {}
            _ => {
                if space && out.len() > start {
                    out.push(b' ');
                }
                space = false;
                out.push(*byte);
            }
        }
    }
}

/// The canonicalization of a body, as named in `c=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// §3.4.3: unchanged, except for empty lines at the end.
    Simple,
    /// §3.4.4: also ignores white space at line ends and reduces it within lines.
    Relaxed,
}

impl BodyForm {
    /// `relaxed`, unless the last line is only white space, which verifiers treat differently.
    pub(super) fn of(body: &[u8]) -> Self {
        let body = without_empty_lines_at_end(body);
        let last_line =
            body.iter().rposition(|b| *b == b'\n').map_or(body, |at| body.get(at + 1..).unwrap_or_default());
        let blank = !last_line.is_empty() && last_line.iter().all(|b| matches!(b, b' ' | b'\t'));
        if blank { Self::Simple } else { Self::Relaxed }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }

    /// Passes the canonical body to `hash` in pieces.
    pub(super) fn feed(self, body: &[u8], mut hash: impl FnMut(&[u8])) {
        let body = without_empty_lines_at_end(body);
        match self {
            Self::Simple => {
                hash(body);
                hash(b"\r\n");
            }
            // An empty body is no line here, and one line in `simple`.
            Self::Relaxed if body.is_empty() => {}
            Self::Relaxed => {
                let mut line = Vec::with_capacity(1000);
                for text in body.split(|b| *b == b'\n') {
                    line.clear();
                    relaxed_line(text, &mut line);
                    line.extend_from_slice(b"\r\n");
                    hash(&line);
                }
            }
        }
    }
}

fn without_empty_lines_at_end(mut body: &[u8]) -> &[u8] {
    while let Some(shorter) = body.strip_suffix(b"\r\n") {
        body = shorter;
    }
    body
}

fn relaxed_line(text: &[u8], line: &mut Vec<u8>) {
    let mut space = false;
    for byte in text.strip_suffix(b"\r").unwrap_or(text) {
        if matches!(byte, b' ' | b'\t') {
            space = true;
            continue;
        }
        if space {
            line.push(b' ');
            space = false;
        }
        line.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(form: BodyForm, text: &str) -> String {
        let mut out = Vec::new();
        form.feed(text.as_bytes(), |piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_6376() {
        // §3.4.5, and the empty bodies of §3.4.3 and §3.4.4.
        let example = " C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(body(BodyForm::Relaxed, example), " C\r\nD E\r\n");
        assert_eq!(body(BodyForm::Simple, example), " C \r\nD \t E\r\n");
        for empty in ["", "\r\n", "\r\n\r\n"] {
            assert_eq!(body(BodyForm::Relaxed, empty), "");
            assert_eq!(body(BodyForm::Simple, empty), "\r\n");
        }
        assert_eq!(body(BodyForm::Relaxed, "no line end"), "no line end\r\n");
    }

    #[test]
    fn a_last_line_of_white_space_is_signed_as_simple() {
        for (text, form) in [
            ("", BodyForm::Relaxed),
            ("a\r\n", BodyForm::Relaxed),
            ("a \r\n\r\n", BodyForm::Relaxed),
            ("a\r\n \r\nb", BodyForm::Relaxed),
            (" \r\n", BodyForm::Simple),
            ("a\r\n\t \r\n\r\n", BodyForm::Simple),
        ] {
            assert_eq!(BodyForm::of(text.as_bytes()), form, "{text:?}");
        }
    }

    #[test]
    fn fields_are_taken_from_the_bottom_and_once_more() {
        let header = b"To: a\r\nX-Other: 1\r\nto :  b\r\n\t c \r\nSubject:\r\n\r\n";
        let (names, canonical) = fields(header);
        assert_eq!(names.iter().filter(|n| **n == "To").count(), 3);
        assert_eq!(names.iter().filter(|n| **n == "Subject").count(), 2);
        assert_eq!(names.iter().filter(|n| **n == "From").count(), 1);
        assert!(!names.contains(&"List-Id"));
        assert_eq!(String::from_utf8(canonical).unwrap(), "to:b c\r\nto:a\r\nsubject:\r\n");
    }
}
