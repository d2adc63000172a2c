//! Two claims to one name whose tokens are the same: their records of ownership decide.

use super::*;
use crate::store::domains::DomainPatch;
use crate::verification::records::Purpose;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// As where claims share their tokens: with a secret of its own.
fn contested() -> Ownership {
    Ownership::WhenContested(ulid::Ulid::new().to_string())
}

impl World {
    /// The secrets of these claims stand in the DNS, and no other.
    fn show_ownership(&self, rows: &[&DomainRow]) {
        let secrets: Vec<String> = rows.iter().filter_map(|row| row.ownership_secret.clone()).collect();
        self.play.set("_inboxlayer.acme.test", Kind::Txt, &secrets, 60).unwrap();
    }
}

fn asks(world: &World, row: &DomainRow) -> bool {
    let expected = world.verifier.rules().expected(row);
    expected.iter().any(|e| e.purpose == Purpose::Ownership && e.required && e.name == "_inboxlayer.acme.test")
}

#[tokio::test]
async fn a_name_that_two_accounts_claim_asks_each_of_them_for_a_secret_of_its_own() {
    let world = world().await;
    let stranger = account(&world.store).await;
    let first = world.claim_asking(&world.account, "acme.test", TOKENS, contested()).await;
    assert!(!asks(&world, &first));
    world.publish(&first);
    let second = world.claim_asking(&stranger, "acme.test", TOKENS, contested()).await;
    let first = world.row(&first).await;
    assert!(asks(&world, &first) && asks(&world, &second));
    assert_ne!(first.ownership_secret, second.ownership_secret);

    // The shared records alone verify neither; the secret decides.
    world.pass(HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Pending, Pending));
    world.show_ownership(&[&second]);
    world.pass(HOUR * 2).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Pending, Verified));
    // Both secrets: who has the name keeps it.
    world.show_ownership(&[&second, &first]);
    world.pass(HOUR * 2).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Pending, Verified));
    world.show_ownership(&[&first]);
    world.pass(HOUR * 2).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Verified, Failed));
}

#[tokio::test]
async fn who_has_ever_claimed_a_name_is_not_forgotten() {
    let world = world().await;
    let stranger = account(&world.store).await;
    let first = world.claim_asking(&stranger, "acme.test", TOKENS, contested()).await;
    world.publish(&first);
    world.pass(HOUR).await;
    assert_eq!(world.status(&first).await, Verified);
    assert!(world.store.domain_delete(&stranger, &first.id, crate::clock::Timestamp::real()).await.unwrap());

    // The records of the claim that is gone still stand, and prove nothing for another account.
    let second = world.claim_asking(&world.account, "acme.test", TOKENS, contested()).await;
    assert!(asks(&world, &second));
    world.pass(HOUR).await;
    assert_eq!(world.status(&second).await, Pending);
    world.show_ownership(&[&second]);
    world.pass(HOUR * 2).await;
    assert_eq!(world.status(&second).await, Verified);

    // One account, again and again, contests nothing; nor do claims with tokens of their own.
    for _ in 0..2 {
        let row = world.claim_asking(&stranger, "other.test", TOKENS, contested()).await;
        assert_eq!(row.ownership_secret, None);
        assert!(world.store.domain_delete(&stranger, &row.id, crate::clock::Timestamp::real()).await.unwrap());
    }
    let own = world.claim(&world.account, "other.test", ["d", "e", "f"]).await;
    assert_eq!(own.ownership_secret, None);
}

#[tokio::test]
async fn a_newcomer_costs_a_verified_claim_nothing_until_its_own_secret_stands() {
    let world = world().await;
    let stranger = account(&world.store).await;
    let first = world.claim_asking(&world.account, "acme.test", TOKENS, contested()).await;
    world.publish(&first);
    world.pass(HOUR).await;
    let second = world.claim_asking(&stranger, "acme.test", TOKENS, contested()).await;
    // Many times the grace: the missing secret fails no claim that was verified before it was required.
    world.pass(DAY * 14).await;
    let row = world.row(&first).await;
    assert!(asks(&world, &row));
    assert_eq!((row.state.status, row.state.degraded_since()), (Verified, None));
    assert_eq!(world.status(&second).await, Failed);

    // The account that controls the zone has the name.
    world
        .store
        .domain_request_check(&stranger, &second.id, world.verifier.rules().policy, world.clock.now())
        .await
        .unwrap();
    world.show_ownership(&[&second]);
    world.pass(HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Failed, Verified));
}

#[tokio::test]
async fn tokens_that_may_be_older_than_the_claim_are_never_enough() {
    let world = world().await;
    let row = world.claim_asking(&world.account, "acme.test", TOKENS, Ownership::Always("s3cret".into())).await;
    assert!(asks(&world, &row));
    world.publish(&row);
    world.pass(HOUR).await;
    assert_eq!(world.status(&row).await, Verified);
}

/// Takes up the check of a claim that is due now and observes for it, but does not record it yet.
async fn under_way(world: &World) -> (RunnerId, Report) {
    let due = world.verifier.next_due().await.unwrap();
    world.clock.advance_to(due);
    let claim = Claim::new(due, due.after(HOUR), 1);
    let runner = claim.lease.runner.clone();
    let row = world.store.domain_claim_due(claim, 1).await.unwrap().remove(0);
    (
        runner,
        world
            .verifier
            .runner
            .work()
            .reports(&row.account, &[Some(&row)], &Progress::default())
            .await
            .remove(0)
            .unwrap(),
    )
}

/// What is shown of each record of a claim, by its purpose.
async fn shown(world: &World, row: &DomainRow) -> Vec<(Purpose, RecordStatus)> {
    let row = world.row(row).await;
    let status = |key| row.evidence.get(&key).map_or(RecordStatus::NotChecked, |(evidence, _)| evidence.status);
    let expected = world.verifier.rules().expected(&row);
    expected.iter().map(|expected| (expected.purpose, status(expected.key()))).collect()
}

#[tokio::test]
async fn a_name_that_becomes_contested_while_a_check_runs_is_not_verified_by_it() {
    let world = world().await;
    let first = world.claim_asking(&world.account, "acme.test", TOKENS, contested()).await;
    set_return_path(&world, &first, Some("bounce")).await;
    world.publish(&world.row(&first).await);
    let (runner, report) = under_way(&world).await;
    let stranger = account(&world.store).await;
    world.claim_asking(&stranger, "acme.test", TOKENS, contested()).await;
    let (policy, now) = (world.verifier.rules().policy, world.clock.now());
    world.store.domain_record_check(runner, report, None, policy, now, 0).await.unwrap().unwrap();
    // The check did not look for the record that is asked for now; what it saw of the others holds.
    assert_eq!(world.status(&first).await, Pending);
    let shown = shown(&world, &first).await;
    let (ownership, others): (Vec<_>, Vec<_>) =
        shown.iter().copied().partition(|(purpose, _)| *purpose == Purpose::Ownership);
    assert_eq!(ownership, [(Purpose::Ownership, RecordStatus::NotChecked)]);
    assert!(others.len() == 8 && others.iter().all(|(_, status)| *status == RecordStatus::Valid), "{shown:?}");
    // The next one sees all of them.
    world.show_ownership(&[&world.row(&first).await]);
    world.pass(HOUR).await;
    assert_eq!(world.status(&first).await, Verified);
    assert!(self::shown(&world, &first).await.iter().all(|(_, status)| *status == RecordStatus::Valid));
}

#[tokio::test]
async fn what_a_check_saw_of_another_return_path_is_not_shown() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    set_return_path(&world, &row, Some("bounce")).await;
    world.publish(&world.row(&row).await);
    let (runner, report) = under_way(&world).await;
    set_return_path(&world, &row, Some("other")).await;
    let (policy, now) = (world.verifier.rules().policy, world.clock.now());
    world.store.domain_record_check(runner, report, None, policy, now, 0).await.unwrap().unwrap();
    assert_eq!(world.status(&row).await, Verified);
    let shown = shown(&world, &row).await;
    assert!(shown[..6].iter().all(|(_, status)| *status == RecordStatus::Valid), "{shown:?}");
    assert_eq!(shown[6..], [Purpose::ReturnPath, Purpose::ReturnPathSpf].map(|of| (of, RecordStatus::NotChecked)));
}

async fn set_return_path(world: &World, row: &DomainRow, label: Option<&str>) {
    let patch = DomainPatch { return_path: Some(label.map(str::to_owned)), ..DomainPatch::default() };
    world.store.domain_patch(&row.account, &row.id, patch, world.clock.now()).await.unwrap();
}
