//! DNS answers: `Found`, `NoRecord` or `Indefinite`. Invariant: names are in lower case without a trailing dot (the
//! root is `.`), otherwise as on the wire; only `Found` and `NoRecord` can change a status. RFC 1035, RFC 2308
//! (negative answers), RFC 9520 (failures).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The record types that are queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum RecordType {
    Cname,
    Mx,
    Txt,
    A,
    Aaaa,
    Ns,
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    Cname(String),
    /// A mail exchanger. A null MX (RFC 7505) has preference 0 and the exchange `.`.
    Mx {
        /// Lower values are tried first.
        preference: u16,
        exchange: String,
    },
    /// The strings of a TXT record, concatenated (RFC 7208 §3.3).
    Txt(String),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ns(String),
    /// Any other type, as text.
    Other {
        /// The type name.
        record_type: String,
        /// Its data as in a zone file.
        text: String,
    },
}

impl RecordData {
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

    /// The target of a CNAME record.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Cname(target) => Some(target),
            _ => None,
        }
    }

    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(v4) => Some((*v4).into()),
            Self::Aaaa(v6) => Some((*v6).into()),
            _ => None,
        }
    }
}

/// The value as displayed by DNS providers.
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

/// Why there is no definite answer. None of these changes a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indefinite {
    /// SERVFAIL: resolution failed, or a validating resolver found bogus data.
    ServFail,
    /// REFUSED.
    Refused,
    /// REFUSED for this name only; the server answers for the zone.
    RefusedName,
    /// An answer without the AA bit, with the answer.
    NotAuthoritative(Box<Answer>),
    /// A response code other than NOERROR and NXDOMAIN.
    ResponseCode(String),
    /// No answer in time, or connection refused.
    Timeout,
    /// The server is not authoritative for the name, or gave no proof (lame delegation).
    Lame,
    /// The name servers disagree; the answer of each.
    Disagreement(Vec<String>),
    /// The answer is too long for UDP, and TCP failed; the reason.
    NoTcp(String),
    /// There is no server that may be queried.
    NoServer,
    /// Not queried, since the check has reached its limit of queries.
    TooMany,
    /// A name server of the zone without an address that may be queried.
    NoAddress(String),
    /// The answer could not be parsed, or the query not be sent.
    Broken(String),
}

impl fmt::Display for Indefinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::Refused => f.write_str("REFUSED"),
            Self::RefusedName => f.write_str("REFUSED for this name, although it answers for the zone"),
            Self::NotAuthoritative(_) => f.write_str("an answer without the AA flag, as from a cache"),
            Self::ResponseCode(code) => write!(f, "response code {code}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Lame => f.write_str("the server is not authoritative for the name"),
            Self::Disagreement(answers) => write!(f, "the name servers disagree: {}", answers.join("; ")),
            Self::NoTcp(why) => write!(f, "the answer is too long for UDP, and TCP fails: {why}"),
            Self::TooMany => f.write_str("not queried, since this domain needs too many queries"),
            Self::NoAddress(host) => write!(f, "{host} has no address that may be queried"),
            Self::NoServer => f.write_str("there is no name server that may be queried"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records of the queried type.
    Found {
        /// At least one, in the order of the answer.
        records: Vec<RecordData>,
        /// The targets of the alias chain, in order.
        aliases: Vec<String>,
        /// The lowest TTL.
        ttl: Duration,
        server: SocketAddr,
        /// A validating resolver set the AD bit.
        authenticated: bool,
    },
    /// There is definitely no record of the type.
    NoRecord {
        /// The name does not exist.
        nxdomain: bool,
        /// The targets of the alias chain, in order.
        aliases: Vec<String>,
        /// How long caches keep the negative answer (RFC 2308 §5), if known.
        negative_ttl: Option<Duration>,
        server: SocketAddr,
    },
    /// No definite answer.
    Indefinite {
        reason: Indefinite,
        /// The last server queried, if any.
        server: Option<SocketAddr>,
    },
}

impl Answer {
    pub fn indefinite(reason: Indefinite, server: Option<SocketAddr>) -> Self {
        Self::Indefinite { reason, server }
    }

    /// The records; empty unless found.
    pub fn records(&self) -> &[RecordData] {
        match self {
            Self::Found { records, .. } => records,
            Self::NoRecord { .. } | Self::Indefinite { .. } => &[],
        }
    }

    /// The targets of the alias chain.
    pub fn aliases(&self) -> &[String] {
        match self {
            Self::Found { aliases, .. } | Self::NoRecord { aliases, .. } => aliases,
            Self::Indefinite { .. } => &[],
        }
    }

    /// With sorted records, since servers rotate a record set between answers.
    pub fn in_order(mut self) -> Self {
        if let Self::Found { records, .. } = &mut self {
            records.sort();
        }
        self
    }

    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Indefinite { .. })
    }

    pub fn server(&self) -> Option<SocketAddr> {
        match self {
            Self::Found { server, .. } | Self::NoRecord { server, .. } => Some(*server),
            Self::Indefinite { server, .. } => *server,
        }
    }

    /// How long caches keep the negative answer.
    pub fn negative_ttl(&self) -> Option<Duration> {
        match self {
            Self::NoRecord { negative_ttl, .. } => *negative_ttl,
            Self::Found { .. } | Self::Indefinite { .. } => None,
        }
    }
}
