//! Labels of an email: its mailbox (`inbox`, `sent`, `drafts`, `trash`, `junk`, `archive`), two flags (`unread` and `starred`), and its
//! IMAP keywords. Invariant: a label names one of these, in any case of letters.

use crate::store::email_changes::{EmailChange, Target};
use crate::store::emails::EmailFilter;
use crate::store::mailboxes::MailboxKind;
use crate::store::messages::Flags;
pub(in crate::http) use crate::views::labels::name_of;
pub(in crate::http) use crate::views::labels::system;
pub(super) use crate::views::labels::{STARRED, UNREAD};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Label {
    Mailbox(MailboxKind),
    Unread,
    Starred,
    Keyword(String),
}

/// A name as a keyword: an atom of IMAP (RFC 3501 §9) as it is, anything else in lower case with `-` for what is not a letter or a digit.
pub(super) fn slug(name: &str) -> Option<String> {
    let is_atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
    if !name.is_empty() && name.bytes().all(is_atom) {
        return Some(name.to_owned());
    }
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    (!slug.is_empty()).then_some(slug)
}

impl Label {
    /// Reads a label of at most `longest` octets.
    pub(in crate::http) fn parse(text: &str, longest: usize) -> Result<Self, String> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        if let Some(kind) = MailboxKind::ALL.into_iter().find(|kind| is(name_of(*kind))) {
            return Ok(Self::Mailbox(kind));
        }
        if is(UNREAD) || is(STARRED) {
            return Ok(if is(UNREAD) { Self::Unread } else { Self::Starred });
        }
        let slug = slug(text).ok_or("must be a label: it needs a letter or a digit of ASCII")?;
        if slug.len() > longest {
            return Err(format!("must be a label of at most {longest} octets (limits.keyword_length)"));
        }
        Ok(Self::Keyword(slug))
    }

    /// Asks for emails with this label too.
    pub(super) fn ask(self, filter: &mut EmailFilter) {
        match self {
            Self::Mailbox(kind) => filter.mailboxes.push(kind),
            Self::Unread => filter.unset |= Flags::SEEN,
            Self::Starred => filter.set |= Flags::FLAGGED,
            Self::Keyword(keyword) => filter.keywords.push(keyword.to_ascii_lowercase()),
        }
    }

    pub(super) fn add(self, change: &mut EmailChange) -> Result<(), String> {
        match self {
            Self::Mailbox(kind) => return to(change, Target::Kind(kind)),
            Self::Unread => change.unset |= Flags::SEEN,
            Self::Starred => change.set |= Flags::FLAGGED,
            Self::Keyword(keyword) => change.add.push(keyword),
        }
        Ok(())
    }

    /// An email without the label of its mailbox is in Archive, and one without `trash`, `junk` or `archive` where it came from.
    pub(super) fn remove(self, change: &mut EmailChange) -> Result<(), String> {
        match self {
            Self::Mailbox(MailboxKind::Inbox) => return to(change, Target::Kind(MailboxKind::Archive)),
            Self::Mailbox(MailboxKind::Trash | MailboxKind::Junk | MailboxKind::Archive) => {
                return to(change, Target::Origin);
            }
            Self::Mailbox(kind) => return Err(format!("cannot be removed: move the email out of {}", name_of(kind))),
            Self::Unread => change.set |= Flags::SEEN,
            Self::Starred => change.unset |= Flags::FLAGGED,
            Self::Keyword(keyword) => change.remove.push(keyword),
        }
        Ok(())
    }
}

/// An email is in one mailbox.
pub(super) fn to(change: &mut EmailChange, target: Target) -> Result<(), String> {
    match &change.to {
        Some(other) if *other != target => Err("names a second mailbox: an email is in one".to_owned()),
        _ => {
            change.to = Some(target);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_atom_becomes_one() {
        for (name, wanted) in [
            ("Needs Reply", Some("needs-reply")),
            ("$Junk", Some("$Junk")),
            ("a*b", Some("a-b")),
            ("Übung 1", Some("bung-1")),
            ("", None),
            ("*", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(slug(name).as_deref(), wanted, "{name:?}");
        }
        assert_eq!(Label::parse("TRASH", 9), Ok(Label::Mailbox(MailboxKind::Trash)));
        assert_eq!(Label::parse("Unread", 9), Ok(Label::Unread));
        assert!(Label::parse("longer than nine", 9).is_err());
    }

    #[test]
    fn an_email_is_in_one_mailbox() {
        let mut change = EmailChange::default();
        for (label, is_right) in [("trash", true), ("a", true), ("trash", true), ("sent", false)] {
            assert_eq!(Label::parse(label, 9).unwrap().add(&mut change).is_ok(), is_right, "{label}");
        }
        assert!(Label::Mailbox(MailboxKind::Sent).remove(&mut EmailChange::default()).is_err());
    }
}
