//! The open page of a domain: its parts anew while a check goes on and whenever the domain changes.
//!
//! Invariant: it is the API's stream of the domain, so that it counts among the account's streams and ends with the session's token.

use super::model::{Domain, Shown, read};
use super::show::{Progress, progress_line, state};
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::parts::{status, with_times};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use maud::{Markup, html};
use serde::Deserialize;
use std::convert::Infallible;

/// Octets of one event of the API at most; they are far shorter.
const LONGEST: usize = 64 * 1024;

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/domains/{id}/live", get(open))
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// What the page shows, as [`Shown::name`] names it.
    #[serde(default)]
    seen: String,
}

async fn open(session: Session, Path(id): Path<String>, Query(wanted): Query<Wanted>) -> Result<Response, Refusal> {
    let domain = read(&session, &id).await?;
    let events = session.api.forward(to(["custom_domains", &id, "stream"]), HeaderMap::new()).await?;
    if !events.status().is_success() {
        // `EventSource` shows nothing of it, and the page stays as it is.
        return Ok(events.status().into_response());
    }
    let shown = Shown::of(&domain);
    let missed = (wanted.seen != shown.name()).then(|| changed(&session, &domain));
    let events = events.into_body().into_data_stream();
    let page = Page { session, id, events, text: Vec::new(), shown, missed, is_running: false };
    let pieces = unfold(page, |mut page| async move {
        let piece = page.piece().await?;
        Some((Ok::<_, Infallible>(piece), page))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

struct Page {
    session: Session,
    id: String,
    events: BodyDataStream,
    /// Of the API's stream, not yet read.
    text: Vec<u8>,
    shown: Shown,
    /// The parts as they are now, where the page was made before.
    missed: Option<String>,
    is_running: bool,
}

impl Page {
    /// The next octets for the browser; `None`: the stream ends.
    async fn piece(&mut self) -> Option<Bytes> {
        if let Some(missed) = self.missed.take() {
            return Some(missed.into());
        }
        let block = self.block().await?;
        let (event, data) = parsed(&block);
        match event {
            "check" => {
                let progress: Progress = serde_json::from_str(data).ok()?;
                let mut piece = written("progress", &progress_line(&progress));
                let is_running = progress.state == "running";
                if is_running && !self.is_running {
                    piece.push_str(&written("said", &html! { "Checking the records." }));
                }
                self.is_running = is_running;
                Some(piece.into())
            }
            "custom_domain" => {
                let domain = read(&self.session, &self.id).await.ok()?;
                let now = Shown::of(&domain);
                // A check publishes several events.
                if now == self.shown {
                    return Some(Bytes::from_static(NOTHING));
                }
                let mut piece = changed(&self.session, &domain);
                piece.push_str(&written("said", &announcement(&self.shown, &domain)));
                self.shown = now;
                Some(piece.into())
            }
            _ => Some(Bytes::from_static(NOTHING)),
        }
    }

    /// The next event of the API, up to its empty line.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let rest = self.text.split_off(end.saturating_add(2));
                let block = std::mem::replace(&mut self.text, rest);
                return String::from_utf8(block).ok();
            }
            let octets = self.events.next().await?.ok()?;
            if self.text.len().saturating_add(octets.len()) > LONGEST {
                return None;
            }
            self.text.extend_from_slice(&octets);
        }
    }
}

/// The parts of the page that follow the domain.
fn changed(session: &Session, domain: &Domain) -> String {
    written("state", &state(session, domain)) + &written("badge", &status(&domain.verified_status))
}

/// A comment.
const NOTHING: &[u8] = b":\n\n";

/// For screen readers: the news first.
fn announcement(before: &Shown, domain: &Domain) -> Markup {
    let is_news = before.status != domain.verified_status;
    html! {
        @match domain.verified_status.as_str() {
            "verified" if is_news => { (domain.domain) " is verified now. " }
            "failed" if is_news => { (domain.domain) " has failed. " }
            _ if before.checked_at != domain.last_checked_at => "The check has ended. ",
            _ => "The settings have changed. ",
        }
        (with_times(&domain.verdict))
    }
}

/// The event's name and its data.
fn parsed(block: &str) -> (&str, &str) {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    (field("event: "), field("data: "))
}

/// An event with this HTML. CR, LF and both end a line.
fn written(name: &str, html: &Markup) -> String {
    let lines: String = html.0.split(['\n', '\r']).map(|line| format!("data: {line}\n")).collect();
    format!("event: {name}\n{lines}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_written_line_by_line() {
        assert_eq!(parsed("event: check\ndata: {\"state\":\"idle\"}\n\n"), ("check", "{\"state\":\"idle\"}"));
        assert_eq!(parsed(":\n\n"), ("", ""));
        let html = html! { p { "a\nevent: x\rid: y\n\nb" } };
        let lines = "event: state\ndata: <p>a\ndata: event: x\ndata: id: y\ndata: \ndata: b</p>\n\n";
        assert_eq!(written("state", &html), lines);
    }
}
