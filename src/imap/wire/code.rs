//! Response codes. RFC 9051 §7.1, RFC 5530; RFC 4315, RFC 4469, RFC 4978, RFC 5464, RFC 5465, RFC 7162, RFC 8474, RFC 9585,
//! RFC 9586.

use super::capability::{Phase, capabilities};
use super::writer::Writer;

/// A response code, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "those of extensions come into use with their commands")]
pub enum Code<'a> {
    Alert,
    AlreadyExists,
    AppendUid {
        uid_validity: u32,
        uids: Vec<u32>,
    },
    AuthenticationFailed,
    AuthorizationFailed,
    /// The charsets that SEARCH takes.
    BadCharset(&'static [&'static str]),
    /// The events that NOTIFY takes.
    BadEvent(&'static [&'static str]),
    /// The URL of a CATENATE that cannot be read.
    BadUrl(String),
    Cannot,
    Capability(Phase),
    ClientBug,
    Closed,
    CompressionActive,
    ContactAdmin,
    /// UIDs there and here, both ascending.
    CopyUid {
        uid_validity: u32,
        uids: Vec<(u32, u32)>,
    },
    Corruption,
    Expired,
    ExpungeIssued,
    HasChildren,
    HighestModSeq(u64),
    InProgress {
        tag: String,
        done: u64,
        goal: Option<u64>,
    },
    InUse,
    Limit,
    MailboxId(String),
    Metadata(MetadataCode),
    /// UIDs, or sequence numbers, ascending.
    Modified(Vec<u32>),
    NoModSeq,
    NonExistent,
    NoPerm,
    NotificationOverflow,
    OverQuota,
    Parse,
    /// With `\*` where keywords may be made.
    PermanentFlags(Vec<&'a str>),
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    TooBig,
    TryCreate,
    UidNext(u32),
    UidNotSticky,
    UidRequired,
    UidValidity(u32),
    Unavailable,
    UnknownCte,
    Unseen(u32),
    UseAttr,
}

/// RFC 5464 §4.2.1, §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "GETMETADATA and SETMETADATA are not offered yet"))]
pub enum MetadataCode {
    /// Octets of the longest value that was left out.
    LongEntries(u64),
    /// Octets that a value may have.
    MaxSize(u64),
    TooMany,
    NoPrivate,
}

impl Code<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid { .. } => "APPENDUID",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset(_) => "BADCHARSET",
            Self::BadEvent(_) => "BADEVENT",
            Self::BadUrl(_) => "BADURL",
            Self::Cannot => "CANNOT",
            Self::Capability(_) => "CAPABILITY",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::CompressionActive => "COMPRESSIONACTIVE",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid { .. } => "COPYUID",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::InProgress { .. } => "INPROGRESS",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::MailboxId(_) => "MAILBOXID",
            Self::Metadata(_) => "METADATA",
            Self::Modified(_) => "MODIFIED",
            Self::NoModSeq => "NOMODSEQ",
            Self::NonExistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::NotificationOverflow => "NOTIFICATIONOVERFLOW",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PermanentFlags(_) => "PERMANENTFLAGS",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidRequired => "UIDREQUIRED",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unavailable => "UNAVAILABLE",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::Unseen(_) => "UNSEEN",
            Self::UseAttr => "USEATTR",
        }
    }

    /// `[…] `
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.raw("[").raw(self.name());
        self.write_arguments(writer);
        writer.raw("] ");
    }

    fn write_arguments(&self, writer: &mut Writer<'_>) {
        match self {
            Self::AppendUid { uid_validity, uids } => {
                writer.raw(" ").number(*uid_validity).raw(" ").set(uids.iter().copied());
            }
            Self::CopyUid { uid_validity, uids } => {
                writer.raw(" ").number(*uid_validity);
                writer.raw(" ").set(uids.iter().map(|(from, _)| *from));
                writer.raw(" ").set(uids.iter().map(|(_, to)| *to));
            }
            Self::Modified(numbers) => {
                writer.raw(" ").set(numbers.iter().copied());
            }
            Self::BadCharset(names) | Self::BadEvent(names) => {
                writer.raw(" ").atoms(*names);
            }
            Self::PermanentFlags(flags) => {
                writer.raw(" ").atoms(flags);
            }
            Self::BadUrl(url) => {
                // RFC 4469 §5: text without `]`.
                let is_text = |c: char| matches!(c, ' '..='~') && c != ']';
                writer.raw(" ").raw(url.chars().map(|c| if is_text(c) { c } else { '?' }).collect::<String>());
            }
            Self::Capability(phase) => {
                writer.raw(" ").joined(capabilities(*phase), |writer, name| {
                    writer.raw(name);
                });
            }
            Self::HighestModSeq(modseq) => {
                writer.raw(" ").number(*modseq);
            }
            Self::UidNext(number) | Self::UidValidity(number) | Self::Unseen(number) => {
                writer.raw(" ").number(*number);
            }
            Self::MailboxId(id) => {
                writer.raw(" (").raw(id).raw(")");
            }
            Self::InProgress { tag, done, goal } => {
                // A `]` would end the code.
                let tag = Some(tag).filter(|tag| !tag.contains(']'));
                writer.raw(" (").nstring(tag).raw(" ").number(*done).raw(" ");
                match goal {
                    Some(goal) => writer.number(*goal),
                    None => writer.raw("NIL"),
                };
                writer.raw(")");
            }
            Self::Metadata(MetadataCode::LongEntries(octets)) => {
                writer.raw(" LONGENTRIES ").number(*octets);
            }
            Self::Metadata(MetadataCode::MaxSize(octets)) => {
                writer.raw(" MAXSIZE ").number(*octets);
            }
            Self::Metadata(MetadataCode::TooMany) => {
                writer.raw(" TOOMANY");
            }
            Self::Metadata(MetadataCode::NoPrivate) => {
                writer.raw(" NOPRIVATE");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::ResponseCodec;
    use imap_codec::decode::Decoder;
    use imap_codec::imap_types::response::{Response, Status};

    #[test]
    fn codes_are_as_in_their_rfcs() {
        let codes = [
            (Code::Alert, "ALERT"),
            (Code::AppendUid { uid_validity: 38505, uids: vec![3955] }, "APPENDUID 38505 3955"),
            (Code::AppendUid { uid_validity: 1, uids: vec![1, 2, 4] }, "APPENDUID 1 1:2,4"),
            (Code::BadCharset(&["UTF-8", "US-ASCII"]), "BADCHARSET (UTF-8 US-ASCII)"),
            (Code::BadEvent(&["MessageNew", "MessageExpunge"]), "BADEVENT (MessageNew MessageExpunge)"),
            (Code::BadUrl("/a;b]\r".into()), "BADURL /a;b??"),
            (Code::Closed, "CLOSED"),
            (
                Code::CopyUid { uid_validity: 38505, uids: vec![(304, 3956), (319, 3957), (320, 3958)] },
                "COPYUID 38505 304,319:320 3956:3958",
            ),
            (Code::HighestModSeq(715_194_045_007), "HIGHESTMODSEQ 715194045007"),
            (Code::InProgress { tag: "A001".into(), done: 454, goal: Some(1000) }, "INPROGRESS (\"A001\" 454 1000)"),
            (Code::InProgress { tag: "A001".into(), done: 454, goal: None }, "INPROGRESS (\"A001\" 454 NIL)"),
            (Code::InProgress { tag: "a]".into(), done: 0, goal: None }, "INPROGRESS (NIL 0 NIL)"),
            (
                Code::MailboxId("F2212ea87-6097-4256-9d51-71338625".into()),
                "MAILBOXID (F2212ea87-6097-4256-9d51-71338625)",
            ),
            (Code::Metadata(MetadataCode::LongEntries(2199)), "METADATA LONGENTRIES 2199"),
            (Code::Metadata(MetadataCode::MaxSize(1024)), "METADATA MAXSIZE 1024"),
            (Code::Metadata(MetadataCode::TooMany), "METADATA TOOMANY"),
            (Code::Metadata(MetadataCode::NoPrivate), "METADATA NOPRIVATE"),
            (Code::Modified(vec![7, 9]), "MODIFIED 7,9"),
            (Code::PermanentFlags(vec!["\\Deleted", "\\*"]), "PERMANENTFLAGS (\\Deleted \\*)"),
            (Code::UidNext(4392), "UIDNEXT 4392"),
            (Code::Unseen(12), "UNSEEN 12"),
            (Code::UnknownCte, "UNKNOWN-CTE"),
        ];
        for (code, expected) in codes {
            let mut output = b"* OK ".to_vec();
            code.write(&mut Writer::new(&mut output, false));
            output.extend_from_slice(b"text\r\n");
            assert_eq!(String::from_utf8_lossy(&output), format!("* OK [{expected}] text\r\n"));
            // As the codec reads it.
            let Ok(([], Response::Status(Status::Untagged(body)))) = ResponseCodec::new().decode(&output) else {
                panic!("{expected}")
            };
            assert!(body.code.is_some() && body.text.as_ref() == "text", "{body:?}");
        }
    }
}
