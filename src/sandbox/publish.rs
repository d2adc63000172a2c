//! `POST /sandbox/domains/{id}/publish`: what the owner of a custom domain would do at a DNS provider.

use super::state::RecordSet;
use super::verbs::{failed, refused};
use super::world::World;
use crate::dns::authority::play::Kind;
use crate::http::Problem;
use crate::id::DomainId;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

/// Of what is published here, in seconds.
const TTL: u32 = 5;

/// Publishes all records of the claim, in place of what stood there; other texts beside SPF stay.
pub(super) async fn publish(State(world): State<World>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id: DomainId = id.parse().map_err(|_| Problem::not_found())?;
    let claim = world.services.store.claim_to_publish(&id).await?.ok_or_else(Problem::not_found)?;
    let template = world.template();
    let mut sets = Vec::new();
    for record in template.records(&claim.domain, &claim.tokens, claim.ownership.as_deref()) {
        let kind = Kind::parse(record.record_type.as_str()).map_err(refused)?;
        let value = match record.priority {
            Some(priority) => format!("{priority} {}", record.value),
            None => record.value,
        };
        let mut values = vec![value];
        if kind == Kind::Txt {
            let tag = |text: &str| text.split([' ', ';']).next().unwrap_or_default().to_ascii_lowercase();
            let new = values.first().map(|v| tag(v)).unwrap_or_default();
            values.extend(world.state.values(&record.name, kind).into_iter().filter(|old| tag(old) != new));
        }
        world.play.set(&record.name, kind, &values, TTL).map_err(refused)?;
        sets.push((record.name, kind, RecordSet { values, ttl: TTL }));
    }
    let shown: Vec<Value> = sets
        .iter()
        .map(|(name, kind, set)| json!({"name": name, "type": kind.to_string(), "values": set.values, "ttl": set.ttl}))
        .collect();
    world
        .state
        .note_records(sets.into_iter().map(|(name, kind, set)| (name, kind, Some(set))))
        .await
        .map_err(failed)?;
    Ok(Json(json!({"published": shown})))
}
