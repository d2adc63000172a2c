//! Finds the messages of a mailbox that match a query.
//!
//! Invariant: a message's date and size are read only if its flags do not decide, its header only if these do not, its body
//! last; and no more than a batch of messages is in memory. The search index says which messages may contain the texts of a query:
//! each of these is read and compared, the others are not read.

use super::super::{claim_memory, damaged, no_memory};
use super::matching::Candidate;
use super::progress::Progress;
use super::query::Query;
use super::work_limit::{self, Meter, WorkLimit};
use crate::auth::login::Login;
use crate::imap::context::{CommandError, Context};
use crate::imap::selected::SelectedMailbox;
use crate::imap::server::ImapServer;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::frame::Tag;
use crate::imap::wire::response::Reply;
use crate::message::grams::Grams;
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::resources::spool::PATIENCE;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use crate::store::open_mailbox::{Depth, Fetched};
use std::sync::Arc;

/// Messages read at once, and their octets.
pub(super) const MESSAGES: usize = 2000;
pub(super) const OCTETS: usize = 1024 * 1024;
/// Memory for searching a large message, in multiples of its size: itself, and its decoded text.
const TEXT_FACTOR: usize = 4;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Stop {
    /// The reply to the command.
    Refused(Reply),
    Failed(CommandError),
}

impl<T: Into<CommandError>> From<T> for Stop {
    fn from(error: T) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

impl Stop {
    /// What becomes of the command.
    pub fn settled(self) -> Result<Reply, CommandError> {
        match self {
            Self::Refused(reply) => Ok(reply),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Searches of one command, which have one limit of work together.
pub(super) struct Finder<'a> {
    pub server: &'a ImapServer,
    pub login: &'a Login,
    pub owner: Owner,
    pub progress: Progress,
    limit: Arc<WorkLimit>,
}

/// The messages that are being sorted by whether they match.
#[derive(Default)]
struct Judged {
    found: Vec<u32>,
    /// More has to be read of these.
    undecided: Vec<u32>,
}

impl<'a> Finder<'a> {
    /// For the command with this tag.
    pub fn new(context: &Context<'a>, tag: &Tag) -> Self {
        let limit = Arc::new(WorkLimit::new(work_limit::OCTETS));
        let progress = Progress::new(tag.as_str(), context.server.progress_every);
        Self { server: context.server, login: context.login, owner: context.owner.clone(), progress, limit }
    }

    /// The UIDs of the messages that match, ascending. Messages that another session has expunged match no search.
    pub async fn find(&mut self, wire: &mut Wire, selected: &SelectedMailbox, query: Query) -> Result<Vec<u32>, Stop> {
        let query = Arc::new(query);
        let by_flags = |uid: &u32| Some(Candidate::of_flags(selected.flags(*uid)?, selected.is_recent(*uid)));
        let mut claim = wire.claim();
        let mut judged = Judged::default();
        let (done, mut seen) = (self.progress.done, 0);
        for batch in selected.uids().chunks(MESSAGES) {
            self.judge(wire, &query, batch.iter().filter_map(by_flags).collect(), &mut judged).await?;
            seen += batch.len();
            self.progress.done = done + seen.saturating_sub(judged.undecided.len());
            self.progress.tell(wire).await?;
        }
        for depth in [Depth::Size, Depth::Header, Depth::Body] {
            if !query.reads(depth) {
                continue;
            }
            if depth >= Depth::Header {
                self.drop_others(selected, &query, &mut judged.undecided).await?;
            }
            let uids = std::mem::take(&mut judged.undecided);
            let mut rest = uids.as_slice();
            while !rest.is_empty() && !self.limit.is_spent() {
                let batch = rest.get(..rest.len().min(MESSAGES)).unwrap_or(rest);
                let (candidates, looked_for) = self.read(selected, &query, batch, depth, &mut claim).await?;
                rest = rest.get(looked_for.max(1)..).unwrap_or_default();
                self.judge(wire, &query, candidates, &mut judged).await?;
                let left = rest.len().saturating_add(judged.undecided.len());
                self.progress.done = done + seen.saturating_sub(left);
                self.progress.tell(wire).await?;
            }
        }
        if self.limit.is_spent() {
            return Err(Reply::no("search is too expensive, use fewer keys").code(Code::Limit).into());
        }
        self.progress.done = done + seen;
        let expunged = selected.expunged();
        judged.found.retain(|uid| !expunged.contains(uid));
        judged.found.sort_unstable();
        Ok(judged.found)
    }

    /// Removes messages that cannot match by the search index. Where it would find more than half of them, they are all read.
    async fn drop_others(
        &self,
        selected: &SelectedMailbox,
        query: &Query,
        undecided: &mut Vec<u32>,
    ) -> Result<(), StoreError> {
        let (Some(terms), limit) = (query.terms(), undecided.len() / 2) else { return Ok(()) };
        let wanted: Vec<Grams> = terms.into_iter().map(|all| Grams::of_terms(all, false)).collect();
        let (account, inbox) = (&self.login.account, &self.login.inbox);
        let found = self.server.store.mailbox_candidates(account, inbox, selected.mailbox, wanted, limit).await?;
        if let Some(found) = found {
            undecided.retain(|uid| found.binary_search(uid).is_ok());
        }
        Ok(())
    }

    /// Messages, and for how many of the UIDs they were looked for.
    async fn read(
        &self,
        selected: &SelectedMailbox,
        query: &Query,
        uids: &[u32],
        depth: Depth,
        claim: &mut Claim,
    ) -> Result<(Vec<Candidate>, usize), Stop> {
        let (mut messages, mut looked_for) = self.fetch(selected, uids, depth, claim).await?;
        // A large body ends its batch.
        if let Some(large) = messages.iter().position(Fetched::lacks_body) {
            messages.truncate(large + 1);
        }
        if let Some(last) = messages.last_mut()
            && last.lacks_body()
        {
            looked_for = uids.partition_point(|uid| *uid <= last.flags.uid);
            let needed = last.body_size.saturating_mul(TEXT_FACTOR);
            if claim.wait_to_grow(needed, PATIENCE).await.is_err() {
                return Err(no_memory().into());
            }
            let (store, inbox, whole) = (&self.server.store, &self.login.inbox, 0..last.body_size);
            last.body = store.body_range(inbox, selected.mailbox, last.flags.uid, whole).await?.unwrap_or_default();
        }
        let mut ids = Vec::new();
        if query.needs_ids() {
            let uids = messages.iter().map(|message| message.flags.uid).collect();
            ids = self.server.store.messages_object_ids(&self.login.inbox, selected.mailbox, uids).await?;
        }
        let candidate = |message: Fetched| {
            let at = ids.binary_search_by_key(&message.flags.uid, |ids| ids.uid);
            Candidate::of_store(message, at.ok().and_then(|at| ids.get(at).cloned()), depth, selected)
        };
        Ok((messages.into_iter().map(candidate).collect(), looked_for))
    }

    /// Messages as they are in the store, without large bodies, and for how many of the UIDs they were looked for.
    pub async fn fetch(
        &self,
        selected: &SelectedMailbox,
        uids: &[u32],
        depth: Depth,
        claim: &mut Claim,
    ) -> Result<(Vec<Fetched>, usize), Stop> {
        let (store, inbox) = (&self.server.store, &self.login.inbox);
        let (messages, looked_for) =
            store.messages_fetch(inbox, selected.mailbox, uids.to_vec(), depth, OCTETS).await?;
        let of_damaged: Vec<u32> = messages.iter().filter(|m| m.is_damaged).map(|m| m.flags.uid).collect();
        if !of_damaged.is_empty() {
            return Err(damaged(&of_damaged).into());
        }
        if !claim_memory(claim, &messages) {
            return Err(no_memory().into());
        }
        Ok((messages, looked_for))
    }

    /// Sorts messages into those that match and those that need more to be read.
    async fn judge(
        &self,
        wire: &mut Wire,
        query: &Arc<Query>,
        candidates: Vec<Candidate>,
        judged: &mut Judged,
    ) -> Result<(), Stop> {
        let texts: usize = candidates.iter().map(Candidate::whole_size).sum();
        let keys = candidates.len().saturating_mul(query.keys()).saturating_mul(work_limit::KEY);
        let (query, limit) = (Arc::clone(query), Arc::clone(&self.limit));
        let work = self.server.reading.read(&self.owner, texts.saturating_add(keys), move |reader, budget| {
            let meter = Meter { limit: &limit, budget };
            let judge = |mut candidate: Candidate| {
                candidate.begin(reader);
                (candidate.uid(), query.matches(&candidate, meter))
            };
            let verdicts: Vec<_> = candidates.into_iter().map(judge).collect();
            budget.check().map(|()| verdicts)
        });
        let verdicts: Result<_, WorkError> = wire.watch(work).await?;
        for (uid, verdict) in verdicts? {
            match verdict {
                Some(true) => judged.found.push(uid),
                Some(false) => {}
                None => judged.undecided.push(uid),
            }
        }
        Ok(())
    }
}
