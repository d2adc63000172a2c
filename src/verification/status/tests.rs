//! The machine against every sentence it promises, and against random histories.

use super::*;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const POLICY: Policy = Policy {
    window: Duration::from_secs(72 * 3600),
    grace: Duration::from_secs(72 * 3600),
    recheck: Duration::from_secs(24 * 3600),
    first_pause: Duration::from_secs(30),
    longest_pause: HOUR,
};
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn outcome(findings: &[Finding]) -> Outcome {
    let required = (0..).map(model::record).zip(findings.iter().copied()).collect();
    Outcome { required, ..Outcome::default() }
}

fn check(state: &mut State, findings: &[Finding], now: Timestamp) -> Option<Change> {
    state.check_started_at = Some(now);
    let (next, change) = state.checked(&outcome(findings), now, &POLICY, 500);
    *state = next;
    change
}

fn verified() -> State {
    let mut state = State::created(START, &POLICY);
    let change = check(&mut state, &[Finding::Good; 3], START).unwrap();
    assert_eq!((change.to, change.cause), (VerifiedStatus::Verified, Cause::AllRight));
    state
}

use Finding::{Fault, Good, Indefinite};

#[test]
fn pauses_grow_to_the_longest_and_a_check_falls_on_the_end_of_the_window() {
    let mut state = State::created(START, &POLICY);
    let end = START.after(POLICY.window);
    let mut pauses = Vec::new();
    loop {
        let now = state.next_check_at.unwrap();
        let change = check(&mut state, &[Good, Good, Fault], now);
        if now >= end {
            assert_eq!(now, end);
            let change = change.unwrap();
            assert_eq!((change.to, change.cause), (VerifiedStatus::Failed, Cause::WindowOver(model::record(2))));
            assert_eq!(state.next_check_at, None);
            break;
        }
        assert_eq!(change, None);
        pauses.push(state.next_check_at.unwrap().since(now));
    }
    assert!(pauses[0] >= POLICY.first_pause && pauses[0] < POLICY.first_pause * 2, "{pauses:?}");
    assert!(pauses[..6].is_sorted(), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= HOUR + HOUR / 10), "{pauses:?}");
}

#[test]
fn a_window_ends_on_a_definite_answer_only() {
    let mut state = State::created(START, &POLICY);
    let late = START.after(POLICY.window * 2);
    assert_eq!(check(&mut state, &[Good, Good, Indefinite], late), None);
    assert!(state.next_check_at.unwrap() > late);
    assert_eq!(check(&mut state, &[Good, Good, Good], late.after(HOUR)).unwrap().to, VerifiedStatus::Verified);
}

#[test]
fn negative_ttls_are_respected() {
    let state = State::created(START, &POLICY);
    for (seconds, at_least) in [(900, 900), (7200, 7200), (1_000_000, 3 * 3600)] {
        let mut seen = outcome(&[Fault; 3]);
        seen.negative_ttl = Some(Duration::from_secs(seconds));
        let (next, _) = state.checked(&seen, START, &POLICY, 0);
        assert_eq!(next.next_check_at, Some(START.after(Duration::from_secs(at_least))));
    }
}

#[test]
fn a_claim_that_is_held_back_waits_and_does_not_fail() {
    let state = State::created(START, &POLICY);
    let seen = Outcome { held_back: true, ..outcome(&[Good; 3]) };
    let (next, change) = state.checked(&seen, START.after(POLICY.window * 3), &POLICY, 0);
    assert_eq!((next.status, change), (VerifiedStatus::Pending, None));
}

#[test]
fn a_verified_claim_fails_when_three_faults_of_one_record_span_the_grace() {
    let mut state = verified();
    let mut faults = 0;
    let first = state.next_check_at.unwrap();
    assert!(first.since(START) <= POLICY.recheck && first.since(START) >= POLICY.recheck * 9 / 10);
    loop {
        let now = state.next_check_at.unwrap();
        let change = check(&mut state, &[Good, Fault, Good], now);
        faults += 1;
        if let Some(change) = change {
            assert_eq!((change.to, change.cause), (VerifiedStatus::Failed, Cause::GraceOver(model::record(1))));
            assert_eq!(now, first.after(POLICY.grace));
            break;
        }
        assert_eq!(state.degraded_since(), Some(first));
        assert_eq!(state.deadline(&POLICY), Some(first.after(POLICY.grace)));
    }
    assert!(faults >= 3);
}

#[test]
fn faults_of_two_records_do_not_add_up_and_two_faults_are_not_enough() {
    let mut state = verified();
    let days = |n: u32| START.after(24 * HOUR * n);
    assert_eq!(check(&mut state, &[Fault, Good, Good], days(1)), None);
    assert_eq!(check(&mut state, &[Good, Fault, Good], days(2)), None);
    assert_eq!(check(&mut state, &[Fault, Good, Good], days(9)), None);
    assert_eq!(check(&mut state, &[Fault, Good, Good], days(19)), None);
    assert_eq!(check(&mut state, &[Indefinite, Good, Good], days(29)), None);
    assert_eq!(check(&mut state, &[Fault, Good, Good], days(39)).unwrap().cause, Cause::GraceOver(model::record(0)));
}

#[test]
fn verify_checks_now_keeps_a_running_window_and_opens_a_new_one_after_failure() {
    let now = START.after(HOUR);
    let pending = State::created(START, &POLICY);
    let (requested, change) = pending.verify_requested(now, &POLICY).unwrap();
    assert_eq!((requested.next_check_at, requested.window_ends_at, change), (Some(now), pending.window_ends_at, None));

    let (requested, change) = verified().verify_requested(now, &POLICY).unwrap();
    assert_eq!((requested.next_check_at, requested.check_started_at), (Some(now), Some(now)));
    let before = verified();
    assert_eq!(
        State { next_check_at: before.next_check_at, check_started_at: before.check_started_at, ..requested },
        before
    );
    assert_eq!(change, None);

    let (failed, _) = verified().displaced();
    let (requested, change) = failed.verify_requested(now, &POLICY).unwrap();
    assert_eq!((requested.next_check_at, requested.window_ends_at), (Some(now), Some(now.after(POLICY.window))));
    assert_eq!(change.unwrap().cause, Cause::VerifyRequested);
}

#[test]
fn one_check_in_ten_seconds() {
    let state = State { check_started_at: Some(START), ..State::created(START, &POLICY) };
    let refused = state.verify_requested(START.after(Duration::from_secs(4)), &POLICY).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(6));
    let (requested, _) = state.verify_requested(START.after(CHECK_INTERVAL), &POLICY).unwrap();
    assert!(requested.verify_requested(START.after(CHECK_INTERVAL), &POLICY).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Check(Vec<Finding>, Option<u64>, bool),
    Verify,
}

fn steps(finding: impl Strategy<Value = Finding> + Clone + 'static) -> impl Strategy<Value = Vec<(u64, Step, u32)>> {
    let check = (prop::collection::vec(finding, 3), prop::option::of(0..200_000_u64), any::<bool>())
        .prop_map(|(findings, ttl, held_back)| Step::Check(findings, ttl, held_back));
    let step = prop_oneof![6 => check, 1 => Just(Step::Verify)];
    prop::collection::vec((0..400_000_u64, step, 0..1000_u32), 1..60)
}

fn any_finding() -> impl Strategy<Value = Finding> + Clone {
    prop_oneof![Just(Good), Just(Fault), Just(Indefinite)]
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::created(START, &POLICY)), Just(verified()), Just(verified().displaced().0)]
}

fn run(state: &State, step: &Step, now: Timestamp, spread: u32) -> (State, Option<Change>) {
    match step {
        Step::Verify => state.verify_requested(now, &POLICY).unwrap_or((state.clone(), None)),
        Step::Check(findings, ttl, held_back) => {
            let started = State { check_started_at: Some(now), ..state.clone() };
            let seen =
                Outcome { negative_ttl: ttl.map(Duration::from_secs), held_back: *held_back, ..outcome(findings) };
            started.checked(&seen, now, &POLICY, spread)
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_indefinite_answers_changes_a_status(
        state in any_state(), known in prop::collection::vec(any_finding(), 3), steps in steps(Just(Indefinite)),
    ) {
        let (start, _) = run(&state, &Step::Check(known, None, false), START.after(HOUR), 0);
        let (mut state, mut now) = (start.clone(), START.after(HOUR));
        for (seconds, step, spread) in steps.iter().filter(|(_, step, _)| !matches!(step, Step::Verify)) {
            now = now.after(Duration::from_secs(*seconds));
            let (next, change) = run(&state, step, now, *spread);
            prop_assert_eq!(change, None);
            prop_assert_eq!(&next.faults, &start.faults);
            prop_assert_eq!(next.status, start.status);
            state = next;
        }
    }

    #[test]
    fn every_change_is_one_the_rules_allow(state in any_state(), steps in steps(any_finding())) {
        let (mut state, mut now) = (state, START);
        // The oracle: for each record, the faults since its last good answer.
        let mut history: [Vec<Timestamp>; 3] = Default::default();
        for (seconds, step, spread) in steps {
            now = now.after(Duration::from_secs(seconds));
            let (next, change) = run(&state, &step, now, spread);
            if let (Step::Check(findings, ..), VerifiedStatus::Verified) = (&step, state.status) {
                for (record, finding) in history.iter_mut().zip(findings) {
                    match finding {
                        Good => record.clear(),
                        Fault => record.push(now),
                        Indefinite => {}
                    }
                }
            }
            let spanned = |h: &Vec<Timestamp>| h.len() >= 3 && h.last().unwrap().since(h[0]) >= POLICY.grace;
            match (&step, change.as_ref().map(|c| (c.from, c.to))) {
                (Step::Check(findings, _, held_back), Some((VerifiedStatus::Pending, VerifiedStatus::Verified))) => {
                    prop_assert!(findings.iter().all(|f| *f == Good) && !held_back);
                }
                (Step::Check(findings, ..), Some((VerifiedStatus::Pending, VerifiedStatus::Failed))) => {
                    prop_assert!(findings.contains(&Fault) && now >= state.window_ends_at.unwrap());
                }
                (Step::Check(..), Some((VerifiedStatus::Verified, VerifiedStatus::Failed))) => {
                    prop_assert!(history.iter().any(spanned));
                }
                (Step::Verify, Some((VerifiedStatus::Failed, VerifiedStatus::Pending))) => {}
                (_, None) => {
                    prop_assert!(state.status != VerifiedStatus::Verified || !history.iter().any(spanned));
                    if let (Step::Check(findings, _, false), VerifiedStatus::Pending) = (&step, state.status) {
                        prop_assert!(findings.iter().any(|f| *f != Good));
                    }
                }
                (step, Some(change)) => prop_assert!(false, "{step:?} led to {change:?}"),
            }
            if change.is_some() {
                history = Default::default();
            }
            prop_assert_eq!(next.next_check_at.is_none(), next.status == VerifiedStatus::Failed);
            prop_assert_eq!(next.window_ends_at.is_some(), next.status == VerifiedStatus::Pending);
            prop_assert!(next.faults.is_empty() || next.status == VerifiedStatus::Verified);
            if let (Step::Check(..), Some(due)) = (&step, next.next_check_at) {
                prop_assert!(due >= now.after(CHECK_INTERVAL));
                prop_assert!(due <= now.after(POLICY.recheck.max(LONGEST_NEGATIVE_TTL * 11 / 10)));
            }
            state = next;
        }
    }
}

#[test]
fn a_check_during_which_the_clock_jumps_past_the_window_is_made_again() {
    let mut state = State::created(START, &POLICY);
    state.check_started_at = Some(START);
    let (mut state, change) = state.checked(&outcome(&[Fault]), START.after(2 * POLICY.window), &POLICY, 0);
    assert_eq!((state.status, change), (VerifiedStatus::Pending, None));
    let next = state.next_check_at.unwrap();
    assert_eq!(check(&mut state, &[Fault], next).unwrap().cause, Cause::WindowOver(model::record(0)));
}
