//! The locks that a write holds while it runs, and which writes run beside it.
//!
//! Every write shares two advisory locks of the database: that of its owner's writes, and that of all writes. One that runs into others
//! again and again has the first for itself, and then the second. Those that want one for themselves wait in a line, first come
//! first served, where they keep no other write waiting; an owner has one write in the line of all.
//!
//! Invariant: locks are taken in one order (lines, the owner's, turns, all writes'), so no two writes wait for each other in a circle.
//! Who has the last of them runs. So who waits for that of all writes waits for what runs at the moment alone.

use crate::resources::Owner;
use crate::store::turns::lock_number;
use std::time::Duration;

/// Runs of a write beside all others, and then beside those of other owners; or so much time in them. After those it runs alone: a
/// write that reads much may run into others each time. Writes of one owner that run into one another hold up no other owner's.
const RUNS: u32 = 5;
const RAN: Duration = Duration::from_secs(2);

/// `writes` as octets.
const ALL_WRITES: i64 = i64::from_be_bytes(*b"\0\0writes");
/// `line` as octets.
const LINE_OF_ALL: i64 = i64::from_be_bytes(*b"\0\0\0\0line");

/// Which writes run beside one, on any daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    All,
    OtherOwners,
    None,
}

impl Beside {
    /// After runs that ran into others.
    pub fn after(runs: u32, ran: Duration) -> Self {
        match (runs, ran) {
            (runs, ran) if runs < RUNS && ran < RAN => Self::All,
            (runs, ran) if runs < 2 * RUNS && ran < 2 * RAN => Self::OtherOwners,
            _ => Self::None,
        }
    }
}

/// The locks of the writes of an owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerLocks {
    shared: i64,
    line: i64,
}

impl OwnerLocks {
    pub fn new(owner: &Owner) -> Self {
        let number = |of: &str| lock_number(format!("{of} {owner:?}").as_bytes());
        Self { shared: number("owner"), line: number("line of owner") }
    }

    /// The line in which a write waits to run so.
    pub fn line(self, beside: Beside) -> Option<i64> {
        match beside {
            Beside::All => None,
            Beside::OtherOwners => Some(self.line),
            Beside::None => Some(LINE_OF_ALL),
        }
    }
}

/// The locks of a run of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locks<'a> {
    pub owner: OwnerLocks,
    pub turns: &'a [i64],
    pub beside: Beside,
}

fn milliseconds(time: Duration) -> u128 {
    time.as_millis().max(1)
}

impl Locks<'_> {
    /// Waits in line, so long for each at most. Nothing where there is none.
    pub fn wait_in_line(self, longest: Duration) -> Option<String> {
        let of_all = match self.beside {
            Beside::All => return None,
            Beside::OtherOwners => String::new(),
            Beside::None => format!("SELECT pg_advisory_lock({LINE_OF_ALL}); "),
        };
        Some(format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}; SELECT pg_advisory_lock({}); {of_all}COMMIT",
            milliseconds(longest),
            self.owner.line,
        ))
    }

    /// Takes the locks, begins a write, and answers with its number. One that runs alone waits so long at most for others to end.
    ///
    /// The snapshot of the transaction is then of what those before it have committed. A lock taken within it would wait with a snapshot from
    /// before, and the write would fail all the same. All of it is one request.
    pub fn begin(self, wait: Duration) -> String {
        let shared = |lock: i64| format!("pg_advisory_lock_shared({lock})");
        let alone = |lock: i64| format!("pg_advisory_lock({lock})");
        let (owner, limit) = (self.owner.shared, format!("SET LOCAL lock_timeout = {}; ", milliseconds(wait)));
        // Each is taken before the next is asked for.
        let turns = self.turns.iter().copied().map(alone);
        let select = |locks: Vec<String>| format!("SELECT {}; ", locks.join(", "));
        let locks = match self.beside {
            Beside::All => select([shared(owner)].into_iter().chain(turns).chain([shared(ALL_WRITES)]).collect()),
            Beside::OtherOwners => {
                let others = select(turns.chain([shared(ALL_WRITES)]).collect());
                format!("{limit}SELECT {}; SET LOCAL lock_timeout = 0; {others}", alone(owner))
            }
            Beside::None => {
                let own = select([shared(owner)].into_iter().chain(turns).collect());
                format!("{own}{limit}SELECT {}; ", alone(ALL_WRITES))
            }
        };
        format!("BEGIN; {locks}COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()")
    }

    /// Gives back all but the places in line: the locks of a write that has begun, or those of one that has waited in vain for the lock
    /// that it wants for itself.
    pub fn give_back(self, has_begun: bool) -> String {
        let (owner, unlocks) = (self.owner.shared, |lock: i64| format!(", pg_advisory_unlock({lock})"));
        let turns: String = self.turns.iter().copied().map(unlocks).collect();
        match (self.beside, has_begun) {
            (Beside::All, _) => GIVE_ALL_BACK.to_owned(),
            // It was the first.
            (Beside::OtherOwners, false) => String::new(),
            (Beside::OtherOwners, true) => {
                format!("SELECT pg_advisory_unlock_shared({ALL_WRITES}){turns}{}", unlocks(owner))
            }
            (Beside::None, true) => {
                format!("SELECT pg_advisory_unlock({ALL_WRITES}){turns}, pg_advisory_unlock_shared({owner})")
            }
            (Beside::None, false) => format!("SELECT pg_advisory_unlock_shared({owner}){turns}"),
        }
    }
}

/// Gives all locks of a connection back, and the places in line.
pub(super) const GIVE_ALL_BACK: &str = "SELECT pg_advisory_unlock_all()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_runs_alone_after_ten_short_runs_or_four_seconds_of_long_ones() {
        let stages = |ran: Duration| (0..12).map(|runs| Beside::after(runs, ran * runs)).collect::<Vec<_>>();
        let short = stages(Duration::from_millis(1));
        assert_eq!(short.iter().filter(|beside| **beside == Beside::All).count(), 5);
        assert_eq!(short.iter().position(|beside| *beside == Beside::None), Some(10));
        let long = stages(Duration::from_millis(1500));
        assert_eq!(long[..4], [Beside::All, Beside::All, Beside::OtherOwners, Beside::None]);
    }
}
