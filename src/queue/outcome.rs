//! The outcome for a recipient, from a mail server's answer or the lack of one.
//!
//! Invariant: pure; only a 5yz reply or a definite DNS answer bounces, everything else is retried until the message expires. RFC 5321 §4.2.1 (replies), §4.5.4.1 (retries); RFC 3463 (status codes).

use crate::clock::Timestamp;
use crate::config::HumanDuration;
use crate::envelope::{EnhancedCode, Reply};
use crate::smtp_client::{Answer, Failure, Protection};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// An attempt that begins this long after it was due is late.
const LATE: Duration = Duration::from_secs(3600);

/// A remote server's reply, or the reason that there is none, for bounces, the queue's listing and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteReply {
    /// The status code of a bounce.
    pub status: EnhancedCode,
    /// The reply, or our own text.
    pub text: String,
    /// `text` is an SMTP server's reply.
    pub is_smtp: bool,
    /// The host.
    pub mx: Option<String>,
    /// The protection of the connection.
    pub tls: Protection,
    /// The host reports to who asks for it (RFC 3461).
    pub reports: bool,
}

/// The outcome of an attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The next host has accepted it.
    Delivered(RemoteReply),
    /// To be retried.
    Deferred(RemoteReply),
    /// Not tried, since the host has its maximum of connections from us, or deliveries their maximum of memory; retried soon.
    Postponed(RemoteReply),
    /// Not tried, since the signing key is still being generated or the domain not verified.
    Waiting(RemoteReply),
    /// Failed permanently.
    Bounced(RemoteReply),
}

impl RemoteReply {
    /// With our own text.
    pub fn local(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), is_smtp: false, mx: None, tls: Protection::None, reports: false }
    }
}

impl Outcome {
    /// A temporary failure with our own text.
    pub fn deferred(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self::Deferred(RemoteReply::local(status, text))
    }

    /// A permanent failure with our own text.
    pub fn bounced(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self::Bounced(RemoteReply::local(status, text))
    }

    pub fn reply(&self) -> &RemoteReply {
        match self {
            Self::Delivered(reply)
            | Self::Deferred(reply)
            | Self::Postponed(reply)
            | Self::Waiting(reply)
            | Self::Bounced(reply) => reply,
        }
    }

    /// With the host that it is from; `reports`: it offers DSN.
    pub fn by(mut self, host: &str, protection: Protection, reports: bool) -> Self {
        let (Self::Delivered(reply)
        | Self::Deferred(reply)
        | Self::Postponed(reply)
        | Self::Waiting(reply)
        | Self::Bounced(reply)) = &mut self;
        reply.mx = Some(host.to_owned());
        reply.tls = protection;
        reply.reports = reports;
        self
    }

    /// For the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Deferred(_) => "deferred",
            Self::Postponed(_) => "postponed",
            Self::Waiting(_) => "waiting",
            Self::Bounced(_) => "bounced",
        }
    }

    /// The message has expired: a deferral becomes a bounce, 4.4.7 (RFC 3463 §3.5), with the last reply.
    pub fn expired(self) -> Self {
        match self {
            Self::Deferred(reply) | Self::Waiting(reply) => {
                Self::Bounced(RemoteReply { status: EnhancedCode(4, 4, 7), ..reply })
            }
            other => other,
        }
    }
}

/// A final reply for a recipient. The first digit decides, not the enhanced code.
pub(super) fn of_reply(reply: &Reply) -> Outcome {
    match reply.code {
        200..=299 => Outcome::Delivered(remote(2, reply)),
        _ => of_refusal(reply),
    }
}

/// An unexpected reply: never a delivery, even if it is 2yz.
fn of_refusal(reply: &Reply) -> Outcome {
    match reply.code {
        500..=599 => Outcome::Bounced(remote(5, reply)),
        // 1yz, 2yz and 3yz are protocol errors here, which may be temporary.
        _ => Outcome::Deferred(remote(4, reply)),
    }
}

fn remote(class: u8, reply: &Reply) -> RemoteReply {
    let EnhancedCode(_, subject, detail) = reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0));
    RemoteReply { is_smtp: true, ..RemoteReply::local(EnhancedCode(class, subject, detail), reply.to_string()) }
}

/// The outcome at a server for one recipient.
pub(super) fn of_answer(answer: &Answer) -> Outcome {
    match answer {
        Answer::Reply(reply) => of_reply(reply),
        Answer::Lost(failure) | Answer::MaybeDelivered(failure) | Answer::CannotCarry(failure) => of_failure(failure),
    }
}

/// The outcome at a server that was not offered the message.
pub(super) fn of_next_host(answer: &Answer) -> Outcome {
    match answer {
        Answer::Reply(reply) => of_refusal(reply),
        Answer::Lost(failure) | Answer::MaybeDelivered(failure) | Answer::CannotCarry(failure) => of_failure(failure),
    }
}

fn of_failure(failure: &Failure) -> Outcome {
    let Failure { status, text } = failure.clone();
    if status.0 == 5 { Outcome::bounced(status, text) } else { Outcome::deferred(status, text) }
}

/// True if a message is given up after this failed attempt: it began after the message had expired, and was not late. A late one (the
/// daemon was down, the clock jumped ahead) may have failed for the same reason, and the message gets another attempt.
pub(super) fn is_over(begun: Timestamp, due_at: Timestamp, expires_at: Timestamp) -> bool {
    begun >= expires_at && begun.since(due_at) < LATE
}

/// The pause after this many attempts. The last one repeats. Each is stretched by up to a tenth, so that mail that failed at once is not
/// retried at once; the same `seed` gives the same stretch, so that recipients stay together.
pub(super) fn pause(pauses: &[HumanDuration], attempts: u32, seed: &str) -> Duration {
    let at = usize::try_from(attempts).unwrap_or(usize::MAX);
    let pause = pauses.get(at).or(pauses.last()).map_or(Duration::from_secs(1800), |pause| pause.0);
    let mut hasher = DefaultHasher::new();
    (seed, attempts).hash(&mut hasher);
    let stretch = u32::try_from(hasher.finish() % 101).unwrap_or(0);
    (pause + pause / 1000 * stretch).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Outcome {
        let (code, rest) = text.split_once(' ').unwrap();
        let (enhanced, rest) = match EnhancedCode::parse_prefix(rest) {
            Some(code) => (Some(code), rest.split_once(' ').map_or("", |(_, r)| r)),
            None => (None, rest),
        };
        of_reply(&Reply { code: code.parse().unwrap(), enhanced, text: rest.into() })
    }

    #[test]
    fn the_first_digit_decides() {
        for (reply, word, status) in [
            ("250 2.0.0 ok", "delivered", "2.0.0"),
            ("250 ok", "delivered", "2.0.0"),
            ("450 4.2.1 later", "deferred", "4.2.1"),
            ("421 closing", "deferred", "4.0.0"),
            ("452 too many recipients", "deferred", "4.0.0"),
            ("550 5.1.1 unknown", "bounced", "5.1.1"),
            ("550 4.7.1 confused", "bounced", "5.7.1"),
            ("450 5.7.1 confused", "deferred", "4.7.1"),
            ("554 no", "bounced", "5.0.0"),
            ("354 go on", "deferred", "4.0.0"),
            ("120 what", "deferred", "4.0.0"),
        ] {
            let outcome = line(reply);
            assert_eq!((outcome.word(), outcome.reply().status.to_string().as_str()), (word, status), "{reply}");
            assert_eq!(outcome.reply().text, reply);
        }
    }

    #[test]
    fn an_unexpected_reply_is_never_a_delivery() {
        for (code, word, status) in [(220, "deferred", "4.0.0"), (250, "deferred", "4.0.0"), (554, "bounced", "5.0.0")]
        {
            let outcome = of_next_host(&Answer::Reply(Reply::plain(code, "x")));
            assert_eq!((outcome.word(), outcome.reply().status.to_string().as_str()), (word, status), "{code}");
        }
    }

    #[test]
    fn only_a_deferral_expires() {
        let expired = line("451 4.3.0 later").expired();
        assert_eq!((expired.word(), expired.reply().status), ("bounced", EnhancedCode(4, 4, 7)));
        assert!(expired.reply().is_smtp && expired.reply().text == "451 4.3.0 later");
        assert_eq!(line("250 ok").expired(), line("250 ok"));
    }

    #[test]
    fn a_message_is_given_up_by_an_attempt_past_its_end_that_was_not_late() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let over = |begun, due, expires| is_over(at(begun), at(due), at(expires));
        assert!(over(100, 100, 100) && over(3699, 100, 100) && over(200, 150, 100));
        assert!(!over(99, 99, 100), "it may fail after the end, and began before");
        assert!(!over(86_400, 50, 100), "the clock jumped ahead, or the daemon was down");
        assert!(over(86_700, 86_700, 100), "the attempt after that one");
    }

    #[test]
    fn pauses_grow_and_the_last_repeats() {
        let pauses = [HumanDuration::seconds(300), HumanDuration::seconds(900)];
        for (attempts, seconds) in [(0, 300), (1, 900), (2, 900), (u32::MAX, 900)] {
            for seed in ["a", "b", "c", "d"] {
                let pause = pause(&pauses, attempts, seed);
                assert!((seconds..=seconds + seconds / 10).contains(&pause.as_secs()), "{pause:?}");
            }
        }
        assert_eq!(pause(&pauses, 1, "a"), pause(&pauses, 1, "a"));
        assert!(pause(&[HumanDuration::seconds(0)], 0, "a") >= Duration::from_secs(1));
    }
}
