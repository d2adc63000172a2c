//! The REST API: JSON over HTTP, one file per noun, all paths in [`router`](mod@router). For every route: errors are
//! problem documents with a stable code (RFC 9457); what another account owns gets the same response as what
//! does not exist; unknown fields and parameters are errors that name them; nothing is cached; times are RFC 3339 in
//! UTC; lists are paginated. Invariant: after a 2xx response the change is on disk. RFC 9110.

mod access;
mod accounts;
mod aliases;
mod body;
mod caller;
mod client_id;
mod compose;
mod cors;
mod custom_domains;
mod dkim_keys;
mod dkim_zone;
mod document;
mod domain_check;
mod domain_history;
mod drafts;
mod email_threads;
mod emails;
mod events;
mod exchange;
mod fields;
mod forwarded;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/http.rs"]
pub(crate) mod fuzz;
mod health;
mod idempotency;
mod inbox_view;
mod inboxes;
mod log_in;
mod mailbox_labels;
mod mailboxes;
mod notification_tokens;
mod permission;
mod problem;
mod protected;
mod query;
mod queue;
mod rate_limit;
mod reply;
mod router;
mod send;
mod sending_identity;
mod serve;
mod statistics;
mod tokens;
mod users;
mod version;
mod webhook_deliveries;
mod webhooks;

pub use events::Streams;
pub use health::{Readiness, SelfCheck};
pub use permission::{MCP, needed};
pub use problem::{FieldError, Problem};
pub use protected::behind_token;
pub use router::{document, router};
pub use serve::serve;

use crate::auth::login::Authenticator;
use crate::auth::passwords::Passwords;
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::dkim::Links;
use crate::events::Events;
use crate::id::AccountId;
use crate::mailbox::MailboxService;
use crate::public_events::PublicEvents;
use crate::queue::Queue;
use crate::rates::{Hourly, Limit};
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::spool::Spool;
use crate::rotation::Rotation;
use crate::store::Store;
use crate::submission::Submission;
use crate::webhooks::Webhooks;
use axum::extract::{Path, State};
use caller::Caller;
use std::sync::Arc;

/// The services that the routes call.
#[derive(Clone, Debug)]
pub struct HttpContext {
    pub config: Arc<Config>,
    pub store: Store,
    pub mailboxes: MailboxService,
    pub clock: Clock,
    /// Notifies sessions of revocations and deletions.
    pub events: Events,
    pub authenticator: Authenticator,
    pub registry: Registry,
    pub public_events: PublicEvents,
    pub streams: Streams,
    pub rotation: Rotation,
    pub submission: Submission,
    pub queue: Queue,
    pub webhooks: Webhooks,
    /// Holds incoming bodies, within the memory budget.
    pub spool: Spool,
    /// Reads messages off the async workers.
    pub reading: Reading,
    /// To attachments.
    pub links: Links,
    /// Inboxes, aliases and tokens created per account and hour.
    pub creations: Arc<Hourly<AccountId, 1>>,
    /// Of users.
    pub passwords: Passwords,
    /// What `/readyz` shows.
    pub readiness: Readiness,
}

/// The services, as handlers take them.
type Context = State<HttpContext>;
/// The id in a path.
type Id = Path<String>;

impl HttpContext {
    /// Limits how many inboxes, aliases and API tokens an account creates per hour.
    pub fn creations(limits: &Limits, store: &Store) -> Arc<Hourly<AccountId, 1>> {
        let what = "inboxes, aliases and API tokens";
        let limit = Limit { key: "creations_per_hour", what, limit: limits.creations_per_hour };
        Arc::new(Hourly::new([limit], store))
    }

    /// 429 if the account has reached its hourly limit of new inboxes, aliases and API tokens.
    async fn count_creation(&self, caller: &Caller, account: &AccountId) -> Result<(), Problem> {
        let now = self.clock.now();
        let charged = self.creations.charge(account.clone(), [1], now).await;
        let _ = caller.charged.set(self.creations.quotas(account, now).to_vec());
        charged
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
