//! The advisory locks of a write.
//!
//! Every write holds two locks in shared mode: that of its owner's writes, and that of all writes. One that keeps conflicting with others
//! takes the first in exclusive mode, and then the second. Before that it waits for another lock, the queue, which serves waiters in order
//! and blocks no other write. An owner has one write in the global queue.
//!
//! Invariant: locks are taken in one order (queues, the owner's, hot rows, that of all writes), so there is no deadlock. A write that
//! holds the last one is running, so a waiter for it waits only for running writes.

use crate::resources::Owner;
use crate::store::hot_rows::lock_number;
use std::time::Duration;

/// Failed runs, or time in them, after which a write becomes exclusive among those of its owner, and after as much again among all. A
/// write that reads much may conflict every time. Conflicts among the writes of one owner do not block other owners.
const RUNS: u32 = 5;
const RUN_TIME: Duration = Duration::from_secs(2);

/// `writes` as octets.
const ALL_WRITES: i64 = i64::from_be_bytes(*b"\0\0writes");
/// `line` as octets.
const GLOBAL_QUEUE: i64 = i64::from_be_bytes(*b"\0\0\0\0line");

/// Which writes may not run at the same time, on any daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exclusivity {
    Shared,
    /// Those of the same owner.
    Owner,
    /// All others.
    Global,
}

impl Exclusivity {
    /// After this many failed runs, which took this long.
    pub fn after(runs: u32, ran: Duration) -> Self {
        match (runs, ran) {
            (runs, ran) if runs < RUNS && ran < RUN_TIME => Self::Shared,
            (runs, ran) if runs < 2 * RUNS && ran < 2 * RUN_TIME => Self::Owner,
            _ => Self::Global,
        }
    }

    /// Without other writes at the same time, a snapshot is serializable. PostgreSQL's check would still abort it: while a transaction is
    /// open for long in any database of the server, it keeps only a summary of those that have ended since, and takes them for concurrent.
    fn isolation(self) -> &'static str {
        match self {
            Self::Shared | Self::Owner => "SERIALIZABLE",
            Self::Global => "REPEATABLE READ",
        }
    }
}

/// The locks of the writes of an owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerLocks {
    shared: i64,
    queue: i64,
}

impl OwnerLocks {
    pub fn new(owner: &Owner) -> Self {
        let number = |of: &str| lock_number(format!("{of} {owner:?}").as_bytes());
        Self { shared: number("owner"), queue: number("line of owner") }
    }

    /// The lock that serves as the queue of waiters.
    pub fn queue(self, exclusivity: Exclusivity) -> Option<i64> {
        match exclusivity {
            Exclusivity::Shared => None,
            Exclusivity::Owner => Some(self.queue),
            Exclusivity::Global => Some(GLOBAL_QUEUE),
        }
    }
}

/// The locks of a run of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locks<'a> {
    pub owner: OwnerLocks,
    pub hot_rows: &'a [i64],
    pub exclusivity: Exclusivity,
}

fn milliseconds(time: Duration) -> u128 {
    time.as_millis().max(1)
}

impl Locks<'_> {
    /// Waits in the queues, at most `timeout` in each. `None` without a queue.
    pub fn wait_in_queue(self, timeout: Duration) -> Option<String> {
        let of_all = match self.exclusivity {
            Exclusivity::Shared => return None,
            Exclusivity::Owner => String::new(),
            Exclusivity::Global => format!("SELECT pg_advisory_lock({GLOBAL_QUEUE}); "),
        };
        Some(format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}; SELECT pg_advisory_lock({}); {of_all}COMMIT",
            milliseconds(timeout),
            self.owner.queue,
        ))
    }

    /// Takes the locks, begins a write, and returns its transaction ID. Waits at most `timeout` for an exclusive lock.
    ///
    /// The locks are taken before the transaction begins, so that its snapshot has the commits that it waited for; with a lock taken
    /// inside, the snapshot would be older and the write would fail. All of it is one request.
    pub fn begin(self, timeout: Duration) -> String {
        let shared = |lock: i64| format!("pg_advisory_lock_shared({lock})");
        let exclusive = |lock: i64| format!("pg_advisory_lock({lock})");
        let (owner, limit) = (self.owner.shared, format!("SET LOCAL lock_timeout = {}; ", milliseconds(timeout)));
        // Each is taken before the next is asked for.
        let hot_rows = self.hot_rows.iter().copied().map(exclusive);
        let select = |locks: Vec<String>| format!("SELECT {}; ", locks.join(", "));
        let locks = match self.exclusivity {
            Exclusivity::Shared => {
                select([shared(owner)].into_iter().chain(hot_rows).chain([shared(ALL_WRITES)]).collect())
            }
            Exclusivity::Owner => {
                let others = select(hot_rows.chain([shared(ALL_WRITES)]).collect());
                format!("{limit}SELECT {}; SET LOCAL lock_timeout = 0; {others}", exclusive(owner))
            }
            Exclusivity::Global => {
                let own = select([shared(owner)].into_iter().chain(hot_rows).collect());
                format!("{own}{limit}SELECT {}; ", exclusive(ALL_WRITES))
            }
        };
        format!(
            "BEGIN; {locks}COMMIT; BEGIN ISOLATION LEVEL {}; SELECT pg_current_xact_id()",
            self.exclusivity.isolation()
        )
    }

    /// Releases all locks but the queues: those of a write that has begun, or those taken before the wait for an exclusive lock timed out.
    pub fn release(self, has_begun: bool) -> String {
        let (owner, unlocks) = (self.owner.shared, |lock: i64| format!(", pg_advisory_unlock({lock})"));
        let hot_rows: String = self.hot_rows.iter().copied().map(unlocks).collect();
        match (self.exclusivity, has_begun) {
            (Exclusivity::Shared, _) => RELEASE_ALL.to_owned(),
            // The exclusive lock is the first one.
            (Exclusivity::Owner, false) => String::new(),
            (Exclusivity::Owner, true) => {
                format!("SELECT pg_advisory_unlock_shared({ALL_WRITES}){hot_rows}{}", unlocks(owner))
            }
            (Exclusivity::Global, true) => {
                format!("SELECT pg_advisory_unlock({ALL_WRITES}){hot_rows}, pg_advisory_unlock_shared({owner})")
            }
            (Exclusivity::Global, false) => format!("SELECT pg_advisory_unlock_shared({owner}){hot_rows}"),
        }
    }
}

/// Releases all locks of a connection, the queues included.
pub(super) const RELEASE_ALL: &str = "SELECT pg_advisory_unlock_all()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_exclusive_after_ten_short_runs_or_four_seconds_of_long_ones() {
        let stages = |ran: Duration| (0..12).map(|runs| Exclusivity::after(runs, ran * runs)).collect::<Vec<_>>();
        let short = stages(Duration::from_millis(1));
        assert_eq!(short.iter().filter(|exclusivity| **exclusivity == Exclusivity::Shared).count(), 5);
        assert_eq!(short.iter().position(|exclusivity| *exclusivity == Exclusivity::Global), Some(10));
        let long = stages(Duration::from_millis(1500));
        assert_eq!(long[..4], [Exclusivity::Shared, Exclusivity::Shared, Exclusivity::Owner, Exclusivity::Global]);
    }
}
