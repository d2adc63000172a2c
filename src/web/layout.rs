//! What all pages have: head, navigation, notices.

use super::assets::url;
use super::session::Session;
use crate::auth::login::Permissions;
use axum::http::Uri;
use maud::{DOCTYPE, Markup, html};

/// The parts of the site, as the navigation lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Mail,
    Domains,
    Inboxes,
    Activity,
    Operator,
    Account,
    Internet,
    Docs,
}

impl Section {
    const ALL: [Self; 8] = [
        Self::Mail,
        Self::Domains,
        Self::Inboxes,
        Self::Activity,
        Self::Operator,
        Self::Account,
        Self::Internet,
        Self::Docs,
    ];

    /// Its path and name.
    fn link(self) -> (&'static str, &'static str) {
        match self {
            Self::Mail => ("/mail", "Mail"),
            Self::Domains => ("/domains", "Domains"),
            Self::Inboxes => ("/inboxes", "Inboxes"),
            Self::Activity => ("/activity", "Activity"),
            Self::Operator => ("/operator", "Operator"),
            Self::Account => ("/account", "Account"),
            Self::Internet => ("/sandbox/internet", "Internet"),
            Self::Docs => ("/docs", "Docs"),
        }
    }

    /// Whether the token can use it at all.
    fn is_for(self, session: &Session) -> bool {
        match self {
            Self::Mail => !session.is_operator() && session.may(Permissions::MESSAGES_READ),
            Self::Domains => session.is_of_account() && session.may(Permissions::DOMAINS_READ),
            Self::Inboxes => !session.is_operator() && session.may(Permissions::INBOXES_READ),
            Self::Activity => session.is_of_account() && session.may(Permissions::MESSAGES_READ),
            Self::Operator => session.is_operator(),
            Self::Account | Self::Docs => true,
            Self::Internet => session.sandbox.is_some(),
        }
    }

    /// The first page of a session.
    pub(super) fn first(session: &Session) -> &'static str {
        let first = [Self::Domains, Self::Mail, Self::Operator].into_iter().find(|one| one.is_for(session));
        first.unwrap_or(Self::Account).link().0
    }
}

/// What htmx may do: no styles of its own, no code in attributes; refusals are shown.
const HTMX: &str = r##"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0,"attributesToSettle":["class"],
"responseHandling":[{"code":"204","swap":false},{"code":"[23]..","swap":true},{"code":"[45]..","swap":true,"error":true}]}"##;

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="htmx-config" content=(HTMX);
            title { (title) " – Inboxlayer" }
            link rel="icon" href=(url("icon.svg"));
            link rel="stylesheet" href=(url("style.css"));
            script src=(url("htmx.js")) defer {}
            script src=(url("htmx-sse.js")) defer {}
            script src=(url("app.js")) defer {}
        }
    }
}

/// A page of somebody who is signed in. `body` begins with the only `h1`.
pub(super) fn page(session: &Session, section: Option<Section>, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body hx-headers=(format!(r#"{{"x-csrf":"{}"}}"#, session.csrf())) {
                a .skip href="#main" { "Skip to content" }
                header .top {
                    a .brand href="/" { "Inboxlayer" }
                    nav aria-label="Main" {
                        ul {
                            @for one in Section::ALL.into_iter().filter(|one| one.is_for(session)) {
                                @let (path, name) = one.link();
                                li { a href=(path) aria-current=[(section == Some(one)).then_some("page")] { (name) } }
                            }
                        }
                    }
                    form .sign-out method="post" action="/sign-out" {
                        (csrf(session))
                        button .quiet type="submit" { "Sign out" }
                    }
                }
                main id="main" tabindex="-1" {
                    div id="notices" role="status" { (notice(&session.uri)) }
                    (body)
                }
            }
        }
    }
}

/// A page for everybody.
pub(super) fn outside(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body .outside {
                header .top { a .brand href="/" { "Inboxlayer" } }
                main id="main" { div id="notices" role="status" {} (body) }
            }
        }
    }
}

/// A page of the guide, for everybody.
pub(super) fn reading(session: Option<&Session>, title: &str, body: &Markup) -> Markup {
    if let Some(session) = session {
        return page(session, Some(Section::Docs), title, body);
    }
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                a .skip href="#main" { "Skip to content" }
                header .top {
                    a .brand href="/" { "Inboxlayer" }
                    nav aria-label="Main" { ul { li { a href="/docs" aria-current="page" { "Docs" } } } }
                    a .button .quiet href="/sign-in" { "Sign in" }
                }
                main id="main" tabindex="-1" { (body) }
            }
        }
    }
}

/// The hidden field that every form has which changes something.
pub(super) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf()); }
}

/// What a redirect after a change says was done (`?done=…`). Texts are here alone, so that a link can say nothing else.
const DONE: &[(&str, &str)] = &[
    ("rotated", "Mail is now signed with another key."),
    ("created", "Created."),
    ("saved", "Saved."),
    ("deleted", "Deleted."),
    ("done", "Done."),
    ("revoked", "Revoked. Sessions with the token have ended."),
    ("retried", "Another attempt is made now."),
    ("dropped", "Removed from the queue, without a bounce."),
    ("held", "On hold: not attempted until it is released."),
    ("released", "Released."),
    ("redelivered", "Due again: the events are being sent."),
    ("checking", "The check has begun. Its result is shown here."),
    ("checked", "The last check began less than 10 seconds ago. Its result is shown here."),
    ("changed", "Changed."),
    ("archived", "Moved to Archive."),
    ("moved", "Moved."),
    ("trashed", "Moved to Trash."),
    ("sent", "Sent."),
    ("draft", "Saved as a draft."),
    ("discarded", "The draft is deleted."),
    ("undone", "Not sent. It is a draft again."),
];

fn notice(uri: &Uri) -> Markup {
    let query = uri.query().unwrap_or_default();
    let done = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "done").map(|(_, value)| value);
    html! { @if let Some(done) = done { (notice_of(&done)) } }
}

/// The notice of a code of [`DONE`].
pub(super) fn notice_of(done: &str) -> Markup {
    let text = DONE.iter().find(|(code, _)| *code == done).map(|(_, text)| *text);
    html! { @if let Some(text) = text { div .notice .good { p { (text) } } } }
}
