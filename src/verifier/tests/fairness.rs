//! One account with very many domains, whose name servers do not answer, beside another with one.

use super::*;

/// The other account's check settles after few of the many, asked for or not. Answers after how many.
async fn checks_before(requested: bool) -> usize {
    let world = world().await;
    let ask = async |row: &DomainRow| {
        let (policy, now) = (world.verifier.rules().policy, world.clock.now());
        world.store.domain_request_check(&row.account, &row.id, policy, now).await.unwrap();
    };
    let mut many = Vec::new();
    for i in 0..100 {
        let row = world.claim(&world.account, &format!("slow{i}.test"), TOKENS).await;
        world.play.set_fault(&format!("slow{i}.test"), Some(Fault::Timeout)).unwrap();
        many.push(row);
    }
    world.clock.advance_to(world.clock.now().after(HOUR));
    let one = world.claim(&account(&world.store).await, "acme.test", TOKENS).await;
    world.publish(&one);
    if requested {
        for row in &many {
            ask(row).await;
        }
    } else {
        // The many were due long before the one.
        world.clock.advance_to(world.clock.now().after(HOUR));
    }
    let (mut events, shutdown) = (world.store.events().of_domains(), Shutdown::new());
    shutdown.spawn(world.verifier.clone().run(shutdown.clone()));
    if requested {
        // Others have every place that they can get.
        checked(&mut events).await;
        ask(&one).await;
        world.verifier.wake();
    }
    let mut before = 0;
    while checked(&mut events).await != one.id {
        before += 1;
    }
    assert_eq!(world.status(&one).await, Verified);
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(10)).await);
    before
}

#[tokio::test]
async fn very_many_slow_domains_of_one_account_hold_up_no_other() {
    let (scheduled, requested) = tokio::join!(checks_before(false), checks_before(true));
    assert!(scheduled < 10 && requested < 10, "{scheduled} and {requested} of the many came first");
}
