//! The table `expunged`: UIDs of expunged messages, for sessions that have selected the mailbox.
//!
//! Invariant: a mailbox has at most twice [`KEPT`] rows. Older rows are removed, and the mailbox stores the highest mod-sequence
//! removed: a session with an older state must reload the mailbox ([`forgotten`]).

use super::{StoreError, Transaction, mailboxes};
use crate::id::MailboxId;
use crate::store::engine::{List, params};

/// Rows that remain per mailbox when older ones are removed: some hundred KiB.
const KEPT: u32 = 10_000;

/// Records expunged messages. Returns the mod-sequence of the change.
pub(super) fn note(
    connection: &Transaction<'_>,
    mailbox: MailboxId,
    uids: impl Iterator<Item = u32>,
) -> Result<i64, StoreError> {
    let modseq = mailboxes::next_uids(connection, mailbox, 0)?.modseq;
    let sql = format!(
        "INSERT INTO expunged (mailbox_id, uid, modseq) SELECT ?1, CAST(value AS BIGINT), ?3 FROM {} WHERE true
         ON CONFLICT (mailbox_id, uid) DO UPDATE SET modseq = excluded.modseq",
        connection.items(2)
    );
    let added = connection.execute(&sql, params![mailbox, uids.collect::<List>(), modseq])?;
    count(connection, mailbox, u32::try_from(added).unwrap_or(u32::MAX))?;
    Ok(modseq)
}

/// Records a change that is too large for rows of its own: sessions must reload the mailbox. Returns the mod-sequence of the
/// change.
pub(super) fn note_many(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<i64, StoreError> {
    let modseq = mailboxes::next_uids(connection, mailbox, 0)?.modseq;
    connection.execute("UPDATE mailbox SET forgotten = ?2 WHERE id = ?1", params![mailbox, modseq])?;
    Ok(modseq)
}

/// The highest mod-sequence whose rows were removed.
pub(super) fn forgotten(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<i64, StoreError> {
    let sql = "SELECT forgotten FROM mailbox WHERE id = ?1";
    connection.query_row(sql, params![mailbox], |row| row.get(0))
}

/// Updates the number of rows, and removes old ones once there are more than twice [`KEPT`], so that the amortized cost is low.
fn count(connection: &Transaction<'_>, mailbox: MailboxId, added: u32) -> Result<(), StoreError> {
    let sql = "UPDATE mailbox SET note_count = note_count + ?2 WHERE id = ?1 RETURNING note_count";
    let notes: u32 = connection.query_row(sql, params![mailbox, added], |row| row.get(0))?;
    if notes <= KEPT * 2 { Ok(()) } else { forget(connection, mailbox) }
}

/// Removes all but the newest rows. Rows of one change are removed together, so fewer than [`KEPT`] may remain.
fn forget(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<(), StoreError> {
    let sql = "SELECT modseq FROM expunged WHERE mailbox_id = ?1 ORDER BY modseq DESC LIMIT 1 OFFSET ?2";
    let oldest: Option<i64> = connection.query_opt(sql, params![mailbox, KEPT], |row| row.get(0))?;
    let last = forgotten(connection, mailbox)?.max(oldest.unwrap_or(0));
    connection.execute("UPDATE mailbox SET forgotten = ?2 WHERE id = ?1", params![mailbox, last])?;
    let sql = "DELETE FROM expunged WHERE mailbox_id = ?1 AND modseq <= ?2";
    connection.execute(sql, params![mailbox, last])?;
    let sql = "UPDATE mailbox SET note_count = (SELECT count(*) FROM expunged WHERE mailbox_id = ?1) WHERE id = ?1";
    connection.execute(sql, params![mailbox])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InboxId;
    use crate::mailbox::MailboxService;
    use crate::store::Store;
    use crate::store::mailbox_changes::FlagUpdate;
    use crate::store::messages::Flags;
    use crate::store::open_mailbox::{Changes, Seen};
    use crate::store::testing::{inbox, limits, put, store_with_account};

    async fn counts(store: &Store, mailbox: MailboxId) -> (u32, u32) {
        let sql = "SELECT note_count, (SELECT count(*) FROM expunged WHERE mailbox_id = ?1) FROM mailbox WHERE id = ?1";
        let row = move |c: &Transaction<'_>| c.query_row(sql, params![mailbox], |row| Ok((row.get(0)?, row.get(1)?)));
        store.read(move |c| row(c)).await.unwrap()
    }

    async fn notes(store: &Store, mailbox: MailboxId, from: u32, to: u32) {
        store.write(move |c| note(c, mailbox, from..to)).await.unwrap();
    }

    async fn since(store: &Store, inbox: &InboxId, mailbox: MailboxId, modseq: i64) -> Changes {
        store.mailbox_changes(inbox, mailbox, Seen { modseq, uid_next: u32::MAX }).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn old_rows_are_removed_and_sessions_with_an_older_state_reload_the_mailbox() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let mailbox = put(&store, &inbox, b"Subject: x\r\n\r\n").await.mailbox;
        let start = since(&store, &inbox, mailbox, 0).await.seen.modseq;
        notes(&store, mailbox, 100, 100 + KEPT).await;
        let middle = since(&store, &inbox, mailbox, start).await;
        assert!(!middle.is_whole && middle.changed.is_empty() && middle.expunged.len() == KEPT as usize);
        notes(&store, mailbox, 100_000, 100_000 + KEPT).await;
        assert_eq!(counts(&store, mailbox).await, (2 * KEPT, 2 * KEPT));
        notes(&store, mailbox, 7, 8).await;
        // Only the last row, since the rows of one change are removed together.
        assert_eq!(counts(&store, mailbox).await, (1, 1));
        for seen in [start, middle.seen.modseq] {
            let news = since(&store, &inbox, mailbox, seen).await;
            assert!(news.is_whole && news.expunged.is_empty());
            assert_eq!(news.changed.iter().map(|m| m.uid).collect::<Vec<_>>(), [1]);
        }
        let last = since(&store, &inbox, mailbox, middle.seen.modseq + 1).await;
        assert!(!last.is_whole && last.changed.is_empty());
        assert_eq!(last.expunged, [7]);
        assert!(!since(&store, &inbox, mailbox, last.seen.modseq).await.is_whole);
        // One change with more rows than are kept.
        notes(&store, mailbox, 200_000, 200_000 + 2 * KEPT).await;
        assert_eq!(counts(&store, mailbox).await, (0, 0));
        assert!(since(&store, &inbox, mailbox, last.seen.modseq).await.is_whole);
    }

    #[tokio::test]
    async fn expunge_move_and_rename_record_expunged_messages() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let mailboxes = MailboxService::new(store.clone(), limits(u64::MAX));
        let mailbox = put(&store, &inbox, b"Subject: x\r\n\r\n").await.mailbox;
        for _ in 0..3 {
            put(&store, &inbox, b"Subject: x\r\n\r\n").await;
        }
        mailboxes.set_flags(&inbox, mailbox, vec![1], FlagUpdate::add(Flags::DELETED)).await.unwrap();
        mailboxes.expunge(&inbox, mailbox, None).await.unwrap();
        mailboxes.move_to(&inbox, mailbox, vec![2], "Trash").await.unwrap();
        assert_eq!(counts(&store, mailbox).await, (2, 2));
        mailboxes.rename(&inbox, "INBOX", "Old").await.unwrap();
        assert_eq!(counts(&store, mailbox).await, (4, 4));
    }
}
