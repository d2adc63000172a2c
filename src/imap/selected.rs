//! A session's own view of its mailbox: which sequence number is which message.
//!
//! Invariant: a sequence number changes only by what has been told to the client. Messages that are gone keep their number
//! until [`SelectedMailbox::take_expunged`]; new ones have none until they were told as EXISTS. RFC 3501 §2.3.1.2, §5.5, §7.4.1.

use crate::id::MailboxId;
use crate::message::mime::Part;
use crate::store::flag_list::{FlagList, KeywordTable};
use crate::store::messages::Flags;
use crate::store::open_mailbox::{Changes, MessageFlags, OpenMailbox, Seen};
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};
use std::collections::HashSet;
use std::ops::Range;

/// Keywords that FLAGS names at most: looking through them costs every message that has one.
const KEYWORDS: usize = 200;

/// What the client has been told of the open mailbox: some 5 octets a message.
#[derive(Debug)]
pub(super) struct SelectedMailbox {
    /// The mailbox's number in the store.
    pub mailbox: MailboxId,
    /// Opened by EXAMINE.
    pub read_only: bool,
    /// How much of the mailbox the view knows.
    pub seen: Seen,
    /// UIDs, rising: the sequence number is the place, counted from 1.
    uids: Vec<u32>,
    /// The flags told, at the same place.
    flags: Vec<Flags>,
    /// The keywords told, where there are any.
    keywords: KeywordTable,
    /// Gone, and not told yet.
    gone: Vec<u32>,
    /// `\Recent` here.
    recent: HashSet<u32>,
    /// Keywords that FLAGS has named.
    named: Vec<Box<str>>,
    /// The structure of the message whose parts were last asked for in pieces.
    pub structure: Option<(u32, Part)>,
}

/// What is to be told of changes.
#[derive(Debug, Default)]
pub(super) struct News {
    /// EXISTS and RECENT.
    pub exists: Option<(u32, u32)>,
    /// UIDs, for FETCH with FLAGS.
    pub changed: Vec<u32>,
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
            uids,
            flags,
            keywords,
            gone: Vec::new(),
            recent,
            named,
            structure: None,
        }
    }

    fn push(&mut self, marks: &MessageFlags) {
        self.uids.push(marks.uid);
        self.flags.push(marks.flags);
        self.keywords.set(marks.uid, &marks.keywords);
    }

    /// How many messages there are, by what the client knows.
    pub fn exists(&self) -> u32 {
        number(self.uids.len())
    }

    /// How many of them are `\Recent`.
    pub fn recent(&self) -> u32 {
        number(self.recent.len())
    }

    /// Whether one is.
    pub fn is_recent(&self, uid: u32) -> bool {
        self.recent.contains(&uid)
    }

    /// The first sequence number without `\Seen`.
    pub fn first_unseen(&self) -> Option<u32> {
        self.flags.iter().position(|flags| !flags.contains(Flags::SEEN)).map(|at| number(at + 1))
    }

    /// The sequence number of a message.
    pub fn sequence_number(&self, uid: u32) -> Option<u32> {
        self.uids.binary_search(&uid).ok().map(|at| number(at + 1))
    }

    /// The flags of a message as the client knows them.
    pub fn marks(&self, uid: u32) -> Option<MessageFlags> {
        let at = self.uids.binary_search(&uid).ok()?;
        Some(MessageFlags { uid, flags: *self.flags.get(at)?, keywords: self.keywords.get(uid).into() })
    }

    /// Notes keywords as named; answers whether there was a new one.
    pub fn learn_keywords(&mut self, marks: &MessageFlags) -> bool {
        let before = self.named.len();
        for keyword in marks.keywords.split_ascii_whitespace() {
            if self.named.len() < KEYWORDS && !self.named.iter().any(|named| named.eq_ignore_ascii_case(keyword)) {
                self.named.push(keyword.into());
            }
        }
        self.named.len() > before
    }

    /// The flags there are here, for FLAGS: the system's, and the keywords that have been seen.
    pub fn all_flags(&self) -> Vec<Flag<'static>> {
        let named = Flags::NAMED.iter().map(|(_, name)| *name).chain(self.named.iter().map(|name| &**name));
        named.filter_map(|name| Flag::try_from(name).ok().map(IntoStatic::into_static)).collect()
    }

    /// All UIDs, rising.
    pub fn uids(&self) -> &[u32] {
        &self.uids
    }

    /// The UIDs of a set, rising, each once. UIDs that are not there are left out; a sequence number that is not there is an
    /// error (RFC 3501 §6.4.8, §9).
    pub fn select(&self, set: &SequenceSet, by_uid: bool) -> Result<Vec<u32>, NoSuchMessage> {
        let exists = |value: &SeqOrUid| match value {
            SeqOrUid::Value(value) => value.get() <= self.exists(),
            SeqOrUid::Asterisk => !self.uids.is_empty(),
        };
        let exist = |sequence: &Sequence| match sequence {
            Sequence::Single(one) => exists(one),
            Sequence::Range(a, b) => exists(a) && exists(b),
        };
        if by_uid || set.0.as_ref().iter().all(exist) { Ok(self.clip(set, by_uid)) } else { Err(NoSuchMessage) }
    }

    /// The same, and sequence numbers that are not there are left out too.
    pub fn clip(&self, set: &SequenceSet, by_uid: bool) -> Vec<u32> {
        let spans = self.spans(set, by_uid);
        spans.into_iter().flat_map(|span| self.uids.get(span).unwrap_or_default()).copied().collect()
    }

    /// The same as runs of UIDs, first and last: a set costs its own length, however many messages it names.
    pub fn clip_to_runs(&self, set: &SequenceSet, by_uid: bool) -> Vec<(u32, u32)> {
        let run = |span: Range<usize>| {
            let uids = self.uids.get(span)?;
            Some((*uids.first()?, *uids.last()?))
        };
        self.spans(set, by_uid).into_iter().filter_map(run).collect()
    }

    /// Where the messages of a set stand: in order, none empty, none meets another.
    fn spans(&self, set: &SequenceSet, by_uid: bool) -> Vec<Range<usize>> {
        let last = if by_uid { self.uids.last().copied().unwrap_or(0) } else { self.exists() };
        let place = |value: &SeqOrUid| match value {
            SeqOrUid::Value(value) => value.get(),
            SeqOrUid::Asterisk => last,
        };
        let mut ranges = Vec::with_capacity(set.0.as_ref().len());
        for sequence in set.0.as_ref() {
            let (a, b) = match sequence {
                Sequence::Single(one) => (place(one), place(one)),
                Sequence::Range(a, b) => (place(a), place(b)),
            };
            let (low, high) = (a.min(b), a.max(b));
            ranges.push(if by_uid {
                (self.uids.partition_point(|uid| *uid < low), self.uids.partition_point(|uid| *uid <= high))
            } else {
                (index(low).saturating_sub(1), index(high).min(self.uids.len()))
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

    /// Notes flags that the client is told, or knows itself; answers whether they are news to it.
    pub fn note(&mut self, marks: &MessageFlags) -> bool {
        let Ok(at) = self.uids.binary_search(&marks.uid) else { return false };
        let is_news = self.flags.get(at) != Some(&marks.flags) || !self.keywords.is(marks.uid, &marks.keywords);
        if is_news {
            self.flags.iter_mut().skip(at).take(1).for_each(|flags| *flags = marks.flags);
            self.keywords.set(marks.uid, &marks.keywords);
        }
        is_news
    }

    /// True when new messages are among the changes.
    pub fn has_arrivals(&self, changes: &Changes) -> bool {
        changes.changed.uids.last().is_some_and(|uid| self.uids.last().is_none_or(|last| uid > last))
    }

    /// Takes changes in. New messages with UIDs in `recent` are `\Recent`.
    pub fn update(&mut self, changes: Changes, recent: &Range<u32>) -> News {
        self.seen = changes.seen;
        let before = self.uids.len();
        let mut news = News::default();
        if changes.is_whole {
            let is_there = |uid: &u32| changes.changed.uids.binary_search(uid).is_ok();
            self.gone.extend(self.uids.iter().filter(|uid| !is_there(uid)));
        }
        for marks in changes.changed.iter() {
            if self.uids.last().is_none_or(|last| marks.uid > *last) {
                if recent.contains(&marks.uid) {
                    self.recent.insert(marks.uid);
                }
                self.push(&marks);
            } else if self.note(&marks) {
                news.changed.push(marks.uid);
            }
        }
        if self.uids.len() > before {
            news.exists = Some((self.exists(), self.recent()));
        }
        // What came and went unseen was never there.
        self.gone.extend(changes.expunged.into_iter().filter(|uid| self.uids.binary_search(uid).is_ok()));
        news
    }

    /// The messages that are gone, and still have a number because the client has not been told.
    pub fn gone(&self) -> HashSet<u32> {
        self.gone.iter().copied().collect()
    }

    /// Removes what is gone, and answers the sequence numbers to tell: from the last to the first, so that none shifts another.
    pub fn take_expunged(&mut self) -> Vec<u32> {
        if self.gone.is_empty() {
            return Vec::new();
        }
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort_unstable();
        gone.dedup();
        let mut told: Vec<u32> = gone.iter().filter_map(|uid| self.sequence_number(*uid)).collect();
        told.reverse();
        let is_gone: Vec<bool> = self.uids.iter().map(|uid| gone.binary_search(uid).is_ok()).collect();
        let mut left = is_gone.iter();
        self.uids.retain(|_| left.next() == Some(&false));
        let mut left = is_gone.iter();
        self.flags.retain(|_| left.next() == Some(&false));
        for uid in &gone {
            self.keywords.remove(*uid);
            self.recent.remove(uid);
        }
        told
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

    fn marks(uid: u32, flags: Flags) -> MessageFlags {
        MessageFlags { uid, flags, keywords: "".into() }
    }

    fn view(uids: &[u32]) -> SelectedMailbox {
        let messages = uids.iter().map(|uid| marks(*uid, Flags::default())).collect();
        let seen = Seen { modseq: 1, uid_next: 9 };
        let open = OpenMailbox { id: MailboxId::new(1), uid_validity: 1, recent: 9..9, seen, messages };
        SelectedMailbox::new(open, false)
    }

    #[test]
    fn sets_are_cut_to_what_is_there() {
        let view = view(&[2, 4, 6, 8]);
        let uid = |set: &str| view.select(&set.parse().unwrap(), true).unwrap();
        assert_eq!(uid("1:5,4,7:8,8"), [2, 4, 8]);
        assert_eq!(uid("559:*"), [8]);
        assert_eq!(uid("4294967295"), [0; 0]);
        assert_eq!(uid("4294967295:1"), [2, 4, 6, 8]);
        assert_eq!(view.clip_to_runs(&"1,8,2:4,3:5,9".parse().unwrap(), true), [(2, 4), (8, 8)]);
        assert_eq!(view.clip_to_runs(&"1:*,1:*,2".parse().unwrap(), false), [(2, 8)]);
        let sequence = |set: &str| view.select(&set.parse().unwrap(), false);
        assert_eq!(sequence("*,1").unwrap(), [2, 8]);
        assert_eq!(sequence("2:*").unwrap(), [4, 6, 8]);
        assert_eq!(sequence("5"), Err(NoSuchMessage));
        assert_eq!(super::tests::view(&[]).select(&"*".parse().unwrap(), false), Err(NoSuchMessage));
        assert!(super::tests::view(&[]).select(&"1:*".parse().unwrap(), true).unwrap().is_empty());
    }

    #[test]
    fn what_is_gone_keeps_its_number_until_it_is_told() {
        let mut view = view(&[2, 4, 6, 8]);
        let changed = [marks(6, Flags::SEEN), marks(9, Flags::default())].into_iter().collect();
        let news = view.update(Changes { changed, expunged: vec![4, 8, 77], ..Changes::default() }, &(9..10));
        assert_eq!(news.exists, Some((5, 1)));
        assert_eq!(news.changed, [6]);
        assert_eq!(view.sequence_number(8), Some(4));
        assert_eq!(view.take_expunged(), [4, 2]);
        assert_eq!(view.uids(), [2, 6, 9]);
        assert!(view.take_expunged().is_empty());
        assert_eq!(view.marks(6), Some(marks(6, Flags::SEEN)));
    }

    #[test]
    fn a_whole_mailbox_tells_what_is_gone_by_leaving_it_out() {
        let mut view = view(&[2, 4, 6, 8]);
        let changed =
            [marks(2, Flags::default()), marks(6, Flags::SEEN), marks(9, Flags::default())].into_iter().collect();
        let news = view.update(Changes { changed, is_whole: true, ..Changes::default() }, &(9..10));
        assert_eq!((news.exists, news.changed), (Some((5, 1)), vec![6]));
        assert_eq!(view.take_expunged(), [4, 2]);
        assert_eq!(view.uids(), [2, 6, 9]);
    }

    #[test]
    fn what_the_client_did_itself_is_no_news() {
        let mut view = view(&[2]);
        assert!(view.note(&marks(2, Flags::SEEN)));
        let changes = Changes { changed: [marks(2, Flags::SEEN)].into_iter().collect(), ..Changes::default() };
        assert!(view.update(changes, &(9..9)).changed.is_empty());
    }
}
