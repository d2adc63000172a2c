//! FETCH: RFC 3501 §6.4.5, RFC 9051 §6.4.5, BINARY (RFC 3516), CHANGEDSINCE and VANISHED (RFC 7162), PARTIAL (RFC 9394),
//! OBJECTID (RFC 8474), SAVEDATE (RFC 8514), PREVIEW (RFC 8970).

use super::super::frame::{Frame, Step};
use super::super::parser::{Mode, Parser, Read};
use super::super::values::{PartialRange, SequenceSet};
use std::num::NonZeroU32;

/// FETCH and UID FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub set: SequenceSet,
    /// As they were sent, macros replaced by what they stand for.
    pub items: Vec<Item>,
    pub modifiers: Modifiers,
    pub by_uid: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    pub changed_since: Option<u64>,
    /// With `changed_since` and by UID only.
    pub vanished: bool,
    /// By UID only.
    pub partial: Option<PartialRange>,
}

/// The number of a part, `1.2.3`; not empty.
pub type Path = Vec<NonZeroU32>;

/// The offset and the greatest length of a partial FETCH.
pub type Partial = (u32, NonZeroU32);

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Flags,
    Uid,
    InternalDate,
    Envelope,
    /// `BODY`, without a section.
    Body,
    BodyStructure,
    /// `BODY[…]`; with `peek`, it does not set `\Seen`.
    Section {
        section: Section,
        partial: Option<Partial>,
        peek: bool,
    },
    /// `BINARY[…]`: the part decoded. Without a path, the whole message.
    Binary {
        path: Option<Path>,
        partial: Option<Partial>,
        peek: bool,
    },
    /// `BINARY.SIZE[…]`
    BinarySize {
        path: Option<Path>,
    },
    /// With `peek`, as RFC 1730 had it and Outlook still asks for it, it does not set `\Seen`.
    Rfc822 {
        peek: bool,
    },
    Rfc822Header,
    Rfc822Size,
    Rfc822Text {
        peek: bool,
    },
    ModSeq,
    EmailId,
    ThreadId,
    SaveDate,
    /// With `lazy`, only where it costs little.
    Preview {
        lazy: bool,
    },
}

/// Which octets of a message. `None` for a path is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// All.
    Whole,
    /// The content of a part.
    Part(Path),
    Header(Option<Path>),
    /// Fields of these names.
    Fields(Option<Path>, Vec<Vec<u8>>),
    /// All other fields.
    FieldsNot(Option<Path>, Vec<Vec<u8>>),
    Text(Option<Path>),
    /// The header of a part.
    Mime(Path),
}

/// The arguments of FETCH.
pub fn fetch(parser: &mut Parser<'_>, by_uid: bool) -> Read<Fetch> {
    parser.space()?;
    let set = parser.sequence_set()?;
    parser.space()?;
    let items = items(parser)?;
    let mut modifiers = Modifiers::default();
    if !parser.is_at_end() {
        parser.space()?;
        parser.list(|parser| modifier(parser, &mut modifiers))?;
    }
    if modifiers.vanished && !(by_uid && modifiers.changed_since.is_some()) {
        return Err(parser.error("VANISHED needs UID FETCH with CHANGEDSINCE"));
    }
    if modifiers.partial.is_some() && !by_uid {
        return Err(parser.error("PARTIAL needs UID FETCH"));
    }
    Ok(Fetch { set, items, modifiers, by_uid })
}

fn modifier(parser: &mut Parser<'_>, modifiers: &mut Modifiers) -> Read<()> {
    let name = parser.name("a FETCH modifier")?;
    match name.as_str() {
        "CHANGEDSINCE" => {
            parser.space()?;
            modifiers.changed_since = Some(parser.number64("a mod-sequence")?);
        }
        "VANISHED" => modifiers.vanished = true,
        "PARTIAL" => {
            parser.space()?;
            modifiers.partial = Some(parser.partial_range()?);
        }
        _ => return Err(parser.unknown("FETCH modifier", name.as_bytes())),
    }
    Ok(())
}

/// A macro, an item, or a list of items.
fn items(parser: &mut Parser<'_>) -> Read<Vec<Item>> {
    use Item::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    if parser.peek() == Some(b'(') {
        return parser.list(item);
    }
    for (name, items) in [
        ("FAST", &[Flags, InternalDate, Rfc822Size][..]),
        ("ALL", &[Flags, InternalDate, Rfc822Size, Envelope]),
        ("FULL", &[Flags, InternalDate, Rfc822Size, Envelope, Body]),
    ] {
        if parser.eat_word(name) {
            return Ok(items.to_vec());
        }
    }
    Ok(vec![item(parser)?])
}

/// `fetch-att`
pub fn item(parser: &mut Parser<'_>) -> Read<Item> {
    // An atom, but it ends before a section.
    let is_name_char = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'.';
    let name = parser.one_or_more(is_name_char, "a FETCH item")?.to_ascii_uppercase();
    let has_section = parser.eat(b'[');
    let peek = name.ends_with(".PEEK");
    Ok(match name.as_str() {
        "BODY" | "BODY.PEEK" if has_section => {
            let section = section(parser)?;
            Item::Section { section, partial: partial(parser)?, peek }
        }
        "BINARY" | "BINARY.PEEK" if has_section => {
            let path = whole_or_path(parser)?;
            Item::Binary { path, partial: partial(parser)?, peek }
        }
        "BINARY.SIZE" if has_section => Item::BinarySize { path: whole_or_path(parser)? },
        "BODY.PEEK" | "BINARY" | "BINARY.PEEK" | "BINARY.SIZE" => return Err(parser.expected("\"[\"")),
        _ if has_section => return Err(parser.unknown("FETCH item", format!("{name}[").as_bytes())),
        "BODY" => Item::Body,
        "FLAGS" => Item::Flags,
        "UID" => Item::Uid,
        "INTERNALDATE" => Item::InternalDate,
        "ENVELOPE" => Item::Envelope,
        "BODYSTRUCTURE" => Item::BodyStructure,
        "RFC822" | "RFC822.PEEK" => Item::Rfc822 { peek },
        "RFC822.HEADER" => Item::Rfc822Header,
        "RFC822.SIZE" => Item::Rfc822Size,
        "RFC822.TEXT" | "RFC822.TEXT.PEEK" => Item::Rfc822Text { peek },
        "MODSEQ" => Item::ModSeq,
        "EMAILID" => Item::EmailId,
        "THREADID" => Item::ThreadId,
        "SAVEDATE" => Item::SaveDate,
        "PREVIEW" => Item::Preview { lazy: is_lazy(parser)? },
        _ => return Err(parser.unknown("FETCH item", name.as_bytes())),
    })
}

/// The modifiers of PREVIEW, of which LAZY is the only one.
fn is_lazy(parser: &mut Parser<'_>) -> Read<bool> {
    // Another list has the modifiers of FETCH.
    let is_lazy = parser.starts_with(b" (LAZY)");
    if is_lazy {
        parser.space()?;
        parser.list(|parser| parser.name("LAZY"))?;
    }
    Ok(is_lazy)
}

/// `<offset.length>`
fn partial(parser: &mut Parser<'_>) -> Read<Option<Partial>> {
    if !parser.eat(b'<') {
        return Ok(None);
    }
    let offset = parser.number("an offset")?;
    parser.octet(b'.')?;
    let length = parser.nz_number("a length")?;
    parser.octet(b'>')?;
    Ok(Some((offset, length)))
}

/// The path of BINARY, up to `]`.
fn whole_or_path(parser: &mut Parser<'_>) -> Read<Option<Path>> {
    if parser.eat(b']') {
        return Ok(None);
    }
    let (path, name_follows) = path(parser)?;
    if name_follows {
        return Err(parser.expected("a part number"));
    }
    parser.octet(b']')?;
    Ok(Some(path))
}

/// A path, and whether it ends with a dot.
fn path(parser: &mut Parser<'_>) -> Read<(Path, bool)> {
    let mut path = vec![parser.nz_number("a part number")?];
    while parser.eat(b'.') {
        if !parser.peek().is_some_and(|octet| octet.is_ascii_digit()) {
            return Ok((path, true));
        }
        path.push(parser.nz_number("a part number")?);
    }
    Ok((path, false))
}

/// `section`, behind its `[`.
fn section(parser: &mut Parser<'_>) -> Read<Section> {
    if parser.eat(b']') {
        return Ok(Section::Whole);
    }
    let mut of_part = None;
    if parser.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        let (path, name_follows) = path(parser)?;
        if !name_follows {
            parser.octet(b']')?;
            return Ok(Section::Part(path));
        }
        of_part = Some(path);
    }
    let name = parser.name("a section")?;
    let section = match (name.as_str(), of_part) {
        ("HEADER", of_part) => Section::Header(of_part),
        ("HEADER.FIELDS", of_part) => Section::Fields(of_part, field_names(parser)?),
        ("HEADER.FIELDS.NOT", of_part) => Section::FieldsNot(of_part, field_names(parser)?),
        ("TEXT", of_part) => Section::Text(of_part),
        ("MIME", Some(path)) => Section::Mime(path),
        _ => return Err(parser.unknown("section", name.as_bytes())),
    };
    parser.octet(b']')?;
    Ok(section)
}

/// A section by itself, as in URLs (RFC 5092 §6); `None` if it is none.
pub fn section_named(name: &[u8]) -> Option<Section> {
    let line = [name, b"]\r\n"].concat();
    let mut frame = Frame::new(line.len());
    if frame.take(&line) != (line.len(), Step::Complete) {
        return None;
    }
    let mut parser = Parser::new(&frame, Mode::default());
    let section = section(&mut parser).ok()?;
    parser.is_at_end().then_some(section)
}

fn field_names(parser: &mut Parser<'_>) -> Read<Vec<Vec<u8>>> {
    parser.space()?;
    parser.list(|parser| parser.astring("a field name").map(|name| name.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    fn of(text: &str, by_uid: bool) -> Result<Fetch, String> {
        read(text, false, |parser| fetch(parser, by_uid)).map_err(|error| error.to_string())
    }

    fn items_of(text: &str) -> Vec<Item> {
        of(&format!(" 1:* {text}"), false).unwrap().items
    }

    fn path(numbers: &[u32]) -> Path {
        numbers.iter().filter_map(|number| NonZeroU32::new(*number)).collect()
    }

    #[test]
    fn items_are_read() {
        use Item as I;
        assert_eq!(items_of("fast"), [I::Flags, I::InternalDate, I::Rfc822Size]);
        assert_eq!(items_of("ALL").len(), 4);
        assert_eq!(items_of("FULL").len(), 5);
        assert_eq!(items_of("(UID MODSEQ EMAILID THREADID SAVEDATE)").len(), 5);
        assert_eq!(items_of("(BODY BODYSTRUCTURE ENVELOPE)"), [I::Body, I::BodyStructure, I::Envelope]);
        assert_eq!(items_of("(RFC822 RFC822.TEXT RFC822.HEADER RFC822.SIZE)").len(), 4);
        let peeks = [true, false].map(|peek| [I::Rfc822 { peek }, I::Rfc822Text { peek }]).concat();
        assert_eq!(items_of("(RFC822.PEEK rfc822.text.peek RFC822 RFC822.TEXT)"), peeks);
        let preview = |lazy| I::Preview { lazy };
        assert_eq!(items_of("(PREVIEW (LAZY) UID)"), [preview(true), I::Uid]);
        assert_eq!(items_of("(UID PREVIEW)"), [I::Uid, preview(false)]);
        assert_eq!(items_of("PREVIEW"), [preview(false)]);
        assert_eq!(items_of("PREVIEW (lazy)"), [preview(true)]);
        let size = NonZeroU32::new(512).unwrap();
        let binary = I::Binary { path: Some(path(&[1, 2])), partial: Some((0, size)), peek: true };
        assert_eq!(items_of("(binary.peek[1.2]<0.512>)"), [binary]);
        assert_eq!(items_of("BINARY.SIZE[4]"), [I::BinarySize { path: Some(path(&[4])) }]);
        assert_eq!(items_of("BINARY[]"), [I::Binary { path: None, partial: None, peek: false }]);
    }

    #[test]
    fn sections_are_read() {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        for (text, expected) in [
            ("", Section::Whole),
            ("1.2", Section::Part(path(&[1, 2]))),
            ("header", Section::Header(None)),
            ("3.HEADER", Section::Header(Some(path(&[3])))),
            ("HEADER.FIELDS (Date {4}\r\nFrom \"to\")", Section::Fields(None, names(&["Date", "From", "to"]))),
            ("4.2.HEADER.FIELDS.NOT (x])", Section::FieldsNot(Some(path(&[4, 2])), names(&["x]"]))),
            ("TEXT", Section::Text(None)),
            ("1.TEXT", Section::Text(Some(path(&[1])))),
            ("1.MIME", Section::Mime(path(&[1]))),
        ] {
            let section = Item::Section { section: expected, partial: None, peek: true };
            assert_eq!(items_of(&format!("BODY.PEEK[{text}]")), [section], "{text}");
        }
    }

    #[test]
    fn modifiers_are_read() {
        let modifiers = |text, by_uid| of(text, by_uid).unwrap().modifiers;
        let expected = Modifiers { changed_since: Some(12345), vanished: true, partial: None };
        assert_eq!(modifiers(" 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)", true), expected);
        assert!(modifiers(" 1 FLAGS (PARTIAL -1:-30)", true).partial.is_some());
        // The modifiers of FETCH do not belong to PREVIEW.
        assert_eq!(modifiers(" 1 PREVIEW (CHANGEDSINCE 5)", false).changed_since, Some(5));
        assert_eq!(modifiers(" 1 PREVIEW (LAZY) (CHANGEDSINCE 5)", false).changed_since, Some(5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "expected a space at octet 1"),
            (" 1", "expected a space after 1"),
            (" 1 ", "expected a FETCH item after 1"),
            (" 1 (FLAGS FOO)", "unknown FETCH item \"FOO\""),
            (" 1 (FLAGS", "expected a space or \")\" after FLAGS"),
            (" 1 (FLAGS )", "expected a FETCH item after FLAGS"),
            (" 1 (ALL)", "unknown FETCH item \"ALL\""),
            (" 1 BODY[FOO]", "unknown section \"FOO\""),
            (" 1 BODY[MIME]", "unknown section \"MIME\""),
            (" 1 BODY[1.]", "expected a section after BODY[1."),
            (" 1 BODY[0]", "expected a part number that is not 0 after BODY["),
            (" 1 BODY[]<0.0>", "expected a length that is not 0 after BODY[]<0."),
            (" 1 BODY[HEADER.FIELDS ()]", "expected a field name at octet 24"),
            (" 1 BODY.PEEK", "expected \"[\" after BODY.PEEK"),
            (" 1 FLAGS[1]", "unknown FETCH item \"FLAGS[\""),
            (" 1 BINARY[1.MIME]", "expected a part number after BINARY[1."),
            (" 1 FLAGS (FOO 1)", "unknown FETCH modifier \"FOO\""),
            (" 1 FLAGS (CHANGEDSINCE)", "expected a space after CHANGEDSINCE"),
            (" 1 FLAGS (CHANGEDSINCE 1 VANISHED)", "VANISHED needs UID FETCH with CHANGEDSINCE"),
            (" 1 FLAGS (PARTIAL 1:2)", "PARTIAL needs UID FETCH"),
            (" 1 FLAGS x", "expected \"(\" after FLAGS"),
            (" x FLAGS", "expected a message number at octet 2"),
        ] {
            assert_eq!(of(text, false), Err(expected.to_owned()), "{text}");
        }
    }
}
