//! Parts of pages: fields with their errors, statuses, times, copy buttons, page links.

use super::refusal::Refusal;
use super::session::Session;
use maud::{Markup, html};

/// A field of a form: its label, its input, what to enter, and what is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) kind: &'a str,
    pub(super) value: &'a str,
    pub(super) hint: &'a str,
    pub(super) autocomplete: &'a str,
    pub(super) is_required: bool,
}

impl<'a> Field<'a> {
    pub(super) fn new(name: &'a str, label: &'a str) -> Self {
        Self { name, label, kind: "text", value: "", hint: "", autocomplete: "off", is_required: false }
    }

    /// With the errors that the refusal has for this field of the API.
    pub(super) fn show(&self, refusal: Option<&Refusal>) -> Markup {
        let wrong: Vec<_> = refusal
            .into_iter()
            .flat_map(Refusal::errors)
            .filter(|error| error.field.split(['[', '.']).next() == Some(self.name))
            .collect();
        let (hint, fault) = (format!("{}-hint", self.name), format!("{}-error", self.name));
        let described =
            [(!self.hint.is_empty()).then_some(hint.as_str()), (!wrong.is_empty()).then_some(fault.as_str())];
        let described = described.into_iter().flatten().collect::<Vec<_>>().join(" ");
        html! {
            div .field {
                label for=(self.name) { (self.label) }
                input id=(self.name) name=(self.name) type=(self.kind) value=(self.value) autocomplete=(self.autocomplete)
                    required[self.is_required] spellcheck="false" autocapitalize="none"
                    aria-describedby=[(!described.is_empty()).then_some(described)]
                    aria-invalid=[(!wrong.is_empty()).then_some("true")];
                @if !self.hint.is_empty() { p .hint id=(hint) { (self.hint) } }
                @if !wrong.is_empty() {
                    div .error id=(fault) { @for error in &wrong { p { (self.label) " " (error.message) } } }
                }
            }
        }
    }
}

/// What a refusal says beside its fields.
pub(super) fn refused(refusal: Option<&Refusal>) -> Markup {
    html! {
        @if let Some(refusal) = refusal {
            div .notice .error role="alert" {
                p { (refusal.detail()) }
                @if !refusal.fix().is_empty() { p { (refusal.fix()) } }
            }
        }
    }
}

/// A status as a word with a colour.
pub(super) fn status(word: &str) -> Markup {
    let kind = match word {
        "verified" | "valid" | "delivered" | "sent" | "enabled" | "active" | "ok" => "good",
        "pending" | "deferred" | "on_hold" | "failing" | "inactive" | "queued" | "not_checked" | "unknown"
        | "degraded" | "waiting" | "held" => "warn",
        "failed" | "missing" | "mismatch" | "bounced" | "disabled" | "revoked" => "bad",
        _ => "plain",
    };
    html! { span class={"badge " (kind)} { (word.replace('_', " ")) } }
}

/// A time, which the page's script shows in the reader's zone.
pub(super) fn time(rfc3339: &str) -> Markup {
    let shown = rfc3339.get(..16).unwrap_or(rfc3339).replace('T', " ");
    html! { time datetime=(rfc3339) { (shown) " UTC" } }
}

/// A value with a button that copies it.
pub(super) fn copyable(value: &str, what: &str) -> Markup {
    html! {
        span .copyable {
            code { (value) }
            button .copy type="button" data-copy=(value) aria-label={"Copy " (what)} { "Copy" }
        }
    }
}

/// The link to the next page of a list: the same page with another cursor.
pub(super) fn next_page(session: &Session, cursor: Option<&str>) -> Markup {
    let Some(cursor) = cursor else { return html! {} };
    let kept = form_urlencoded::parse(session.uri.query().unwrap_or_default().as_bytes());
    let kept = kept.filter(|(name, _)| name != "cursor" && name != "done");
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).append_pair("cursor", cursor).finish();
    html! { nav .pages aria-label="Pages" { a rel="next" href={(session.uri.path()) "?" (query)} { "Next page" } } }
}

/// What a list without rows says.
pub(super) fn empty(what: &str, next: &Markup) -> Markup {
    html! { div .empty { p { (what) } (next) } }
}
