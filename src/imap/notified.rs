//! What a client wants to be notified of, and what was reported to it last: the rules of NOTIFY (RFC 5465), without I/O.
//!
//! Invariant: what is reported is the difference between two states of the inbox, so that an event that is missed or comes
//! twice does no harm.

use super::mailbox_sets::MailboxSet;
use super::names::parents;
use super::wire::data::StatusValue;
use super::wire::syntax::fetch::Item;
use crate::id::MailboxId;
use crate::store::mailboxes::{MailboxName, MailboxStatus};
use std::collections::{BTreeMap, BTreeSet};

bitflags::bitflags! {
    /// Events of mailboxes that are not selected, and of the server.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Events: u8 {
        /// MessageNew and MessageExpunge, which come together.
        const MESSAGES = 1;
        const FLAGS = 1 << 1;
        const NAMES = 1 << 2;
        const SUBSCRIPTIONS = 1 << 3;
        const METADATA = 1 << 4;
        const SERVER_METADATA = 1 << 5;
    }
}

/// What is reported of the selected mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfSelected {
    /// New and expunged messages. Without these, nothing.
    pub messages: bool,
    pub flags: bool,
    /// No EXPUNGE before a command that allows it.
    pub is_delayed: bool,
    /// What is fetched of new messages.
    pub items: Vec<Item>,
}

/// The mailboxes of an inbox, and its subscriptions.
#[derive(Debug, Default)]
pub(super) struct State {
    pub mailboxes: BTreeMap<MailboxId, (MailboxName, MailboxStatus)>,
    pub subscribed: BTreeSet<String>,
}

impl State {
    pub fn name_of(&self, mailbox: MailboxId) -> Option<&str> {
        self.mailboxes.get(&mailbox).map(|(name, _)| name.name.as_str())
    }

    fn find(&self, name: &str) -> Option<&MailboxName> {
        self.mailboxes.values().map(|(found, _)| found).find(|found| found.name == name)
    }

    /// The attributes of a name in LIST (RFC 5258 §3).
    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let has_children = self.mailboxes.values().any(|(other, _)| parents(&other.name).any(|above| above == name));
        let found = self.find(name);
        let special_use = found.and_then(|found| found.special_use.as_deref());
        [if has_children { "\\HasChildren" } else { "\\HasNoChildren" }]
            .into_iter()
            .chain(found.is_none().then_some("\\NonExistent"))
            .chain(self.subscribed.contains(name).then_some("\\Subscribed"))
            .chain(special_use)
    }
}

/// One untagged response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// LIST of a name, with the one that it had before a RENAME.
    Name {
        name: String,
        old_name: Option<String>,
    },
    Status {
        name: String,
        items: Vec<(&'static str, StatusValue)>,
    },
}

/// What a client is notified of.
#[derive(Debug, Default)]
pub(super) struct Notified {
    pub selected: OfSelected,
    groups: Vec<(MailboxSet, Events)>,
    /// What it knows.
    pub known: State,
    /// UIDs of new messages of the selected mailbox whose items have to be fetched.
    pub arrived: Vec<u32>,
}

impl Notified {
    pub fn new(selected: OfSelected, groups: Vec<(MailboxSet, Events)>, known: State) -> Self {
        Self { selected, groups, known, arrived: Vec::new() }
    }

    /// Whether any mailbox is to be reported of but the selected one.
    pub fn wants_others(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether any group has one of these events.
    pub fn wants(&self, events: Events) -> bool {
        self.groups.iter().any(|(_, of_group)| of_group.intersects(events))
    }

    /// The events of a mailbox of this name.
    pub fn events(&self, name: &str, state: &State) -> Events {
        let of_name = self.groups.iter().filter(|(set, _)| set.contains(name, &state.subscribed));
        of_name.fold(Events::empty(), |all, (_, events)| all | *events)
    }

    /// The STATUS responses that NOTIFY SET STATUS sends at once (RFC 5465 §3.1).
    pub fn first(&self, selected: Option<MailboxId>) -> Vec<Notice> {
        let of_mailbox = |(id, (name, status)): (&MailboxId, &(MailboxName, MailboxStatus))| {
            let events = self.events(&name.name, &self.known);
            let is_reported = Some(*id) != selected && events.intersects(Events::MESSAGES | Events::FLAGS);
            let modseq = events.contains(Events::FLAGS);
            is_reported.then(|| Notice::Status { name: name.name.clone(), items: counts(status, true, modseq, false) })
        };
        self.known.mailboxes.iter().filter_map(of_mailbox).collect()
    }

    /// What has changed up to a state, which the client knows from then on. `condstore`: it has enabled CONDSTORE.
    pub fn update(&mut self, now: State, selected: Option<MailboxId>, condstore: bool) -> Vec<Notice> {
        let mut notices = self.names(&now);
        for (id, (name, status)) in &now.mailboxes {
            let Some((_, before)) = self.known.mailboxes.get(id) else { continue };
            if Some(*id) == selected || before == status {
                continue;
            }
            let events = self.events(&name.name, &now);
            let count = |status: &MailboxStatus| (status.messages, status.uid_next, status.uid_validity);
            let has_messages = events.contains(Events::MESSAGES) && count(before) != count(status);
            let has_unseen = before.unseen != status.unseen;
            let has_flags = events.contains(Events::FLAGS)
                && (has_unseen || condstore && before.highest_modseq != status.highest_modseq);
            if has_messages || has_flags {
                let items = counts(status, has_messages, condstore, has_flags && has_unseen);
                notices.push(Notice::Status { name: name.name.clone(), items });
            }
        }
        self.known = now;
        notices
    }

    /// Takes over the names and subscriptions of a state, which the client itself has made.
    pub fn adopt_names(&mut self, mut now: State) {
        for (id, (_, status)) in &mut now.mailboxes {
            if let Some((_, before)) = self.known.mailboxes.get(id) {
                *status = before.clone();
            }
        }
        self.known = now;
    }

    /// LIST responses for names that were created, deleted or renamed, and for subscriptions (RFC 5465 §5.4, §5.5).
    fn names(&self, now: &State) -> Vec<Notice> {
        let wants = |name: &str, events| (self.events(name, now) | self.events(name, &self.known)).contains(events);
        let mut renamed = BTreeMap::<&str, &str>::new();
        let mut affected = BTreeSet::<&str>::new();
        let ids: BTreeSet<&MailboxId> = self.known.mailboxes.keys().chain(now.mailboxes.keys()).collect();
        for id in ids {
            match (self.known.name_of(*id), now.name_of(*id)) {
                (Some(old), Some(new)) if old != new => drop(renamed.insert(old, new)),
                (Some(name), None) | (None, Some(name)) => {
                    affected.extend(parents(name).last().into_iter().chain([name]))
                }
                _ => {}
            }
        }
        let mut notices = Vec::new();
        for (old, new) in &renamed {
            // Children of a renamed mailbox are renamed with it.
            let moves_with = |above: &str| {
                let moved = renamed.get(above).map(|to| format!("{to}{}", old.get(above.len()..).unwrap_or_default()));
                moved.as_deref() == Some(*new)
            };
            if !parents(old).any(moves_with) && (wants(new, Events::NAMES) || wants(old, Events::NAMES)) {
                notices.push(Notice::Name { name: (*new).to_owned(), old_name: Some((*old).to_owned()) });
            }
        }
        let mut named: BTreeSet<&str> = affected.into_iter().filter(|name| wants(name, Events::NAMES)).collect();
        let changed = self.known.subscribed.symmetric_difference(&now.subscribed).map(String::as_str);
        named.extend(changed.filter(|name| wants(name, Events::SUBSCRIPTIONS)));
        notices.extend(named.into_iter().map(|name| Notice::Name { name: name.to_owned(), old_name: None }));
        notices
    }
}

/// The items of a STATUS response.
fn counts(status: &MailboxStatus, messages: bool, modseq: bool, unseen: bool) -> Vec<(&'static str, StatusValue)> {
    let mut items: Vec<(&'static str, StatusValue)> = Vec::new();
    if messages {
        items.push(("MESSAGES", status.messages.into()));
        items.push(("UIDNEXT", status.uid_next.into()));
    }
    items.push(("UIDVALIDITY", status.uid_validity.into()));
    if unseen {
        items.push(("UNSEEN", status.unseen.into()));
    }
    if modseq {
        items.push(("HIGHESTMODSEQ", status.highest_modseq.unsigned_abs().into()));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(names: &[(i64, &str)]) -> State {
        let status = |id: MailboxId| MailboxStatus {
            id,
            messages: 0,
            recent: 0,
            unseen: 0,
            uid_next: 1,
            uid_validity: 1,
            object_id: String::new(),
            highest_modseq: 1,
            size: 0,
            deleted: 0,
        };
        let mailbox = |(id, name): &(i64, &str)| {
            let id = MailboxId::new(*id);
            (id, (MailboxName { name: (*name).to_owned(), special_use: None }, status(id)))
        };
        State { mailboxes: names.iter().map(mailbox).collect(), subscribed: BTreeSet::new() }
    }

    #[test]
    fn names_that_changed_are_distinguished() {
        let groups = vec![(MailboxSet::Personal, Events::NAMES)];
        let mut notified =
            Notified::new(OfSelected::default(), groups, state(&[(1, "a"), (2, "a/b"), (3, "c"), (4, "d/e")]));
        let notices = notified.update(state(&[(1, "x"), (2, "x/b"), (3, "c"), (5, "c/n")]), None, false);
        let name = |name: &str, old: Option<&str>| Notice::Name { name: name.into(), old_name: old.map(str::to_owned) };
        assert_eq!(
            notices,
            [name("x", Some("a")), name("c", None), name("c/n", None), name("d", None), name("d/e", None)]
        );
        assert_eq!(notified.known.attributes("c").collect::<Vec<_>>(), ["\\HasChildren"]);
        assert_eq!(notified.known.attributes("d").collect::<Vec<_>>(), ["\\HasNoChildren", "\\NonExistent"]);
    }
}
