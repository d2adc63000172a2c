//! A compact list of message flags: about 5 octets per message, and 2 more per keyword of a message.

use super::messages::Flags;
use super::open_mailbox::MessageFlags;
use std::collections::HashMap;

/// Unused names are removed once there are this many names, or twice as many as are used.
const COMPACT_AT: usize = 1024;

/// The keywords of messages. Each name is stored once; names are compared without regard to case.
#[derive(Clone, Debug, Default)]
pub struct KeywordTable {
    names: Vec<Box<str>>,
    /// By the name in lower case.
    numbers: HashMap<Box<str>, u16>,
    /// By UID; a message without keywords has no entry.
    of: HashMap<u32, Box<[u16]>>,
    compact_at: usize,
}

impl KeywordTable {
    /// The keywords of a message, separated by spaces.
    pub fn get(&self, uid: u32) -> String {
        let numbers = self.of.get(&uid).map_or(&[][..], |numbers| numbers);
        let names: Vec<&str> = numbers.iter().filter_map(|number| self.name(*number)).collect();
        names.join(" ")
    }

    /// True if the message has exactly these keywords, in this order.
    pub fn is(&self, uid: u32, keywords: &str) -> bool {
        let numbers = self.of.get(&uid).map_or(&[][..], |numbers| numbers);
        let names = numbers.iter().map(|number| self.name(*number).unwrap_or_default());
        let mut given = keywords.split_ascii_whitespace();
        names.into_iter().all(|name| given.next().is_some_and(|given| given.eq_ignore_ascii_case(name)))
            && given.next().is_none()
    }

    pub fn set(&mut self, uid: u32, keywords: &str) {
        if keywords.is_empty() {
            self.of.remove(&uid);
        } else {
            let numbers = keywords.split_ascii_whitespace().filter_map(|name| self.number(name)).collect();
            self.of.insert(uid, numbers);
        }
    }

    pub fn remove(&mut self, uid: u32) {
        self.of.remove(&uid);
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(|name| &**name)
    }

    /// The number of a name; `None` after 65,536 names, more than a mailbox can have.
    fn number(&mut self, name: &str) -> Option<u16> {
        let key = name.to_ascii_lowercase().into_boxed_str();
        if let Some(number) = self.numbers.get(&key) {
            return Some(*number);
        }
        if self.names.len() >= self.compact_at.max(COMPACT_AT) {
            self.compact();
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(name.into());
        self.numbers.insert(key, number);
        Some(number)
    }

    /// Removes unused names.
    fn compact(&mut self) {
        let old = std::mem::take(&mut self.names);
        self.numbers.clear();
        let mut moved: HashMap<u16, u16> = HashMap::new();
        for number in self.of.values_mut().flat_map(|numbers| numbers.iter_mut()) {
            let new = *moved.entry(*number).or_insert_with(|| {
                let name = old.get(usize::from(*number)).cloned().unwrap_or_default();
                let new = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
                self.numbers.insert(name.to_ascii_lowercase().into(), new);
                self.names.push(name);
                new
            });
            *number = new;
        }
        self.compact_at = self.names.len().saturating_mul(2);
    }
}

/// Flags and keywords of messages, UIDs ascending.
#[derive(Clone, Debug, Default)]
pub struct FlagList {
    pub uids: Vec<u32>,
    /// System flags, by the index in `uids`.
    pub flags: Vec<Flags>,
    pub keywords: KeywordTable,
}

impl FlagList {
    /// Adds a message. Unless UIDs ascend, [`Self::sort`] must be called afterwards.
    pub fn push(&mut self, uid: u32, flags: Flags, keywords: &str) {
        self.uids.push(uid);
        self.flags.push(flags);
        if !keywords.is_empty() {
            self.keywords.set(uid, keywords);
        }
    }

    /// Sorts by UID.
    pub fn sort(&mut self) {
        if self.uids.is_sorted() {
            return;
        }
        let mut both: Vec<(u32, Flags)> = self.uids.iter().copied().zip(self.flags.iter().copied()).collect();
        both.sort_unstable_by_key(|(uid, _)| *uid);
        (self.uids, self.flags) = both.into_iter().unzip();
    }

    pub fn len(&self) -> usize {
        self.uids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = MessageFlags> {
        let all = self.uids.iter().zip(&self.flags);
        all.map(|(uid, flags)| MessageFlags { uid: *uid, flags: *flags, keywords: self.keywords.get(*uid).into() })
    }
}

impl FromIterator<MessageFlags> for FlagList {
    fn from_iter<I: IntoIterator<Item = MessageFlags>>(all: I) -> Self {
        let mut list = Self::default();
        for message in all {
            list.push(message.uid, message.flags, &message.keywords);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_stored_once_for_all_messages() {
        let names: Vec<String> = (0..64).map(|n| format!("{n:02}{}", "k".repeat(62))).collect();
        let mut list = FlagList::default();
        for uid in 1..=5000_u32 {
            let own: Vec<&str> = (0..16).map(|n| names[((uid * 7 + n * uid) % 64) as usize].as_str()).collect();
            let own = own.join(" ");
            list.push(uid, Flags::default(), &own);
            assert!(list.keywords.is(uid, &own.to_ascii_uppercase()) && list.keywords.get(uid) == own);
        }
        let table = &list.keywords;
        let octets: usize = table.names.iter().map(|name| name.len()).sum();
        assert_eq!((table.names.len(), octets, table.of.len()), (64, 64 * 64, 5000));
        assert!(table.of.values().all(|numbers| size_of_val(&**numbers) == 32));
    }

    #[test]
    fn unused_names_are_removed() {
        let mut table = KeywordTable::default();
        table.set(1, "stays");
        for n in 0..100_000 {
            table.set(2, &format!("k{n} stays"));
            assert!(table.names.len() <= 2 * COMPACT_AT);
        }
        assert_eq!((table.get(1).as_str(), table.get(2).as_str()), ("stays", "k99999 stays"));
        assert!(!table.is(2, "k99999") && !table.is(2, "k99999 stays on") && table.is(3, ""));
    }

    #[test]
    fn messages_are_sorted_by_uid() {
        let message = |uid: u32, keywords: &str| MessageFlags { uid, flags: Flags::SEEN, keywords: keywords.into() };
        let mut list: FlagList = [message(3, "c"), message(1, "a"), message(2, "")].into_iter().collect();
        list.sort();
        assert_eq!(list.iter().collect::<Vec<_>>(), [message(1, "a"), message(2, ""), message(3, "c")]);
    }
}
