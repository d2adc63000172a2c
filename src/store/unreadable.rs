//! Messages that no parser may see, since the daemon aborted while it read them.

use super::{Store, StoreError, Transaction};
use crate::id::{ContentId, MessageId};
use crate::store::engine::params;
use std::collections::HashSet;

/// After so many aborts a message is set aside for good, whatever a process of its own makes of it: it may be something else
/// that is asked of it, such as what is searched for.
const ABORTS: i64 = 3;

/// What came of reading a content again in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was read to the end: most likely the daemon was killed.
    Harmless,
    /// The process aborted as well.
    Aborts,
    /// It could not be tried, or not in time.
    Unknown,
}

/// A content that was being read when the last daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub content: ContentId,
    pub messages: Vec<MessageId>,
    /// Daemons that have ended while they read it.
    pub aborts: i64,
}

impl Store {
    /// At start: records what was being read when the last daemon ended, and gives all contents that are set aside now.
    pub async fn set_aside(
        &self,
        contents: Vec<(ContentId, Verdict)>,
    ) -> Result<(Vec<Suspect>, HashSet<ContentId>), StoreError> {
        self.write(move |connection| set_aside(connection, &contents)).await
    }

    /// The same where nothing can be written, as on a full disk.
    pub async fn set_aside_unrecorded(
        &self,
        contents: Vec<(ContentId, Verdict)>,
    ) -> Result<(Vec<Suspect>, HashSet<ContentId>), StoreError> {
        self.read(move |connection| {
            let mut aside = all_aside(connection)?;
            let mut suspects = Vec::new();
            for &(content, verdict) in &contents {
                let sql = "SELECT coalesce((SELECT aborts FROM unreadable WHERE content_id = ?1), 0) + 1";
                let aborts = connection.query_row(sql, params![content], |row| row.get(0))?;
                suspects.push(Suspect { content, messages: messages_of(connection, content)?, aborts });
                if verdict != Verdict::Harmless || aborts >= ABORTS {
                    aside.insert(content);
                }
            }
            Ok((suspects, aside))
        })
        .await
    }
}

fn set_aside(
    connection: &Transaction<'_>,
    contents: &[(ContentId, Verdict)],
) -> Result<(Vec<Suspect>, HashSet<ContentId>), StoreError> {
    connection.execute("UPDATE unreadable SET is_aside = 0 WHERE aborts < ?1", params![ABORTS])?;
    let mut suspects = Vec::new();
    for (content, verdict) in contents {
        let more = if *verdict == Verdict::Aborts { ABORTS } else { 1 };
        // A message deleted meanwhile is harmless.
        let sql = "INSERT INTO unreadable (content_id, aborts, is_aside) SELECT id, ?2, ?3 FROM content WHERE id = ?1
                   ON CONFLICT (content_id) DO UPDATE SET aborts = unreadable.aborts + excluded.aborts,
                       is_aside = CASE WHEN excluded.is_aside = 1 OR unreadable.aborts + excluded.aborts >= ?4 THEN 1 ELSE 0 END
                   RETURNING aborts";
        let is_aside = *verdict != Verdict::Harmless || more >= ABORTS;
        let values = params![content, more, is_aside, ABORTS];
        let aborts = connection.query_opt(sql, values, |row| row.get(0))?;
        if let Some(aborts) = aborts {
            suspects.push(Suspect { content: *content, messages: messages_of(connection, *content)?, aborts });
        }
    }
    Ok((suspects, all_aside(connection)?))
}

fn messages_of(connection: &Transaction<'_>, content: ContentId) -> Result<Vec<MessageId>, StoreError> {
    let sql = "SELECT id FROM message WHERE content_id = ?1 LIMIT 10";
    connection.query(sql, params![content], |row| row.get(0))
}

fn all_aside(connection: &Transaction<'_>) -> Result<HashSet<ContentId>, StoreError> {
    let sql = "SELECT content_id FROM unreadable WHERE is_aside = 1";
    Ok(connection.query(sql, params![], |row| row.get(0))?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::store_with_account;

    #[tokio::test]
    async fn what_aborts_again_is_set_aside_for_good_and_what_a_kill_hit_is_not() {
        use Verdict::{Aborts, Harmless, Unknown};
        let (_dir, store, _) = store_with_account().await;
        let insert = |c: &Transaction<'_>| {
            c.execute("INSERT INTO body (id, data) VALUES (1, ?1)", params![[0_u8; 1]])?;
            let sql = "INSERT INTO content (id, body_id, size, header) VALUES (3, 1, 1, ?1), (4, 1, 1, ?1)";
            c.execute(sql, params![[0_u8; 0]])
        };
        store.write(insert).await.unwrap();
        let start = async |left: &[(i64, Verdict)]| {
            let left: Vec<_> = left.iter().map(|(content, verdict)| (ContentId::new(*content), *verdict)).collect();
            let unrecorded = store.set_aside_unrecorded(left.clone()).await.unwrap().1;
            let (suspects, aside) = store.set_aside(left).await.unwrap();
            assert!(unrecorded.is_superset(&aside), "{unrecorded:?}, {aside:?}");
            let aborts: Vec<_> = suspects.into_iter().map(|suspect| (suspect.content.row(), suspect.aborts)).collect();
            let mut aside: Vec<_> = aside.into_iter().map(ContentId::row).collect();
            aside.sort_unstable();
            (aborts, aside)
        };
        assert_eq!(start(&[(3, Unknown), (99, Aborts)]).await, (vec![(3, 1)], vec![3]), "what is gone is no suspect");
        assert_eq!(start(&[]).await, (vec![], vec![]), "not tried: another chance");
        assert_eq!(start(&[(3, Harmless), (4, Aborts)]).await, (vec![(3, 2), (4, 3)], vec![4]));
        assert_eq!(start(&[]).await, (vec![], vec![4]));
        assert_eq!(start(&[(3, Harmless)]).await, (vec![(3, 3)], vec![3, 4]), "too often");
        assert_eq!(start(&[]).await, (vec![], vec![3, 4]));
        store.write(|c| c.execute("DELETE FROM content WHERE id = 3", params![])).await.unwrap();
        assert_eq!(start(&[]).await, (vec![], vec![4]));
    }
}
