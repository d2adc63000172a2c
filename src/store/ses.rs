//! Identities at Amazon SES: what was asked for there, what it said, and what has to be repaired.
//!
//! Invariant: a row exists from before the first call for its name until nothing of ours is left there, so that a crash
//! or a lost answer leaves nothing behind that is not recorded.

use super::jobs::{self, Claim, JobKey, Lease};
use super::turns::Turn;
use super::{Store, StoreError, Transaction};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, RunnerId};
use crate::resources::Owner;
use crate::resources::places::{Line, Waiting};
use crate::store::engine::{Params, Row, params};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

/// An identity as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesIdentity {
    /// The domain.
    pub name: DomainName,
    /// The tag's value that it is made with.
    pub mark: String,
    /// It bears our mark. Otherwise it was there before us, or SES has not said.
    pub is_ours: bool,
    /// Its three tokens, once SES has said them.
    pub tokens: Option<[String; 3]>,
    /// SES sends for it, and signs, as it said last.
    pub sending: bool,
    /// The MAIL FROM domain of it that SES uses, as it said last.
    pub mail_from: Option<DomainName>,
    /// We have set its MAIL FROM domain.
    pub mail_from_set: bool,
    /// Tries that failed, in a row.
    pub tries: u32,
    /// Counts the changes of its claims that it has to follow.
    pub changes: u32,
    /// The tokens that claims to the name have got; none without a claim.
    pub claimed_tokens: Option<[String; 3]>,
    /// The return path of the verified claim.
    pub return_path: Option<DomainName>,
}

/// What SES says of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesReply {
    /// It bears our mark.
    pub is_ours: bool,
    /// Its three tokens.
    pub tokens: [String; 3],
    /// Its DKIM status, in SES's word.
    pub dkim_status: String,
    /// Signing is not switched off.
    pub signs: bool,
    /// SES sends for it, and signs.
    pub sending: bool,
    /// Its MAIL FROM domain, where it has one.
    pub mail_from: Option<MailFrom>,
}

/// A MAIL FROM domain as SES has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    pub domain: DomainName,
    /// SES has found its MX record, and uses it.
    pub in_use: bool,
    /// SES no longer looks for that.
    pub given_up: bool,
}

impl SesReply {
    /// Its MAIL FROM domain is this, or will be.
    pub fn has_mail_from(&self, wanted: &DomainName) -> bool {
        self.mail_from.as_ref().is_some_and(|mail_from| mail_from.domain == *wanted && !mail_from.given_up)
    }

    /// The MAIL FROM domain of mail that leaves now; none: SES's own.
    pub fn mail_from_in_use(&self) -> Option<&DomainName> {
        self.mail_from.as_ref().filter(|mail_from| mail_from.in_use).map(|mail_from| &mail_from.domain)
    }
}

const SELECT: &str = "SELECT name, mark, is_ours, tokens, sending, mail_from, led, tries, changes,
    (SELECT dkim_tokens FROM custom_domain d WHERE d.name = s.name ORDER BY d.id LIMIT 1),
    (SELECT d.return_path || '.' || d.name FROM custom_domain d WHERE d.name = s.name AND d.status = 'verified')
    FROM ses_identity s";

fn three(tokens: Option<String>) -> Option<[String; 3]> {
    let tokens: Vec<String> = tokens?.split_ascii_whitespace().map(str::to_owned).collect();
    tokens.try_into().ok()
}

fn identity(row: &Row<'_>) -> Result<SesIdentity, StoreError> {
    Ok(SesIdentity {
        name: row.get(0)?,
        mark: row.get(1)?,
        is_ours: row.get(2)?,
        tokens: three(row.get(3)?),
        sending: row.get(4)?,
        mail_from: row.get(5)?,
        mail_from_set: row.get(6)?,
        tries: row.get(7)?,
        changes: row.get(8)?,
        claimed_tokens: three(row.get(9)?),
        return_path: row.get(10)?,
    })
}

fn find(c: &Transaction<'_>, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
    let sql = format!("{SELECT} WHERE name = ?1");
    c.query_opt(&sql, params![name], identity)
}

/// Names that are due which one claim looks at, the longest waiting first. SES itself takes one a second.
const NAMES: i64 = 1000;
const DUE: &str =
    "SELECT name, ready_at, (SELECT account_id FROM claimed_name n WHERE n.name = s.name ORDER BY n.account_id LIMIT 1)
    FROM ses_identity s WHERE ready_at <= ?1 ORDER BY ready_at LIMIT ?2";

/// The names to repair, shared by account.
fn choose(c: &Transaction<'_>, claim: &Claim) -> Result<Vec<(DomainName, Owner)>, StoreError> {
    let mut due: BTreeMap<Owner, VecDeque<(DomainName, Owner)>> = BTreeMap::new();
    let mut waiting = Vec::new();
    c.for_each(DUE, params![claim.now, NAMES], |row| {
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

const REPAIRED_BY_ANOTHER: &str =
    "SELECT 1 FROM ses_identity WHERE name = ?1 AND lease_owner <> ?2 AND lease_until > ?3";

fn record_reply(c: &Transaction<'_>, name: &DomainName, reply: &SesReply) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET is_ours = ?2, tokens = ?3, dkim_status = ?4, sending = ?5, mail_from = ?6
               WHERE name = ?1";
    let (tokens, mail_from) = (reply.tokens.join(" "), reply.mail_from_in_use());
    let values = params![name, reply.is_ours, tokens, reply.dkim_status, reply.sending, mail_from];
    c.execute(sql, values)?;
    Ok(())
}

/// Its claims have changed, so that the identity has to follow: it is looked at now.
pub(super) fn claims_changed(c: &Transaction<'_>, name: &DomainName) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1 WHERE name = ?1";
    c.execute(sql, params![name])?;
    Ok(())
}

/// Renews the owner's leases.
pub(super) fn renew<'a>(
    c: &Transaction<'_>,
    mut names: impl Iterator<Item = &'a DomainName>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql = "UPDATE ses_identity SET lease_until = ?2 WHERE lease_owner = ?1 AND name = ?3";
    names.try_for_each(|name| c.execute(sql, params![runner, until, name]).map(|_| ()))
}

/// Ends all leases, or those of owners from ?1 to before ?2; returns how many there were.
pub(super) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE ses_identity SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    c.execute(sql, of)
}

impl Store {
    /// Before the first call for a name: that it is going to be made, with this mark. An existing row is kept. It is
    /// looked at again at `look_again`, whatever becomes of the call. None while another runner is repairing it.
    pub async fn ses_intend(
        &self,
        name: &DomainName,
        mark: String,
        (runner, now): (RunnerId, Timestamp),
        look_again: Timestamp,
    ) -> Result<Option<SesIdentity>, StoreError> {
        let name = name.clone();
        self.write(move |c| {
            if c.exists(REPAIRED_BY_ANOTHER, params![name, runner, now])? {
                return Ok(None);
            }
            let sql = "INSERT INTO ses_identity (name, mark, created_at, next_try_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (name) DO UPDATE SET next_try_at = excluded.next_try_at, tries = 0";
            c.execute(sql, params![name, mark, now, look_again])?;
            find(c, &name)
        })
        .await
    }

    /// The row of a name.
    pub async fn ses_identity(&self, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
        let name = name.clone();
        self.read(move |c| find(c, &name)).await
    }

    /// What SES says of a name. Nothing is recorded while another runner is repairing it, which knows better.
    pub async fn ses_record_reply(
        &self,
        name: &DomainName,
        (runner, now): (RunnerId, Timestamp),
        reply: SesReply,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            if !c.exists(REPAIRED_BY_ANOTHER, params![name, runner, now])? {
                record_reply(c, &name, &reply)?;
            }
            Ok(())
        })
        .await
    }

    /// A name has something to repair: it is looked at then.
    pub async fn ses_look_at(&self, name: &DomainName, at: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2 WHERE name = ?1";
            c.execute(sql, params![name, at])?;
            Ok(())
        })
        .await
    }

    /// SES has no such identity any more: it is looked at then.
    pub async fn ses_gone(&self, name: &DomainName, look_again: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2, sending = 0, mail_from = NULL WHERE name = ?1";
            c.execute(sql, params![name, look_again])?;
            Ok(())
        })
        .await
    }

    /// Before the MAIL FROM domain is set, and after it is removed: whether it is ours to remove. False, and nothing is recorded,
    /// if the runner has lost the lease.
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

    /// The identity of `row` is as SES says in `reply`, and nothing is left to repair; what has changed since is due. Nothing is
    /// recorded if the runner has lost the lease.
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

    /// A try failed; the next one is at `next`. Nothing is recorded where the runner has lost the lease.
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

    /// Nothing of ours is left at SES: the row goes, unless there is a claim again or the runner has lost the lease.
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

    /// Takes names that are due and have a place, each with an account that claims it or has claimed it.
    pub async fn ses_claim(&self, claim: Claim) -> Result<Vec<(DomainName, Owner)>, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        let chosen = self.read(move |c| choose(c, &claim)).await?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        self.write_in_turn(&[Turn::Claims("ses_identity")], move |c| {
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

    /// When the next name is due. One that is being repaired is due when the lease ends.
    pub async fn ses_next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|c| c.query_row("SELECT min(ready_at) FROM ses_identity", params![], |row| row.get(0))).await
    }

    /// How many claims have tokens from SES, and how many from this daemon.
    pub async fn claims_by_provider(&self) -> Result<(u32, u32), StoreError> {
        self.read(|c| {
            let sql = "SELECT count(s.name), count(*) - count(s.name)
                       FROM custom_domain d LEFT JOIN ses_identity s ON s.name = d.name";
            c.query_row(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }
}
