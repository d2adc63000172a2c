//! SELECT, EXAMINE, STATUS: RFC 9051 §6.3.2, §6.3.3, §6.3.11; RFC 7162 (CONDSTORE, QRESYNC), RFC 8438 (STATUS=SIZE), RFC 7889
//! (APPENDLIMIT), RFC 8474 (MAILBOXID), RFC 9208 (DELETED-STORAGE).

use super::super::parser::{Parser, Read};
use super::super::values::{Mailbox, NumberRanges};
use std::num::NonZeroU32;

/// SELECT and EXAMINE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    pub mailbox: Mailbox,
    /// EXAMINE.
    pub read_only: bool,
    pub condstore: bool,
    pub qresync: Option<QResync>,
}

/// What a client knows of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    pub uid_validity: NonZeroU32,
    pub mod_sequence: u64,
    /// All that there were, if it does not say.
    pub known_uids: Option<NumberRanges>,
    /// Sequence numbers, and the UIDs that they had.
    pub matches: Option<(NumberRanges, NumberRanges)>,
}

/// STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub mailbox: Mailbox,
    pub items: Vec<StatusItem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
    AppendLimit,
    MailboxId,
    DeletedStorage,
}

/// The arguments of SELECT or EXAMINE.
pub fn select(parser: &mut Parser<'_>, read_only: bool) -> Read<Select> {
    let mut select = Select { mailbox: parser.space_and_mailbox()?, read_only, condstore: false, qresync: None };
    if !parser.is_at_end() {
        parser.space()?;
        parser.list(|parser| parameter(parser, &mut select))?;
    }
    Ok(select)
}

fn parameter(parser: &mut Parser<'_>, select: &mut Select) -> Read<()> {
    let name = parser.name("a parameter")?;
    match name.as_str() {
        "CONDSTORE" => select.condstore = true,
        "QRESYNC" => {
            parser.space()?;
            select.qresync = Some(qresync(parser)?);
        }
        _ => return Err(parser.unknown("parameter of SELECT", name.as_bytes())),
    }
    Ok(())
}

fn qresync(parser: &mut Parser<'_>) -> Read<QResync> {
    parser.octet(b'(')?;
    let uid_validity = parser.nz_number("a UIDVALIDITY")?;
    parser.space()?;
    let mod_sequence = parser.number64("a mod-sequence")?;
    let (mut known_uids, mut matches) = (None, None);
    if parser.eat(b' ') {
        let mut has_matches = parser.peek() == Some(b'(');
        if !has_matches {
            known_uids = Some(parser.number_ranges()?);
            has_matches = parser.eat(b' ');
        }
        if has_matches {
            parser.octet(b'(')?;
            let numbers = parser.number_ranges()?;
            parser.space()?;
            matches = Some((numbers, parser.number_ranges()?));
            parser.octet(b')')?;
        }
    }
    parser.octet(b')')?;
    Ok(QResync { uid_validity, mod_sequence, known_uids, matches })
}

/// The arguments of STATUS.
pub fn status(parser: &mut Parser<'_>) -> Read<Status> {
    let mailbox = parser.space_and_mailbox()?;
    parser.space()?;
    Ok(Status { mailbox, items: parser.list(status_item)? })
}

/// `status-att`
pub fn status_item(parser: &mut Parser<'_>) -> Read<StatusItem> {
    let name = parser.name("a STATUS item")?;
    Ok(match name.as_str() {
        "MESSAGES" => StatusItem::Messages,
        "RECENT" => StatusItem::Recent,
        "UIDNEXT" => StatusItem::UidNext,
        "UIDVALIDITY" => StatusItem::UidValidity,
        "UNSEEN" => StatusItem::Unseen,
        "DELETED" => StatusItem::Deleted,
        "SIZE" => StatusItem::Size,
        "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        "APPENDLIMIT" => StatusItem::AppendLimit,
        "MAILBOXID" => StatusItem::MailboxId,
        "DELETED-STORAGE" => StatusItem::DeletedStorage,
        _ => return Err(parser.unknown("STATUS item", name.as_bytes())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    fn of(text: &str) -> Result<Select, String> {
        read(text, false, |parser| select(parser, false)).map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_of_select_are_read() {
        assert_eq!(of(" \"a b\"").unwrap().mailbox, Mailbox(b"a b".to_vec()));
        assert!(of(" INBOX (CONDSTORE)").unwrap().condstore);
        let text = " INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541))";
        let known = of(text).unwrap().qresync.unwrap();
        assert_eq!((known.uid_validity.get(), known.mod_sequence), (67890007, 90060115194045000));
        assert_eq!((known.known_uids.map(|ranges| ranges.len()), known.matches), (Some(2), None));
        let matches = |text| of(text).unwrap().qresync.unwrap().matches.is_some();
        assert!(matches(" INBOX (QRESYNC (67890007 20050715194045000 41,43:211 (1 41)) CONDSTORE)"));
        assert!(matches(" INBOX (QRESYNC (67890007 20050715194045000 (1:2 41,43)))"));
        for (text, expected) in [
            ("", "expected a space at octet 1"),
            (" ", "expected a mailbox name at octet 2"),
            (" INBOX (FOO)", "unknown parameter of SELECT \"FOO\""),
            (" INBOX ()", "expected a parameter at octet 9"),
            (" INBOX (QRESYNC (1))", "expected a space after 1"),
            (" INBOX (QRESYNC (1 2 1:*))", "expected a message number after 1:"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn items_of_status_are_read() {
        let of = |text| read(text, false, status).map_err(|error| error.to_string());
        let text = " x (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT MAILBOXID \
                    DELETED-STORAGE)";
        assert_eq!(of(text).unwrap().items.len(), 11);
        assert_eq!(of(" x (FOO)"), Err("unknown STATUS item \"FOO\"".to_owned()));
        assert_eq!(of(" x ()"), Err("expected a STATUS item at octet 5".to_owned()));
    }
}
