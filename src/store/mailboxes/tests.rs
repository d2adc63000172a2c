//! STATUS: correctness of the counts, and constant cost.

use super::*;
use crate::mailbox::MailboxService;
use crate::store::keywords::InboxLimits;
use crate::store::mailbox_changes::{FlagChange, FlagUpdate};
use crate::store::messages::Flags;
use crate::store::open_mailbox::OpenMailbox;
use crate::store::testing::{fill, inbox, limits, put, store_with_account};
use proptest::prelude::*;

fn service(store: &Store, limits: InboxLimits) -> MailboxService {
    MailboxService::new(store.clone(), limits)
}

const MAIL: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

/// The numbers of messages, recent and unseen ones, and octets, counted from the rows.
async fn counted(store: &Store, inbox: &InboxId, name: &str) -> (u32, u32, u32, i64) {
    let (inbox, name) = (inbox.clone(), name.to_owned());
    let sql = "SELECT count(m.uid), count(m.uid) FILTER (WHERE m.uid + p.uid_offset >= b.recent_from),
                   count(m.uid) FILTER (WHERE m.flags & 1 = 0), coalesce(sum(c.size), 0)
               FROM mailbox b JOIN mailbox p ON p.id = b.id OR p.part_of = b.id
               LEFT JOIN message m ON m.mailbox_id = p.id LEFT JOIN content c ON c.id = m.content_id
               WHERE b.inbox_id = ?1 AND b.name = ?2";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    store.read(move |c| c.query_row(sql, params![inbox, name], row)).await.unwrap()
}

async fn compare(store: &Store, inbox: &InboxId) {
    let mut names: Vec<String> = store.mailboxes(inbox).await.unwrap().into_iter().map(|found| found.name).collect();
    names.retain(|name| {
        !MailboxKind::ALL.iter().any(|standard| standard.name() == name) || name == INBOX || name == "Archive"
    });
    for name in names {
        let status = store.mailbox_status(inbox, &name).await.unwrap().unwrap();
        let all = store.mailbox_statuses(inbox).await.unwrap();
        let listed = all.iter().find(|(found, _)| found.name == name).unwrap();
        assert_eq!(listed.1, status);
        let messages = open(store, inbox, &name).await.messages;
        let deleted = messages.flags.iter().filter(|flags| flags.contains(Flags::DELETED)).count();
        assert_eq!(status.deleted as usize, deleted, "{name}");
        let counts = (status.messages, status.recent, status.unseen, i64::try_from(status.size).unwrap());
        assert_eq!(counts, counted(store, inbox, &name).await, "{name}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u8),
    Select,
    See(u8),
    Expunge(u8),
    MarkDeleted(u8),
    Copy(u8),
    Move(u8),
    MoveBack(u8),
    RenameInbox,
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4_u8).prop_map(Step::Arrive),
        2 => Just(Step::Select),
        2 => any::<u8>().prop_map(Step::See),
        2 => any::<u8>().prop_map(Step::Expunge),
        1 => any::<u8>().prop_map(Step::MarkDeleted),
        2 => any::<u8>().prop_map(Step::Copy),
        2 => any::<u8>().prop_map(Step::Move),
        1 => any::<u8>().prop_map(Step::MoveBack),
        1 => Just(Step::RenameInbox),
        1 => Just(Step::Delete),
    ];
    prop::collection::vec(step, 1..25)
}

/// The UIDs of the messages whose bit in `which` is set; the bits repeat after eight messages.
fn some(open: &OpenMailbox, which: u8) -> Vec<u32> {
    open.messages
        .iter()
        .enumerate()
        .filter(|(n, _)| which >> (n % 8) & 1 == 1)
        .map(|(_, message)| message.uid)
        .collect()
}

async fn open(store: &Store, inbox: &InboxId, name: &str) -> OpenMailbox {
    store.mailbox_open(inbox, name, false).await.unwrap().unwrap()
}

async fn take(store: &Store, inbox: &InboxId, renamed: &mut u32, step: Step) {
    let (here, no_limits) = (open(store, inbox, INBOX).await, limits(u64::MAX));
    match step {
        Step::Arrive(count) => {
            for _ in 0..count {
                put(store, inbox, MAIL).await;
            }
        }
        Step::Select => drop(store.mailbox_open(inbox, INBOX, true).await.unwrap()),
        Step::See(which) => {
            let change = if which % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
            service(store, no_limits)
                .set_flags(
                    inbox,
                    here.id,
                    some(&here, which),
                    FlagUpdate { change, flags: Flags::SEEN, keywords: vec![] },
                )
                .await
                .unwrap();
        }
        Step::Expunge(which) => {
            let uids = some(&here, which);
            service(store, no_limits).set_flags(inbox, here.id, uids, FlagUpdate::add(Flags::DELETED)).await.unwrap();
            service(store, limits(u64::MAX)).expunge(inbox, here.id, None).await.unwrap();
        }
        Step::MarkDeleted(which) => {
            let (uids, update) = (some(&here, which), FlagUpdate::add(Flags::DELETED));
            service(store, no_limits).set_flags(inbox, here.id, uids, update).await.unwrap();
        }
        Step::Copy(which) => {
            drop(service(store, no_limits).copy(inbox, here.id, some(&here, which), "Archive").await.unwrap());
        }
        Step::Move(which) => {
            drop(service(store, no_limits).move_to(inbox, here.id, some(&here, which), "Archive").await.unwrap())
        }
        Step::MoveBack(which) => {
            let there = open(store, inbox, "Archive").await;
            drop(service(store, no_limits).move_to(inbox, there.id, some(&there, which), INBOX).await.unwrap());
        }
        Step::RenameInbox => {
            *renamed += 1;
            service(store, limits(u64::MAX)).rename(inbox, INBOX, &format!("Old {renamed}")).await.unwrap();
        }
        Step::Delete => {
            let _ = service(store, limits(u64::MAX)).delete(inbox, &format!("Old {renamed}")).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_counts_are_correct_after_every_change(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, account) = store_with_account().await;
            let inbox = inbox(&store, &account, "one").await;
            let mut renamed = 0;
            for step in steps {
                take(&store, &inbox, &mut renamed, step).await;
                compare(&store, &inbox).await;
            }
        });
    }
}

/// Steps of SQLite's virtual machine for one STATUS.
async fn steps_of_status(store: &Store, inbox: &InboxId) -> i32 {
    let inbox = inbox.clone();
    let steps = move |c: &Transaction<'_>| {
        let mut statement = c.sqlite().prepare(STATUS)?;
        statement.exists([inbox.as_str(), INBOX])?;
        Ok::<_, StoreError>(statement.get_status(rusqlite::StatementStatus::VmStep))
    };
    store.read(steps).await.unwrap()
}

#[tokio::test]
async fn status_costs_the_same_however_many_messages_there_are() {
    crate::store::testing::sqlite_only("counts the steps of its virtual machine");
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let mailbox = put(&store, &inbox, MAIL).await.mailbox;
    let few = steps_of_status(&store, &inbox).await;
    fill(&store, &inbox, mailbox, 20_000, Flags::default()).await;
    let other = crate::store::testing::inbox(&store, &account, "two").await;
    let theirs = put(&store, &other, MAIL).await.mailbox;
    fill(&store, &other, theirs, 1000, Flags::DELETED).await;
    assert_eq!(steps_of_status(&store, &inbox).await, few);
    // A mailbox with a part whose messages are not relocated yet.
    let uids: Vec<u32> = (1..=5_000).collect();
    service(&store, limits(u64::MAX)).move_to(&inbox, mailbox, uids, "Archive").await.unwrap();
    compare(&store, &inbox).await;
    assert_eq!(store.mailbox_status(&inbox, "Archive").await.unwrap().unwrap().recent, 5_000);
    service(&store, limits(u64::MAX)).finish_long_changes().await.unwrap();
    compare(&store, &inbox).await;
    service(&store, limits(u64::MAX)).rename(&inbox, INBOX, "Old").await.unwrap();
    compare(&store, &inbox).await;
    let copies: Vec<u32> = (5_001..=6_000).collect();
    let old = open(&store, &inbox, "Old").await;
    service(&store, limits(u64::MAX)).copy(&inbox, old.id, copies, INBOX).await.unwrap();
    compare(&store, &inbox).await;
}

#[tokio::test]
async fn at_the_limit_of_subscriptions_an_existing_one_is_accepted() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let of = inbox.clone();
    let fill = move |c: &Transaction<'_>| {
        for number in MailboxKind::ALL.len()..2000 {
            let sql = "INSERT INTO subscription (inbox_id, name) VALUES (?1, ?2)";
            c.execute(sql, params![of, format!("gone {number}")])?;
        }
        Ok::<_, StoreError>(())
    };
    store.write(fill).await.unwrap();
    store.mailbox_create(&inbox, "new", None).await.unwrap();
    let refused = store.mailbox_subscribe(&inbox, "new", true).await;
    assert!(matches!(refused, Err(MailboxError::TooManySubscriptions(2000))), "{refused:?}");
    store.mailbox_subscribe(&inbox, INBOX, true).await.unwrap();
    store.mailbox_subscribe(&inbox, "gone 1000", false).await.unwrap();
    store.mailbox_subscribe(&inbox, "new", true).await.unwrap();
}

#[tokio::test]
async fn a_special_use_is_of_one_mailbox() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let service = service(&store, limits(u64::MAX));
    for taken in [MailboxKind::Sent, MailboxKind::Inbox] {
        let refused = service.create_with_use(&inbox, "a/b", Some(taken)).await;
        assert!(matches!(refused, Err(MailboxError::UseTaken(_))), "{refused:?}");
    }
    assert!(store.mailbox_status(&inbox, "a").await.unwrap().is_none(), "nothing of a refused one is left");
    service.delete(&inbox, "Sent").await.unwrap();
    let uid_validity = service.create_with_use(&inbox, "a/Gesendet", Some(MailboxKind::Sent)).await.unwrap();
    service.rename(&inbox, "a", "c").await.unwrap();
    let all = store.mailbox_statuses(&inbox).await.unwrap();
    let uses = all.iter().filter(|(name, _)| name.special_use.as_deref() == Some("\\Sent"));
    let uses: Vec<_> = uses.map(|(name, status)| (name.name.as_str(), status.uid_validity)).collect();
    assert_eq!(uses, [("c/Gesendet", uid_validity)]);
    // A copy of what is sent goes there.
    let of = inbox.clone();
    let sent = store.write(move |c| of_kind(c, &of, MailboxKind::Sent)).await.unwrap();
    assert_eq!(sent, store.mailbox_open(&inbox, "c/Gesendet", false).await.unwrap().unwrap().id);
}
