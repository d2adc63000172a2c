//! LIST and LSUB. RFC 9051 §6.3.9, RFC 3501 §6.3.9; RFC 3348 (CHILDREN), RFC 5258 (LIST-EXTENDED), RFC 5819 (LIST-STATUS), RFC 6154
//! (SPECIAL-USE), RFC 9590 (LIST-METADATA).
//!
//! A level that is not a mailbox but has some below it is listed as `\Noselect`, or as `\NonExistent` where the command is
//! extended.

use super::metadata::entry_names;
use super::no_memory;
use super::status::Items;
use crate::imap::context::{CommandError, Context};
use crate::imap::names::{self, DELIMITER, Pattern};
use crate::imap::wire::Wire;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::list::{List, Selection};
use crate::imap::wire::values::Mailbox;
use crate::store::mailboxes::{MailboxName, MailboxStatus};
use crate::store::metadata::EntryName;
use std::collections::{BTreeMap, BTreeSet};

/// A level that is not a mailbox.
const NO_SELECT: &str = "\\Noselect";
/// The same, in the words of RFC 5258.
const NON_EXISTENT: &str = "\\NonExistent";

/// A mailbox, a level above one, or a subscribed name.
#[derive(Default)]
struct Listed {
    /// `None`: it is not a mailbox.
    mailbox: Option<(MailboxName, Option<MailboxStatus>)>,
    is_subscribed: bool,
    has_children: bool,
    /// A mailbox below it meets the selection.
    has_selected_below: bool,
}

impl Listed {
    fn special_use(&self) -> Option<&'static str> {
        const USES: [&str; 5] = ["\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash"];
        let used = self.mailbox.as_ref()?.0.special_use.as_deref()?;
        USES.into_iter().find(|known| *known == used)
    }

    /// Whether it meets the selection options.
    fn is_selected(&self, selection: Selection) -> bool {
        let exists = self.mailbox.is_some() || self.has_children || selection.subscribed;
        exists
            && (!selection.subscribed || self.is_subscribed)
            && (!selection.special_use || self.special_use().is_some())
    }
}

/// All names of an inbox, with what LIST says of them.
async fn names_of(context: &Context<'_>, command: &List) -> Result<BTreeMap<String, Listed>, CommandError> {
    let (store, inbox) = (&context.server.store, &context.login.inbox);
    let mut tree = BTreeMap::<String, Listed>::new();
    let mailboxes: Vec<_> = match command.returned.status.is_empty() {
        true => store.mailboxes(inbox).await?.into_iter().map(|name| (name, None)).collect(),
        false => store.mailbox_statuses(inbox).await?.into_iter().map(|(name, s)| (name, Some(s))).collect(),
    };
    for mailbox in mailboxes {
        for parent in names::parents(&mailbox.0.name) {
            tree.entry(parent.to_owned()).or_default().has_children = true;
        }
        let name = mailbox.0.name.clone();
        tree.entry(name).or_default().mailbox = Some(mailbox);
    }
    if command.selection.subscribed || command.returned.subscribed {
        for name in store.subscriptions(inbox).await? {
            tree.entry(name).or_default().is_subscribed = true;
        }
    }
    if command.selection.recursive_match {
        let is_selected = |listed: &&Listed| listed.is_selected(command.selection);
        let selected = tree.iter().filter(|(_, listed)| is_selected(listed));
        let parents: BTreeSet<String> =
            selected.flat_map(|(name, _)| names::parents(name)).map(str::to_owned).collect();
        for parent in parents {
            tree.entry(parent).or_default().has_selected_below = true;
        }
    }
    Ok(tree)
}

/// The entries of LIST-METADATA that were asked for, by mailbox.
type Metadata = BTreeMap<String, BTreeMap<EntryName, Vec<u8>>>;

async fn metadata_of(context: &Context<'_>, names: &[EntryName]) -> Result<Metadata, CommandError> {
    let mut found = Metadata::new();
    if !names.is_empty() {
        for (mailbox, (entry, value)) in
            context.server.store.metadata_of_mailboxes(&context.login.inbox, names.to_vec()).await?
        {
            found.entry(mailbox).or_default().insert(entry, value);
        }
    }
    Ok(found)
}

/// LIST.
pub async fn list(context: &mut Context<'_>, wire: &mut Wire, command: List) -> Result<Reply, CommandError> {
    let (selection, is_extended) = (command.selection, command.is_extended);
    // `LIST "" ""` only asks for the delimiter.
    if !is_extended && command.patterns.iter().all(Vec::is_empty) {
        wire.writer().list("LIST", [NO_SELECT], DELIMITER, "");
        return Ok(Reply::completed());
    }
    let entries = match entry_names(command.returned.metadata.iter()) {
        Ok(entries) => entries,
        Err(refused) => return Ok(refused),
    };
    let utf8 = context.enabled.takes_utf8();
    // What is encoded wrongly matches nothing.
    let patterns: Vec<_> =
        command.patterns.iter().filter_map(|one| Pattern::read(&command.reference, one, utf8)).collect();
    let status = Items::read(context, wire, &command.returned.status).await?;
    let metadata = metadata_of(context, &entries).await?;
    let mut claim = wire.claim();
    if claim.grow_to(metadata.values().flat_map(BTreeMap::values).map(Vec::len).sum()).is_err() {
        return Ok(no_memory());
    }
    let met: &[&str] = if selection.subscribed { &["SUBSCRIBED"] } else { &["SPECIAL-USE"] };
    for (name, listed) in names_of(context, &command).await? {
        // Matching may take long.
        tokio::task::yield_now().await;
        let is_selected = listed.is_selected(selection);
        if !(is_selected || listed.has_selected_below) || !patterns.iter().any(|pattern| pattern.matches(&name)) {
            continue;
        }
        let written = names::write(&name, utf8);
        let absent = if is_extended { NON_EXISTENT } else { NO_SELECT };
        let attributes = [if listed.has_children { "\\HasChildren" } else { "\\HasNoChildren" }]
            .into_iter()
            .chain(listed.mailbox.is_none().then_some(absent))
            .chain((is_extended && listed.is_subscribed).then_some("\\Subscribed"))
            .chain(listed.special_use());
        let child_info = if listed.has_selected_below { met } else { &[] };
        wire.writer_for(utf8).list_with_child_info("LIST", attributes, DELIMITER, &written, child_info);
        // Not of those that are listed for the sake of others below them (RFC 5819 §2).
        if is_selected && let Some((_, found)) = &listed.mailbox {
            if let Some(found) = found {
                status.push(wire, utf8, &written, found);
            }
            if !entries.is_empty() {
                let of_mailbox = metadata.get(&name);
                let value = |entry| of_mailbox.and_then(|values| values.get(entry)).map(Vec::as_slice);
                let values = entries.iter().map(|entry| (entry.as_str(), value(entry)));
                wire.writer_for(utf8).metadata(&written, values);
            }
        }
        wire.flush_batch().await?;
    }
    Ok(Reply::completed())
}

/// LSUB. A level that matches, is not subscribed to, and has subscribed ones below it is `\Noselect` (RFC 3501 §6.3.9).
pub async fn lsub(
    context: &mut Context<'_>,
    wire: &mut Wire,
    reference: &Mailbox,
    pattern: &[u8],
) -> Result<Reply, CommandError> {
    let utf8 = context.enabled.takes_utf8();
    let Some(pattern) = Pattern::read(reference, pattern, utf8) else { return Ok(Reply::completed()) };
    let mut listed = BTreeMap::new();
    for name in context.server.store.subscriptions(&context.login.inbox).await? {
        tokio::task::yield_now().await;
        if !pattern.matches(&name) {
            for parent in names::parents(&name).filter(|parent| pattern.matches(parent)) {
                listed.entry(parent.to_owned()).or_insert(false);
            }
        } else {
            listed.insert(name, true);
        }
    }
    for (name, is_subscribed) in listed {
        let attributes = (!is_subscribed).then_some(NO_SELECT);
        wire.writer_for(utf8).list("LSUB", attributes, DELIMITER, &names::write(&name, utf8));
    }
    Ok(Reply::completed())
}

/// LIST of a mailbox that the client names, in IMAP4rev2; with the name it has used, if the mailbox has another one (RFC 9051
/// §6.3.9.7).
pub(super) fn push_listed(wire: &mut Wire, named: &Mailbox, name: &str) {
    let old = is_renamed(named, name).then_some(named.0.as_slice());
    wire.writer_for(true).listed(DELIMITER, name, old);
}

/// Whether a mailbox has another name than the one a client has used, but for its case.
pub(super) fn is_renamed(Mailbox(named): &Mailbox, name: &str) -> bool {
    !named.strip_suffix(b"/").unwrap_or(named).eq_ignore_ascii_case(name.as_bytes())
}
