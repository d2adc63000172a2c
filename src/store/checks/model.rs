//! Random histories of the claims of two accounts to two names, in a real store, compared with the model of
//! [`crate::verification::status::model`]: overlapping, lost and interrupted checks, requested checks, claims that are deleted
//! and created again, and arbitrary DNS responses.

mod promises;
mod steps;
mod zone;

use super::*;
use crate::id::InboxId;
use crate::resources::Owner;
use crate::store::domains::{DomainPatch, NewDomain};
use crate::store::names::NameLimits;
use crate::store::ownership::Ownership;
use crate::store::testing::{account, assert_due, has_one_daemon, inbox};
use crate::verification::judge::{CheckedRecord, judge};
use crate::verification::records::{Purpose, RecordKey};
use crate::verification::status::Finding;
use crate::verification::status::model::{Findings, Naive, in_parallel};
use VerifiedStatus::{Failed, Verified};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use steps::{Step, steps};
use tempfile::TempDir;
use zone::Zone;

const POLICY: Policy = Policy {
    window: Duration::from_secs(3600),
    grace: Duration::from_secs(3600),
    recheck: Duration::from_secs(2400),
    first_pause: Duration::from_secs(30),
    longest_pause: Duration::from_secs(600),
};
const LEASE: Duration = Duration::from_secs(100);
const TEN: Duration = Duration::from_secs(10);
const NAMES: [&str; 2] = ["acme.com", "shop.example.net"];
/// The number of claims, one per account and name: slot / 2 is the name, slot % 2 the account.
const SLOTS: usize = 4;
/// The maximum of required records of a claim: DKIM, and the record of ownership.
const RECORDS: usize = 4;

/// A claim that exists.
struct Claim {
    row: DomainRow,
    secret: String,
    model: Naive,
    verify_requested: bool,
    leased_until: Option<Timestamp>,
    /// The runner of the last check that was not recorded.
    runner: Option<RunnerId>,
    begun: Option<Timestamp>,
    contested_at: Option<Timestamp>,
}

/// A running check, with its observations. Each claim of due checks has a new runner.
struct RunningCheck {
    runner: RunnerId,
    slot: usize,
    report: Report,
    findings: Findings,
    rival: Option<(Report, bool)>,
    until: Timestamp,
}

struct World {
    dir: TempDir,
    /// `None` only during a restart.
    store: Option<Store>,
    accounts: Vec<AccountId>,
    /// The catch-all of each account's claims.
    inboxes: Vec<InboxId>,
    /// The signing provider has one identity per name: claims share DKIM tokens, and are distinguished by a secret.
    shared: bool,
    now: Timestamp,
    claims: Vec<Option<Claim>>,
    running: Vec<RunningCheck>,
    /// Checks whose lease has expired.
    late: Vec<RunningCheck>,
    /// All names ever claimed, each with the account.
    ever: BTreeSet<(usize, usize)>,
    zone: Zone,
    created: usize,
    /// When the last scheduled check, and the last requested one, of each account was started.
    served: [[Option<Timestamp>; 2]; 2],
}

impl World {
    async fn new(shared: bool) -> Self {
        // In memory if possible: the test does not depend on the disk.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = Store::open(dir.path()).unwrap();
        let accounts = vec![account(&store).await, account(&store).await];
        let inboxes = vec![inbox(&store, &accounts[0], "one").await, inbox(&store, &accounts[1], "two").await];
        Self {
            dir,
            store: Some(store),
            accounts,
            inboxes,
            shared,
            now: Timestamp::from_millis(1_800_000_000_000),
            claims: (0..SLOTS).map(|_| None).collect(),
            running: Vec::new(),
            late: Vec::new(),
            ever: BTreeSet::new(),
            zone: Zone::default(),
            created: 0,
            served: [[None; 2]; 2],
        }
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn claim(&mut self, slot: usize) -> &mut Claim {
        self.claims[slot].as_mut().unwrap()
    }

    /// "A name that another account claims or has ever claimed needs, for each of its claims, one more record."
    fn contested(&self, slot: usize) -> bool {
        self.shared && self.ever.contains(&(slot / 2, 1 - slot % 2))
    }

    fn rival(&self, slot: usize) -> Option<&Claim> {
        self.claims[slot ^ 1].as_ref().filter(|claim| claim.model.status == Verified)
    }

    /// The records that the owner of a claim has to publish, by the documentation.
    fn wanted(&self, slot: usize) -> Vec<(String, String)> {
        let (name, Some(claim)) = (NAMES[slot / 2], &self.claims[slot]) else { return Vec::new() };
        let dkim = |token: &String| (format!("{token}._domainkey.{name}"), format!("{token}.dkim.example"));
        let mut wanted: Vec<_> = claim.row.tokens.iter().map(dkim).collect();
        if self.contested(slot) {
            wanted.push((format!("_inboxlayer.{name}"), claim.secret.clone()));
        }
        wanted
    }

    /// The current findings of its required records.
    fn truth(&self, slot: usize) -> Findings {
        let key = |name: &String| RecordKey {
            purpose: if name.starts_with("_inboxlayer.") { Purpose::Ownership } else { Purpose::Dkim },
            name: name.clone(),
        };
        self.wanted(slot).iter().map(|wanted| (key(&wanted.0), self.zone.finding(wanted))).collect()
    }

    fn report(&self, row: &DomainRow) -> Report {
        let expected = zone::template().records(&row.name, &row.tokens, row.ownership_secret.as_deref());
        let checked = expected.iter().map(|record| CheckedRecord {
            expected: record.clone(),
            evidence: judge(record, &expected, &self.zone.observation(record), row.created_at),
        });
        Report { domain: row.id.clone(), records: checked.collect() }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Create(slot) => self.create(slot).await?,
            Step::Delete(slot) if self.claims[slot].is_some() => {
                let claim = self.claims[slot].take().unwrap();
                let account = &self.accounts[slot % 2];
                prop_assert!(
                    self.store().domain_delete(account, &claim.row.id, crate::clock::Timestamp::real()).await.unwrap()
                );
                prop_assert!(
                    !self.store().domain_delete(account, &claim.row.id, crate::clock::Timestamp::real()).await.unwrap()
                );
                prop_assert!(self.store().domain_get(account, &claim.row.id).await.unwrap().is_none());
                prop_assert!(self.store().claim_for_identity(&claim.row.id).await.unwrap().is_none());
            }
            Step::Verify(slot) if self.claims[slot].is_some() => self.verify(slot).await?,
            Step::Publish(slot) => self.wanted(slot).into_iter().for_each(|record| self.zone.publish(record)),
            Step::Unpublish(slot) => self.wanted(slot).iter().for_each(|record| self.zone.spoil(record, false)),
            Step::Spoil(slot, record, other) => {
                if let Some(record) = self.wanted(slot).get(record) {
                    self.zone.spoil(record, other);
                }
            }
            Step::Silence(slot, record, how) => {
                if let Some((name, _)) = self.wanted(slot).get(record) {
                    self.zone.silence(name, how);
                }
            }
            Step::AllSpeak => self.zone.speak(),
            Step::Wait(seconds) => self.pass(Duration::from_secs(seconds)),
            Step::Begin(limit, scheduled) => self.begin(limit, scheduled).await?,
            Step::Finish(which, spread) if !self.running.is_empty() => {
                let check = self.running.swap_remove(which % self.running.len());
                self.finish(check, spread).await?;
            }
            Step::Lose(which) if !self.running.is_empty() => {
                self.running.swap_remove(which % self.running.len());
            }
            Step::FinishLate(which) if !self.late.is_empty() => {
                let check = self.late.swap_remove(which % self.late.len());
                self.finish(check, 0).await?;
            }
            Step::Restart => self.restart().await,
            Step::Due => self.due().await?,
            Step::DueBegins(seconds, limit) => {
                let due = self.store().domain_next_due(Places::all_free(usize::MAX)).await.unwrap();
                self.pass(due.map(|due| due.since(self.now)).unwrap_or_default() + Duration::from_secs(seconds));
                self.begin(limit, 10).await?;
            }
            Step::Passes(slot, silent) => {
                let theirs = self.wanted(slot ^ 1);
                theirs.iter().for_each(|record| self.zone.spoil(record, false));
                if let Some((name, _)) = silent.and_then(|silent| theirs.get(silent)) {
                    self.zone.silence(name, 0);
                }
                self.wanted(slot).into_iter().for_each(|record| self.zone.publish(record));
            }
            Step::Delete(_) | Step::Verify(_) | Step::Finish(..) | Step::Lose(_) | Step::FinishLate(_) => {}
        }
        Ok(())
    }

    async fn create(&mut self, slot: usize) -> Result<(), TestCaseError> {
        self.created += 1;
        let (account, number) = (self.accounts[slot % 2].clone(), self.created);
        let secret = format!("secret-{number}");
        let tokens = match self.shared {
            true => [0, 1, 2].map(|i| format!("n{}t{i}", slot / 2)),
            false => [0, 1, 2].map(|i| format!("c{number}t{i}")),
        };
        let new = NewDomain {
            account,
            name: NAMES[slot / 2].parse().unwrap(),
            tokens,
            ownership: match self.shared {
                true => Ownership::WhenContested(secret.clone()),
                false => Ownership::ByTokens,
            },
            state: State::created(self.now, &POLICY),
            client_id: None,
        };
        let created = self.store().domain_create(new, NameLimits::new(10, 10), self.now).await;
        if self.claims[slot].is_some() {
            prop_assert!(created.is_err(), "an account can claim a name only once");
            return Ok(());
        }
        self.ever.insert((slot / 2, slot % 2));
        let (row, model) = (created.unwrap(), Naive::created(self.now, POLICY));
        let catch_all = DomainPatch { catch_all: Some(Some(self.inboxes[slot % 2].clone())), ..DomainPatch::default() };
        self.store().domain_patch(&row.account, &row.id, catch_all, self.now).await.unwrap();
        self.claims[slot] = Some(Claim {
            row,
            secret,
            model,
            verify_requested: false,
            leased_until: None,
            runner: None,
            begun: None,
            contested_at: None,
        });
        if self.contested(slot) {
            let now = self.now;
            for claim in self.claims.iter_mut().skip(slot & !1).take(2).flatten() {
                claim.contested_at.get_or_insert(now);
            }
        }
        Ok(())
    }

    async fn verify(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let (account, now) = (self.accounts[slot % 2].clone(), self.now);
        let id = self.claim(slot).row.id.clone();
        let stranger = self.accounts[1 - slot % 2].clone();
        let foreign = self.store().domain_request_check(&stranger, &id, POLICY, now).await;
        prop_assert!(matches!(foreign, Err(RequestCheckError::NotFound)), "another account can request a check");
        let requested = self.store().domain_request_check(&account, &id, POLICY, now).await;
        let claim = self.claim(slot);
        match (claim.model.ask(now), requested) {
            (Ok(()), Ok(row)) => {
                prop_assert_eq!(row.state.next_check_at, Some(now));
                claim.verify_requested = true;
            }
            (Err(wanted), Err(RequestCheckError::TooSoon(TooSoon { retry_after }))) => {
                prop_assert_eq!(retry_after, wanted)
            }
            (wanted, got) => prop_assert!(false, "requesting a check: expected {wanted:?}, got {got:?}"),
        }
        Ok(())
    }

    /// Advances the clock. Running checks whose lease expires become late.
    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        let now = self.now;
        self.late.extend(self.running.extract_if(.., |check| check.until <= now));
    }

    fn owner(&self, slot: usize) -> Owner {
        Owner::Account(self.accounts[slot % 2].clone())
    }

    /// The places with those of running checks taken and `free` free ones.
    fn places(&self, free: usize) -> Places {
        let mut places = Places::all_free(free + self.running.len());
        self.running.iter().for_each(|check| places.take(&self.owner(check.slot)));
        places
    }

    async fn begin(&mut self, limit: usize, scheduled: usize) -> Result<(), TestCaseError> {
        let now = self.now;
        let until = now.after(LEASE);
        let mut held = [0; 2];
        self.running.iter().for_each(|check| held[check.slot % 2] += 1);
        let claim = jobs::Claim { places: self.places(limit), ..jobs::Claim::new(now, until, 0) };
        let runner = claim.lease.runner.clone();
        let rows = self.store().domain_claim_due(claim, scheduled).await.unwrap();
        let (served, first_due) = (self.served, self.first_due());
        let (mut free, mut scheduled) = (limit, scheduled);
        for row in rows {
            let slot = self.claims.iter().position(|c| c.as_ref().is_some_and(|c| c.row.id == row.id));
            let Some(slot) = slot else { return Err(TestCaseError::fail("a check of a deleted claim is due")) };
            let (verify_requested, first) = self.next(held, served, first_due, free, scheduled);
            prop_assert!(first.contains(&slot), "{slot} is not first: {first:?}");
            free -= 1;
            held[slot % 2] += 1;
            scheduled -= usize::from(!verify_requested);
            self.served[usize::from(verify_requested)][slot % 2] = Some(now);
            let taken_by = Some(runner.clone());
            let findings = self.truth(slot);
            let claim = self.claim(slot);
            prop_assert!(claim.leased_until.is_none_or(|until| until <= now), "two concurrent checks of a domain");
            prop_assert!(claim.model.status != Failed, "a check of a failed claim");
            prop_assert!(claim.begun.is_none_or(|begun| now >= begun.after(TEN)), "two checks within ten seconds");
            (claim.verify_requested, claim.leased_until, claim.begun) = (false, Some(until), Some(now));
            claim.runner = taken_by;
            claim.model.begun = Some(now);
            let rival = self.store().domain_rival(&row).await.unwrap();
            prop_assert_eq!(rival.as_ref().map(|row| &row.id), self.rival(slot).map(|claim| &claim.row.id));
            // "The first's own required records": its DKIM records, or the record of ownership if those are shared.
            let own = if self.contested(slot) { Purpose::Ownership } else { Purpose::Dkim };
            let gone = self
                .truth(slot ^ 1)
                .iter()
                .filter(|(record, _)| record.purpose == own)
                .all(|(_, f)| *f == Finding::Fault);
            let rival = rival.map(|row| (self.report(&row), gone));
            self.running.push(RunningCheck {
                runner: runner.clone(),
                slot,
                report: self.report(&row),
                findings,
                rival,
                until,
            });
        }
        prop_assert_eq!(
            self.next(held, served, first_due, free, scheduled).1,
            vec![0; 0],
            "all due checks are started"
        );
        Ok(())
    }

    async fn finish(&mut self, check: RunningCheck, spread: u32) -> Result<(), TestCaseError> {
        let (slot, id, now) = (check.slot, check.report.domain.clone(), self.now);
        let standing = self.rival(slot).map(|claim| claim.row.id.clone());
        let gone = check.rival.as_ref().filter(|(_, gone)| *gone).map(|(report, _)| report.domain.clone());
        let free = standing.is_none() || standing == gone;
        let rival = check.rival.map(|(report, _)| report);
        let recorded = self
            .store()
            .domain_record_check(check.runner.clone(), check.report, rival, POLICY, now, spread)
            .await
            .unwrap();
        if self.claims[slot].as_ref().is_none_or(|claim| claim.row.id != id) {
            prop_assert_eq!(recorded, None, "a check of a deleted claim was recorded");
            return Ok(());
        }
        if self.claim(slot).runner != Some(check.runner) {
            prop_assert_eq!(recorded, None, "a check with a lost lease was recorded");
            return Ok(());
        }
        let contested = self.contested(slot);
        let ownership = RecordKey { purpose: Purpose::Ownership, name: format!("_inboxlayer.{}", NAMES[slot / 2]) };
        let claim = self.claim(slot);
        let before = claim.model.events.len();
        let mut findings = check.findings;
        // A claim that was verified before the name was contested does not need the record of ownership. Otherwise a check that
        // started before the record was required has not observed it.
        if claim.model.status == Verified && claim.contested_at >= claim.model.verified_at {
            findings.remove(&ownership);
        } else if contested {
            findings.entry(ownership).or_insert(Finding::Indefinite);
        }
        claim.model.settled(&findings, free, now);
        (claim.leased_until, claim.runner) = (None, None);
        let changed = claim.model.events.len() > before;
        let verified = changed && claim.model.status == Verified;
        let displaced = if verified { standing } else { None };
        claim.verify_requested &= claim.model.status != Failed;
        if let (true, Some(other)) = (verified, &mut self.claims[slot ^ 1]) {
            other.model.displaced();
            other.verify_requested &= other.model.status != Failed;
        }
        let Some(recorded) = recorded else { return Err(TestCaseError::fail("a check was not recorded")) };
        prop_assert_eq!(recorded.change.is_some(), changed);
        prop_assert_eq!(recorded.displaced.map(|(_, id)| id), displaced);
        Ok(())
    }

    async fn restart(&mut self) {
        self.running.clear();
        self.late.clear();
        self.store().close().await;
        // The lock on the data directory is released with the last handle.
        self.store = None;
        self.store = Some(Store::open(self.dir.path()).unwrap());
        self.store().domain_spread_overdue(self.now, 1).await.unwrap();
        if !has_one_daemon(&self.store()) {
            return; // The leases are kept.
        }
        for claim in self.claims.iter_mut().flatten() {
            (claim.leased_until, claim.runner, claim.begun) = (None, None, None);
        }
    }

    async fn due(&mut self) -> Result<(), TestCaseError> {
        let Some(due) = self.store().domain_next_due(Places::all_free(usize::MAX)).await.unwrap() else {
            return Ok(());
        };
        self.pass(due.since(self.now));
        self.begin(10, 10).await?;
        prop_assert!(!self.running.is_empty(), "a check was due, and none was started");
        while let Some(check) = self.running.pop() {
            self.finish(check, 0).await?;
        }
        Ok(())
    }
}

async fn history(shared: bool, claims: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(shared).await;
    for slot in 0..claims {
        world.create(slot).await?;
    }
    for step in steps {
        world.take(step).await?;
        assert_due(&world.store()).await;
        world.compare().await?;
    }
    Ok(())
}

#[test]
fn claims_of_two_accounts_match_the_model() {
    in_parallel(256, || (any::<bool>(), 1..SLOTS, steps()), |(shared, claims, steps)| run(shared, claims, steps));
}

/// Runs a history that begins with `claims` claims.
fn run(shared: bool, claims: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(history(shared, claims, steps))
}

#[test]
fn a_claim_that_fails_during_a_check_is_not_due_if_that_check_is_lost() {
    use Step::{Begin, Due, Finish, Lose, Passes, Publish, Verify, Wait};
    let verified = vec![Publish(0), Due, Wait(15), Verify(0), Begin(4, 0)];
    let passed = vec![Passes(1, None), Wait(15), Verify(1), Begin(4, 0), Finish(1, 0), Lose(0), Wait(200), Due];
    run(false, 2, [verified, passed].concat()).unwrap();
}

#[test]
fn a_check_requested_during_a_check_runs_after_it() {
    use Step::{Begin, Due, Finish, Publish, Verify, Wait};
    run(
        false,
        2,
        vec![Wait(40), Begin(1, 1), Publish(0), Publish(1), Wait(15), Verify(0), Verify(1), Finish(0, 0), Due],
    )
    .unwrap();
}

#[test]
fn a_displaced_claim_receives_no_mail_after_the_other_claim_is_deleted() {
    use Step::{Begin, Delete, Due, Finish, Passes, Publish, Verify, Wait};
    let passed = vec![Publish(0), Due, Passes(1, None), Wait(15), Verify(1), Begin(4, 0), Finish(0, 0)];
    run(false, 2, [passed, vec![Delete(1)]].concat()).unwrap();
    // The first claim had already failed by its own records, and received mail until the other was verified.
    let broken =
        vec![Publish(0), Due, Step::Unpublish(0), Wait(15), Verify(0), Due, Wait(1800), Due, Wait(2400), Due, Due];
    run(false, 2, [broken, vec![Publish(1), Wait(15), Verify(1), Due, Delete(1)]].concat()).unwrap();
}

#[test]
fn evidence_of_a_deleted_claim_does_not_apply_to_the_next_one() {
    use Step::{Begin, Create, Delete, Due, Finish, Passes, Publish, Verify, Wait};
    let seen_gone = vec![Publish(0), Due, Passes(1, None), Wait(15), Verify(1), Begin(4, 0)];
    let verified_anew = vec![Delete(0), Create(0), Publish(0), Wait(15), Verify(0), Begin(4, 0), Finish(1, 0)];
    run(false, 2, [seen_gone, verified_anew, vec![Finish(0, 0)]].concat()).unwrap();
}
