//! Messages as threads. RFC 5256 §3: ORDEREDSUBJECT and REFERENCES.
//!
//! Invariant: each message is in one thread, once; nothing recurses, however deep a thread is.

use crate::imap::wire::writer::Writer;
use std::collections::HashMap;

/// What threads are made of, of one message. Messages are numbered by their place in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Seconds since 1970.
    pub sent_at: i64,
    /// Its base subject, as it is compared.
    pub subject: Box<str>,
    /// The subject says that it answers or forwards another message.
    pub is_reply: bool,
    /// Its Message-ID, hashed.
    pub id: Option<u128>,
    /// The messages it refers to, the nearest last.
    pub references: Vec<u128>,
}

/// A message or several at the beginning of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Top {
    Message(usize),
    /// Children of a message that is not there.
    Siblings(Vec<usize>),
}

/// All threads, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forest {
    tops: Vec<Top>,
    /// Of each message, in order.
    children: Vec<Vec<usize>>,
}

/// More steps are needed than are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// ORDEREDSUBJECT: messages with the same base subject are children of the first of them.
pub(super) fn by_subject(messages: &[Message]) -> Forest {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    let sent_at = |at: &usize| messages.get(*at).map(|message| message.sent_at);
    order.sort_by_key(sent_at);
    let mut forest = Forest { tops: Vec::new(), children: vec![Vec::new(); messages.len()] };
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for at in order {
        let Some(message) = messages.get(at) else { continue };
        match first_of.get(&*message.subject) {
            Some(first) => forest.add_child(*first, at),
            None => {
                first_of.insert(&message.subject, at);
                forest.tops.push(Top::Message(at));
            }
        }
    }
    forest
}

/// REFERENCES: messages are children of those that they refer to; threads with the same base subject are one. Takes at most
/// `steps` to look for loops.
pub(super) fn by_references(messages: &[Message], steps: usize) -> Result<Forest, TooMuch> {
    let links = Links::of(messages, steps)?;
    let mut forest = links.forest(messages.len());
    forest.sort_tops(messages);
    forest.merge_by_subject(messages);
    for siblings in &mut forest.children {
        sort(siblings, messages);
    }
    forest.sort_tops(messages);
    Ok(forest)
}

/// By sent date, then by number.
fn sort(of: &mut [usize], messages: &[Message]) {
    of.sort_unstable_by_key(|at| (messages.get(*at).map(|message| message.sent_at), *at));
}

/// Parents of messages, and of messages that are only referred to, which have higher numbers.
struct Links {
    parents: Vec<Option<usize>>,
    /// It is or was the parent of another.
    has_children: Vec<bool>,
    steps: usize,
}

impl Links {
    /// Steps 1 and 2 of RFC 5256 §3.
    fn of(messages: &[Message], steps: usize) -> Result<Self, TooMuch> {
        let mut links = Self { parents: vec![None; messages.len()], has_children: vec![false; messages.len()], steps };
        let mut by_id: HashMap<u128, usize> = HashMap::new();
        for (at, message) in messages.iter().enumerate() {
            // Of several messages with the same id, the later ones have none.
            if let Some(id) = message.id {
                by_id.entry(id).or_insert(at);
            }
        }
        for (at, message) in messages.iter().enumerate() {
            let mut before = None;
            for reference in &message.references {
                let next = *by_id.entry(*reference).or_insert_with(|| links.add());
                if let Some(before) = before
                    && links.parent(next).is_none()
                {
                    links.link(before, next)?;
                }
                before = Some(next);
            }
            links.unlink(at);
            if let Some(parent) = before {
                links.link(parent, at)?;
            }
        }
        Ok(links)
    }

    /// A message that is only referred to.
    fn add(&mut self) -> usize {
        self.parents.push(None);
        self.has_children.push(false);
        self.parents.len() - 1
    }

    fn parent(&self, of: usize) -> Option<usize> {
        self.parents.get(of).copied().flatten()
    }

    fn unlink(&mut self, child: usize) {
        if let Some(parent) = self.parents.get_mut(child) {
            *parent = None;
        }
    }

    /// Makes one the child of another, unless that would be a loop.
    fn link(&mut self, parent: usize, child: usize) -> Result<(), TooMuch> {
        let mut above = Some(parent);
        // Nothing is below a message that has had no children.
        while let Some(at) = above.filter(|_| parent == child || self.has_children.get(child) == Some(&true)) {
            if at == child {
                return Ok(());
            }
            self.steps = self.steps.checked_sub(1).ok_or(TooMuch)?;
            above = self.parent(at);
        }
        if let (Some(of_child), Some(has_children)) = (self.parents.get_mut(child), self.has_children.get_mut(parent)) {
            *of_child = Some(parent);
            *has_children = true;
        }
        Ok(())
    }

    /// Step 3: messages that are not there are left out, but for those with several children at the beginning of a thread.
    fn forest(&self, messages: usize) -> Forest {
        // Of each, the next message above it that is there, or the last one above it, or itself if nothing is above it.
        let mut anchors: Vec<Option<usize>> = vec![None; self.parents.len()];
        for start in 0..messages {
            let (mut path, mut at) = (Vec::new(), start);
            let anchor = loop {
                if let Some(known) = anchors.get(at).copied().flatten() {
                    break known;
                }
                path.push(at);
                match self.parent(at) {
                    None => break at,
                    Some(parent) if parent < messages => break parent,
                    Some(parent) => at = parent,
                }
            };
            for at in path {
                if let Some(of) = anchors.get_mut(at) {
                    *of = Some(anchor);
                }
            }
        }
        let mut forest = Forest { tops: Vec::new(), children: vec![Vec::new(); messages] };
        let mut siblings: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, anchor) in anchors.iter().enumerate().take(messages) {
            match *anchor {
                Some(anchor) if anchor >= messages => siblings.entry(anchor).or_default().push(at),
                Some(parent) if parent != at => forest.add_child(parent, at),
                _ => forest.tops.push(Top::Message(at)),
            }
        }
        forest.tops.extend(siblings.into_values().map(|siblings| match siblings.as_slice() {
            [only] => Top::Message(*only),
            _ => Top::Siblings(siblings),
        }));
        forest
    }
}

impl Forest {
    fn add_child(&mut self, parent: usize, child: usize) {
        if let Some(children) = self.children.get_mut(parent) {
            children.push(child);
        }
    }

    /// Step 4: by sent date; siblings by that of the first of them.
    fn sort_tops(&mut self, messages: &[Message]) {
        for top in &mut self.tops {
            if let Top::Siblings(siblings) = top {
                sort(siblings, messages);
            }
        }
        self.tops.sort_by_cached_key(|top| {
            let first = top.first();
            (first.and_then(|at| messages.get(at)).map(|message| message.sent_at), first)
        });
    }

    /// Step 5.
    fn merge_by_subject(&mut self, messages: &[Message]) {
        let mut tops: Vec<Option<Top>> = std::mem::take(&mut self.tops).into_iter().map(Some).collect();
        let subject = |top: &Top| top.first().and_then(|at| messages.get(at)).map_or("", |message| &message.subject);
        let is_reply = |top: &Top| match top {
            Top::Message(at) => messages.get(*at).is_some_and(|message| message.is_reply),
            Top::Siblings(_) => false,
        };
        let mut table: HashMap<&str, usize> = HashMap::new();
        for (at, top) in tops.iter().enumerate().filter_map(|(at, top)| Some((at, top.as_ref()?))) {
            let known = table.entry(subject(top)).or_insert(at);
            let Some(there) = tops.get(*known).and_then(Option::as_ref) else { continue };
            if !there.is_siblings() && (top.is_siblings() || is_reply(there) && !is_reply(top)) {
                *known = at;
            }
        }
        table.remove("");
        for at in 0..tops.len() {
            let Some(top) = tops.get_mut(at).and_then(Option::take) else { continue };
            let into = table.get(subject(&top)).copied().filter(|into| *into != at);
            let there = into.and_then(|into| tops.get_mut(into)).and_then(Option::as_mut);
            let Some(there) = there else {
                if let Some(place) = tops.get_mut(at) {
                    *place = Some(top);
                }
                continue;
            };
            let top_is_reply = is_reply(&top);
            match (&mut *there, top) {
                (Top::Siblings(there), Top::Siblings(more)) => there.extend(more),
                (Top::Siblings(there), Top::Message(one)) => there.push(one),
                (Top::Message(parent), Top::Message(one))
                    if top_is_reply && !messages.get(*parent).is_some_and(|message| message.is_reply) =>
                {
                    let parent = *parent;
                    self.add_child(parent, one);
                }
                (Top::Message(other), top) => {
                    let both = std::iter::once(*other).chain(top.into_messages());
                    *there = Top::Siblings(both.collect());
                }
            }
        }
        self.tops = tops.into_iter().flatten().collect();
    }

    pub fn is_empty(&self) -> bool {
        self.tops.is_empty()
    }

    /// Writes the threads, with the messages' numbers.
    pub fn write(&self, writer: &mut Writer<'_>, numbers: &[u32]) {
        enum Next<'a> {
            Thread(&'a usize),
            End,
        }
        for top in &self.tops {
            let mut next = match top {
                Top::Message(at) => vec![Next::Thread(at)],
                Top::Siblings(siblings) => {
                    writer.raw("(");
                    std::iter::once(Next::End).chain(siblings.iter().rev().map(Next::Thread)).collect()
                }
            };
            while let Some(step) = next.pop() {
                let Next::Thread(mut at) = step else {
                    writer.raw(")");
                    continue;
                };
                writer.raw("(");
                next.push(Next::End);
                loop {
                    writer.number(numbers.get(*at).copied().unwrap_or_default());
                    match self.children.get(*at).map_or(&[][..], Vec::as_slice) {
                        [] => break,
                        [only] => at = only,
                        several => {
                            next.extend(several.iter().rev().map(Next::Thread));
                            writer.raw(" ");
                            break;
                        }
                    }
                    writer.raw(" ");
                }
            }
        }
    }
}

impl Top {
    fn first(&self) -> Option<usize> {
        match self {
            Self::Message(at) => Some(*at),
            Self::Siblings(siblings) => siblings.first().copied(),
        }
    }

    fn is_siblings(&self) -> bool {
        matches!(self, Self::Siblings(_))
    }

    fn into_messages(self) -> Vec<usize> {
        match self {
            Self::Message(at) => vec![at],
            Self::Siblings(siblings) => siblings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Messages by id, references and subject, sent one after the other.
    fn messages(of: &[(u128, &[u128], &str)]) -> Vec<Message> {
        let message = |(at, (id, references, subject)): (usize, &(u128, &[u128], &str))| {
            let base = subject.strip_prefix("re: ");
            Message {
                sent_at: at as i64,
                subject: base.unwrap_or(subject).into(),
                is_reply: base.is_some(),
                id: Some(*id),
                references: references.to_vec(),
            }
        };
        of.iter().enumerate().map(message).collect()
    }

    fn written(forest: &Forest) -> String {
        let numbers: Vec<u32> = (1..=forest.children.len() as u32).collect();
        let mut output = Vec::new();
        forest.write(&mut Writer::new(&mut output, false), &numbers);
        String::from_utf8(output).unwrap()
    }

    fn threads(of: &[(u128, &[u128], &str)]) -> String {
        written(&by_references(&messages(of), 10_000).unwrap())
    }

    #[test]
    fn threads_by_subject_are_as_in_rfc_5256() {
        let all = messages(&[(1, &[], "a"), (2, &[], "b"), (3, &[], "re: a"), (4, &[], "re: a"), (5, &[], "re: b")]);
        assert_eq!(written(&by_subject(&all)), "(1 (3)(4))(2 5)");
        assert_eq!(written(&by_subject(&[])), "");
    }

    #[test]
    fn threads_by_references_are_as_in_rfc_5256() {
        // A chain, with a branch.
        let chain: &[(u128, &[u128], &str)] =
            &[(1, &[], "a"), (2, &[1], "b"), (3, &[1, 2], "c"), (4, &[1, 2], "d"), (5, &[1, 2, 3], "e")];
        assert_eq!(threads(chain), "(1 2 (3 5)(4))");
        // In any order of arrival, and with references in pieces.
        assert_eq!(threads(&[(3, &[2], "c"), (2, &[1], "b"), (1, &[], "a")]), "(3 2 1)");
        // A message that is not there: one child takes its place, several are siblings.
        assert_eq!(threads(&[(2, &[1], "b"), (9, &[], "x")]), "(1)(2)");
        assert_eq!(threads(&[(2, &[1], "b"), (3, &[1], "c"), (9, &[], "x")]), "((1)(2))(3)");
        assert_eq!(threads(&[(3, &[1, 2], "b"), (5, &[1, 4], "c"), (6, &[1, 4], "d")]), "((1)(2)(3))");
        assert_eq!(threads(&[(1, &[], "a"), (3, &[1, 2], "b"), (4, &[1, 2], "c")]), "(1 (2)(3))");
        // Loops, of one and of several.
        assert_eq!(threads(&[(1, &[1], "a"), (2, &[3], "b"), (3, &[2], "c")]), "(1)(3 2)");
        // The same id twice.
        assert_eq!(threads(&[(1, &[], "a"), (1, &[], "b"), (2, &[1], "c")]), "(1 3)(2)");
        // The last of several links counts for the message itself.
        assert_eq!(threads(&[(1, &[], "a"), (2, &[], "b"), (4, &[1, 3], "c"), (3, &[2], "d")]), "(1)(2 4 3)");
    }

    #[test]
    fn threads_with_the_same_subject_are_one() {
        // A reply without references.
        assert_eq!(threads(&[(1, &[], "a"), (2, &[], "re: a"), (3, &[], "b")]), "(1 2)(3)");
        assert_eq!(threads(&[(1, &[], "re: a"), (2, &[], "a")]), "(2 1)");
        // Two that are no replies, two that are.
        assert_eq!(threads(&[(1, &[], "a"), (2, &[], "a"), (3, &[], "a")]), "((1)(2)(3))");
        assert_eq!(threads(&[(1, &[], "re: a"), (2, &[], "re: a")]), "((1)(2))");
        // Siblings take in others, whichever comes first.
        assert_eq!(threads(&[(2, &[1], "a"), (3, &[1], "x"), (4, &[], "a")]), "((1)(2)(3))");
        assert_eq!(threads(&[(4, &[], "a"), (2, &[1], "a"), (3, &[1], "x")]), "((1)(2)(3))");
        assert_eq!(threads(&[(2, &[1], "a"), (3, &[1], "x"), (5, &[4], "a"), (6, &[4], "y")]), "((1)(2)(3)(4))");
        // An empty subject joins nothing.
        assert_eq!(threads(&[(1, &[], ""), (2, &[], "re: "), (3, &[], "")]), "(1)(2)(3)");
    }

    #[test]
    fn a_deep_thread_takes_few_steps_and_hostile_links_are_bounded() {
        let chain = |parent: fn(u128) -> u128| {
            let message = |at: u128| Message { id: Some(at), references: vec![parent(at)], ..Message::default() };
            (1..=100_000).map(message).collect::<Vec<_>>()
        };
        let down = by_references(&chain(|at| at - 1), 100_000).unwrap();
        assert!(written(&down).starts_with("(1 2 3 4 "));
        let up = by_references(&chain(|at| at + 1), 100_000).unwrap();
        assert!(written(&up).starts_with("(100000 99999 "));
        // Pairs, each linked below the end of a growing chain.
        let pairs = (1..2000_u128).flat_map(|at| {
            let below = Message { references: vec![at, 10_000 + at], ..Message::default() };
            let link = Message { id: Some(10_000 + at), references: vec![at - 1, at], ..Message::default() };
            [below, link]
        });
        let _ = by_references(&pairs.collect::<Vec<_>>(), 100_000);
        let mut hostile: Vec<Message> = Vec::new();
        for at in (1..2000_u128).rev() {
            hostile.push(Message { references: vec![at, at + 1], ..Message::default() });
        }
        for at in 1..2000_u128 {
            hostile.push(Message { id: Some(at), references: vec![1999 - at], ..Message::default() });
        }
        assert_eq!(by_references(&hostile, 1000), Err(TooMuch));
    }

    proptest! {
        #[test]
        fn each_message_is_in_one_thread_once(
            of in proptest::collection::vec(
                (proptest::option::of(0_u128..12), proptest::collection::vec(0_u128..12, 0..4), 0_usize..4, any::<bool>(), 0_i64..5),
                0..25,
            ),
        ) {
            let messages: Vec<Message> = of.into_iter().map(|(id, references, subject, is_reply, sent_at)| {
                let subject: Box<str> = ["", "a", "b", "c"][subject].into();
                Message { sent_at, subject, is_reply, id, references }
            }).collect();
            for forest in [by_subject(&messages), by_references(&messages, 100_000).unwrap()] {
                let text = written(&forest);
                let depth = text.chars().try_fold(0_u32, |depth, c| match c {
                    '(' => Some(depth + 1),
                    ')' => depth.checked_sub(1),
                    _ => Some(depth),
                });
                prop_assert_eq!(depth, Some(0), "{}", text);
                let mut numbers: Vec<usize> =
                    text.split(['(', ')', ' ']).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
                numbers.sort_unstable();
                prop_assert_eq!(numbers, (1..=messages.len()).collect::<Vec<_>>(), "{}", text);
            }
        }
    }
}
