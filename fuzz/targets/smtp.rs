//! SMTP: command lines, AUTH exchanges, the end of DATA, and chunks.

use super::codec::chunks::ChunkReceiver;
use super::codec::data::{BareLf, Outcome, Receiver};
use super::codec::line::{Line, Lines};
use super::codec::request::{Command, Path, parse};
use crate::address::ReversePath;
use crate::auth::sasl::{self, Mechanism, Step};
use crate::envelope::{MailParameters, RecipientParameters};
use bytes::BytesMut;
use futures_util::FutureExt;

/// Octets that a connection may keep of a line that has not ended: AUTH's limit.
const LINE: usize = 12_288;

/// The lines of a session: the same however they are cut into reads, and each a command or a well-formed refusal.
pub fn commands(input: &[u8]) {
    let whole = lines(input, input.len().max(1));
    let size = input.first().map_or(1, |octet| usize::from(*octet) + 1);
    assert_eq!(lines(input, size), whole, "in reads of {size} octets");
    for line in whole {
        let Line::Text(text) = line else { continue };
        command(&text);
        exchange(&text);
    }
}

fn lines(input: &[u8], size: usize) -> Vec<Line> {
    let (mut lines, mut buffer, mut found) = (Lines::default(), BytesMut::new(), Vec::new());
    for read in input.chunks(size) {
        buffer.extend_from_slice(read);
        while let Some(line) = lines.next(&mut buffer, false) {
            found.push(line);
        }
        assert!(buffer.len() <= LINE, "{} octets of a line are kept", buffer.len());
    }
    found
}

fn command(line: &[u8]) {
    let again = |text: String| parse(text.as_bytes());
    match parse(line) {
        Err(reply) => {
            assert!((400..600).contains(&reply.code), "{reply}");
            assert!(!reply.text.contains(['\r', '\n', '\0']), "{:?}", reply.text);
        }
        Ok(Command::Rcpt { to: Path::Mailbox(address), .. }) => {
            let same = Command::Rcpt { to: Path::Mailbox(address.clone()), parameters: RecipientParameters::default() };
            assert_eq!(again(format!("RCPT TO:<{address}>")), Ok(same), "{address} is read as another");
        }
        Ok(Command::Mail { from: Ok(from @ ReversePath::Mailbox(_)), size, .. }) => {
            let same = Command::Mail { from: Ok(from.clone()), size, parameters: MailParameters::default() };
            assert_eq!(again(format!("MAIL FROM:<{from}> SIZE={size}")), Ok(same), "{from} is read as another");
        }
        Ok(Command::Hello { name, .. }) => assert!(!name.contains(['\r', '\n', '\0']), "{name:?}"),
        Ok(_) => {}
    }
}

/// An exchange ends after three lines at most, whatever they are.
fn exchange(line: &[u8]) {
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        let mut step = sasl::begin(mechanism, None);
        for _ in 0..3 {
            step = match step {
                Step::Challenge(exchange, _) => exchange.respond(line),
                Step::Credentials(_) | Step::Failed(_) => break,
            };
        }
        assert!(!matches!(step, Step::Challenge(..)), "{mechanism:?} never ends");
    }
}

/// The data ends at the first CRLF.CRLF and nowhere else; what is kept is what RFC 5321 §4.5.2 says, with no bare CR or LF.
/// The first two octets say how it is cut into reads and what the limit is.
pub fn data(input: &[u8]) {
    received(input, BareLf::Refused);
    received(input, BareLf::Repaired);
}

fn received(input: &[u8], bare_lf: BareLf) {
    let ([size, limit], input) = input.split_first_chunk().unwrap_or((&[0, 255], input));
    let limit = usize::from(*limit) * 16;
    let mut receiver = Receiver::new(limit, bare_lf, crate::fuzz::client_spool().begin());
    let (mut at, mut end, mut step) = (0, None, usize::from(*size));
    while at < input.len() && end.is_none() {
        // Reads of changing length.
        step = (step * 5 + 1) % 23;
        let next = (at + step + 1).min(input.len());
        end = receiver.feed(&input[at..next]).map(|count| at + count);
        at = next;
    }
    let expected = match input.strip_prefix(b".\r\n") {
        Some(_) => Some(3),
        None => input.windows(5).position(|octets| octets == b"\r\n.\r\n").map(|at| at + 5),
    };
    assert_eq!(end, expected, "where the data ends");
    let Some(end) = end else { return };
    let data = &repaired(&input[..end - 3], bare_lf);
    let lines: Vec<_> = lines_of(data).collect();
    let message = lines.iter().flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect::<Vec<u8>>();
    let bare =
        lines.iter().any(|line| line.strip_suffix(b"\r\n").unwrap_or(line).iter().any(|b| matches!(b, b'\r' | b'\n')));
    let outcome = receiver.finish().now_or_never().expect("a small message is in memory");
    match outcome {
        Outcome::Message(kept) => {
            assert!(!bare, "a bare CR or LF is let through");
            assert!(kept.len() <= limit && kept == message, "the message is another");
        }
        Outcome::BareLineEnd => assert!(bare, "no CR or LF stands alone"),
        Outcome::TooBig => assert!(message.len() > limit || bare, "{} octets are not over {limit}", message.len()),
        Outcome::NoRoom(full) => panic!("there is room for one message: {full}"),
        Outcome::Disk(error) => panic!("{error}"),
    }
}

/// Octets in chunks: the same however they are cut into chunks and reads, and what is kept is what came, with no bare CR or LF. The first
/// two octets say how they are cut and what the limit is.
pub fn chunks(input: &[u8]) {
    let ([size, limit], input) = input.split_first_chunk().unwrap_or((&[0, 255], input));
    let limit = usize::from(*limit) * 16;
    for bare_lf in [BareLf::Refused, BareLf::Repaired] {
        let in_chunks_of = |size: usize| {
            let mut receiver = ChunkReceiver::new(limit, bare_lf, crate::fuzz::client_spool().begin());
            input.chunks(size).for_each(|chunk| receiver.feed(chunk));
            receiver.finish().now_or_never().expect("a small message is in memory")
        };
        let outcome = in_chunks_of(input.len().max(1));
        assert_eq!(in_chunks_of(usize::from(*size) + 1), outcome, "in chunks of {size} octets");
        let bare = |octets: &[u8]| {
            lines_of(octets)
                .any(|line| memchr::memchr2(b'\r', b'\n', line.strip_suffix(b"\r\n").unwrap_or(line)).is_some())
        };
        if let Outcome::Message(kept) = outcome {
            let came: Vec<u8> = input.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
            let text: Vec<u8> = kept.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
            assert!(!bare(&kept) && kept.len() <= limit && text == came, "the message is another");
            assert!(kept.is_empty() || kept.ends_with(b"\r\n"), "the last line has no end");
        }
    }
}

/// With CRLF for each bare LF, and a dot after it doubled unless it is doubled already.
fn repaired(data: &[u8], bare_lf: BareLf) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, octet) in data.iter().enumerate() {
        let is_bare = |at: usize| data[at] == b'\n' && (at == 0 || data[at - 1] != b'\r');
        if bare_lf == BareLf::Repaired && is_bare(at) {
            out.push(b'\r');
        }
        out.push(*octet);
        if bare_lf == BareLf::Repaired
            && is_bare(at)
            && data[at + 1..].starts_with(b".")
            && !data[at + 1..].starts_with(b"..")
        {
            out.push(b'.');
        }
    }
    out
}

/// Lines with their CRLF.
fn lines_of(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        let line = rest.split_off(..end)?;
        (!line.is_empty()).then_some(line)
    })
}
