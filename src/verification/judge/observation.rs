//! What a check observed for one expected record: the answer, and further answers that explain it. Invariant: only
//! `answer` decides whether a record is valid; the rest explains a fault, and may be empty.

use crate::verification::observed::{Answer, RecordData};
use crate::verification::spf;
use std::net::SocketAddr;

/// What a check observed for one expected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The combined answer of all servers for its type.
    pub answer: Answer,
    /// Records of other types at the name, if there are none of the expected type.
    pub other_types: Vec<RecordData>,
    /// The unexpected records come from a wildcard, since a random name has them too.
    pub wildcard: bool,
    /// The answer of each server, authoritative or recursive.
    pub servers: Vec<ServerAnswer>,
    /// The zone of the name, if known.
    pub cut: Option<ZoneCut>,
    /// The answer for `name.domain`, if there is no record: a DNS provider may have appended the domain twice. `None`
    /// if it comes from a wildcard.
    pub doubled: Option<Answer>,
    /// Records at names where the record is often published by mistake.
    pub misplaced: Vec<(String, Answer)>,
    /// TXT at the target of a DKIM record, if the record is valid.
    pub target: Option<Answer>,
    /// TXT at the name that a DKIM record points to, if that is not its target: further aliases may point to it.
    pub chain: Option<Answer>,
    /// For an MX record: its hosts.
    pub mx_targets: Vec<MxTarget>,
    /// For an SPF record: its evaluation, if there is exactly one.
    pub spf: Option<spf::Report>,
    /// The evaluation of the suggested record.
    pub spf_offered: Option<spf::Report>,
    /// TXT at `_dmarc.` of the organizational domain, for a subdomain without its own DMARC record.
    pub inherited: Option<Answer>,
    /// Every resolver returned SERVFAIL, but answered with checking disabled (the CD bit).
    pub bogus: bool,
}

/// A zone apex, from the delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCut {
    pub zone: String,
    /// The parent zone, if known.
    pub above: Option<String>,
}

/// The answer of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAnswer {
    /// The address queried.
    pub server: SocketAddr,
    /// The host name, if known: a name server's from the delegation.
    pub name: Option<String>,
    /// It is authoritative for the zone by the delegation.
    pub authoritative: bool,
    /// Its answer. A resolver's TTLs are what is left in its cache.
    pub answer: Answer,
}

impl ServerAnswer {
    /// Name and address.
    pub(super) fn who(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.server.ip()),
            None => self.server.ip().to_string(),
        }
    }
}

/// The host of an MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxTarget {
    pub host: String,
    /// The targets of its alias chain, in order.
    pub aliases: Vec<String>,
    /// It has an address of our mail host.
    pub is_ours: bool,
}

impl Observation {
    /// An observation with only the answer.
    pub fn of(answer: Answer) -> Self {
        Self {
            answer,
            other_types: Vec::new(),
            wildcard: false,
            servers: Vec::new(),
            cut: None,
            doubled: None,
            misplaced: Vec::new(),
            target: None,
            chain: None,
            mx_targets: Vec::new(),
            spf: None,
            spf_offered: None,
            inherited: None,
            bogus: false,
        }
    }

    /// The answers of the authoritative servers.
    pub(super) fn authoritative(&self) -> impl Iterator<Item = &ServerAnswer> {
        self.servers.iter().filter(|answers| answers.authoritative)
    }
}
