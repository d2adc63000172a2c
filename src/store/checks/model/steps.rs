//! The steps of a history, with their frequencies.

use super::{RECORDS, SLOTS};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(usize),
    Delete(usize),
    /// The owner requests a check.
    Verify(usize),
    /// The owner publishes all required records.
    Publish(usize),
    Unpublish(usize),
    /// Replaces a record by another one, or removes it.
    Spoil(usize, usize, bool),
    /// No definite answer for a record, in one of several ways.
    Silence(usize, usize, u8),
    AllSpeak,
    Wait(u64),
    /// Due checks start: at most this many, and at most this many scheduled ones.
    Begin(usize, usize),
    Finish(usize, u32),
    /// A check ends without being recorded.
    Lose(usize),
    /// A check ends after its lease has expired.
    FinishLate(usize),
    Restart,
    /// The clock advances to the next due check, and all due checks run.
    Due,
    /// The clock advances this many seconds past the next due check, and at most this many due checks start.
    DueBegins(u64, usize),
    /// The name changes hands: the records of this claim replace those of the other account's. One of the latter may have no
    /// definite answer.
    Passes(usize, Option<usize>),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (slot, record) = (0..SLOTS, 0..RECORDS);
    // Most steps are on the first name.
    let slot = prop_oneof![3 => 0..2_usize, 1 => slot];
    let step = prop_oneof![
        3 => slot.clone().prop_map(Step::Create),
        1 => slot.clone().prop_map(Step::Delete),
        4 => slot.clone().prop_map(Step::Verify),
        6 => slot.clone().prop_map(Step::Publish),
        3 => slot.clone().prop_map(Step::Unpublish),
        2 => (slot.clone(), record.clone(), any::<bool>()).prop_map(|(slot, record, else_)| Step::Spoil(slot, record, else_)),
        2 => (slot.clone(), record, any::<u8>()).prop_map(|(slot, record, how)| Step::Silence(slot, record, how)),
        2 => Just(Step::AllSpeak),
        4 => (0..20_u64).prop_map(Step::Wait),
        2 => (20..6000_u64).prop_map(Step::Wait),
        4 => (1..5_usize, 0..5_usize).prop_map(|(limit, scheduled)| Step::Begin(limit, scheduled)),
        4 => (any::<usize>(), 0..1000_u32).prop_map(|(which, spread)| Step::Finish(which, spread)),
        1 => any::<usize>().prop_map(Step::Lose),
        3 => any::<usize>().prop_map(Step::FinishLate),
        1 => Just(Step::Restart),
        14 => Just(Step::Due),
        5 => (0..2500_u64, 1..9_usize).prop_map(|(seconds, limit)| Step::DueBegins(seconds, limit)),
        3 => (slot.clone(), prop::option::of(0..RECORDS)).prop_map(|(slot, silent)| Step::Passes(slot, silent)),
    ];
    prop::collection::vec(step, 1..70)
}
