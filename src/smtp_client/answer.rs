//! The answer of a server, or why there is none.

use crate::envelope::{EnhancedCode, Reply};
use mail_send::Error;
use smtp_proto::Response;

/// The answer to a command, or for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply(Reply),
    /// No valid reply, before the end of data was sent: another server may be tried.
    Lost(Failure),
    /// No valid reply to the end of data: the server may have accepted it.
    MaybeDelivered(Failure),
    /// The server lacks an extension that the message needs.
    CannotCarry(Failure),
}

/// A failure without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status code (RFC 3463).
    pub status: EnhancedCode,
    pub text: String,
}

impl Failure {
    pub(super) fn new(status: EnhancedCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl Answer {
    pub(super) fn of(response: Result<Response<String>, Error>) -> Self {
        match response {
            Ok(response) => Self::Reply(reply(&response)),
            Err(error) => Self::of_error(&error),
        }
    }

    pub(super) fn of_error(error: &Error) -> Self {
        let text = match error {
            Error::UnexpectedReply(response) | Error::AuthenticationFailed(response) => {
                return Self::Reply(reply(response));
            }
            Error::UnparseableReply => "the server closed the connection, or sent no valid reply".to_owned(),
            Error::Timeout => "the server did not answer in time".to_owned(),
            other => other.to_string(),
        };
        Self::Lost(Failure::new(EnhancedCode(4, 4, 2), text))
    }

    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Reply(reply) if reply.code / 100 == 2)
    }

    /// True if the connection is lost, or the server closes it (RFC 5321 §3.8).
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.code == 421,
            Self::Lost(_) | Self::MaybeDelivered(_) => true,
            Self::CannotCarry(_) => false,
        }
    }
}

/// A reply as parsed by the client library. It keeps each part of an enhanced code in an octet, so a detail like
/// Exchange's 5.7.509 becomes 255, and counts as unknown.
fn reply(response: &Response<String>) -> Reply {
    let [class, subject, detail] = response.esc;
    let known = matches!(class, 2 | 4 | 5);
    let detail = if detail == u8::MAX { 0 } else { detail };
    Reply {
        code: response.code,
        enhanced: known.then(|| EnhancedCode(class, subject.into(), detail.into())),
        text: response.message.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_several_lines_becomes_one_and_an_unknown_detail_is_left_out() {
        let response = Response { code: 550, esc: [5, 7, 255], message: "access\ndenied\r\n now".to_owned() };
        assert_eq!(reply(&response).to_string(), "550 5.7.0 access denied now");
        let bare = Response { code: 550, esc: [0, 0, 0], message: "no".to_owned() };
        assert_eq!(reply(&bare).to_string(), "550 no");
    }

    #[test]
    fn without_a_valid_reply_the_connection_is_lost() {
        let reset = Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for error in [reset, Error::Timeout, Error::UnparseableReply, Error::MissingStartTls] {
            assert!(matches!(Answer::of_error(&error), Answer::Lost(_)), "{error}");
        }
    }
}
