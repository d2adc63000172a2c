//! What is read of a domain, and the frame of its pages.

use crate::auth::login::Permissions;
use crate::web::api::to;
use crate::web::layout::{Section, page};
use crate::web::parts::status;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Domain {
    pub(super) id: String,
    pub(super) domain: String,
    pub(super) verified_status: String,
    pub(super) capabilities: Capabilities,
    pub(super) verdict: String,
    pub(super) warnings: Vec<Warning>,
    pub(super) records: Vec<Record>,
    pub(super) name_servers: Vec<String>,
    pub(super) dns_provider: DnsProvider,
    pub(super) catch_all_inbox_id: Option<String>,
    pub(super) return_path: Option<String>,
    pub(super) is_default: bool,
    pub(super) on_unverified: String,
    pub(super) degraded_since: Option<String>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) last_checked_at: Option<String>,
    pub(super) next_check_at: Option<String>,
    pub(super) window_ends_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Capabilities {
    pub(super) sending: bool,
    pub(super) receiving: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) message: String,
    pub(super) hosts: Vec<String>,
    pub(super) subdomain: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DnsProvider {
    pub(super) name: Option<String>,
    pub(super) steps: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) purpose: String,
    #[serde(rename = "type")]
    pub(super) record_type: String,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) priority: Option<u16>,
    pub(super) required: bool,
    /// Left out of the history.
    pub(super) entry: Option<Entry>,
    pub(super) status: String,
    pub(super) observed: Vec<String>,
    pub(super) observed_name: Option<String>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) host: String,
    pub(super) value: String,
    pub(super) priority: Option<u16>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Evidence {
    pub(super) value: Option<String>,
    pub(super) server: Option<String>,
    pub(super) name: Option<String>,
    pub(super) ttl: Option<u64>,
    pub(super) authoritative: bool,
    pub(super) answer: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fault {
    pub(super) code: String,
    pub(super) message: String,
    /// Of a cause in the history these may be missing.
    #[serde(default)]
    pub(super) fix: String,
    pub(super) fix_value: Option<String>,
    pub(super) expected_visible_at: Option<String>,
}

pub(super) async fn read(session: &Session, id: &str) -> Result<Domain, Refusal> {
    session.api.get(to(["custom_domains", id])).await
}

/// What a page shows of a domain, so that one that was made before a change gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) status: String,
    pub(super) checked_at: Option<String>,
    updated_at: String,
    degraded_since: Option<String>,
}

impl Shown {
    pub(super) fn of(domain: &Domain) -> Self {
        Self {
            status: domain.verified_status.clone(),
            checked_at: domain.last_checked_at.clone(),
            updated_at: domain.updated_at.clone(),
            degraded_since: domain.degraded_since.clone(),
        }
    }

    /// Another one whenever something else is shown.
    pub(super) fn name(&self) -> String {
        blake3::hash(format!("{self:?}").as_bytes()).to_hex().chars().take(16).collect()
    }
}

/// The pages of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Records,
    Checks,
    Changes,
    Keys,
    Settings,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Records, "", "Records"),
        (Self::Checks, "/checks", "Checks"),
        (Self::Changes, "/events", "Status changes"),
        (Self::Keys, "/keys", "DKIM keys"),
        (Self::Settings, "/settings", "Settings"),
    ];
}

/// A page of a domain: where it is, its name and status, the links to its other pages.
pub(super) fn framed(session: &Session, domain: &Domain, tab: Option<Tab>, actions: &Markup, body: &Markup) -> Markup {
    let here = Tab::ALL.iter().find(|(one, ..)| Some(*one) == tab).map_or("", |(_, _, title)| title);
    let title = if here.is_empty() { domain.domain.clone() } else { format!("{}: {here}", domain.domain) };
    let may_change = session.may(Permissions::DOMAINS_WRITE);
    let tabs = Tab::ALL.iter().filter(|(one, ..)| may_change || *one != Tab::Settings);
    let body = html! {
        nav .crumbs aria-label="Breadcrumb" { a href="/domains" { "Domains" } " › " bdi { (domain.domain) } }
        div .head {
            div .domain-title {
                h1 { bdi { (domain.domain) } @if !here.is_empty() { span .visually-hidden { ": " (here) } } }
                span id="badge" sse-swap=[(tab == Some(Tab::Records)).then_some("badge")] { (status(&domain.verified_status)) }
            }
            div .actions { (actions) }
        }
        nav .domain-nav aria-label="Domain" {
            ul {
                @for (one, path, name) in tabs {
                    li { a href={"/domains/" (domain.id) (path)} aria-current=[(Some(*one) == tab).then_some("page")] { (name) } }
                }
            }
        }
        (body)
    };
    // Its status part follows the domain while the page is open.
    let body = match tab {
        Some(Tab::Records) => html! {
            div .live hx-ext="sse" sse-connect={"/domains/" (domain.id) "/live?seen=" (Shown::of(domain).name())} { (body) }
        },
        _ => body,
    };
    page(session, Some(Section::Domains), &title, &body)
}
