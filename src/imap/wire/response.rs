//! Status responses: OK, NO, BAD and BYE, and the texts of replies. RFC 9051 §7.1.

use super::Refusal;
use super::code::Code;
use super::writer::Writer;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ok,
    No,
    Bad,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

/// The tagged response to a command, without its tag.
#[derive(Clone, Debug)]
pub struct Reply {
    kind: Kind,
    code: Option<Code<'static>>,
    text: Cow<'static, str>,
}

impl Reply {
    fn new(kind: Kind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, code: None, text: text.into() }
    }

    /// OK, of a command whose data responses say it all.
    pub fn completed() -> Self {
        Self::ok("completed")
    }

    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Ok, text)
    }

    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::No, text)
    }

    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Bad, text)
    }

    /// With a response code.
    pub fn code(self, code: Code<'static>) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn is_ok(&self) -> bool {
        self.kind == Kind::Ok
    }

    /// OK without a response code.
    pub fn is_plain_ok(&self) -> bool {
        self.is_ok() && self.code.is_none()
    }

    pub fn is_bad(&self) -> bool {
        self.kind == Kind::Bad
    }

    /// A NO or BAD, for the log.
    pub fn refusal(&self) -> Option<String> {
        (self.kind != Kind::Ok).then(|| format!("{} {}", self.kind.name(), self.text))
    }

    /// The response; untagged where no tag could be read.
    pub fn write(&self, tag: Option<&str>, writer: &mut Writer<'_>) {
        writer.raw(tag.unwrap_or("*")).raw(" ");
        status(writer, self.kind.name(), self.code.as_ref(), &self.text);
    }
}

fn status(writer: &mut Writer<'_>, kind: &str, code: Option<&Code<'_>>, text: &str) {
    writer.raw(kind).raw(" ");
    if let Some(code) = code {
        code.write(writer);
    }
    push_text(writer, text);
    writer.end();
}

/// A text for people. Characters not allowed there become `?`.
fn push_text(writer: &mut Writer<'_>, text: &str) {
    // The grammar wants one character at least.
    let text = if text.is_empty() { "-" } else { text };
    writer.raw(text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect::<String>());
}

impl Writer<'_> {
    /// `* OK`
    pub fn untagged_ok(&mut self, code: Option<&Code<'_>>, text: &str) {
        self.raw("* ");
        status(self, "OK", code, text);
    }

    /// `* BYE`
    pub fn bye(&mut self, text: &str) {
        self.raw("* ");
        status(self, "BYE", None, text);
    }
}

/// The budget of memory or disk is used up.
pub const NO_STORAGE: &str = "insufficient storage, try again later";

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::CommandTooLong => Self::bad("command too long").code(Code::TooBig),
            Refusal::MessageTooLong => Self::no("message size exceeds limit").code(Code::TooBig),
            Refusal::TooManyMessages => {
                Self::no("too many messages, the limit is 100 in one command").code(Code::Limit)
            }
            Refusal::NoRoom => Self::no(NO_STORAGE).code(Code::Unavailable),
            Refusal::BareLineFeed => Self::bad("lines must end with CRLF, not a bare LF"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::ResponseCodec;
    use imap_codec::decode::Decoder;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut output = Vec::new();
        write(&mut Writer::new(&mut output, false));
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn replies_have_tag_kind_code_and_text() {
        let reply = Reply::no("grün\r\n* BYE").code(Code::Cannot);
        assert_eq!(written(|writer| reply.write(Some("a1"), writer)), "a1 NO [CANNOT] gr?n??* BYE\r\n");
        assert_eq!(written(|writer| Reply::bad("").write(None, writer)), "* BAD -\r\n");
        assert_eq!(written(|writer| writer.untagged_ok(Some(&Code::Unseen(3)), "x")), "* OK [UNSEEN 3] x\r\n");
        assert_eq!(written(|writer| writer.bye("logging out")), "* BYE logging out\r\n");
    }

    proptest! {
        #[test]
        fn every_text_is_one_response(text in "\\PC{0,20}[\r\n\0]?\\PC{0,9}") {
            // It would be a response code.
            prop_assume!(!text.starts_with('['));
            let written = written(|writer| Reply::ok(text.clone()).write(Some("a"), writer));
            let read = ResponseCodec::new().decode(written.as_bytes());
            prop_assert!(matches!(read, Ok(([], _))), "{written:?}");
        }
    }
}
