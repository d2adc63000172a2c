//! `POST /sandbox/domains/{id}/publish`: does what the owner of a custom domain would do at a DNS provider. Invariant:
//! afterwards every record of the claim is valid, and publishing again changes nothing. Valid records stay, there is
//! one SPF record, and nothing exists beside a CNAME (RFC 1034 §3.6.2, RFC 7208 §3.2).

use super::state::RecordSet;
use super::world::World;
use crate::clock::Timestamp;
use crate::dns::authority::play::Kind;
use crate::http::Problem;
use crate::id::DomainId;
use crate::verification::judge::{Observation, RecordStatus, judge};
use crate::verification::observed::{Answer, RecordData, RecordType};
use crate::verification::records::{Expected, Purpose};
use crate::verification::spf::{Record, is_spf, merge};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// TTL of published records in seconds.
const TTL: u32 = 5;

/// Publishes all records of the claim, replacing what conflicts with them.
pub(super) async fn publish(State(world): State<World>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id: DomainId = id.parse().map_err(|_| Problem::not_found())?;
    let claim = world.services.store.domain_of_anyone(&id).await?.ok_or_else(Problem::not_found)?;
    let (mut changes, mut shown) = (Vec::new(), Vec::new());
    for record in world.services.verifier.rules().expected(&claim) {
        let kind = Kind::parse(record.record_type.into())?;
        let values = wanted(&record, world.state.values(&record.name, kind));
        for other in Kind::ALL.into_iter().filter(|other| *other != kind && [kind, *other].contains(&Kind::Cname)) {
            if world.play.remove(&record.name, other)? {
                changes.push((record.name.clone(), other, None));
            }
        }
        world.play.set(&record.name, kind, &values, TTL)?;
        shown.push(json!({"name": record.name, "type": kind.to_string(), "values": values, "ttl": TTL}));
        changes.push((record.name, kind, Some(RecordSet { values, ttl: TTL })));
    }
    world.state.note_records(changes).await?;
    Ok(Json(json!({"published": shown})))
}

/// The values that a record set should have, given its current values `old`.
fn wanted(record: &Expected, old: Vec<String>) -> Vec<String> {
    let value = match record.priority {
        Some(priority) => format!("{priority} {}", record.value),
        None => record.value.clone(),
    };
    let (same, mut kept) = match record.record_type {
        RecordType::Txt if is_right(record, &old) => return old,
        RecordType::Txt => old.into_iter().partition::<Vec<_>, _>(|text| is_for_the_same(record, text)),
        _ => return vec![value],
    };
    let readable: Vec<&str> = same.iter().map(String::as_str).filter(|text| Record::parse(text).is_ok()).collect();
    let value = match record.purpose {
        Purpose::Spf | Purpose::ReturnPathSpf if !readable.is_empty() => merge(&readable, &value),
        _ => value,
    };
    kept.insert(0, value);
    kept
}

/// True if the verifier finds no fault in these texts.
fn is_right(record: &Expected, texts: &[String]) -> bool {
    if texts.is_empty() {
        return false;
    }
    let answer = Answer::Found {
        records: texts.iter().cloned().map(RecordData::Txt).collect(),
        aliases: Vec::new(),
        ttl: Duration::from_secs(TTL.into()),
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, 53)),
        authenticated: false,
    };
    let evidence = judge(record, std::slice::from_ref(record), &Observation::of(answer), Timestamp::real());
    evidence.status == RecordStatus::Valid && evidence.error.is_none()
}

/// True for a text that this record replaces because there may be only one.
fn is_for_the_same(record: &Expected, text: &str) -> bool {
    let tag = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match record.purpose {
        Purpose::Dmarc => tag(text) == tag(&record.value),
        Purpose::Spf | Purpose::ReturnPathSpf => is_spf(text),
        Purpose::Dkim | Purpose::Mx | Purpose::Ownership | Purpose::ReturnPath => false,
    }
}

#[cfg(test)]
mod tests;
