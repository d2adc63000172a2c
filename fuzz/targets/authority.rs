//! DNS: questions to our own name server.

use super::play::Play;
use super::{UDP_PAYLOAD, Zones, reply, truncated};
use futures_util::FutureExt;
use hickory_proto::op::{Message, MessageType};
use std::net::Ipv4Addr;
use std::sync::LazyLock;

/// Octets that an answer without records has beside the question: EDNS.
const EDNS: usize = 11;

/// One question over UDP and over TCP, to a play internet: an answer to that question or none, which is no larger than the
/// asker takes; and the answer to one who asks too often is no larger than the question.
pub fn question(input: &[u8]) {
    static ZONES: LazyLock<Zones> = LazyLock::new(|| Zones::of_play(Play::new(Ipv4Addr::LOCALHOST)));
    let read = Message::from_vec(input).ok();
    let answer = |at_most| reply(&ZONES, input, at_most).now_or_never().expect("a play internet is in memory");
    let (over_udp, over_tcp) = (answer(Some(UDP_PAYLOAD)), answer(None));
    assert_eq!(over_udp.is_some(), over_tcp.is_some(), "an answer over one transport only");
    let limited = truncated(input);
    for answer in [&over_udp, &over_tcp, &limited].into_iter().flatten() {
        let answer = Message::from_vec(answer).expect("an answer can be read");
        assert_eq!(input.get(..2), Some(&answer.metadata.id.to_be_bytes()[..]), "an answer to another question");
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        let question = read.as_ref().map(|question| &question.metadata.message_type);
        assert!(question.is_none_or(|kind| *kind == MessageType::Query), "an answer to an answer");
    }
    if let Some(answer) = over_udp {
        let takes = read.as_ref().map_or(512, Message::max_payload).min(UDP_PAYLOAD);
        assert!(answer.len() <= usize::from(takes), "{} octets for who takes {takes}", answer.len());
    }
    if let Some(answer) = limited {
        assert!(answer.len() <= input.len() + EDNS, "{} octets for {}", answer.len(), input.len());
    }
}
