//! Moves messages from the tail to the index. A job is an account's next batch.

use super::{BITS, Indexing, settled_at};
use crate::clock::Timestamp;
use crate::id::{AccountId, ContentId, InboxId, MailboxId, MessageId, RunnerId};
use crate::message::grams::Grams;
use crate::resources::Owner;
use crate::resources::places::{Line, Places, Waiting};
use crate::store::engine::search::Document;
use crate::store::engine::{Params, Row, params};
use crate::store::jobs::{self, Claim, JobKey, Lease};
use crate::store::{Store, StoreError, Transaction, overviews};
use std::collections::VecDeque;

/// Accounts with a tail considered per claim.
const ACCOUNTS: usize = 1000;

/// A message to be indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unindexed {
    pub id: MessageId,
    pub inbox: InboxId,
    pub content: ContentId,
    /// Octets.
    pub size: u64,
    mailbox: MailboxId,
    uid: i64,
}

/// A message that has been read.
#[derive(Clone, Debug)]
pub struct Indexed {
    pub message: Unindexed,
    pub outcome: Outcome,
    /// Written; `None` if it is not kept.
    pub overview: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Grams(Grams),
    /// It cannot be read, or has too many trigrams. It stays in the tail.
    LeftOut,
}

/// An account with a tail.
struct WithTail {
    account: AccountId,
    lease_until: Option<Timestamp>,
    waiting: Waiting,
}

impl WithTail {
    /// When its next batch is due; while a batch is running, when its lease expires.
    fn due_at(&self) -> Timestamp {
        self.lease_until.unwrap_or(self.waiting.due_at).max(self.waiting.due_at)
    }
}

/// Messages of an account to be indexed, in order of id. All columns but the id are NULL if the message has been deleted.
const UNINDEXED: &str = "SELECT t.message_id, m.inbox_id, m.content_id, c.size, m.mailbox_id, m.uid
    FROM (SELECT message_id FROM search_tail WHERE is_left_out = 0 AND account_id = ?1 AND message_id < ?2
              ORDER BY message_id LIMIT ?3) AS t
        LEFT JOIN message m ON m.id = t.message_id
            AND EXISTS (SELECT 1 FROM mailbox p WHERE p.id = m.mailbox_id AND (p.is_hidden = 0 OR p.part_of IS NOT NULL))
        LEFT JOIN content c ON c.id = m.content_id
    ORDER BY t.message_id";

impl Store {
    /// Claims accounts whose next batch is due. Considers only account ids after `after`, and returns the `after` for the next claim.
    pub async fn search_claim(&self, claim: Claim, after: String) -> Result<(Vec<AccountId>, String), StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        let (chosen, after) = self.read(move |c| choose(c, &claim, &after)).await?;
        if chosen.is_empty() {
            return Ok((Vec::new(), after));
        }
        let taken = self.write(move |c| {
            let mut taken = Vec::new();
            for account in &chosen {
                if take(c, account, &lease, now)? {
                    taken.push(account.clone());
                }
            }
            Ok::<_, StoreError>(taken)
        });
        Ok((taken.await?, after))
    }

    /// When the next batch is due for which there is a place.
    pub async fn search_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| {
            let found = with_tail(c, "")?;
            let has_place = |one: &&WithTail| places.free > 0 && places.has_for(&one.waiting.owner);
            Ok(found.iter().filter(has_place).map(WithTail::due_at).min())
        })
        .await
    }

    /// The account's oldest messages to be indexed, of those that may be indexed at `now`, or of all without it. Deleted messages are removed
    /// from the tail. Returns true if there may be more.
    pub async fn search_unindexed(
        &self,
        account: &AccountId,
        now: Option<Timestamp>,
        limit: u32,
    ) -> Result<(Vec<Unindexed>, bool), StoreError> {
        let account = account.clone();
        let until = now.map_or_else(|| "~".to_owned(), |now| settled_at(now).to_string());
        let (of, before) = (account.clone(), until.clone());
        let found = self.read(move |c| c.query(UNINDEXED, params![of, before, limit], unindexed)).await?;
        let is_all = found.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        let (there, gone): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
        let gone: Vec<MessageId> = gone.into_iter().filter_map(Result::err).collect();
        if !gone.is_empty() {
            self.write(move |c| {
                let still = c.query(UNINDEXED, params![account, until, limit], unindexed)?;
                let still = still.into_iter().filter_map(Result::err).filter(|id| gone.contains(id));
                still.map(|id| leave_tail(c, &account, &id)).collect::<Result<Vec<()>, StoreError>>()
            })
            .await?;
        }
        Ok((there.into_iter().filter_map(Result::ok).collect(), !is_all))
    }

    /// Indexes messages, which are in order of id, and ends the lease. Messages that have been replaced since they were read stay in the tail.
    /// Does nothing if `runner` is given and does not hold the lease.
    pub async fn search_index(
        &self,
        account: &AccountId,
        runner: Option<RunnerId>,
        batch: Vec<Indexed>,
    ) -> Result<(), StoreError> {
        let account = account.clone();
        self.write(move |c| {
            ensure(c, &account)?;
            let held = "SELECT 1 FROM search_account WHERE account_id = ?1 AND lease_owner = ?2";
            if let Some(runner) = &runner
                && !c.exists(held, params![account, runner])?
            {
                return Ok(());
            }
            let mut known = Indexing::of(c, &account)?.ok_or_else(|| StoreError::NoRow("search_account".to_owned()))?;
            for indexed in &batch {
                index(c, &account, &mut known, indexed)?;
            }
            let sql = "UPDATE search_account SET last_number = ?2, last_id = ?3, lease_until = NULL, lease_owner = NULL
                       WHERE account_id = ?1";
            c.execute(sql, params![account, known.last_number, known.last_id])?;
            Ok(())
        })
        .await
    }

    /// Empties the index. Returns the number of messages to be indexed.
    pub async fn search_clear(&self) -> Result<u64, StoreError> {
        self.write(|c| {
            super::clear(c)?;
            count(c)
        })
        .await
    }

    /// The number of messages to be indexed.
    pub async fn search_tail_size(&self) -> Result<u64, StoreError> {
        self.read(count).await
    }

    /// Accounts with messages to be indexed, at most a thousand.
    pub async fn search_accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        self.read(|c| Ok(with_tail(c, "")?.into_iter().map(|one| one.account).collect())).await
    }
}

fn count(c: &Transaction<'_>) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM search_tail WHERE is_left_out = 0";
    Ok(c.query_row(sql, params![], |row| row.get::<i64>(0))?.unsigned_abs())
}

/// A message in the tail, or the id of a deleted one.
fn unindexed(row: &Row<'_>) -> Result<Result<Unindexed, MessageId>, StoreError> {
    let id: MessageId = row.get(0)?;
    let Some(inbox) = row.get(1)? else { return Ok(Err(id)) };
    let size = row.get::<i64>(3)?.unsigned_abs();
    Ok(Ok(Unindexed { id, inbox, content: row.get(2)?, size, mailbox: row.get(4)?, uid: row.get(5)? }))
}

/// Accounts with a tail, in order of id, at most [`ACCOUNTS`].
fn with_tail(c: &Transaction<'_>, after: &str) -> Result<Vec<WithTail>, StoreError> {
    // The recursion seeks from account to account: a tail may be long.
    let sql = "WITH RECURSIVE waiting (account_id) AS (
            SELECT min(account_id) FROM search_tail WHERE is_left_out = 0 AND account_id > ?1
            UNION ALL
            SELECT (SELECT min(t.account_id) FROM search_tail t WHERE t.is_left_out = 0 AND t.account_id > waiting.account_id)
            FROM waiting WHERE waiting.account_id IS NOT NULL)
        SELECT w.account_id, a.lease_until, coalesce(a.served_at, 0),
            (SELECT min(t.message_id) FROM search_tail t WHERE t.is_left_out = 0 AND t.account_id = w.account_id)
        FROM waiting w LEFT JOIN search_account a ON a.account_id = w.account_id
        WHERE w.account_id IS NOT NULL LIMIT ?2";
    c.query(sql, params![after, i64::try_from(ACCOUNTS).unwrap_or(i64::MAX)], |row| {
        let (account, first): (AccountId, MessageId) = (row.get(0)?, row.get(3)?);
        let due_at = Timestamp::from_millis(first.made_at().millis().saturating_add(super::SETTLED));
        let waiting = Waiting { owner: Owner::Account(account.clone()), served_at: row.get(2)?, due_at };
        Ok(WithTail { account, lease_until: row.get(1)?, waiting })
    })
}

fn choose(c: &Transaction<'_>, claim: &Claim, after: &str) -> Result<(Vec<AccountId>, String), StoreError> {
    let found = with_tail(c, after)?;
    let after = if found.len() < ACCOUNTS { None } else { found.last().map(|one| one.account.to_string()) };
    let is_free = |one: &WithTail| {
        one.due_at() <= claim.now && !claim.running.contains(&JobKey::SearchIndex(one.account.clone()))
    };
    let waiting = found.into_iter().filter(is_free).map(|one| one.waiting);
    let mut line = Line::new(claim.places.clone(), waiting);
    // An account has at most one job at a time.
    let chosen = jobs::choose(&mut line, usize::MAX, |owner| match owner {
        Owner::Account(account) => Ok(VecDeque::from([account.clone()])),
        _ => Ok(VecDeque::new()),
    })?;
    Ok((chosen, after.unwrap_or_default()))
}

fn ensure(c: &Transaction<'_>, account: &AccountId) -> Result<(), StoreError> {
    if c.exists("SELECT 1 FROM search_account WHERE account_id = ?1", params![account])? {
        return Ok(());
    }
    let number: i64 =
        c.query_row("SELECT coalesce(max(number), 0) + 1 FROM search_account", params![], |row| row.get(0))?;
    if number >= 1 << (63 - BITS) {
        return Err(StoreError::Corrupt("the index of searches has no number for another account".to_owned()));
    }
    let sql = "INSERT INTO search_account (account_id, number, last_number, served_at) VALUES (?1, ?2, ?3, 0)";
    c.execute(sql, params![account, number, (number << BITS) - 1])?;
    Ok(())
}

fn take(c: &Transaction<'_>, account: &AccountId, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
    ensure(c, account)?;
    let sql = "UPDATE search_account SET lease_until = ?2, lease_owner = ?3, served_at = ?4
               WHERE account_id = ?1 AND (lease_until IS NULL OR lease_until <= ?4)";
    Ok(c.execute(sql, params![account, lease.until, lease.runner, now])? == 1)
}

fn leave_tail(c: &Transaction<'_>, account: &AccountId, id: &MessageId) -> Result<(), StoreError> {
    let sql = "DELETE FROM search_tail WHERE is_left_out = 0 AND account_id = ?1 AND message_id = ?2";
    c.execute(sql, params![account, id])?;
    Ok(())
}

fn index(
    c: &Transaction<'_>,
    account: &AccountId,
    known: &mut Indexing,
    Indexed { message, outcome, overview }: &Indexed,
) -> Result<(), StoreError> {
    let Unindexed { id, inbox, mailbox, uid, content, .. } = message;
    // A draft that is replaced keeps its id and gets a new UID.
    let unchanged = "SELECT 1 FROM message m JOIN search_tail t ON t.message_id = m.id
                     WHERE t.is_left_out = 0 AND t.account_id = ?1 AND t.message_id = ?2 AND m.mailbox_id = ?3 AND m.uid = ?4";
    if !c.exists(unchanged, params![account, id, mailbox, uid])? {
        return Ok(());
    }
    if let Some(overview) = overview {
        overviews::add(c, *content, overview)?;
    }
    match outcome {
        Outcome::Grams(grams) if known.last_id.as_ref().is_none_or(|last| last < id) => {
            let number = known.last_number + 1;
            let grams: Vec<u32> = grams.iter().chain([super::gram_of(inbox)]).collect();
            c.index_insert(&Document { number, message: id, grams: &grams })?;
            known.last_number = number;
            known.last_id = Some(id.clone());
            leave_tail(c, account, id)
        }
        _ => {
            let sql =
                "UPDATE search_tail SET is_left_out = 1 WHERE is_left_out = 0 AND account_id = ?1 AND message_id = ?2";
            c.execute(sql, params![account, id])?;
            Ok(())
        }
    }
}

/// Renews the owner's leases.
pub(in crate::store) fn renew<'a>(
    c: &Transaction<'_>,
    mut accounts: impl Iterator<Item = &'a AccountId>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    accounts.try_for_each(|account| {
        let sql = "UPDATE search_account SET lease_until = ?3 WHERE account_id = ?1 AND lease_owner = ?2";
        c.execute(sql, params![account, runner, until]).map(|_| ())
    })
}

/// Ends all leases, or those of owners from ?1 to before ?2; returns their number.
pub(in crate::store) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE search_account SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    c.execute(sql, of)
}
