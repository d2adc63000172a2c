//! Emails in events: as `GET /emails/{id}` shows them, with their texts cut and without their header fields.
//!
//! Invariant: emails are read in groups of a bounded size, each with its claim of memory; one that cannot be read is shown by
//! its ids and does not hold up later events.

use super::data::{email_url, put};
use super::{PublicEvents, RenderError};
use crate::id::{AccountId, InboxId, MessageId};
use crate::reading::Reader;
use crate::resources::spool::PATIENCE;
use crate::resources::work::WorkError;
use crate::resources::{Client, Owner};
use crate::store::event_subjects::EmailSubject;
use crate::store::messages::{Headed, ListedHeader};
use crate::store::sent::SentEmail;
use crate::store::{Store, StoredMessage};
use crate::views::email::{EmailJson, WholeJson};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Octets of each text of an email in an event.
pub const EVENT_TEXT: usize = 64 * 1024;
/// Octets of emails that are read together; a larger one is read alone.
const GROUP: usize = 1024 * 1024;
/// Memory to show an email, as a multiple of its size: the message, the decoded text, the JSON.
const SHOW_FACTOR: usize = 3;

/// An email to be shown at a place of the page.
#[derive(Clone)]
struct Wanted {
    at: usize,
    row: Headed<ListedHeader>,
    sent: Option<SentEmail>,
}

impl Wanted {
    fn size(&self) -> usize {
        usize::try_from(self.row.message.size).unwrap_or(usize::MAX)
    }

    fn key(&self) -> (InboxId, MessageId) {
        (self.row.message.inbox.clone(), self.row.message.id.clone())
    }
}

type Shown = (usize, Box<RawValue>);

impl PublicEvents {
    /// Those of the emails that are in a mailbox, each with its place.
    pub(super) async fn whole_emails(
        &self,
        account: &AccountId,
        store: &Store,
        emails: Vec<(usize, Box<EmailSubject>)>,
    ) -> Result<Vec<Shown>, RenderError> {
        let wanted = emails.into_iter().filter_map(|(at, email)| {
            let EmailSubject { message, sent, .. } = *email;
            Some(Wanted { at, row: message?, sent })
        });
        let mut groups = groups(wanted);
        let mut shown = Vec::new();
        while let Some(group) = groups.pop_front() {
            if let [alone] = group.as_slice()
                && !self.0.memory.could_hold(&Client::of_account(account), alone.size().saturating_mul(SHOW_FACTOR))
            {
                shown.push(self.by_header(account, group).await?);
                continue;
            }
            let keys: Vec<_> = group.iter().map(|wanted| (wanted.at, wanted.row.message.id.clone())).collect();
            let singles = group.clone();
            match self.read_group(account, store, group).await {
                Ok(read) => shown.extend(read),
                // The email that a parser panics at, or whose stored body is damaged, is shown by its ids.
                Err(error) if is_of_one(&error) && keys.len() > 1 => {
                    singles.into_iter().rev().for_each(|single| groups.push_front(vec![single]));
                }
                Err(error) if is_of_one(&error) => {
                    tracing::error!(%error, email = ?keys, "an email cannot be read for an event");
                    for (at, id) in keys {
                        shown.push((at, to_raw_value(&json!({"id": id, "unreadable": true, "url": email_url(&id)}))?));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    async fn read_group(
        &self,
        account: &AccountId,
        store: &Store,
        group: Vec<Wanted>,
    ) -> Result<Vec<Shown>, RenderError> {
        let octets = group.iter().map(Wanted::size).fold(0, usize::saturating_add);
        let mut work = self.0.memory.claim(&Client::of_account(account));
        work.wait_to_grow(octets.saturating_mul(SHOW_FACTOR), PATIENCE).await?;
        let raw = store.messages_raw(group.iter().map(Wanted::key).collect()).await?;
        let owner = Owner::Account(account.clone());
        let read = self.0.reading.read(&owner, octets, move |reader, budget| {
            let _work = work;
            let mut shown = Vec::new();
            for (wanted, raw) in group.into_iter().zip(raw) {
                budget.check()?;
                // Without octets it was deleted a moment ago, and stays shown as deleted.
                if let Some(raw) = raw {
                    shown.push((wanted.at, whole(wanted, raw, reader)));
                }
            }
            Ok(shown)
        });
        let mut written = Vec::new();
        for (at, data) in read.await? {
            written.push((at, to_raw_value(&data?)?));
        }
        Ok(written)
    }

    /// An email that is larger than the memory of the account: its header alone.
    async fn by_header(&self, account: &AccountId, group: Vec<Wanted>) -> Result<Shown, RenderError> {
        let owner = Owner::Account(account.clone());
        let octets = group.iter().map(|wanted| wanted.row.header.unparsed()).sum();
        let at = group.first().map_or(0, |wanted| wanted.at);
        let read = self.0.reading.read(&owner, octets, move |reader, _| {
            let shown = group.into_iter().map(|Wanted { row, .. }| {
                let url = email_url(&row.message.id);
                serde_json::to_value(EmailJson::new(row, reader)).map(|mut data| {
                    put(&mut data, "truncated", true.into());
                    put(&mut data, "url", url.into());
                    data
                })
            });
            Ok(shown.collect::<Vec<_>>())
        });
        let data = read.await?.pop().transpose()?.unwrap_or_default();
        Ok((at, to_raw_value(&data)?))
    }
}

/// True if one email cannot be read, now or later, and others can.
fn is_of_one(error: &RenderError) -> bool {
    match error {
        RenderError::Work(WorkError::Panicked(_)) => true,
        RenderError::Store(error) => error.is_damage(),
        _ => false,
    }
}

/// In order, each of [`GROUP`] octets at most, or one email.
fn groups(wanted: impl Iterator<Item = Wanted>) -> VecDeque<Vec<Wanted>> {
    let mut groups: VecDeque<Vec<Wanted>> = VecDeque::new();
    let mut octets = 0_usize;
    for one in wanted {
        octets = octets.saturating_add(one.size());
        match groups.back_mut() {
            Some(group) if octets <= GROUP => group.push(one),
            _ => {
                octets = one.size();
                groups.push_back(vec![one]);
            }
        }
    }
    groups
}

fn whole(wanted: Wanted, raw: StoredMessage, reader: &Reader<'_>) -> Result<Value, serde_json::Error> {
    let Wanted { row: Headed { message, .. }, sent, .. } = wanted;
    let readable = reader.begin(message.content);
    let url = email_url(&message.id);
    let mut data = serde_json::to_value(WholeJson::new(message, &raw, readable).with(sent).cut_to(EVENT_TEXT))?;
    if let Some(members) = data.as_object_mut() {
        members.remove("headers");
    }
    put(&mut data, "url", url.into());
    Ok(data)
}
