//! `/healthz`: 200 while the store can be read, for service managers. `/readyz`: 200 while clients should be sent here, for load
//! balancers: the store takes writes, and the daemon is not about to stop.

use super::Context;
use super::caller::Caller;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::store::Store;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

/// For the store to take a write.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// One write tells for so long whether the store takes writes, however often somebody asks.
const VALID: Duration = Duration::from_secs(1);

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Whether the store can be read
///
/// For service managers; needs no token.
#[utoipa::path(get, path = "/healthz", tag = "Service", security(()), responses((status = 200, body = Health)))]
pub(super) async fn show(State(context): Context) -> Result<Json<Health>, Problem> {
    context.store.account_list(None, 1).await?;
    Ok(Json(Health { status: "ok" }))
}

/// Whether clients should be sent here
///
/// For load balancers: the store takes writes, and the daemon is not about to stop. Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "Service", security(()), responses((status = 200, body = Health)))]
pub(super) async fn ready(State(context): Context) -> Result<Json<Health>, Problem> {
    match context.readiness.is_ready().await {
        true => Ok(Json(Health { status: "ready" })),
        false => Err(Problem::unavailable()),
    }
}

/// What the daemon's check of its own DNS has found.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = SelfCheck)]
pub struct SelfCheck {
    /// Null until the first check has ended.
    pub checked_at: Option<Timestamp>,
    /// What is wrong, each with what to do.
    pub warnings: Vec<String>,
}

/// What the last self-check has found
///
/// For operators. After its start the daemon checks the DNS of the platform's domain, of its own name and of the DKIM zone.
#[utoipa::path(
    get, path = "/api/v1/self_check", tag = "Queue and operation", responses((status = 200, body = SelfCheck))
)]
pub(super) async fn self_check(caller: Caller, State(context): Context) -> Result<Json<SelfCheck>, Problem> {
    caller.operator()?;
    Ok(Json(context.readiness.self_check()))
}

/// Whether load balancers should send clients here, and what the daemon knows of its own DNS. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    store: Store,
    is_ending: Arc<AtomicBool>,
    /// When the store was tried last, and whether it took the write.
    tried: Arc<Mutex<Option<(Instant, bool)>>>,
    self_check: Arc<std::sync::Mutex<SelfCheck>>,
}

impl Readiness {
    pub fn new(store: Store) -> Self {
        Self { store, is_ending: Arc::default(), tried: Arc::default(), self_check: Arc::default() }
    }

    /// From now on not ready: the daemon is about to stop.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Notes what a self-check has found.
    pub fn self_checked(&self, found: SelfCheck) {
        *self.self_check.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn self_check(&self) -> SelfCheck {
        self.self_check.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn is_ready(&self) -> bool {
        if self.is_ending.load(Ordering::Relaxed) {
            return false;
        }
        let mut tried = self.tried.lock().await;
        if let Some((_, writes)) = tried.filter(|(at, _)| at.elapsed() < VALID) {
            return writes;
        }
        let writes = match timeout(STORE_TIMEOUT, self.store.probe_writer()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the store takes no writes");
                false
            }
            Err(_) => {
                tracing::warn!("not ready: the store took no write within {} s", STORE_TIMEOUT.as_secs());
                false
            }
        };
        *tried = Some((Instant::now(), writes));
        writes
    }
}
