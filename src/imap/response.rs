//! Responses that are said in many places.

use imap_codec::imap_types::core::{Tag, Text};
use imap_codec::imap_types::response::{
    Bye, Capability, Code, CodeOther, CommandContinuationRequest, Data, Response, Status, StatusBody, StatusKind,
    Tagged,
};
use std::borrow::Cow;

/// How a command ended: the tagged response less its tag.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    kind: StatusKind,
    code: Option<Code<'static>>,
    text: Cow<'static, str>,
}

impl Answer {
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

    /// What a refusal says, for the log.
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
pub(super) fn other(code: &'static str) -> Code<'static> {
    Code::Other(CodeOther::unvalidated(code.as_bytes()))
}

/// A human-readable text. What cannot stand in one becomes `?`.
pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Text<'static> {
    let text: String = text.into().chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    Text::try_from(text).unwrap_or_else(|_| Text::unvalidated("done"))
}

/// `* OK`
pub(super) fn untagged_ok(code: Option<Code<'static>>, words: &'static str) -> Response<'static> {
    Response::Status(Status::Untagged(StatusBody { kind: StatusKind::Ok, code, text: text(words) }))
}

/// `* BYE`
pub(super) fn bye(words: &'static str) -> Response<'static> {
    Response::Status(Status::Bye(Bye { code: None, text: text(words) }))
}

/// `+` with a text.
pub(super) fn go_on(words: &'static str) -> Response<'static> {
    match CommandContinuationRequest::basic(None, words) {
        Ok(request) => Response::CommandContinuationRequest(request),
        Err(_) => Response::CommandContinuationRequest(CommandContinuationRequest::base64(&b""[..])),
    }
}

/// `* CAPABILITY`
pub(super) fn capability(list: Vec<Capability<'static>>) -> Response<'static> {
    match list.try_into() {
        Ok(list) => Response::Data(Data::Capability(list)),
        Err(_) => untagged_ok(None, "no capabilities"),
    }
}

/// Where a session stands, for its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing but STARTTLS leads on.
    Plaintext,
    /// TLS, not logged in.
    NotAuthenticated,
    /// Logged in.
    User,
}

/// What is offered: only what works.
pub(super) fn capabilities(phase: Phase) -> Vec<Capability<'static>> {
    let names: &[&'static str] = match phase {
        Phase::Plaintext => &["IMAP4REV1", "LITERAL+", "ID", "STARTTLS", "LOGINDISABLED"],
        Phase::NotAuthenticated => &["IMAP4REV1", "LITERAL+", "SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN"],
        Phase::User => &[
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
