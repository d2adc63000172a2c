//! The selected mailbox as the client knows it: which sequence number is which message.
//!
//! Invariant: sequence numbers change only by responses to the client. Expunged messages keep theirs until
//! [`SelectedMailbox::take_expunged`]; new ones have none before EXISTS. RFC 3501 §2.3.1.2, §5.5, §7.4.1.

use super::wire::values::{MessageNumber, SequenceSet};
use crate::id::MailboxId;
use crate::message::mime::Part;
use crate::store::flag_list::{FlagList, KeywordTable};
use crate::store::messages::Flags;
use crate::store::open_mailbox::{Changes, MessageFlags, OpenMailbox, Seen};
use crate::store::uid_ranges::UidRanges;
use std::collections::HashSet;
use std::ops::Range;

/// Keywords in a FLAGS response: each message with a keyword costs a search through them.
const KEYWORDS: usize = 200;

/// What the client knows of the selected mailbox: some 5 octets a message.
#[derive(Debug)]
pub(super) struct SelectedMailbox {
    /// Its id in the store.
    pub mailbox: MailboxId,
    /// Opened by EXAMINE.
    pub read_only: bool,
    /// The state of the mailbox that this reflects.
    pub seen: Seen,
    /// The client has been sent all changes up to this mod-sequence. It is below `seen.modseq` while an EXPUNGE is delayed.
    sent_up_to: i64,
    /// Ascending; the sequence number is the index plus 1.
    uids: Vec<u32>,
    /// At the same indexes.
    flags: Vec<Flags>,
    keywords: KeywordTable,
    /// Messages for which no EXPUNGE has been sent.
    expunged: Vec<u32>,
    /// Messages that are `\Recent` in this session.
    recent: HashSet<u32>,
    /// Keywords sent in FLAGS responses.
    named: Vec<Box<str>>,
    /// The structure of the message that was last fetched in pieces.
    pub structure: Option<(u32, Part)>,
    /// `$`: the first and last UIDs of runs of messages next to each other, ascending. Of a run, messages may have been expunged
    /// since, and none can have come: new ones have higher UIDs than all others (RFC 5182 §2.1).
    saved: Vec<(u32, u32)>,
}

/// The responses that changes call for.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// EXISTS and RECENT.
    pub exists: Option<(u32, u32)>,
    /// UIDs of messages with other flags, and their mod-sequences.
    pub changed: Vec<(u32, i64)>,
}

/// A sequence number beyond the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSuchMessage;

impl SelectedMailbox {
    pub fn new(open: OpenMailbox, read_only: bool) -> Self {
        let FlagList { uids, flags, keywords } = open.messages;
        let recent = uids.get(uids.partition_point(|uid| *uid < open.recent.start)..).unwrap_or_default();
        let recent = recent.iter().copied().take_while(|uid| open.recent.contains(uid)).collect();
        let named = keywords.names().take(KEYWORDS).map(Box::from).collect();
        Self {
            mailbox: open.id,
            read_only,
            seen: open.seen,
            sent_up_to: open.seen.modseq,
            uids,
            flags,
            keywords,
            expunged: Vec::new(),
            recent,
            named,
            structure: None,
            saved: Vec::new(),
        }
    }

    fn push(&mut self, flags: &MessageFlags) {
        self.uids.push(flags.uid);
        self.flags.push(flags.flags);
        self.keywords.set(flags.uid, &flags.keywords);
    }

    /// The number of messages, as the client knows it.
    pub fn exists(&self) -> u32 {
        number(self.uids.len())
    }

    /// How many of them are `\Recent`.
    pub fn recent(&self) -> u32 {
        number(self.recent.len())
    }

    /// No message is `\Recent` any more: IMAP4rev2 has no such flag (RFC 9051 Appendix E).
    pub fn forget_recent(&mut self) {
        self.recent = HashSet::new();
    }

    pub fn is_recent(&self, uid: u32) -> bool {
        self.recent.contains(&uid)
    }

    /// The first sequence number without `\Seen`.
    pub fn first_unseen(&self) -> Option<u32> {
        self.flags.iter().position(|flags| !flags.contains(Flags::SEEN)).map(|at| number(at + 1))
    }

    pub fn sequence_number(&self, uid: u32) -> Option<u32> {
        self.uids.binary_search(&uid).ok().map(|at| number(at + 1))
    }

    /// The flags of a message as the client knows them.
    pub fn flags(&self, uid: u32) -> Option<MessageFlags> {
        let at = self.uids.binary_search(&uid).ok()?;
        Some(MessageFlags { uid, flags: *self.flags.get(at)?, keywords: self.keywords.get(uid).into() })
    }

    /// Adds keywords to those sent in FLAGS; true if there was a new one.
    pub fn learn_keywords(&mut self, flags: &MessageFlags) -> bool {
        let before = self.named.len();
        for keyword in flags.keywords.split_ascii_whitespace() {
            if self.named.len() < KEYWORDS && !self.named.iter().any(|named| named.eq_ignore_ascii_case(keyword)) {
                self.named.push(keyword.into());
            }
        }
        self.named.len() > before
    }

    /// The flags of a FLAGS response: system flags, and keywords seen so far.
    pub fn all_flags(&self) -> impl Iterator<Item = &str> {
        Flags::NAMED.iter().map(|(_, name)| *name).chain(self.named.iter().map(|name| &**name))
    }

    /// Ascending.
    pub fn uids(&self) -> &[u32] {
        &self.uids
    }

    /// The UIDs of a set, ascending, each once. UIDs that do not exist are left out; a sequence number that does not exist is
    /// an error (RFC 3501 §6.4.8, §9).
    pub fn select(&self, set: &SequenceSet, by_uid: bool) -> Result<Vec<u32>, NoSuchMessage> {
        let exists = |number: MessageNumber| match number {
            MessageNumber::Value(value) => value.get() <= self.exists(),
            MessageNumber::Last => !self.uids.is_empty(),
        };
        let all_exist = set.ranges().iter().all(|(first, last)| exists(*first) && exists(*last));
        if by_uid || all_exist { Ok(self.clip(set, by_uid)) } else { Err(NoSuchMessage) }
    }

    /// Makes these messages the result that `$` names.
    pub fn save(&mut self, mut uids: Vec<u32>) {
        uids.sort_unstable();
        let (mut runs, mut before) = (Vec::<(u32, u32)>::new(), None);
        for uid in uids {
            let Ok(at) = self.uids.binary_search(&uid) else { continue };
            match runs.last_mut().filter(|_| before.is_some_and(|before: usize| before + 1 == at)) {
                Some(run) => run.1 = uid,
                None => runs.push((uid, uid)),
            }
            before = Some(at);
        }
        runs.shrink_to_fit();
        self.saved = runs;
    }

    /// The same, but sequence numbers that do not exist are left out too.
    pub fn clip(&self, set: &SequenceSet, by_uid: bool) -> Vec<u32> {
        let spans = self.spans(set, by_uid);
        spans.into_iter().flat_map(|span| self.uids.get(span).unwrap_or_default()).copied().collect()
    }

    /// The same as runs of UIDs, first and last, so that the cost depends on the length of the set only.
    pub fn clip_to_runs(&self, set: &SequenceSet, by_uid: bool) -> Vec<(u32, u32)> {
        let run = |span: Range<usize>| {
            let uids = self.uids.get(span)?;
            Some((*uids.first()?, *uids.last()?))
        };
        self.spans(set, by_uid).into_iter().filter_map(run).collect()
    }

    /// The UIDs of a set, whether there are such messages or not.
    pub fn uid_ranges(&self, set: &SequenceSet) -> UidRanges {
        let last = self.uids.last().copied().unwrap_or(0);
        let number = |number: MessageNumber| match number {
            MessageNumber::Value(value) => value.get(),
            MessageNumber::Last => last,
        };
        let ranges = set.ranges().iter().map(|(first, last)| (number(*first), number(*last)));
        ranges.map(|(a, b)| a.min(b)..=a.max(b)).collect()
    }

    /// The indexes of the messages of a set: ascending, non-empty, disjoint.
    fn spans(&self, set: &SequenceSet, by_uid: bool) -> Vec<Range<usize>> {
        let last = if by_uid { self.uids.last().copied().unwrap_or(0) } else { self.exists() };
        let number = |number: MessageNumber| match number {
            MessageNumber::Value(value) => value.get(),
            MessageNumber::Last => last,
        };
        let of_uids = |low: u32, high: u32| {
            (self.uids.partition_point(|uid| *uid < low), self.uids.partition_point(|uid| *uid <= high))
        };
        let mut ranges = Vec::with_capacity(set.ranges().len());
        if *set == SequenceSet::Saved {
            ranges.extend(self.saved.iter().map(|(first, last)| of_uids(*first, *last)));
        }
        for (first, last) in set.ranges() {
            let (a, b) = (number(*first), number(*last));
            let (low, high) = (a.min(b), a.max(b));
            ranges.push(match by_uid {
                true => of_uids(low, high),
                false => (index(low).saturating_sub(1), index(high).min(self.uids.len())),
            });
        }
        ranges.sort_unstable();
        let mut spans: Vec<Range<usize>> = Vec::new();
        for (from, to) in ranges {
            match spans.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(to),
                _ if from < to => spans.push(from..to),
                _ => {}
            }
        }
        spans
    }

    /// Sets flags that the client is sent or has set itself; true if they differ from those it knew.
    pub fn set_flags(&mut self, flags: &MessageFlags) -> bool {
        let Ok(at) = self.uids.binary_search(&flags.uid) else { return false };
        let differs = self.flags.get(at) != Some(&flags.flags) || !self.keywords.is(flags.uid, &flags.keywords);
        if differs {
            self.flags.iter_mut().skip(at).take(1).for_each(|known| *known = flags.flags);
            self.keywords.set(flags.uid, &flags.keywords);
        }
        differs
    }

    /// Whether there are new messages among the changes.
    pub fn has_arrivals(&self, changes: &Changes) -> bool {
        changes.changed.uids.last().is_some_and(|uid| self.uids.last().is_none_or(|last| uid > last))
    }

    /// Applies changes. New messages with UIDs in `recent` are `\Recent`.
    pub fn update(&mut self, changes: Changes, recent: &Range<u32>) -> Updates {
        self.seen = changes.seen;
        let before = self.uids.len();
        let mut updates = Updates::default();
        if changes.is_whole {
            let exists = |uid: &u32| changes.changed.uids.binary_search(uid).is_ok();
            self.expunged.extend(self.uids.iter().filter(|uid| !exists(uid)));
        }
        for (flags, modseq) in changes.changed.iter().zip(changes.modseqs) {
            if self.uids.last().is_none_or(|last| flags.uid > *last) {
                if recent.contains(&flags.uid) {
                    self.recent.insert(flags.uid);
                }
                self.push(&flags);
            } else if self.set_flags(&flags) {
                updates.changed.push((flags.uid, modseq));
            }
        }
        if self.uids.len() > before {
            updates.exists = Some((self.exists(), self.recent()));
        }
        // The client has never known of messages that came and went since the last update.
        self.expunged.extend(changes.expunged.into_iter().filter(|uid| self.uids.binary_search(uid).is_ok()));
        if self.expunged.is_empty() {
            self.sent_up_to = self.seen.modseq;
        }
        updates
    }

    /// The HIGHESTMODSEQ of the client: a later synchronization from it misses nothing (RFC 7162 §3.2).
    pub fn highest_modseq(&self) -> u64 {
        self.sent_up_to.unsigned_abs()
    }

    /// Whether an EXPUNGE is delayed.
    pub fn has_expunged(&self) -> bool {
        !self.expunged.is_empty()
    }

    /// Messages for which no EXPUNGE has been sent, and which therefore still have a sequence number.
    pub fn expunged(&self) -> HashSet<u32> {
        self.expunged.iter().copied().collect()
    }

    /// Removes expunged messages: their sequence numbers and UIDs from the last to the first, so that no number changes another.
    pub fn take_expunged(&mut self) -> Vec<(u32, u32)> {
        if self.expunged.is_empty() {
            return Vec::new();
        }
        let mut expunged = std::mem::take(&mut self.expunged);
        expunged.sort_unstable();
        expunged.dedup();
        let numbered = expunged.iter().filter_map(|uid| Some((self.sequence_number(*uid)?, *uid)));
        let mut numbered: Vec<(u32, u32)> = numbered.collect();
        numbered.reverse();
        let is_expunged: Vec<bool> = self.uids.iter().map(|uid| expunged.binary_search(uid).is_ok()).collect();
        let mut removed = is_expunged.iter();
        self.uids.retain(|_| removed.next() == Some(&false));
        let mut removed = is_expunged.iter();
        self.flags.retain(|_| removed.next() == Some(&false));
        for uid in &expunged {
            self.keywords.remove(*uid);
            self.recent.remove(uid);
        }
        self.sent_up_to = self.seen.modseq;
        numbered
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(text: &str) -> SequenceSet {
        crate::imap::wire::parser::tests::read(text, false, |parser| parser.sequence_set()).unwrap()
    }

    fn flags(uid: u32, flags: Flags) -> MessageFlags {
        MessageFlags { uid, flags, keywords: "".into() }
    }

    fn selected(uids: &[u32]) -> SelectedMailbox {
        let messages = uids.iter().map(|uid| flags(*uid, Flags::default())).collect();
        let seen = Seen { modseq: 1, uid_next: 9 };
        let open = OpenMailbox { id: MailboxId::new(1), uid_validity: 1, recent: 9..9, seen, messages };
        SelectedMailbox::new(open, false)
    }

    #[test]
    fn sets_contain_only_messages_that_exist() {
        let selected = selected(&[2, 4, 6, 8]);
        let uid = |set: &str| selected.select(&set_of(set), true).unwrap();
        assert_eq!(uid("1:5,4,7:8,8"), [2, 4, 8]);
        assert_eq!(uid("559:*"), [8]);
        assert_eq!(uid("4294967295"), [0; 0]);
        assert_eq!(uid("4294967295:1"), [2, 4, 6, 8]);
        assert_eq!(selected.clip_to_runs(&set_of("1,8,2:4,3:5,9"), true), [(2, 4), (8, 8)]);
        assert_eq!(selected.clip_to_runs(&set_of("1:*,1:*,2"), false), [(2, 8)]);
        let sequence = |set: &str| selected.select(&set_of(set), false);
        assert_eq!(sequence("*,1").unwrap(), [2, 8]);
        assert_eq!(sequence("2:*").unwrap(), [4, 6, 8]);
        assert_eq!(sequence("5"), Err(NoSuchMessage));
        assert_eq!(super::tests::selected(&[]).select(&set_of("*"), false), Err(NoSuchMessage));
        assert!(super::tests::selected(&[]).select(&set_of("1:*"), true).unwrap().is_empty());
    }

    #[test]
    fn a_saved_result_loses_what_is_expunged_and_gains_nothing() {
        let mut selected = selected(&[2, 4, 6, 8]);
        assert!(selected.select(&SequenceSet::Saved, false).unwrap().is_empty());
        selected.save(vec![8, 2, 4, 77]);
        assert_eq!(selected.saved, [(2, 4), (8, 8)]);
        assert_eq!(selected.select(&SequenceSet::Saved, true).unwrap(), [2, 4, 8]);
        let changed = [flags(9, Flags::default())].into_iter().collect();
        selected.update(Changes { changed, expunged: vec![4], ..Changes::default() }, &(9..9));
        selected.take_expunged();
        assert_eq!(selected.select(&SequenceSet::Saved, false).unwrap(), [2, 8]);
        selected.save(Vec::new());
        assert!(selected.clip_to_runs(&SequenceSet::Saved, false).is_empty());
    }

    #[test]
    fn an_expunged_message_keeps_its_number_until_expunge_is_sent() {
        let mut selected = selected(&[2, 4, 6, 8]);
        let changed = [flags(6, Flags::SEEN), flags(9, Flags::default())].into_iter().collect();
        let seen = Seen { modseq: 7, uid_next: 10 };
        let (modseqs, expunged) = (vec![3, 4], vec![4, 8, 77]);
        let updates = selected.update(Changes { seen, changed, modseqs, expunged, ..Changes::default() }, &(9..10));
        assert_eq!(updates.exists, Some((5, 1)));
        assert_eq!(updates.changed, [(6, 3)]);
        assert_eq!(selected.sequence_number(8), Some(4));
        assert_eq!(selected.highest_modseq(), 1);
        assert_eq!(selected.take_expunged(), [(4, 8), (2, 4)]);
        assert_eq!(selected.highest_modseq(), 7);
        assert_eq!(selected.uids(), [2, 6, 9]);
        assert!(selected.take_expunged().is_empty());
        assert_eq!(selected.flags(6), Some(flags(6, Flags::SEEN)));
    }

    #[test]
    fn messages_missing_from_a_whole_mailbox_are_expunged() {
        let mut selected = selected(&[2, 4, 6, 8]);
        let changed =
            [flags(2, Flags::default()), flags(6, Flags::SEEN), flags(9, Flags::default())].into_iter().collect();
        let modseqs = vec![1, 5, 6];
        let updates = selected.update(Changes { changed, modseqs, is_whole: true, ..Changes::default() }, &(9..10));
        assert_eq!((updates.exists, updates.changed), (Some((5, 1)), vec![(6, 5)]));
        assert_eq!(selected.take_expunged(), [(4, 8), (2, 4)]);
        assert_eq!(selected.uids(), [2, 6, 9]);
    }

    #[test]
    fn flags_that_the_client_has_set_are_no_update() {
        let mut selected = selected(&[2]);
        assert!(selected.set_flags(&flags(2, Flags::SEEN)));
        let changed = [flags(2, Flags::SEEN)].into_iter().collect();
        let changes = Changes { changed, modseqs: vec![2], ..Changes::default() };
        assert!(selected.update(changes, &(9..9)).changed.is_empty());
    }
}
