//! APPEND and REPLACE: RFC 9051 §6.3.12, RFC 3502 (MULTIAPPEND), RFC 4469 (CATENATE), RFC 3516 §4.4 (BINARY), RFC 6855 §4
//! (UTF8), RFC 8508 (REPLACE).

use super::super::parser::{Parser, Read};
use super::super::values::{Flag, Mailbox, MessageNumber};
use jiff::Timestamp;

/// APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub mailbox: Mailbox,
    /// Not empty.
    pub messages: Vec<NewMessage>,
}

/// REPLACE and UID REPLACE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replace {
    pub replaced: MessageNumber,
    pub mailbox: Mailbox,
    pub message: NewMessage,
    pub by_uid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub flags: Vec<Flag>,
    pub date: Option<Timestamp>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Literal(Spooled),
    /// `UTF8 (~{n}`
    Utf8(Spooled),
    /// Not empty.
    Catenated(Vec<Piece>),
}

/// A piece of a message that is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Url(Vec<u8>),
    Text(Spooled),
}

/// A literal that was spooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its index among the literals of the command that were spooled.
    pub index: usize,
    /// `~{n}`
    pub is_binary: bool,
}

/// The arguments of APPEND.
pub fn append(parser: &mut Parser<'_>) -> Read<Append> {
    let mailbox = parser.space_and_mailbox()?;
    let mut messages = vec![new_message(parser)?];
    while !parser.is_at_end() {
        messages.push(new_message(parser)?);
    }
    Ok(Append { mailbox, messages })
}

/// The arguments of REPLACE.
pub fn replace(parser: &mut Parser<'_>, by_uid: bool) -> Read<Replace> {
    parser.space()?;
    let replaced = parser.message_number()?;
    let mailbox = parser.space_and_mailbox()?;
    Ok(Replace { replaced, mailbox, message: new_message(parser)?, by_uid })
}

/// `append-message`, with the space before it.
fn new_message(parser: &mut Parser<'_>) -> Read<NewMessage> {
    parser.space()?;
    let (mut flags, mut date) = (Vec::new(), None);
    if parser.peek() == Some(b'(') {
        flags = parser.list_or_empty(|parser| parser.flag())?;
        parser.space()?;
    }
    if parser.peek() == Some(b'"') {
        date = Some(parser.date_time()?);
        parser.space()?;
    }
    Ok(NewMessage { flags, date, content: content(parser)? })
}

fn content(parser: &mut Parser<'_>) -> Read<Content> {
    if parser.eat_word("UTF8") {
        parser.space()?;
        parser.octet(b'(')?;
        let spooled = spooled(parser)?;
        parser.octet(b')')?;
        return Ok(Content::Utf8(spooled));
    }
    if parser.eat_word("CATENATE") {
        parser.space()?;
        return parser.list(piece).map(Content::Catenated);
    }
    spooled(parser).map(Content::Literal)
}

fn piece(parser: &mut Parser<'_>) -> Read<Piece> {
    let name = parser.name("URL or TEXT")?;
    match name.as_str() {
        "URL" => {
            parser.space()?;
            parser.astring("a URL").map(|url| Piece::Url(url.into_owned()))
        }
        "TEXT" => {
            parser.space()?;
            spooled(parser).map(Piece::Text)
        }
        _ => Err(parser.unknown("piece of CATENATE", name.as_bytes())),
    }
}

fn spooled(parser: &mut Parser<'_>) -> Read<Spooled> {
    parser.message().map(|(index, is_binary)| Spooled { index, is_binary })
}

#[cfg(test)]
mod tests {
    use super::super::super::frame::Frame;
    use super::super::super::parser::{Mode, Parser};
    use super::*;

    /// Reads the arguments behind a name; what is framed is the whole command.
    fn read<T>(command: &str, reader: impl Fn(&mut Parser<'_>) -> Read<T>) -> Result<T, String> {
        let frame = Frame::of(format!("a {command}\r\n").as_bytes()).unwrap();
        let mut parser = Parser::new(&frame, Mode::default());
        parser.atom("a tag").unwrap();
        while !(parser.eat_word("APPEND") || parser.eat_word("REPLACE")) {
            let _uid = parser.eat(b' ') && parser.eat_word("UID");
        }
        let done = reader(&mut parser).and_then(|value| parser.end().map(|()| value));
        done.map_err(|error| error.to_string())
    }

    fn literal(index: usize) -> Content {
        Content::Literal(Spooled { index, is_binary: false })
    }

    #[test]
    fn messages_are_read_in_order() {
        let one = read("APPEND saved-messages (\\Seen) {3}\r\nabc", append).unwrap();
        assert_eq!((one.mailbox.0.as_slice(), &one.messages[0].flags[..]), (&b"saved-messages"[..], &[Flag::Seen][..]));
        assert_eq!(one.messages[0].content, literal(0));
        let text = "APPEND {1}\r\nx (\\Seen) \" 7-Feb-1994 22:43:04 -0800\" {3+}\r\nabc {1}\r\n) () ~{2}\r\n\0\0";
        let many = read(text, append).unwrap();
        assert_eq!(many.messages.len(), 3);
        assert!(many.messages[0].date.is_some() && many.messages[1].content == literal(1));
        assert_eq!(many.messages[2].content, Content::Literal(Spooled { index: 2, is_binary: true }));
        let text = "APPEND Drafts (\\Draft) CATENATE (URL \"/Drafts;UIDVALIDITY=385759045/;UID=20\" TEXT {42}\r\n\
                    \r\n--------------030308070208000400050907\r\n URL {1}\r\nx)";
        let Content::Catenated(pieces) = &read(text, append).unwrap().messages[0].content.clone() else { panic!() };
        assert!(
            matches!(&pieces[..], [Piece::Url(_), Piece::Text(Spooled { index: 0, .. }), Piece::Url(url)] if url == b"x")
        );
        let utf8 = read("APPEND x UTF8 (~{2}\r\nab)", append).unwrap();
        assert_eq!(utf8.messages[0].content, Content::Utf8(Spooled { index: 0, is_binary: true }));
    }

    #[test]
    fn replacements_are_read() {
        let done = read("REPLACE 4 Drafts (\\Seen \\Draft) {3+}\r\nabc", |parser| replace(parser, false)).unwrap();
        assert_eq!(done.message.flags.len(), 2);
        let done = read("UID REPLACE * \"Sent Items\" ~{1}\r\nx", |parser| replace(parser, true)).unwrap();
        assert_eq!((done.replaced, done.by_uid), (MessageNumber::Last, true));
        assert!(read("REPLACE 4 Drafts {1}\r\na {1}\r\nb", |parser| replace(parser, false)).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("APPEND", "expected a space after APPEND"),
            ("APPEND x", "expected a space after x"),
            ("APPEND x abc", "expected a literal after x"),
            ("APPEND x \"abc\"", "expected 2 digits at octet 13"),
            ("APPEND {1}\r\nx", "expected a space at octet 16"),
            ("APPEND x CATENATE (FOO {1}\r\nx)", "unknown piece of CATENATE \"FOO\""),
            ("APPEND x CATENATE ()", "expected URL or TEXT at octet 22"),
            ("APPEND x {1}\r\na ", "expected a literal at octet 18"),
        ] {
            assert_eq!(read(text, append), Err(expected.to_owned()), "{text}");
        }
    }
}
