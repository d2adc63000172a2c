//! What may happen in a history, and how often.

use super::{RECORDS, SLOTS};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(usize),
    Delete(usize),
    Ask(usize),
    /// The owner publishes everything that is wanted.
    Publish(usize),
    Unpublish(usize),
    /// Another record, or none.
    Spoil(usize, usize, bool),
    /// No definite answer for a record, in one of several ways.
    Silence(usize, usize, u8),
    AllSpeak,
    Wait(u64),
    /// Checks begin: the maximum in all, and the maximum of scheduled ones.
    Begin(usize, usize),
    Finish(usize, u32),
    /// A check that could not be recorded.
    Lose(usize),
    /// A check ends whose lease had ended before.
    FinishLate(usize),
    Restart,
    /// The clock moves to the next check that is due, and all that is due is done.
    Due,
    /// The clock moves past it by the first value, and due checks begin, up to the second.
    DueBegins(u64, usize),
    /// The name passes to this claim's account: its records take the place of the other's. One of those may have
    /// no definite answer.
    Passes(usize, Option<usize>),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (slot, record) = (0..SLOTS, 0..RECORDS);
    // The first name sees most of it.
    let slot = prop_oneof![3 => 0..2_usize, 1 => slot];
    let step = prop_oneof![
        3 => slot.clone().prop_map(Step::Create),
        1 => slot.clone().prop_map(Step::Delete),
        4 => slot.clone().prop_map(Step::Ask),
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
