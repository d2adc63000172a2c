//! Tests: daemons that share a store on PostgreSQL.

use super::{Services, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::testing::daemons;
use std::path::Path;

async fn open(config: &Config) -> Result<Services, StartError> {
    Services::open(config.clone(), Clock::System).await
}

fn give_key(data_dir: &Path, octet: u8) {
    std::fs::write(data_dir.join("secret.key"), [octet; 32]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_start_first_on_an_empty_store_agree_on_everything() {
    let [(dir_a, a), (dir_b, b), (dir_c, c)] = daemons();
    for dir in [&dir_a, &dir_b, &dir_c] {
        give_key(dir.path(), 7);
    }
    let (a, b, c) = tokio::join!(open(&a), open(&b), open(&c));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!(a.keys.platform_record(), b.keys.platform_record());
    assert_eq!(a.keys.platform_record(), c.keys.platform_record());
    assert_eq!(a.store.account_list(None, 10).await.unwrap().len(), 1, "the platform's account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_another_sealing_key_or_none_does_not_start() {
    let [(dir_a, a), (dir_b, b), (dir_c, c)] = daemons();
    give_key(dir_a.path(), 7);
    give_key(dir_b.path(), 8);
    // Both at once, on an empty store: one of them makes it its own.
    let (first, second) = tokio::join!(open(&a), open(&b));
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused.contains("is not the sealing key of this store"), "{refused}");
    let refused = open(&c).await.unwrap_err().to_string();
    assert!(refused.contains("the sealing key of this store is not here: copy secret.key"), "{refused}");
    assert!(!dir_c.path().join("secret.key").exists(), "a key that opens nothing is not made");
}
