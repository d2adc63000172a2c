//! What the DNS said, in words of our own: an answer is `Found`, `NoRecord` or `Indefinite`, and nothing else.
//!
//! Invariant: names are in lower case without a trailing dot (the root is `.`), as the wire has them otherwise; only
//! `Found` and `NoRecord` can ever change a status. RFC 1035, RFC 2308 (negative answers), RFC 9520 (failures).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The types of record we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    /// An alias.
    Cname,
    /// A mail exchanger.
    Mx,
    /// Text.
    Txt,
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// A name server.
    Ns,
}

impl RecordType {
    /// As it is written in zone files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ns => "NS",
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    /// The target of an alias.
    Cname(String),
    /// A mail exchanger. A null MX (RFC 7505) has preference 0 and the exchange `.`.
    Mx {
        /// Lower is tried first.
        preference: u16,
        /// The host.
        exchange: String,
    },
    /// The strings of a TXT record, put together without anything between them (RFC 7208 §3.3).
    Txt(String),
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name server.
    Ns(String),
    /// Any other type, as text.
    Other {
        /// The name of the type.
        record_type: String,
        /// Its data as a zone file has it.
        text: String,
    },
}

impl RecordData {
    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Cname(_) => "CNAME",
            Self::Mx { .. } => "MX",
            Self::Txt(_) => "TXT",
            Self::A(_) => "A",
            Self::Aaaa(_) => "AAAA",
            Self::Ns(_) => "NS",
            Self::Other { record_type, .. } => record_type,
        }
    }

    /// The target, of a CNAME record.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Cname(target) => Some(target),
            _ => None,
        }
    }

    /// The address, of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(v4) => Some((*v4).into()),
            Self::Aaaa(v6) => Some((*v6).into()),
            _ => None,
        }
    }
}

/// The value, as a DNS provider's panel shows it.
impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cname(name) | Self::Ns(name) | Self::Txt(name) => f.write_str(name),
            Self::Mx { preference, exchange } => write!(f, "{preference} {exchange}"),
            Self::A(v4) => v4.fmt(f),
            Self::Aaaa(v6) => v6.fmt(f),
            Self::Other { text, .. } => f.write_str(text),
        }
    }
}

/// Why there is no definite answer. None of these ever changes a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indefinite {
    /// SERVFAIL: the server could not find out; also what a validating resolver says of bogus data.
    ServFail,
    /// REFUSED.
    Refused,
    /// REFUSED for this name, by a server that answers for the zone that it is in.
    RefusedName,
    /// An answer without the AA bit: the server does not say that it is responsible. The answer it gave.
    NotAuthoritative(Box<Answer>),
    /// Another response code than NOERROR and NXDOMAIN.
    ResponseCode(String),
    /// No answer in time, or nobody listens there.
    Timeout,
    /// The server is not authoritative for the name, or sent no proof of what it said (a lame delegation).
    Lame,
    /// The name servers do not agree; what each of them said.
    Disagreement(Vec<String>),
    /// The answer is too long for UDP, and could not be had over TCP: why not.
    NoTcp(String),
    /// There is no server to ask, or none that may be asked.
    NoServer,
    /// It was not asked: the check had put as many questions as one may.
    TooMany,
    /// A name server of the zone, of which no address is known that may be asked.
    NoAddress(String),
    /// The answer could not be read, or the question not be put.
    Broken(String),
}

impl fmt::Display for Indefinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::Refused => f.write_str("REFUSED"),
            Self::RefusedName => f.write_str("REFUSED for this name, though it answers for the zone"),
            Self::NotAuthoritative(_) => f.write_str("an answer without the AA flag, as from a cache"),
            Self::ResponseCode(code) => write!(f, "the answer {code}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Lame => f.write_str("the server is not responsible for the name"),
            Self::Disagreement(answers) => write!(f, "the name servers do not agree: {}", answers.join("; ")),
            Self::NoTcp(why) => write!(f, "the answer is too long for UDP, and TCP fails: {why}"),
            Self::TooMany => f.write_str("not asked, since the domain makes this check put too many questions"),
            Self::NoAddress(host) => write!(f, "{host} has no address that may be asked"),
            Self::NoServer => f.write_str("there is no name server that may be asked"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// What came back for one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are records of the type asked for.
    Found {
        /// They, at least one, in the order of the answer.
        records: Vec<RecordData>,
        /// The names that were gone through: every CNAME target on the way, in order.
        aliases: Vec<String>,
        /// The lowest of their times to live.
        ttl: Duration,
        /// Who said so.
        server: SocketAddr,
        /// A validating resolver vouches for it (the AD bit).
        authenticated: bool,
    },
    /// There is definitely no record of the type.
    NoRecord {
        /// The name does not exist with any type.
        nxdomain: bool,
        /// The names that were gone through: every CNAME target on the way, in order.
        aliases: Vec<String>,
        /// How long caches keep that (RFC 2308 §5), where the server said.
        negative_ttl: Option<Duration>,
        /// Who said so.
        server: SocketAddr,
    },
    /// Nobody could say.
    Indefinite {
        /// Why.
        reason: Indefinite,
        /// Who was asked last, if anyone was.
        server: Option<SocketAddr>,
    },
}

impl Answer {
    /// An answer that says nothing.
    pub fn indefinite(reason: Indefinite, server: Option<SocketAddr>) -> Self {
        Self::Indefinite { reason, server }
    }

    /// The records, none when there are none or nobody could say.
    pub fn records(&self) -> &[RecordData] {
        match self {
            Self::Found { records, .. } => records,
            Self::NoRecord { .. } | Self::Indefinite { .. } => &[],
        }
    }

    /// The names that were gone through on the way to the records.
    pub fn aliases(&self) -> &[String] {
        match self {
            Self::Found { aliases, .. } | Self::NoRecord { aliases, .. } => aliases,
            Self::Indefinite { .. } => &[],
        }
    }

    /// The same with its records in order: servers turn a set around from one answer to the next, and it is the same set.
    pub fn in_order(mut self) -> Self {
        if let Self::Found { records, .. } = &mut self {
            records.sort();
        }
        self
    }

    /// True for `Found` and `NoRecord`.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Indefinite { .. })
    }

    /// Who said so.
    pub fn server(&self) -> Option<SocketAddr> {
        match self {
            Self::Found { server, .. } | Self::NoRecord { server, .. } => Some(*server),
            Self::Indefinite { server, .. } => *server,
        }
    }

    /// How long caches keep that there is no record.
    pub fn negative_ttl(&self) -> Option<Duration> {
        match self {
            Self::NoRecord { negative_ttl, .. } => *negative_ttl,
            Self::Found { .. } | Self::Indefinite { .. } => None,
        }
    }
}
