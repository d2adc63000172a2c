//! A stream that says that something has happened, and what kinds of things: the account's stream of events, without their data. The
//! events of half a second are one event of it, so that a page that loads a part anew for each of them does so twice a second at most.
//!
//! Invariant: after the last event of a burst there is one of this stream; what is kept between two pieces is one line of bounded length
//! and the names of kinds.

use crate::web::api::to;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Octets of a line that are kept; lines of data are longer, and not kept.
const LINE: usize = 512;
/// For how long events are taken together.
const TOGETHER: Duration = Duration::from_millis(500);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A part of a page that is loaded anew, from the page at `here`, whenever something has happened. The request is made by what is around
/// the part, and so is not lost when the part is replaced; while one is under way, the last of others waits.
pub(super) fn updated(here: &str, id: &str, part: &Markup) -> Markup {
    let selected = format!("#{id}");
    html! {
        div hx-ext="sse" sse-connect="/activity/live" hx-get=(here) hx-trigger="sse:changed" hx-select=(selected) hx-target=(selected)
            hx-swap="outerHTML" hx-sync="this:queue last" { (part) }
    }
}

pub(super) async fn live(session: Session, headers: HeaderMap) -> Result<Response, Refusal> {
    let last = headers.get(&LAST_EVENT_ID).cloned().map(|last| (LAST_EVENT_ID, last));
    let response = session.api.forward(to(["events", "stream"]), last.into_iter().collect()).await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let live = Live { events: body.into_data_stream(), kinds: Kinds::default(), due: None };
    let pieces = unfold(live, |mut live| async move {
        let piece = live.piece().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), live))
    });
    Ok((head.status, head.headers, Body::from_stream(pieces)).into_response())
}

struct Live {
    events: BodyDataStream,
    kinds: Kinds,
    /// When what has happened is sent.
    due: Option<Instant>,
}

impl Live {
    /// The next octets for the browser; `None`: the stream ends.
    async fn piece(&mut self) -> Option<String> {
        loop {
            // Without a time it is not reached.
            let due = self.due.unwrap_or_else(|| Instant::now() + TOGETHER);
            tokio::select! {
                read = self.events.next() => {
                    let rest = self.kinds.take(&read?.ok()?);
                    if self.due.is_none() && !self.kinds.is_empty() {
                        self.due = Some(Instant::now() + TOGETHER);
                    }
                    if !rest.is_empty() {
                        return Some(rest);
                    }
                }
                () = sleep_until(due), if self.due.is_some() => {
                    self.due = None;
                    return Some(self.kinds.written());
                }
            }
        }
    }
}

/// Takes blocks of any events together.
#[derive(Debug, Default)]
struct Kinds {
    /// The present line, up to [`LINE`] octets.
    line: Vec<u8>,
    id: String,
    kinds: BTreeSet<String>,
}

impl Kinds {
    fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.id.is_empty()
    }

    /// Comments and times to wait are passed on at once.
    fn take(&mut self, octets: &[u8]) -> String {
        let mut out = String::new();
        for octet in octets {
            if *octet != b'\n' {
                if self.line.len() < LINE {
                    self.line.push(*octet);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            if let Some(kind) = line.strip_prefix("event: ") {
                self.kinds.insert(kind.to_owned());
            } else if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            } else if line.starts_with(':') || line.starts_with("retry:") {
                out.push_str(&line);
                out.push_str("\n\n");
            }
        }
        out
    }

    /// What was taken, as one event; an id alone, where nothing has happened.
    fn written(&mut self) -> String {
        let (id, kinds) = (std::mem::take(&mut self.id), std::mem::take(&mut self.kinds));
        let mut out = if id.is_empty() { String::new() } else { format!("id: {id}\n") };
        if !kinds.is_empty() {
            out.push_str(&format!("event: changed\ndata: {}\n", kinds.into_iter().collect::<Vec<_>>().join(" ")));
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_together_without_data_wherever_pieces_are_cut() {
        let long = "x".repeat(5000);
        let given = format!(
            "retry: 1000\n\n: begun\nid: evt_1\n\nid: evt_2\nevent: email.sent\ndata: {{\"a\": \"{long}\"}}\n\n\
             id: evt_3\nevent: email.delivered\ndata: {{}}\n\n: still here\n\n"
        );
        for size in [1, 7, 4096, given.len()] {
            let mut kinds = Kinds::default();
            let out: String = given.as_bytes().chunks(size).map(|piece| kinds.take(piece)).collect();
            assert_eq!(out, "retry: 1000\n\n: begun\n\n: still here\n\n", "{size}");
            assert_eq!(kinds.written(), "id: evt_3\nevent: changed\ndata: email.delivered email.sent\n\n", "{size}");
            assert!(kinds.is_empty(), "{size}");
        }
    }
}
