//! Clients that apply the responses end in the state of the mailbox.

use super::*;
use crate::mailbox::MailboxService;
use crate::store::keywords::FlagError;
use crate::store::mailbox_changes::{FlagChange, FlagUpdate};
use crate::store::messages::Flags;
use crate::store::open_mailbox::{Depth, MessageFlags};
use crate::store::testing::{fill, inbox, limits, put, store_with_account};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MAIL: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

/// A client's copy of a mailbox.
#[derive(Clone, Debug, Default)]
struct Client {
    uid_validity: u32,
    modseq: i64,
    messages: BTreeMap<u32, Flags>,
}

fn shown(messages: &FlagList) -> BTreeMap<u32, Flags> {
    messages.iter().map(|message| (message.uid, message.flags)).collect()
}

impl Client {
    fn known(&self) -> Known {
        let uids = self.messages.keys().copied().collect();
        let numbered = (1..).zip(self.messages.keys().copied()).step_by(3).collect();
        Known { uid_validity: self.uid_validity, modseq: self.modseq, uids: Some(uids), numbered }
    }

    /// Selects the mailbox with what it knows, and applies the answer. The known UIDs are those of the cache, or all.
    async fn sync(&mut self, store: &Store, inbox: &InboxId, with_uids: bool) -> Resync {
        let mut known = self.known();
        if !with_uids {
            known.uids = None;
        }
        let (open, resync) = store.mailbox_resync(inbox, "INBOX", false, known).await.unwrap().unwrap();
        let wanted = shown(&open.messages);
        let resync = match resync {
            None => {
                self.messages = wanted.clone();
                Resync::default()
            }
            Some(resync) => {
                assert!(resync.vanished.iter().flatten().all(|uid| !wanted.contains_key(&uid)));
                self.messages.retain(|uid, _| !resync.vanished.contains(*uid));
                let changed = shown(&resync.changed);
                // With its UIDs, a client is sent none of the new ones.
                assert!(!with_uids || changed.keys().all(|uid| self.messages.contains_key(uid)));
                self.messages.extend(changed);
                if with_uids {
                    let new =
                        wanted.iter().filter(|(uid, _)| self.messages.keys().last().is_none_or(|last| *uid > last));
                    self.messages.extend(new.map(|(uid, flags)| (*uid, *flags)).collect::<Vec<_>>());
                }
                resync
            }
        };
        assert_eq!(self.messages, wanted);
        (self.uid_validity, self.modseq) = (open.uid_validity, open.seen.modseq);
        resync
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Flag(u8),
    Expunge(u8),
    MoveAway(u8),
    MoveBack,
    CopyBack,
    RenameInbox,
    Forget,
    Sync(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Arrive),
        3 => any::<u8>().prop_map(Step::Flag),
        3 => any::<u8>().prop_map(Step::Expunge),
        2 => any::<u8>().prop_map(Step::MoveAway),
        1 => Just(Step::MoveBack),
        1 => Just(Step::CopyBack),
        1 => Just(Step::RenameInbox),
        1 => Just(Step::Forget),
        4 => any::<u8>().prop_map(Step::Sync),
    ]
}

struct World {
    store: Store,
    service: MailboxService,
    inbox: InboxId,
}

impl World {
    async fn open(&self, name: &str) -> OpenMailbox {
        self.store.mailbox_open(&self.inbox, name, false).await.unwrap().unwrap()
    }

    async fn run(&self, step: &Step, clients: &mut [Client; 3]) {
        let (service, inbox) = (&self.service, &self.inbox);
        let open = self.open("INBOX").await;
        let every = |n: u8| -> Vec<u32> {
            open.messages
                .uids
                .iter()
                .copied()
                .filter(|uid| uid.wrapping_mul(37).wrapping_add(n.into()) % 3 == 0)
                .collect()
        };
        match step {
            Step::Arrive => drop(put(&self.store, inbox, MAIL).await),
            Step::Flag(n) => {
                let change = if n % 2 == 0 { FlagChange::Add } else { FlagChange::Replace };
                let update = FlagUpdate { change, flags: Flags::from_bits_retain(n % 4), keywords: Vec::new() };
                service.set_flags(inbox, open.id, every(*n), update).await.unwrap();
            }
            Step::Expunge(n) => {
                let uids = every(*n);
                service.set_flags(inbox, open.id, uids.clone(), FlagUpdate::add(Flags::DELETED)).await.unwrap();
                service.expunge(inbox, open.id, Some(uids)).await.unwrap();
            }
            Step::MoveAway(n) => drop(service.move_to(inbox, open.id, every(*n), "Archive").await.unwrap()),
            Step::MoveBack | Step::CopyBack => {
                let archive = self.open("Archive").await;
                match step {
                    Step::MoveBack => service.move_to(inbox, archive.id, archive.messages.uids, "INBOX").await.unwrap(),
                    _ => service.copy(inbox, archive.id, archive.messages.uids, "INBOX").await.unwrap(),
                };
            }
            Step::RenameInbox => {
                service.rename(inbox, "INBOX", &format!("Old/{}", crate::id::MessageId::new())).await.unwrap();
            }
            Step::Forget => drop(self.store.write(move |c| expunged::note_many(c, open.id)).await.unwrap()),
            Step::Sync(n) => {
                let client = &mut clients[usize::from(n % 3)];
                client.sync(&self.store, inbox, n % 2 == 0).await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn clients_resynchronize(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, account) = store_with_account().await;
            let inbox = inbox(&store, &account, "one").await;
            let service = MailboxService::new(store.clone(), limits(u64::MAX));
            let world = World { store, service, inbox };
            let mut clients = [Client::default(), Client::default(), Client::default()];
            for step in &steps {
                world.run(step, &mut clients).await;
            }
            for client in &mut clients {
                client.sync(&world.store, &world.inbox, false).await;
                let again = client.sync(&world.store, &world.inbox, true).await;
                assert!(again.changed.is_empty() && again.vanished.is_empty(), "{again:?}");
            }
        });
    }
}

#[tokio::test]
async fn once_expunges_are_forgotten_the_uids_that_are_gone_are_told_from_the_first_that_may_be() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let mailbox = put(&store, &inbox, MAIL).await.mailbox;
    fill(&store, &inbox, mailbox, 9, Flags::DELETED).await;
    let service = MailboxService::new(store.clone(), limits(u64::MAX));
    service.expunge(&inbox, mailbox, Some(vec![3])).await.unwrap();
    let before = store.mailbox_open(&inbox, "INBOX", false).await.unwrap().unwrap();
    service.expunge(&inbox, mailbox, Some(vec![7, 8])).await.unwrap();
    let known =
        |uids, numbered| Known { uid_validity: before.uid_validity, modseq: before.seen.modseq, uids, numbered };
    let resync = async |known| store.mailbox_resync(&inbox, "INBOX", false, known).await.unwrap().unwrap().1.unwrap();
    let gone = |uids: &[u32]| uids.iter().copied().collect::<UidRanges>();
    assert_eq!(resync(known(None, vec![])).await.vanished, gone(&[7, 8]));
    assert_eq!(resync(known(Some(gone(&[6, 7])), vec![])).await.vanished, gone(&[7]));
    store.write(move |c| expunged::note_many(c, mailbox)).await.unwrap();
    assert_eq!(resync(known(None, vec![])).await.vanished, gone(&[3, 7, 8]));
    // UID 5 had the number 4, and has it still; UID 9 had 8.
    assert_eq!(resync(known(None, vec![(4, 5), (8, 9)])).await.vanished, gone(&[7, 8]));
    assert_eq!(resync(known(Some(gone(&[2, 3, 8, 900])), vec![(0, 1), (99, 2)])).await.vanished, gone(&[3, 8]));
    let other = Known { uid_validity: 7, ..known(None, vec![]) };
    assert!(store.mailbox_resync(&inbox, "INBOX", false, other).await.unwrap().unwrap().1.is_none());
    let vanished = async |within, since| store.messages_vanished(&inbox, mailbox, within, since).await.unwrap();
    assert_eq!(vanished(UidRanges::up_to(u32::MAX), 1).await, gone(&[3, 7, 8]));
    assert_eq!(vanished(gone(&[1, 8, 11]), 1).await, gone(&[8]));
    let last = before.seen.modseq + 2;
    assert_eq!(vanished(UidRanges::up_to(u32::MAX), last).await, UidRanges::default());
    assert!(vanished(UidRanges::up_to(9), 1).await != vanished(UidRanges::up_to(9), last).await);
}

#[tokio::test]
async fn a_large_copy_or_move_has_new_mod_sequences_before_and_after_its_rows_are_moved_over() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let mailbox = put(&store, &inbox, MAIL).await.mailbox;
    fill(&store, &inbox, mailbox, 1100, Flags::SEEN).await;
    let service = MailboxService::new(store.clone(), limits(u64::MAX));
    let open = async |name: &str| store.mailbox_open(&inbox, name, false).await.unwrap().unwrap();
    // The mod-sequence of Archive is far ahead of that of INBOX.
    let archive = open("Archive").await.id;
    store
        .write(move |c| c.execute("UPDATE mailbox SET highest_modseq = 5000 WHERE id = ?1", params![archive]))
        .await
        .unwrap();
    for is_move in [false, true] {
        let (here, there) = (open("INBOX").await, open("Archive").await);
        let uids: Vec<u32> = here.messages.uids.iter().copied().take(550).collect();
        match is_move {
            true => service.move_to(&inbox, mailbox, uids, "Archive").await.unwrap(),
            false => service.copy(&inbox, mailbox, uids, "Archive").await.unwrap(),
        };
        let known = Known { uid_validity: there.uid_validity, modseq: there.seen.modseq, uids: None, numbered: vec![] };
        let (first, resync) = store.mailbox_resync(&inbox, "Archive", false, known.clone()).await.unwrap().unwrap();
        let resync = resync.unwrap();
        assert_eq!((resync.changed.len(), resync.vanished), (550, UidRanges::default()));
        let new = resync.changed.uids[0];
        let all = UidRanges::up_to(u32::MAX);
        let unchanged = FlagUpdate::add(Flags::FLAGGED);
        let refused = service.set_flags_of_unchanged(&inbox, archive, vec![new], Some(there.seen.modseq), unchanged);
        assert_eq!(refused.await.unwrap().changed, [new]);
        service.finish_deletion(&inbox).await.unwrap();
        assert!(store.hidden_of(&inbox).await.unwrap().is_empty());
        let (last, again) = store.mailbox_resync(&inbox, "Archive", false, known).await.unwrap().unwrap();
        let again = again.unwrap();
        assert_eq!((last.seen, &again.modseqs), (first.seen, &resync.modseqs), "no client sees it");
        let since_publication = store.messages_changed(&inbox, archive, all.clone(), first.seen.modseq).await.unwrap();
        assert!(since_publication.0.is_empty() && since_publication.1.is_empty());
        if is_move {
            let gone = store.messages_vanished(&inbox, mailbox, all, here.seen.modseq).await.unwrap();
            assert_eq!(gone, here.messages.uids.iter().copied().take(550).collect());
        }
    }
}

#[tokio::test]
async fn flags_are_changed_only_of_messages_that_have_not_changed() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "one").await;
    let mailbox = put(&store, &inbox, MAIL).await.mailbox;
    fill(&store, &inbox, mailbox, 4, Flags::default()).await;
    let service = MailboxService::new(store.clone(), limits(u64::MAX));
    let before = store.mailbox_open(&inbox, "INBOX", false).await.unwrap().unwrap().seen.modseq;
    service.set_flags(&inbox, mailbox, vec![2, 4], FlagUpdate::add(Flags::FLAGGED)).await.unwrap();
    let seen = FlagUpdate::add(Flags::SEEN);
    let set = async |uids: Vec<u32>, unchanged_since| {
        service.set_flags_of_unchanged(&inbox, mailbox, uids, unchanged_since, seen.clone()).await.unwrap()
    };
    let done = set(vec![1, 2, 3, 4, 99], Some(before)).await;
    let is_seen = |uid| (MessageFlags { uid, flags: Flags::SEEN, keywords: "".into() }, before + 2);
    assert_eq!((done.messages, done.changed), (vec![is_seen(1), is_seen(3)], vec![2, 4]));
    // Nothing changes: the mod-sequences stay.
    let again = set(vec![1, 3], Some(before + 2)).await;
    assert_eq!((again.messages, again.changed), (vec![is_seen(1), is_seen(3)], vec![]));
    assert_eq!(set(vec![1, 2], Some(0)).await.changed, [1, 2]);
    let (fetched, _) = store.messages_fetch(&inbox, mailbox, vec![1, 2, 5], Depth::Flags, 1000).await.unwrap();
    let found: Vec<_> = fetched.iter().map(|message| (message.flags.uid, message.modseq)).collect();
    assert_eq!(found[..2], [(1, before + 2), (2, before + 1)]);
    assert!(found[2].1 <= before);
    let (changed, modseqs) =
        store.messages_changed(&inbox, mailbox, [1..=2, 4..=4].into_iter().collect(), before).await.unwrap();
    assert_eq!((changed.uids, modseqs), (vec![1, 2, 4], vec![before + 2, before + 1, before + 1]));
    // A refusal changes nothing.
    let update = FlagUpdate {
        change: FlagChange::Add,
        flags: Flags::DRAFT,
        keywords: (0..99).map(|n| format!("k{n}")).collect(),
    };
    let refused = service.set_flags_of_unchanged(&inbox, mailbox, vec![1, 5], None, update).await;
    assert!(matches!(refused, Err(FlagError::TooManyOfMessage(_) | FlagError::TooManyOfMailbox(_))), "{refused:?}");
    let none = UidRanges::up_to(9);
    assert!(store.messages_changed(&inbox, mailbox, none, before + 2).await.unwrap().0.is_empty());
}
