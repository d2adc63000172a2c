//! Two verifiers on one store, as two daemons on one database have them.

use super::*;
use crate::jobs::LEASE;
use crate::store::params;

fn another(world: &World) -> Verifier {
    let (config, resolver) = (Arc::clone(&world.config), Resolver::new(&world.config.dns).unwrap());
    Verifier::new(config, world.store.clone(), world.clock.clone(), resolver)
}

async fn checks(world: &World) -> (i64, i64) {
    let sql = "SELECT count(*), count(DISTINCT domain_id) FROM domain_check";
    let read = |c: &crate::store::Transaction<'_>| c.query_row(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)));
    world.store.read(read).await.unwrap()
}

/// Checks that are under way.
async fn leases(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM custom_domain WHERE lease_owner IS NOT NULL";
    let read = |c: &crate::store::Transaction<'_>| c.query_row(sql, params![], |row| row.get(0));
    world.store.read(read).await.unwrap()
}

#[tokio::test]
async fn two_verifiers_on_one_store_make_every_check_once() {
    let world = world().await;
    for i in 0..30 {
        world.claim(&account(&world.store).await, &format!("d{i}.test"), TOKENS).await;
    }
    world.clock.advance_to(world.clock.now().after(Duration::from_secs(60)));
    let second = another(&world);
    tokio::join!(world.verifier.settle(), second.settle());
    assert_eq!(checks(&world).await, (30, 30));
}

#[tokio::test]
async fn a_check_whose_runner_is_gone_is_made_by_another_and_its_late_record_is_refused() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    world.clock.advance_to(world.clock.now().after(HOUR));
    let now = world.clock.now();
    let claim = Claim::new(now, now.after(LEASE), 1);
    let runner = claim.lease.runner.clone();
    assert_eq!(world.store.domain_claim_due(claim, 1).await.unwrap().len(), 1);
    let late = world
        .verifier
        .runner
        .work()
        .reports(&row.account, &[Some(&row)], &Progress::default())
        .await
        .remove(0)
        .unwrap();
    world.publish(&row);
    world.verifier.settle().await;
    assert_eq!(checks(&world).await, (0, 0));
    world.clock.advance_to(now.after(LEASE));
    world.verifier.settle().await;
    assert_eq!((checks(&world).await, world.status(&row).await), ((1, 1), Verified));
    let policy = world.verifier.rules().policy;
    assert_eq!(world.store.domain_record_check(runner, late, None, policy, now, 0).await.unwrap(), None);
    assert_eq!((checks(&world).await, world.row(&row).await.state.degraded_since()), ((1, 1), None));
}

#[tokio::test]
async fn a_check_that_a_stop_interrupts_is_made_by_another_at_once() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    world.publish(&row);
    world.play.set_fault("acme.test", Some(Fault::Timeout)).unwrap();
    world.clock.advance_to(world.clock.now().after(HOUR));
    let shutdown = Shutdown::new();
    shutdown.spawn(world.verifier.clone().run(shutdown.clone()));
    while leases(&world).await == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(60)).await);
    assert_eq!(checks(&world).await, (0, 0), "it was interrupted");
    world.play.set_fault("acme.test", None).unwrap();
    another(&world).settle().await;
    assert_eq!((checks(&world).await, world.status(&row).await), ((1, 1), Verified));
}
