//! Settings of an inbox: the domain of its mail, copies of what it sends, how long Trash and Junk keep mail; disabling it.

use super::{Domain, Inbox, Tried};
use crate::web::WebContext;
use crate::web::api::Listed;
use crate::web::controls::{Choice, button, check};
use crate::web::layout::csrf;
use crate::web::parts::{Field, refused};
use crate::web::session::Session;
use maud::{Markup, html};

pub(super) fn card(
    session: &Session,
    context: &WebContext,
    inbox: &Inbox,
    domains: &Listed<Domain>,
    tried: &Tried<'_>,
) -> Markup {
    let refusal = tried.of("settings");
    let platform = format!("The platform's ({})", context.config.platform.domain);
    let own = domains.rows.iter().map(|one| (one.id.as_str(), one.domain.as_str()));
    let options: Vec<_> = std::iter::once(("", platform.as_str())).chain(own).collect();
    let chosen = inbox.default_domain_id.as_deref().unwrap_or_default();
    let retention = &context.config.retention;
    let days = |name: &'static str, label: &'static str, own: Option<u16>, default: u16| {
        let hint = match default {
            0 => "Empty: as configured, for ever. 0: for ever.".to_owned(),
            default => format!("Empty: as configured, {default} days. 0: for ever."),
        };
        let value = own.map(|days| days.to_string()).unwrap_or_default();
        Field { kind: "number", value: &value, hint: &hint, ..Field::new(name, label) }.show(refusal)
    };
    html! {
        section .card .stack aria-labelledby="settings" {
            h2 id="settings" { "Settings" }
            form .stack method="post" action={"/inboxes/" (inbox.id) "/settings"} {
                (csrf(session))
                @if !domains.rows.is_empty() {
                    (Choice {
                        name: "default_domain_id",
                        label: "Sending domain, while it is verified",
                        hint: "",
                        options: &options,
                        chosen,
                        is_complete: domains.next.is_none(),
                    }.show(refusal))
                }
                (check("save_sent", "1", "Save copies of sent mail in Sent", inbox.save_sent))
                (days("trash_days", "Days in Trash", inbox.trash_days, retention.trash_days))
                (days("junk_days", "Days in Junk", inbox.junk_days, retention.junk_days))
                (refused(refusal, &["default_domain_id", "trash_days", "junk_days"]))
                div .actions { button type="submit" { "Save settings" } }
            }
        }
    }
}

/// Disabling and deleting.
pub(super) fn ends(session: &Session, inbox: &Inbox) -> Markup {
    let action = format!("/inboxes/{}/disabled", inbox.id);
    html! {
        section .card .stack aria-labelledby="ends" {
            h2 id="ends" { "Disable or delete" }
            @if inbox.is_disabled {
                p { "Mail to the inbox is refused temporarily, so its senders try again." }
                (button(session, &format!("{action}?to=enabled"), "quiet", "Enable inbox", None))
            } @else {
                p { "While it is disabled, mail to it is refused temporarily, it sends nothing, and mail clients cannot log in." }
                (button(session, &format!("{action}?to=disabled"), "quiet", "Disable inbox", None))
            }
            p { a .button .danger href={"/inboxes/" (inbox.id) "/delete"} { "Delete inbox" } }
        }
    }
}
