//! The SASL exchange of SMTP AUTH and IMAP AUTHENTICATE, without I/O.
//!
//! PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), OAUTHBEARER (RFC 7628) and XOAUTH2, the one before it; the API token
//! is the bearer token. Challenges and responses are base64; `*` cancels (RFC 4954 §4, RFC 3501 §6.2.2). Invariant: an
//! exchange ends after two responses at most, in credentials or in an error.

use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mechanisms: SMTP offers the first two, IMAP all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// A challenge each for the user name and the password.
    Login,
    /// RFC 7628.
    OAuthBearer,
    /// Google's mechanism from before RFC 7628, which many clients still prefer.
    XOAuth2,
}

impl Mechanism {
    /// The challenge that says why the credentials were refused, in base64. Its response, whatever it is, comes before the
    /// failure of the command (RFC 7628 §3.2.3).
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Login => None,
            // {"status":"invalid_token"}
            Self::OAuthBearer => Some("eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0="),
            // {"status":"401","schemes":"bearer"}
            Self::XOAuth2 => Some("eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0="),
        }
    }
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
    OAuthBearer,
    XOAuth2,
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
        Mechanism::OAuthBearer => Expects::OAuthBearer,
        Mechanism::XOAuth2 => Expects::XOAuth2,
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
        let Ok(text) = std::str::from_utf8(octets) else { return INVALID };
        match self {
            Self::Plain => plain(text).map_or_else(Step::Failed, Step::Credentials),
            Self::OAuthBearer => oauth_bearer(text).map_or(INVALID, Step::Credentials),
            Self::XOAuth2 => xoauth2(text).map_or(INVALID, Step::Credentials),
            Self::User => Self::Password { user: text.to_owned() }.challenge(),
            Self::Password { user } => Step::Credentials(Credentials { user, password: Secret::new(text) }),
        }
    }

    fn challenge(self) -> Step {
        let challenge = match self {
            Self::Plain | Self::OAuthBearer | Self::XOAuth2 => "",
            // Username:
            Self::User => "VXNlcm5hbWU6",
            // Password:
            Self::Password { .. } => "UGFzc3dvcmQ6",
        };
        Step::Challenge(Exchange(self), challenge)
    }
}

const INVALID: Step = Step::Failed(SaslError::InvalidResponse);

/// `n,a=USER,^A(KEY=VALUE^A)*^A`, where `auth` is `Bearer TOKEN` (RFC 7628 §3.1). Without a user there is no inbox to open.
fn oauth_bearer(text: &str) -> Option<Credentials> {
    let (header, pairs) = text.split_once('\x01')?;
    let user = header.strip_prefix("n,a=").or_else(|| header.strip_prefix("y,a="))?.strip_suffix(',')?;
    // RFC 5801 §4: `,` and `=` are escaped in a name.
    let user = user.replace("=2C", ",").replace("=2c", ",").replace("=3D", "=").replace("=3d", "=");
    bearer(user, pairs)
}

/// `user=USER^Aauth=Bearer TOKEN^A^A`
fn xoauth2(text: &str) -> Option<Credentials> {
    let (user, pairs) = text.strip_prefix("user=")?.split_once('\x01')?;
    bearer(user.to_owned(), pairs)
}

fn bearer(user: String, pairs: &str) -> Option<Credentials> {
    let mut pairs = pairs.strip_suffix("\x01\x01")?.split('\x01');
    let (scheme, token) = pairs.find_map(|pair| pair.strip_prefix("auth="))?.split_once(' ')?;
    let is_whole = !user.is_empty() && !token.is_empty() && scheme.eq_ignore_ascii_case("Bearer");
    is_whole.then(|| Credentials { user, password: Secret::new(token) })
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
    fn bearer_tokens_in_both_forms() {
        let of = |mechanism, text: &str| shown(&begin_decoded(mechanism, Some(text.as_bytes())));
        // RFC 7628 §4.1.
        let whole = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01";
        assert_eq!(of(Mechanism::OAuthBearer, whole), "user@example.com:vF9dft4qmT");
        assert_eq!(of(Mechanism::OAuthBearer, "y,a=a=2Cb=3Dc,\x01auth=bearer t\x01\x01"), "a,b=c:t");
        assert_eq!(of(Mechanism::XOAuth2, "user=a@b\x01auth=Bearer t\x01\x01"), "a@b:t");
        let step = begin(Mechanism::XOAuth2, None);
        assert_eq!(shown(&step), "challenge ");
        assert_eq!(shown(&respond(step, &STANDARD.encode("user=a@b\x01auth=Bearer t\x01\x01"))), "a@b:t");
        for bad in [
            "",
            "n,,\x01auth=Bearer t\x01\x01",
            "n,a=u\x01auth=Bearer t\x01\x01",
            "n,a=u,\x01auth=Bearer t\x01",
            "n,a=u,\x01auth=Bearer \x01\x01",
            "n,a=u,\x01auth=Basic t\x01\x01",
            "n,a=u,\x01host=h\x01\x01",
            "p=tls,a=u,\x01auth=Bearer t\x01\x01",
        ] {
            assert_eq!(of(Mechanism::OAuthBearer, bad), "invalid SASL response", "{bad:?}");
            assert_eq!(of(Mechanism::XOAuth2, &bad.replacen("n,a=u,", "user=", 1)), "invalid SASL response", "{bad:?}");
        }
        for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
            let refusal = STANDARD.decode(mechanism.refusal().unwrap()).unwrap();
            let refusal: serde_json::Value = serde_json::from_slice(&refusal).unwrap();
            assert!(refusal["status"].is_string());
        }
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
