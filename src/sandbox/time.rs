//! `POST /sandbox/clock`: time goes on as fast as the work in it allows.
//!
//! Invariant: what falls due on the way is done in the order of its time, at its time; so a window of three days passes
//! as it would, check by check. Only the clock of timers and statuses moves: messages and certificates read real time.

use super::SandboxError;
use super::body::Body;
use super::verbs::failed;
use super::world::World;
use crate::clock::Timestamp;
use crate::http::Problem;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Ten years: what is longer is a mistake.
const MAX_ADVANCE_SECONDS: u64 = 10 * 366 * 24 * 3600;

/// Past what is due and does not get done.
const FIRST_STEP: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advance {
    advance_seconds: u64,
}

pub(super) async fn advance(State(world): State<World>, Body(request): Body<Advance>) -> Result<Json<Value>, Problem> {
    if request.advance_seconds > MAX_ADVANCE_SECONDS {
        let message = format!("{} is over ten years: advance in smaller steps", request.advance_seconds);
        return Err(Problem::invalid_field("advance_seconds", message));
    }
    // A task of its own: a client that goes away does not stop time halfway.
    let moved = tokio::spawn(async move { advance_by(&world, request.advance_seconds).await });
    let now = moved.await.map_err(|error| failed(SandboxError::Interrupted(error.to_string())))?.map_err(failed)?;
    Ok(Json(json!({"now": now})))
}

async fn advance_by(world: &World, seconds: u64) -> Result<Timestamp, SandboxError> {
    let _moving = world.moving.lock().await;
    // Before the work: after a crash in the midst of it, time does not run backward.
    let ahead = world.state.clock_ahead_seconds().saturating_add(seconds);
    world.state.set_clock_ahead(ahead).await?;
    let clock = &world.services.clock;
    pass(world, clock.now().after(Duration::from_secs(seconds))).await;
    Ok(clock.now())
}

/// Lets time pass up to `target`.
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
            // Due and yet not done: somebody holds it. Time goes on all the same, faster and faster.
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

/// Everything that is due is done, and what follows from it: a domain that is verified lets mail go.
async fn settle(world: &World) {
    if let Err(error) = world.services.verifier.settle().await {
        tracing::error!(%error, "the checks that are due could not be run");
    }
    if let Err(error) = world.services.rotation.settle().await {
        tracing::error!(%error, "the keys that are due could not be looked at");
    }
    world.services.queue.settle().await;
}

async fn next_due(world: &World) -> Option<Timestamp> {
    let check = world.services.verifier.next_due().await;
    let check = check.inspect_err(|error| tracing::error!(%error, "the verifier could not be asked")).ok().flatten();
    let keys = world.services.rotation.next_due().await;
    let keys = keys.inspect_err(|error| tracing::error!(%error, "the keys could not be asked for")).ok().flatten();
    [check, keys, world.services.queue.next_due().await].into_iter().flatten().min()
}
