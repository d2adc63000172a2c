//! ESEARCH: a search in several mailboxes. RFC 7377; RFC 7162 (MODSEQ).

use super::find::{Finder, Stop};
use super::query::{Context as Given, Query};
use super::results::{is_returned, results, saved};
use super::{checked, completed, modseq, not_found, takes_charset};
use crate::imap::context::{CommandError, Context};
use crate::imap::mailbox_sets::MailboxSet;
use crate::imap::names;
use crate::imap::selected::SelectedMailbox;
use crate::imap::updates::{enable_condstore, push_changes};
use crate::imap::wire::Wire;
use crate::imap::wire::data::{Answered, SearchResults};
use crate::imap::wire::frame::Tag;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::notify::Mailboxes;
use crate::imap::wire::syntax::search::MultiSearch;
use crate::store::mailboxes::MailboxStatus;
use std::collections::BTreeSet;

/// ESEARCH. Mailboxes without results are not in the response (RFC 7377 §2.1).
pub async fn multi_search(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    command: MultiSearch,
) -> Result<Reply, CommandError> {
    match search(context, wire, tag, &command).await {
        Ok(()) => Ok(completed(context)),
        Err(stop) => not_found(context, Some(command.returned), stop),
    }
}

/// Whether the set of mailboxes is the selected mailbox, and whether it is in the set.
fn selected(sets: &[Mailboxes]) -> Result<(bool, bool), Stop> {
    if sets.contains(&Mailboxes::Selected { is_delayed: true }) {
        return Err(Reply::bad("ESEARCH takes no selected-delayed, use selected").into());
    }
    let is_selected = |set: &Mailboxes| *set == Mailboxes::Selected { is_delayed: false };
    Ok((sets.iter().all(is_selected), sets.is_empty() || sets.iter().any(is_selected)))
}

async fn search(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    MultiSearch { mailboxes, returned, charset, key }: &MultiSearch,
) -> Result<(), Stop> {
    takes_charset(context, charset.as_deref())?;
    let charset = checked(context, charset.as_deref(), key)?;
    let (is_selected_alone, has_selected) = selected(mailboxes)?;
    if has_selected && context.selected.is_none() {
        return Err(Reply::bad(super::super::NOTHING_SELECTED).into());
    }
    if !is_selected_alone && (returned.save || key.names_selected()) {
        let text = "sequence numbers, $ and SAVE are of the selected mailbox, search it alone";
        return Err(Reply::bad(text).into());
    }
    if context.changed.take() {
        push_changes(context, wire, false).await?;
    }
    if modseq::is_in(key) {
        enable_condstore(context, wire);
    }
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let subscribed: BTreeSet<String> = match mailboxes.contains(&Mailboxes::Subscribed) {
        true => store.subscriptions(inbox).await?.into_iter().collect(),
        false => BTreeSet::new(),
    };
    let (utf8, now) = (context.enabled.takes_utf8(), context.server.authenticator.now());
    let sets: Vec<MailboxSet> = mailboxes.iter().filter_map(|set| MailboxSet::of(set, utf8)).collect();
    let is_wanted = |name: &str, status: &MailboxStatus| {
        let is_selected = context.selected.as_ref().is_some_and(|selected| selected.mailbox == status.id);
        has_selected && is_selected || sets.iter().any(|set| set.contains(name, &subscribed))
    };
    let mut wanted = store.mailbox_statuses(inbox).await?;
    wanted.retain(|(name, status)| is_wanted(&name.name, status));
    let mut finder = Finder::new(context, tag);
    finder.progress.goal = Some(wanted.iter().map(|(_, status)| usize_of(status.messages)).sum());
    let mut to_save = None;
    for (name, status) in wanted {
        let known = context.selected.as_ref().filter(|selected| selected.mailbox == status.id);
        let opened;
        let mailbox = match known {
            // As the client knows it.
            Some(selected) => selected,
            None => match open(context, &name.name, &status).await? {
                Some(mailbox) => {
                    opened = mailbox;
                    &opened
                }
                None => continue,
            },
        };
        let modseqs = modseq::read(context, mailbox, key).await?;
        let given = Given { selected: mailbox, charset, now, modseqs: &modseqs };
        let Some(query) = Query::new(key, &given) else {
            return Err(Reply::bad("search key not supported").into());
        };
        let found = finder.find(wire, mailbox, query).await?;
        if !found.is_empty() && is_returned(returned) {
            let modseq = modseq::highest(context, Some(mailbox), key, Some(returned), &found).await?;
            let name = names::write(&name.name, utf8);
            let of = Answered { tag: tag.as_str(), mailbox: Some((&name, status.uid_validity)), by_uid: true };
            wire.writer_for(utf8).esearch(of, &SearchResults { modseq, ..results(returned, &found) });
            wire.flush_batch().await?;
        }
        if returned.save {
            to_save = Some(saved(returned, found));
        }
    }
    if let (Some(found), Some(selected)) = (to_save, &mut context.selected) {
        selected.save(found);
    }
    Ok(())
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A mailbox that is not selected, as it is now; `None` if it is gone.
async fn open(
    context: &Context<'_>,
    name: &str,
    status: &MailboxStatus,
) -> Result<Option<SelectedMailbox>, CommandError> {
    let open = context.server.store.mailbox_open(&context.login.inbox, name, false).await?;
    let same = open.filter(|open| open.uid_validity == status.uid_validity);
    Ok(same.map(|open| SelectedMailbox::new(open, true)))
}
