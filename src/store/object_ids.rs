//! Object identifiers for mail clients (RFC 8474): MAILBOXID, EMAILID and THREADID.
//!
//! EMAILID is `email_id` of the API: the ID of the message, or of the first one if it is a copy. A draft that was changed through the
//! API keeps its ID, but has other octets and so, in the column `object_id`, an EMAILID of its own. THREADID is the ID of the API's
//! thread. Invariant: messages of an inbox with the same EMAILID have the same octets (§5.1).

use super::parts;
use super::{Store, StoreError, Transaction};
use crate::id::{InboxId, MailboxId, MessageId, ThreadId};
use crate::store::engine::{Row, ToValue, params};
use std::ops::ControlFlow;

/// MAILBOXID: by UIDVALIDITY, which a rename keeps, and which no two mailboxes of an account ever have.
pub fn mailbox_id(uid_validity: u32) -> String {
    format!("mbx_{uid_validity}")
}

/// The identifiers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectIds {
    pub uid: u32,
    /// EMAILID.
    pub email: MessageId,
    /// THREADID. `None` for a message stored before threads existed, until its thread is assigned.
    pub thread: Option<ThreadId>,
}

impl Store {
    /// The identifiers of those of the messages that exist, UIDs ascending: one query.
    pub async fn messages_object_ids(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
    ) -> Result<Vec<ObjectIds>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let mut found = Vec::with_capacity(uids.len());
            let sql = format!(
                "SELECT uid, coalesce(object_id, email_id, id), thread_id FROM message WHERE {}",
                parts::is_listed(connection, 1)
            );
            for part in parts::of(connection, &inbox, mailbox)? {
                connection.for_each(&sql, params![part.list(&uids)], |row| {
                    found.push(ObjectIds { uid: part.shown(row.get(0)?), email: row.get(1)?, thread: row.get(2)? });
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            found.sort_unstable_by_key(|ids| ids.uid);
            Ok(found)
        })
        .await
    }

    /// The messages of a mailbox with this EMAILID, UIDs ascending. Takes time linear in the messages of the mailbox.
    pub async fn uids_of_email(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        email: &MessageId,
    ) -> Result<Vec<u32>, StoreError> {
        let (inbox, email) = (inbox.clone(), email.clone());
        self.read(move |connection| uids(connection, &inbox, mailbox, "coalesce(object_id, email_id, id)", &email))
            .await
    }

    /// The messages of a mailbox in this thread, UIDs ascending.
    pub async fn uids_of_thread(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        thread: &ThreadId,
    ) -> Result<Vec<u32>, StoreError> {
        let (inbox, thread) = (inbox.clone(), thread.clone());
        self.read(move |connection| uids(connection, &inbox, mailbox, "thread_id", &thread)).await
    }
}

fn uids(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    mailbox: MailboxId,
    expression: &str,
    id: &dyn ToValue,
) -> Result<Vec<u32>, StoreError> {
    let mut found = Vec::new();
    let sql = format!("SELECT uid FROM message WHERE mailbox_id = ?1 AND {expression} = ?2");
    for part in parts::of(connection, inbox, mailbox)? {
        let row = |row: &Row<'_>| Ok(part.shown(row.get(0)?));
        found.extend(connection.query(&sql, &[&part.id as &dyn ToValue, id], row)?);
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxService;
    use crate::store::email_changes::Replaced;
    use crate::store::testing::{inbox, limits, put, store_with_account};
    use crate::store::version::Versions;

    struct World {
        store: Store,
        inbox: InboxId,
    }

    impl World {
        async fn ids(&self, name: &str) -> Vec<ObjectIds> {
            let open = self.store.mailbox_open(&self.inbox, name, false).await.unwrap().unwrap();
            let uids = open.messages.uids.iter().copied().chain([999]).collect();
            self.store.messages_object_ids(&self.inbox, open.id, uids).await.unwrap()
        }

        async fn mailbox(&self, name: &str) -> MailboxId {
            self.store.mailbox_open(&self.inbox, name, false).await.unwrap().unwrap().id
        }
    }

    #[tokio::test]
    async fn copies_have_the_emailid_of_the_first_and_a_changed_draft_has_a_new_one() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let service = MailboxService::new(store.clone(), limits(u64::MAX));
        let first = put(&store, &inbox, b"Message-ID: <1@x>\r\nSubject: x\r\n\r\nbody\r\n").await;
        put(&store, &inbox, b"In-Reply-To: <1@x>\r\nSubject: Re: x\r\n\r\nbody\r\n").await;
        let world = World { store: store.clone(), inbox: inbox.clone() };
        let here = world.ids("INBOX").await;
        assert_eq!((&here[0].email, here[0].uid, here.len()), (&first.id, 1, 2));
        assert!(here[0].thread.is_some() && here[0].thread == here[1].thread && here[0].email != here[1].email);
        // A copy of a copy, then a move.
        service.copy(&inbox, first.mailbox, vec![1], "Archive").await.unwrap();
        let archive = world.mailbox("Archive").await;
        service.copy(&inbox, archive, vec![1], "Archive").await.unwrap();
        service.move_to(&inbox, archive, vec![2], "Junk").await.unwrap();
        for name in ["Archive", "Junk"] {
            let there = world.ids(name).await;
            assert_eq!((&there[0].email, &there[0].thread), (&first.id, &here[0].thread), "{name}");
        }
        let thread = here[0].thread.clone().unwrap();
        assert_eq!(store.uids_of_thread(&inbox, first.mailbox, &thread).await.unwrap(), [1, 2]);
        assert_eq!(store.uids_of_email(&inbox, archive, &first.id).await.unwrap(), [1]);
        assert_eq!(store.uids_of_email(&inbox, archive, &here[1].email).await.unwrap(), [] as [u32; 0]);

        let raw = || b"Subject: one\r\n\r\ndraft\r\n".to_vec().into();
        let draft = service.put_draft(&inbox, None, raw()).await.unwrap();
        let before = world.ids("Drafts").await;
        assert_eq!(before[0].email, draft);
        service.copy(&inbox, world.mailbox("Drafts").await, vec![1], "Archive").await.unwrap();
        let replaced = Replaced { id: draft.clone(), versions: Versions::default() };
        assert_eq!(service.put_draft(&inbox, Some(replaced), raw()).await.unwrap(), draft);
        let after = world.ids("Drafts").await;
        assert!(after[0].email != draft && after[0].thread == before[0].thread, "{after:?}");
        assert_eq!(world.ids("Archive").await.last().unwrap().email, draft);
        service.copy(&inbox, world.mailbox("Drafts").await, vec![after[0].uid], "Junk").await.unwrap();
        assert_eq!(world.ids("Junk").await.last().unwrap().email, after[0].email);
    }

    #[tokio::test]
    async fn a_mailboxid_stays_with_a_rename_and_is_not_used_again() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let service = MailboxService::new(store.clone(), limits(u64::MAX));
        let id =
            async |name: &str| mailbox_id(store.mailbox_open(&inbox, name, false).await.unwrap().unwrap().uid_validity);
        let mut seen = std::collections::BTreeSet::new();
        for kind in crate::store::mailboxes::MailboxKind::ALL {
            assert!(seen.insert(id(kind.name()).await));
        }
        for _ in 0..3 {
            service.create(&inbox, "a").await.unwrap();
            let made = id("a").await;
            assert!(seen.insert(made.clone()));
            service.rename(&inbox, "a", "b").await.unwrap();
            assert_eq!(id("b").await, made);
            service.delete(&inbox, "b").await.unwrap();
            service.finish_deletion(&inbox).await.unwrap();
        }
        let before = id("INBOX").await;
        service.rename(&inbox, "INBOX", "Old").await.unwrap();
        assert_eq!(id("INBOX").await, before);
        assert!(seen.insert(id("Old").await));
    }
}
