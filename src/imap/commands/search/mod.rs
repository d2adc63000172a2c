//! SEARCH. RFC 3501 §6.4.4.
//!
//! Invariant: a message's date and size are read only if its flags do not decide, its header only if these do not, its body
//! last; and no more than a batch of messages is in memory.

mod matching;
mod query;
mod work_limit;

use self::matching::Candidate;
use self::query::Query;
use self::work_limit::{Meter, WorkLimit};
use super::{claim_memory, no_memory};
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::updates::push_changes;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::search::Search;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::open_mailbox::Depth;
use std::sync::Arc;

/// Messages read at once, and their octets.
const MESSAGES: usize = 2000;
const OCTETS: usize = 1024 * 1024;
/// Memory for searching a large message, in multiples of its size: itself, and its decoded text.
const TEXT_FACTOR: usize = 4;

/// Charsets that SEARCH takes.
const CHARSETS: &[&str] = &["UTF-8", "US-ASCII"];

fn is_supported(charset: &str) -> bool {
    CHARSETS.iter().any(|name| charset.eq_ignore_ascii_case(name))
}

/// A search and its limits.
struct Work<'a> {
    reading: &'a Reading,
    owner: &'a Owner,
    query: Arc<Query>,
    limit: Arc<WorkLimit>,
}

impl Work<'_> {
    /// Sorts messages into those that match and those that need more to be read.
    async fn judge(
        &self,
        wire: &mut Wire,
        candidates: Vec<Candidate>,
        found: &mut Vec<u32>,
        undecided: &mut Vec<u32>,
    ) -> Result<(), CommandError> {
        let texts: usize = candidates.iter().map(Candidate::whole_size).sum();
        let keys = candidates.len().saturating_mul(self.query.keys()).saturating_mul(work_limit::KEY);
        let (query, limit) = (Arc::clone(&self.query), Arc::clone(&self.limit));
        let judged = self.reading.read(self.owner, texts.saturating_add(keys), move |reader, budget| {
            let meter = Meter { limit: &limit, budget };
            let judge = |mut candidate: Candidate| {
                candidate.begin(reader);
                (candidate.uid(), query.matches(&candidate, meter))
            };
            let judged: Vec<_> = candidates.into_iter().map(judge).collect();
            budget.check().map(|()| judged)
        });
        for (uid, verdict) in wire.watch(judged).await?? {
            match verdict {
                Some(true) => found.push(uid),
                Some(false) => {}
                None => undecided.push(uid),
            }
        }
        Ok(())
    }
}

/// SEARCH and UID SEARCH.
pub async fn search(context: &mut Context<'_>, wire: &mut Wire, command: Search) -> Result<Reply, CommandError> {
    let Search { charset, key, by_uid, returned: _ } = command;
    if charset.as_deref().is_some_and(|charset| !is_supported(charset)) {
        return Ok(Reply::no("charset not supported").code(Code::BadCharset(CHARSETS)));
    }
    // RFC 6855 §3: strings are UTF-8 then.
    if charset.is_some() && context.enabled.contains(Enabled::UTF8_ACCEPT) {
        return Ok(Reply::bad("no CHARSET once UTF8=ACCEPT is enabled, strings are UTF-8"));
    }
    // The flags that are searched must be those the client knows.
    if context.changed.take() {
        push_changes(context, wire, by_uid).await?;
    }
    let Some(selected) = &context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    let Some(query) = Query::new(&key, selected) else {
        return Ok(Reply::bad("search key not supported"));
    };
    let (reading, owner) = (&context.server.reading, &context.owner);
    let work = Work { reading, owner, query: Arc::new(query), limit: Arc::new(WorkLimit::new(work_limit::OCTETS)) };
    let (store, inbox, mailbox) = (&context.server.store, &context.login.inbox, selected.mailbox);

    let by_flags = |uid: &u32| Some(Candidate::of_flags(selected.flags(*uid)?, selected.is_recent(*uid)));
    let mut claim = wire.claim();
    let mut found = Vec::new();
    let mut undecided = Vec::new();
    for batch in selected.uids().chunks(MESSAGES) {
        work.judge(wire, batch.iter().filter_map(by_flags).collect(), &mut found, &mut undecided).await?;
    }
    for depth in [Depth::Size, Depth::Header, Depth::Body] {
        let uids = std::mem::take(&mut undecided);
        let mut rest = uids.as_slice();
        while !rest.is_empty() && !work.limit.is_spent() {
            let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest).to_vec();
            let (mut messages, looked_for) = store.messages_fetch(inbox, mailbox, batch, depth, OCTETS).await?;
            let damaged: Vec<u32> = messages.iter().filter(|m| m.is_damaged).map(|m| m.flags.uid).collect();
            if !damaged.is_empty() {
                return Ok(super::damaged(&damaged));
            }
            if !claim_memory(&mut claim, &messages) {
                return Ok(no_memory());
            }
            // A large body ends its batch.
            if let Some(last) = messages.last_mut()
                && last.lacks_body()
            {
                let needed = last.body_size.saturating_mul(TEXT_FACTOR);
                if claim.wait_to_grow(needed, PATIENCE).await.is_err() {
                    return Ok(no_memory());
                }
                let whole = 0..last.body_size;
                last.body = store.body_range(inbox, mailbox, last.flags.uid, whole).await?.unwrap_or_default();
            }
            rest = rest.get(looked_for.max(1)..).unwrap_or_default();
            let candidates = messages.into_iter().map(|m| Candidate::of_store(m, depth, selected)).collect();
            work.judge(wire, candidates, &mut found, &mut undecided).await?;
        }
    }
    if work.limit.is_spent() {
        return Ok(Reply::no("search is too expensive, use fewer keys").code(Code::Limit));
    }
    // Messages that another session has expunged match no search.
    let expunged = selected.expunged();
    found.retain(|uid| !expunged.contains(uid));
    found.sort_unstable();
    let number = |uid: u32| if by_uid { Some(uid) } else { selected.sequence_number(uid) };
    wire.writer().search(found.into_iter().filter_map(number));
    let reply = Reply::completed();
    Ok(if expunged.is_empty() { reply } else { reply.code(Code::ExpungeIssued) })
}
