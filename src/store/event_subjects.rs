//! What logged events are about, as it is now: read for a page of events in one transaction.
//!
//! Invariant: nothing of another account is read, whatever the ids in an event.

use super::domains::{self, DomainRow};
use super::inboxes::{self, Inbox};
use super::messages::{self, Headed, ListedHeader, MessageSummary};
use super::sent::{self, SentEmail};
use super::{Store, StoreError, Transaction, parts};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, InboxId, MailboxId, MessageId};
use crate::store::engine::params;

/// Emails read for one event that changes many.
pub const CHANGED_EMAILS: usize = 100;

/// What an event is about.
#[derive(Clone, Debug)]
pub enum Subject {
    Email(Box<EmailSubject>),
    /// The emails that an event has changed and no later one, without their headers.
    Emails {
        emails: Vec<MessageSummary>,
        /// There are more.
        is_cut: bool,
    },
    /// `None`: it was deleted.
    Domain(Option<Box<DomainRow>>),
    /// `None`: it was deleted.
    Inbox(Option<Box<Inbox>>),
    /// The event has all of it.
    InEvent,
}

/// One email.
#[derive(Clone, Debug)]
pub struct EmailSubject {
    pub id: MessageId,
    pub inbox: InboxId,
    /// `None`: it is in no mailbox.
    pub message: Option<Headed<ListedHeader>>,
    /// What has become of it, if it was sent from here.
    pub sent: Option<SentEmail>,
}

/// Reads for one account.
struct Reader<'a> {
    transaction: &'a Transaction<'a>,
    account: &'a AccountId,
    now: Timestamp,
}

impl Reader<'_> {
    fn read(&self, event: &Event) -> Result<Subject, StoreError> {
        Ok(match event {
            Event::MessageReceived { inbox_id, message_id, .. } => self.email(inbox_id, message_id.clone(), false)?,
            Event::EmailAccepted(new) => self.email(&new.inbox_id, MessageId::of_sent(&new.submission_id), true)?,
            Event::FlagsChanged { inbox_id, mailbox, modseq } | Event::MessagesAdded { inbox_id, mailbox, modseq } => {
                self.emails(inbox_id, *mailbox, *modseq)?
            }
            Event::InboxCreated { inbox_id } => Subject::Inbox(self.inbox(inbox_id)?.map(Box::new)),
            event => match event.domain() {
                Some(id) => {
                    let condition = "id = ?1 AND account_id = ?2";
                    let found = domains::find(self.transaction, condition, params![id, self.account])?;
                    Subject::Domain(found.map(Box::new))
                }
                None => Subject::InEvent,
            },
        })
    }

    fn inbox(&self, id: &InboxId) -> Result<Option<Inbox>, StoreError> {
        inboxes::of_account(self.transaction, self.account, id)
    }

    fn email(&self, inbox: &InboxId, id: MessageId, was_sent: bool) -> Result<Subject, StoreError> {
        let is_ours = self.inbox(inbox)?.is_some();
        let message = if is_ours { messages::find(self.transaction, inbox, &id)? } else { None };
        let sent = if is_ours && was_sent { sent::sent(self.transaction, &id, self.now)? } else { None };
        Ok(Subject::Email(Box::new(EmailSubject { id, inbox: inbox.clone(), message, sent })))
    }

    fn emails(&self, inbox: &InboxId, mailbox: MailboxId, modseq: i64) -> Result<Subject, StoreError> {
        let mut emails = Vec::new();
        if self.inbox(inbox)?.is_some() {
            for part in parts::of(self.transaction, inbox, mailbox)? {
                let missing = (CHANGED_EMAILS + 1).saturating_sub(emails.len());
                emails.extend(messages::changed_at(self.transaction, part.id, modseq, missing)?);
            }
        }
        let is_cut = emails.len() > CHANGED_EMAILS;
        emails.truncate(CHANGED_EMAILS);
        Ok(Subject::Emails { emails, is_cut })
    }
}

impl Store {
    /// What each of the events of an account is about.
    pub async fn event_subjects(
        &self,
        account: &AccountId,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<Vec<Subject>, StoreError> {
        let account = account.clone();
        self.read(move |transaction| {
            let reader = Reader { transaction, account: &account, now };
            events.iter().map(|event| reader.read(event)).collect()
        })
        .await
    }
}
