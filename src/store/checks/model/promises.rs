//! The comparison of store and model after each step, and the order in which checks start.

use super::*;
use crate::address::Address;
use crate::store::routing::Route;
use crate::verification::judge::verdict;

impl World {
    /// The checks that may start next, and whether they are requested: requested checks come first; of the accounts that have
    /// fewer places than are free, the one with the fewest, then the one served least recently, then the one whose first check
    /// (`first_due`) has been due for longest.
    pub(super) fn next(
        &self,
        held: [usize; 2],
        served: [[Option<Timestamp>; 2]; 2],
        first_due: [[Option<Timestamp>; 2]; 2],
        free: usize,
        scheduled: usize,
    ) -> (bool, Vec<usize>) {
        let first = |requested: bool| {
            let since = |account: usize| self.due_since(account, requested).filter(|_| held[account] < free);
            let of = usize::from(requested);
            let rank =
                |account: usize| since(account).map(|_| (held[account], served[of][account], first_due[of][account]));
            let best = [rank(0), rank(1)].into_iter().flatten().min();
            let is_next = |slot: &usize| {
                best.is_some() && rank(slot % 2) == best && self.ready(*slot, requested) == since(slot % 2)
            };
            (0..SLOTS).filter(is_next).collect::<Vec<usize>>()
        };
        match first(true) {
            requested if !requested.is_empty() => (true, requested),
            _ if scheduled > 0 => (false, first(false)),
            none => (false, none),
        }
    }

    /// Since when a check of the claim is due.
    fn ready(&self, slot: usize, requested: bool) -> Option<Timestamp> {
        let claim = self.claims[slot].as_ref().filter(|claim| claim.verify_requested == requested)?;
        let since = if requested { claim.model.begun } else { claim.row.state.next_check_at };
        since.max(claim.leased_until.filter(|_| since.is_some())).filter(|since| *since <= self.now)
    }

    fn due_since(&self, account: usize, requested: bool) -> Option<Timestamp> {
        (0..SLOTS).filter(|slot| slot % 2 == account).filter_map(|slot| self.ready(slot, requested)).min()
    }

    /// Since when the first scheduled check, and the first requested one, of each account is due.
    pub(super) fn first_due(&self) -> [[Option<Timestamp>; 2]; 2] {
        [false, true].map(|requested| [0, 1].map(|account| self.due_since(account, requested)))
    }

    /// Compares the store with the model and checks the invariants.
    pub(super) async fn compare(&mut self) -> Result<(), TestCaseError> {
        let (store, mut next) = (self.store(), Vec::new());
        for slot in 0..SLOTS {
            let contested = self.contested(slot);
            let Some(claim) = &self.claims[slot] else { continue };
            let (account, id) = (&self.accounts[slot % 2], claim.row.id.clone());
            let Some(row) = self.store().domain_get(account, &id).await.unwrap() else {
                return Err(TestCaseError::fail("a claim is missing"));
            };
            let (state, model) = (&row.state, &claim.model);
            prop_assert_eq!(state.status, model.status);
            prop_assert_eq!(state.window_ends_at, model.window_end);
            prop_assert_eq!(state.verified_at, model.verified_at);
            prop_assert_eq!(state.takes_mail, model.takes_mail());
            prop_assert_eq!(state.degraded_since(), model.degraded_since());
            prop_assert_eq!(&row.tokens, &claim.row.tokens, "tokens never change");
            prop_assert_eq!(row.ownership_secret.as_deref(), contested.then_some(claim.secret.as_str()));
            prop_assert_eq!(state.next_check_at.is_none(), model.status == Failed);
            prop_assert_eq!(row.verify_requested, claim.verify_requested);
            if claim.verify_requested {
                prop_assert!(state.next_check_at <= Some(self.now), "a requested check is delayed");
            }
            if let Some(since) = model.degraded_since() {
                let deadline = since.after(POLICY.grace).to_jiff().strftime("%Y-%m-%d %H:%M UTC").to_string();
                let seen = |CheckedRecord { expected, .. }| {
                    let (evidence, _) = row.evidence.get(&expected.key())?.clone();
                    Some(CheckedRecord { expected, evidence })
                };
                let records: Vec<_> = self.report(&row).records.into_iter().filter_map(seen).collect();
                let sentence = verdict("acme.com", state, &POLICY, &records);
                // Without a definite answer, the verdict reports that instead.
                let known =
                    records.iter().any(|r| matches!(r.evidence.status, RecordStatus::Missing | RecordStatus::Mismatch));
                prop_assert!(!known || sentence.contains(&deadline), "{} does not show {}", sentence, deadline);
            }
            let events = events(&store, &id).await;
            let wanted: Vec<_> = model.events.iter().map(|(to, cause)| (to.to_string(), (*cause).to_owned())).collect();
            prop_assert_eq!(events, wanted);
            let ready = state.next_check_at.map(|due| claim.leased_until.map_or(due, |until| until.max(due)));
            next.extend(ready.map(|ready| (ready, Owner::Account(account.clone()))));
            self.claim(slot).row = row;
        }
        // With one free place, no check is due of an account that has a place.
        for places in [Places::all_free(usize::MAX), self.places(1)] {
            let wanted = next.iter().filter(|(_, account)| places.has_for(account)).map(|(ready, _)| *ready).min();
            prop_assert_eq!(store.domain_next_due(places).await.unwrap(), wanted);
        }
        for (pair, name) in self.claims.chunks(2).zip(NAMES) {
            let takers: Vec<_> = pair.iter().flatten().filter(|claim| claim.model.takes_mail()).collect();
            prop_assert!(takers.len() <= 1, "two claims receive mail for one name");
            let pending = |claim: &Claim| claim.model.window_end.is_some_and(|end| end > self.now);
            let wanted = match takers.first() {
                Some(claim) => Some(Some(claim.row.account.clone())),
                None => pair.iter().flatten().any(pending).then_some(None),
            };
            let address = Address::parse(&format!("anyone@{name}")).unwrap();
            let route = store.route(&"inboxlayer.dev".parse().unwrap(), &address, self.now).await.unwrap();
            let found = match &route {
                Route::Inbox(recipient) => {
                    let inbox = store.inbox_of_any_account(recipient.inbox()).await.unwrap().unwrap();
                    Some(Some(inbox.account))
                }
                Route::PendingDomain => Some(None),
                Route::NotHosted | Route::NoSuchUser | Route::Disabled => None,
            };
            prop_assert_eq!(found, wanted, "mail for {}", name);
            let verified = pair.iter().flatten().filter(|claim| claim.row.state.status == Verified).count();
            prop_assert!(verified <= 1, "two verified claims to one name");
            if let (false, [Some(one), Some(two)]) = (self.shared, pair) {
                prop_assert!(one.row.tokens.iter().all(|token| !two.row.tokens.contains(token)));
            }
        }
        Ok(())
    }
}

async fn events(store: &Store, id: &DomainId) -> Vec<(String, String)> {
    let id = id.clone();
    let read = store.read(move |c| {
        let sql = "SELECT to_status, cause FROM domain_event WHERE domain_id = ?1 ORDER BY number";
        let cause = |text: String| {
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["cause"].as_str().unwrap().to_owned()
        };
        c.query(sql, params![id], |row| Ok((row.get(0)?, cause(row.get(1)?))))
    });
    read.await.unwrap()
}
