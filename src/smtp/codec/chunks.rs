//! The BDAT receiver: messages in chunks of announced sizes (RFC 3030).
//!
//! Invariant: the octets of a chunk are never commands, whatever they are. Lines end as in [`super::data`]: a bare CR, and a bare LF
//! where that is refused, refuse the message. A last line without its CRLF gets one.

use super::data::{BareLf, Kept, Outcome};
use crate::resources::spool::Incoming;

/// Receives the chunks of one message.
#[derive(Debug)]
pub struct ChunkReceiver {
    place: Place,
    bare_lf: BareLf,
    kept: Kept,
}

/// The position of the next octet in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    Text,
    /// After a CR that is not written yet.
    Cr,
}

impl ChunkReceiver {
    /// `limit` is in octets, of the whole message.
    pub fn new(limit: usize, bare_lf: BareLf, message: Incoming) -> Self {
        Self { place: Place::LineStart, bare_lf, kept: Kept::new(limit, message) }
    }

    /// Whether the message is refused; [`Self::finish`] returns why.
    pub fn is_refused(&self) -> bool {
        self.kept.is_refused()
    }

    /// Adds octets of a chunk.
    pub fn feed(&mut self, mut rest: &[u8]) {
        while let Some((&octet, tail)) = rest.split_first() {
            self.place = match (self.place, octet) {
                (Place::Cr, b'\n') => {
                    self.kept.keep(b"\r\n");
                    Place::LineStart
                }
                (Place::Cr, _) => {
                    self.kept.refuse(Outcome::BareLineEnd);
                    self.place = Place::Text;
                    continue;
                }
                (_, b'\r') => Place::Cr,
                (_, b'\n') if self.bare_lf == BareLf::Repaired => {
                    self.kept.keep(b"\r\n");
                    Place::LineStart
                }
                (_, b'\n') => {
                    self.kept.refuse(Outcome::BareLineEnd);
                    Place::Text
                }
                _ => {
                    let (text, after) = rest.split_at(memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()));
                    self.kept.keep(text);
                    self.place = Place::Text;
                    rest = after;
                    continue;
                }
            };
            rest = tail;
        }
    }

    /// Writes what is too large for memory to disk; to be called between reads.
    pub async fn spill(&mut self) {
        self.kept.spill().await;
    }

    /// To be called after the last chunk.
    pub async fn finish(mut self) -> Outcome {
        match self.place {
            Place::LineStart => {}
            Place::Text => self.kept.keep(b"\r\n"),
            Place::Cr => self.kept.refuse(Outcome::BareLineEnd),
        }
        self.kept.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::resources::spool::Spool;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn received(chunks: &[&[u8]], limit: usize, bare_lf: BareLf) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &Limits::default()).unwrap();
        let mut receiver = ChunkReceiver::new(limit, bare_lf, spool.client(IpAddr::from([192, 0, 2, 1])).begin());
        chunks.iter().for_each(|chunk| receiver.feed(chunk));
        receiver.finish().now_or_never().unwrap()
    }

    fn message(text: &str) -> Outcome {
        Outcome::Message(text.as_bytes().to_vec().into())
    }

    #[test]
    fn dots_are_text_and_the_last_line_gets_its_end() {
        let received = |chunks: &[&[u8]]| received(chunks, 100, BareLf::Refused);
        assert_eq!(received(&[b"a\r\n.\r\n..b\r", b"\nc"]), message("a\r\n.\r\n..b\r\nc\r\n"));
        assert_eq!(received(&[b""]), message(""));
        assert_eq!(received(&[b"a\r"]), Outcome::BareLineEnd);
        assert_eq!(received(&[b"a\r", b"b\r\n"]), Outcome::BareLineEnd);
        assert_eq!(received(&[b"a\nb\r\n"]), Outcome::BareLineEnd);
        assert_eq!(received(&[&[b'x'; 98], b"\r\n"]), message(&format!("{}\r\n", "x".repeat(98))));
        assert_eq!(received(&[&[b'x'; 99]]), Outcome::TooBig);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40), at in 0..40usize) {
            let (first, second) = octets.split_at(at.min(octets.len()));
            for bare_lf in [BareLf::Refused, BareLf::Repaired] {
                prop_assert_eq!(received(&[first, second], 50, bare_lf), received(&[&octets], 50, bare_lf));
            }
        }

        #[test]
        fn lines_end_with_crlf_only(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Outcome::Message(message) = received(&[&octets], 1000, BareLf::Repaired) {
                let text: String = message.iter().map(|octet| char::from(*octet)).collect();
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
                prop_assert!(text.is_empty() || text.ends_with("\r\n"));
            }
        }
    }
}
