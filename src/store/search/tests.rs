//! Candidates: what is indexed, what is not, what has changed meanwhile, pages and bounds.

use super::candidates::SearchIn;
use super::*;
use crate::message::grams::{Grams, Place};
use crate::store::Store;
use crate::store::emails::EmailFilter;
use crate::store::message_rows;
use crate::store::testing::{account, inbox, index_all, put, store_with_account};

fn wanted(word: &str) -> Grams {
    Grams::of_terms([(Place::Anywhere, word)], false)
}

async fn message(store: &Store, inbox: &InboxId, text: &str) -> MessageId {
    let id = put(store, inbox, format!("Subject: {text}\r\n\r\n{text}\r\n").as_bytes()).await.id;
    // Ids of one millisecond have no order among each other.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    id
}

async fn candidates(store: &Store, of: &SearchIn, word: &str) -> Vec<MessageId> {
    pages(store, of, word, 1000).await
}

async fn pages(store: &Store, of: &SearchIn, word: &str, per_page: usize) -> Vec<MessageId> {
    let (mut all, mut filter) = (Vec::new(), EmailFilter::default());
    loop {
        let page = store.candidates(of.clone(), wanted(word), filter.clone(), per_page).await.unwrap();
        assert!(page.rows.len() <= per_page);
        all.extend(page.rows.into_iter().map(|row| row.message.id));
        filter.below = page.rest;
        if filter.below.is_none() {
            return all;
        }
    }
}

async fn left_in_tail(store: &Store) -> Vec<(i64, MessageId)> {
    let sql = "SELECT is_left_out, message_id FROM search_tail ORDER BY message_id";
    store.read(move |c| c.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))).await.unwrap()
}

fn all_of(account: &AccountId) -> SearchIn {
    SearchIn { account: account.clone(), inboxes: None }
}

#[tokio::test]
async fn candidates_are_what_is_not_indexed_and_what_has_the_trigrams() {
    let (_dir, store, ours) = store_with_account().await;
    let theirs = account(&store).await;
    let (one, two) = (inbox(&store, &ours, "one").await, inbox(&store, &ours, "two").await);
    let other = inbox(&store, &theirs, "other").await;
    let mut ids = Vec::new();
    for (inbox, text) in
        [(&one, "needle 1"), (&two, "needle 2"), (&one, "hay"), (&other, "needle 3"), (&two, "needle 4")]
    {
        ids.push(message(&store, inbox, text).await);
    }
    let newest_first = |wanted: &[usize]| wanted.iter().map(|at| ids[*at].clone()).collect::<Vec<_>>();
    let in_two = SearchIn { inboxes: Some(vec![two.clone()]), ..all_of(&ours) };
    assert_eq!(candidates(&store, &all_of(&ours), "needle").await, newest_first(&[4, 2, 1, 0]));
    index_all(&store, &ours).await;
    index_all(&store, &theirs).await;
    assert_eq!(left_in_tail(&store).await, []);
    for per_page in [1, 2, 3, 1000] {
        assert_eq!(pages(&store, &all_of(&ours), "needle", per_page).await, newest_first(&[4, 1, 0]), "{per_page}");
    }
    assert_eq!(candidates(&store, &in_two, "needle").await, newest_first(&[4, 1]));
    assert_eq!(candidates(&store, &all_of(&theirs), "needle").await, newest_first(&[3]));
    // Another account's inbox is not looked into, whatever the search says.
    let wrong = SearchIn { inboxes: Some(vec![other]), ..all_of(&ours) };
    assert_eq!(candidates(&store, &wrong, "needle").await, []);
    // What comes later is looked at before it is indexed.
    let late = message(&store, &one, "late").await;
    assert_eq!(
        candidates(&store, &all_of(&ours), "needle").await,
        [vec![late.clone()], newest_first(&[4, 1, 0])].concat()
    );
    assert_eq!(pages(&store, &all_of(&ours), "needle", 1).await, [vec![late], newest_first(&[4, 1, 0])].concat());

    // What is removed is out of the index with it.
    let gone = ids[1].clone();
    store.email_remove(&two, &gone, Default::default()).await.unwrap();
    assert_eq!(candidates(&store, &in_two, "needle").await, newest_first(&[4]));
    let sql = "SELECT 1 FROM search_document WHERE message_id = ?1";
    assert!(!store.read(move |c| c.exists(sql, params![gone])).await.unwrap());
}

#[tokio::test]
async fn bounds_of_ids_are_kept() {
    let (_dir, store, ours) = store_with_account().await;
    let one = inbox(&store, &ours, "one").await;
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(message(&store, &one, &format!("needle {n}")).await);
        if n == 5 {
            index_all(&store, &ours).await;
        }
    }
    // The bounds of days are no ids of messages.
    let (third, seventh) = (MessageId::first_at(ids[3].made_at()), MessageId::first_at(ids[7].made_at()));
    for (from, below, wanted) in [
        (None, Some(third.clone()), 0..3),
        (Some(third.clone()), None, 3..9),
        (Some(third), Some(seventh.clone()), 3..7),
        (Some(seventh), None, 7..9),
        (Some(ids[4].clone()), Some(ids[6].clone()), 4..6),
    ] {
        let filter = EmailFilter { from, below, ..EmailFilter::default() };
        let page = store.candidates(all_of(&ours), wanted_word(), filter, 100).await.unwrap();
        let wanted: Vec<MessageId> = ids[wanted].iter().rev().cloned().collect();
        let found: Vec<MessageId> = page.rows.into_iter().map(|row| row.message.id).collect();
        assert_eq!((found, page.rest), (wanted, None));
    }
}

fn wanted_word() -> Grams {
    wanted("needle")
}

#[tokio::test]
async fn what_has_changed_since_it_was_read_is_not_indexed_and_what_is_late_is_left_out() {
    let (_dir, store, ours) = store_with_account().await;
    let one = inbox(&store, &ours, "one").await;
    let (first, draft) = (message(&store, &one, "first").await, message(&store, &one, "draft").await);
    let (read, _) = store.search_unindexed(&ours, None, 10).await.unwrap();
    assert_eq!(read.iter().map(|message| message.id.clone()).collect::<Vec<_>>(), [first.clone(), draft.clone()]);
    // A draft that is written anew has the same id.
    let (of, id) = (one.clone(), draft.clone());
    store
        .write(move |c| {
            let row = c.query_row("SELECT mailbox_id FROM message WHERE id = ?1", params![id], |row| row.get(0))?;
            message_rows::remove(c, &of, row, "id = ?1", params![id])
        })
        .await
        .unwrap();
    let id = draft.clone();
    let again = message(&store, &one, "other draft").await;
    store.write(move |c| c.execute("UPDATE message SET id = ?1 WHERE id = ?2", params![id, again])).await.unwrap();
    let sql = "UPDATE search_tail SET message_id = ?1";
    let id = draft.clone();
    store.write(move |c| c.execute(&format!("{sql} WHERE message_id > ?1"), params![id])).await.unwrap();
    let batch =
        read.into_iter().map(|message| Indexed { message, outcome: Outcome::Grams(wanted("needle")), overview: None });
    store.search_index(&ours, None, batch.collect()).await.unwrap();
    assert_eq!(left_in_tail(&store).await, [(0, draft.clone())]);
    assert_eq!(candidates(&store, &all_of(&ours), "needle").await, [draft.clone(), first.clone()]);

    // One that comes in late, with an id below the last one of the index, is looked at by every search.
    index_all(&store, &ours).await;
    let late = MessageId::first_at(first.made_at());
    let made = message(&store, &one, "late").await;
    let id = late.clone();
    store
        .write(move |c| {
            c.execute("UPDATE message SET id = ?1 WHERE id = ?2", params![id, made])?;
            c.execute("UPDATE search_tail SET message_id = ?1 WHERE message_id = ?2", params![id, made])
        })
        .await
        .unwrap();
    index_all(&store, &ours).await;
    assert_eq!(left_in_tail(&store).await, [(1, late.clone())]);
    assert!(candidates(&store, &all_of(&ours), "needle").await.contains(&late));
    // Until the index is built anew.
    assert_eq!(store.search_clear().await.unwrap(), 3);
    index_all(&store, &ours).await;
    assert_eq!(left_in_tail(&store).await, []);
    assert_eq!(candidates(&store, &all_of(&ours), "late").await, [late]);
}
