//! SAVEDATE: every way into a mailbox sets it, and nothing else changes it.

use super::*;
use crate::mailbox::MailboxService;
use crate::store::append::Append;
use crate::store::mailbox_changes::FlagUpdate;
use crate::store::testing::{fill, inbox, limits, put, store_with_account};

/// The INTERNALDATE and SAVEDATE of the messages of a mailbox.
async fn dates(store: &Store, inbox: &InboxId, name: &str) -> Vec<(Timestamp, Option<Timestamp>)> {
    let open = store.mailbox_open(inbox, name, false).await.unwrap().unwrap();
    let fetched = store.messages_fetch(inbox, open.id, open.messages.uids, Depth::Flags, usize::MAX).await.unwrap();
    fetched.0.into_iter().map(|message| (message.internal_date, message.saved_at)).collect()
}

#[tokio::test]
async fn a_message_is_saved_when_it_is_put_into_its_mailbox() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let service = MailboxService::new(store.clone(), limits(u64::MAX));
    let pause = || tokio::time::sleep(std::time::Duration::from_millis(2));
    let start = Timestamp::real();
    let mailbox = put(&store, &inbox, b"Subject: x\r\n\r\n").await.mailbox;
    let old = Timestamp::from_millis(5000);
    let append = Append {
        flags: Flags::default(),
        keywords: String::new(),
        internal_date: old,
        header: b"Subject: y\r\n\r\n".as_slice().into(),
        body: b"y".as_slice().into(),
    };
    service.append(&inbox, "INBOX", append).await.unwrap().unwrap();
    let first = dates(&store, &inbox, "INBOX").await;
    assert!(first.iter().all(|(_, saved)| saved.is_some_and(|saved| saved >= start)), "{first:?}");
    assert_eq!(first[1].0, old);
    pause().await;
    service.copy(&inbox, mailbox, vec![2], "Archive").await.unwrap();
    service.set_flags(&inbox, mailbox, vec![1, 2], FlagUpdate::add(Flags::SEEN)).await.unwrap();
    assert_eq!(dates(&store, &inbox, "INBOX").await, first);
    let copied = dates(&store, &inbox, "Archive").await;
    assert!(copied[0].0 == old && copied[0].1 > first[1].1, "{copied:?}");
    pause().await;
    let archive = store.mailbox_open(&inbox, "Archive", false).await.unwrap().unwrap().id;
    service.move_to(&inbox, archive, vec![1], "INBOX").await.unwrap();
    let moved = dates(&store, &inbox, "INBOX").await;
    assert!(moved[2].0 == old && moved[2].1 > copied[0].1, "{moved:?}");
    // Of a time before the column.
    store.write(move |c| c.execute("UPDATE message SET saved_at = NULL WHERE uid = 1", params![])).await.unwrap();
    assert_eq!(dates(&store, &inbox, "INBOX").await[0].1, None);
    pause().await;
    // Many at a time, while their part is moved over and afterwards.
    fill(&store, &inbox, mailbox, 600, Flags::default()).await;
    pause().await;
    let before = Timestamp::real();
    service.move_to(&inbox, mailbox, (1..=600).collect(), "Archive").await.unwrap();
    let many = dates(&store, &inbox, "Archive").await;
    assert!(many.len() == 600 && many.iter().all(|(_, saved)| saved.is_some_and(|saved| saved >= before)));
    service.finish_deletion(&inbox).await.unwrap();
    assert_eq!(dates(&store, &inbox, "Archive").await, many);
}
