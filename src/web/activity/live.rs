//! A stream that says that something has happened, and what kind of thing: the account's stream of events, without their data.
//!
//! Invariant: what is kept of the stream between two pieces is one line of bounded length.

use crate::web::api::to;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

/// Octets of a line that are kept; lines of data are longer, and not kept.
const LINE: usize = 512;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn live(session: Session, headers: HeaderMap) -> Result<Response, Refusal> {
    let last = headers.get(&LAST_EVENT_ID).cloned().map(|last| (LAST_EVENT_ID, last));
    let response = session.api.forward(to(["events", "stream"]), last.into_iter().collect()).await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let mut kinds = Kinds::default();
    let stream = body.into_data_stream().map(move |piece| piece.map(|octets| Bytes::from(kinds.take(&octets))));
    Ok((head.status, head.headers, Body::from_stream(stream)).into_response())
}

/// Turns blocks of any event into blocks of the event `changed`, whose data is the type.
#[derive(Debug, Default)]
struct Kinds {
    /// The present line, up to [`LINE`] octets.
    line: Vec<u8>,
}

impl Kinds {
    fn take(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for octet in octets {
            if *octet != b'\n' {
                if self.line.len() < LINE {
                    self.line.push(*octet);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if let Some(kind) = line.strip_prefix(b"event: ") {
                out.extend_from_slice(b"event: changed\ndata: ");
                out.extend_from_slice(kind);
                out.push(b'\n');
            } else if !line.starts_with(b"data:") {
                out.extend_from_slice(&line);
                out.push(b'\n');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_left_out_wherever_pieces_are_cut() {
        let long = "x".repeat(5000);
        let given = format!(
            ": begun\nid: evt_1\n\nid: evt_2\nevent: email.sent\ndata: {{\"a\": \"{long}\"}}\n\n: still here\n\n"
        );
        let expected = ": begun\nid: evt_1\n\nid: evt_2\nevent: changed\ndata: email.sent\n\n: still here\n\n";
        for size in [1, 7, 4096, given.len()] {
            let mut kinds = Kinds::default();
            let out: Vec<u8> = given.as_bytes().chunks(size).flat_map(|piece| kinds.take(piece)).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }
}
