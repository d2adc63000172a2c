//! A page that shows a secret, once: it is in no URL, and no cache keeps it.

use super::layout::{Section, page};
use super::parts::copyable;
use super::session::Session;
use maud::{Markup, html};

/// `what` names it in a sentence, `next` is what to do with it, `back` where to go on.
pub(super) fn shown_once(
    session: &Session,
    section: Section,
    (title, what): (&str, &str),
    secret: &str,
    next: &Markup,
    (back, link): (&str, &str),
) -> Markup {
    let body = html! {
        h1 { (title) }
        div .card .stack {
            p { "This is " (what) ". It is shown this once: copy it now." }
            p #secret { (copyable(secret, what)) }
            (next)
            p { a .button .quiet href=(back) { (link) } }
        }
    };
    page(session, Some(section), title, &body)
}
