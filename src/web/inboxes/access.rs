//! Allow and block lists of an inbox.

use super::{Inbox, Tried};
use crate::web::api::Listed;
use crate::web::controls::{button, select};
use crate::web::docs::links::{Term, term};
use crate::web::layout::csrf;
use crate::web::parts::{Field, pages, refused};
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    id: String,
    direction: String,
    action: String,
    pattern: String,
}

impl Entry {
    fn text(&self) -> &'static str {
        match (self.direction.as_str(), self.action.as_str()) {
            ("receive", "block") => "Block mail from",
            ("receive", _) => "Allow mail from",
            (_, "block") => "Block mail to",
            _ => "Allow mail to",
        }
    }
}

const RULES: [(&str, &str); 4] = [
    ("receive block", "Block mail from"),
    ("receive allow", "Allow mail from"),
    ("send block", "Block mail to"),
    ("send allow", "Allow mail to"),
];

pub(super) fn card(
    session: &Session,
    inbox: &Inbox,
    entries: &Listed<Entry>,
    may_change: bool,
    tried: &Tried<'_>,
) -> Markup {
    let refusal = tried.of("access");
    let (rule, pattern) = tried.given("access").split_once('\n').unwrap_or_default();
    let hint = "An address, a domain (with its subdomains), or * for all.";
    let field = Field { value: pattern, hint, is_required: true, ..Field::new("pattern", "Who") };
    html! {
        section .card .stack aria-labelledby="access" {
            h2 id="access" { "Allow and block lists" }
            p .hint { "Blocked mail is filed in Junk. Of the entries that match, the narrowest decides. Entries of the whole account apply, too. " (term(Term::AccessLists)) }
            @if entries.rows.is_empty() {
                p .hint { "No entry: mail from everybody is taken, and mail to everybody is sent." }
            } @else {
                ul .plain .rows { @for entry in &entries.rows { li .actions {
                    span .grow { (entry.text()) " " strong { (entry.pattern) } }
                    @if may_change {
                        (button(session, &format!("/inboxes/{}/access/{}/delete", inbox.id, entry.id), "quiet small", "Remove",
                            Some(&format!("Remove: {} {}", entry.text(), entry.pattern))))
                    }
                } } }
            }
            (pages(session, "access", entries.next.as_deref()))
            @if may_change {
                form .inline method="post" action={"/inboxes/" (inbox.id) "/access"} {
                    (csrf(session))
                    (select("rule", "Rule", &RULES, rule))
                    (field.show(refusal))
                    button type="submit" { "Add entry" }
                }
                (refused(refusal, &["pattern"]))
            }
        }
    }
}
