//! SEARCH. RFC 3501 §6.4.4.
//!
//! Invariant: what is cheap decides first. A message's date and size are read only when its flags do not decide, its header
//! when they do not, its body last; and never more than a batch of them is in memory.

mod by_hand;
mod matching;
mod query;
mod work_limit;

pub(in crate::imap) use by_hand::by_hand;

use self::matching::Candidate;
use self::query::Query;
use self::work_limit::{Meter, WorkLimit};
use super::{Fault, counted, no_memory};
use crate::imap::response::{Answer, other};
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::open_mailbox::Depth;
use imap_codec::imap_types::core::{Charset, Vec1};
use imap_codec::imap_types::response::{Code, Data, Response};
use imap_codec::imap_types::search::SearchKey;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Messages read at once, and their octets.
const MESSAGES: usize = 2000;
const OCTETS: usize = 1024 * 1024;
/// What searching a large message takes, by its octets: they themselves, and its texts decoded.
const TEXT_FACTOR: usize = 4;

/// UTF-8, of which US-ASCII is a part, is all that clients send.
fn is_known(charset: &Charset<'_>) -> bool {
    ["UTF-8", "US-ASCII"].iter().any(|known| charset.as_ref().eq_ignore_ascii_case(known))
}

/// What is searched for, and how much work that may be.
struct Work<'a> {
    reading: &'a Reading,
    owner: &'a Owner,
    query: Arc<Query>,
    effort: Arc<WorkLimit>,
}

impl Work<'_> {
    /// Sorts messages into those that match and those of which too little is known.
    async fn judge(
        &self,
        wire: &mut Wire,
        candidates: Vec<Candidate>,
        found: &mut Vec<u32>,
        undecided: &mut Vec<u32>,
    ) -> Result<(), Fault> {
        let texts: usize = candidates.iter().map(Candidate::whole_size).sum();
        let keys = candidates.len().saturating_mul(self.query.keys()).saturating_mul(work_limit::KEY);
        let (query, effort) = (Arc::clone(&self.query), Arc::clone(&self.effort));
        let judged = self.reading.read(self.owner, texts.saturating_add(keys), move |reader, budget| {
            let meter = Meter { effort: &effort, budget };
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

impl Session<'_> {
    /// SEARCH and UID SEARCH.
    pub async fn search(
        &mut self,
        wire: &mut Wire,
        charset: Option<&Charset<'static>>,
        criteria: Vec1<SearchKey<'static>>,
        by_uid: bool,
    ) -> Result<Answer, Fault> {
        if charset.is_some_and(|charset| !is_known(charset)) {
            let allowed = ["UTF-8", "US-ASCII"].into_iter().filter_map(|name| Charset::try_from(name).ok()).collect();
            return Ok(Answer::no("this charset is not known").code(Code::BadCharset { allowed }));
        }
        // The flags the client is told below must be the flags that are searched.
        if self.changed.take() {
            self.tell(wire, by_uid).await?;
        }
        let Some(view) = &self.selected else { return Ok(Answer::bad(super::NOTHING_SELECTED)) };
        let Some(query) = Query::new(criteria.as_ref(), view) else {
            return Ok(Answer::bad("a key of this search is not offered here"));
        };
        let (reading, owner) = (&self.server.reading, &self.owner);
        let work =
            Work { reading, owner, query: Arc::new(query), effort: Arc::new(WorkLimit::new(work_limit::OCTETS)) };
        let (store, inbox, mailbox) = (&self.server.store, &self.login.inbox, view.mailbox);

        let marked = |uid: &u32| Some(Candidate::of_view(view.marks(*uid)?, view.is_recent(*uid)));
        let mut claim = wire.claim();
        let mut found = Vec::new();
        let mut undecided = Vec::new();
        for batch in view.uids().chunks(MESSAGES) {
            work.judge(wire, batch.iter().filter_map(marked).collect(), &mut found, &mut undecided).await?;
        }
        for depth in [Depth::Size, Depth::Header, Depth::Body] {
            let uids = std::mem::take(&mut undecided);
            let mut rest = uids.as_slice();
            while !rest.is_empty() && !work.effort.is_spent() {
                let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest).to_vec();
                let (mut messages, looked_for) = store.messages_fetch(inbox, mailbox, batch, depth, OCTETS).await?;
                if !counted(&mut claim, &messages) {
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
                    last.body = store.body_range(inbox, mailbox, last.marks.uid, whole).await?.unwrap_or_default();
                }
                rest = rest.get(looked_for.max(1)..).unwrap_or_default();
                let candidates = messages.into_iter().map(|m| Candidate::of_store(m, depth, view)).collect();
                work.judge(wire, candidates, &mut found, &mut undecided).await?;
            }
        }
        if work.effort.is_spent() {
            return Ok(Answer::no("this search is too much work: use fewer keys").code(other("LIMIT")));
        }
        // What another session has expunged matches no search, be it by flags or by content.
        let gone = view.gone();
        found.retain(|uid| !gone.contains(uid));
        found.sort_unstable();
        let number = |uid: u32| if by_uid { Some(uid) } else { view.sequence_number(uid) };
        let numbers = found.into_iter().filter_map(number).filter_map(NonZeroU32::new).collect();
        wire.push(&Response::Data(Data::Search(numbers, None)));
        let answer = Answer::ok("done");
        Ok(if gone.is_empty() { answer } else { answer.code(other("EXPUNGEISSUED")) })
    }
}
