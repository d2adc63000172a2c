//! Two accounts that claim one name, under random histories in a real store.

use super::*;
use crate::domain::judge::{Sight, judge};
use crate::domain::observed::{Answer, Indefinite, RecordData};
use crate::domain::records::Template;
use crate::store::domains::NewDomain;
use crate::store::testing::{account, store_with_account};
use VerifiedStatus::{Failed, Pending, Verified};
use proptest::prelude::*;
use std::time::Duration;

const POLICY: Policy = Policy {
    window: Duration::from_secs(7200),
    grace: Duration::from_secs(7200),
    recheck: Duration::from_secs(1800),
    first_pause: Duration::from_secs(30),
    longest_pause: Duration::from_secs(600),
};

/// What the DNS holds of a claim's DKIM records.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dns {
    Right,
    Gone,
    Half,
    Silent,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A check of this claim; what the DNS holds of it and, if it is looked at, of the other.
    Check(usize, Dns, Option<Dns>),
    Ask(usize),
    Delete(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let dns = || prop_oneof![3 => Just(Dns::Right), 3 => Just(Dns::Gone), 1 => Just(Dns::Half), 1 => Just(Dns::Silent)];
    let check = (0..2_usize, dns(), prop::option::of(dns())).prop_map(|(i, own, other)| Step::Check(i, own, other));
    let step =
        prop_oneof![12 => check, 2 => (0..2_usize).prop_map(Step::Ask), 1 => (0..2_usize).prop_map(Step::Delete)];
    prop::collection::vec((0..3000_u64, step), 1..40)
}

fn report(row: &DomainRow, dns: Dns) -> Report {
    let template = Template {
        dkim_zone: "dkim.example".parse().unwrap(),
        mx_host: "mx.example".parse().unwrap(),
        mx_priority: 10,
        spf: "v=spf1 ~all".into(),
        dmarc: "v=DMARC1; p=none".into(),
        required: vec![Purpose::Dkim],
    };
    let expected = template.records(&row.name, &row.tokens, None);
    let server = ([192, 0, 2, 1], 53).into();
    let none = || Answer::NoRecord { nxdomain: true, aliases: vec![], negative_ttl: None, server };
    let sight = |(position, record): (usize, &Expected)| {
        let answer = match dns {
            Dns::Silent => Answer::indefinite(Indefinite::Timeout, Some(server)),
            Dns::Gone => none(),
            Dns::Half if position > 0 => none(),
            Dns::Right | Dns::Half => Answer::Found {
                records: vec![RecordData::Cname(record.value.clone())],
                aliases: vec![],
                ttl: Duration::from_secs(60),
                server,
                authenticated: false,
            },
        };
        judge(record, &expected, &Sight::of(answer))
    };
    let evidence = expected.iter().enumerate().map(sight).collect();
    Report { domain: row.id.clone(), expected, evidence }
}

async fn claim(store: &Store, account: &AccountId, now: Timestamp) -> DomainRow {
    let new = NewDomain {
        account: account.clone(),
        name: "acme.com".parse().unwrap(),
        tokens: [0, 1, 2].map(|i| format!("t{i}{}", &account.as_str()[20..])),
        ownership_secret: None,
        state: State::created(now, &POLICY),
    };
    store.domain_create(new, 10, now).await.unwrap()
}

async fn history(steps: Vec<(u64, Step)>) -> Result<(), TestCaseError> {
    let (_dir, store, first) = store_with_account().await;
    let accounts = [first, account(&store).await];
    let mut now = Timestamp::from_millis(1_800_000_000_000);
    let mut rows = [claim(&store, &accounts[0], now).await, claim(&store, &accounts[1], now).await];
    for (seconds, step) in steps {
        now = now.after(Duration::from_secs(seconds));
        let before = rows.clone();
        match step {
            Step::Delete(i) => {
                prop_assert!(store.domain_delete(&accounts[i], &rows[i].id).await.unwrap());
                rows[i] = claim(&store, &accounts[i], now).await;
            }
            Step::Ask(i) => match store.domain_ask(&accounts[i], &rows[i].id, POLICY, now).await {
                Ok((row, _)) => prop_assert!(row.state.status != Failed),
                Err(error) => prop_assert!(matches!(error, AskError::TooSoon(_)), "{error}"),
            },
            Step::Check(i, own, other) => {
                let rival = other.map(|dns| report(&rows[1 - i], dns));
                let recorded =
                    store.domain_record_check(report(&rows[i], own), rival, POLICY, now, 0).await.unwrap().unwrap();
                prop_assert_eq!(
                    recorded.displaced.is_some(),
                    before[1 - i].state.status == Verified && recorded.change.is_some_and(|c| c.to == Verified)
                );
                if recorded.displaced.is_some() {
                    prop_assert_eq!(other, Some(Dns::Gone));
                }
                if recorded.change.is_some_and(|c| c.to == Verified) {
                    prop_assert_eq!(own, Dns::Right);
                }
                if own == Dns::Silent {
                    prop_assert_eq!(&recorded, &Recorded { change: None, displaced: None });
                }
            }
        }
        for row in &mut rows {
            let (account, id) = (row.account.clone(), row.id.clone());
            *row = store.domain_get(&account, &id).await.unwrap().unwrap();
        }
        prop_assert!(!rows.iter().all(|row| row.state.status == Verified), "two verified claims");
        for (row, old) in rows.iter().zip(&before).filter(|(row, old)| row.id == old.id) {
            prop_assert_eq!(&row.tokens, &old.tokens);
            prop_assert_eq!(row.state.window_ends_at.is_some(), row.state.status == Pending);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_claim_to_a_name_is_verified_and_only_what_is_gone_yields(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(steps))?;
    }
}
