//! All or none, the quota of a replacement, and what is in Sent already.

use super::*;
use crate::mailbox::MailboxService;
use crate::store::open_mailbox::{OpenMailbox, Seen};
use crate::store::quota::ROW;
use crate::store::testing::{inbox, limits, put, store_with_account};

fn message(subject: &str, keywords: &str) -> Append {
    Append {
        flags: Flags::SEEN,
        keywords: keywords.to_owned(),
        internal_date: Timestamp::real(),
        header: format!("Message-ID: <{subject}@x>\r\nSubject: {subject}\r\n\r\n").into(),
        body: b"body\r\n".as_slice().into(),
    }
}

async fn ready(service: &MailboxService, message: Append) -> Vec<PreparedAppend> {
    vec![service.prepare(message).await.unwrap()]
}

/// The octets that each of the messages counts.
fn octets(subject: &str) -> u64 {
    let message = message(subject, "");
    quota::octets(message.header.len(), message.body.len()) + ROW
}

struct World {
    store: Store,
    inbox: InboxId,
}

impl World {
    fn service(&self, octets: u64) -> MailboxService {
        MailboxService::new(self.store.clone(), limits(octets))
    }

    async fn open(&self, name: &str) -> OpenMailbox {
        self.store.mailbox_open(&self.inbox, name, false).await.unwrap().unwrap()
    }

    async fn uids(&self, name: &str) -> Vec<u32> {
        self.open(name).await.messages.uids
    }
}

#[tokio::test]
async fn messages_are_appended_all_or_none() {
    let (_dir, store, account) = store_with_account().await;
    let world = World { inbox: inbox(&store, &account, "one").await, store };
    let three = || vec![message("a", ""), message("b", "Work"), message("c", "")];
    let all = 3 * octets("a") + 4;
    let full = world.service(all - 1).append_all(&world.inbox, "Archive", three()).await;
    assert!(matches!(full, Err(AppendError::Flags(FlagError::Full))), "{full:?}");
    let keywords: String = (0..99).map(|n| format!("k{n} ")).collect();
    let last_refused = vec![message("a", ""), message("b", &keywords)];
    let refused = world.service(u64::MAX).append_all(&world.inbox, "Archive", last_refused).await;
    assert!(matches!(refused, Err(AppendError::Flags(FlagError::TooManyOfMessage(_)))), "{refused:?}");
    let nowhere = world.service(u64::MAX).append_all(&world.inbox, "Nowhere", three()).await;
    assert!(matches!(nowhere, Err(AppendError::NoSuchMailbox)), "{nowhere:?}");
    let many = (0..=BATCH).map(|_| message("a", "")).collect();
    let many = world.service(u64::MAX).append_all(&world.inbox, "Archive", many).await;
    assert!(matches!(many, Err(AppendError::TooMany)), "{many:?}");
    assert_eq!(world.uids("Archive").await, [] as [u32; 0]);
    let done = world.service(all).append_all(&world.inbox, "Archive", three()).await.unwrap();
    let open = world.open("Archive").await;
    assert_eq!((done.uids, done.mailbox, done.uid_validity), (vec![1, 2, 3], open.id, open.uid_validity));
    assert_eq!(open.messages.keywords.get(2), "Work");
    let none = world.service(all).append_all(&world.inbox, "Archive", vec![]).await.unwrap();
    assert_eq!((none.uids, world.uids("Archive").await), (vec![], vec![1, 2, 3]));
}

#[tokio::test]
async fn a_replacement_needs_no_more_room_than_both_differ_in() {
    let (_dir, store, account) = store_with_account().await;
    let world = World { inbox: inbox(&store, &account, "one").await, store };
    let (service, inbox) = (world.service(octets("a")), &world.inbox);
    let drafts = service.append(inbox, "Drafts", message("a", "")).await.unwrap().unwrap().mailbox;
    let before = world.open("Drafts").await.seen;
    let first = ReplacedMessage { mailbox: drafts, uid: 1 };
    let larger = service.replace(inbox, first, "Drafts", ready(&service, message("larger", "")).await).await;
    assert!(matches!(larger, Err(AppendError::Flags(FlagError::Full))), "{larger:?}");
    assert_eq!(world.uids("Drafts").await, [1]);
    let same = service.replace(inbox, first, "Drafts", ready(&service, message("b", "")).await).await.unwrap();
    assert_eq!((same.uids, world.uids("Drafts").await), (vec![2], vec![2]));
    let changes = world.store.mailbox_changes(inbox, drafts, before).await.unwrap().unwrap();
    assert_eq!((changes.changed.uids, changes.expunged), (vec![2], vec![1]));
    let gone = service.replace(inbox, first, "Drafts", ready(&service, message("c", "")).await).await;
    assert!(matches!(gone, Err(AppendError::NoSuchMessage)), "{gone:?}");
    // Into another mailbox.
    let second = ReplacedMessage { mailbox: drafts, uid: 2 };
    let nowhere = service.replace(inbox, second, "Nowhere", ready(&service, message("c", "")).await).await;
    assert!(matches!(nowhere, Err(AppendError::NoSuchMailbox)), "{nowhere:?}");
    service.replace(inbox, second, "Archive", ready(&service, message("c", "")).await).await.unwrap();
    assert_eq!((world.uids("Drafts").await, world.uids("Archive").await), (vec![], vec![1]));
    assert_eq!(service.usage(inbox).await.unwrap().unwrap().used.octets, octets("a"));
    // Of another inbox.
    let other = crate::store::testing::inbox(&world.store, &account, "two").await;
    let theirs = put(&world.store, &other, b"Subject: x\r\n\r\n").await;
    let theirs = ReplacedMessage { mailbox: theirs.mailbox, uid: theirs.uid };
    let refused =
        world.service(u64::MAX).replace(inbox, theirs, "Archive", ready(&service, message("c", "")).await).await;
    assert!(matches!(refused, Err(AppendError::NoSuchMessage)), "{refused:?}");
}

#[tokio::test]
async fn what_is_in_sent_already_is_not_stored_again_unless_it_replaces_itself() {
    let (_dir, store, account) = store_with_account().await;
    let world = World { inbox: inbox(&store, &account, "one").await, store };
    let (service, inbox) = (world.service(u64::MAX), &world.inbox);
    service.append_all(inbox, "Sent", vec![message("a", ""), message("b", "")]).await.unwrap();
    // As if both had been sent here.
    let sent = "UPDATE message SET mail_from = 'one@inboxlayer.dev', flags = 0";
    world.store.write(move |c| c.execute(sent, params![])).await.unwrap();
    let again = vec![message("b", "Later"), message("c", ""), message("a", "")];
    let done = service.append_all(inbox, "Sent", again).await.unwrap();
    assert_eq!(done.uids, [2, 3, 1]);
    let open = world.open("Sent").await;
    assert_eq!((open.messages.uids, open.messages.keywords.get(2).as_str()), (vec![1, 2, 3], "Later"));
    assert!(open.messages.flags.iter().all(|flags| *flags == Flags::SEEN));
    // A draft of what was sent.
    let draft = service.append(inbox, "Drafts", message("a", "")).await.unwrap().unwrap();
    let draft = ReplacedMessage { mailbox: draft.mailbox, uid: draft.uid };
    assert_eq!(service.replace(inbox, draft, "Sent", ready(&service, message("a", "")).await).await.unwrap().uids, [1]);
    assert_eq!((world.uids("Drafts").await, world.uids("Sent").await), (vec![], vec![1, 2, 3]));
    let itself = ReplacedMessage { mailbox: open.id, uid: 1 };
    assert_eq!(
        service.replace(inbox, itself, "Sent", ready(&service, message("a", "")).await).await.unwrap().uids,
        [4]
    );
    assert_eq!(world.uids("Sent").await, [2, 3, 4]);
    assert_ne!(world.open("Sent").await.seen, Seen::default());
}
