//! The simulated internet's names, in memory: those set by the sandbox and tests, and defaults for every name. Each
//! registrable domain is a zone with the same name servers: this one, and further ones at the next loopback addresses. Every host name exists with the address of the outside
//! world, so that mail for any domain arrives (RFC 5321 §5.1, the implicit MX); names with an underscore exist only if
//! set, and names under `invalid` and `arpa` never.

use super::finding::{Finding, soa, txt};
use hickory_proto::rr::rdata::name::{CNAME, NS, PTR};
use hickory_proto::rr::rdata::{A, AAAA, MX};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The name servers of every zone, and their addresses where there are several.
const NAME_SERVERS: [(&str, Ipv4Addr); 3] = [
    ("ns.play.test.", Ipv4Addr::new(127, 0, 0, 1)),
    ("ns2.play.test.", Ipv4Addr::new(127, 0, 0, 2)),
    ("ns3.play.test.", Ipv4Addr::new(127, 0, 0, 3)),
];
/// TTL of default records and negative answers: short, for testing.
const TTL: u32 = 5;
/// Maximum record sets and faults, values of a set, and octets of a value, so that a loop in a test cannot exhaust
/// memory.
const SETS: usize = 100_000;
const VALUES: usize = 100;
const VALUE_LEN: usize = 8192;

/// A fault set for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    Servfail,
    Timeout,
    Refused,
    /// It answers that there is no such record.
    Missing,
}

/// Why a record set was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    #[error("{0:?} is not a domain name")]
    Name(String),
    #[error("{0:?} is not a supported record type: use A, AAAA, CNAME, MX, NS, PTR or TXT")]
    Type(String),
    #[error("{value:?} is not a valid value of a {kind} record{}", .kind.hint())]
    Value { value: String, kind: Kind },
    #[error("a record set has 1 to {VALUES} values of at most {VALUE_LEN} octets; a CNAME has one")]
    Size,
    #[error("the simulated internet is full: delete records or faults")]
    Full,
    #[error("the name servers are numbered from 1 to {0}")]
    Server(u8),
}

/// The supported record types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the names of DNS")]
pub enum Kind {
    A,
    Aaaa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Txt,
}

impl Kind {
    pub const ALL: [Self; 7] = [Self::A, Self::Aaaa, Self::Cname, Self::Mx, Self::Ns, Self::Ptr, Self::Txt];

    const NAMES: [(&'static str, Self, RecordType); 7] = [
        ("A", Self::A, RecordType::A),
        ("AAAA", Self::Aaaa, RecordType::AAAA),
        ("CNAME", Self::Cname, RecordType::CNAME),
        ("MX", Self::Mx, RecordType::MX),
        ("NS", Self::Ns, RecordType::NS),
        ("PTR", Self::Ptr, RecordType::PTR),
        ("TXT", Self::Txt, RecordType::TXT),
    ];

    /// Parses a type name, ignoring case.
    pub fn parse(text: &str) -> Result<Self, PlayError> {
        let found = Self::NAMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text));
        found.map(|(_, kind, _)| *kind).ok_or_else(|| PlayError::Type(text.chars().take(20).collect()))
    }

    fn record_type(self) -> RecordType {
        Self::NAMES.iter().find(|(_, kind, _)| *kind == self).map_or(RecordType::ZERO, |(.., kind)| *kind)
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Mx => ": write a priority and a host, like \"10 mail.example.org.\"",
            Self::A => ": write an IPv4 address",
            Self::Aaaa => ": write an IPv6 address",
            Self::Cname | Self::Ns | Self::Ptr => ": write a domain name",
            Self::Txt => "",
        }
    }

    fn value(self, text: &str) -> Result<RData, PlayError> {
        let bad = || PlayError::Value { value: text.chars().take(100).collect(), kind: self };
        let host = |text: &str| name(text).map_err(|_| bad());
        Ok(match self {
            Self::A => RData::A(A(text.trim().parse().map_err(|_| bad())?)),
            Self::Aaaa => RData::AAAA(AAAA(text.trim().parse().map_err(|_| bad())?)),
            Self::Cname => RData::CNAME(CNAME(host(text)?)),
            Self::Ns => RData::NS(NS(host(text)?)),
            Self::Ptr => RData::PTR(PTR(host(text)?)),
            Self::Txt => RData::TXT(txt(text)),
            Self::Mx => {
                let (priority, exchange) = text.trim().split_once(' ').ok_or_else(bad)?;
                let exchange = match exchange.trim() {
                    // RFC 7505: accepts no mail.
                    "." => Name::root(),
                    exchange => host(exchange)?,
                };
                RData::MX(MX::new(priority.parse().map_err(|_| bad())?, exchange))
            }
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.record_type().fmt(f)
    }
}

/// A name's labels from the root down, in lower case.
type Path = Vec<Vec<u8>>;

#[derive(Debug, Default)]
struct Names {
    /// By name. Names below a name follow it directly, so the next entry shows whether there are any.
    sets: BTreeMap<Path, Vec<Set>>,
    /// By name and name server; `None`: of all of them, and of the resolver.
    faults: HashMap<(String, Option<u8>), Fault>,
}

impl Names {
    fn has_below(&self, path: &Path) -> bool {
        let after = (Bound::Excluded(path), Bound::Unbounded);
        self.sets.range::<Path, _>(after).next().is_some_and(|(next, _)| next.starts_with(path))
    }
}

#[derive(Debug)]
struct Set {
    kind: RecordType,
    ttl: u32,
    values: Vec<RData>,
}

/// A simulated internet; clones share it.
#[derive(Clone, Debug)]
pub struct Play {
    names: Arc<RwLock<Names>>,
    outside: Ipv4Addr,
    /// With the addresses of those after the first.
    name_servers: Vec<(Name, Ipv4Addr)>,
}

impl Play {
    /// Empty; `outside` is the address of every host that is not set. Every zone has one name server.
    pub fn new(outside: Ipv4Addr) -> Self {
        Self::with_servers(outside, 1)
    }

    /// The same with `servers` name servers, from 1 to [`Play::SERVERS`].
    pub fn with_servers(outside: Ipv4Addr, servers: u8) -> Self {
        let used = NAME_SERVERS.iter().take(usize::from(servers.max(1)));
        let name_servers = used.map(|(name, ip)| (Name::from_ascii(name).unwrap_or_default(), *ip)).collect();
        Self { names: Arc::default(), outside, name_servers }
    }

    pub const SERVERS: u8 = 3;

    /// The addresses of the name servers after the first, each with its number.
    pub fn further_servers() -> impl Iterator<Item = (u8, Ipv4Addr)> {
        (1..).zip(NAME_SERVERS).skip(1).map(|(number, (_, ip))| (number, ip))
    }

    /// How many name servers a zone has.
    pub fn servers(&self) -> u8 {
        u8::try_from(self.name_servers.len()).unwrap_or(Self::SERVERS)
    }

    pub(super) fn soa_of(&self, apex: &Name) -> Record {
        let first = self.name_servers.first().map(|(name, _)| name.clone()).unwrap_or_default();
        soa(apex, &first, 1, TTL)
    }

    /// Sets a record set, replacing the one of that type at the name.
    pub fn set(&self, owner: &str, kind: Kind, values: &[String], ttl: u32) -> Result<(), PlayError> {
        let max = if kind == Kind::Cname { 1 } else { VALUES };
        if values.is_empty() || values.len() > max || values.iter().any(|v| v.len() > VALUE_LEN) {
            return Err(PlayError::Size);
        }
        let owner = path(&name(owner)?);
        let values = values.iter().map(|text| kind.value(text)).collect::<Result<_, _>>()?;
        let mut names = self.write();
        if names.sets.len() >= SETS && !names.sets.contains_key(&owner) {
            return Err(PlayError::Full);
        }
        let sets = names.sets.entry(owner).or_default();
        sets.retain(|set| set.kind != kind.record_type());
        sets.push(Set { kind: kind.record_type(), ttl, values });
        Ok(())
    }

    /// Removes a record set. False if there was none.
    pub fn remove(&self, owner: &str, kind: Kind) -> Result<bool, PlayError> {
        let owner = path(&name(owner)?);
        let mut names = self.write();
        let Some(sets) = names.sets.get_mut(&owner) else { return Ok(false) };
        let before = sets.len();
        sets.retain(|set| set.kind != kind.record_type());
        let removed = sets.len() < before;
        if sets.is_empty() {
            names.sets.remove(&owner);
        }
        Ok(removed)
    }

    /// Sets or clears a fault for a name and everything below it, at all name servers and the resolver.
    pub fn set_fault(&self, owner: &str, fault: Option<Fault>) -> Result<(), PlayError> {
        self.set_fault_at(owner, None, fault)
    }

    /// The same for one name server, numbered from 1; `None`: for all of them, and the resolver.
    pub fn set_fault_at(&self, owner: &str, server: Option<u8>, fault: Option<Fault>) -> Result<(), PlayError> {
        if server.is_some_and(|server| !(1..=self.servers()).contains(&server)) {
            return Err(PlayError::Server(self.servers()));
        }
        let of = (key(&name(owner)?), server);
        let mut names = self.write();
        match fault {
            Some(_) if names.faults.len() >= SETS => return Err(PlayError::Full),
            Some(fault) => names.faults.insert(of, fault),
            None => names.faults.remove(&of),
        };
        Ok(())
    }

    /// The fault of a name at a name server, or at the resolver (`None`).
    pub(super) fn fault_at(&self, name: &Name, server: Option<u8>) -> Option<Fault> {
        let names = self.read();
        let mut name = name.to_lowercase();
        loop {
            let of = |server| names.faults.get(&(key(&name), server));
            if let Some(fault) = server.and_then(|server| of(Some(server))).or_else(|| of(None)) {
                return Some(*fault);
            }
            if name.is_root() {
                return None;
            }
            name = name.base_name();
        }
    }

    pub(super) fn find(&self, name: &Name, kind: RecordType) -> Finding {
        let names = self.read();
        let owner = key(name);
        let path = path(name);
        let sets = names.sets.get(&path).map(Vec::as_slice).unwrap_or_default();
        let record = |ttl, data: &RData| Record::from_rdata(name.clone(), ttl, data.clone());
        let of = |kind| sets.iter().find(|set: &&Set| set.kind == kind || kind == RecordType::ANY);
        if let Some(set) = of(kind) {
            return Finding::Records(set.values.iter().map(|data| record(set.ttl, data)).collect());
        }
        if let Some(set) = of(RecordType::CNAME)
            && let Some(RData::CNAME(CNAME(target))) = set.values.first()
        {
            return Finding::Alias(record(set.ttl, &RData::CNAME(CNAME(target.clone()))), target.clone());
        }
        let apex = self.apex_of(name);
        let soa = self.soa_of(&apex);
        let is_apex = key(&apex) == owner;
        match kind {
            RecordType::SOA if is_apex => return Finding::Records(vec![soa]),
            RecordType::NS if is_apex => {
                let all = self.name_servers.iter().map(|(host, _)| record(TTL, &RData::NS(NS(host.clone()))));
                return Finding::Records(all.collect());
            }
            RecordType::A if is_host(&owner) => {
                let ip = self.further_server(name).unwrap_or(self.outside);
                return Finding::Records(vec![record(TTL, &RData::A(A(ip)))]);
            }
            _ => {}
        }
        // An empty non-terminal exists (RFC 8020 §2).
        let exists = is_apex || is_host(&owner) || !sets.is_empty() || names.has_below(&path);
        if exists { Finding::NoData(soa) } else { Finding::NoName(soa) }
    }

    /// The address of a name server after the first.
    fn further_server(&self, host: &Name) -> Option<Ipv4Addr> {
        self.name_servers.iter().skip(1).find(|(name, _)| name == host).map(|(_, ip)| *ip)
    }

    /// The apex of a name's zone: its registrable domain, or the public suffix itself, or the root.
    pub(super) fn apex_of(&self, name: &Name) -> Name {
        let text = key(name);
        let text = text.strip_suffix('.').unwrap_or(&text);
        // A name under an underscore label is not a registrable domain.
        let text = text.rsplit_once('_').map_or(text, |(_, rest)| rest.split_once('.').map_or("", |(_, rest)| rest));
        let apex = psl::domain_str(text).or_else(|| psl::suffix_str(text)).unwrap_or_default();
        Name::from_ascii(format!("{apex}.")).unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(text: &str) -> Result<Name, PlayError> {
    let bad = || PlayError::Name(text.chars().take(100).collect());
    let text = text.trim();
    // Empty text would be the root; a name with a space is a mistake.
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad());
    }
    let mut name = Name::from_str_relaxed(text).map_err(|_| bad())?;
    name.set_fqdn(true);
    Ok(name)
}

fn path(name: &Name) -> Path {
    name.iter().rev().map(<[u8]>::to_ascii_lowercase).collect()
}

fn key(name: &Name) -> String {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name.to_ascii()
}

fn is_host(owner: &str) -> bool {
    let under = |top: &str| owner == format!("{top}.") || owner.ends_with(&format!(".{top}."));
    let labels = owner.trim_end_matches('.').split('.').count();
    labels > 1 && !owner.contains('_') && !under("invalid") && !under("arpa")
}
