//! SMTP: what another server answers to the queue's client.

use super::outcome::{Outcome, of_answer, of_next_host};
use crate::address::ReversePath;
use crate::envelope::RecipientParameters;
use crate::net::client_tls::ClientTls;
use crate::smtp_client::{
    Body, ForwardPath, Host, OutgoingMail, RcptTo, Security, SmtpClient, TimeAllowance, Timeouts,
};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const HEADER: &[u8] = b"From: a@example.org\r\nSubject: s\r\n\r\n";
const BODY: &[u8] = b".a dot\r\nbody\r\n";
/// Longer than any answer here takes: what is waited for longer never comes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Octets that an endless answer gets rid of at most: what is read of one, and what sockets hold.
const ENDLESS: usize = 32 * 1024 * 1024;

struct World {
    runtime: Runtime,
    client: SmtpClient,
}

thread_local! {
    static WORLD: World = {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let timeouts = Timeouts { connect: TIMEOUT, command: TIMEOUT, block: TIMEOUT, end_of_data: TIMEOUT };
        World { runtime, client: SmtpClient::new("mx.example.org".into(), ClientTls::new(None).unwrap(), timeouts) }
    };
}

/// What the server does.
struct Script<'a> {
    /// The greeting, and the answer to each line of the client, each up to the end of its first reply. Then it hangs up.
    replies: Vec<&'a [u8]>,
    /// It never stops giving the last answer instead.
    is_endless: bool,
    /// Octets that it writes at once.
    piece: usize,
}

/// What the server heard.
#[derive(Default)]
struct Heard {
    /// The number of the reply that answers the end of data.
    end_of_data: Option<usize>,
    /// As it came, up to the end of data.
    message: Vec<u8>,
    is_tls: bool,
    octets_written: usize,
}

/// The first octet says how replies are cut into writes, the second how many recipients there are and the like; what
/// follows are replies with NUL between. Whatever the server says, each recipient has an outcome, with a text of one line; it
/// is delivered or bounced only when the server said so, and delivered only with the whole message.
pub fn replies(input: &[u8]) {
    let ([piece, flags], replies) = input.split_first_chunk().unwrap_or((&[255, 0], input));
    let replies = without_bare_cr(replies);
    let replies: Vec<_> = replies.split(|b| *b == 0).map(first_reply).collect();
    let rcpt_to: Vec<ForwardPath> = ["a@example.org", "b@example.org", "c@example.org", "d@example.org"]
        .iter()
        .take(1 + usize::from(flags & 3))
        .map(|address| ForwardPath::Mailbox(address.parse().unwrap()))
        .collect();
    let is_8bit = flags & 4 != 0;
    let is_endless = flags & 16 != 0;
    let mut script = Script { replies, is_endless, piece: usize::MAX };
    let whole = attempt(&script, &rcpt_to, is_8bit);
    script.piece = usize::from(*piece) + 1;
    let cut = attempt(&script, &rcpt_to, is_8bit);
    if !is_endless {
        let summary = |outcomes: &[Outcome]| outcomes.iter().map(|o| (o.word(), o.reply().status)).collect::<Vec<_>>();
        assert_eq!(summary(&whole), summary(&cut), "in writes of {} octets", script.piece);
    }
}

/// An outcome for each recipient.
fn attempt(script: &Script<'_>, rcpt_to: &[ForwardPath], is_8bit: bool) -> Vec<Outcome> {
    let (delivery, heard) = WORLD.with(|world| {
        world.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = listener.local_addr().unwrap();
            let host = Host { name: "mx.example.net", socket, security: Security::Opportunistic };
            let named: Vec<RcptTo> = rcpt_to
                .iter()
                .map(|path| RcptTo { path: path.clone(), parameters: RecipientParameters::default() })
                .collect();
            let mail = OutgoingMail {
                mail_from: &ReversePath::Mailbox("me@example.org".parse().unwrap()),
                parameters: &crate::envelope::MailParameters::default(),
                rcpt_to: &named,
                header: HEADER,
                body: Body::InMemory(BODY),
                is_8bit,
                allowance: &TimeAllowance::new(TIMEOUT),
            };
            let deliver = async {
                let delivery = world.client.deliver(&host, &mail).await;
                world.client.close_idle().await;
                delivery
            };
            let serve = async {
                let (stream, _) = listener.accept().await.unwrap();
                // The script has one connection: without TLS on it, another one is refused.
                drop(listener);
                stream.set_nodelay(true).unwrap();
                let mut heard = Heard::default();
                // The client may hang up at any time.
                let _ = serve(BufReader::new(stream), script, &mut heard).await;
                heard
            };
            tokio::join!(deliver, serve)
        })
    });
    let outcomes: Vec<_> = match delivery {
        Ok(delivery) => delivery.answers.iter().map(of_answer).collect(),
        Err(next) => vec![of_next_host(&next.answer); rcpt_to.len()],
    };
    assert_eq!(outcomes.len(), rcpt_to.len());
    outcomes.iter().for_each(|outcome| check(outcome, script, &heard, is_8bit));
    outcomes
}

fn check(outcome: &Outcome, script: &Script<'_>, heard: &Heard, is_8bit: bool) {
    assert!(heard.octets_written < ENDLESS, "{} octets of an endless answer are read", heard.octets_written);
    let server_replies = outcome.reply();
    assert!((1..=600).contains(&server_replies.text.len()), "{} octets: {outcome:?}", server_replies.text.len());
    assert!(server_replies.text.bytes().all(|b| matches!(b, b' '..=b'~')), "more than a line of text: {outcome:?}");
    assert!(
        server_replies.text != "the server did not answer in time"
            || script.replies.iter().any(|reply| is_run_past(reply)),
        "the server waits for the client: {outcome:?}"
    );
    let is_ours =
        is_8bit && server_replies.status.to_string() == "5.6.3" || server_replies.status.to_string() == "5.3.4";
    let replies = || script.replies.iter().flat_map(|reply| reply.split(|b| *b == b'\n'));
    match outcome {
        Outcome::Delivered(_) => {
            // Who talks without end does not listen.
            if script.is_endless {
                return;
            }
            let end = heard.end_of_data.unwrap_or_else(|| panic!("{outcome:?} without the end of data"));
            let reply = script.replies[end];
            assert!(server_replies.status.0 == 2 && reply.starts_with(b"2"), "{outcome:?}");
            let stuffed = [HEADER, b".", BODY].concat();
            assert_eq!(heard.message, stuffed, "the message is another");
        }
        Outcome::Bounced(_) => {
            assert!(server_replies.status.0 == 5, "{outcome:?}");
            assert!(is_ours || replies().any(|line| line.starts_with(b"5")), "{outcome:?} without a 5yz reply");
        }
        Outcome::Deferred(_) => assert_eq!(server_replies.status.0, 4, "{outcome:?}"),
        Outcome::Postponed(_) | Outcome::Waiting(_) => panic!("{outcome:?} after an attempt"),
    }
}

async fn serve(mut stream: BufReader<TcpStream>, script: &Script<'_>, heard: &mut Heard) -> io::Result<()> {
    let (mut line, mut in_data) = (Vec::new(), false);
    for (number, reply) in script.replies.iter().enumerate() {
        if in_data {
            read_data(&mut stream, heard).await?;
            heard.end_of_data = Some(number);
        } else if number > 0 {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
        }
        write(stream.get_mut(), reply, script.piece, heard).await?;
        let is_repeated = script.is_endless && number + 1 == script.replies.len();
        if !is_whole(reply) && !is_repeated {
            return Ok(());
        }
        if line == b"STARTTLS\r\n" && reply.starts_with(b"2") {
            heard.is_tls = true;
            // It speaks no TLS: what it says is what the script has.
            if stream.read(&mut [0; 1024]).await? == 0 {
                return Ok(());
            }
            let rest = script.replies.iter().skip(number + 1).copied().collect::<Vec<_>>().concat();
            return write(stream.get_mut(), &rest, script.piece, heard).await;
        }
        in_data = !in_data && line == b"DATA\r\n" && reply.starts_with(b"354");
    }
    let last = script.replies.last().filter(|last| script.is_endless && !last.is_empty());
    while let Some(last) = last
        && heard.octets_written < ENDLESS
    {
        write(stream.get_mut(), &last.repeat(1 + 4096 / last.len()), usize::MAX, heard).await?;
    }
    Ok(())
}

/// What stands before the end of data (RFC 5321 §4.5.2).
async fn read_data(stream: &mut BufReader<TcpStream>, heard: &mut Heard) -> io::Result<()> {
    loop {
        let before = heard.message.len();
        if stream.read_until(b'\n', &mut heard.message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if heard.message.get(before..) == Some(b".\r\n") {
            heard.message.truncate(before);
            return Ok(());
        }
    }
}

async fn write(stream: &mut TcpStream, octets: &[u8], piece: usize, heard: &mut Heard) -> io::Result<()> {
    for piece in octets.chunks(piece) {
        stream.write_all(piece).await?;
        heard.octets_written += piece.len();
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A reply ends with its first line that has no hyphen behind the code (RFC 5321 §4.2.1).
fn first_reply(octets: &[u8]) -> &[u8] {
    let mut end = 0;
    for line in octets.split_inclusive(|b| *b == b'\n') {
        end += line.len();
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    &octets[..end]
}

fn is_whole(reply: &[u8]) -> bool {
    let last = reply.split_inclusive(|b| *b == b'\n').next_back().unwrap_or_default();
    last.ends_with(b"\n") && last.get(3) != Some(&b'-')
}

/// smtp-proto runs past the line end of a misspelt ENHANCEDSTATUSCODES, and then waits for another line.
fn is_run_past(reply: &[u8]) -> bool {
    let parsed = smtp_proto::EhloResponse::parse(&mut reply.iter());
    is_whole(reply) && matches!(parsed, Err(smtp_proto::Error::NeedsMoreData { .. }))
}

/// Where a CR stands alone, two readers may see different lines.
fn without_bare_cr(octets: &[u8]) -> Vec<u8> {
    let is_bare = |at: usize| octets[at] == b'\r' && octets.get(at + 1) != Some(&b'\n');
    (0..octets.len()).filter(|at| !is_bare(*at)).map(|at| octets[at]).collect()
}
