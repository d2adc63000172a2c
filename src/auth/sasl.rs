//! The SASL exchange of SMTP AUTH and IMAP AUTHENTICATE, without I/O.
//!
//! PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login). Challenges and responses are base64; `*` cancels (RFC 4954 §4,
//! RFC 3501 §6.2.2). Invariant: an exchange ends after two responses at most, in credentials or in an error.

use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mechanisms that both servers offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// A challenge each for the user name and the password.
    Login,
}

/// A user name and a password, not checked yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// An exchange that waits for a response.
#[derive(Debug)]
pub struct Exchange(Expects);

#[derive(Debug)]
enum Expects {
    Plain,
    User,
    Password { user: String },
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge (in base64), then pass the next line to [`Exchange::respond`].
    Challenge(Exchange, &'static str),
    Credentials(Credentials),
    Failed(SaslError),
}

/// Why an exchange has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("authentication cancelled")]
    Cancelled,
    #[error("invalid base64 in SASL response")]
    InvalidBase64,
    /// Not what the mechanism asks for.
    #[error("invalid SASL response")]
    InvalidResponse,
    /// An authorization identity that is not the authentication identity: acting for another user is not supported.
    #[error("authorization identity differs from the user name")]
    OtherIdentity,
}

/// Begins an exchange. `initial` is the initial response in base64, `=` for an empty one (RFC 4954 §4, RFC 4959 §3).
pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Step {
    match initial {
        None => begin_decoded(mechanism, None),
        Some("=") => begin_decoded(mechanism, Some(b"")),
        Some(response) => match STANDARD.decode(response) {
            Ok(octets) => begin_decoded(mechanism, Some(&octets)),
            Err(_) => Step::Failed(SaslError::InvalidBase64),
        },
    }
}

/// Begins an exchange whose initial response has been decoded.
pub fn begin_decoded(mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
    let expects = match mechanism {
        Mechanism::Plain => Expects::Plain,
        Mechanism::Login => Expects::User,
    };
    match initial {
        None => expects.challenge(),
        Some(octets) => expects.take(octets),
    }
}

impl Exchange {
    /// Takes the client's line, without its CRLF.
    pub fn respond(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Failed(SaslError::Cancelled);
        }
        match STANDARD.decode(line) {
            Ok(octets) => self.0.take(&octets),
            Err(_) => Step::Failed(SaslError::InvalidBase64),
        }
    }
}

impl Expects {
    fn take(self, octets: &[u8]) -> Step {
        let Ok(text) = std::str::from_utf8(octets) else { return Step::Failed(SaslError::InvalidResponse) };
        match self {
            Self::Plain => plain(text).map_or_else(Step::Failed, Step::Credentials),
            Self::User => Self::Password { user: text.to_owned() }.challenge(),
            Self::Password { user } => Step::Credentials(Credentials { user, password: Secret::new(text) }),
        }
    }

    fn challenge(self) -> Step {
        let challenge = match self {
            Self::Plain => "",
            // Username:
            Self::User => "VXNlcm5hbWU6",
            // Password:
            Self::Password { .. } => "UGFzc3dvcmQ6",
        };
        Step::Challenge(Exchange(self), challenge)
    }
}

/// `[authzid] NUL authcid NUL passwd`
fn plain(text: &str) -> Result<Credentials, SaslError> {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(authzid), Some(authcid), Some(password), None) if !authcid.is_empty() => {
            if !authzid.is_empty() && authzid != authcid {
                return Err(SaslError::OtherIdentity);
            }
            Ok(Credentials { user: authcid.to_owned(), password: Secret::new(password) })
        }
        _ => Err(SaslError::InvalidResponse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(step: &Step) -> String {
        match step {
            Step::Challenge(_, challenge) => format!("challenge {challenge}"),
            Step::Credentials(Credentials { user, password }) => format!("{user}:{}", password.reveal()),
            Step::Failed(error) => error.to_string(),
        }
    }

    fn respond(step: Step, line: &str) -> Step {
        let Step::Challenge(exchange, _) = step else { panic!("{step:?}") };
        exchange.respond(line.as_bytes())
    }

    #[test]
    fn plain_with_and_without_an_initial_response() {
        let response = STANDARD.encode("\0ann@x.org\0secret");
        assert_eq!(shown(&begin(Mechanism::Plain, Some(&response))), "ann@x.org:secret");
        let step = begin(Mechanism::Plain, None);
        assert_eq!(shown(&step), "challenge ");
        assert_eq!(shown(&respond(step, &response)), "ann@x.org:secret");
        let step = begin_decoded(Mechanism::Plain, Some(b"ann\0ann\0secret"));
        assert_eq!(shown(&step), "ann:secret");
    }

    #[test]
    fn login_with_and_without_an_initial_response() {
        let (user, password) = (STANDARD.encode("ann"), STANDARD.encode("secret"));
        let step = begin(Mechanism::Login, None);
        assert_eq!(shown(&step), "challenge VXNlcm5hbWU6");
        let step = respond(step, &user);
        assert_eq!(shown(&step), "challenge UGFzc3dvcmQ6");
        assert_eq!(shown(&respond(step, &password)), "ann:secret");
        assert_eq!(shown(&begin(Mechanism::Login, Some(&user))), "challenge UGFzc3dvcmQ6");
    }

    #[test]
    fn invalid_responses_say_what_is_wrong() {
        for (response, expected) in [
            ("*", "authentication cancelled"),
            ("=", "invalid base64 in SASL response"),
            ("!!!", "invalid base64 in SASL response"),
            ("/w==", "invalid SASL response"),
            ("", "invalid SASL response"),
            (&STANDARD.encode("ann"), "invalid SASL response"),
            (&STANDARD.encode("\0\0secret"), "invalid SASL response"),
            (&STANDARD.encode("\0a\0b\0c"), "invalid SASL response"),
            (&STANDARD.encode("bob\0ann\0secret"), "authorization identity differs from the user name"),
        ] {
            assert_eq!(shown(&respond(begin(Mechanism::Plain, None), response)), expected, "{response}");
        }
        assert_eq!(shown(&begin(Mechanism::Plain, Some("="))), "invalid SASL response");
    }
}
