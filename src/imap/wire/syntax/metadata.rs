//! GETMETADATA and SETMETADATA: RFC 5464.

use super::super::parser::{Parser, Read};
use super::super::values::Mailbox;

/// GETMETADATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMetadata {
    /// An empty name for the server's own.
    pub mailbox: Mailbox,
    /// Not empty.
    pub entries: Vec<Vec<u8>>,
    /// Values of more octets are left out.
    pub max_size: Option<u32>,
    pub depth: Depth,
}

/// How many levels below an entry are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    #[default]
    Zero,
    One,
    Infinity,
}

/// SETMETADATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMetadata {
    pub mailbox: Mailbox,
    /// Entries and their values, without one to remove it. Not empty.
    pub entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The arguments of GETMETADATA. The options come before the mailbox, or behind it as in the examples of the RFC.
pub fn get_metadata(parser: &mut Parser<'_>) -> Read<GetMetadata> {
    let (mut max_size, mut depth) = (None, Depth::default());
    let mut options = |parser: &mut Parser<'_>| {
        parser.list(|parser| {
            let name = parser.name("a GETMETADATA option")?;
            parser.space()?;
            match name.as_str() {
                "MAXSIZE" => max_size = Some(parser.number("a number of octets")?),
                "DEPTH" => depth = self::depth(parser)?,
                _ => return Err(parser.unknown("GETMETADATA option", name.as_bytes())),
            }
            Ok(())
        })
    };
    parser.space()?;
    let has_options = parser.peek() == Some(b'(');
    if has_options {
        options(parser)?;
        parser.space()?;
    }
    let mailbox = parser.mailbox()?;
    parser.space()?;
    if !has_options && (parser.starts_with(b"(MAXSIZE ") || parser.starts_with(b"(DEPTH ")) {
        options(parser)?;
        parser.space()?;
    }
    Ok(GetMetadata { mailbox, entries: entries(parser)?, max_size, depth })
}

fn depth(parser: &mut Parser<'_>) -> Read<Depth> {
    let name = parser.name("0, 1 or infinity")?;
    Ok(match name.as_str() {
        "0" => Depth::Zero,
        "1" => Depth::One,
        "INFINITY" => Depth::Infinity,
        _ => return Err(parser.unknown("DEPTH", name.as_bytes())),
    })
}

/// The name of one entry, or of several in parentheses.
pub fn entries(parser: &mut Parser<'_>) -> Read<Vec<Vec<u8>>> {
    match parser.peek() {
        Some(b'(') => parser.list(entry),
        _ => Ok(vec![entry(parser)?]),
    }
}

fn entry(parser: &mut Parser<'_>) -> Read<Vec<u8>> {
    parser.astring("the name of an entry").map(|name| name.into_owned())
}

/// The arguments of SETMETADATA.
pub fn set_metadata(parser: &mut Parser<'_>) -> Read<SetMetadata> {
    let mailbox = parser.space_and_mailbox()?;
    parser.space()?;
    let entries = parser.list(|parser| {
        let entry = entry(parser)?;
        parser.space()?;
        let value = match parser.peek() {
            Some(b'~') => Some(parser.literal8("a value")?.to_vec()),
            _ => parser.nstring("a value")?.map(|value| value.into_owned()),
        };
        Ok((entry, value))
    })?;
    Ok(SetMetadata { mailbox, entries })
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    #[test]
    fn requests_for_metadata_are_read() {
        let of = |text| read(text, false, get_metadata).map_err(|error| error.to_string());
        let one = of(" \"\" /shared/comment").unwrap();
        assert_eq!((one.mailbox.0.len(), one.entries.len(), one.max_size, one.depth), (0, 1, None, Depth::Zero));
        for text in [
            " (MAXSIZE 1024 DEPTH infinity) INBOX (/shared/comment /private/x)",
            " INBOX (MAXSIZE 1024 DEPTH infinity) (/shared/comment /private/x)",
        ] {
            let many = of(text).unwrap();
            assert_eq!((many.entries.len(), many.max_size, many.depth), (2, Some(1024), Depth::Infinity), "{text}");
        }
        for (text, expected) in [
            (" (FOO 1) x y", "unknown GETMETADATA option \"FOO\""),
            (" (DEPTH 2) x y", "unknown DEPTH \"2\""),
            (" x", "expected a space after x"),
            (" x ()", "expected the name of an entry at octet 5"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn changes_of_metadata_are_read() {
        let of = |text| read(text, false, set_metadata).map_err(|error| error.to_string());
        let many = of(" INBOX (/private/comment \"x\" /shared/y NIL /shared/z ~{2}\r\n\0a /shared/0 {0}\r\n)").unwrap();
        let values: Vec<_> = many.entries.iter().map(|(_, value)| value.as_deref()).collect();
        assert_eq!(values, [Some(&b"x"[..]), None, Some(b"\0a"), Some(b"")]);
        assert_eq!(of(" INBOX (/x y)"), Err("expected a value after /x".to_owned()));
        assert_eq!(of(" INBOX (/x)"), Err("expected a space after /x".to_owned()));
    }
}
