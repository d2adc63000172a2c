//! AUTH: the exchange that turns base64 lines into a user name and a password.
//!
//! Invariant: an exchange ends in credentials or in one refusal; what was sent is never shown. RFC 4954 §4, RFC 4616
//! (PLAIN), and LOGIN as clients speak it (draft-murchison-sasl-login).

use super::codec::reply;
use crate::envelope::Reply;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mechanisms this server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// User name and password, each asked for.
    Login,
}

/// What a client claims to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// An exchange that waits for the client's next line.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN's only message.
    Plain,
    /// LOGIN's first.
    User,
    /// LOGIN's second.
    Password { user: String },
}

/// How an exchange goes on.
#[derive(Debug)]
pub(super) enum Turn {
    /// Send this, wait for a line.
    Ask(Exchange, Reply),
    /// Ask the authenticator.
    Done(Credentials),
    /// It is over.
    Refuse(Reply),
}

/// Begins an exchange; `initial` is what stood in the AUTH command itself (RFC 4954 §4: `=` is an empty response).
pub(super) fn begin(mechanism: Mechanism, initial: Option<&str>) -> Turn {
    let exchange = match mechanism {
        Mechanism::Plain => Exchange::Plain,
        Mechanism::Login => Exchange::User,
    };
    match initial {
        None => exchange.ask(),
        Some("=") => exchange.respond(b""),
        Some(response) => exchange.respond(response.as_bytes()),
    }
}

impl Exchange {
    /// Takes the client's next line.
    pub(super) fn respond(self, line: &[u8]) -> Turn {
        if line == b"*" {
            return Turn::Refuse(reply::auth_cancelled());
        }
        let Some(text) = STANDARD.decode(line).ok().and_then(|octets| String::from_utf8(octets).ok()) else {
            return Turn::Refuse(reply::auth_undecodable());
        };
        match self {
            Self::Plain => plain(&text),
            Self::User => Self::Password { user: text }.ask(),
            Self::Password { user } => Turn::Done(Credentials { user, password: Secret::new(text) }),
        }
    }

    fn ask(self) -> Turn {
        let prompt = match self {
            Self::Plain => "",
            Self::User => "VXNlcm5hbWU6",
            Self::Password { .. } => "UGFzc3dvcmQ6",
        };
        Turn::Ask(self, Reply::plain(334, prompt))
    }
}

/// `[authzid] NUL authcid NUL passwd`. Nobody acts for another here, so an authzid can only repeat the authcid.
fn plain(text: &str) -> Turn {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(acts_for), Some(user), Some(password), None) if !user.is_empty() => {
            if !acts_for.is_empty() && acts_for != user {
                return Turn::Refuse(reply::auth_wrong());
            }
            Turn::Done(Credentials { user: user.to_owned(), password: Secret::new(password) })
        }
        _ => Turn::Refuse(reply::auth_undecodable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(turn: &Turn) -> String {
        match turn {
            Turn::Ask(_, reply) | Turn::Refuse(reply) => reply.to_string(),
            Turn::Done(Credentials { user, password }) => format!("{user}:{}", password.reveal()),
        }
    }

    #[test]
    fn plain_with_and_without_an_initial_response() {
        let response = STANDARD.encode("\0ann@x.org\0secret");
        assert_eq!(code(&begin(Mechanism::Plain, Some(&response))), "ann@x.org:secret");
        let Turn::Ask(exchange, reply) = begin(Mechanism::Plain, None) else { panic!() };
        assert_eq!(reply, Reply::plain(334, ""));
        assert_eq!(code(&exchange.respond(response.as_bytes())), "ann@x.org:secret");
        let same = STANDARD.encode("ann\0ann\0secret");
        assert_eq!(code(&begin(Mechanism::Plain, Some(&same))), "ann:secret");
    }

    #[test]
    fn login_with_and_without_an_initial_response() {
        let (user, password) = (STANDARD.encode("ann"), STANDARD.encode("secret"));
        let Turn::Ask(exchange, reply) = begin(Mechanism::Login, None) else { panic!() };
        assert_eq!(reply.to_string(), "334 VXNlcm5hbWU6");
        let Turn::Ask(exchange, reply) = exchange.respond(user.as_bytes()) else { panic!() };
        assert_eq!(reply.to_string(), "334 UGFzc3dvcmQ6");
        assert_eq!(code(&exchange.respond(password.as_bytes())), "ann:secret");
        let Turn::Ask(exchange, _) = begin(Mechanism::Login, Some(&user)) else { panic!() };
        assert!(matches!(exchange, Exchange::Password { .. }));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let act_for_another = STANDARD.encode("bob\0ann\0secret");
        for (response, expected) in [
            ("*", "501 5.7.0"),
            ("=", "501 5.5.2"),
            ("!!!", "501 5.5.2"),
            ("/w==", "501 5.5.2"),
            (&STANDARD.encode("ann"), "501 5.5.2"),
            (&STANDARD.encode("\0\0secret"), "501 5.5.2"),
            (&STANDARD.encode("\0a\0b\0c"), "501 5.5.2"),
            (&act_for_another, "535 5.7.8"),
        ] {
            let turn = begin(Mechanism::Plain, Some(response));
            assert!(code(&turn).starts_with(expected), "{response}: {turn:?}");
        }
    }
}
