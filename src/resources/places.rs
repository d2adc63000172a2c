//! Shares the places for background work between owners.
//!
//! Invariant: an owner gets another place only while more are free than it has. So the last one goes to an owner without any, however
//! much work of others is due or slow; a single owner gets half of them. Next is the owner with the fewest places, among equals the
//! one served least recently.

use super::Owner;
use crate::clock::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The places for one kind of work, and how many each owner has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub free: usize,
    /// Places by owner, without owners of none.
    pub taken: BTreeMap<Owner, usize>,
}

impl Places {
    pub fn all_free(free: usize) -> Self {
        Self { free, taken: BTreeMap::new() }
    }

    /// Of `total` places, with those of `running` in use.
    pub fn beside<'a>(total: usize, running: impl IntoIterator<Item = &'a Owner>) -> Self {
        let mut places = Self::all_free(total);
        running.into_iter().for_each(|owner| places.take(owner));
        places
    }

    /// True if the owner may take another one.
    pub fn has_for(&self, owner: &Owner) -> bool {
        self.held_by(owner) < self.free
    }

    pub fn take(&mut self, owner: &Owner) {
        self.free = self.free.saturating_sub(1);
        let taken = self.taken.entry(owner.clone()).or_default();
        *taken = taken.saturating_add(1);
    }

    fn held_by(&self, owner: &Owner) -> usize {
        self.taken.get(owner).copied().unwrap_or_default()
    }
}

/// An owner with due work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// When it last got a place.
    pub served_at: Timestamp,
    /// When its first due job became due.
    pub due_at: Timestamp,
    pub owner: Owner,
}

/// Owners waiting for places.
#[derive(Debug)]
pub struct Line {
    places: Places,
    waiting: BinaryHeap<Reverse<(usize, Waiting)>>,
}

impl Line {
    pub fn new(places: Places, waiting: impl IntoIterator<Item = Waiting>) -> Self {
        let mut line = Self { places, waiting: BinaryHeap::new() };
        waiting.into_iter().for_each(|waiting| line.join(waiting));
        line
    }

    /// Removes the next owner; [`Self::take`] puts it back.
    pub fn next(&mut self) -> Option<Waiting> {
        self.waiting.pop().map(|Reverse((_, waiting))| waiting)
    }

    /// Gives the owner a place, and lets it wait for another one. False if it may not have one.
    pub fn take(&mut self, waiting: Waiting) -> bool {
        let has_place = self.places.has_for(&waiting.owner);
        if has_place {
            self.places.take(&waiting.owner);
            self.join(waiting);
        }
        has_place
    }

    /// The remaining places.
    pub fn into_places(self) -> Places {
        self.places
    }

    fn join(&mut self, waiting: Waiting) {
        self.waiting.push(Reverse((self.places.held_by(&waiting.owner), waiting)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;

    fn owners(count: usize) -> Vec<Owner> {
        (0..count).map(|_| Owner::Account(AccountId::new())).collect()
    }

    /// Owners take places in turn until none gets another; returns how many each has.
    fn shared_out(places: &mut Places, owners: &[Owner]) -> Vec<usize> {
        for owner in owners {
            while places.has_for(owner) {
                places.take(owner);
            }
        }
        owners.iter().map(|owner| places.held_by(owner)).collect()
    }

    #[test]
    fn there_is_always_one_for_who_has_none() {
        let owners = owners(5);
        assert_eq!(shared_out(&mut Places::all_free(32), &owners), [16, 8, 4, 2, 1]);
        assert_eq!(shared_out(&mut Places::all_free(1), &owners), [1, 0, 0, 0, 0]);
        let mut places = Places::all_free(4);
        assert_eq!(shared_out(&mut places, &owners[..1]), [2]);
        assert_eq!((places.free, places.has_for(&owners[0]), places.has_for(&owners[1])), (2, false, true));
    }

    #[test]
    fn the_owner_with_the_fewest_is_next_then_the_one_served_least_recently() {
        let owners = owners(3);
        let at = Timestamp::from_millis;
        let waiting =
            |(owner, served): (&Owner, i64)| Waiting { served_at: at(served), due_at: at(0), owner: owner.clone() };
        let places = Places::beside(9, [&owners[0]]);
        let mut line = Line::new(places, owners.iter().zip([1, 3, 2]).map(waiting));
        let mut order = Vec::new();
        while let Some(next) = line.next() {
            let owner = owners.iter().position(|owner| *owner == next.owner).unwrap();
            if line.take(next) {
                order.push(owner);
            }
        }
        assert_eq!((order, line.places.free), (vec![2, 1, 0, 2, 1, 0], 2));
    }
}
