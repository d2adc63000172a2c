//! The history of domains: retention, contents and size.

use super::*;
use crate::store::domains::{DomainRow, NewDomain};
use crate::store::names::NameLimits;
use crate::store::testing::{account, record_check, store_with_account};
use crate::verification::judge::{Observation, ServerAnswer, judge};
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::verification::records::Template;
use crate::verification::status::{Policy, State};
use std::iter::repeat_n;

const DAY: Duration = Duration::from_secs(24 * 3600);
const POLICY: Policy = Policy { window: DAY, grace: DAY, recheck: DAY, first_pause: DAY, longest_pause: DAY };

async fn claim(store: &Store, account: &AccountId, at: Timestamp) -> DomainRow {
    let new = NewDomain {
        account: account.clone(),
        name: "acme.com".parse().unwrap(),
        tokens: ["t1", "t2", "t3"].map(String::from),
        ownership: crate::store::ownership::Ownership::ByTokens,
        state: State::created(at, &POLICY),
        client_id: None,
    };
    store.domain_create(new, NameLimits::new(10, 10), at).await.unwrap()
}

async fn check(store: &Store, row: &DomainRow, at: Timestamp) {
    let report = Report { domain: row.id.clone(), records: Vec::new() };
    record_check(store, report, POLICY, at).await;
}

#[tokio::test]
async fn checks_are_removed_by_number_and_age_and_numbered_per_domain() {
    let (_dir, store, ours) = store_with_account().await;
    let begin = Timestamp::from_millis(1_700_000_000_000);
    let row = claim(&store, &ours, begin).await;
    for hour in 1..=60 {
        check(&store, &row, begin.after(Duration::from_secs(hour * 3600))).await;
    }
    let kept = async |row: &DomainRow| store.domain_checks(&row.account, &row.id, None, 1000).await.unwrap();
    let numbers: Vec<u32> = kept(&row).await.iter().map(|check| check.number).collect();
    assert_eq!(numbers, (11..=60).rev().collect::<Vec<_>>());
    check(&store, &row, begin.after(DAY * 95)).await;
    let numbers: Vec<u32> = kept(&row).await.iter().map(|check| check.number).collect();
    assert_eq!(numbers, [61]);
    // The newest check is retained even if it is old.
    let other = claim(&store, &account(&store).await, begin).await;
    check(&store, &other, begin.after(DAY * 400)).await;
    assert_eq!(kept(&other).await.iter().map(|check| check.number).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn changes_of_status_are_removed_by_number() {
    let (_dir, store, ours) = store_with_account().await;
    let now = Timestamp::from_millis(1_700_000_000_000);
    let row = claim(&store, &ours, now).await;
    let id = row.id.clone();
    let status = VerifiedStatus::Pending;
    let write = store.write(move |c| repeat_n((), 600).try_for_each(|()| write_created(c, &id, status, now)));
    write.await.unwrap();
    let events = store.domain_events(&ours, &row.id, None, 1000).await.unwrap();
    assert_eq!((events.len(), events[0].number, events[499].number), (500, 601, 102));
}

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// What a check observes of a record: four name servers with two addresses each, and two resolvers whose cached TTLs decrease.
fn observation(expected: &Expected, left: u64) -> Observation {
    let data = match expected.record_type {
        RecordType::Cname => RecordData::Cname(expected.value.clone()),
        RecordType::Mx => RecordData::Mx { preference: 10, exchange: expected.value.clone() },
        _ => RecordData::Txt(expected.value.clone()),
    };
    let found = |server: [u8; 4], ttl: u64| Answer::Found {
        records: vec![data.clone()],
        aliases: Vec::new(),
        ttl: Duration::from_secs(ttl),
        server: (server, 53).into(),
        authenticated: false,
    };
    let answer_of = |authoritative: bool, server: [u8; 4], ttl: u64| ServerAnswer {
        server: (server, 53).into(),
        name: authoritative.then(|| format!("ns{}.provider.example", server[2])),
        authoritative,
        answer: found(server, ttl),
    };
    let mut observation = Observation::of(found([192, 0, 1, 1], 3600));
    for (host, address) in (1..=4).flat_map(|host| [(host, 1), (host, 2)]) {
        observation.servers.push(answer_of(true, [192, 0, host, address], 3600));
    }
    observation
        .servers
        .extend([answer_of(false, [198, 51, 100, 1], left), answer_of(false, [198, 51, 100, 2], left / 2)]);
    observation
}

fn report(row: &DomainRow, left: u64, at: Timestamp, change: impl Fn(&mut Observation)) -> Report {
    let template = Template { required: Vec::new(), ..Template::documented() };
    let expected = template.records(&row.name, &row.tokens, None);
    let judged = |record: &Expected| {
        let mut observation = observation(record, left);
        change(&mut observation);
        let evidence = judge(record, &expected, &observation, at);
        CheckedRecord { expected: record.clone(), evidence }
    };
    Report { domain: row.id.clone(), records: expected.iter().map(judged).collect() }
}

/// The number of rows, and the size of the table's pages in octets.
async fn table_size(store: &Store, table: &'static str) -> (i64, i64) {
    let read = store.read(move |c| {
        let rows = c.query_row(&format!("SELECT count(*) FROM {table}"), params![], |row| row.get(0))?;
        let sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?1)";
        Ok::<_, StoreError>((rows, c.sqlite().query_row(sql, [table], |row| row.get(0))?))
    });
    read.await.unwrap()
}

#[tokio::test]
async fn checks_are_restored_exactly_and_equal_evidence_is_stored_once() {
    crate::store::testing::sqlite_only("reads the sizes of tables from dbstat");
    let (_dir, store, ours) = store_with_account().await;
    let mut now = Timestamp::from_millis(1_700_000_000_000);
    let row = claim(&store, &ours, now).await;
    let silent = |observation: &mut Observation| {
        let server = observation.servers[3].server;
        observation.servers[3].answer = Answer::indefinite(Indefinite::Timeout, Some(server));
    };
    // A resolver with a cached negative answer, and its remaining seconds.
    let cached = |left: u64| {
        move |observation: &mut Observation| {
            let (server, negative_ttl) = (observation.servers[9].server, Some(Duration::from_secs(left)));
            observation.servers[9].answer =
                Answer::NoRecord { nxdomain: true, aliases: Vec::new(), negative_ttl, server };
        }
    };
    let mut shown = Vec::new();
    for number in 1..=45_u32 {
        now = now.after(TEN_MINUTES);
        let left = u64::from(3600 - 60 * number);
        let report = match number % 3 {
            0 => report(&row, left, now, silent),
            1 => report(&row, left, now, cached(left)),
            _ => report(&row, left, now, |_| {}),
        };
        let shown_now = |r: &CheckedRecord| DomainRecord::of(&r.expected, Some((&r.evidence, now)));
        let records: Vec<_> = report.records.iter().map(shown_now).collect();
        shown.push((number, now, json!(records)));
        record_check(&store, report, POLICY, now).await;
    }
    let answer_of = shown[0].2.to_string();
    assert!(answer_of.contains("for 3540 more seconds") && answer_of.contains("\"ttl\":3540"), "{answer_of}");
    let mut read = store.domain_checks(&ours, &row.id, None, 100).await.unwrap();
    read.reverse();
    assert_eq!(read.into_iter().map(|check| (check.number, check.at, check.records)).collect::<Vec<_>>(), shown);
    assert_eq!(table_size(&store, "domain_finding").await.0, 3);

    // Evidence is removed with its last check.
    for _ in 0..50 {
        now = now.after(TEN_MINUTES);
        record_check(&store, report(&row, 7, now, |_| {}), POLICY, now).await;
    }
    assert_eq!(table_size(&store, "domain_finding").await.0, 1);
    assert!(store.domain_delete(&ours, &row.id, crate::clock::Timestamp::real()).await.unwrap());
    assert_eq!((table_size(&store, "domain_finding").await.0, table_size(&store, "domain_check").await.0), (0, 0));
}

#[tokio::test]
async fn a_check_with_the_evidence_of_the_previous_one_takes_little_space() {
    crate::store::testing::sqlite_only("reads the sizes of tables from dbstat");
    let (_dir, store, _) = store_with_account().await;
    let begin = Timestamp::from_millis(1_700_000_000_000);
    let mut shown = 0;
    for _ in 0..20 {
        let row = claim(&store, &account(&store).await, begin).await;
        for number in 1..=50_u32 {
            let now = begin.after(TEN_MINUTES * number);
            let report = report(&row, 3600 - u64::from(number * 61), now, |_| {});
            record_check(&store, report, POLICY, now).await;
        }
        let newest = store.domain_checks(&row.account, &row.id, None, 1).await.unwrap();
        shown += newest[0].records.to_string().len();
    }
    let (checks, octets) = table_size(&store, "domain_check").await;
    let (findings, once) = table_size(&store, "domain_finding").await;
    let (records, newest) = table_size(&store, "domain_record").await;
    assert_eq!((checks, findings, records), (1000, 20, 120));
    println!(
        "{} octets of JSON; stored: {octets} for {checks} checks, {once} for {findings} findings, {newest} for the newest records",
        shown / 20
    );
    let per_check = (octets + once) / checks;
    assert!(per_check < 400, "{per_check} octets per check");
}
