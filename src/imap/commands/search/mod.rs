//! SEARCH, SORT, THREAD, ESEARCH. RFC 9051 §6.4.4; RFC 4731 (ESEARCH), RFC 5032 (WITHIN), RFC 5182 (SEARCHRES), RFC 7162 (MODSEQ),
//! RFC 9394 (PARTIAL).

mod facts;
mod find;
mod forest;
mod matching;
mod modseq;
mod multi;
mod progress;
mod query;
mod results;
mod sort;
mod thread;
mod work_limit;

pub use self::multi::multi_search;
pub use self::sort::sort;
pub use self::thread::thread;

use self::find::{Finder, Stop};
use self::query::{Context as Given, Query};
use self::results::{is_returned, results, saved};
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::updates::{enable_condstore, push_changes};
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::data::{Answered, SearchResults};
use crate::imap::wire::frame::Tag;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::search::{ReturnOptions, Returned, Search};
use crate::imap::wire::syntax::search_keys::SearchKey;
use crate::message::charset::is_known;

/// Charsets that a refusal lists. All that mail is decoded from are taken.
const CHARSETS: &[&str] = &["UTF-8", "US-ASCII"];

/// SEARCH and UID SEARCH.
pub async fn search(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    Search { charset, key, by_uid, returned }: Search,
) -> Result<Reply, CommandError> {
    let options = options(returned, context.enabled);
    let mut finder = Finder::new(context, tag);
    finder.progress.goal = context.selected.as_ref().map(|selected| selected.uids().len());
    let found = match takes_charset(context, charset.as_deref()) {
        Ok(()) => find(context, wire, &mut finder, (charset.as_deref(), &key), by_uid).await,
        Err(stop) => Err(stop),
    };
    let found = match found {
        Ok(found) => found,
        Err(stop) => return not_found(context, options, stop),
    };
    let modseq = modseq::highest(context, context.selected.as_ref(), &key, options.as_ref(), &found).await?;
    match options {
        None => {
            let numbers = numbers(context, &found, by_uid);
            wire.writer().search(numbers, modseq);
        }
        Some(options) => answer(context, wire, tag, (&options, by_uid), (found, modseq)),
    }
    Ok(completed(context))
}

/// The options of an ESEARCH response; `None` where the response is one of before RFC 4731.
fn options(returned: Returned, enabled: Enabled) -> Option<ReturnOptions> {
    match returned {
        Returned::Extended(options) => Some(options),
        // RFC 9051 §6.4.4.
        Returned::Old if enabled.contains(Enabled::IMAP4REV2) => {
            Some(ReturnOptions { all: true, ..ReturnOptions::default() })
        }
        Returned::Old => None,
    }
}

/// Refuses CHARSET where strings are UTF-8 (RFC 6855 §3).
fn takes_charset(context: &Context<'_>, charset: Option<&str>) -> Result<(), Stop> {
    if charset.is_some() && context.enabled.contains(Enabled::UTF8_ACCEPT) {
        return Err(Reply::bad("no CHARSET once UTF8=ACCEPT is enabled, strings are UTF-8").into());
    }
    Ok(())
}

/// The charset of strings, if it is known and the keys are allowed.
fn checked<'a>(context: &Context<'_>, charset: Option<&'a str>, key: &SearchKey) -> Result<&'a str, Stop> {
    let charset = charset.unwrap_or("UTF-8");
    if !is_known(charset.as_bytes()) {
        return Err(Reply::no("charset not supported").code(Code::BadCharset(CHARSETS)).into());
    }
    // RFC 9586 §3.
    if context.enabled.contains(Enabled::UIDONLY) && key.names_sequence_numbers() {
        let text = "messages are named by UID once UIDONLY is enabled, search for UID";
        return Err(Reply::bad(text).code(Code::UidRequired).into());
    }
    Ok(charset)
}

/// The UIDs of what matches in the selected mailbox, ascending.
async fn find(
    context: &mut Context<'_>,
    wire: &mut Wire,
    finder: &mut Finder<'_>,
    (charset, key): (Option<&str>, &SearchKey),
    by_uid: bool,
) -> Result<Vec<u32>, Stop> {
    let charset = checked(context, charset, key)?;
    // The flags that are searched must be those the client knows.
    if context.changed.take() {
        push_changes(context, wire, by_uid && !key.names_sequence_numbers()).await?;
    }
    if modseq::is_in(key) {
        enable_condstore(context, wire);
    }
    let Some(selected) = &context.selected else { return Err(Reply::bad(super::NOTHING_SELECTED).into()) };
    let modseqs = modseq::read(context, selected, key).await?;
    let given = Given { selected, charset, now: context.server.authenticator.now(), modseqs: &modseqs };
    let Some(query) = Query::new(key, &given) else {
        return Err(Reply::bad("search key not supported").into());
    };
    finder.find(wire, selected, query).await
}

/// The reply where nothing was searched: with SAVE, a NO empties the saved result, and a BAD does not (RFC 5182 §2.1).
fn not_found(context: &mut Context<'_>, options: Option<ReturnOptions>, stop: Stop) -> Result<Reply, CommandError> {
    let done = stop.settled();
    let is_bad = done.as_ref().is_ok_and(Reply::is_bad);
    if options.is_some_and(|options| options.save)
        && !is_bad
        && let Some(selected) = &mut context.selected
    {
        selected.save(Vec::new());
    }
    done
}

/// The numbers that the client knows these messages by.
fn numbers(context: &Context<'_>, uids: &[u32], by_uid: bool) -> Vec<u32> {
    match &context.selected {
        Some(selected) if !by_uid => uids.iter().filter_map(|uid| selected.sequence_number(*uid)).collect(),
        _ => uids.to_vec(),
    }
}

/// Writes the ESEARCH response for the messages that were found, in their order, and saves them.
fn answer(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    (options, by_uid): (&ReturnOptions, bool),
    (found, modseq): (Vec<u32>, Option<u64>),
) {
    if is_returned(options) {
        let numbers = numbers(context, &found, by_uid);
        let answered = Answered { tag: tag.as_str(), mailbox: None, by_uid };
        wire.writer().esearch(answered, &SearchResults { modseq, ..results(options, &numbers) });
    }
    if options.save
        && let Some(selected) = &mut context.selected
    {
        selected.save(saved(options, found));
    }
}

/// OK; with a code if there are messages that have been expunged and that the client still knows.
fn completed(context: &Context<'_>) -> Reply {
    let reply = Reply::completed();
    match &context.selected {
        Some(selected) if !selected.expunged().is_empty() => reply.code(Code::ExpungeIssued),
        _ => reply,
    }
}
