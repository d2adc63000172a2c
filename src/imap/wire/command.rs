//! The commands: which there are, who parses each, and where each is allowed.
//!
//! imap-codec parses LOGIN, AUTHENTICATE and ID; all others are parsed in [`super::syntax`].

use super::frame::{Frame, Tag};
use super::parser::{Mode, Parser, Read, SyntaxError};
use super::syntax::append::{self, Append, Replace};
use super::syntax::fetch::{self, Fetch};
use super::syntax::list::{self, Create, List};
use super::syntax::metadata::{self, GetMetadata, SetMetadata};
use super::syntax::notify::{self, Notify};
use super::syntax::quota::{self, SetQuota};
use super::syntax::search::{self, MultiSearch, Search, Sort, Thread};
use super::syntax::select::{self, Select, Status};
use super::syntax::store::{self, Store};
use super::values::{Mailbox, SequenceSet};
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::auth::AuthMechanism;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::secret::Secret;
use std::borrow::Cow;

/// A command.
#[derive(Debug)]
pub struct Command {
    pub tag: Tag,
    /// What holds for each command of this name.
    pub row: &'static Row,
    pub body: Body,
}

/// Why octets are no command that is run.
#[derive(Debug)]
pub struct Unreadable {
    /// `None`: it could not be read.
    pub tag: Option<Tag>,
    pub error: SyntaxError,
}

/// A command's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Capability,
    Noop,
    Logout,
    /// Its parameters are not used.
    Id,

    StartTls,
    Login {
        user: AString<'static>,
        password: Secret<AString<'static>>,
    },
    Authenticate {
        mechanism: AuthMechanism<'static>,
        initial: Option<Secret<Cow<'static, [u8]>>>,
    },

    /// Capabilities, in capitals.
    Enable(Vec<String>),
    Select(Select),
    Create(Create),
    Delete(Mailbox),
    Rename {
        from: Mailbox,
        to: Mailbox,
    },
    Subscribe(Mailbox),
    Unsubscribe(Mailbox),
    List(List),
    Lsub {
        reference: Mailbox,
        pattern: Vec<u8>,
    },
    Namespace,
    Status(Status),
    Append(Append),
    Idle,
    GetQuota {
        root: Vec<u8>,
    },
    GetQuotaRoot(Mailbox),
    SetQuota(SetQuota),
    GetMetadata(GetMetadata),
    SetMetadata(SetMetadata),
    Notify(Notify),
    MultiSearch(MultiSearch),
    /// The algorithm, in capitals.
    Compress(String),

    Check,
    Close,
    Unselect,
    /// With UIDs for UID EXPUNGE.
    Expunge(Option<SequenceSet>),
    Search(Search),
    Sort(Sort),
    Thread(Thread),
    Fetch(Fetch),
    Store(Store),
    Copy(Transfer),
    Move(Transfer),
    Replace(Replace),
}

/// COPY, MOVE, and both by UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub set: SequenceSet,
    pub mailbox: Mailbox,
    pub by_uid: bool,
}

/// When a command is allowed (RFC 9051 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// What holds for each command of a name.
#[derive(Debug)]
pub struct Row {
    /// In capitals, with `UID ` before it where that is part of it.
    pub name: &'static str,
    pub state: State,
    /// It needs the permission to change messages.
    pub changes: bool,
    /// It names messages by sequence number.
    pub by_sequence: bool,
    /// EXPUNGE responses may be sent with its own (RFC 9051 §7.5.1).
    pub may_expunge: bool,
    /// Its result depends on which messages are in the selected mailbox.
    pub reads_messages: bool,
    parse: Parse,
}

#[derive(Clone, Copy, Debug)]
enum Parse {
    Codec,
    Ours(fn(&mut Parser<'_>) -> Read<Body>),
}

impl Row {
    const fn new(name: &'static str, state: State, parse: Parse) -> Self {
        Self { name, state, changes: false, by_sequence: false, may_expunge: true, reads_messages: false, parse }
    }

    const fn ours(name: &'static str, state: State, parse: fn(&mut Parser<'_>) -> Read<Body>) -> Self {
        Self::new(name, state, Parse::Ours(parse))
    }

    const fn changes(self) -> Self {
        Self { changes: true, ..self }
    }

    const fn reads_messages(self) -> Self {
        Self { reads_messages: true, ..self }
    }

    const fn by_sequence(self) -> Self {
        Self { by_sequence: true, ..self }
    }

    const fn no_expunge(self) -> Self {
        Self { may_expunge: false, ..self }
    }
}

use State::{Any, Authenticated, NotAuthenticated, Selected};

/// All commands.
pub const COMMANDS: &[Row] = &[
    Row::ours("CAPABILITY", Any, |_| Ok(Body::Capability)),
    Row::ours("NOOP", Any, |_| Ok(Body::Noop)),
    Row::ours("LOGOUT", Any, |_| Ok(Body::Logout)),
    Row::new("ID", Any, Parse::Codec),
    Row::ours("STARTTLS", NotAuthenticated, |_| Ok(Body::StartTls)),
    Row::new("LOGIN", NotAuthenticated, Parse::Codec),
    Row::new("AUTHENTICATE", NotAuthenticated, Parse::Codec),
    Row::ours("ENABLE", Authenticated, enable),
    Row::ours("SELECT", Authenticated, |p| select::select(p, false).map(Body::Select)),
    Row::ours("EXAMINE", Authenticated, |p| select::select(p, true).map(Body::Select)),
    Row::ours("CREATE", Authenticated, |p| list::create(p).map(Body::Create)).changes(),
    Row::ours("DELETE", Authenticated, |p| p.space_and_mailbox().map(Body::Delete)).changes(),
    Row::ours("RENAME", Authenticated, rename).changes(),
    Row::ours("SUBSCRIBE", Authenticated, |p| p.space_and_mailbox().map(Body::Subscribe)).changes(),
    Row::ours("UNSUBSCRIBE", Authenticated, |p| p.space_and_mailbox().map(Body::Unsubscribe)).changes(),
    Row::ours("LIST", Authenticated, |p| list::list(p).map(Body::List)),
    Row::ours("LSUB", Authenticated, |p| list::lsub(p).map(|(reference, pattern)| Body::Lsub { reference, pattern })),
    Row::ours("NAMESPACE", Authenticated, |_| Ok(Body::Namespace)),
    Row::ours("STATUS", Authenticated, |p| select::status(p).map(Body::Status)),
    Row::ours("APPEND", Authenticated, |p| append::append(p).map(Body::Append)).changes(),
    Row::ours("IDLE", Authenticated, |_| Ok(Body::Idle)),
    Row::ours("GETQUOTA", Authenticated, |p| quota::root(p).map(|root| Body::GetQuota { root })),
    Row::ours("GETQUOTAROOT", Authenticated, |p| p.space_and_mailbox().map(Body::GetQuotaRoot)),
    Row::ours("SETQUOTA", Authenticated, |p| quota::set_quota(p).map(Body::SetQuota)).changes(),
    Row::ours("GETMETADATA", Authenticated, |p| metadata::get_metadata(p).map(Body::GetMetadata)),
    Row::ours("SETMETADATA", Authenticated, |p| metadata::set_metadata(p).map(Body::SetMetadata)).changes(),
    Row::ours("NOTIFY", Authenticated, |p| notify::notify(p).map(Body::Notify)),
    Row::ours("ESEARCH", Authenticated, |p| search::multi_search(p).map(Body::MultiSearch)).no_expunge(),
    Row::ours("COMPRESS", Authenticated, compress),
    Row::ours("CHECK", Selected, |_| Ok(Body::Check)),
    Row::ours("CLOSE", Selected, |_| Ok(Body::Close)),
    Row::ours("UNSELECT", Selected, |_| Ok(Body::Unselect)),
    Row::ours("EXPUNGE", Selected, |_| Ok(Body::Expunge(None))).changes(),
    Row::ours("UID EXPUNGE", Selected, uid_expunge).changes(),
    Row::ours("SEARCH", Selected, |p| search::search(p, false).map(Body::Search))
        .reads_messages()
        .no_expunge()
        .by_sequence(),
    Row::ours("UID SEARCH", Selected, |p| search::search(p, true).map(Body::Search)).reads_messages(),
    Row::ours("SORT", Selected, |p| search::sort(p, false).map(Body::Sort)).reads_messages().no_expunge().by_sequence(),
    Row::ours("UID SORT", Selected, |p| search::sort(p, true).map(Body::Sort)).reads_messages(),
    Row::ours("THREAD", Selected, |p| search::thread(p, false).map(Body::Thread))
        .reads_messages()
        .no_expunge()
        .by_sequence(),
    Row::ours("UID THREAD", Selected, |p| search::thread(p, true).map(Body::Thread)).reads_messages(),
    Row::ours("FETCH", Selected, |p| fetch::fetch(p, false).map(Body::Fetch))
        .reads_messages()
        .no_expunge()
        .by_sequence(),
    Row::ours("UID FETCH", Selected, |p| fetch::fetch(p, true).map(Body::Fetch)).reads_messages(),
    Row::ours("STORE", Selected, |p| store::store(p, false).map(Body::Store))
        .changes()
        .reads_messages()
        .no_expunge()
        .by_sequence(),
    Row::ours("UID STORE", Selected, |p| store::store(p, true).map(Body::Store)).changes().reads_messages(),
    Row::ours("COPY", Selected, |p| transfer(p, false).map(Body::Copy)).changes().reads_messages().by_sequence(),
    Row::ours("UID COPY", Selected, |p| transfer(p, true).map(Body::Copy)).changes().reads_messages(),
    Row::ours("MOVE", Selected, |p| transfer(p, false).map(Body::Move)).changes().reads_messages().by_sequence(),
    Row::ours("UID MOVE", Selected, |p| transfer(p, true).map(Body::Move)).changes().reads_messages(),
    Row::ours("REPLACE", Selected, |p| append::replace(p, false).map(Body::Replace))
        .changes()
        .reads_messages()
        .by_sequence(),
    Row::ours("UID REPLACE", Selected, |p| append::replace(p, true).map(Body::Replace)).changes().reads_messages(),
];

/// The command of a complete frame. Of commands that the state does not allow, arguments are not read.
pub fn read(frame: &Frame, mode: Mode) -> Result<Command, Unreadable> {
    let Some(tag) = frame.tag() else {
        let error = Parser::new(frame, mode).expected("a tag");
        return Err(Unreadable { tag: None, error });
    };
    match row_and_body(frame, &tag, mode) {
        Ok((row, body)) => Ok(Command { tag, row, body }),
        Err(error) => Err(Unreadable { tag: Some(tag), error }),
    }
}

fn row_and_body(frame: &Frame, tag: &Tag, mode: Mode) -> Read<(&'static Row, Body)> {
    let mut parser = Parser::new(frame, mode);
    parser.skip(tag.as_str().len());
    parser.space()?;
    let is_by_uid = parser.eat_word("UID");
    if is_by_uid {
        parser.space()?;
    }
    let name = parser.name("a command")?;
    let name = if is_by_uid { format!("UID {name}") } else { name };
    let Some(row) = COMMANDS.iter().find(|row| row.name == name) else {
        return Err(parser.unknown("command", name.as_bytes()));
    };
    match row.state {
        NotAuthenticated if mode.is_authenticated => return Err(parser.error("already authenticated")),
        Authenticated | Selected if !mode.is_authenticated => {
            return Err(parser.error("not authenticated, log in first"));
        }
        _ => {}
    }
    match row.parse {
        Parse::Ours(parse) => {
            let body = parse(&mut parser)?;
            parser.end()?;
            Ok((row, body))
        }
        Parse::Codec => {
            let command = CommandCodec::new().decode(frame.octets()).ok().filter(|(rest, _)| rest.is_empty());
            let body = command.and_then(|(_, command)| body_of(command.body.into_static()));
            body.map(|body| (row, body)).ok_or_else(|| parser.error(format!("syntax error in {name}")))
        }
    }
}

/// The commands that the codec parses.
fn body_of(body: CommandBody<'static>) -> Option<Body> {
    Some(match body {
        CommandBody::Id { .. } => Body::Id,
        CommandBody::Login { username, password } => Body::Login { user: username, password },
        CommandBody::Authenticate { mechanism, initial_response } => {
            Body::Authenticate { mechanism, initial: initial_response }
        }
        _ => return None,
    })
}

fn enable(parser: &mut Parser<'_>) -> Read<Body> {
    let mut names = Vec::new();
    while names.is_empty() || !parser.is_at_end() {
        parser.space()?;
        names.push(parser.name("a capability")?);
    }
    Ok(Body::Enable(names))
}

fn compress(parser: &mut Parser<'_>) -> Read<Body> {
    parser.space()?;
    parser.name("an algorithm").map(Body::Compress)
}

fn rename(parser: &mut Parser<'_>) -> Read<Body> {
    Ok(Body::Rename { from: parser.space_and_mailbox()?, to: parser.space_and_mailbox()? })
}

fn uid_expunge(parser: &mut Parser<'_>) -> Read<Body> {
    parser.space()?;
    parser.sequence_set().map(|set| Body::Expunge(Some(set)))
}

fn transfer(parser: &mut Parser<'_>, by_uid: bool) -> Read<Transfer> {
    parser.space()?;
    let set = parser.sequence_set()?;
    Ok(Transfer { set, mailbox: parser.space_and_mailbox()?, by_uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const LOGGED_IN: Mode = Mode { is_authenticated: true, utf8: false };

    fn of(line: &str, mode: Mode) -> Result<Command, String> {
        read(&Frame::of(format!("{line}\r\n").as_bytes()).unwrap(), mode)
            .map_err(|unreadable| unreadable.error.to_string())
    }

    #[test]
    fn each_command_has_one_row_and_is_parsed() {
        let names: HashSet<_> = COMMANDS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        for (line, mode) in [
            ("a CAPABILITY", Mode::default()),
            ("a ID NIL", Mode::default()),
            ("a starttls", Mode::default()),
            ("a login {1}\r\nx \"y\"", Mode::default()),
            ("a AUTHENTICATE PLAIN AGEAYg==", Mode::default()),
            ("a AUTHENTICATE XOAUTH2", Mode::default()),
            ("a ID (\"name\" \"x\")", LOGGED_IN),
            ("a ENABLE CONDSTORE X-GOOD-IDEA", LOGGED_IN),
            ("a DELETE blurdybloop", LOGGED_IN),
            ("a RENAME blurdybloop \"sar asoon\"", LOGGED_IN),
            ("a SUBSCRIBE #news.comp.mail.mime", LOGGED_IN),
            ("a NAMESPACE", LOGGED_IN),
            ("a GETQUOTA \"\"", LOGGED_IN),
            ("a GETQUOTAROOT INBOX", LOGGED_IN),
            ("a COMPRESS DEFLATE", LOGGED_IN),
            ("a UID EXPUNGE 3000:3002", LOGGED_IN),
            ("a copy 2:4 MEETING", LOGGED_IN),
            ("a UID MOVE 42:69 foo", LOGGED_IN),
        ] {
            let command = of(line, mode).unwrap();
            assert_eq!(command.tag.as_str(), "a", "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("", "expected a tag at octet 1"),
            ("* NOOP", "expected a tag at octet 1"),
            ("a+b NOOP", "expected a tag at octet 1"),
            ("a", "expected a space after a"),
            ("a ", "expected a command after a"),
            ("a FOO", "unknown command \"FOO\""),
            ("a UID", "expected a space after UID"),
            ("a UID NOOP", "unknown command \"UID NOOP\""),
            ("a NOOP ", "expected the end of the command after NOOP"),
            ("a NOOP x", "expected the end of the command after NOOP"),
            ("a LOGIN x y", "already authenticated"),
            ("a ENABLE", "expected a space after ENABLE"),
            ("a RENAME x", "expected a space after x"),
            ("a ID x", "syntax error in ID"),
        ] {
            assert_eq!(of(line, LOGGED_IN).map(|command| command.body), Err(expected.to_owned()), "{line}");
        }
        assert_eq!(of("a SELECT (", Mode::default()).unwrap_err(), "not authenticated, log in first");
        assert_eq!(of("a LOGIN x", Mode::default()).unwrap_err(), "syntax error in LOGIN");
    }
}
