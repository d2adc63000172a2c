//! The daemon's health and what its self-check has found; the zone of the DKIM keys.

use super::{only_operators, tabs};
use crate::web::api::{service, to};
use crate::web::layout::{Section, page};
use crate::web::parts::{copyable, status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct SelfCheck {
    checked_at: Option<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    zone: String,
    zone_file: String,
}

#[derive(Debug, Deserialize)]
struct Health {
    status: String,
}

/// `ok`, `ready`, or what the refusal says.
async fn probe(session: &Session, path: &'static str) -> (bool, String) {
    match session.api.get::<Health>(service(path)).await {
        Ok(health) => (true, health.status),
        Err(refusal) => (false, refusal.detail().to_owned()),
    }
}

pub(super) async fn show(session: Session) -> Result<Markup, Refusal> {
    only_operators(&session)?;
    let found: SelfCheck = session.api.get(to(["self_check"])).await?;
    let states = [
        ("The store can be read", "/healthz", probe(&session, "/healthz").await),
        ("It accepts writes and connections", "/readyz", probe(&session, "/readyz").await),
    ];
    let body = html! {
        h1 { "Health" }
        (tabs("/operator/health"))
        section .card .stack aria-labelledby="daemon" {
            h2 id="daemon" { "This daemon" }
            dl .facts {
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                @for (what, path, (is_good, answer)) in &states {
                    dt { (what) } dd { (status(if *is_good { "ok" } else { "failed" })) " " (answer) " " span .hint { (path) } }
                }
            }
        }
        section .card .stack aria-labelledby="self-check" {
            h2 id="self-check" { "Self-check of the DNS" }
            @match &found.checked_at {
                None => p { "No check has completed yet. The daemon runs one at each start; the sandbox runs none." },
                Some(at) => p .hint { "Checked " (time(at)) ". It is made after each start." },
            }
            @if found.checked_at.is_some() && found.warnings.is_empty() {
                p { (status("ok")) " The platform's domain, this host's name and the DKIM zone agree." }
            }
            ul .plain .stack { @for warning in &found.warnings { li .notice .warn { p { (warning) } } } }
        }
    };
    Ok(page(&session, Some(Section::Operator), "Health", &body))
}

pub(super) async fn zone(session: Session) -> Result<Markup, Refusal> {
    only_operators(&session)?;
    let zone = match session.api.get::<Zone>(to(["dkim_zone"])).await {
        Ok(zone) => Ok(zone),
        // The keys are at the provider.
        Err(refusal) if refusal.is_of_input() => Err(refusal),
        Err(refusal) => return Err(refusal),
    };
    let body = html! {
        h1 { "DKIM zone" }
        (tabs("/operator/dkim"))
        @match &zone {
            Ok(zone) => {
                p { "The records of the zone " (copyable(&zone.zone, "the zone")) ", for a name server of yours. The daemon serves the same where "
                    code { "[dkim] listen" } " is set." }
                p { button .copy type="button" data-copy=(zone.zone_file) { "Copy the zone file" } }
                pre tabindex="0" role="region" aria-label="Zone file" { (zone.zone_file) }
            },
            Err(refusal) => div .notice .warn { p { (refusal.detail()) } p { (refusal.fix()) } },
        }
    };
    Ok(page(&session, Some(Section::Operator), "DKIM zone", &body))
}
