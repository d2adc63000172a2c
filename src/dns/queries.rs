//! The queries of one observation: each is sent to a server once, however many callers need the answer. Invariant: a
//! query is a server, a role, a name and a type; its answer does not change within an observation, and is a timeout
//! after the deadline. The number of queries is bounded, so that a tenant's domain cannot make this daemon flood
//! others.

use super::Resolver;
use super::exchange::{QueryOptions, Referral, ask, refer};
use super::progress::Progress;
use super::query_limiter::Role;
use crate::verification::bounds;
use crate::verification::observed::{Answer, Indefinite, RecordType};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

/// Answers by query, received or pending.
type Cache<Q, A> = Mutex<HashMap<Q, Arc<OnceCell<A>>>>;

#[derive(Debug)]
pub(super) struct Queries<'a> {
    pub(super) resolver: &'a Resolver,
    deadline: Instant,
    random_label: String,
    options: QueryOptions,
    left: AtomicUsize,
    progress: &'a Progress,
    answers: Cache<(SocketAddr, Role, String, RecordType), Answer>,
    referrals: Cache<(SocketAddr, String), Referral>,
}

impl<'a> Queries<'a> {
    /// `wanted` are the expected values.
    pub(super) fn new(resolver: &'a Resolver, deadline: Instant, wanted: Vec<String>, progress: &'a Progress) -> Self {
        let options = QueryOptions::of(wanted);
        let left = AtomicUsize::new(bounds::QUESTIONS);
        let random_label = format!("x{:016x}", RandomState::new().build_hasher().finish());
        let (answers, referrals) = Default::default();
        Self { resolver, deadline, random_label, options, left, progress, answers, referrals }
    }

    /// A random sibling name that no cache has: an answer for it comes from a wildcard.
    pub(super) fn beside(&self, name: &str) -> Option<String> {
        name.split_once('.').map(|(_, rest)| format!("{}.{rest}", self.random_label))
    }

    pub(super) async fn ask(&self, server: SocketAddr, role: Role, name: &str, record_type: RecordType) -> Answer {
        let name = name.to_ascii_lowercase();
        let cell = of(&self.answers, (server, role, name.clone(), record_type));
        let answer = cell.get_or_init(|| async {
            if !self.may_ask() {
                return Answer::indefinite(Indefinite::TooMany, Some(server));
            }
            let (limiter, timeout) = (self.resolver.limiter(), self.resolver.timeout());
            let answer = ask(limiter, server, role, &name, record_type, timeout, &self.options);
            let late = |_| Answer::indefinite(Indefinite::Timeout, Some(server));
            self.progress.sent((role == Role::Authoritative).then_some(server));
            let answer = timeout_at(self.deadline, answer).await.unwrap_or_else(late);
            self.progress.answered();
            answer
        });
        answer.await.clone()
    }

    /// Counts a query; false if the limit is reached.
    fn may_ask(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The referral of a server for a zone.
    pub(super) async fn refer(&self, server: SocketAddr, zone: &str) -> Referral {
        let cell = of(&self.referrals, (server, zone.to_owned()));
        let referrals = cell.get_or_init(|| async {
            if !self.may_ask() {
                return Referral::default();
            }
            let (limiter, timeout) = (self.resolver.limiter(), self.resolver.timeout());
            self.progress.sent(None);
            let referral = timeout_at(self.deadline, refer(limiter, server, zone, timeout, &self.options)).await;
            self.progress.answered();
            referral.unwrap_or_default()
        });
        referrals.await.clone()
    }

    /// The resolvers' answer: the first definite one, in order.
    pub(super) async fn look_up(&self, name: &str, record_type: RecordType) -> Answer {
        self.look_up_as(Role::Recursive, name, record_type).await
    }

    /// The same, falling back to unvalidated answers. Used to find servers, never to decide.
    pub(super) async fn find_out(&self, name: &str, record_type: RecordType) -> Answer {
        match self.look_up(name, record_type).await {
            Answer::Indefinite { reason: Indefinite::ServFail, .. } => {
                self.look_up_as(Role::Unvalidated, name, record_type).await
            }
            answer => answer,
        }
    }

    async fn look_up_as(&self, role: Role, name: &str, record_type: RecordType) -> Answer {
        let mut last = Answer::indefinite(Indefinite::NoServer, None);
        for server in self.resolver.servers() {
            last = self.ask(*server, role, name, record_type).await;
            if last.is_definite() {
                break;
            }
        }
        last
    }
}

fn of<Q: Eq + Hash, A>(all: &Cache<Q, A>, question: Q) -> Arc<OnceCell<A>> {
    Arc::clone(all.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default())
}
