//! Parses a command line into a [`Command`]: smtp-proto reads verbs and parameters, [`crate::address`] the paths.
//!
//! Invariant: a [`Command`] holds printable ASCII only, and its addresses are the types of [`crate::address`]; what is
//! not a command is the reply to it. RFC 5321 §4.1; RFC 1870 (SIZE), RFC 6152 (BODY), RFC 4954 (AUTH), RFC 3030
//! (BDAT).

use super::reply;
use crate::address::{Address, AddressError, DomainName, ReversePath};
use crate::auth::sasl::Mechanism;
use crate::envelope::{MailParameters, Notify, OriginalRecipient, RecipientParameters, Reply, Returned, Xtext};
use smtp_proto::{AUTH_LOGIN, AUTH_OAUTHBEARER, AUTH_PLAIN, AUTH_XOAUTH2, Error, MAIL_BODY_BINARYMIME, Request};

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `EHLO`, or `HELO` when it is not `extended`. Octets of the name that are not printable ASCII are `?`.
    Hello { name: String, extended: bool },
    /// `STARTTLS`
    StartTls,
    /// `AUTH`
    Auth { mechanism: Mechanism, initial: Option<String> },
    /// `MAIL FROM`: a path that is none of ours to read may still do where nothing depends on it.
    Mail { from: Result<ReversePath, AddressError>, size: usize, parameters: MailParameters },
    /// `RCPT TO`
    Rcpt { to: Path, parameters: RecipientParameters },
    /// `DATA`
    Data,
    /// `BDAT`: this number of octets follows its line.
    Bdat { octets: usize, last: bool },
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

impl Command {
    /// Whether it has a parameter of delivery status notifications (RFC 3461).
    pub fn has_dsn(&self) -> bool {
        match self {
            Self::Mail { parameters, .. } => *parameters != MailParameters::default(),
            Self::Rcpt { parameters, .. } => *parameters != RecipientParameters::default(),
            _ => false,
        }
    }
}

/// A forward path.
#[derive(Debug, PartialEq, Eq)]
pub enum Path {
    /// An address.
    Mailbox(Address),
    /// `<postmaster>` without a domain: ours (RFC 5321 §4.1.1.3).
    Postmaster,
}

impl Path {
    pub fn address(self, platform: &DomainName) -> Address {
        match self {
            Self::Mailbox(address) => address,
            Self::Postmaster => crate::address::InboxName::postmaster().at(platform),
        }
    }
}

/// `line` is without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    let verb = line.split(|b| *b == b' ').next().unwrap_or_default().to_ascii_uppercase();
    let text = text(&verb, line)?;
    let rest = text.get(verb.len()..).unwrap_or_default().trim();
    match verb.as_slice() {
        b"MAIL" => {
            let path = WrittenPath::find(rest, "FROM:").ok_or_else(reply::bad_sender)?;
            let given = path.parameters(&["SIZE", "BODY", "AUTH", "RET", "ENVID"])?;
            let parameters = MailParameters {
                returned: read(&given, "RET", Returned::parse)?,
                envelope_id: read(&given, "ENVID", Xtext::envelope_id)?,
            };
            match request(&format!("MAIL FROM:<>{}", path.parameters))? {
                Request::Mail { from } if from.flags & MAIL_BODY_BINARYMIME == 0 => {
                    Ok(Command::Mail { from: ReversePath::parse(path.inner), size: from.size, parameters })
                }
                _ => Err(reply::unknown_parameter()),
            }
        }
        b"RCPT" => {
            let path = WrittenPath::find(rest, "TO:").ok_or_else(reply::bad_recipient)?;
            let given = path.parameters(&["NOTIFY", "ORCPT"])?;
            let parameters = RecipientParameters {
                notify: read(&given, "NOTIFY", Notify::parse)?,
                original: read(&given, "ORCPT", OriginalRecipient::parse)?,
            };
            if path.inner.eq_ignore_ascii_case("postmaster") {
                return Ok(Command::Rcpt { to: Path::Postmaster, parameters });
            }
            let address = Address::parse(path.inner).map_err(|_| reply::bad_recipient())?;
            Ok(Command::Rcpt { to: Path::Mailbox(address), parameters })
        }
        b"DATA" | b"RSET" | b"QUIT" | b"STARTTLS" if !rest.is_empty() => Err(reply::no_arguments()),
        b"AUTH" if rest.split_ascii_whitespace().count() > 2 => Err(reply::bad_arguments()),
        b"BDAT" => {
            check_chunk(rest)?;
            match request(&text)? {
                Request::Bdat { chunk_size, is_last } => Ok(Command::Bdat { octets: chunk_size, last: is_last }),
                _ => Err(reply::bad_chunk()),
            }
        }
        b"" => Err(reply::unknown_command()),
        _ => match request(&text)? {
            Request::Ehlo { host } => Ok(Command::Hello { name: host, extended: true }),
            Request::Helo { host } => Ok(Command::Hello { name: host, extended: false }),
            Request::StartTls => Ok(Command::StartTls),
            Request::Auth { mechanism, initial_response } => {
                let mechanism = match mechanism {
                    AUTH_PLAIN => Mechanism::Plain,
                    AUTH_LOGIN => Mechanism::Login,
                    AUTH_OAUTHBEARER => Mechanism::OAuthBearer,
                    AUTH_XOAUTH2 => Mechanism::XOAuth2,
                    _ => return Err(reply::unknown_mechanism()),
                };
                let initial = (!initial_response.is_empty()).then_some(initial_response);
                Ok(Command::Auth { mechanism, initial })
            }
            Request::Data => Ok(Command::Data),
            Request::Rset => Ok(Command::Rset),
            Request::Quit => Ok(Command::Quit),
            Request::Noop { .. } => Ok(Command::Noop),
            Request::Vrfy { .. } => Ok(Command::Vrfy),
            Request::Help { .. } => Ok(Command::Help),
            _ => Err(reply::not_implemented()),
        },
    }
}

/// A command line as printable ASCII. Devices give names in any charset: other octets of EHLO and HELO become `?`.
fn text(verb: &[u8], line: &[u8]) -> Result<String, Reply> {
    let is_hello = matches!(verb, b"EHLO" | b"HELO") && !line.iter().any(|b| matches!(b, b'\r' | 0));
    let is_path = matches!(verb, b"MAIL" | b"RCPT") && !line.iter().any(u8::is_ascii_control);
    let is_text = line.iter().all(|b| matches!(b, b' '..=b'~'));
    match () {
        () if is_text || is_hello => {
            let shown = line.iter().map(|b| if matches!(b, b' '..=b'~') { char::from(*b) } else { '?' });
            Ok(shown.collect::<String>().trim_end().to_owned())
        }
        () if is_path => Err(reply::not_ascii()),
        () => Err(reply::bad_characters()),
    }
}

fn request(text: &str) -> Result<Request<String>, Reply> {
    let line = format!("{text}\r\n");
    Request::parse(&mut line.as_bytes().iter()).map(Request::into_owned).map_err(|error| match error {
        Error::UnknownCommand | Error::NeedsMoreData { .. } => reply::unknown_command(),
        Error::UnsupportedParameter { .. } => reply::unknown_parameter(),
        _ if text.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case("AUTH ")) => reply::unknown_mechanism(),
        _ => reply::bad_arguments(),
    })
}

/// RFC 1870 §4: 1 to 20 digits. More than 18 are more than any message has, and more than smtp-proto can count.
fn check_size(digits: &str) -> Result<(), Reply> {
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(reply::bad_arguments());
    }
    if digits.trim_start_matches('0').len() > 18 { Err(reply::too_big()) } else { Ok(()) }
}

/// `chunk-size [SP LAST]` (RFC 3030 §2). Where a chunk ends must be certain.
fn check_chunk(arguments: &str) -> Result<(), Reply> {
    let size = match arguments.split_once(' ') {
        Some((size, last)) if last.eq_ignore_ascii_case("LAST") => size,
        Some(_) => return Err(reply::bad_chunk()),
        None => arguments,
    };
    check_size(size).map_err(|_| reply::bad_chunk())
}

/// The first line of an HTTP request: a browser tricked into sending SMTP (cross-protocol request forgery).
pub fn is_http(line: &[u8]) -> bool {
    [b"GET /".as_slice(), b"POST /", b"PUT /", b"HEAD /", b"OPTIONS ", b"CONNECT "].iter().any(|v| line.starts_with(v))
}

/// The path of MAIL or RCPT as it was written, and what follows it.
struct WrittenPath<'a> {
    /// Without the angle brackets, and without a source route (RFC 5321 appendix C: accepted and ignored).
    inner: &'a str,
    parameters: &'a str,
}

impl<'a> WrittenPath<'a> {
    /// The path after `keyword`; blanks may stand between them, and the brackets may be missing.
    fn find(text: &'a str, keyword: &str) -> Option<Self> {
        let (found, rest) = text.split_at_checked(keyword.len())?;
        let rest = rest.trim_start();
        if !found.eq_ignore_ascii_case(keyword) {
            return None;
        }
        let Some(angled) = rest.strip_prefix('<') else {
            let (inner, parameters) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            return (!inner.is_empty() && !inner.contains(['<', '>'])).then_some(Self { inner, parameters });
        };
        let (path, rest) = angled.split_at(closing_bracket(angled)?);
        let inner = match path.split_once(':') {
            Some((_, address)) if path.starts_with('@') => address,
            _ => path,
        };
        Some(Self { inner: inner.trim(), parameters: rest.strip_prefix('>')? })
    }

    /// The names, in upper case, and the values: only those of known extensions, each once.
    fn parameters(&self, known: &[&str]) -> Result<Vec<(String, &'a str)>, Reply> {
        if !(self.parameters.is_empty() || self.parameters.starts_with(' ')) {
            return Err(reply::bad_arguments());
        }
        let mut seen: Vec<(String, &str)> = Vec::new();
        for word in self.parameters.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let key = key.to_ascii_uppercase();
            if !known.contains(&key.as_str()) {
                return Err(reply::unknown_parameter());
            }
            if seen.iter().any(|(other, _)| *other == key) {
                return Err(reply::bad_arguments());
            }
            if key == "SIZE" {
                check_size(value)?;
            }
            seen.push((key, value));
        }
        Ok(seen)
    }
}

/// The value of a parameter, if it is given.
fn read<T>(given: &[(String, &str)], name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Reply> {
    match given.iter().find(|(key, _)| key == name) {
        Some((_, value)) => parse(value).map(Some).ok_or_else(reply::bad_arguments),
        None => Ok(None),
    }
}

/// The index of the first `>` outside quotes.
fn closing_bracket(path: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    path.bytes().position(|octet| {
        let literal = std::mem::take(&mut escaped);
        match octet {
            b'\\' if quoted && !literal => escaped = true,
            b'"' if !literal => quoted = !quoted,
            b'>' if !quoted => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rcpt(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Command::Rcpt { to: Path::Mailbox(address), .. }) => address.to_string(),
            Ok(Command::Rcpt { to: Path::Postmaster, .. }) => "postmaster".into(),
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
            ("RCPT TO:ann@x.org", "ann@x.org"),
            ("RCPT TO: ann@x.org>", "501 5.1.3"),
            ("RCPT TO:", "501 5.1.3"),
            ("RCPT TO:<a..b@x.org>", "\"a..b\"@x.org"),
            ("RCPT TO:<a.@x.org>", "\"a.\"@x.org"),
            ("RCPT TO:<ann@x.org", "501 5.1.3"),
            ("RCPT TO:<ann@[192.0.2.1]>", "501 5.1.3"),
            ("RCPT TO:<ann@192.0.2.1>", "501 5.1.3"),
            ("RCPT TO:<a\"n\"n@x.org>", "501 5.1.3"),
            ("RCPT TO:<ann@@x.org>", "501 5.1.3"),
            ("RCPT TO:<a b@x.org>", "501 5.1.3"),
            ("RCPT TO:<ann@x..org>", "501 5.1.3"),
            ("RCPT TO:<ann@x.org> NOTIFY=NEVER ORCPT=rfc822;ann@x.org", "ann@x.org"),
            ("RCPT TO:<ann@x.org> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("RCPT TO:<ann@x.org> NOTIFY", "501 5.5.4"),
            ("RCPT TO:<ann@x.org> ORCPT=ann@x.org", "501 5.5.4"),
            ("RCPT TO:<ann@x.org> RET=FULL", "555 5.5.4"),
            ("RCPT TO:<ann@x.org>x", "501 5.5.4"),
            ("RCPT", "501 5.1.3"),
            ("RCPT TO:<b\u{fc}cher@x.org>", "553 5.6.7"),
            ("RCPT TO:<ann@x.org\rX>", "500 5.5.2"),
            ("RCPT TO:<ann\0@x.org>", "500 5.5.2"),
        ] {
            assert_eq!(rcpt(line), expected, "{line:?}");
        }
        let long = |length: usize| format!("{}@x.org", "a".repeat(length));
        assert_eq!(rcpt(&format!("RCPT TO:<{}>", long(248))), long(248));
        assert_eq!(rcpt(&format!("RCPT TO:<{}>", long(249))), "501 5.1.3");
    }

    #[test]
    fn senders_and_sizes() {
        let mail = |line: &str| match parse(line.as_bytes()) {
            Ok(Command::Mail { from, size, .. }) => {
                format!("{} {size}", from.map_or_else(|e| format!("{e:?}"), |f| f.to_string()))
            }
            other => other.map_or_else(|r| r.to_string().chars().take(9).collect(), |c| format!("{c:?}")),
        };
        for (line, expected) in [
            ("MAIL FROM:<>", " 0"),
            ("MAIL FROM:<a@x.org> SIZE=1000 BODY=8BITMIME", "a@x.org 1000"),
            ("MAIL FROM:<a@x.org> AUTH=<>", "a@x.org 0"),
            ("MAIL FROM:<a@my_host.example>", "a@my_host.example 0"),
            ("MAIL FROM:<a@x.org> SIZE=999999999999999999", "a@x.org 999999999999999999"),
            ("MAIL FROM:<a@x.org> SIZE=00000000000000000001", "a@x.org 1"),
            ("MAIL FROM:<a@x.org> SIZE=18446744073709551617", "552 5.3.4"),
            ("MAIL FROM:<a@x.org> SIZE=184467440737095516157", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> SIZE=1 SIZE=2", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<a@x.org> SMTPUTF8", "555 5.5.4"),
            ("MAIL FROM:<a@x.org> RET=HDRS ENVID=q+2B1", "a@x.org 0"),
            ("MAIL FROM:<a@x.org> RET=SOME", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> ENVID=", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> ENVID=1 ENVID=2", "501 5.5.4"),
            ("MAIL FROM:<a@x.org> NOTIFY=NEVER", "555 5.5.4"),
            ("MAIL FROM:<a@x.org", "501 5.1.7"),
            ("MAIL FROM:a@x.org", "a@x.org 0"),
            ("MAIL FROM: a@x.org SIZE=7", "a@x.org 7"),
            ("MAIL FROM:", "501 5.1.7"),
            ("MAIL FROM:<root>", "root 0"),
            ("MAIL FROM:<a@[192.0.2.1]>", "a@[192.0.2.1] 0"),
            ("MAIL FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1] 0"),
            ("MAIL FROM:<a@[x]>", "IpLiteral 0"),
            ("MAIL FROM:<a b>", "BadLocalPart 0"),
            ("MAIL FROM:<a@x..org>", "EmptyLabel 0"),
            ("MAIL FROM:<a@x.org> AUTH=", "501 5.5.4"),
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
            ("BDAT 3 LAST", "Bdat { octets: 3, last: true }"),
            ("bdat 86000 last", "Bdat { octets: 86000, last: true }"),
            ("BDAT 0", "Bdat { octets: 0, last: false }"),
            ("BDAT 999999999999999999", "Bdat { octets: 999999999999999999, last: false }"),
            ("BDAT 184467440737095516157", "501 5.5.4"),
            ("BDAT 9999999999999999999", "501 5.5.4"),
            ("BDAT", "501 5.5.4"),
            ("BDAT x", "501 5.5.4"),
            ("BDAT -1", "501 5.5.4"),
            ("BDAT 3 FIRST", "501 5.5.4"),
            ("BDAT 3  LAST", "501 5.5.4"),
            ("BDAT 3 LAST LAST", "501 5.5.4"),
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
            ("AUTH XOAUTH2 YQ==", "Auth { mechanism: XOAuth2, initial: Some(\"YQ==\") }"),
            ("AUTH OAUTHBEARER", "Auth { mechanism: OAuthBearer, initial: None }"),
            ("auth login", "Auth { mechanism: Login, initial: None }"),
            ("AUTH PLAIN YQ==", "Auth { mechanism: Plain, initial: Some(\"YQ==\") }"),
            ("EHLO [192.0.2.1]", "Hello { name: \"[192.0.2.1]\", extended: true }"),
        ] {
            assert_eq!(answer(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(answer(b"EHLO M\xfcller \xff"), "Hello { name: \"M?ller\", extended: true }");
        assert_eq!(answer(b"EHLO a\0"), "500 5.5.2");
        assert_eq!(answer(b"HELO a\rb"), "500 5.5.2");
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
            let parameters = RecipientParameters::default();
            prop_assert_eq!(parse(line.as_bytes()), Ok(Command::Rcpt { to: Path::Mailbox(address), parameters }));
        }
    }
}
