//! Identities at Amazon SES: the requested state, the last state that SES reported, and due repairs.
//!
//! Invariant: the row of a name exists from before the first call to SES until nothing created by this program is left there, so
//! a crash or a lost reply leaves nothing unrecorded at SES.

use super::hot_rows::HotRow;
use super::jobs::{self, Claim, JobKey, Lease};
use super::{Store, StoreError, Transaction};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, RunnerId};
use crate::resources::Owner;
use crate::resources::places::{Line, Waiting};
use crate::store::engine::{Params, Row, params};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesIdentity {
    /// The domain.
    pub name: DomainName,
    /// The value of the tag that it is created with.
    pub mark: String,
    /// SES reported the tag. False if the identity existed before, or SES has not replied yet.
    pub is_ours: bool,
    /// The three tokens, once SES has reported them.
    pub tokens: Option<[String; 3]>,
    /// The last reply said that SES sends and signs for it.
    pub sending: bool,
    /// The MAIL FROM domain in use, by the last reply.
    pub mail_from: Option<DomainName>,
    /// This program has set the MAIL FROM domain.
    pub mail_from_set: bool,
    /// Consecutive failed tries.
    pub tries: u32,
    /// The number of changes of its claims, to detect concurrent ones.
    pub changes: u32,
    /// The tokens of claims to the name; `None` without a claim.
    pub claimed_tokens: Option<[String; 3]>,
    /// The return path of the verified claim.
    pub return_path: Option<DomainName>,
}

/// The state of an identity by a reply of SES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesReply {
    /// It has the tag of this program.
    pub is_ours: bool,
    pub tokens: [String; 3],
    /// `DkimAttributes.Status`.
    pub dkim_status: String,
    /// `DkimAttributes.SigningEnabled`.
    pub signs: bool,
    /// SES sends and signs for it.
    pub sending: bool,
    pub mail_from: Option<MailFrom>,
}

/// A MAIL FROM domain by a reply of SES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    pub domain: DomainName,
    /// SES has found its MX record and uses it.
    pub in_use: bool,
    /// SES has stopped looking for its MX record.
    pub given_up: bool,
}

impl SesReply {
    /// True if SES uses the MAIL FROM domain, or is still looking for its MX record.
    pub fn has_mail_from(&self, wanted: &DomainName) -> bool {
        self.mail_from.as_ref().is_some_and(|mail_from| mail_from.domain == *wanted && !mail_from.given_up)
    }

    /// The MAIL FROM domain of mail sent now; `None` for SES's own.
    pub fn mail_from_in_use(&self) -> Option<&DomainName> {
        self.mail_from.as_ref().filter(|mail_from| mail_from.in_use).map(|mail_from| &mail_from.domain)
    }
}

const SELECT: &str = "SELECT name, mark, is_ours, tokens, sending, mail_from, led, tries, changes,
    (SELECT dkim_tokens FROM custom_domain d WHERE d.name = s.name ORDER BY d.id LIMIT 1),
    (SELECT d.return_path || '.' || d.name FROM custom_domain d WHERE d.name = s.name AND d.status = 'verified')
    FROM ses_identity s";

fn parse_tokens(tokens: Option<String>) -> Option<[String; 3]> {
    let tokens: Vec<String> = tokens?.split_ascii_whitespace().map(str::to_owned).collect();
    tokens.try_into().ok()
}

fn identity(row: &Row<'_>) -> Result<SesIdentity, StoreError> {
    Ok(SesIdentity {
        name: row.get(0)?,
        mark: row.get(1)?,
        is_ours: row.get(2)?,
        tokens: parse_tokens(row.get(3)?),
        sending: row.get(4)?,
        mail_from: row.get(5)?,
        mail_from_set: row.get(6)?,
        tries: row.get(7)?,
        changes: row.get(8)?,
        claimed_tokens: parse_tokens(row.get(9)?),
        return_path: row.get(10)?,
    })
}

fn find(c: &Transaction<'_>, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
    let sql = format!("{SELECT} WHERE name = ?1");
    c.query_opt(&sql, params![name], identity)
}

/// Due names considered per claim, the longest waiting first. SES accepts one request per second.
const MAX_NAMES: i64 = 1000;
const DUE: &str =
    "SELECT name, ready_at, (SELECT account_id FROM claimed_name n WHERE n.name = s.name ORDER BY n.account_id LIMIT 1)
    FROM ses_identity s WHERE ready_at <= ?1 ORDER BY ready_at LIMIT ?2";

/// Chooses due names fairly between accounts.
fn choose(c: &Transaction<'_>, claim: &Claim) -> Result<Vec<(DomainName, Owner)>, StoreError> {
    let mut due: BTreeMap<Owner, VecDeque<(DomainName, Owner)>> = BTreeMap::new();
    let mut waiting = Vec::new();
    c.for_each(DUE, params![claim.now, MAX_NAMES], |row| {
        let (name, account): (DomainName, Option<AccountId>) = (row.get(0)?, row.get(2)?);
        if claim.running.contains(&JobKey::SesIdentity(name.clone())) {
            return Ok(ControlFlow::Continue(()));
        }
        let owner = account.map_or(Owner::System, Owner::Account);
        let names = due.entry(owner.clone()).or_default();
        if names.is_empty() {
            waiting.push(Waiting { served_at: Timestamp::from_millis(0), due_at: row.get(1)?, owner: owner.clone() });
        }
        names.push_back((name, owner));
        Ok(ControlFlow::Continue(()))
    })?;
    let mut line = Line::new(claim.places.clone(), waiting);
    jobs::choose(&mut line, usize::MAX, |owner| Ok(due.remove(owner).unwrap_or_default()))
}

const LEASED_BY_ANOTHER: &str = "SELECT 1 FROM ses_identity WHERE name = ?1 AND lease_owner <> ?2 AND lease_until > ?3";

fn record_reply(c: &Transaction<'_>, name: &DomainName, reply: &SesReply) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET is_ours = ?2, tokens = ?3, dkim_status = ?4, sending = ?5, mail_from = ?6
               WHERE name = ?1";
    let (tokens, mail_from) = (reply.tokens.join(" "), reply.mail_from_in_use());
    let values = params![name, reply.is_ours, tokens, reply.dkim_status, reply.sending, mail_from];
    c.execute(sql, values)?;
    Ok(())
}

/// Makes the identity due, because claims to the name have changed.
pub(super) fn claims_changed(c: &Transaction<'_>, name: &DomainName) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1 WHERE name = ?1";
    c.execute(sql, params![name])?;
    Ok(())
}

/// Renews those of the leases that the runner still owns.
pub(super) fn renew<'a>(
    c: &Transaction<'_>,
    mut names: impl Iterator<Item = &'a DomainName>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET lease_until = ?2 WHERE lease_owner = ?1 AND name = ?3";
    names.try_for_each(|name| c.execute(sql, params![runner, until, name]).map(|_| ()))
}

/// Releases all leases, or those of owners from ?1 up to but excluding ?2. Returns their number.
pub(super) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE ses_identity SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    c.execute(sql, of)
}

impl Store {
    /// Records, before the first call to SES, that an identity is going to be created with this tag value. An existing row keeps
    /// its own. The identity is checked at `look_again`, even if the call fails. `None` if another runner has the lease.
    pub async fn ses_intend(
        &self,
        name: &DomainName,
        mark: String,
        (runner, now): (RunnerId, Timestamp),
        look_again: Timestamp,
    ) -> Result<Option<SesIdentity>, StoreError> {
        let name = name.clone();
        self.write(move |c| {
            if c.exists(LEASED_BY_ANOTHER, params![name, runner, now])? {
                return Ok(None);
            }
            let sql = "INSERT INTO ses_identity (name, mark, created_at, next_try_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (name) DO UPDATE SET next_try_at = excluded.next_try_at, tries = 0";
            c.execute(sql, params![name, mark, now, look_again])?;
            find(c, &name)
        })
        .await
    }

    pub async fn ses_identity(&self, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
        let name = name.clone();
        self.read(move |c| find(c, &name)).await
    }

    /// Records a reply of SES, unless another runner has the lease.
    pub async fn ses_record_reply(
        &self,
        name: &DomainName,
        (runner, now): (RunnerId, Timestamp),
        reply: SesReply,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            if !c.exists(LEASED_BY_ANOTHER, params![name, runner, now])? {
                record_reply(c, &name, &reply)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes a name due at `at`.
    pub async fn ses_look_at(&self, name: &DomainName, at: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2 WHERE name = ?1";
            c.execute(sql, params![name, at])?;
            Ok(())
        })
        .await
    }

    /// Records that SES does not have the identity, and makes the name due at `look_again`.
    pub async fn ses_gone(&self, name: &DomainName, look_again: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2, sending = 0, mail_from = NULL WHERE name = ?1";
            c.execute(sql, params![name, look_again])?;
            Ok(())
        })
        .await
    }

    /// Records whether this program has set the MAIL FROM domain; to be called before it is set and after it is removed. False,
    /// without a change, if the runner has lost the lease.
    pub async fn ses_mail_from_set(
        &self,
        name: &DomainName,
        runner: RunnerId,
        is_set: bool,
    ) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET led = ?3 WHERE name = ?1 AND lease_owner = ?2";
            Ok(c.execute(sql, params![name, runner, is_set])? == 1)
        })
        .await
    }

    /// Records that the identity needs no repair, and the reply that says so. It stays due if its claims have changed since `row`
    /// was read. No effect if the runner has lost the lease.
    pub async fn ses_settled(&self, row: &SesIdentity, runner: RunnerId, reply: SesReply) -> Result<(), StoreError> {
        let (name, changes) = (row.name.clone(), row.changes);
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = CASE WHEN changes = ?3 THEN NULL ELSE next_try_at END,
                           tries = CASE WHEN changes = ?3 THEN 0 ELSE tries END, lease_until = NULL, lease_owner = NULL
                       WHERE name = ?1 AND lease_owner = ?2";
            if c.execute(sql, params![name, runner, changes])? == 1 {
                record_reply(c, &name, &reply)?;
            }
            Ok(())
        })
        .await
    }

    /// Records a failed try, to be retried at `next`. No effect if the runner has lost the lease.
    pub async fn ses_failed(&self, name: &DomainName, runner: RunnerId, next: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql =
                "UPDATE ses_identity SET tries = tries + 1, next_try_at = ?3, lease_until = NULL, lease_owner = NULL
                       WHERE name = ?1 AND lease_owner = ?2";
            c.execute(sql, params![name, runner, next])?;
            Ok(())
        })
        .await
    }

    /// Removes the row after everything was removed from SES, unless there is a new claim. No effect if the runner has lost the
    /// lease.
    pub async fn ses_forget(&self, name: &DomainName, runner: RunnerId) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "DELETE FROM ses_identity WHERE name = ?1 AND lease_owner = ?2
                       AND NOT EXISTS (SELECT 1 FROM custom_domain WHERE name = ?1)";
            c.execute(sql, params![name, runner])?;
            let sql =
                "UPDATE ses_identity SET lease_until = NULL, lease_owner = NULL WHERE name = ?1 AND lease_owner = ?2";
            c.execute(sql, params![name, runner])?;
            Ok(())
        })
        .await
    }

    /// Leases due names for the free places. Returns each with an account that claims it or has claimed it.
    pub async fn ses_claim(&self, claim: Claim) -> Result<Vec<(DomainName, Owner)>, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        let chosen = self.read(move |c| choose(c, &claim)).await?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        self.write_serialized(&[HotRow::Claims("ses_identity")], move |c| {
            let sql = "UPDATE ses_identity SET lease_until = ?2, lease_owner = ?3 WHERE name = ?1 AND ready_at <= ?4";
            let mut taken = Vec::new();
            for (name, owner) in &chosen {
                if c.execute(sql, params![name, lease.until, lease.runner, now])? == 1 {
                    taken.push((name.clone(), owner.clone()));
                }
            }
            Ok(taken)
        })
        .await
    }

    /// When the next name is due; a leased one is due when the lease expires.
    pub async fn ses_next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|c| c.query_row("SELECT min(ready_at) FROM ses_identity", params![], |row| row.get(0))).await
    }

    /// The numbers of claims with tokens of SES, and of this daemon.
    pub async fn claims_by_provider(&self) -> Result<(u32, u32), StoreError> {
        self.read(|c| {
            let sql = "SELECT count(s.name), count(*) - count(s.name)
                       FROM custom_domain d LEFT JOIN ses_identity s ON s.name = d.name";
            c.query_row(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }
}
