//! Rotation of a claim's DKIM keys.
//!
//! Invariant: a change of roles is made in the transaction that reads the state, by the rules of
//! [`crate::verification::rotation`]; so it is atomic with respect to crashes, checks and queued messages. Only this file changes
//! rows of `dkim_rotation`; it updates the due time of the account in the same transaction ([`due`]).

use super::due::{self, Kind};
use super::hot_rows::HotRow;
use super::jobs::{self, Claim, JobKey, Lease};
use super::{Store, StoreError, Transaction, keys};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, RunnerId};
use crate::resources::places::Places;
use crate::store::engine::{Params, Row, params};
use crate::verification::records::RecordKey;
use crate::verification::rotation::{self, Cname, Key, NotYet, Plan, Role, Step, Trio};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The selector.
    pub token: String,
    /// The number of previous keys of the token.
    pub generation: u32,
    /// The TXT record.
    pub public: String,
    /// The state of the key for the rules.
    pub key: Key,
}

/// The keys of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    pub tokens: [String; 3],
    /// By the index of the token; `None` until the key is generated.
    pub rows: [Option<KeyRow>; 3],
    /// When the oldest queued message of the domain was created.
    pub queued: Option<Timestamp>,
}

impl KeyRing {
    /// The state of the keys for the rules.
    pub fn trio(&self) -> Trio {
        self.rows.each_ref().map(|row| row.as_ref().map(|row| row.key))
    }

    pub fn at(&self, position: usize) -> Option<&KeyRow> {
        self.rows.get(position)?.as_ref()
    }

    pub fn signing(&self) -> Option<&KeyRow> {
        self.at(rotation::signing(&self.trio())?)
    }
}

/// A new key for a token.
#[derive(Clone, Debug)]
pub struct FreshKey {
    pub token: String,
    /// The generation of the key that it replaces.
    pub replaces: u32,
    /// The sealed private key.
    pub sealed: Vec<u8>,
    /// The TXT record.
    pub public: String,
}

impl Store {
    /// The keys of a claim. `None` if the claim was deleted.
    pub async fn key_ring(&self, domain: &DomainId) -> Result<Option<KeyRing>, StoreError> {
        let domain = domain.clone();
        self.read(move |connection| read(connection, &domain)).await
    }

    /// Leases due rotations for the free places. Returns the claims with their accounts.
    pub async fn rotation_claim(&self, claim: Claim) -> Result<Vec<(DomainId, AccountId)>, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        let chosen = self.read(move |connection| choose(connection, &claim)).await?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let hot_row = [HotRow::Claims(Kind::Rotation.as_str())];
        self.write_serialized(&hot_row, move |connection| take(connection, now, &lease, &chosen)).await
    }

    /// When the next rotation for which a place is free, or the next removal of retired public keys, is due.
    pub async fn rotation_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT min(coalesce(until, 0)) FROM dkim_kept";
            let kept: Option<Timestamp> = connection.query_row(sql, params![], |row| row.get(0))?;
            Ok(kept.into_iter().chain(jobs::next_due(connection, Kind::Rotation, &places)?).min())
        })
        .await
    }

    /// The next step of a claim's rotation, with the keys before it. A change of roles is applied, and a rest ends the job; other
    /// steps are left to the caller. `None` if the claim was deleted, or the runner has lost the lease.
    pub async fn rotation_step(
        &self,
        domain: &DomainId,
        runner: RunnerId,
        plan: Plan,
        now: Timestamp,
        looked: bool,
    ) -> Result<Option<(Step, KeyRing)>, StoreError> {
        let domain = domain.clone();
        self.write(move |connection| {
            let held = "SELECT 1 FROM dkim_rotation WHERE domain_id = ?1 AND lease_owner = ?2";
            if !connection.exists(held, params![domain, runner])? {
                return Ok(None);
            }
            let Some(ring) = read(connection, &domain)? else { return Ok(None) };
            let step = rotation::step(&ring.trio(), &plan, ring.queued, now, looked);
            match step {
                Step::Rotate { from, to } => rotate(connection, &ring, from, to, now)?,
                Step::Rest(until) => {
                    let sql = "UPDATE dkim_rotation SET due_at = ?2, lease_until = NULL, lease_owner = NULL
                               WHERE domain_id = ?1 RETURNING account_id";
                    changed_by(connection, sql, params![domain, until])?;
                }
                Step::Look(_) | Step::Renew(_) => {}
            }
            Ok(Some((step, ring)))
        })
        .await
    }

    /// Makes the next key the signing key, if the rules allow it now. `None` if the claim was deleted.
    pub async fn rotation_now(
        &self,
        domain: &DomainId,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Option<Result<(), NotYet>>, StoreError> {
        let domain = domain.clone();
        self.write(move |connection| {
            let Some(ring) = read(connection, &domain)? else { return Ok(None) };
            let trio = ring.trio();
            let Some(from) = rotation::signing(&trio) else { return Ok(Some(Err(NotYet::Making))) };
            match rotation::successor(&trio, &plan, now) {
                Err(why) => Ok(Some(Err(why))),
                Ok(to) => {
                    rotate(connection, &ring, from, to, now)?;
                    make_due(connection, &domain, now)?;
                    Ok(Some(Ok(())))
                }
            }
        })
        .await
    }

    /// Makes another key the signing key if the CNAME record of the current one is wrong. Returns whether it did.
    pub async fn rotation_stand_in(&self, domain: &DomainId, plan: Plan, now: Timestamp) -> Result<bool, StoreError> {
        let domain = domain.clone();
        self.write(move |connection| {
            let Some(ring) = read(connection, &domain)? else { return Ok(false) };
            let trio = ring.trio();
            let (Some(from), Some(to)) = (rotation::signing(&trio), rotation::stand_in(&trio, &plan, now)) else {
                return Ok(false);
            };
            rotate(connection, &ring, from, to, now)?;
            make_due(connection, &domain, now)?;
            Ok(true)
        })
        .await
    }

    /// Records when a key was first observed in the DNS.
    pub async fn key_seen(&self, token: &str, generation: u32, now: Timestamp) -> Result<(), StoreError> {
        let token = token.to_owned();
        self.write(move |connection| {
            let sql = "UPDATE dkim_key SET seen_at = ?3 WHERE token = ?1 AND generation = ?2 AND seen_at IS NULL";
            connection.execute(sql, params![token, generation, now])?;
            Ok(())
        })
        .await
    }

    /// Replaces a key by a new one. False if the rules do not allow it, the key was already replaced, or the claim was deleted.
    pub async fn key_replace(
        &self,
        domain: &DomainId,
        fresh: FreshKey,
        plan: Plan,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let domain = domain.clone();
        self.write(move |connection| {
            let Some(ring) = read(connection, &domain)? else { return Ok(false) };
            let old = ring.rows.iter().flatten().find(|row| row.token == fresh.token);
            let is_allowed = old.is_some_and(|row| {
                row.generation == fresh.replaces && rotation::may_be_replaced(&row.key, &plan, ring.queued, now)
            });
            if is_allowed {
                keys::replace(connection, &fresh, now)?;
                make_due(connection, &domain, now)?;
            }
            Ok(is_allowed)
        })
        .await
    }
}

const DUE: &str =
    "SELECT domain_id FROM dkim_rotation WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";

fn choose(connection: &Transaction<'_>, claim: &Claim) -> Result<Vec<DomainId>, StoreError> {
    let mut line = jobs::line(connection, Kind::Rotation, claim.now, claim.places.clone())?;
    let key = |id: &DomainId| JobKey::Rotation(id.clone());
    jobs::choose(&mut line, usize::MAX, |owner| jobs::due_ids(connection, DUE, claim, owner, key))
}

/// Leases those of the rotations that are still due.
fn take(
    connection: &Transaction<'_>,
    now: Timestamp,
    lease: &Lease,
    chosen: &[DomainId],
) -> Result<Vec<(DomainId, AccountId)>, StoreError> {
    let sql = "UPDATE dkim_rotation SET lease_until = ?2, lease_owner = ?3 WHERE domain_id = ?1 AND ready_at <= ?4
               RETURNING account_id";
    let mut taken = Vec::new();
    for id in chosen {
        let account = connection.query_opt(sql, params![id, lease.until, lease.runner, now], |row| row.get(0))?;
        if let Some(account) = account {
            due::served(connection, Kind::Rotation, &account, now)?;
            taken.push((id.clone(), account));
        }
    }
    Ok(taken)
}

/// Makes the rotation of a claim due now, unless it is due earlier.
fn make_due(connection: &Transaction<'_>, domain: &DomainId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_rotation SET due_at = ?2 WHERE domain_id = ?1 AND due_at > ?2 RETURNING account_id";
    changed_by(connection, sql, params![domain, now])
}

/// Starts the rotation of a claim that has got a key, or makes it due.
pub(super) fn begin(connection: &Transaction<'_>, domain: &DomainId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO dkim_rotation (domain_id, account_id, due_at)
               SELECT id, account_id, ?2 FROM custom_domain WHERE id = ?1
               ON CONFLICT (domain_id) DO UPDATE SET due_at = excluded.due_at
                   WHERE dkim_rotation.due_at > excluded.due_at
               RETURNING account_id";
    changed_by(connection, sql, params![domain, now])
}

/// Renews those of the leases that the runner still owns.
pub(super) fn renew<'a>(
    connection: &Transaction<'_>,
    mut claims: impl Iterator<Item = &'a DomainId>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE dkim_rotation SET lease_until = ?2 WHERE lease_owner = ?1 AND domain_id = ?3 RETURNING account_id";
    claims.try_for_each(|id| changed_by(connection, sql, params![runner, until, id]))
}

/// Releases all leases, or those of owners from ?1 up to but excluding ?2. Returns their number.
pub(super) fn end_leases(connection: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE dkim_rotation SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    let ended = connection.execute(sql, of)?;
    if ended > 0 {
        due::all_changed(connection, Kind::Rotation)?;
    }
    Ok(ended)
}

/// Runs a statement with `RETURNING account_id` that reschedules at most one claim, and updates the due time of the account.
fn changed_by(connection: &Transaction<'_>, sql: &str, values: Params<'_>) -> Result<(), StoreError> {
    match connection.query_opt(sql, values, |row| row.get(0))? {
        Some(account) => due::changed(connection, Kind::Rotation, &account),
        None => Ok(()),
    }
}

/// Updates the previous key first: a unique index allows only one signing key.
fn rotate(
    connection: &Transaction<'_>,
    ring: &KeyRing,
    from: usize,
    to: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_key SET role = ?2, role_since = ?3 WHERE token = ?1";
    for (position, role) in [(from, Role::Retiring), (to, Role::Signing)] {
        if let Some(row) = ring.at(position) {
            connection.execute(sql, params![row.token, role, now])?;
        }
    }
    Ok(())
}

fn read(connection: &Transaction<'_>, domain: &DomainId) -> Result<Option<KeyRing>, StoreError> {
    let sql = "SELECT dkim_tokens, name, (SELECT min(created_at) FROM submission WHERE domain_id = ?1)
               FROM custom_domain WHERE id = ?1";
    let claim = connection
        .query_opt(sql, params![domain], |row| Ok((row.get::<String>(0)?, row.get::<DomainName>(1)?, row.get(2)?)));
    let Some((tokens, name, queued)) = claim? else { return Ok(None) };
    let tokens: Vec<String> = tokens.split_ascii_whitespace().map(str::to_owned).collect();
    let tokens: [String; 3] =
        tokens.try_into().map_err(|_| StoreError::Corrupt("a claim does not have three tokens".into()))?;
    let sql = "SELECT k.token, k.generation, k.public, k.role, k.role_since, k.seen_at, r.status
               FROM dkim_key k LEFT JOIN domain_record r ON r.domain_id = ?2
                   AND r.purpose = ?3 AND r.name = ?4
               WHERE k.token = ?1";
    let mut rows = [None, None, None];
    for (token, place) in tokens.iter().zip(&mut rows) {
        let record = RecordKey::dkim(token, &name);
        *place = connection.query_opt(sql, params![token, domain, record.purpose, record.name], read_key)?;
    }
    Ok(Some(KeyRing { tokens, rows, queued }))
}

fn read_key(row: &Row<'_>) -> Result<KeyRow, StoreError> {
    let generation = row.get(1)?;
    let status: Option<String> = row.get(6)?;
    let cname = match status.as_deref() {
        Some("valid") => Cname::Right,
        Some("missing" | "mismatch") => Cname::Wrong,
        _ => Cname::Unknown,
    };
    let key = Key { role: row.get(3)?, since: row.get(4)?, seen_at: row.get(5)?, first: generation == 0, cname };
    Ok(KeyRow { token: row.get(0)?, generation, public: row.get(2)?, key })
}
