//! Status responses, capabilities, and the texts of replies.

use super::Refusal;
use imap_codec::imap_types::core::{Tag, Text};
use imap_codec::imap_types::response::{
    Bye, Capability, Code, CodeOther, Data, Response, Status, StatusBody, StatusKind, Tagged,
};
use std::borrow::Cow;

/// The tagged response to a command, without its tag.
#[derive(Clone, Debug)]
pub struct Reply {
    kind: StatusKind,
    code: Option<Code<'static>>,
    text: Cow<'static, str>,
}

impl Reply {
    /// OK, of a command whose data responses say it all.
    pub fn completed() -> Self {
        Self::ok("completed")
    }

    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: StatusKind::Ok, code: None, text: text.into() }
    }

    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: StatusKind::No, code: None, text: text.into() }
    }

    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: StatusKind::Bad, code: None, text: text.into() }
    }

    /// With a response code.
    pub fn code(self, code: Code<'static>) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn is_bad(&self) -> bool {
        self.kind == StatusKind::Bad
    }

    /// A NO or BAD, for the log.
    pub fn refusal(&self) -> Option<String> {
        let kind = match self.kind {
            StatusKind::Ok => return None,
            StatusKind::No => "NO",
            StatusKind::Bad => "BAD",
        };
        Some(format!("{kind} {}", self.text))
    }

    /// The response; untagged where no tag could be read.
    pub fn tagged(self, tag: Option<Tag<'_>>) -> Response<'_> {
        let body = StatusBody { kind: self.kind, code: self.code, text: text(self.text) };
        Response::Status(match tag {
            Some(tag) => Status::Tagged(Tagged { tag, body }),
            None => Status::Untagged(body),
        })
    }
}

/// A response code that the codec has no name for (RFC 5530).
pub fn other(code: &'static str) -> Code<'static> {
    Code::Other(CodeOther::unvalidated(code.as_bytes()))
}

/// A human-readable text. Characters not allowed there become `?`.
fn text(text: impl Into<Cow<'static, str>>) -> Text<'static> {
    let text: String = text.into().chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    Text::try_from(text).unwrap_or_else(|_| Text::unvalidated("completed"))
}

/// `* OK`
pub fn untagged_ok(code: Option<Code<'static>>, text: &'static str) -> Response<'static> {
    Response::Status(Status::Untagged(StatusBody { kind: StatusKind::Ok, code, text: self::text(text) }))
}

/// `* BYE`
pub fn bye(text: impl Into<Cow<'static, str>>) -> Response<'static> {
    Response::Status(Status::Bye(Bye { code: None, text: self::text(text) }))
}

/// `* CAPABILITY`
pub fn capability(list: Vec<Capability<'static>>) -> Response<'static> {
    match list.try_into() {
        Ok(list) => Response::Data(Data::Capability(list)),
        Err(_) => untagged_ok(None, "no capabilities"),
    }
}

/// The state of a session that determines its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before TLS: no log-in.
    Plaintext,
    /// TLS, not logged in.
    NotAuthenticated,
    Authenticated,
}

pub fn capabilities(phase: Phase) -> Vec<Capability<'static>> {
    let names: &[&'static str] = match phase {
        Phase::Plaintext => &["IMAP4REV1", "LITERAL+", "ID", "STARTTLS", "LOGINDISABLED"],
        Phase::NotAuthenticated => &["IMAP4REV1", "LITERAL+", "SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN"],
        Phase::Authenticated => &[
            "IMAP4REV1",
            "LITERAL+",
            "ID",
            "IDLE",
            "NAMESPACE",
            "CHILDREN",
            "SPECIAL-USE",
            "UNSELECT",
            "UIDPLUS",
            "MOVE",
        ],
    };
    names.iter().filter_map(|name| Capability::try_from(*name).ok()).collect()
}

/// ID (RFC 2971): the name only, no version.
pub fn id() -> Response<'static> {
    let pair = |name: &'static str, value: &'static str| Some((name.try_into().ok()?, value.try_into().ok()?));
    Response::Data(Data::Id { parameters: pair("name", "Inboxlayer").map(|pair| vec![pair]) })
}

/// The reply to a command that cannot be parsed.
pub const SYNTAX_ERROR: &str = "syntax error or unknown command";

/// The budget of memory or disk is used up.
pub const NO_STORAGE: &str = "insufficient storage, try again later";

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::CommandTooLong => Self::bad("command too long").code(Code::TooBig),
            Refusal::MessageTooLong => Self::no("message size exceeds limit").code(Code::TooBig),
            Refusal::NoRoom => Self::no(NO_STORAGE).code(other("UNAVAILABLE")),
            Refusal::BareLineFeed => Self::bad("lines must end with CRLF, not a bare LF"),
        }
    }
}
