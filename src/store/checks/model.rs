//! The claims of two accounts to two names, under random histories in a real store, against the model of
//! [`crate::verification::status::model`]: checks that overlap, are lost or are cut off by a restart, owners who ask, claims that
//! are deleted and made again, and a DNS that says anything.

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
/// An account's claim to a name, by position: claims 0 and 1 are to the first name, by either account.
const SLOTS: usize = 4;
/// Required of a claim: its DKIM records and, where one is wanted, the record of ownership.
const RECORDS: usize = 4;

/// A claim that lives.
struct Claim {
    row: DomainRow,
    secret: String,
    model: Naive,
    verify_requested: bool,
    /// It is being checked, as the store believes.
    leased_until: Option<Timestamp>,
    /// Who checks it, or began the last check that was not recorded.
    runner: Option<RunnerId>,
    begun: Option<Timestamp>,
    contested_at: Option<Timestamp>,
}

/// A check under way, with what it saw when it began. Each claim of due checks is another runner's.
struct Flight {
    runner: RunnerId,
    slot: usize,
    report: Report,
    findings: Findings,
    rival: Option<(Report, bool)>,
    until: Timestamp,
}

struct World {
    dir: TempDir,
    /// Always there but for the moment of a restart.
    store: Option<Store>,
    accounts: Vec<AccountId>,
    /// The catch-all of each account's claims.
    inboxes: Vec<InboxId>,
    /// The signing provider keeps one identity for a name: claims share tokens, and a secret tells them apart.
    shared: bool,
    now: Timestamp,
    claims: Vec<Option<Claim>>,
    flights: Vec<Flight>,
    /// Those whose lease has ended.
    late: Vec<Flight>,
    /// Who has ever claimed which name.
    ever: BTreeSet<(usize, usize)>,
    zone: Zone,
    made: usize,
    /// When each account's scheduled checks were begun last, and the requested ones.
    served: [[Option<Timestamp>; 2]; 2],
}

impl World {
    async fn new(shared: bool) -> Self {
        // In memory where that can be had: what is tested is not the disk.
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
            flights: Vec::new(),
            late: Vec::new(),
            ever: BTreeSet::new(),
            zone: Zone::default(),
            made: 0,
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

    /// What the owner of a claim has to publish, as the documentation says it.
    fn wanted(&self, slot: usize) -> Vec<(String, String)> {
        let (name, Some(claim)) = (NAMES[slot / 2], &self.claims[slot]) else { return Vec::new() };
        let dkim = |token: &String| (format!("{token}._domainkey.{name}"), format!("{token}.dkim.example"));
        let mut wanted: Vec<_> = claim.row.tokens.iter().map(dkim).collect();
        if self.contested(slot) {
            wanted.push((format!("_inboxlayer.{name}"), claim.secret.clone()));
        }
        wanted
    }

    /// What is true of its required records now.
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
            Step::Ask(slot) if self.claims[slot].is_some() => self.ask(slot).await?,
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
            Step::Finish(which, spread) if !self.flights.is_empty() => {
                let flight = self.flights.swap_remove(which % self.flights.len());
                self.finish(flight, spread).await?;
            }
            Step::Lose(which) if !self.flights.is_empty() => {
                self.flights.swap_remove(which % self.flights.len());
            }
            Step::FinishLate(which) if !self.late.is_empty() => {
                let flight = self.late.swap_remove(which % self.late.len());
                self.finish(flight, 0).await?;
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
            Step::Delete(_) | Step::Ask(_) | Step::Finish(..) | Step::Lose(_) | Step::FinishLate(_) => {}
        }
        Ok(())
    }

    async fn create(&mut self, slot: usize) -> Result<(), TestCaseError> {
        self.made += 1;
        let (account, made) = (self.accounts[slot % 2].clone(), self.made);
        let secret = format!("secret-{made}");
        let tokens = match self.shared {
            true => [0, 1, 2].map(|i| format!("n{}t{i}", slot / 2)),
            false => [0, 1, 2].map(|i| format!("c{made}t{i}")),
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
        let made = self.store().domain_create(new, NameLimits::new(10, 10), self.now).await;
        if self.claims[slot].is_some() {
            prop_assert!(made.is_err(), "an account claims a name once");
            return Ok(());
        }
        self.ever.insert((slot / 2, slot % 2));
        let (row, model) = (made.unwrap(), Naive::created(self.now, POLICY));
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

    async fn ask(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let (account, now) = (self.accounts[slot % 2].clone(), self.now);
        let id = self.claim(slot).row.id.clone();
        let stranger = self.accounts[1 - slot % 2].clone();
        let theirs = self.store().domain_ask(&stranger, &id, POLICY, now).await;
        prop_assert!(matches!(theirs, Err(AskError::NotFound)), "a stranger verify_requested");
        let answer = self.store().domain_ask(&account, &id, POLICY, now).await;
        let claim = self.claim(slot);
        match (claim.model.ask(now), answer) {
            (Ok(()), Ok(row)) => {
                prop_assert_eq!(row.state.next_check_at, Some(now));
                claim.verify_requested = true;
            }
            (Err(wanted), Err(AskError::TooSoon(TooSoon { retry_after }))) => prop_assert_eq!(retry_after, wanted),
            (wanted, got) => prop_assert!(false, "verify_requested: {got:?} and not {wanted:?}"),
        }
        Ok(())
    }

    /// Checks under way end before their lease does: they have a deadline of their own.
    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        let now = self.now;
        self.late.extend(self.flights.extract_if(.., |flight| flight.until <= now));
    }

    fn owner(&self, slot: usize) -> Owner {
        Owner::Account(self.accounts[slot % 2].clone())
    }

    /// The checks under way have theirs, and so many are free.
    fn places(&self, free: usize) -> Places {
        let mut places = Places::all_free(free + self.flights.len());
        self.flights.iter().for_each(|flight| places.take(&self.owner(flight.slot)));
        places
    }

    async fn begin(&mut self, limit: usize, scheduled: usize) -> Result<(), TestCaseError> {
        let now = self.now;
        let until = now.after(LEASE);
        let mut held = [0; 2];
        self.flights.iter().for_each(|flight| held[flight.slot % 2] += 1);
        let claim = jobs::Claim { places: self.places(limit), ..jobs::Claim::new(now, until, 0) };
        let runner = claim.lease.runner.clone();
        let rows = self.store().domain_claim_due(claim, scheduled).await.unwrap();
        let (served, first_due) = (self.served, self.first_due());
        let (mut free, mut scheduled) = (limit, scheduled);
        for row in rows {
            let slot = self.claims.iter().position(|c| c.as_ref().is_some_and(|c| c.row.id == row.id));
            let Some(slot) = slot else { return Err(TestCaseError::fail("a check of a claim that is gone")) };
            let (verify_requested, first) = self.next(held, served, first_due, free, scheduled);
            prop_assert!(first.contains(&slot), "{slot} is not first: {first:?}");
            free -= 1;
            held[slot % 2] += 1;
            scheduled -= usize::from(!verify_requested);
            self.served[usize::from(verify_requested)][slot % 2] = Some(now);
            let taken_by = Some(runner.clone());
            let findings = self.truth(slot);
            let claim = self.claim(slot);
            prop_assert!(claim.leased_until.is_none_or(|until| until <= now), "two checks of one domain at a time");
            prop_assert!(claim.model.status != Failed, "a scheduled check");
            prop_assert!(claim.begun.is_none_or(|begun| now >= begun.after(TEN)), "two checks within ten seconds");
            (claim.verify_requested, claim.leased_until, claim.begun) = (false, Some(until), Some(now));
            claim.runner = taken_by;
            claim.model.begun = Some(now);
            let rival = self.store().domain_rival(&row).await.unwrap();
            prop_assert_eq!(rival.as_ref().map(|row| &row.id), self.rival(slot).map(|claim| &claim.row.id));
            // "The first's own required records": its DKIM records, or what tells it apart where those are shared.
            let own = if self.contested(slot) { Purpose::Ownership } else { Purpose::Dkim };
            let gone = self
                .truth(slot ^ 1)
                .iter()
                .filter(|(record, _)| record.purpose == own)
                .all(|(_, f)| *f == Finding::Fault);
            let rival = rival.map(|row| (self.report(&row), gone));
            self.flights.push(Flight {
                runner: runner.clone(),
                slot,
                report: self.report(&row),
                findings,
                rival,
                until,
            });
        }
        prop_assert_eq!(self.next(held, served, first_due, free, scheduled).1, vec![0; 0], "what is due is begun");
        Ok(())
    }

    async fn finish(&mut self, flight: Flight, spread: u32) -> Result<(), TestCaseError> {
        let (slot, id, now) = (flight.slot, flight.report.domain.clone(), self.now);
        let standing = self.rival(slot).map(|claim| claim.row.id.clone());
        let gone = flight.rival.as_ref().filter(|(_, gone)| *gone).map(|(report, _)| report.domain.clone());
        let free = standing.is_none() || standing == gone;
        let rival = flight.rival.map(|(report, _)| report);
        let recorded = self
            .store()
            .domain_record_check(flight.runner.clone(), flight.report, rival, POLICY, now, spread)
            .await
            .unwrap();
        if self.claims[slot].as_ref().is_none_or(|claim| claim.row.id != id) {
            prop_assert_eq!(recorded, None, "a check of a claim that was deleted");
            return Ok(());
        }
        if self.claim(slot).runner != Some(flight.runner) {
            prop_assert_eq!(recorded, None, "a check that another runner had taken over");
            return Ok(());
        }
        let contested = self.contested(slot);
        let ownership = RecordKey { purpose: Purpose::Ownership, name: format!("_inboxlayer.{}", NAMES[slot / 2]) };
        let claim = self.claim(slot);
        let before = claim.model.events.len();
        let mut findings = flight.findings;
        // Who was verified before the name was contested does not lose that for want of the record; else a check that had
        // begun before it was wanted cannot have seen it.
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
        self.flights.clear();
        self.late.clear();
        self.store().close().await;
        // The lock on the folder goes with the last handle.
        self.store = None;
        self.store = Some(Store::open(self.dir.path()).unwrap());
        self.store().domain_spread_overdue(self.now, 1).await.unwrap();
        if !has_one_daemon(&self.store()) {
            return; // The leases last.
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
        prop_assert!(!self.flights.is_empty(), "something was due, and nothing could begin");
        while let Some(flight) = self.flights.pop() {
            self.finish(flight, 0).await?;
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
fn two_accounts_claims_keep_every_promise() {
    in_parallel(256, || (any::<bool>(), 1..SLOTS, steps()), |(shared, claims, steps)| run(shared, claims, steps));
}

/// A history that begins with so many claims.
fn run(shared: bool, claims: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(history(shared, claims, steps))
}

#[test]
fn a_claim_that_fails_while_it_is_checked_is_not_due_when_that_check_is_lost() {
    use Step::{Ask, Begin, Due, Finish, Lose, Passes, Publish, Wait};
    let verified = vec![Publish(0), Due, Wait(15), Ask(0), Begin(4, 0)];
    let passed = vec![Passes(1, None), Wait(15), Ask(1), Begin(4, 0), Finish(1, 0), Lose(0), Wait(200), Due];
    run(false, 2, [verified, passed].concat()).unwrap();
}

#[test]
fn a_check_that_is_asked_for_while_another_runs_follows_it() {
    use Step::{Ask, Begin, Due, Finish, Publish, Wait};
    run(false, 2, vec![Wait(40), Begin(1, 1), Publish(0), Publish(1), Wait(15), Ask(0), Ask(1), Finish(0, 0), Due])
        .unwrap();
}

#[test]
fn a_name_that_has_passed_on_does_not_come_back_when_the_other_claim_is_deleted() {
    use Step::{Ask, Begin, Delete, Due, Finish, Passes, Publish, Wait};
    let passed = vec![Publish(0), Due, Passes(1, None), Wait(15), Ask(1), Begin(4, 0), Finish(0, 0)];
    run(false, 2, [passed, vec![Delete(1)]].concat()).unwrap();
    // Its own records had broken before: it had failed by itself, and kept the mail until the other was verified.
    let broken =
        vec![Publish(0), Due, Step::Unpublish(0), Wait(15), Ask(0), Due, Wait(1800), Due, Wait(2400), Due, Due];
    run(false, 2, [broken, vec![Publish(1), Wait(15), Ask(1), Due, Delete(1)]].concat()).unwrap();
}

#[test]
fn what_was_seen_of_a_claim_that_was_deleted_says_nothing_of_the_next() {
    use Step::{Ask, Begin, Create, Delete, Due, Finish, Passes, Publish, Wait};
    let seen_gone = vec![Publish(0), Due, Passes(1, None), Wait(15), Ask(1), Begin(4, 0)];
    let verified_anew = vec![Delete(0), Create(0), Publish(0), Wait(15), Ask(0), Begin(4, 0), Finish(1, 0)];
    run(false, 2, [seen_gone, verified_anew, vec![Finish(0, 0)]].concat()).unwrap();
}
