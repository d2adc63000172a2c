//! Sets of mailboxes: RFC 5465 §6, RFC 7377 §2.2.

use super::names::{self, DELIMITER};
use super::wire::syntax::notify::Mailboxes;
use super::wire::values::Mailbox;
use crate::store::mailboxes::INBOX;
use std::collections::BTreeSet;

/// Whether a mailbox is in a set other than the selected one. `subscribed` has the names that are subscribed to; with `utf8`, names
/// come in UTF-8.
pub(super) fn contains(set: &Mailboxes, name: &str, subscribed: &BTreeSet<String>, utf8: bool) -> bool {
    let any = |of: &[Mailbox], is: fn(&str, &str) -> bool| {
        // A name that is none has no mailbox.
        of.iter().filter_map(|mailbox| names::read(mailbox, utf8)).any(|wanted| is(name, &wanted))
    };
    match set {
        Mailboxes::Selected { .. } => false,
        // Mail arrives there alone.
        Mailboxes::Inboxes => name == INBOX,
        Mailboxes::Personal => true,
        Mailboxes::Subscribed => subscribed.contains(name),
        Mailboxes::Subtree(of) => any(of, |name, top| name == top || below(name, top).is_some()),
        Mailboxes::SubtreeOne(of) => {
            any(of, |name, top| name == top || below(name, top).is_some_and(|rest| !rest.contains(DELIMITER)))
        }
        Mailboxes::Named(of) => any(of, |name, wanted| name == wanted),
    }
}

/// The levels of a name below another.
fn below<'a>(name: &'a str, top: &str) -> Option<&'a str> {
    name.strip_prefix(top)?.strip_prefix(DELIMITER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_in_rfc_5465() {
        let all = ["INBOX", "INBOX/a", "Lists", "Lists/Lemonade", "Lists/Lemonade/2", "Lists2", "Grün"];
        let subscribed = BTreeSet::from(["Lists".to_owned(), "Gone".to_owned()]);
        let of = |set: Mailboxes| {
            all.into_iter().filter(|name| contains(&set, name, &subscribed, false)).collect::<Vec<_>>()
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
        assert!(of(Mailboxes::Selected { is_delayed: false }).is_empty());
    }
}
