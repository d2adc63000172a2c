//! Shares, the reserve, and claims that end with what they count.

use super::*;
use crate::id::AccountId;
use std::net::IpAddr;

const MIB: usize = 1024 * 1024;

fn budget() -> MemoryBudget {
    let keys = ["memory", "memory_per_account", "memory_per_address"];
    MemoryBudget::new(Shares { total: 8 * MIB, per_account: 4 * MIB, per_network: 3 * MIB, keys })
}

fn client(last: u8) -> Client {
    Client::new(IpAddr::from([192, 0, 2, last]))
}

/// The octets of a claim that is counted as so many.
fn claim(budget: &MemoryBudget, client: &Client, counted: usize) -> Result<Claim, NoRoom> {
    let mut claim = budget.claim(client);
    claim.grow_to(counted + UNCOUNTED).map(|()| claim)
}

#[test]
fn a_network_and_an_account_have_a_share_and_a_claim_counts_for_both() {
    let budget = budget();
    let account = AccountId::new();
    let first = claim(&budget, &client(1).logged_in(&account), 3 * MIB).unwrap();
    assert_eq!(claim(&budget, &client(1), MIB).unwrap_err(), NoRoom("memory_per_address"));
    assert_eq!(claim(&budget, &client(2).logged_in(&account), 2 * MIB).unwrap_err(), NoRoom("memory_per_account"));
    let _other = claim(&budget, &client(2), 2 * MIB).unwrap();
    drop(first);
    assert_eq!(budget.used(), 2 * MIB);
    let _again = claim(&budget, &client(1).logged_in(&account), 3 * MIB).unwrap();
}

#[test]
fn large_claims_leave_the_reserve_to_small_ones() {
    let budget = budget();
    let large: Vec<_> = (0..8).map_while(|n| claim(&budget, &client(n), MIB).ok()).collect();
    assert_eq!(large.len(), 6);
    assert_eq!(budget.has_capacity(&client(9), MIB), Err(NoRoom("memory")));
    let small: Vec<_> = (100..200).map_while(|n| claim(&budget, &client(n), SMALL - UNCOUNTED).ok()).collect();
    assert!(small.len() >= 8, "{}", small.len());
    // What every connection needs is not counted.
    assert!(budget.claim(&client(250)).grow_to(UNCOUNTED).is_ok());
}

#[test]
fn octets_are_counted_until_the_last_slice_of_them_is_gone() {
    let budget = budget();
    let mut buffer = Buffer::new(budget.claim(&client(1)));
    let piece = [b'x'; 10_000];
    let mut octets = 0;
    while buffer.extend(&piece).is_ok() {
        octets += piece.len();
    }
    assert!((3 * MIB - 2 * piece.len()..=3 * MIB + UNCOUNTED).contains(&octets), "{octets}");
    assert_eq!(buffer.as_ref().len(), octets);
    let bytes = buffer.into_bytes();
    let slice = bytes.slice(5..6);
    drop(bytes);
    assert!(budget.used() >= 2 * MIB);
    drop(slice);
    assert_eq!(budget.used(), 0);
    assert!(budget.lock().by_owner.is_empty());
}

#[test]
fn what_is_refused_changes_nothing_and_what_is_cleared_is_given_back() {
    let budget = budget();
    let mut claim = claim(&budget, &client(1), MIB).unwrap();
    assert!(claim.grow_to(5 * MIB).is_err());
    assert_eq!(budget.used(), MIB);
    claim.shrink_to(UNCOUNTED + 10);
    assert_eq!(budget.used(), 10);
    claim.grow_to(2 * MIB).unwrap();
    let mut buffer = Buffer::zeroed(claim, 2 * MIB);
    assert_eq!(budget.used(), 2 * MIB - UNCOUNTED);
    buffer.clear();
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn who_waits_is_granted_what_others_give_back_and_no_more() {
    let budget = budget();
    let first = claim(&budget, &client(1), 2 * MIB).unwrap();
    let waiting = tokio::spawn({
        let mut waits = budget.claim(&client(1));
        async move { waits.wait_to_grow(2 * MIB, Duration::from_secs(60)).await.map(|()| waits) }
    });
    let mut other = budget.claim(&client(1));
    assert!(other.wait_to_grow(2 * MIB, Duration::from_millis(10)).await.is_err());
    drop(first);
    let granted = waiting.await.unwrap().unwrap();
    assert_eq!(budget.used(), 2 * MIB - UNCOUNTED);
    drop(granted);
    assert_eq!(budget.used(), 0);
}
