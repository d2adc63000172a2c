//! NOTIFY, and the notifications that it asks for. RFC 5465.

use super::fetch;
use crate::id::MailboxId;
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::mailbox_sets::MailboxSet;
use crate::imap::names::{self, DELIMITER};
use crate::imap::notified::{Events, Notice, Notified, OfSelected, State};
use crate::imap::watch::News;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::fetch::{Fetch, Modifiers};
use crate::imap::wire::syntax::notify::{Event, EventGroup, Mailboxes, Notify};
use crate::imap::wire::values::{MessageNumber, SequenceSet};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// The events that are known.
const EVENTS: &[&str] = &[
    "MessageNew",
    "MessageExpunge",
    "FlagChange",
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
];
/// Event groups, and names of mailboxes in all of them.
const GROUPS: usize = 100;
const NAMES: usize = 1000;

/// NOTIFY.
pub async fn notify(context: &mut Context<'_>, wire: &mut Wire, command: Notify) -> Result<Reply, CommandError> {
    let (with_status, groups) = match command {
        Notify::None => {
            context.notified = Some(Box::default());
            context.changed.collect(false);
            return Ok(Reply::completed());
        }
        Notify::Set { with_status, groups } => (with_status, groups),
    };
    let (selected, groups) = match read(context, groups) {
        Ok(rules) => rules,
        Err(refused) => return Ok(refused),
    };
    // What changes from here on is reported.
    context.changed.collect(!groups.is_empty());
    let known = if groups.is_empty() { State::default() } else { state(context).await? };
    let notified = Notified::new(selected, groups, known);
    if with_status {
        let notices = notified.first(context.selected.as_ref().map(|selected| selected.mailbox));
        push_notices(context, wire, &notified.known, notices).await?;
    }
    context.notified = Some(Box::new(notified));
    Ok(Reply::completed())
}

/// The rules of event groups; or why they are refused.
fn read(context: &Context<'_>, groups: Vec<EventGroup>) -> Result<(OfSelected, Vec<(MailboxSet, Events)>), Reply> {
    if groups.iter().flat_map(|group| &group.events).any(|event| matches!(event, Event::Unknown(_))) {
        return Err(Reply::no("unknown event").code(Code::BadEvent(EVENTS)));
    }
    let too_many = || Reply::no("too many mailboxes in NOTIFY").code(Code::NotificationOverflow);
    if groups.len() > GROUPS {
        return Err(too_many());
    }
    let (mut of_selected, mut of_others, mut names) = (None, Vec::new(), 0_usize);
    for EventGroup { mailboxes, events } in groups {
        check(&events)?;
        names = names.saturating_add(names_in(&mailboxes));
        if names > NAMES {
            return Err(too_many());
        }
        if let Mailboxes::Selected { is_delayed } = mailboxes {
            if of_selected.is_some() {
                return Err(Reply::bad("the selected mailbox is named twice in NOTIFY"));
            }
            of_selected = Some(read_selected(is_delayed, events)?);
            continue;
        }
        let events = read_events(events)?;
        of_others.extend(MailboxSet::of(&mailboxes, context.enabled.takes_utf8()).map(|set| (set, events)));
    }
    Ok((of_selected.unwrap_or_default(), of_others))
}

/// RFC 5465 §5: which events need which others.
fn check(events: &[Event]) -> Result<(), Reply> {
    let has = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
    let is_new = has(|event| matches!(event, Event::MessageNew(_)));
    let is_expunge = has(|event| *event == Event::MessageExpunge);
    if is_new != is_expunge || has(|event| *event == Event::FlagChange) && !is_new {
        return Err(Reply::bad("MessageNew and MessageExpunge are wanted together, and FlagChange only with both"));
    }
    Ok(())
}

fn read_selected(is_delayed: bool, events: Vec<Event>) -> Result<OfSelected, Reply> {
    let mut selected = OfSelected { is_delayed, ..OfSelected::default() };
    for event in events {
        match event {
            Event::MessageNew(items) => selected = OfSelected { messages: true, items, ..selected },
            Event::MessageExpunge => {}
            Event::FlagChange => selected.flags = true,
            _ => return Err(Reply::bad("of the selected mailbox, only messages and flags are notified")),
        }
    }
    Ok(selected)
}

fn read_events(events: Vec<Event>) -> Result<Events, Reply> {
    let mut all = Events::empty();
    for event in events {
        all |= match event {
            Event::MessageNew(items) if !items.is_empty() => {
                return Err(Reply::bad("only of the selected mailbox, new messages are fetched"));
            }
            Event::MessageNew(_) | Event::MessageExpunge => Events::MESSAGES,
            Event::FlagChange => Events::FLAGS,
            Event::MailboxName => Events::NAMES,
            Event::SubscriptionChange => Events::SUBSCRIPTIONS,
            Event::MailboxMetadataChange => Events::METADATA,
            Event::ServerMetadataChange => Events::SERVER_METADATA,
            Event::Unknown(_) => Events::empty(),
        };
    }
    Ok(all)
}

/// The names in a set, as it is written.
fn names_in(mailboxes: &Mailboxes) -> usize {
    match mailboxes {
        Mailboxes::Subtree(of) | Mailboxes::SubtreeOne(of) | Mailboxes::Named(of) => of.len(),
        Mailboxes::Inboxes | Mailboxes::Subscribed | Mailboxes::Personal | Mailboxes::Selected { .. } => 0,
    }
}

async fn state(context: &Context<'_>) -> Result<State, CommandError> {
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let statuses = store.mailbox_statuses(inbox).await?;
    let mailboxes = statuses.into_iter().map(|(name, status)| (status.id, (name, status))).collect();
    let subscribed = store.subscriptions(inbox).await?.into_iter().collect();
    Ok(State { mailboxes, subscribed })
}

/// Sends what has changed besides the messages and flags of the selected mailbox, and fetches what the client wants of new
/// messages.
pub async fn push(context: &mut Context<'_>, wire: &mut Wire) -> Result<(), CommandError> {
    let Some(notified) = context.notified.as_deref_mut() else { return Ok(()) };
    let arrived = std::mem::take(&mut notified.arrived);
    if !arrived.is_empty() {
        fetch_arrived(context, wire, &arrived).await?;
    }
    let Some(news) = context.changed.take_news() else { return Ok(()) };
    // Boxed: a session without NOTIFY does not pay for it.
    Box::pin(push_news(context, wire, news)).await
}

async fn fetch_arrived(context: &mut Context<'_>, wire: &mut Wire, arrived: &[u32]) -> Result<(), CommandError> {
    let Some(items) = context.notified.as_deref().map(|notified| notified.selected.items.clone()) else {
        return Ok(());
    };
    let numbers = arrived.iter().filter_map(|uid| NonZeroU32::new(*uid)).map(MessageNumber::Value);
    let set = SequenceSet::Ranges(numbers.map(|number| (number, number)).collect());
    let command = Fetch { set, items, modifiers: Modifiers::default(), by_uid: true };
    let reply = Box::pin(fetch::fetch(context, wire, command)).await?;
    if !reply.is_ok() {
        overflow(context, wire);
    }
    Ok(())
}

/// RFC 5465 §5.8.
fn overflow(context: &mut Context<'_>, wire: &mut Wire) {
    context.notified = Some(Box::default());
    context.changed.collect(false);
    let text = "notifications were lost, and are off: send NOTIFY again";
    wire.writer().untagged_ok(Some(&Code::NotificationOverflow), text);
}

async fn push_news(context: &mut Context<'_>, wire: &mut Wire, news: News) -> Result<(), CommandError> {
    let now = state(context).await?;
    let selected = context.selected.as_ref().map(|selected| selected.mailbox);
    let condstore = context.enabled.contains(Enabled::CONDSTORE);
    let Some(mut notified) = context.notified.take() else { return Ok(()) };
    let notices = notified.update(now, selected, condstore);
    let pushed = push_notices(context, wire, &notified.known, notices).await;
    let misses = news.misses_metadata && notified.wants(Events::METADATA | Events::SERVER_METADATA);
    push_metadata(context, wire, &notified, news);
    context.notified = Some(notified);
    pushed?;
    if misses {
        overflow(context, wire);
    }
    Ok(())
}

/// METADATA responses that name the entries (RFC 5465 §5.6, §5.7).
fn push_metadata(context: &Context<'_>, wire: &mut Wire, notified: &Notified, news: News) {
    let mut entries = BTreeMap::<Option<MailboxId>, Vec<String>>::new();
    for (of, entry) in news.metadata {
        entries.entry(of).or_default().push(entry);
    }
    let utf8 = context.enabled.takes_utf8();
    for (of, entries) in entries {
        let (name, is_wanted) = match of {
            None => ("", notified.wants(Events::SERVER_METADATA)),
            Some(mailbox) => match notified.known.name_of(mailbox) {
                Some(name) => (name, notified.events(name, &notified.known).contains(Events::METADATA)),
                None => continue,
            },
        };
        if is_wanted {
            let entries = entries.iter().map(String::as_str);
            wire.writer_for(utf8).metadata_changed(&names::write(name, utf8), entries);
        }
    }
}

async fn push_notices(
    context: &Context<'_>,
    wire: &mut Wire,
    state: &State,
    notices: Vec<Notice>,
) -> Result<(), CommandError> {
    let utf8 = context.enabled.takes_utf8();
    for notice in notices {
        let mut writer = wire.writer_for(utf8);
        match notice {
            Notice::Name { name, old_name: None } => {
                writer.list("LIST", state.attributes(&name), DELIMITER, &names::write(&name, utf8));
            }
            Notice::Name { name, old_name: Some(old) } => {
                let (written, old) = (names::write(&name, utf8), names::write(&old, utf8));
                writer.list_renamed(state.attributes(&name), DELIMITER, &written, &old);
            }
            Notice::Status { name, items } => writer.status(&names::write(&name, utf8), items),
        }
        wire.flush_batch().await?;
    }
    Ok(())
}

/// The client itself has changed names or subscriptions: they are not reported to it (RFC 5465 §5).
pub async fn adopt_names(context: &mut Context<'_>) -> Result<(), CommandError> {
    if context.notified.as_deref().is_some_and(Notified::wants_others) {
        let now = state(context).await?;
        if let Some(notified) = &mut context.notified {
            notified.adopt_names(now);
        }
    }
    Ok(())
}
