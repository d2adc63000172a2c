//! Sets of UIDs as ranges.
//!
//! Invariant: the ranges ascend, are not empty, and neither overlap nor adjoin, so the memory of a set depends on its gaps, not
//! on its size.

use std::ops::RangeInclusive;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidRanges(Vec<RangeInclusive<u32>>);

impl UidRanges {
    /// All UIDs up to `last`, inclusive.
    pub fn up_to(last: u32) -> Self {
        std::iter::once(1..=last).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u32>> {
        self.0.iter().cloned()
    }

    pub fn contains(&self, uid: u32) -> bool {
        let at = self.0.partition_point(|range| *range.end() < uid);
        self.0.get(at).is_some_and(|range| range.contains(&uid))
    }

    /// Those from `first` to `last`, inclusive.
    pub fn between(&self, first: u32, last: u32) -> Self {
        self.iter().map(|range| first.max(*range.start())..=last.min(*range.end())).collect()
    }

    /// Those that are not in `uids`, which must ascend.
    pub fn without(&self, uids: &[u32]) -> Self {
        let mut rest = Vec::new();
        for range in self.iter() {
            let from = uids.partition_point(|uid| uid < range.start());
            let mut next = *range.start();
            for uid in uids.get(from..).unwrap_or_default().iter().take_while(|uid| *uid <= range.end()) {
                rest.push(next..=uid.saturating_sub(1));
                next = uid.saturating_add(1);
            }
            if uids.binary_search(range.end()).is_err() {
                rest.push(next..=*range.end());
            }
        }
        rest.into_iter().collect()
    }
}

/// UIDs begin at 1: 0 is left out.
impl FromIterator<RangeInclusive<u32>> for UidRanges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u32>>>(ranges: I) -> Self {
        let ranges = ranges.into_iter().map(|range| (*range.start()).max(1)..=*range.end());
        let mut ranges: Vec<RangeInclusive<u32>> = ranges.filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=(*last.end()).max(*range.end());
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}

impl FromIterator<u32> for UidRanges {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> Self {
        uids.into_iter().map(|uid| uid..=uid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all(ranges: &UidRanges) -> BTreeSet<u32> {
        ranges.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn they_are_the_sets_that_they_stand_for(
            ranges in prop::collection::vec((0..60_u32, 0..9_u32), 0..9),
            uids in prop::collection::btree_set(1..70_u32, 0..30),
            first in 0..70_u32,
            last in 0..70_u32,
        ) {
            let wanted: BTreeSet<u32> = ranges.iter().flat_map(|(from, len)| *from..=from + len).filter(|uid| *uid > 0).collect();
            let set: UidRanges = ranges.iter().map(|(from, len)| *from..=from + len).collect();
            prop_assert_eq!(all(&set), wanted.clone());
            prop_assert_eq!(&set, &wanted.iter().copied().collect::<UidRanges>());
            let gaps = set.0.windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start());
            prop_assert!(gaps, "{:?}", set);
            prop_assert!((0..80).all(|uid| set.contains(uid) == wanted.contains(&uid)));
            let list: Vec<u32> = uids.iter().copied().collect();
            prop_assert_eq!(all(&set.without(&list)), wanted.difference(&uids).copied().collect::<BTreeSet<_>>());
            let between: BTreeSet<u32> = wanted.iter().copied().filter(|uid| (first..=last).contains(uid)).collect();
            prop_assert_eq!(all(&set.between(first, last)), between);
        }
    }

    #[test]
    fn the_highest_uid_is_no_special_case() {
        let all = UidRanges::up_to(u32::MAX);
        assert!(all.contains(u32::MAX) && !all.contains(0));
        assert_eq!(all.without(&[1, u32::MAX]), std::iter::once(2..=u32::MAX - 1).collect());
        assert!(UidRanges::up_to(0).is_empty());
    }
}
