//! What a check saw for one expected record: the answer, and what was asked beside it to explain the answer.
//!
//! Invariant: only `answer` decides whether a record is right; the rest explains why it is not, and may be empty.

use crate::verification::observed::{Answer, RecordData};
use crate::verification::spf;
use std::net::SocketAddr;

/// What a check saw for one expected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The answer to the question for its type, all servers taken together.
    pub answer: Answer,
    /// What stands at the name with other types, where there is nothing of the type asked for.
    pub other_types: Vec<RecordData>,
    /// What was found and is not wanted, at the name or instead, is a wildcard's: a name that nobody has made has it too.
    pub wildcard: bool,
    /// What each server said, the zone's own and the resolvers.
    pub servers: Vec<ServerAnswer>,
    /// The zone that the name is in, where it is known.
    pub cut: Option<ZoneCut>,
    /// The same question at `name.domain`, where there is nothing of the type asked for: did a panel append the domain to
    /// a name that had it already? None where a wildcard answers there.
    pub doubled: Option<Answer>,
    /// The same question at the names where the record often stands by mistake, where there are records.
    pub misplaced: Vec<(String, Answer)>,
    /// TXT at the target that a DKIM record should have, where the record is right.
    pub target: Option<Answer>,
    /// TXT at the name that a DKIM record leads to, where that is not its target: do the aliases from there end at it?
    pub chain: Option<Answer>,
    /// For an MX record: what the hosts are that it leads to.
    pub mx_targets: Vec<MxTarget>,
    /// For an SPF record: what became of its evaluation, where there is exactly one.
    pub spf: Option<spf::Report>,
    /// The same of the record that is offered in place of what stands there.
    pub spf_offered: Option<spf::Report>,
    /// TXT at `_dmarc.` and the organizational domain, for a subdomain that has no DMARC record of its own.
    pub inherited: Option<Answer>,
    /// Every resolver said SERVFAIL, and answered the same question when told not to validate (the CD bit).
    pub bogus: bool,
}

/// Where a zone begins, as the delegation has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCut {
    /// The zone.
    pub zone: String,
    /// The zone that hands it on, where that is known.
    pub above: Option<String>,
}

/// What one server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAnswer {
    /// Where it was asked.
    pub server: SocketAddr,
    /// The host's name, where it is known: a name server's from the delegation.
    pub name: Option<String>,
    /// It is one of the zone's own, as the delegation has it.
    pub authoritative: bool,
    /// Its answer. Its TTL, or negative TTL, is what is left of it in the cache of a resolver.
    pub answer: Answer,
}

impl ServerAnswer {
    /// The name and the address, as people may look for either.
    pub(super) fn who(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.server.ip()),
            None => self.server.ip().to_string(),
        }
    }
}

/// A host that an MX record leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxTarget {
    /// The host.
    pub host: String,
    /// Where CNAME records lead from there, in order.
    pub aliases: Vec<String>,
    /// It has an address of our mail host's.
    pub is_ours: bool,
}

impl Observation {
    /// An observation of which there is nothing more to say than the answer.
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

    /// The zone's own servers, and what each said.
    pub(super) fn authoritative(&self) -> impl Iterator<Item = &ServerAnswer> {
        self.servers.iter().filter(|answers| answers.authoritative)
    }
}
