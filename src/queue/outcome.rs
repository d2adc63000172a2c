//! What a mail server's answer, or the lack of one, means for a recipient.
//!
//! Invariant: pure; only a 5yz reply or a definite answer of the DNS bounces, everything else is tried again until the
//! message expires. RFC 5321 §4.2.1 (replies), §4.5.4.1 (retries); RFC 3463 (status codes).

use crate::clock::Timestamp;
use crate::config::HumanDuration;
use crate::envelope::{EnhancedCode, Reply};
use mail_send::Error;
use smtp_proto::Response;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// An attempt that begins so long after it was due is late.
const LATE: Duration = Duration::from_secs(3600);

/// What was said: for the bounce, the queue's listing and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The status code of a bounce.
    pub status: EnhancedCode,
    /// The reply, or our own words.
    pub text: String,
    /// The host that said so; none: we ourselves.
    pub mx: Option<String>,
    /// How the connection to it was protected.
    pub tls: Protection,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// There was none, or it is in plaintext.
    None,
    /// TLS, with a certificate that does not prove the host's name.
    Unverified,
    /// TLS, with a certificate that does.
    Verified,
}

impl Protection {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
        }
    }
}

/// How a try ended for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The next host has it.
    Delivered(Said),
    /// To be tried again.
    Deferred(Said),
    /// Not tried: the next host has as many connections of ours as it may, or deliveries as much memory. Soon again.
    Postponed(Said),
    /// Not tried: the key that signs it is still being made.
    Waiting(Said),
    /// Never.
    Bounced(Said),
}

impl Said {
    /// Our own words.
    pub fn ours(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), mx: None, tls: Protection::None }
    }
}

impl Outcome {
    /// Our own words for something that may pass.
    pub fn deferred(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self::Deferred(Said::ours(status, text))
    }

    /// Our own words for something that will not.
    pub fn bounced(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self::Bounced(Said::ours(status, text))
    }

    /// What was said.
    pub fn said(&self) -> &Said {
        match self {
            Self::Delivered(said)
            | Self::Deferred(said)
            | Self::Postponed(said)
            | Self::Waiting(said)
            | Self::Bounced(said) => said,
        }
    }

    /// With the host that said so.
    pub fn by(mut self, host: &str, protection: Protection) -> Self {
        let (Self::Delivered(said)
        | Self::Deferred(said)
        | Self::Postponed(said)
        | Self::Waiting(said)
        | Self::Bounced(said)) = &mut self;
        said.mx = Some(host.to_owned());
        said.tls = protection;
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

    /// The time for trying is over: a deferral becomes a bounce, 4.4.7 (RFC 3463 §3.5), that says what was said last.
    pub fn expired(self) -> Self {
        match self {
            Self::Deferred(said) | Self::Waiting(said) => Self::Bounced(Said {
                status: EnhancedCode(4, 4, 7),
                text: format!("delivery time expired; the last answer was: {}", said.text),
                ..said
            }),
            other => other,
        }
    }
}

/// A final reply for a recipient. The first digit decides, whatever the enhanced code says.
pub(super) fn of_reply(reply: &Reply) -> Outcome {
    match reply.code {
        200..=299 => Outcome::Delivered(said(2, reply)),
        _ => of_refusal(reply),
    }
}

/// A reply that came in place of the one that was needed: never a delivery, even if it is 2yz.
fn of_refusal(reply: &Reply) -> Outcome {
    match reply.code {
        500..=599 => Outcome::Bounced(said(5, reply)),
        // 1yz, 2yz and 3yz are out of place here: the server is confused, and may recover.
        _ => Outcome::Deferred(said(4, reply)),
    }
}

fn said(class: u8, reply: &Reply) -> Said {
    let EnhancedCode(_, subject, detail) = reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0));
    Said::ours(EnhancedCode(class, subject, detail), reply.to_string())
}

/// An error of the conversation: what the server said, or 4.4.2.
pub(super) fn of_error(error: &Error) -> Outcome {
    match error {
        Error::UnexpectedReply(response) | Error::AuthenticationFailed(response) => of_refusal(&reply(response)),
        Error::UnparseableReply => {
            Outcome::deferred(EnhancedCode(4, 4, 2), "the server closed the connection, or sent no proper reply")
        }
        Error::Timeout => Outcome::deferred(EnhancedCode(4, 4, 2), "the server did not answer in time"),
        other => Outcome::deferred(EnhancedCode(4, 4, 2), other.to_string()),
    }
}

/// A reply as the client library has read it. Its parser keeps each part of an enhanced code in an octet, so a detail like
/// Exchange's 5.7.509 comes as 255, and is then not known.
pub(super) fn reply(response: &Response<String>) -> Reply {
    let [class, subject, detail] = response.esc;
    let known = matches!(class, 2 | 4 | 5);
    let detail = if detail == u8::MAX { 0 } else { detail };
    Reply {
        code: response.code,
        enhanced: known.then(|| EnhancedCode(class, subject.into(), detail.into())),
        text: response.message.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// True when a message that one more attempt has failed for is given up: the attempt began past the end of its time, and
/// was not late. One that is (the daemon was down, the clock jumped ahead) may have failed for the same reason, and the
/// message gets another.
pub(super) fn is_over(begun: Timestamp, due_at: Timestamp, expires_at: Timestamp) -> bool {
    begun >= expires_at && begun.since(due_at) < LATE
}

/// The pause after so many tries. The last one repeats, and each is stretched by up to a tenth, so that mail that failed
/// together does not come back together; the same `seed` gives the same stretch, so that recipients stay together.
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
            assert_eq!((outcome.word(), outcome.said().status.to_string().as_str()), (word, status), "{reply}");
            assert_eq!(outcome.said().text, reply);
        }
    }

    #[test]
    fn what_is_no_reply_is_tried_again() {
        let reset = Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for error in [reset, Error::Timeout, Error::UnparseableReply, Error::MissingStartTls] {
            assert_eq!(of_error(&error).word(), "deferred", "{error}");
        }
    }

    #[test]
    fn an_unexpected_reply_is_never_a_delivery() {
        for (code, word, status) in [(220, "deferred", "4.0.0"), (250, "deferred", "4.0.0"), (554, "bounced", "5.0.0")]
        {
            let outcome = of_error(&Error::UnexpectedReply(Response { code, esc: [0; 3], message: "x".to_owned() }));
            assert_eq!((outcome.word(), outcome.said().status.to_string().as_str()), (word, status), "{code}");
        }
    }

    #[test]
    fn a_reply_of_several_lines_is_told_in_one_and_a_cut_detail_is_not_made_up() {
        let response = Response { code: 550, esc: [5, 7, 255], message: "access\ndenied\r\n now".to_owned() };
        assert_eq!(reply(&response).to_string(), "550 5.7.0 access denied now");
        let bare = Response { code: 550, esc: [0, 0, 0], message: "no".to_owned() };
        assert_eq!(reply(&bare).to_string(), "550 no");
    }

    #[test]
    fn only_a_deferral_expires() {
        let expired = line("451 4.3.0 later").expired();
        assert_eq!((expired.word(), expired.said().status), ("bounced", EnhancedCode(4, 4, 7)));
        assert!(expired.said().text.ends_with("451 4.3.0 later"));
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
