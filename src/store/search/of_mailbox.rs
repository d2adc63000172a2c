//! The candidates of a search in one mailbox, all of them at once.
//!
//! Invariant: every message of the mailbox that contains the texts is a candidate.

use super::{Indexing, gram_of};
use crate::id::{AccountId, InboxId, MailboxId, MessageId};
use crate::message::grams::Grams;
use crate::store::engine::{List, Row, params};
use crate::store::parts::{self, Part};
use crate::store::{Store, StoreError, Transaction};

/// Documents that one look into the index finds at most.
const CHUNK: usize = 2000;

/// The candidates so far.
struct Candidates<'a> {
    parts: &'a [Part],
    uids: Vec<u32>,
    /// Messages that may still be looked at.
    left: usize,
}

impl Candidates<'_> {
    /// Takes what is in the mailbox of these rows of `mailbox_id` and `uid`; false if there were more than may be looked at.
    fn add(&mut self, rows: Vec<(MailboxId, i64)>, looked_at: usize) -> bool {
        let Some(left) = self.left.checked_sub(looked_at) else { return false };
        self.left = left;
        let uid = |(mailbox, uid): (MailboxId, i64)| {
            let part = self.parts.iter().find(|part| part.id == mailbox)?;
            Some(part.shown(uid))
        };
        self.uids.extend(rows.into_iter().filter_map(uid));
        true
    }
}

impl Store {
    /// The messages of a mailbox that may contain all trigrams, of folded texts, of one of `wanted`, of which none is empty; UIDs
    /// ascending. `None` if that takes a look at more than `limit` messages of the account: what is not indexed yet,
    /// and what has the trigrams.
    pub async fn mailbox_candidates(
        &self,
        account: &AccountId,
        inbox: &InboxId,
        mailbox: MailboxId,
        wanted: Vec<Grams>,
        limit: usize,
    ) -> Result<Option<Vec<u32>>, StoreError> {
        let (account, inbox) = (account.clone(), inbox.clone());
        self.read(move |c| {
            let parts = parts::of(c, &inbox, mailbox)?;
            let mut candidates = Candidates { parts: &parts, uids: Vec::new(), left: limit };
            if !add_tail(c, &account, &mut candidates)? {
                return Ok(None);
            }
            if let Some(known) = Indexing::of(c, &account)? {
                if !add_unfolded(c, &known, &mut candidates)? {
                    return Ok(None);
                }
                for grams in &wanted {
                    let grams: Vec<u32> = grams.iter().chain([gram_of(&inbox)]).collect();
                    if !add_indexed(c, &known, &grams, &mut candidates)? {
                        return Ok(None);
                    }
                }
            }
            let mut uids = candidates.uids;
            uids.sort_unstable();
            uids.dedup();
            Ok(Some(uids))
        })
        .await
    }
}

fn row(row: &Row<'_>) -> Result<(MailboxId, i64), StoreError> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Adds messages in the tail.
fn add_tail(c: &Transaction<'_>, account: &AccountId, to: &mut Candidates<'_>) -> Result<bool, StoreError> {
    for is_left_out in [0_i64, 1] {
        let limit = i64::try_from(to.left.saturating_add(1)).unwrap_or(i64::MAX);
        let sql = "SELECT message_id FROM search_tail WHERE is_left_out = ?1 AND account_id = ?2 ORDER BY message_id LIMIT ?3";
        let ids: Vec<MessageId> = c.query(sql, params![is_left_out, account, limit], |row| row.get(0))?;
        let sql =
            format!("SELECT m.mailbox_id, m.uid FROM {} AS item JOIN message m ON m.id = item.value ->> 0", c.items(1));
        let found = c.query(&sql, params![super::rows(&ids)], row)?;
        if !to.add(found, ids.len()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds messages that were indexed by a version of the program that did not fold texts.
fn add_unfolded(c: &Transaction<'_>, known: &Indexing, to: &mut Candidates<'_>) -> Result<bool, StoreError> {
    let (documents, limit) = (known.documents(), i64::try_from(to.left.saturating_add(1)).unwrap_or(i64::MAX));
    let sql = "SELECT m.mailbox_id, m.uid FROM search_document d JOIN message m ON m.id = d.message_id
               WHERE d.is_folded = 0 AND d.number >= ?1 AND d.number < ?2 LIMIT ?3";
    let found = c.query(sql, params![documents.start, documents.end, limit], row)?;
    let looked_at = found.len();
    Ok(to.add(found, looked_at))
}

/// Adds indexed messages that contain the trigrams.
fn add_indexed(
    c: &Transaction<'_>,
    known: &Indexing,
    grams: &[u32],
    to: &mut Candidates<'_>,
) -> Result<bool, StoreError> {
    let mut within = known.documents();
    loop {
        let documents = c.index_find(grams, within.clone(), CHUNK)?;
        // An incomplete answer counts as a chunk even if it is empty, so that the number of looks is bounded.
        let looked_at = documents.numbers.len().max(if documents.rest.is_some() { CHUNK } else { 0 });
        let sql = format!(
            "SELECT m.mailbox_id, m.uid FROM {} JOIN search_document d ON d.number = CAST(value AS BIGINT)
                 JOIN message m ON m.id = d.message_id",
            c.items(1)
        );
        let numbers: List = documents.numbers.iter().copied().collect();
        let found = c.query(&sql, params![numbers], row)?;
        if !to.add(found, looked_at) {
            return Ok(false);
        }
        match documents.rest {
            None => return Ok(true),
            Some(rest) => within.end = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxService;
    use crate::message::grams::Place;
    use crate::store::testing::{inbox, index_all, limits, put, store_with_account};

    #[tokio::test]
    async fn candidates_are_those_of_the_mailbox_and_bounded() {
        let (_dir, store, account) = store_with_account().await;
        let (one, two) = (inbox(&store, &account, "one").await, inbox(&store, &account, "two").await);
        let service = MailboxService::new(store.clone(), limits(u64::MAX));
        for text in ["needle", "hay", "needle and pin", "hay", "cloth", "hay", "hay"] {
            let mailbox = put(&store, &one, format!("Subject: x\r\n\r\n{text}\r\n").as_bytes()).await.mailbox;
            put(&store, &two, format!("Subject: needle {text}\r\n\r\n").as_bytes()).await;
            if text == "cloth" {
                service.copy(&one, mailbox, vec![3], "Archive").await.unwrap();
            }
        }
        let open = |name: &'static str| store.mailbox_open(&one, name, false);
        let (here, there) = (open("INBOX").await.unwrap().unwrap().id, open("Archive").await.unwrap().unwrap().id);
        let grams = |words: &[&str]| {
            words.iter().map(|word| Grams::of_terms([(Place::Anywhere, *word)], false)).collect::<Vec<_>>()
        };
        let candidates = |mailbox, words, limit| store.mailbox_candidates(&account, &one, mailbox, grams(words), limit);
        // All are in the tail: 15 messages.
        assert_eq!(candidates(here, &["needle"], 14).await.unwrap(), None);
        assert_eq!(candidates(here, &["needle"], 15).await.unwrap(), Some((1..=7).collect()));
        index_all(&store, &account).await;
        put(&store, &one, b"Subject: new\r\n\r\n").await;
        // The new one, and what is in this inbox.
        assert_eq!(candidates(here, &["needle"], 4).await.unwrap(), Some(vec![1, 3, 8]));
        assert_eq!(candidates(here, &["needle"], 3).await.unwrap(), None);
        assert_eq!(candidates(here, &["needle", "cloth"], 9).await.unwrap(), Some(vec![1, 3, 5, 8]));
        assert_eq!(candidates(there, &["needle"], 9).await.unwrap(), Some(vec![1]));
        // What an older version of the program has indexed.
        let unfolded = "UPDATE search_document SET is_folded = 0
                        WHERE message_id IN (SELECT id FROM message WHERE mailbox_id = ?1 AND uid = 2)";
        store.write::<_, StoreError, _>(move |c| c.execute(unfolded, params![here])).await.unwrap();
        assert_eq!(candidates(here, &["cloth"], 9).await.unwrap(), Some(vec![2, 5, 8]));
        let other = store.mailbox_candidates(&account, &two, here, grams(&["needle"]), 99);
        assert_eq!(other.await.unwrap(), Some(vec![]));
    }
}
