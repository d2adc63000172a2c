//! One command line read into a [`Command`]: smtp-proto parses it, behind checks for what it lets through.
//!
//! Invariant: a [`Command`] holds printable ASCII only, and its addresses are the types of [`crate::address`]; what is
//! not a command is the reply to it. RFC 5321 §4.1; RFC 1870 (SIZE), RFC 6152 (BODY), RFC 4954 (AUTH).
//!
//! The checks, each for a defect found in smtp-proto 0.2: it drops arguments that RSET, DATA and the like do not have; it
//! drops leading spaces; it reads `<postmaster>` as the null path; it takes the quotes off a local part, so that what
//! it returns is no address any more; its numbers go wrong beyond 19 digits; and it reads parameters nobody offered.

use super::reply;
use crate::address::{Address, AddressError, DomainName, ReversePath};
use crate::envelope::Reply;
use crate::smtp::sasl::Mechanism;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, Error, Request};

/// A command of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `EHLO`, or `HELO` when it is not `extended`.
    Hello { name: String, extended: bool },
    /// `STARTTLS`
    StartTls,
    /// `AUTH`
    Auth { mechanism: Mechanism, initial: Option<String> },
    /// `MAIL FROM`: a path that is none of ours to read may still do where nothing depends on it.
    Mail { from: Result<ReversePath, AddressError>, size: usize },
    /// `RCPT TO`
    Rcpt { to: Path },
    /// `DATA`
    Data,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `VRFY`
    Vrfy,
    /// `HELP`
    Help,
    /// `QUIT`
    Quit,
}

/// Where a message is to go.
#[derive(Debug, PartialEq, Eq)]
pub enum Path {
    /// An address.
    Mailbox(Address),
    /// `<postmaster>` without a domain: ours (RFC 5321 §4.1.1.3).
    Postmaster,
}

impl Path {
    /// The address it means.
    pub fn address(self, platform: &DomainName) -> Address {
        match self {
            Self::Mailbox(address) => address,
            Self::Postmaster => crate::address::InboxName::postmaster().at(platform),
        }
    }
}

/// Reads a line (without its CRLF).
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    let text = check(line)?;
    let mut octets = Vec::with_capacity(line.len() + 2);
    octets.extend_from_slice(line);
    octets.extend_from_slice(b"\r\n");
    let request = match Request::parse(&mut octets.iter()) {
        Ok(request) => request,
        Err(error) => return Err(refusal(text, &error)),
    };
    match request {
        Request::Ehlo { host } => Ok(Command::Hello { name: host.into_owned(), extended: true }),
        Request::Helo { host } => Ok(Command::Hello { name: host.into_owned(), extended: false }),
        Request::StartTls => Ok(Command::StartTls),
        Request::Auth { mechanism, initial_response } => auth(text, mechanism, &initial_response),
        Request::Mail { from } => {
            let path = Angled::find(text).ok_or_else(reply::bad_sender)?;
            path.check_parameters(&["SIZE", "BODY", "AUTH"])?;
            if from.flags & smtp_proto::MAIL_BODY_BINARYMIME != 0 {
                return Err(reply::unknown_parameter());
            }
            let read = if path.inner.is_empty() { Ok(ReversePath::Null) } else { path.address(&from.address) };
            Ok(Command::Mail { from: read, size: from.size })
        }
        Request::Rcpt { to } => {
            let path = Angled::find(text).ok_or_else(reply::bad_recipient)?;
            path.check_parameters(&[])?;
            if path.inner.eq_ignore_ascii_case("postmaster") {
                return Ok(Command::Rcpt { to: Path::Postmaster });
            }
            match path.address(&to.address) {
                Ok(ReversePath::Mailbox(address)) => Ok(Command::Rcpt { to: Path::Mailbox(address) }),
                _ => Err(reply::bad_recipient()),
            }
        }
        Request::Data => Ok(Command::Data),
        Request::Rset => Ok(Command::Rset),
        Request::Quit => Ok(Command::Quit),
        Request::Noop { .. } => Ok(Command::Noop),
        Request::Vrfy { .. } => Ok(Command::Vrfy),
        Request::Help { .. } => Ok(Command::Help),
        Request::Lhlo { .. }
        | Request::Bdat { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. } => Err(reply::not_implemented()),
    }
}

/// True for the first line of an HTTP request: a browser that was talked into speaking to a mail server.
pub fn is_http(line: &[u8]) -> bool {
    [b"GET /".as_slice(), b"POST /", b"PUT /", b"HEAD /", b"OPTIONS ", b"CONNECT "].iter().any(|v| line.starts_with(v))
}

/// What smtp-proto must not see.
fn check(line: &[u8]) -> Result<&str, Reply> {
    let verb = line.split(|b| *b == b' ').next().unwrap_or_default();
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let text = match std::str::from_utf8(line) {
        Ok(text) if line.iter().all(|b| matches!(b, b' '..=b'~')) => text,
        _ if (is("MAIL") || is("RCPT")) && !line.iter().any(u8::is_ascii_control) => return Err(reply::not_ascii()),
        _ => return Err(reply::bad_characters()),
    };
    if verb.is_empty() {
        return Err(reply::unknown_command());
    }
    let bare = ["DATA", "RSET", "QUIT", "STARTTLS"].iter().any(|v| is(v));
    if bare && !text.split_at(verb.len()).1.trim_end().is_empty() {
        return Err(reply::no_arguments());
    }
    if is("MAIL") {
        check_size(text)?;
    }
    Ok(text)
}

/// RFC 1870 §4: 1 to 20 digits. More than 18 are more than any message has, and more than smtp-proto can count.
fn check_size(text: &str) -> Result<(), Reply> {
    for word in text.split(' ') {
        let Some((key, value)) = word.split_once('=') else { continue };
        if !key.eq_ignore_ascii_case("SIZE") {
            continue;
        }
        if value.is_empty() || value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(reply::bad_arguments());
        }
        if value.trim_start_matches('0').len() > 18 {
            return Err(reply::too_big());
        }
    }
    Ok(())
}

fn refusal(text: &str, error: &Error) -> Reply {
    let verb = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    match (verb.as_str(), error) {
        (_, Error::UnknownCommand | Error::NeedsMoreData { .. }) => reply::unknown_command(),
        (_, Error::UnsupportedParameter { .. }) => reply::unknown_parameter(),
        (_, Error::InvalidParameter { .. }) => reply::bad_arguments(),
        ("MAIL", _) => reply::bad_sender(),
        ("RCPT", _) => reply::bad_recipient(),
        ("AUTH", _) if text.split_ascii_whitespace().nth(1).is_some() => reply::unknown_mechanism(),
        _ => reply::bad_arguments(),
    }
}

fn auth(text: &str, mechanism: u64, initial: &str) -> Result<Command, Reply> {
    let mechanism = match mechanism {
        AUTH_PLAIN => Mechanism::Plain,
        AUTH_LOGIN => Mechanism::Login,
        _ => return Err(reply::unknown_mechanism()),
    };
    if text.split_ascii_whitespace().count() > 3 {
        return Err(reply::bad_arguments());
    }
    Ok(Command::Auth { mechanism, initial: (!initial.is_empty()).then(|| initial.to_owned()) })
}

/// The path of MAIL or RCPT as it was written, and what follows it.
struct Angled<'a> {
    /// Between the brackets, without a source route (RFC 5321 appendix C: accepted and ignored).
    inner: &'a str,
    /// After them.
    parameters: &'a str,
}

impl<'a> Angled<'a> {
    fn find(text: &'a str) -> Option<Self> {
        let (_, rest) = text.split_once('<')?;
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.bytes().position(|octet| {
            let literal = std::mem::take(&mut escaped);
            match octet {
                b'\\' if quoted && !literal => escaped = true,
                b'"' if !literal => quoted = !quoted,
                b'>' if !quoted => return true,
                _ => {}
            }
            false
        })?;
        let (path, parameters) = (rest.get(..end)?, rest.get(end + 1..)?);
        let inner = match path.split_once(':') {
            Some((_, address)) if path.starts_with('@') => address,
            _ => path,
        };
        Some(Self { inner: inner.trim(), parameters })
    }

    /// The address. `parsed` is smtp-proto's reading, which must be the same one but for the quotes.
    fn address(&self, parsed: &str) -> Result<ReversePath, AddressError> {
        let address = Address::parse(self.inner)?;
        let domain = self.inner.rsplit_once('@').map_or("", |(_, domain)| domain);
        if parsed != format!("{}@{domain}", address.local.as_str()) {
            return Err(AddressError::BadLocalPart);
        }
        Ok(ReversePath::Mailbox(address))
    }

    fn check_parameters(&self, offered: &[&str]) -> Result<(), Reply> {
        if !(self.parameters.is_empty() || self.parameters.starts_with(' ')) {
            return Err(reply::bad_arguments());
        }
        let mut seen = Vec::new();
        for word in self.parameters.split_ascii_whitespace() {
            let key = word.split('=').next().unwrap_or_default().to_ascii_uppercase();
            if !offered.contains(&key.as_str()) {
                return Err(reply::unknown_parameter());
            }
            if seen.contains(&key) {
                return Err(reply::bad_arguments());
            }
            seen.push(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rcpt(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Command::Rcpt { to: Path::Mailbox(address) }) => address.to_string(),
            Ok(Command::Rcpt { to: Path::Postmaster }) => "postmaster".into(),
            Ok(other) => format!("{other:?}"),
            Err(reply) => reply.to_string().chars().take(9).collect(),
        }
    }

    #[test]
    fn recipients() {
        for (line, expected) in [
            ("RCPT TO:<ann@x.org>", "ann@x.org"),
            ("rcpt to: <Ann+tag@X.org>", "Ann+tag@x.org"),
            ("RCPT TO:<postmaster>", "postmaster"),
            ("RCPT TO:<Postmaster>", "postmaster"),
            ("RCPT TO:<@a.org,@b.org:ann@x.org>", "ann@x.org"),
            ("RCPT TO:<\"a b\"@x.org>", "\"a b\"@x.org"),
            ("RCPT TO:<\"a>b@c\"@x.org>", "\"a>b@c\"@x.org"),
            ("RCPT TO:<\"ann\"@x.org>", "ann@x.org"),
            ("RCPT TO:<\"a\\\"b\"@x.org>", "\"a\\\"b\"@x.org"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<ann>", "501 5.1.3"),
            ("RCPT TO:ann@x.org", "501 5.1.3"),
            ("RCPT TO:<ann@x.org", "501 5.1.3"),
            ("RCPT TO:<ann@[192.0.2.1]>", "501 5.1.3"),
            ("RCPT TO:<ann@192.0.2.1>", "501 5.1.3"),
            ("RCPT TO:<a\"n\"n@x.org>", "501 5.1.3"),
            ("RCPT TO:<ann@@x.org>", "501 5.1.3"),
            ("RCPT TO:<a b@x.org>", "501 5.1.3"),
            ("RCPT TO:<ann@x..org>", "501 5.1.3"),
            ("RCPT TO:<ann@x.org> NOTIFY=NEVER", "555 5.5.4"),
            ("RCPT TO:<ann@x.org>x", "555 5.5.4"),
            ("RCPT", "501 5.1.3"),
            ("RCPT TO:<b\u{fc}cher@x.org>", "553 5.6.7"),
            ("RCPT TO:<ann@x.org\rX>", "500 5.5.2"),
            ("RCPT TO:<ann\0@x.org>", "500 5.5.2"),
        ] {
            assert_eq!(rcpt(line), expected, "{line:?}");
        }
        let long = format!("RCPT TO:<{}@x.org>", "a".repeat(65));
        assert_eq!(rcpt(&long), "501 5.1.3");
    }

    #[test]
    fn senders_and_sizes() {
        let mail = |line: &str| match parse(line.as_bytes()) {
            Ok(Command::Mail { from, size }) => {
                format!("{} {size}", from.map_or_else(|e| format!("{e:?}"), |f| f.to_string()))
            }
            other => other.map_or_else(|r| r.to_string().chars().take(9).collect(), |c| format!("{c:?}")),
        };
        for (line, expected) in [
            ("MAIL FROM:<>", " 0"),
            ("MAIL FROM:<a@x.org> SIZE=1000 BODY=8BITMIME", "a@x.org 1000"),
            ("MAIL FROM:<a@x.org> AUTH=<>", "a@x.org 0"),
            ("MAIL FROM:<a@my_host.example>", "BadDomainCharacter 0"),
            ("MAIL FROM:<a@x.org> SIZE=999999999999999999", "a@x.org 999999999999999999"),
            ("MAIL FROM:<a@x.org> SIZE=18446744073709551617", "552 5.3.4"),
            ("MAIL FROM:<a@x.org> SIZE=184467440737095516157", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=1 SIZE=2", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<a@x.org> SMTPUTF8", "555 5.5.4"),
            ("MAIL FROM:<a@x.org> RET=HDRS", "555 5.5.4"),
            ("MAIL FROM:<a@x.org", "501 5.1.7"),
            ("MAIL FROM:a@x.org", "501 5.1.7"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL FROM:<postmaster>", "NoAtSign 0"),
            ("MAIL", "501 5.1.7"),
        ] {
            assert_eq!(mail(line), expected, "{line:?}");
        }
    }

    #[test]
    fn other_commands() {
        let answer = |line: &[u8]| match parse(line) {
            Ok(command) => format!("{command:?}"),
            Err(reply) => reply.to_string().chars().take(9).collect(),
        };
        for (line, expected) in [
            ("DATA", "Data"),
            ("data ", "Data"),
            ("DATA x", "501 5.5.4"),
            ("RSET x", "501 5.5.4"),
            ("QUIT now", "501 5.5.4"),
            ("STARTTLS now", "501 5.5.4"),
            (" QUIT", "500 5.5.2"),
            ("", "500 5.5.2"),
            ("FOO", "500 5.5.2"),
            ("QUITX", "500 5.5.2"),
            ("BDAT 3 LAST", "502 5.5.1"),
            ("BDAT 184467440737095516157", "502 5.5.1"),
            ("EXPN list", "502 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("HELO ", "501 5.5.4"),
            ("NOOP", "Noop"),
            ("NOOP x y", "Noop"),
            ("VRFY ann", "Vrfy"),
            ("HELP", "Help"),
            ("AUTH", "501 5.5.4"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("AUTH WHATEVER", "504 5.5.4"),
            ("AUTH PLAIN a b", "501 5.5.4"),
            ("auth login", "Auth { mechanism: Login, initial: None }"),
            ("AUTH PLAIN YQ==", "Auth { mechanism: Plain, initial: Some(\"YQ==\") }"),
            ("EHLO [192.0.2.1]", "Hello { name: \"[192.0.2.1]\", extended: true }"),
        ] {
            assert_eq!(answer(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(answer(b"EHLO \xff"), "500 5.5.2");
        assert_eq!(answer(b"NOOP\r"), "500 5.5.2");
    }

    proptest! {
        #[test]
        fn no_line_panics_and_every_refusal_is_an_error(
            verb in "(MAIL FROM:|RCPT TO:|AUTH |EHLO |BDAT |NOOP |)", rest in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let line = [verb.as_bytes(), &rest].concat();
            if let Err(reply) = parse(&line) {
                prop_assert!(reply.is_permanent());
            }
        }

        #[test]
        fn an_address_comes_through_as_it_is(local in "[ -~]{1,20}", domain in "[a-z]{1,9}\\.[a-z]{2,5}") {
            let local = crate::address::LocalPart::from_unquoted(local).unwrap();
            let address = Address::new(local, DomainName::parse(&domain).unwrap()).unwrap();
            let line = format!("RCPT TO:<{address}>");
            match parse(line.as_bytes()) {
                Ok(Command::Rcpt { to: Path::Mailbox(read) }) => {
                    prop_assert_eq!(read.local.as_str(), address.local.as_str());
                    prop_assert_eq!(read.domain, address.domain);
                }
                // smtp-proto's own limits on odd quoting may refuse, but never read another address.
                Err(reply) => prop_assert_eq!(reply.code, 501),
                Ok(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
