//! The rules of a claim's status, implemented a second time as a plain model: it keeps complete histories, while the state machine
//! keeps counters. Random histories must lead both to the same state.
//!
//! `NIGHTLY=1` runs 10,000 histories for each property; `PROPTEST_CASES` any other number.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Tests a property with many histories, in several threads, since histories with a store wait for the disk.
pub(crate) fn in_parallel<S: Strategy>(
    usually: u32,
    strategy: impl Fn() -> S + Sync,
    holds: impl Fn(S::Value) -> Result<(), TestCaseError> + Sync,
) {
    let config = cases(usually);
    let threads = 2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let each = config.cases.div_ceil(u32::try_from(threads).unwrap());
    let part = || {
        let mut runner = TestRunner::new(ProptestConfig { cases: each, ..config.clone() });
        runner.run(&strategy(), &holds).unwrap_or_else(|error| panic!("{error}"));
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(part))));
}

/// The number of histories tested for a property.
pub(crate) fn cases(usually: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let nightly = std::env::var_os("NIGHTLY").is_some().then_some(10_000);
    let cases = set.or(nightly).unwrap_or(usually);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

/// The findings of a check on the required records.
pub(crate) type Findings = BTreeMap<RecordKey, Finding>;

/// A record of a claim; names do not matter.
pub(crate) fn record(number: usize) -> RecordKey {
    RecordKey { purpose: crate::verification::records::Purpose::Dkim, name: format!("t{number}._domainkey.acme.test") }
}

/// A claim.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) policy: Policy,
    pub(crate) status: VerifiedStatus,
    pub(crate) window_end: Option<Timestamp>,
    pub(crate) verified_at: Option<Timestamp>,
    /// When a check last started or was last requested.
    pub(crate) begun: Option<Timestamp>,
    /// The checks since it became verified.
    seen: Vec<(Timestamp, Findings)>,
    /// For each time that a claim to the name was verified: true if it was this one.
    owners: Vec<bool>,
    /// Every change: the new status, and a word for the cause.
    pub(crate) events: Vec<(VerifiedStatus, &'static str)>,
}

impl Naive {
    /// "Create: `pending`"; "the window (72 h, configurable)".
    pub(crate) fn created(now: Timestamp, policy: Policy) -> Self {
        let (status, window_end) = (VerifiedStatus::Pending, Some(now.after(policy.window)));
        let events = vec![(status, "created")];
        Self {
            policy,
            status,
            window_end,
            verified_at: None,
            begun: None,
            seen: Vec::new(),
            owners: Vec::new(),
            events,
        }
    }

    /// "On `pending` a check runs now and a running window keeps its end; on `failed` the domain becomes `pending` with a
    /// new window; on `verified` a check runs now and nothing else changes." "At most one in 10 seconds."
    pub(crate) fn ask(&mut self, now: Timestamp) -> Result<(), Duration> {
        let ten = Duration::from_secs(10);
        if let Some(begun) = self.begun.filter(|begun| now >= *begun && now < begun.after(ten)) {
            return Err(begun.after(ten).since(now));
        }
        self.begun = Some(now);
        if self.status == VerifiedStatus::Failed {
            self.window_end = Some(now.after(self.policy.window));
            self.to(VerifiedStatus::Pending, "asked");
        }
        Ok(())
    }

    /// A check has settled. `free`: no other claim to the name is verified, or its own records are definitely gone.
    /// Returns the records that may be named as the cause of a failure.
    pub(crate) fn settled(&mut self, findings: &Findings, free: bool, now: Timestamp) -> Vec<RecordKey> {
        let faults: Vec<RecordKey> = findings
            .iter()
            .filter(|(_, finding)| **finding == Finding::Fault)
            .map(|(record, _)| record.clone())
            .collect();
        match self.status {
            VerifiedStatus::Failed => Vec::new(),
            // "Until all required records are right (`verified`) or the window is over: `failed`, on a definite answer
            // only." A claim whose records are all right has no fault to fail on: it waits for the name to be free.
            VerifiedStatus::Pending => {
                let all_good = findings.values().all(|finding| *finding == Finding::Good);
                if all_good && free {
                    (self.window_end, self.verified_at) = (None, Some(now));
                    self.owners.push(true);
                    self.to(VerifiedStatus::Verified, "all_right");
                // A check that began before the end of the window does not say that it is over.
                } else if self.window_end.is_some_and(|end| self.begun.unwrap_or(now) >= end) && !faults.is_empty() {
                    self.window_end = None;
                    self.to(VerifiedStatus::Failed, "window_over");
                    return faults;
                }
                Vec::new()
            }
            // "At least three definite faults of a required record span the grace (72 h) with no good answer between."
            VerifiedStatus::Verified => {
                self.seen.push((now, findings.clone()));
                let spans = |record: &RecordKey| {
                    let run = self.run(record);
                    let span = run.last().zip(run.first()).map(|(last, first)| last.since(*first));
                    run.len() >= 3 && span >= Some(self.policy.grace)
                };
                let over: Vec<RecordKey> = faults.into_iter().filter(spans).collect();
                if !over.is_empty() {
                    self.to(VerifiedStatus::Failed, "grace_over");
                }
                over
            }
        }
    }

    /// Another claim to the name is verified: "the first turns `failed` in the same transaction."
    pub(crate) fn displaced(&mut self) {
        self.owners.push(false);
        if self.status == VerifiedStatus::Verified {
            self.to(VerifiedStatus::Failed, "records_gone");
        }
    }

    /// "A domain that was verified and has failed by a fault of its own records is still accepted for, unless another
    /// account's claim has displaced it: then it takes no mail again until it verifies anew, whatever becomes of the other
    /// claim."
    pub(crate) fn takes_mail(&self) -> bool {
        self.owners.last() == Some(&true)
    }

    /// "Until then it is verified, with `degraded_since` and a deadline shown."
    pub(crate) fn degraded_since(&self) -> Option<Timestamp> {
        let (_, newest) = self.seen.last()?;
        newest.keys().filter_map(|record| self.run(record).first().copied()).min()
    }

    /// The definite faults of a record with no good answer since; "indefinite answers neither count nor reset".
    fn run(&self, record: &RecordKey) -> Vec<Timestamp> {
        let of = |findings: &Findings| findings.get(record).copied();
        let since_good = self.seen.iter().rev().take_while(|(_, findings)| of(findings) != Some(Finding::Good));
        let mut run: Vec<Timestamp> =
            since_good.filter(|(_, findings)| of(findings) == Some(Finding::Fault)).map(|(at, _)| *at).collect();
        run.reverse();
        run
    }

    fn to(&mut self, status: VerifiedStatus, cause: &'static str) {
        self.status = status;
        self.seen.clear();
        self.events.push((status, cause));
    }
}

/// The code of a cause in recorded changes.
fn word(cause: &Cause) -> &'static str {
    match cause {
        Cause::AllRight => "all_right",
        Cause::WindowOver(_) => "window_over",
        Cause::GraceOver(_) => "grace_over",
        Cause::VerifyRequested => "asked",
        Cause::Displaced => "records_gone",
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A check: its findings, the negative TTL, and whether another claim holds it back.
    Check(Vec<Finding>, Option<u64>, bool),
    /// The same as the last one.
    CheckAgain,
    Ask,
    Displace,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step, u32)>> {
    use Finding::{Fault, Good, Indefinite};
    let finding = prop_oneof![5 => Just(Good), 3 => Just(Fault), 2 => Just(Indefinite)];
    let findings = prop_oneof![2 => Just(vec![Good; 3]), 5 => prop::collection::vec(finding, 3)];
    let check = (findings, prop::option::of(0..20_000_u64), prop::bool::weighted(0.2));
    let step = prop_oneof![
        8 => check.prop_map(|(findings, ttl, held_back)| Step::Check(findings, ttl, held_back)),
        6 => Just(Step::CheckAgain), 3 => Just(Step::Ask), 1 => Just(Step::Displace)
    ];
    let pause = prop_oneof![2 => 0..15_000_u64, 3 => 10_000..3_600_000_u64, 6 => 3_600_000..130_000_000_u64];
    prop::collection::vec((pause, step, 0..1000_u32), 1..80)
}

fn policies() -> impl Strategy<Value = Policy> {
    let hours = |range: std::ops::Range<u64>| range.prop_map(|hours| Duration::from_secs(hours * 3600));
    (hours(1..100), hours(1..100), hours(1..48), 1..600_u64, hours(1..6)).prop_map(
        |(window, grace, recheck, first, longest_pause)| {
            let first_pause = Duration::from_secs(first);
            Policy { window, grace, recheck, first_pause, longest_pause }
        },
    )
}

/// Checks that the next check is due within the promised bounds.
fn next_is_in_bounds(state: &State, ttl: Option<u64>, now: Timestamp, policy: &Policy) -> Result<(), TestCaseError> {
    let ten = Duration::from_secs(10);
    let Some(due) = state.next_check_at else {
        prop_assert_eq!(state.status, VerifiedStatus::Failed);
        return Ok(());
    };
    prop_assert!(due >= now.after(ten));
    match state.status {
        VerifiedStatus::Failed => prop_assert!(false, "a failed claim has no next check"),
        VerifiedStatus::Pending => {
            let negative = Duration::from_secs(ttl.unwrap_or_default()).min(Duration::from_secs(3 * 3600));
            let longest = policy.longest_pause.max(policy.first_pause).max(negative).max(ten);
            prop_assert!(due <= now.after(longest + longest / 10));
            let ends = state.window_ends_at.is_some_and(|end| end == due);
            prop_assert!(ends || due >= now.after(negative), "checked again while caches have the old answer");
            if let Some(end) = state.window_ends_at.filter(|end| *end >= now.after(ten)) {
                prop_assert!(due <= end, "the window would end late");
            }
        }
        VerifiedStatus::Verified => {
            prop_assert!(due <= now.after(policy.recheck.max(ten)));
            if let Some(deadline) = state.deadline(policy).filter(|deadline| *deadline >= now.after(ten)) {
                prop_assert!(due <= deadline, "it would fail late");
            }
        }
    }
    Ok(())
}

fn history(policy: Policy, steps: Vec<(u64, Step, u32)>) -> Result<(), TestCaseError> {
    let mut now = Timestamp::from_millis(1_800_000_000_000);
    let (mut state, mut model) = (State::created(now, &policy), Naive::created(now, policy));
    let mut last = (vec![Finding::Indefinite; 3], None, false);
    for (millis, step, spread) in steps {
        now = now.after(Duration::from_millis(millis));
        let before = state.clone();
        let mut allowed = Vec::new();
        let change = match step {
            Step::Ask => {
                let (requested, wanted) = (state.verify_requested(now, &policy), model.ask(now));
                prop_assert_eq!(requested.as_ref().map(|_| ()).map_err(|too_soon| too_soon.retry_after), wanted);
                let Ok((next, change)) = requested else { continue };
                prop_assert_eq!(next.next_check_at, Some(now));
                state = next;
                change
            }
            Step::Displace => {
                model.displaced();
                let (next, change) = state.displaced();
                state = next;
                change
            }
            Step::Check(..) | Step::CheckAgain => {
                if let Step::Check(findings, ttl, held_back) = step {
                    last = (findings, ttl, held_back);
                }
                let (findings, ttl, held_back) = last.clone();
                model.begun = Some(now);
                let by_record: Findings = (0..).map(record).zip(findings.iter().copied()).collect();
                allowed = model.settled(&by_record, !held_back, now);
                let required = (0..).map(record).zip(findings.iter().copied()).collect();
                let outcome = Outcome { required, held_back, negative_ttl: ttl.map(Duration::from_secs) };
                state.check_started_at = Some(now);
                let (next, change) = state.checked(&outcome, now, &policy, spread);
                state = next;
                if change.is_some() || state.status != VerifiedStatus::Failed {
                    next_is_in_bounds(&state, ttl, now, &policy)?;
                }
                if !findings.contains(&Finding::Fault) && findings.contains(&Finding::Indefinite) {
                    prop_assert!(change.is_none(), "an indefinite answer changed a status");
                }
                change
            }
        };
        prop_assert_eq!(state.status, model.status);
        prop_assert_eq!(state.window_ends_at, model.window_end);
        prop_assert_eq!(state.verified_at, model.verified_at);
        prop_assert_eq!(state.takes_mail, model.takes_mail());
        prop_assert!(state.takes_mail || state.status != VerifiedStatus::Verified, "a verified claim takes mail");
        prop_assert_eq!(state.degraded_since(), model.degraded_since());
        prop_assert_eq!(state.deadline(&policy), model.degraded_since().map(|since| since.after(policy.grace)));
        prop_assert_eq!(change.is_some(), before.status != state.status);
        if let Some(change) = change {
            prop_assert_eq!((change.from, change.to), (before.status, state.status));
            prop_assert_eq!(Some(&(change.to, word(&change.cause))), model.events.last());
            if let Cause::WindowOver(record) | Cause::GraceOver(record) = change.cause {
                prop_assert!(allowed.contains(&record), "{record:?} did not fail");
            }
        }
    }
    Ok(())
}

#[test]
fn the_machine_does_what_is_promised() {
    in_parallel(512, || (policies(), steps()), |(policy, steps)| history(policy, steps));
}

#[test]
fn a_clock_set_back_does_not_block_checks() {
    let policy = Policy {
        window: Duration::from_secs(3600),
        grace: Duration::from_secs(3600),
        recheck: Duration::from_secs(3600),
        first_pause: Duration::from_secs(30),
        longest_pause: Duration::from_secs(600),
    };
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ahead = State { check_started_at: Some(now.after(policy.window)), ..State::created(now, &policy) };
    assert!(ahead.verify_requested(now, &policy).is_ok());
}
