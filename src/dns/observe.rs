//! What the DNS holds for a set of names, as its own servers and the resolvers see it.
//!
//! Invariant: each name is asked for at the servers of the zone it is in, found by following the delegation for that
//! name (`_domainkey` may be delegated elsewhere), and at every resolver, all in parallel and under one deadline; within
//! one observation nothing is asked twice of a server. RFC 1034 §4.2 (zone cuts), §4.3.1.

use super::Resolver;
use super::exchange::{Role, ask};
use crate::domain::judge::Sight;
use crate::domain::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::domain::reconcile::reconcile;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tokio::time::{Instant, timeout_at};

/// Name servers of one zone that are asked; more are rare, and add nothing.
const SERVERS: usize = 8;
/// Of each, addresses: one or two per family.
const ADDRESSES: usize = 4;
/// The steps of an observation that wait for answers: delegation, addresses, records, what stands there instead.
const STEPS: u32 = 4;

/// The records of a type at a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The name, without a trailing dot.
    pub name: String,
    /// The type.
    pub record_type: RecordType,
}

impl Resolver {
    /// Observes all of them; the sights come in the order of the questions.
    pub async fn observe(&self, questions: &[Question]) -> Vec<Sight> {
        let deadline = Instant::now() + self.timeout().saturating_mul(STEPS);
        let once: Vec<Question> = questions.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let (authoritative, recursive) = tokio::join!(
            self.ask_responsible(&once, deadline),
            join_all(once.iter().map(|question| self.ask_resolvers(question, deadline)))
        );
        let answers: Vec<Answer> =
            authoritative.iter().zip(&recursive).map(|(theirs, cached)| reconcile(theirs, cached)).collect();
        let instead = join_all(once.iter().zip(&answers).map(|(q, answer)| self.instead(q, answer, deadline))).await;
        let sights: BTreeMap<&Question, Sight> = once
            .iter()
            .zip(answers.into_iter().zip(instead))
            .map(|(question, (answer, instead))| (question, Sight { instead, ..Sight::of(answer) }))
            .collect();
        let unasked = || Sight::of(Answer::indefinite(Indefinite::NoServer, None));
        questions.iter().map(|question| sights.get(question).cloned().unwrap_or_else(unasked)).collect()
    }

    /// The answers of the servers of each question's zone.
    async fn ask_responsible(&self, questions: &[Question], deadline: Instant) -> Vec<Vec<Answer>> {
        let responsible = self.responsible(questions, deadline).await;
        let asked = questions.iter().zip(&responsible).map(|(question, servers)| {
            let ask = |server: &SocketAddr| self.ask_by(*server, Role::Authoritative, question.clone(), deadline);
            join_all(servers.iter().map(ask).collect::<Vec<_>>())
        });
        join_all(asked.collect::<Vec<_>>()).await
    }

    async fn ask_by(&self, server: SocketAddr, role: Role, question: Question, deadline: Instant) -> Answer {
        let answer = ask(self.politeness(), server, role, &question.name, question.record_type, self.timeout());
        let late = |_| Answer::indefinite(Indefinite::Timeout, Some(server));
        timeout_at(deadline, answer).await.unwrap_or_else(late)
    }

    async fn ask_resolvers(&self, question: &Question, deadline: Instant) -> Vec<Answer> {
        join_all(self.servers().iter().map(|s| self.ask_by(*s, Role::Recursive, question.clone(), deadline))).await
    }

    async fn lookup_by(&self, name: &str, record_type: RecordType, deadline: Instant) -> Answer {
        let late = |_| Answer::indefinite(Indefinite::Timeout, None);
        timeout_at(deadline, self.lookup(name, record_type)).await.unwrap_or_else(late)
    }

    /// For each question the servers of its zone. None where the delegation cannot be followed: the resolvers' word has
    /// to do then.
    async fn responsible(&self, questions: &[Question], deadline: Instant) -> Vec<Vec<SocketAddr>> {
        let candidates: BTreeSet<&str> = questions.iter().flat_map(zone_candidates).collect();
        let found = join_all(candidates.iter().map(|zone| async move {
            let answer = self.lookup_by(zone, RecordType::Ns, deadline).await;
            (*zone, name_servers(&answer))
        }))
        .await;
        let zones: BTreeMap<&str, Vec<String>> = found.into_iter().filter(|(_, hosts)| !hosts.is_empty()).collect();
        let cuts: Vec<Option<&str>> =
            questions.iter().map(|question| zone_candidates(question).find(|zone| zones.contains_key(zone))).collect();
        let hosts: BTreeSet<&str> =
            cuts.iter().flatten().filter_map(|cut| zones.get(cut)).flatten().map(String::as_str).collect();
        let addresses: BTreeMap<&str, Vec<SocketAddr>> =
            join_all(hosts.iter().map(|host| async move { (*host, self.addresses_by(host, deadline).await) }))
                .await
                .into_iter()
                .collect();
        let of_zone = |cut: &str| -> Vec<SocketAddr> {
            let hosts = zones.get(cut).into_iter().flatten();
            let all = hosts.filter_map(|host| addresses.get(host.as_str())).flatten().copied();
            all.collect::<BTreeSet<_>>().into_iter().collect()
        };
        cuts.into_iter().map(|cut| cut.map(of_zone).unwrap_or_default()).collect()
    }

    /// Where a name server may be asked: tenants choose theirs, so only at addresses that are public or allowed.
    async fn addresses_by(&self, host: &str, deadline: Instant) -> Vec<SocketAddr> {
        let (v4, v6) = tokio::join!(
            self.lookup_by(host, RecordType::A, deadline),
            self.lookup_by(host, RecordType::Aaaa, deadline)
        );
        let found = [&v4, &v6].into_iter().flat_map(|a| a.records()).filter_map(RecordData::address);
        let (allowed, inside): (Vec<_>, Vec<_>) = found.take(ADDRESSES).partition(|ip| self.allowed().allows(*ip));
        if !inside.is_empty() {
            tracing::debug!(host, ?inside, "a name server is not asked: its address is not public");
        }
        allowed.into_iter().map(|ip| SocketAddr::new(ip, self.authoritative_port())).collect()
    }

    /// What stands where a CNAME record was looked for and not found.
    async fn instead(&self, question: &Question, answer: &Answer, deadline: Instant) -> Vec<RecordData> {
        let Answer::NoRecord { nxdomain: false, .. } = answer else { return Vec::new() };
        if question.record_type != RecordType::Cname {
            return Vec::new();
        }
        let types = [RecordType::A, RecordType::Aaaa, RecordType::Txt];
        let answers = join_all(types.map(|t| self.lookup_by(&question.name, t, deadline))).await;
        answers.iter().flat_map(|a| a.records()).cloned().collect()
    }
}

/// The names at which the zone of a question may begin, the longest first; never a top-level domain, whose servers hold
/// nothing of what we ask.
fn zone_candidates(question: &Question) -> impl Iterator<Item = &str> {
    // A CNAME cannot stand where a zone begins (RFC 1034 §3.6.2).
    let first = usize::from(question.record_type == RecordType::Cname);
    let name = question.name.as_str();
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    starts.skip(first).filter_map(|at| name.get(at..)).filter(|zone| zone.contains('.'))
}

/// The name servers of a zone that begins at exactly the name asked for.
fn name_servers(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Found { records, aliases, .. } if aliases.is_empty() => {
            let host = |record: &RecordData| match record {
                RecordData::Ns(host) => Some(host.clone()),
                _ => None,
            };
            records.iter().filter_map(host).take(SERVERS).collect()
        }
        _ => Vec::new(),
    }
}
