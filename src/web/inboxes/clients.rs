//! The settings of mail clients for an inbox, to copy and to download.

use super::{Inbox, inbox};
use crate::web::WebContext;
use crate::web::autoconfiguration::{self, Protocol, host, srv_records};
use crate::web::docs::links::{Term, term};
use crate::web::parts::copyable;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

pub(super) fn card(session: &Session, context: &WebContext, inbox: &Inbox) -> Markup {
    let servers = context.ports.servers();
    let host = host(context).as_str();
    let has_both = context.ports.best(Protocol::Imap).is_some() && context.ports.best(Protocol::Submission).is_some();
    html! {
        section .card .stack aria-labelledby="clients" {
            h2 id="clients" { "Mail clients" }
            @if servers.is_empty() {
                p { "This server has no IMAP and no submission: mail is read and sent here, and over the API." }
            } @else {
                dl .facts {
                    dt { "User name" } dd { (copyable(&inbox.email_address, "the user name")) }
                    dt { "Password" }
                    dd {
                        "An API token. "
                        @if session.is_of_account() { a href={"/account/tokens?inbox=" (inbox.id)} { "Create one" } " for each device." }
                    }
                    dt { "Server" } dd { (copyable(host, "the server")) }
                    @for server in &servers {
                        dt { @if server.protocol == Protocol::Imap { "IMAP" } @else { "Submission (SMTP)" } }
                        dd {
                            "port " (copyable(&server.port.to_string(), "the port")) " " (server.security)
                        }
                    }
                }
                p .hint { "The user name may be any address of the inbox; mail leaves under that address while its domain is verified. " (term(Term::MailClients)) }
                @if has_both {
                    p { a .button .quiet href={"/inboxes/" (inbox.id) "/apple.mobileconfig"} download { "Profile for Apple Mail" } }
                }
                (records(context, inbox, host))
            }
        }
    }
}

/// Records of each domain by which clients find the settings.
fn records(context: &WebContext, inbox: &Inbox, host: &str) -> Markup {
    let own = inbox.addresses.iter().filter(|one| one.custom_domain_id.is_some());
    let mut domains: Vec<&str> = own.filter_map(|one| Some(one.address.rsplit_once('@')?.1)).collect();
    domains.sort_unstable();
    domains.dedup();
    html! {
        @for domain in domains {
            details {
                summary { "DNS records by which mail clients find this for " (domain) }
                p .hint { "Optional. Publish them at the provider of the domain, beside the records on its page." }
                div .table { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Type" } th scope="col" { "Value" } } }
                    tbody {
                        @for (name, value) in srv_records(context.ports, host, domain) { tr {
                            td data-label="Name" { (copyable(&name, &format!("the name {name}"))) }
                            td data-label="Type" { "SRV" }
                            td data-label="Value" { (copyable(&value, &format!("the value of {name}"))) }
                        } }
                        // So that one certificate is enough: a client follows it to the host.
                        @let outlook = format!("_autodiscover._tcp.{domain}");
                        tr {
                            td data-label="Name" { (copyable(&outlook, &format!("the name {outlook}"))) }
                            td data-label="Type" { "SRV" }
                            td data-label="Value" { (copyable(&format!("0 0 443 {host}."), &format!("the value of {outlook}"))) }
                        }
                        tr {
                            td data-label="Name" { (copyable(&format!("autoconfig.{domain}"), "the name of autoconfig")) }
                            td data-label="Type" { "CNAME" }
                            td data-label="Value" { (copyable(&format!("{host}."), "the value of autoconfig")) }
                        }
                    }
                } }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    address: Option<String>,
}

/// A configuration profile for Apple's clients, for one address of the inbox.
pub(super) async fn profile(
    session: Session,
    State(context): State<WebContext>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refusal> {
    let inbox = inbox(&session, &id).await?;
    let address = match &wanted.address {
        None => inbox.email_address.as_str(),
        Some(wanted) => {
            let found = inbox.addresses.iter().find(|one| one.address.eq_ignore_ascii_case(wanted));
            found.ok_or_else(Refusal::not_found)?.address.as_str()
        }
    };
    autoconfiguration::profile(&context, &inbox.id, address).ok_or_else(Refusal::not_found)
}
