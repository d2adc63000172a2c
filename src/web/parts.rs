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
        let wrong = faults_of(refusal, self.name);
        html! {
            div .field {
                label for=(self.name) { (self.label) }
                input id=(self.name) name=(self.name) type=(self.kind) value=(self.value) autocomplete=(self.autocomplete)
                    required[self.is_required] spellcheck="false" autocapitalize="none"
                    aria-describedby=[described_by(self.name, self.hint, &wrong)]
                    aria-invalid=[(!wrong.is_empty()).then_some("true")];
                (below(self.name, self.label, self.hint, &wrong))
            }
        }
    }
}

/// The field of an error without what is in it: `to` of `to[1]`.
fn base_of(field: &str) -> &str {
    field.split(['[', '.']).next().unwrap_or_default()
}

/// What a refusal says of a field of the API.
pub(super) fn faults_of<'a>(refusal: Option<&'a Refusal>, name: &str) -> Vec<&'a str> {
    let all = refusal.into_iter().flat_map(Refusal::errors);
    all.filter(|error| base_of(&error.field) == name).map(|error| error.message.as_str()).collect()
}

/// The ids of what is below a field.
pub(super) fn described_by(name: &str, hint: &str, wrong: &[&str]) -> Option<String> {
    let hint = (!hint.is_empty()).then(|| format!("{name}-hint"));
    let fault = (!wrong.is_empty()).then(|| format!("{name}-error"));
    let ids: Vec<String> = hint.into_iter().chain(fault).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// The hint of a field, and what is wrong with it.
pub(super) fn below(name: &str, label: &str, hint: &str, wrong: &[&str]) -> Markup {
    html! {
        @if !hint.is_empty() { p .hint id={(name) "-hint"} { (hint) } }
        @if !wrong.is_empty() {
            div .error id={(name) "-error"} { @for message in wrong { p { (label) " " (message) } } }
        }
    }
}

/// What a refusal says that is not shown at one of these fields.
pub(super) fn refused(refusal: Option<&Refusal>, fields: &[&str]) -> Markup {
    let Some(refusal) = refusal else { return html! {} };
    let others: Vec<_> = refusal.errors().iter().filter(|error| !fields.contains(&base_of(&error.field))).collect();
    if others.is_empty() && !refusal.errors().is_empty() {
        return html! {};
    }
    html! {
        div .notice .error role="alert" {
            @if others.is_empty() {
                p { (refusal.detail()) }
                @if !refusal.fix().is_empty() { p { (refusal.fix()) } }
            }
            @for error in others { p { strong { (error.field.replace('_', " ")) } " " (error.message) } }
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

/// The same with the day and the hour, for the axis of a plot.
pub(super) fn short_time(rfc3339: &str) -> Markup {
    let shown = rfc3339.get(5..16).unwrap_or(rfc3339).replace('T', " ");
    html! { time datetime=(rfc3339) data-short { (shown) " UTC" } }
}

/// A text of the API whose times (`2027-01-18 08:00 UTC`) are shown in the reader's zone.
pub(super) fn with_times(text: &str) -> Markup {
    const END: &str = " UTC";
    const TIME: usize = "2027-01-18 08:00".len();
    let (mut rest, mut parts) = (text, Vec::new());
    while let Some(at) = rest.find(END) {
        let (head, tail) = (rest.get(..at).unwrap_or_default(), rest.get(at.saturating_add(END.len())..));
        let written = at.checked_sub(TIME).and_then(|from| Some((head.get(..from)?, head.get(from..)?)));
        match written.filter(|(_, time)| is_minute(time)) {
            Some((before, time)) => parts.push((before.to_owned(), Some(format!("{}:00Z", time.replace(' ', "T"))))),
            None => parts.push((format!("{head}{END}"), None)),
        }
        rest = tail.unwrap_or_default();
    }
    html! { @for (before, at) in &parts { (before) @if let Some(at) = at { (time(at)) } } (rest) }
}

/// `2027-01-18 08:00`.
fn is_minute(text: &str) -> bool {
    let fits = |(c, form): (char, char)| if form == '0' { c.is_ascii_digit() } else { c == form };
    text.chars().zip("0000-00-00 00:00".chars()).all(fits)
}

/// A value with a button that copies it.
pub(super) fn copyable(value: &str, what: &str) -> Markup {
    copyable_at(None, value, what)
}

/// The same in a part of the page that is replaced: by its id the button keeps the focus.
pub(super) fn copyable_at(id: Option<&str>, value: &str, what: &str) -> Markup {
    html! {
        span .copyable {
            code { (value) }
            button .copy id=[id] type="button" data-copy=(value) aria-label={"Copy " (what)} { "Copy" }
        }
    }
}

/// Links to the first and the next page of a list, whose cursor has this name in the query of the page. It is the id of the list's
/// heading, too, unless it is `cursor` or `before`: the only list of its page.
pub(super) fn pages(session: &Session, name: &str, next: Option<&str>) -> Markup {
    let is_only = ["cursor", "before"].contains(&name);
    let (of, place) =
        if is_only { (String::new(), String::new()) } else { (format!(" of {name}"), format!("#{name}")) };
    let to = |cursor: Option<&str>| {
        let kept = form_urlencoded::parse(session.uri.query().unwrap_or_default().as_bytes());
        let kept = kept.filter(|(given, _)| given != name && given != "done");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .extend_pairs(cursor.map(|cursor| (name, cursor)))
            .finish();
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{}{separator}{query}{place}", session.uri.path())
    };
    let is_further = session.query(name).is_some();
    html! {
        @if is_further || next.is_some() {
            nav .pages aria-label={"Pages" (of)} {
                @if is_further { a id={"first-" (name)} href=(to(None)) { "First page" span .visually-hidden { (of) } } }
                @if let Some(next) = next {
                    a id={"next-" (name)} rel="next" href=(to(Some(next))) { "Next page" span .visually-hidden { (of) } }
                }
            }
        }
    }
}

/// A page of rows that are all there, from the place that the query has under `name`; and the place of the next page.
pub(super) fn page_of<'a, T>(session: &Session, name: &str, rows: &'a [T], size: usize) -> (&'a [T], Option<String>) {
    let from = session.query(name).and_then(|at| at.parse::<usize>().ok()).unwrap_or_default().min(rows.len());
    let end = from.saturating_add(size);
    let next = (end < rows.len()).then(|| end.to_string());
    (rows.get(from..end.min(rows.len())).unwrap_or_default(), next)
}

/// What a list without rows says.
pub(super) fn empty(what: &str, next: &Markup) -> Markup {
    html! { div .empty { p { (what) } (next) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_text_are_elements() {
        let text = "It fails 2027-01-18 08:00 UTC, says UTC, or 2027-01-1x 08:00 UTC & later.";
        let html = with_times(text).into_string();
        let time = "<time datetime=\"2027-01-18T08:00:00Z\">2027-01-18 08:00 UTC</time>";
        assert_eq!(html, format!("It fails {time}, says UTC, or 2027-01-1x 08:00 UTC &amp; later."));
        assert_eq!(with_times("é UTC").into_string(), "é UTC");
        assert_eq!(with_times("").into_string(), "");
    }
}
