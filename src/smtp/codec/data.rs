//! The DATA receiver: finds the end of a message and removes dot-stuffing.
//!
//! Invariant: the data ends at `CRLF . CRLF` (the first CRLF may be that of the DATA command) and nowhere else, however
//! it is split into reads. A bare CR or LF never ends the data, so that no other server
//! can see two messages where this one saw one ("SMTP smuggling"): the receiver reads on to the true end, and the message
//! is refused as a whole, or at submission its bare LFs become CRLF. RFC 5321 §4.1.1.4, §4.5.2 (transparency), §2.3.8
//! (only CRLF ends a line).
//!
//! Lines may be longer than the 1000 octets of §4.5.3.1.6, since many senders write such lines.

use crate::resources::memory::NoRoom;
use crate::resources::spool::{Incoming, SpoolError};
use bytes::Bytes;

/// The result of DATA, or of the last BDAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message, dots unstuffed, every line ended by CRLF.
    Message(Bytes),
    /// It had a bare CR, or a bare LF where that is refused: 550 5.5.2.
    BareLineEnd,
    /// 552 5.3.4.
    TooBig,
    /// The budget of memory or disk is used up: 452 4.3.1.
    NoRoom(NoRoom),
    /// The disk failed: 451 4.3.0.
    Disk(String),
}

impl From<SpoolError> for Outcome {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::NoRoom(full) => Self::NoRoom(full),
            SpoolError::Disk(error) => Self::Disk(error.to_string()),
        }
    }
}

/// How a bare LF is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareLf {
    /// The message is refused.
    Refused,
    /// It becomes a CRLF: clients that log in send it (Python's `sendmail` with bytes, devices).
    Repaired,
}

/// The position of the next octet in its line.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// After CRLF, or at the beginning.
    LineStart,
    Text,
    /// After a CR that is not written yet.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line, and a CR.
    DotCr,
    /// Right after an LF that became a CRLF.
    RepairedStart,
    /// After a dot there that is not written yet. Clients that double dots do so here too; of others, a lone one stays.
    RepairedDot,
}

/// The one copy of a message that is received, and none once it is refused.
#[derive(Debug)]
pub(super) struct Kept {
    message: Incoming,
    /// In octets.
    limit: usize,
    fault: Option<Outcome>,
}

impl Kept {
    pub(super) fn new(limit: usize, message: Incoming) -> Self {
        Self { message, limit, fault: None }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.fault.is_some()
    }

    pub(super) fn keep(&mut self, octets: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        if octets.len() > self.limit.saturating_sub(self.message.len()) {
            self.refuse(Outcome::TooBig);
        } else if let Err(full) = self.message.push(octets) {
            self.refuse(Outcome::NoRoom(full));
        }
    }

    /// Refuses the message and frees what was kept.
    pub(super) fn refuse(&mut self, why: Outcome) {
        self.message.clear();
        self.fault.get_or_insert(why);
    }

    /// Writes what is too large for memory to disk; to be called between reads.
    pub(super) async fn spill(&mut self) {
        if let Err(error) = self.message.spill().await {
            self.refuse(SpoolError::Disk(error).into());
        }
    }

    pub(super) async fn finish(self) -> Outcome {
        match self.fault {
            Some(fault) => fault,
            None => self.message.into_message().await.map_or_else(Outcome::from, Outcome::Message),
        }
    }
}

/// Receives the data of one DATA command.
#[derive(Debug)]
pub struct Receiver {
    place: Place,
    bare_lf: BareLf,
    kept: Kept,
}

impl Receiver {
    /// `limit` is in octets.
    pub fn new(limit: usize, bare_lf: BareLf, message: Incoming) -> Self {
        Self { place: Place::LineStart, bare_lf, kept: Kept::new(limit, message) }
    }

    /// `Some(n)`: the data ended after the first `n` octets, and the rest are commands.
    pub fn feed(&mut self, input: &[u8]) -> Option<usize> {
        let mut rest = input;
        while let Some((&octet, tail)) = rest.split_first() {
            self.place = match (self.place, octet) {
                (Place::DotCr, b'\n') => return Some(input.len() - tail.len()),
                (Place::LineStart, b'.') => Place::Dot,
                (Place::Dot, b'\r') => Place::DotCr,
                (Place::Cr, b'\n') => {
                    self.kept.keep(b"\r\n");
                    Place::LineStart
                }
                (Place::Cr | Place::DotCr, _) => {
                    // A bare CR. This octet is in the middle of a line.
                    self.kept.refuse(Outcome::BareLineEnd);
                    self.place = Place::Text;
                    continue;
                }
                (Place::RepairedStart, b'.') => Place::RepairedDot,
                (Place::RepairedDot, _) => {
                    self.kept.keep(b".");
                    self.place = Place::Text;
                    if octet == b'.' {
                        rest = tail;
                    }
                    continue;
                }
                (_, b'\r') => Place::Cr,
                (_, b'\n') if self.bare_lf == BareLf::Repaired => {
                    self.kept.keep(b"\r\n");
                    Place::RepairedStart
                }
                (_, b'\n') => {
                    self.kept.refuse(Outcome::BareLineEnd);
                    Place::Text
                }
                _ => {
                    let run = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (text, after) = rest.split_at(run);
                    self.kept.keep(text);
                    self.place = Place::Text;
                    rest = after;
                    continue;
                }
            };
            rest = tail;
        }
        None
    }

    /// Writes what is too large for memory to disk; to be called between reads.
    pub async fn spill(&mut self) {
        self.kept.spill().await;
    }

    /// To be called once [`Receiver::feed`] has found the end.
    pub async fn finish(self) -> Outcome {
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

    const LIMIT: usize = 1 << 20;

    /// A receiver of messages that are too small for the disk.
    fn receiver_of(limit: usize, bare_lf: BareLf) -> Receiver {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &Limits::default()).unwrap();
        Receiver::new(limit, bare_lf, spool.client(IpAddr::from([192, 0, 2, 1])).begin())
    }

    fn finished(receiver: Receiver) -> Outcome {
        receiver.finish().now_or_never().unwrap()
    }

    /// What the RFC says, in the plainest way: everything before the first CRLF.CRLF, counted from the command's CRLF.
    fn naive(input: &[u8], limit: usize, bare_lf: BareLf) -> Option<(Outcome, usize)> {
        let whole = [b"\r\n", input].concat();
        let end = whole.windows(5).position(|w| w == b"\r\n.\r\n")?;
        let data = &whole[2..(end + 2).max(2)];
        let consumed = end + 5 - 2;
        let mut bare = false;
        let mut message = Vec::new();
        for (i, &octet) in data.iter().enumerate() {
            let before = i.checked_sub(1).map(|j| data[j]);
            let bare_feed = octet == b'\n' && before != Some(b'\r');
            bare |= bare_feed && bare_lf == BareLf::Refused;
            bare |= octet == b'\r' && data.get(i + 1) != Some(&b'\n');
            let line_start = i == 0 || (i >= 2 && data[i - 2..i] == *b"\r\n");
            let doubled = before == Some(b'\n') && data.get(i + 1) == Some(&b'.');
            if bare_feed && bare_lf == BareLf::Repaired {
                message.push(b'\r');
            }
            if !(octet == b'.' && (line_start || (doubled && bare_lf == BareLf::Repaired))) {
                message.push(octet);
            }
        }
        let outcome = match (bare, message.len() > limit) {
            (true, _) => Outcome::BareLineEnd,
            (false, true) => Outcome::TooBig,
            (false, false) => Outcome::Message(message.into()),
        };
        Some((outcome, consumed))
    }

    fn in_one_read(input: &[u8], bare_lf: BareLf) -> Option<(Outcome, usize)> {
        let mut receiver = receiver_of(LIMIT, bare_lf);
        receiver.feed(input).map(|end| (finished(receiver), end))
    }

    fn message(text: &str) -> Outcome {
        Outcome::Message(text.as_bytes().to_vec().into())
    }

    #[test]
    fn dots_are_unstuffed_and_an_empty_message_is_one() {
        for (input, kept) in [
            ("a\r\n.\r\n", "a\r\n"),
            (".\r\n", ""),
            ("..\r\n.\r\n", ".\r\n"),
            ("...\r\n.\r\n", "..\r\n"),
            (".a\r\n.\r\n", "a\r\n"),
            ("\r\n.\r\n", "\r\n"),
            ("a.\r\n.\r\n", "a.\r\n"),
        ] {
            for bare_lf in [BareLf::Refused, BareLf::Repaired] {
                let read = in_one_read(input.as_bytes(), bare_lf);
                assert_eq!(read, Some((message(kept), input.len())), "{input:?}");
            }
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_or_becomes_crlf() {
        for (input, kept) in [
            ("a\nb\r\n.\r\n", "a\r\nb\r\n"),
            ("\n\n\r\n.\r\n", "\r\n\r\n\r\n"),
            // As smtplib writes the lines ".", ".." and ".a".
            ("..\n...\n..a\n\r\n.\r\n", ".\r\n..\r\n.a\r\n\r\n"),
            ("a\n.\n.b\n..c\r\n.\r\n", "a\r\n.\r\n.b\r\n.c\r\n"),
            ("a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r\n.\nb\r\n.\r\n", "a\r\n\r\nb\r\n"),
        ] {
            let read = |bare_lf| in_one_read(input.as_bytes(), bare_lf);
            assert_eq!(read(BareLf::Repaired), Some((message(kept), input.len())), "{input:?}");
            assert_eq!(read(BareLf::Refused), Some((Outcome::BareLineEnd, input.len())), "{input:?}");
        }
        for bare_cr in ["a\rb\r\n.\r\n", "a\n.\r.\r\n.\r\n", "a\n\r\r\n.\r\n"] {
            assert_eq!(in_one_read(bare_cr.as_bytes(), BareLf::Repaired), Some((Outcome::BareLineEnd, bare_cr.len())));
        }
    }

    #[test]
    fn no_smuggling_ending_ends_the_data() {
        for ending in [
            "\n.\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\n.\r\n",
            "\r.\r\n",
            "\r\n.\r\r\n",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r\r\n.\n",
            "\r\n.\n\r\n",
            "\n.\r",
            "\r.\n",
            "\r\n\n.\r\n",
            "\r\n.\r\0\n",
            "\n\r\n.\r",
            "\r\n. \r\n",
            "\r\n.\u{b}\r\n",
            "\r\n\u{b}.\r\n",
            "\u{85}.\u{85}",
            "\u{2028}.\u{2028}",
        ] {
            let smuggled = format!("a{ending}MAIL FROM:<evil@x.org>\r\nDATA\r\nb\r\n");
            let whole = format!("{smuggled}.\r\nQUIT\r\n");
            for bare_lf in [BareLf::Refused, BareLf::Repaired] {
                assert_eq!(in_one_read(smuggled.as_bytes(), bare_lf), None, "{ending:?}");
                let (outcome, end) = in_one_read(whole.as_bytes(), bare_lf).unwrap();
                assert_eq!(end, whole.len() - "QUIT\r\n".len(), "{ending:?}");
                // What is not refused is a message like any other, in one piece.
                match outcome {
                    Outcome::Message(kept) => {
                        assert!(kept.ends_with(b"DATA\r\nb\r\n"), "{ending:?}");
                        let text = String::from_utf8_lossy(&kept).replace("\r\n", "");
                        assert!(!text.contains(['\r', '\n']), "{ending:?}");
                    }
                    refused => assert_eq!(refused, Outcome::BareLineEnd, "{ending:?}"),
                }
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_read_to_its_end_and_not_kept() {
        let mut receiver = receiver_of(10, BareLf::Refused);
        assert_eq!(receiver.feed(b"1234567890"), None);
        assert_eq!(receiver.feed(&b"x".repeat(100_000)), None);
        assert_eq!(receiver.kept.message.len(), 0);
        assert_eq!(receiver.feed(b"\r\n.\r\nQUIT\r\n"), Some(5));
        assert_eq!(finished(receiver), Outcome::TooBig);
        let mut exact = receiver_of(3, BareLf::Refused);
        assert_eq!(exact.feed(b"1\r\n.\r\n"), Some(6));
        assert_eq!(finished(exact), message("1\r\n"));
    }

    /// Octets that make endings likely.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()), 3 => Just(b".".to_vec()), 1 => Just(b"\r".to_vec()), 1 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n.\r\n".to_vec()), 3 => proptest::collection::vec(any::<u8>(), 0..8),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cut_into_reads_gives_what_the_rfc_says(
            input in octets(),
            cuts in proptest::collection::vec(1usize..9, 1..64),
            limit in 0usize..64,
            is_repaired in any::<bool>(),
        ) {
            let bare_lf = if is_repaired { BareLf::Repaired } else { BareLf::Refused };
            let mut receiver = receiver_of(limit, bare_lf);
            let (mut at, mut end, mut cuts) = (0, None, cuts.iter().cycle());
            while at < input.len() && end.is_none() {
                let next = (at + cuts.next().unwrap()).min(input.len());
                end = receiver.feed(&input[at..next]).map(|n| at + n);
                at = next;
            }
            let found = end.map(|n| (finished(receiver), n));
            let expected = naive(&input, limit, bare_lf);
            prop_assert_eq!(found.as_ref().map(|f| f.1), expected.as_ref().map(|e| e.1));
            // Of two faults the first is named: which that is depends on the order, which the naive reading ignores.
            match (&found, &expected) {
                (Some((Outcome::TooBig, _)), Some((Outcome::BareLineEnd, _))) => {}
                _ => prop_assert_eq!(found, expected),
            }
        }
    }
}
