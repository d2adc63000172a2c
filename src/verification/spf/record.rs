//! Parses an SPF record (RFC 7208 §4.6.1, §12): directives and modifiers; macros are accepted but not expanded.
//!
//! Invariant: a term keeps its text, and an error its position; anything outside the grammar is an error, since receivers then ignore
//! the whole record.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The result of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, the default.
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// A mechanism. A domain of `None` is the record's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Every sender.
    All,
    /// Senders that pass another domain's record.
    Include(String),
    /// The addresses of a name.
    A(Option<String>),
    /// The addresses of a domain's mail exchangers.
    Mx(Option<String>),
    /// Reverse names; not to be used (RFC 7208 §5.5).
    Ptr(Option<String>),
    /// A network.
    Ip4,
    /// A network.
    Ip6,
    /// Whether a name exists.
    Exists(String),
}

impl Mechanism {
    /// Its explicit domain.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Self::Include(domain) | Self::Exists(domain) => Some(domain),
            Self::A(domain) | Self::Mx(domain) | Self::Ptr(domain) => domain.as_deref(),
            Self::All | Self::Ip4 | Self::Ip6 => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mechanism with its qualifier.
    Directive(Qualifier, Mechanism),
    /// Another domain's record, used if no mechanism matches.
    Redirect(String),
    /// An explanation for rejected senders.
    Exp,
    /// An unknown modifier, which is ignored.
    Unknown,
}

/// One term of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// As written.
    pub text: String,
    pub kind: Kind,
}

impl Term {
    /// In lower case and without the default qualifier, for comparison.
    pub fn normal(&self) -> String {
        let text = self.text.strip_prefix('+').unwrap_or(&self.text);
        text.trim_end_matches('.').to_ascii_lowercase()
    }
}

/// A parsed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// In order, without the version.
    pub terms: Vec<Term>,
}

/// Why a record cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The position of the term's first character in the record, from 1.
    pub position: usize,
    pub term: String,
    pub reason: String,
    /// The probable intent, if it can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, term, reason, .. } = self;
        write!(f, "\"{term}\" at character {position}: {reason}")
    }
}

impl std::error::Error for SyntaxError {}

impl Record {
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut terms: Vec<Term> = Vec::new();
        for (position, text) in words(text).skip(1) {
            let wrong =
                |(reason, suggestion): Wrong| SyntaxError { position, term: text.to_owned(), reason, suggestion };
            let kind = read_term(text).map_err(wrong)?;
            let again = match kind {
                Kind::Redirect(_) => terms.iter().any(|t| matches!(t.kind, Kind::Redirect(_))),
                Kind::Exp => terms.iter().any(|t| t.kind == Kind::Exp),
                _ => false,
            };
            if again {
                return Err(wrong(("it may occur only once".into(), None)));
            }
            terms.push(Term { text: text.to_owned(), kind });
        }
        match words(text).next() {
            Some((1, version)) if version.eq_ignore_ascii_case("v=spf1") => Ok(Self { terms }),
            _ => Err(SyntaxError {
                position: 1,
                term: words(text).next().map(|(_, word)| word.to_owned()).unwrap_or_default(),
                reason: "the record does not begin with v=spf1 and a space".into(),
                suggestion: None,
            }),
        }
    }

    /// The directives before `all`, with their terms. Receivers ignore later ones.
    pub fn directives(&self) -> impl Iterator<Item = (&Term, Qualifier, &Mechanism)> {
        let all = |term: &&Term| matches!(term.kind, Kind::Directive(_, Mechanism::All));
        self.terms.iter().take_while(move |term| !all(term)).filter_map(|term| match &term.kind {
            Kind::Directive(qualifier, mechanism) => Some((term, *qualifier, mechanism)),
            _ => None,
        })
    }

    /// The qualifier of `all`: the result for senders that nothing else matches.
    pub fn all(&self) -> Option<Qualifier> {
        self.terms.iter().find_map(|term| match term.kind {
            Kind::Directive(qualifier, Mechanism::All) => Some(qualifier),
            _ => None,
        })
    }

    /// The `redirect=`, unless there is an `all`.
    pub fn redirect(&self) -> Option<(&Term, &str)> {
        let found = self.terms.iter().find_map(|term| match &term.kind {
            Kind::Redirect(domain) => Some((term, domain.as_str())),
            _ => None,
        });
        found.filter(|_| self.all().is_none())
    }
}

/// The words between spaces, each with its position, counted from 1. Only the space separates (RFC 7208 §4.6.1).
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut position = 1;
    text.split(' ').filter_map(move |word| {
        let at = position;
        position += word.chars().count() + 1;
        (!word.is_empty()).then_some((at, word))
    })
}

/// The beginnings of terms that cannot occur inside a domain name.
const BEGINNINGS: [&str; 5] = ["include:", "ip4:", "ip6:", "exists:", "redirect="];

/// Two terms joined without a space, as when a record's strings are concatenated (RFC 7208 §3.3): with the missing space.
fn joined(text: &str) -> Option<String> {
    let small = text.to_ascii_lowercase();
    let inner = |begins: &str| small.match_indices(begins).map(|(at, _)| at).find(|at| *at > 1);
    let end = ["-all", "~all", "?all", "+all"].iter().find_map(|all| small.strip_suffix(all).map(str::len));
    let at = BEGINNINGS.iter().filter_map(|begins| inner(begins)).chain(end).filter(|at| *at > 1).min()?;
    let (before, after) = text.split_at_checked(at)?;
    let first = before.strip_suffix(['+', '-', '~', '?']).unwrap_or(before);
    let sign = before.strip_prefix(first).unwrap_or_default();
    term(first).is_ok_and(|kind| kind != Kind::Unknown).then(|| format!("{first} {sign}{after}"))
}

/// A reason, and the probable intent.
pub(super) type Wrong = (String, Option<String>);

pub(super) fn read_term(text: &str) -> Result<Kind, Wrong> {
    match joined(text) {
        Some(apart) => Err(("two terms are joined without a space".into(), Some(apart))),
        None => term(text),
    }
}

fn term(text: &str) -> Result<Kind, Wrong> {
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err((format!("the character {odd:?} is not allowed in an SPF record"), None));
    }
    if let Some((name, value)) = modifier(text) {
        return match name.to_ascii_lowercase().as_str() {
            "redirect" => domain_spec(value).map(|domain| Kind::Redirect(domain.to_owned())),
            "exp" => domain_spec(value).map(|_| Kind::Exp),
            _ => macro_string(value).map(|()| Kind::Unknown),
        };
    }
    let (qualifier, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (Qualifier::Pass, rest),
        Some(("-", rest)) => (Qualifier::Fail, rest),
        Some(("~", rest)) => (Qualifier::SoftFail, rest),
        Some(("?", rest)) => (Qualifier::Neutral, rest),
        _ => (Qualifier::Pass, text),
    };
    let name_end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at_checked(name_end).unwrap_or((rest, ""));
    let value = argument.strip_prefix(':');
    let needed = || match value {
        Some("") | None => Err((format!("a value must follow \"{name}:\", without a space"), None)),
        Some(value) => Ok(value),
    };
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if argument.is_empty() => Mechanism::All,
        "all" => return Err(("\"all\" takes no value".into(), None)),
        "include" => Mechanism::Include(domain_spec(needed()?)?.to_owned()),
        "exists" => Mechanism::Exists(domain_spec(needed()?)?.to_owned()),
        "a" => Mechanism::A(domain_and_lengths(argument)?),
        "mx" => Mechanism::Mx(domain_and_lengths(argument)?),
        "ptr" if argument.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain_spec(needed()?)?.to_owned())),
        "ip4" => network::<Ipv4Addr>(needed()?, 32).map(|()| Mechanism::Ip4)?,
        "ip6" => network::<Ipv6Addr>(needed()?, 128).map(|()| Mechanism::Ip6)?,
        _ => return Err(unknown(name, argument)),
    };
    Ok(Kind::Directive(qualifier, mechanism))
}

/// An unknown mechanism, and the one that was probably meant.
fn unknown(name: &str, argument: &str) -> Wrong {
    let meant = match name.to_ascii_lowercase().as_str() {
        "ipv4" | "ip" if argument.contains('.') => Some(format!("ip4{argument}")),
        "ipv6" | "ip" if argument.contains("::") => Some(format!("ip6{argument}")),
        word if word.parse::<Ipv4Addr>().is_ok() => Some(format!("ip4:{name}{argument}")),
        word if argument.is_empty() && word.contains('.') && !word.contains('=') && domain_spec(word).is_ok() => {
            Some(format!("include:{name}"))
        }
        _ => None,
    };
    ("SPF has no such mechanism".into(), meant)
}

/// `name=value` with a valid name (RFC 7208 §6).
fn modifier(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let mut characters = name.chars();
    let first = characters.next()?.is_ascii_alphabetic();
    let rest = characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    (first && rest).then_some((name, value))
}

/// `[ ":" domain-spec ] [ "/" length ] [ "//" length ]`
fn domain_and_lengths(argument: &str) -> Result<Option<String>, Wrong> {
    let (rest, six) = match argument.rsplit_once("//") {
        Some((rest, length)) => (rest, Some(length)),
        None => (argument, None),
    };
    // A macro may contain a slash.
    let (domain, four) = match rest.rsplit_once('/') {
        Some((domain, length)) if !length.contains('}') => (domain, Some(length)),
        _ => (rest, None),
    };
    four.map_or(Ok(()), |length| prefix(length, 32))?;
    six.map_or(Ok(()), |length| prefix(length, 128))?;
    match domain.strip_prefix(':') {
        None if domain.is_empty() => Ok(None),
        None => Err((format!("\"{domain}\" is not allowed after the mechanism's name"), None)),
        Some(domain) => match domain.parse::<Ipv4Addr>() {
            Ok(_) => {
                let length = four.map(|length| format!("/{length}")).unwrap_or_default();
                Err(("an address is used instead of a name".into(), Some(format!("ip4:{domain}{length}"))))
            }
            Err(_) => domain_spec(domain).map(|domain| Some(domain.to_owned())),
        },
    }
}

fn prefix(text: &str, limit: u8) -> Result<(), Wrong> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u8>() {
        Ok(length) if canonical && digits && length <= limit => Ok(()),
        _ => Err((format!("\"/{text}\" is not a prefix length between 0 and {limit}"), None)),
    }
}

fn network<A: std::str::FromStr>(value: &str, limit: u8) -> Result<(), Wrong> {
    let (address, length) = match value.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (value, None),
    };
    length.map_or(Ok(()), |length| prefix(length, limit))?;
    if address.parse::<A>().is_ok() {
        return Ok(());
    }
    let version = if limit == 32 { "IPv4" } else { "IPv6" };
    let meant = match (limit, value.parse::<Ipv4Addr>(), value.parse::<Ipv6Addr>()) {
        (32, _, Ok(_)) => Some(format!("ip6:{value}")),
        (128, Ok(_), _) => Some(format!("ip4:{value}")),
        _ => None,
    };
    Err((format!("\"{address}\" is not an {version} address"), meant))
}

/// A name with or without macros that ends in a top label or a macro (RFC 7208 §7.1).
fn domain_spec(text: &str) -> Result<&str, Wrong> {
    macro_string(text)?;
    if text.ends_with('}') || text.ends_with("%%") || text.ends_with("%_") || text.ends_with("%-") {
        return Ok(text);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let top = name.rsplit_once('.').map(|(_, top)| top);
    let is_top = |top: &str| {
        let inner = top.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let digits = top.chars().all(|c| c.is_ascii_digit());
        inner && !digits && !top.is_empty() && !top.starts_with('-') && !top.ends_with('-')
    };
    match top {
        Some(top) if is_top(top) => Ok(text),
        _ => Err((format!("\"{text}\" is not a full domain name"), None)),
    }
}

/// Printable characters, with `%` only where a macro begins (RFC 7208 §7.1).
fn macro_string(text: &str) -> Result<(), Wrong> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.split_at_checked(1) {
            Some(("%" | "_" | "-", rest)) => rest,
            Some(("{", inside)) => match inside.split_once('}') {
                Some((expansion, rest)) if is_expansion(expansion) => rest,
                _ => return Err(("it has an invalid macro".into(), None)),
            },
            _ => return Err(("a \"%\" must be written \"%%\"".into(), None)),
        };
    }
    Ok(())
}

/// A macro letter, digits, `r`, delimiters.
fn is_expansion(text: &str) -> bool {
    let mut characters = text.chars();
    let character = characters.next().is_some_and(|c| "slodiphcrtv".contains(c.to_ascii_lowercase()));
    let after = characters.as_str().trim_start_matches(|c: char| c.is_ascii_digit());
    let after = after.strip_prefix(['r', 'R']).unwrap_or(after);
    character && after.chars().all(|c| ".-+,/_=".contains(c))
}
