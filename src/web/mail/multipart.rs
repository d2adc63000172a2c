//! `multipart/form-data` (RFC 7578), as browsers send it. Invariant: every octet is looked at once; a body that does not end is refused.

use crate::message::parameters::parameterized;
use crate::web::form::Fields;
use memchr::memmem;
use std::ops::Range;

/// Parts of a form: fields and files.
const MOST: usize = 1000;
/// Characters of a file name that are kept.
const NAME: usize = 120;

/// What a form has.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) fields: Vec<(String, String)>,
    pub(super) files: Vec<File>,
}

/// A file of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) content_type: String,
    /// Where its octets are in the body.
    pub(super) at: Range<usize>,
}

impl Parts {
    pub(super) fn into_fields(self) -> (Fields, Vec<File>) {
        (Fields::new(self.fields), self.files)
    }
}

/// The boundary of a content type, if it is `multipart/form-data`.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = parameterized(content_type.as_bytes());
    let boundary = parameters.into_iter().find(|(name, _)| name == b"boundary").map(|(_, value)| value)?;
    let is_form =
        kind.iter().map(Vec::as_slice).eq([&b"multipart"[..], b"form-data"]) && (1..=70).contains(&boundary.len());
    String::from_utf8(boundary).ok().filter(|_| is_form)
}

/// Takes a body apart. `None` if it is malformed, or has too many parts.
pub(super) fn parse(body: &[u8], boundary: &str) -> Option<Parts> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter has no line before it.
    let first = delimiter.as_bytes().get(2..)?;
    let mut at = memmem::find(body, first)?.checked_add(first.len())?;
    let mut parts = Parts::default();
    for _ in 0..MOST {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let start = at.checked_add(memmem::find(rest, b"\r\n")?)?.checked_add(2)?;
        let end = start.checked_add(finder.find(body.get(start..)?)?)?;
        part(body, start..end, &mut parts)?;
        at = end.checked_add(delimiter.len())?;
    }
    None
}

fn part(body: &[u8], at: Range<usize>, parts: &mut Parts) -> Option<()> {
    let part = body.get(at.clone())?;
    let (head, content) = match memmem::find(part, b"\r\n\r\n") {
        Some(end) => (part.get(..end)?, end.checked_add(4)?),
        None => return None,
    };
    let head = String::from_utf8_lossy(head);
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.find(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let (_, parameters) = parameterized(field("content-disposition")?.as_bytes());
    let parameter = |name: &str| {
        let found = parameters.iter().find(|(own, _)| own == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).replace("%22", "\""))
    };
    let (name, content) = (parameter("name")?, at.start.checked_add(content)?..at.end);
    match parameter("filename") {
        // A field for files in which none is chosen.
        Some(file) if file.is_empty() && content.is_empty() => {}
        Some(file) => {
            let file: String = file.chars().filter(|c| !c.is_control()).take(NAME).collect();
            let name = if file.trim().is_empty() { "attachment".to_owned() } else { file };
            parts.files.push(File { name, content_type: media_type(field("content-type")), at: content });
        }
        None => parts.fields.push((name, String::from_utf8_lossy(body.get(content)?).into_owned())),
    }
    Some(())
}

/// The browser's type of a file, where a single part can have it.
fn media_type(given: Option<&str>) -> String {
    let given = given.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let is_simple = given.split_once('/').is_some_and(|(kind, subtype)| {
        is_word(kind) && is_word(subtype) && !["multipart", "message"].contains(&kind) && given.len() <= 100
    });
    if is_simple { given } else { "application/octet-stream".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_and_files_are_taken_apart() {
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nann@a.test\r\n--xyz\r\n\
            Content-Disposition: form-data; name=\"files\"; filename=\"a %22b%22.txt\"\r\nContent-Type: text/plain\r\n\r\none\r\n--xy\r\n\r\n--xyz\r\n\
            Content-Disposition: form-data; name=\"files\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--xyz--\r\n";
        let parts = parse(body.as_bytes(), "xyz").unwrap();
        assert_eq!(parts.fields, [("to".to_owned(), "ann@a.test".to_owned())]);
        let [file] = &parts.files[..] else { panic!("{parts:?}") };
        assert_eq!((file.name.as_str(), file.content_type.as_str()), ("a \"b\".txt", "text/plain"));
        assert_eq!(&body[file.at.clone()], "one\r\n--xy\r\n");
    }

    #[test]
    fn a_body_without_an_end_is_refused() {
        for body in [
            "",
            "--xyz",
            "--xyz\r\n",
            "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx",
            "x--xyz\r\n\r\n--xyz--",
        ] {
            assert!(parse(body.as_bytes(), "xyz").is_none(), "{body:?}");
        }
        let many = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n".repeat(MOST + 1) + "--x--";
        assert!(parse(many.as_bytes(), "x").is_none());
    }

    #[test]
    fn the_boundary_is_that_of_a_form() {
        assert_eq!(boundary("multipart/form-data; boundary=----WebKit1"), Some("----WebKit1".to_owned()));
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), Some("a b".to_owned()));
        for other in [
            "multipart/mixed; boundary=x",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(boundary(other), None, "{other}");
        }
    }

    #[test]
    fn a_type_that_a_part_cannot_have_is_binary() {
        for (given, wanted) in [
            (Some("image/png"), "image/png"),
            (Some("Text/Plain; charset=x"), "text/plain"),
            (Some("multipart/mixed"), "application/octet-stream"),
            (Some("message/rfc822"), "application/octet-stream"),
            (Some("a/b\"c"), "application/octet-stream"),
            (None, "application/octet-stream"),
        ] {
            assert_eq!(media_type(given), wanted, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_much(pieces in prop::collection::vec(prop::sample::select(vec![
            "--x", "\r\n", "--", "Content-Disposition: form-data; name=a", "; filename=b", "\r\n\r\n", "x", "\"", "\r\n--x", "\0",
        ]), 0..40)) {
            let body = pieces.concat();
            if let Some(parts) = parse(body.as_bytes(), "x") {
                for file in parts.files {
                    prop_assert!(file.at.end <= body.len());
                }
            }
        }
    }
}
