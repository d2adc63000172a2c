//! An LRU cache of frames and indexes.
//!
//! Invariant: cached frames and indexes have been verified against the body's hash; together they take at most `limit` octets.

use super::super::super::lock;
use super::super::format::Index;
use crate::id::BodyHash;
use bytes::Bytes;
use lru::LruCache;
use std::sync::{Arc, Mutex};

pub(super) struct Cache {
    limit: usize,
    state: Mutex<State>,
}

struct State {
    entries: LruCache<(BodyHash, Part), Entry>,
    octets: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    /// By its number.
    Frame(usize),
    /// By the size of the stored form, of which a body may have several.
    Index(usize),
}

#[derive(Clone)]
enum Entry {
    Frame(Bytes),
    Index(Arc<Index>),
}

impl Entry {
    fn octets(&self) -> usize {
        // 200 for the entry itself.
        200 + match self {
            Self::Frame(frame) => frame.len(),
            Self::Index(index) => index.memory(),
        }
    }
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State { entries: LruCache::unbounded(), octets: 0 }) }
    }

    pub(super) fn frame(&self, hash: &BodyHash, number: usize) -> Option<Bytes> {
        match lock(&self.state).entries.get(&(*hash, Part::Frame(number))) {
            Some(Entry::Frame(frame)) => Some(frame.clone()),
            _ => None,
        }
    }

    pub(super) fn index(&self, hash: &BodyHash, stored_size: usize) -> Option<Arc<Index>> {
        match lock(&self.state).entries.get(&(*hash, Part::Index(stored_size))) {
            Some(Entry::Index(index)) => Some(Arc::clone(index)),
            _ => None,
        }
    }

    /// The frame must have been verified.
    pub(super) fn put_frame(&self, hash: &BodyHash, number: usize, frame: Bytes) {
        // A copy: a slice would keep the whole fetched buffer in memory.
        self.put(*hash, Part::Frame(number), Entry::Frame(Bytes::copy_from_slice(&frame)));
    }

    pub(super) fn put_index(&self, hash: &BodyHash, index: Arc<Index>) {
        self.put(*hash, Part::Index(index.stored_size()), Entry::Index(index));
    }

    fn put(&self, hash: BodyHash, part: Part, entry: Entry) {
        let octets = entry.octets();
        if octets > self.limit {
            return;
        }
        let mut state = lock(&self.state);
        if let Some(old) = state.entries.put((hash, part), entry) {
            state.octets = state.octets.saturating_sub(old.octets());
        }
        state.octets = state.octets.saturating_add(octets);
        while state.octets > self.limit {
            let Some((_, oldest)) = state.entries.pop_lru() else { break };
            state.octets = state.octets.saturating_sub(oldest.octets());
        }
    }

    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let state = lock(&self.state);
        assert_eq!(state.octets, state.entries.iter().map(|(_, entry)| entry.octets()).sum::<usize>());
        state.octets
    }
}
