//! The machine without sockets: any octets, cut in any way.

use crate::address::{Address, AddressError, ReversePath};
use crate::auth::sasl::Credentials;
use crate::auth::session::AuthSession;
use crate::config::Limits;
use crate::envelope::{EnhancedCode, Reply};
use crate::id::AccountId;
use crate::resources::Owner;
use crate::resources::spool::Spool;
use crate::smtp::codec::chunks::ChunkReceiver;
use crate::smtp::codec::data::{BareLf, Receiver};
use crate::smtp::codec::line::Lines;
use crate::smtp::handler::{Mail, Rules, SmtpHandler};
use crate::smtp::state::{Action, Input, Session};
use bytes::BytesMut;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;

/// A server without services: the driver below returns their results.
struct TestHandler;

impl SmtpHandler for TestHandler {
    type Client = ();
    type Recipient = Address;
    const NAME: &'static str = "test";
    const OFFERS_AUTH: bool = false;
    const OFFERS_DSN: bool = false;
    const BARE_LF: BareLf = BareLf::Refused;

    fn anonymous() -> Option<()> {
        Some(())
    }
    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply> {
        Ok(from.unwrap_or(ReversePath::Null))
    }
    async fn log_in(&self, _: SocketAddr, _: Credentials) -> Result<(), Reply> {
        unreachable!("this server has no AUTH")
    }
    async fn recipient(&self, _: Option<&()>, _: Owner, address: Address, _: usize) -> Result<Address, Reply> {
        Ok(address)
    }
    async fn store(&self, _: SocketAddr, (): &(), _: Mail<Address>) -> Reply {
        unreachable!("the driver stores")
    }
    fn account((): &()) -> Option<&AccountId> {
        None
    }
    fn session((): &mut ()) -> Option<&mut AuthSession> {
        None
    }
}

/// The replies of a session, and what it stored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    codes: Vec<u16>,
    /// The reply that ended the session.
    last: Option<String>,
    stored: Vec<(usize, Vec<u8>)>,
}

/// The connection's loop, on octets that come in the given cuts.
fn drive(input: &[u8], cuts: &[usize]) -> Record {
    let rules = Rules {
        hostname: "mx.example".parse().unwrap(),
        platform: "example".parse().unwrap(),
        message_size: 4096,
        recipients: 3,
    };
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), &Limits::default()).unwrap();
    let spool = spool.client([192, 0, 2, 1].into());
    let mut session = Session::<TestHandler>::new(Arc::new(rules), true, spool.clone());
    let (mut lines, mut buffer, mut record) = (Lines::default(), BytesMut::new(), Record::default());
    let mut receiver: Option<Receiver> = None;
    // Its octets, those that are left, and whether it is the last.
    let mut chunk: Option<(Option<Box<ChunkReceiver>>, usize, usize, bool)> = None;
    let (mut rest, mut cuts) = (input, cuts.iter().cycle());
    loop {
        let happened = match receiver.take() {
            _ if let Some((mut open, whole, left, last)) = chunk.take() => {
                let read = buffer.split_to(left.min(buffer.len()));
                if let Some(open) = &mut open {
                    open.feed(&read);
                }
                match (open, left - read.len()) {
                    (open, left @ 1..) => {
                        chunk = Some((open, whole, left, last));
                        None
                    }
                    (Some(open), 0) if last || open.is_refused() => {
                        Some(Input::Received(open.finish().now_or_never().unwrap()))
                    }
                    (Some(open), 0) => Some(Input::Chunk(open, whole)),
                    (None, 0) => continue,
                }
            }
            Some(mut open) => match open.feed(&buffer) {
                Some(end) => {
                    let _ = buffer.split_to(end);
                    Some(Input::Received(open.finish().now_or_never().unwrap()))
                }
                None => {
                    buffer.clear();
                    receiver = Some(open);
                    None
                }
            },
            None => lines.next(&mut buffer, session.in_exchange()).map(Input::Line),
        };
        let Some(mut happened) = happened else {
            if rest.is_empty() {
                return record;
            }
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            continue;
        };
        loop {
            let (next, action) = session.step(happened);
            session = next;
            happened = match action {
                Action::Reply(reply) => {
                    record.codes.push(reply.code);
                    break;
                }
                Action::Hello(_) => {
                    record.codes.push(250);
                    break;
                }
                Action::Receive(reply) => {
                    record.codes.push(reply.code);
                    receiver = Some(Receiver::new(4096, TestHandler::BARE_LF, spool.begin()));
                    break;
                }
                Action::Chunk { receiver, octets, last } => {
                    chunk = Some((Some(receiver), octets, octets, last));
                    break;
                }
                Action::Discard(octets, reply) => {
                    record.codes.push(reply.code);
                    chunk = Some((None, octets, octets, false));
                    break;
                }
                Action::Resolve(address, _) => Input::Resolved(Ok(address)),
                Action::Store((), mail) => {
                    record.stored.push((mail.recipients.as_slice().len(), mail.message.to_vec()));
                    Input::Stored((), Reply::new(250, EnhancedCode(2, 0, 0), "stored"))
                }
                Action::LogIn(_) | Action::StartTls(_) => unreachable!(),
                Action::Close(reply) => {
                    record.codes.push(reply.code);
                    record.last = Some(reply.to_string());
                    return record;
                }
            };
        }
    }
}

const BEFORE: &str = "EHLO c\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n";

/// Message data that likes to look like its own end, and like commands.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(b"\r\n".to_vec()), 3 => Just(b".".to_vec()), 1 => Just(b"\r".to_vec()), 1 => Just(b"\n".to_vec()),
        2 => Just(b"\r\nRSET\r\nMAIL FROM:<evil@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n".to_vec()),
        1 => Just(b"\n.\r\nQUIT\r\n".to_vec()), 1 => Just(b"\r\n.\r\r\nQUIT\r\n".to_vec()),
        3 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_octet_of_the_data_is_a_command(data in data(), cuts in proptest::collection::vec(1usize..40, 1..20)) {
        let framed = [b"\r\n".as_slice(), &data, b"\r\n.\r\n"].concat();
        let first_end = framed.windows(5).position(|w| w == b"\r\n.\r\n").unwrap();
        // Only data whose end is the one appended here.
        prop_assume!(first_end == framed.len() - 5);
        let session = [BEFORE.as_bytes(), &data, b"\r\n.\r\nQUIT\r\n"].concat();
        let record = drive(&session, &cuts);
        prop_assert_eq!(record.codes.len(), 6, "{:?}", record);
        prop_assert_eq!(&record.codes[..4], &[250, 250, 250, 354]);
        prop_assert!(matches!(record.codes[4], 250 | 550), "{:?}", record);
        prop_assert_eq!(record.codes[5], 221);
        let bare = |message: &[u8]| {
            let text: String = message.iter().map(|b| char::from(*b)).collect();
            text.replace("\r\n", "").contains(['\r', '\n'])
        };
        prop_assert_eq!(record.stored.len(), usize::from(record.codes[4] == 250));
        prop_assert!(record.stored.iter().all(|(_, message)| !bare(message)));
    }

    #[test]
    fn no_octet_of_a_chunk_is_a_command(
        chunks in proptest::collection::vec(data(), 1..5), cuts in proptest::collection::vec(1usize..40, 1..20)
    ) {
        let last = chunks.len() - 1;
        let mut session = OPEN.as_bytes().to_vec();
        for (at, chunk) in chunks.iter().enumerate() {
            let end = if at == last { " LAST" } else { "" };
            session.extend_from_slice(format!("BDAT {}{end}\r\n", chunk.len()).as_bytes());
            session.extend_from_slice(chunk);
        }
        session.extend_from_slice(b"QUIT\r\n");
        let record = drive(&session, &cuts);
        prop_assert_eq!(record.codes.len(), 3 + chunks.len() + 1, "{:?}", record);
        prop_assert_eq!(record.codes.last(), Some(&221));
        let refused = record.codes.iter().filter(|code| **code >= 400).count();
        prop_assert_eq!(record.stored.len(), usize::from(refused == 0));
    }

    #[test]
    fn any_octets_are_answered_however_they_are_split_into_reads(
        junk in proptest::collection::vec(any::<u8>(), 0..200), more in data(),
        cuts in proptest::collection::vec(1usize..40, 1..20), at_start in any::<bool>(),
    ) {
        let start = if at_start { BEFORE.as_bytes() } else { b"" };
        let session = [start, &junk, b"\r\n", &more, b"\r\n.\r\nNOOP\r\n"].concat();
        prop_assert_eq!(drive(&session, &cuts), drive(&session, &[usize::MAX]));
    }
}

#[test]
fn a_message_is_stored_for_the_accepted_recipients() {
    let session = format!("{BEFORE}Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n");
    let record = drive(session.as_bytes(), &[3]);
    assert_eq!(record.codes, [250, 250, 250, 354, 250, 221]);
    assert_eq!(record.stored, [(1, b"Subject: x\r\n\r\n.\r\n".to_vec())]);
}

const OPEN: &str = "EHLO c\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\n";

#[test]
fn a_message_comes_in_chunks() {
    let chunks = "BDAT 14\r\nSubject: x\r\n\r\nBDAT 0\r\nBDAT 7 LAST\r\n.\r\nQUITQUIT\r\n";
    let record = drive(format!("{OPEN}{chunks}").as_bytes(), &[3]);
    assert_eq!(record.codes, [250, 250, 250, 250, 250, 250, 221]);
    assert_eq!(record.stored, [(1, b"Subject: x\r\n\r\n.\r\nQUIT\r\n".to_vec())]);
}

#[test]
fn chunks_that_are_not_wanted_are_no_commands() {
    let codes = |input: &str| drive(format!("EHLO c\r\n{input}").as_bytes(), &[5]).codes;
    let quit = "QUIT\r\n";
    assert_eq!(codes(&format!("BDAT 6\r\n{quit}NOOP\r\n")), [250, 503, 250]);
    assert_eq!(codes(&format!("MAIL FROM:<a@x.org>\r\nBDAT 6 LAST\r\n{quit}NOOP\r\n")), [250, 250, 503, 250]);
    let open = &OPEN["EHLO c\r\n".len()..];
    // Other commands between chunks, and RSET.
    let between =
        "DATA\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nSTARTTLS\r\nNOOP\r\nRSET\r\nBDAT 1 LAST\r\nxNOOP\r\n";
    let expected = [250, 250, 250, 250, 503, 503, 503, 503, 250, 250, 503, 250];
    assert_eq!(codes(&format!("{open}BDAT 1\r\nx{between}")), expected);
    // A chunk that refuses the message refuses those that follow.
    let refused = format!("{open}BDAT 3\r\na\nbBDAT 6 LAST\r\n{quit}NOOP\r\n");
    assert_eq!(codes(&refused), [250, 250, 250, 550, 503, 250]);
    let large = "x".repeat(4000);
    let too_big = format!("{open}BDAT 4000\r\n{large}BDAT 4000 LAST\r\n{large}NOOP\r\n");
    assert_eq!(codes(&too_big), [250, 250, 250, 250, 552, 250]);
    // Where the next command begins is not known, or too far away.
    assert_eq!(codes(&format!("{open}BDAT 5000\r\nNOOP\r\n")), [250, 250, 250, 552]);
    assert_eq!(codes(&format!("{open}BDAT 6 FIRST\r\n{quit}")), [250, 250, 250, 501]);
    assert_eq!(drive(b"BDAT 6\r\nQUIT\r\n", &[9]).codes, [503]);
    // Chunks of nothing, and of next to nothing, come to an end.
    assert_eq!(codes(&format!("{open}{}", "BDAT 0\r\n".repeat(200))).last(), Some(&421));
    assert_eq!(codes(&format!("{open}{}", "BDAT 1\r\nx".repeat(200))).last(), Some(&421));
}

#[test]
fn idle_commands_are_no_errors_and_have_a_limit_of_their_own() {
    let idle = |count: usize| "NOOP\r\n".repeat(count);
    let ended = |input: &str| drive(input.as_bytes(), &[usize::MAX]).last;
    assert_eq!(ended(&format!("EHLO c\r\n{}", idle(99))), None);
    let replies = ended(&format!("EHLO c\r\n{}", idle(100))).unwrap();
    assert!(replies.starts_with("421 4.7.0 more than 100 commands without a message"), "{replies}");
    for command in ["RSET", "VRFY x", "HELP", "EHLO c"] {
        assert_eq!(ended(&format!("{command}\r\n").repeat(101)), Some(replies.clone()), "{command}");
    }
    // Errors reach their own limit, however many idle commands come between.
    let reply = ended(&format!("EHLO c\r\n{}", "NOOP\r\nNOSUCH\r\n".repeat(20))).unwrap();
    assert!(reply.starts_with("421 4.7.0 too many errors"), "{reply}");
    // A message that is taken begins the count anew.
    let message = format!("{}.\r\nRSET\r\n{}", BEFORE, idle(98));
    assert_eq!(ended(&message.repeat(5)), None);
}
