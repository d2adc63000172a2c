//! The REST API: JSON over HTTP, one file per noun, all of its paths in [`router`](mod@router).
//!
//! Rules for every route: problems are `application/problem+json` with a stable code (RFC 9457); what another account
//! owns is answered like what does not exist; unknown fields and parameters are errors with their name; nothing is cached;
//! times are RFC 3339 in UTC; lists come in pages. Invariant: a request that was answered 2xx has done, on disk, what it
//! says. RFC 9110.

mod accounts;
mod aliases;
mod body;
mod caller;
mod compose;
mod custom_domains;
mod dkim_keys;
mod dkim_zone;
mod domain_history;
mod fields;
mod forwarded;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/http.rs"]
pub(crate) mod fuzz;
mod health;
mod inboxes;
mod messages;
mod problem;
mod query;
mod queue;
mod reply;
mod router;
mod send;
mod sending_identity;
mod serve;
mod tokens;

pub use problem::{FieldError, Problem};
pub use router::router;
pub use serve::serve;

use crate::auth::login::Authenticator;
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::events::Events;
use crate::id::AccountId;
use crate::net::hourly::{Exceeded, Hourly};
use crate::queue::Queue;
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::spool::Spool;
use crate::rotation::Rotation;
use crate::store::Store;
use crate::submission::Submission;
use std::sync::Arc;

/// The services the routes call.
#[derive(Clone, Debug)]
pub struct HttpContext {
    /// The configuration.
    pub config: Arc<Config>,
    /// The store.
    pub store: Store,
    /// The clock of timers and statuses.
    pub clock: Clock,
    /// Who must hear of revocations and deletions.
    pub events: Events,
    /// Who is calling.
    pub authenticator: Authenticator,
    /// Custom domains.
    pub registry: Registry,
    /// Whose key signs.
    pub rotation: Rotation,
    /// Where messages go out.
    pub submission: Submission,
    /// Where they wait.
    pub queue: Queue,
    /// Where bodies are while they come in, and the budget of memory.
    pub spool: Spool,
    /// Where messages are taken apart.
    pub reading: Reading,
    /// What each account has made in the hour.
    pub creations: Arc<Hourly<AccountId, 1>>,
}

impl HttpContext {
    /// What counts the inboxes, aliases and API tokens that an account makes.
    pub fn creations(limits: &Limits) -> Arc<Hourly<AccountId, 1>> {
        Arc::new(Hourly::new([("inboxes, aliases and API tokens", limits.creations_per_hour)]))
    }

    /// 429 when the account has made as many inboxes, aliases and API tokens in this hour as it may.
    fn count_creation(&self, account: &AccountId) -> Result<(), Problem> {
        self.creations.charge(account.clone(), [1], self.clock.now()).map_err(
            |Exceeded { what, limit, retry_after }| {
                Problem::too_many(
                    format!("The account has made {limit} {what} in this hour, which is the limit."),
                    retry_after,
                )
            },
        )
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
