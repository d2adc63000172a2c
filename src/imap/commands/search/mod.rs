//! SEARCH. RFC 3501 §6.4.4.
//!
//! Invariant: what is cheap decides first. A message's date and size are read only when its flags do not decide, its header
//! when they do not, its body last; and never more than a batch of them is in memory.

mod by_hand;
mod matching;
mod query;

pub(in crate::imap) use by_hand::by_hand;

use self::matching::Candidate;
use self::query::Query;
use super::Fault;
use crate::imap::response::Answer;
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use crate::store::StoreError;
use crate::store::open_mailbox::Depth;
use imap_codec::imap_types::core::{Charset, Vec1};
use imap_codec::imap_types::response::{Code, Data, Response};
use imap_codec::imap_types::search::SearchKey;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Messages read at once, and their octets.
const MESSAGES: usize = 2000;
const OCTETS: usize = 4 * 1024 * 1024;

/// UTF-8, of which US-ASCII is a part, is all that clients send.
fn is_known(charset: &Charset<'_>) -> bool {
    ["UTF-8", "US-ASCII"].iter().any(|known| charset.as_ref().eq_ignore_ascii_case(known))
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
        let query = Arc::new(query);
        let (store, inbox, mailbox) = (&self.door.store, &self.login.inbox, view.mailbox);

        let (mut found, mut undecided) = (Vec::new(), Vec::new());
        for uid in view.uids() {
            let known = view.marks(*uid).map(|marks| Candidate::of_view(marks, view.is_recent(*uid)));
            match known.and_then(|candidate| query.matches(&candidate)) {
                Some(true) => found.push(*uid),
                Some(false) => {}
                None => undecided.push(*uid),
            }
        }
        for depth in [Depth::Size, Depth::Header, Depth::Body] {
            let uids = std::mem::take(&mut undecided);
            let mut rest = uids.as_slice();
            while !rest.is_empty() {
                let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest).to_vec();
                let (messages, looked_for) = store.messages_fetch(inbox, mailbox, batch, depth, OCTETS).await?;
                rest = rest.get(looked_for.max(1)..).unwrap_or_default();
                let candidates: Vec<Candidate> =
                    messages.into_iter().map(|m| Candidate::of_store(m, depth, view)).collect();
                let query = Arc::clone(&query);
                // Decoding and comparing bodies is work for a thread of its own.
                let judged = tokio::task::spawn_blocking(move || {
                    candidates.iter().map(|c| (c.uid(), query.matches(c))).collect::<Vec<_>>()
                });
                let judged = judged.await.map_err(|error| StoreError::Corrupt(format!("a search failed: {error}")))?;
                for (uid, verdict) in judged {
                    match verdict {
                        Some(true) => found.push(uid),
                        Some(false) => {}
                        None => undecided.push(uid),
                    }
                }
            }
        }
        found.sort_unstable();
        let number = |uid: u32| if by_uid { Some(uid) } else { view.sequence_number(uid) };
        let numbers = found.into_iter().filter_map(number).filter_map(NonZeroU32::new).collect();
        wire.push(&Response::Data(Data::Search(numbers, None)));
        Ok(Answer::ok("done"))
    }
}
