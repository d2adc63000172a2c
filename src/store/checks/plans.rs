//! Query plans of the verifier's statements: each uses an index, so its cost does not grow with the number of claims.

use super::super::claim_rows::{OVERDUE, SPREAD};
use super::super::domains::selected;
use super::super::testing::{sqlite_only, store_with_account};
use super::*;

/// SQLite's query plan.
async fn plan(store: &Store, sql: String) -> Vec<String> {
    let read = store.read(move |c| {
        // The plan does not depend on values; unbound parameters are NULL.
        let mut statement = c.sqlite().prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next()? {
            steps.push(row.get::<_, String>("detail")?);
        }
        Ok::<_, StoreError>(steps)
    });
    read.await.unwrap()
}

#[tokio::test]
async fn every_statement_of_a_check_uses_an_index() {
    sqlite_only("reads its query plans");
    let (_dir, store, _) = store_with_account().await;
    let by = |index: &str, rest: &str| vec![format!("SEARCH custom_domain USING {index} {rest}")];
    let due = "INDEX custom_domain_due";
    let accounts = |due: &str| vec![format!("SEARCH due_account USING {due})")];
    for (sql, wanted) in [
        // One row per account, in the order of their first checks.
        (jobs::ACCOUNTS_DUE.to_owned(), accounts("INDEX due_account_by_time (kind=? AND due_at<?")),
        (jobs::ACCOUNTS_IN_TIME.to_owned(), accounts("COVERING INDEX due_account_by_time (kind=? AND due_at>?")),
        (REQUESTED.to_owned(), by("INDEX custom_domain_asked", "(account_id=? AND asked_ready_at<?)")),
        (DUE.to_owned(), by("INDEX custom_domain_ready", "(account_id=? AND ready_at<?)")),
        // The due time of an account's checks.
        (
            "SELECT min(ready_at) FROM custom_domain WHERE account_id = ?1 AND ready_at IS NOT NULL".to_owned(),
            by("INDEX custom_domain_ready", "(account_id=? AND ready_at>?)"),
        ),
        (selected(RIVAL), by("INDEX one_verified_claim", "(name=?)")),
        (selected("id = ?1"), by("PRIMARY KEY", "(id=?)")),
        (selected("id = ?1 AND account_id = ?2"), by("PRIMARY KEY", "(id=?)")),
        (OVERDUE.to_owned(), by(due, "(next_check_at<?)")),
    ] {
        assert_eq!(plan(&store, sql.clone()).await, wanted, "{sql}");
    }
    // Overdue checks are numbered, then updated one by one.
    let searches = plan(&store, SPREAD.to_owned()).await.into_iter().filter(|step| step.starts_with("SEARCH"));
    let wanted = [by(due, "(next_check_at<?)"), by("PRIMARY KEY", "(id=?)")].concat();
    assert_eq!(searches.collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn no_statement_of_a_check_scans_a_table() {
    sqlite_only("reads its query plans");
    let (_dir, store, _) = store_with_account().await;
    for sql in [
        "UPDATE custom_domain SET lease_until = ?2 WHERE id = ?1",
        "SELECT purpose, name FROM domain_record WHERE domain_id = ?1",
        "DELETE FROM domain_record WHERE domain_id = ?1",
        "SELECT 1 FROM claimed_name WHERE name = ?1 AND account_id <> ?2",
        "UPDATE custom_domain SET contested_at = 1 WHERE name = ?1 AND contested_at IS NULL",
        "UPDATE custom_domain SET lease_until = 0, lease_owner = NULL
             WHERE lease_until > 0 AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))",
        "SELECT id FROM custom_domain WHERE account_id = ?1 AND name = ?2",
        "SELECT coalesce(max(number), 0) + 1 FROM domain_check WHERE domain_id = ?1",
        "DELETE FROM domain_check WHERE domain_id = ?1 AND number < ?2 AND (number <= ?3 OR at < ?4)",
        "SELECT 1 FROM domain_finding WHERE domain_id = ?1 AND digest = ?2",
        "DELETE FROM domain_finding WHERE domain_id = ?1
             AND digest NOT IN (SELECT finding FROM domain_check WHERE domain_id = ?1)",
    ] {
        let steps = plan(&store, sql.to_owned()).await;
        assert!(
            steps.iter().all(|step| !step.starts_with("SCAN") && !step.contains("TEMP B-TREE")),
            "{sql}: {steps:?}"
        );
    }
}
