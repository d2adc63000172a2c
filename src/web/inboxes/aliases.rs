//! Aliases of an inbox: further addresses at custom domains.

use super::{Domain, Inbox, Tried};
use crate::web::api::Listed;
use crate::web::controls::button;
use crate::web::layout::csrf;
use crate::web::parts::{Field, pages, refused};
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Alias {
    id: String,
    address: String,
    is_primary: bool,
}

pub(super) fn card(
    session: &Session,
    inbox: &Inbox,
    aliases: &Listed<Alias>,
    (domains, may_change): (&[Domain], bool),
    tried: &Tried<'_>,
) -> Markup {
    let refusal = tried.of("alias");
    let example = domains.first().map_or_else(String::new, |one| format!("For example sales@{}.", one.domain));
    let hint = format!("An address at a custom domain of the account. {example}");
    let field =
        Field { value: tried.given("alias"), hint: &hint, is_required: true, ..Field::new("address", "New alias") };
    html! {
        section .card .stack aria-labelledby="aliases" {
            h2 id="aliases" { "Aliases" }
            @if aliases.rows.is_empty() {
                p .hint { "No alias. The inbox has its name at every domain of the account; an alias is another name." }
            } @else {
                ul .plain .rows { @for alias in &aliases.rows { li .actions {
                    span .grow { (alias.address) @if alias.is_primary { " " span .hint { "primary" } } }
                    @if may_change {
                        (button(session, &format!("/inboxes/{}/aliases/{}/delete", inbox.id, alias.id), "quiet small", "Remove",
                            Some(&format!("Remove {}", alias.address))))
                    }
                } } }
            }
            (pages(session, "aliases", aliases.next.as_deref()))
            @if may_change && domains.is_empty() {
                p .hint { a href="/domains" { "Add a domain" } " to make aliases." }
            } @else if may_change {
                form .inline method="post" action={"/inboxes/" (inbox.id) "/aliases"} {
                    (csrf(session))
                    (field.show(refusal))
                    button type="submit" { "Add alias" }
                }
                (refused(refusal, &["address"]))
            }
        }
    }
}
