//! `POST /sandbox/clock`: advances the clock as fast as the due work allows. Invariant: work that falls due on the way
//! runs in time order, at its time; a window of three days passes check by check. Only the clock of timers and
//! statuses moves: messages and certificates use real time.

use super::SandboxError;
use super::body::Body;
use super::world::World;
use crate::clock::Timestamp;
use crate::http::Problem;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Ten years: a longer advance is a mistake.
const MAX_ADVANCE_SECONDS: u64 = 10 * 366 * 24 * 3600;

/// The first step past work that is due but does not get done.
const FIRST_STEP: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advance {
    advance_seconds: u64,
}

/// The time of the clock.
pub(super) async fn show(State(world): State<World>) -> Json<Value> {
    Json(json!({"now": world.services.clock.now()}))
}

pub(super) async fn advance(State(world): State<World>, Body(request): Body<Advance>) -> Result<Json<Value>, Problem> {
    if request.advance_seconds > MAX_ADVANCE_SECONDS {
        let message = format!("{} is over ten years: advance in smaller steps", request.advance_seconds);
        return Err(Problem::invalid_field("advance_seconds", message));
    }
    // In a separate task, so that a disconnecting client does not stop the clock halfway.
    let moved = tokio::spawn(async move { advance_by(&world, request.advance_seconds).await });
    let now = moved.await.map_err(|error| SandboxError::Interrupted(error.to_string()))??;
    Ok(Json(json!({"now": now})))
}

async fn advance_by(world: &World, seconds: u64) -> Result<Timestamp, SandboxError> {
    let _moving = world.moving.lock().await;
    // Stored before the work, so that time does not run backward after a crash.
    let ahead = world.state.clock_ahead_seconds().saturating_add(seconds);
    world.state.set_clock_ahead(ahead).await?;
    let clock = &world.services.clock;
    pass(world, clock.now().after(Duration::from_secs(seconds))).await;
    Ok(clock.now())
}

/// Advances the clock to `target`.
async fn pass(world: &World, target: Timestamp) {
    let clock = &world.services.clock;
    let mut step = FIRST_STEP;
    loop {
        settle(world).await;
        let Some(due) = next_due(world).await else { break };
        let now = clock.now();
        let next = if due > now {
            step = FIRST_STEP;
            due
        } else {
            // Due but leased by someone: advance anyway, in growing steps.
            step = step.saturating_mul(2);
            now.after(step)
        };
        if next > target {
            break;
        }
        clock.advance_to(next);
    }
    clock.advance_to(target);
    settle(world).await;
}

/// Runs everything due and what follows from it: mail waiting for a domain leaves once the domain is verified.
async fn settle(world: &World) {
    world.services.verifier.settle().await;
    world.services.rotation.settle().await;
    world.services.queue.settle().await;
    world.services.webhooks.settle().await;
}

async fn next_due(world: &World) -> Option<Timestamp> {
    let services = &world.services;
    let (check, rotation) = (services.verifier.next_due().await, services.rotation.next_due().await);
    let (queue, webhooks) = (services.queue.next_due().await, services.webhooks.next_due().await);
    [check, rotation, queue, webhooks].into_iter().flatten().min()
}
