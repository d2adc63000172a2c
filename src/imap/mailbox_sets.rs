//! Sets of mailboxes: RFC 5465 §6, RFC 7377 §2.2.

use super::names::{self, parents};
use super::wire::syntax::notify::Mailboxes;
use super::wire::values::Mailbox;
use crate::store::mailboxes::INBOX;
use std::collections::{BTreeSet, HashSet};

/// A set of mailboxes, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MailboxSet {
    /// Where mail is delivered to: INBOX.
    Inboxes,
    Personal,
    Subscribed,
    /// These, and all below them.
    Subtree(HashSet<String>),
    /// These, and those one level below them.
    SubtreeOne(HashSet<String>),
    Named(HashSet<String>),
}

impl MailboxSet {
    /// `None` for the selected mailbox. Invalid names are passed over: no mailbox has them. With `utf8`, names come in UTF-8.
    pub fn of(mailboxes: &Mailboxes, utf8: bool) -> Option<Self> {
        let read = |of: &[Mailbox]| of.iter().filter_map(|mailbox| names::read(mailbox, utf8)).collect();
        Some(match mailboxes {
            Mailboxes::Selected { .. } => return None,
            Mailboxes::Inboxes => Self::Inboxes,
            Mailboxes::Personal => Self::Personal,
            Mailboxes::Subscribed => Self::Subscribed,
            Mailboxes::Subtree(roots) => Self::Subtree(read(roots)),
            Mailboxes::SubtreeOne(roots) => Self::SubtreeOne(read(roots)),
            Mailboxes::Named(names) => Self::Named(read(names)),
        })
    }

    /// `subscribed` has the names that are subscribed to.
    pub fn contains(&self, name: &str, subscribed: &BTreeSet<String>) -> bool {
        match self {
            Self::Inboxes => name == INBOX,
            Self::Personal => true,
            Self::Subscribed => subscribed.contains(name),
            Self::Named(names) => names.contains(name),
            Self::Subtree(roots) => roots.contains(name) || parents(name).any(|above| roots.contains(above)),
            Self::SubtreeOne(roots) => {
                roots.contains(name) || parents(name).last().is_some_and(|above| roots.contains(above))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_in_rfc_5465() {
        let all = ["INBOX", "INBOX/a", "Lists", "Lists/Lemonade", "Lists/Lemonade/2", "Lists2", "Grün"];
        let subscribed = BTreeSet::from(["Lists".to_owned(), "Gone".to_owned()]);
        let of = |mailboxes: Mailboxes| {
            let set = MailboxSet::of(&mailboxes, false).unwrap();
            all.into_iter().filter(|name| set.contains(name, &subscribed)).collect::<Vec<_>>()
        };
        let named = |name: &str| vec![Mailbox(name.as_bytes().to_vec())];
        assert_eq!(of(Mailboxes::Inboxes), ["INBOX"]);
        assert_eq!(of(Mailboxes::Personal), all);
        assert_eq!(of(Mailboxes::Subscribed), ["Lists"]);
        assert_eq!(of(Mailboxes::Subtree(named("Lists"))), ["Lists", "Lists/Lemonade", "Lists/Lemonade/2"]);
        assert_eq!(of(Mailboxes::SubtreeOne(named("Lists"))), ["Lists", "Lists/Lemonade"]);
        assert_eq!(
            of(Mailboxes::Named([named("inbox"), named("Gr&APw-n"), named("none")].concat())),
            ["INBOX", "Grün"]
        );
        assert_eq!(MailboxSet::of(&Mailboxes::Selected { is_delayed: false }, false), None);
    }
}
