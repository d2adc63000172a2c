//! Messages that are not parsed any more because the daemon aborted while it parsed them.

use super::{Store, StoreError, Transaction};
use crate::id::{ContentId, MessageId};
use crate::store::engine::params;
use std::collections::HashSet;

/// After this many aborts a message is set aside permanently, even if a separate process can parse it: the abort may depend on
/// the request, such as the search terms.
const MAX_ABORTS: i64 = 3;

/// The result of parsing a content in a separate process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Parsing succeeded: the daemon was probably killed.
    Harmless,
    /// The process aborted.
    Aborts,
    /// The process could not be run, or timed out.
    Unknown,
}

/// A content that was being parsed when the previous daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub content: ContentId,
    pub messages: Vec<MessageId>,
    /// How often a daemon ended while it parsed the content.
    pub aborts: i64,
}

impl Store {
    /// Records, at startup, the contents that were being parsed when the previous daemon ended. Returns them and all contents
    /// that are set aside.
    pub async fn set_aside(
        &self,
        contents: Vec<(ContentId, Verdict)>,
    ) -> Result<(Vec<Suspect>, HashSet<ContentId>), StoreError> {
        self.write(move |connection| set_aside(connection, &contents)).await
    }

    /// The same without writing, for example because the disk is full.
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
                if verdict != Verdict::Harmless || aborts >= MAX_ABORTS {
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
    connection.execute("UPDATE unreadable SET is_aside = 0 WHERE aborts < ?1", params![MAX_ABORTS])?;
    let mut suspects = Vec::new();
    for (content, verdict) in contents {
        let more = if *verdict == Verdict::Aborts { MAX_ABORTS } else { 1 };
        // A deleted message has no content, so no row is inserted.
        let sql = "INSERT INTO unreadable (content_id, aborts, is_aside) SELECT id, ?2, ?3 FROM content WHERE id = ?1
                   ON CONFLICT (content_id) DO UPDATE SET aborts = unreadable.aborts + excluded.aborts,
                       is_aside = CASE WHEN excluded.is_aside = 1 OR unreadable.aborts + excluded.aborts >= ?4 THEN 1 ELSE 0 END
                   RETURNING aborts";
        let is_aside = *verdict != Verdict::Harmless || more >= MAX_ABORTS;
        let values = params![content, more, is_aside, MAX_ABORTS];
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
    async fn a_message_that_aborts_is_set_aside_permanently_and_a_harmless_one_is_not() {
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
        assert_eq!(start(&[(3, Unknown), (99, Aborts)]).await, (vec![(3, 1)], vec![3]), "a deleted content is ignored");
        assert_eq!(start(&[]).await, (vec![], vec![]), "unknown verdicts expire at the next start");
        assert_eq!(start(&[(3, Harmless), (4, Aborts)]).await, (vec![(3, 2), (4, 3)], vec![4]));
        assert_eq!(start(&[]).await, (vec![], vec![4]));
        assert_eq!(start(&[(3, Harmless)]).await, (vec![(3, 3)], vec![3, 4]), "too many aborts");
        assert_eq!(start(&[]).await, (vec![], vec![3, 4]));
        store.write(|c| c.execute("DELETE FROM content WHERE id = 3", params![])).await.unwrap();
        assert_eq!(start(&[]).await, (vec![], vec![4]));
    }
}
