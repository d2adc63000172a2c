//! Observes the records of a claim in the DNS, at the authoritative servers and at the resolvers, together with what
//! explains a fault. Invariant: each name is queried at the servers of its zone, found by following the delegation of
//! that name (`_domainkey` may be delegated), and at every resolver, in parallel and under one deadline; within one
//! observation no query is repeated to a server. RFC 1034 §4.2 (zone cuts), §4.3.1; RFC 4035 §3.2.2 (the CD bit); RFC
//! 4592 (wildcards).

use super::Resolver;
use super::delegation::Zone;
use super::progress::Progress;
use super::queries::Queries;
use super::query_limiter::Role;
use crate::verification::judge::{MxTarget, Observation, ServerAnswer, ZoneCut};
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::verification::reconcile::{by_host, reconcile};
use crate::verification::records::{Expected, Purpose};
use crate::verification::spf;
use futures_util::future::join_all;
use std::net::IpAddr;
use tokio::time::Instant;

/// The sequential steps of an observation: delegation, addresses, records, explanations.
const STEPS: u32 = 4;
/// Maximum MX hosts of a domain that are resolved.
const MAIL_HOSTS: usize = 10;

impl Resolver {
    /// Observes all of them; results are in the same order. `progress` counts the queries.
    pub async fn observe(&self, expected: &[&Expected], progress: &Progress) -> Vec<Observation> {
        let deadline = Instant::now() + self.timeout().saturating_mul(STEPS);
        let wanted = expected.iter().map(|expected| expected.value.clone()).collect();
        let queries = Queries::new(self, deadline, wanted, progress);
        join_all(expected.iter().map(|expected| queries.observation(expected))).await
    }
}

/// The answers of every server for a name, and their combined result.
struct Seen {
    answer: Answer,
    servers: Vec<ServerAnswer>,
    cut: Option<ZoneCut>,
}

impl Queries<'_> {
    async fn observation(&self, expected: &Expected) -> Observation {
        let Expected { name, record_type, .. } = expected;
        let Seen { answer, servers, cut } = self.all(name, *record_type, expected.registered()).await;
        let bogus = self.bogus(expected, &servers).await;
        // A validating resolver fails on bogus data; one that does not validate must not override it.
        let answer = if bogus { Answer::indefinite(Indefinite::ServFail, answer.server()) } else { answer };
        let ((other_types, wildcard), doubled, misplaced, target, chain, mx_targets, (spf, spf_offered), inherited) = tokio::join!(
            async {
                let other_types = self.other_types(expected, &answer).await;
                let wildcard = self.wildcard(expected, &answer, &other_types).await;
                (other_types, wildcard)
            },
            self.doubled(expected, &answer),
            self.misplaced(expected, &answer),
            self.target(expected, &answer),
            self.chain(expected, &answer),
            self.mx_targets(expected, &answer),
            self.spf(expected, &answer),
            self.inherited(expected, &answer),
        );
        Observation {
            answer,
            other_types,
            wildcard,
            servers,
            cut,
            doubled,
            misplaced,
            target,
            chain,
            mx_targets,
            spf,
            spf_offered,
            inherited,
            bogus,
        }
    }

    async fn all(&self, name: &str, record_type: RecordType, registered: &str) -> Seen {
        let authoritative = async {
            let zone = self.zone(name, record_type, registered).await;
            let answers = self.of_one_name_only(&zone, self.each(&zone, name, record_type).await).await;
            let lame = |one: &&ServerAnswer| matches!(one.answer, Answer::Indefinite { reason: Indefinite::Lame, .. });
            let Some(lame) = answers.iter().find(lame) else { return (answers, zone) };
            match self.below(name, &zone, lame.server).await {
                Some(below) => (self.each(&below, name, record_type).await, below),
                None => (answers, zone),
            }
        };
        let recursive = join_all(self.resolver.servers().iter().map(|server| async move {
            let answer = self.ask(*server, Role::Recursive, name, record_type).await.in_order();
            ServerAnswer { server: *server, name: None, authoritative: false, answer }
        }));
        let ((mut servers, zone), recursive) = tokio::join!(authoritative, recursive);
        let unheard = zone.unheard.into_iter().map(|host| Answer::indefinite(Indefinite::NoAddress(host), None));
        let authoritative: Vec<Answer> = by_host(&servers).into_iter().chain(unheard).collect();
        let answer = reconcile(&authoritative, &recursive.iter().map(|one| one.answer.clone()).collect::<Vec<_>>());
        servers.extend(recursive);
        Seen { answer, servers, cut: zone.cut }
    }

    /// Distinguishes a server that refuses one name from one that does not have the zone, which refuses the apex too.
    async fn of_one_name_only(&self, zone: &Zone, mut answers: Vec<ServerAnswer>) -> Vec<ServerAnswer> {
        let Some(cut) = &zone.cut else { return answers };
        for one in &mut answers {
            let Answer::Indefinite { reason: Indefinite::Refused, server } = &one.answer else { continue };
            let server = *server;
            if self.ask(one.server, Role::Authoritative, &cut.zone, RecordType::Ns).await.is_definite() {
                one.answer = Answer::indefinite(Indefinite::RefusedName, server);
            }
        }
        answers
    }

    /// The answer of each server of a zone for a name.
    async fn each(&self, zone: &Zone, name: &str, record_type: RecordType) -> Vec<ServerAnswer> {
        join_all(zone.servers.iter().map(|one| async move {
            let answer = self.ask(one.server, Role::Authoritative, name, record_type).await.in_order();
            ServerAnswer { server: one.server, name: Some(one.name.clone()), authoritative: true, answer }
        }))
        .await
    }

    /// Other record types at a name where a CNAME was expected.
    async fn other_types(&self, expected: &Expected, answer: &Answer) -> Vec<RecordData> {
        let Answer::NoRecord { nxdomain: false, .. } = answer else { return Vec::new() };
        if expected.record_type != RecordType::Cname {
            return Vec::new();
        }
        let types = [RecordType::A, RecordType::Aaaa, RecordType::Txt];
        let found = join_all(types.map(|t| self.all(&expected.name, t, expected.registered()))).await;
        found.iter().flat_map(|seen| seen.answer.records()).cloned().collect()
    }

    /// True if the unexpected records come from a wildcard: a random sibling name has them too (RFC 4592).
    async fn wildcard(&self, expected: &Expected, answer: &Answer, other_types: &[RecordData]) -> bool {
        let Expected { name, record_type, .. } = expected;
        // Wildcards above the registered domain are not the customer's.
        if *name == expected.registered() || is_right(expected, answer) {
            return false;
        }
        let Some(beside) = self.beside(name) else { return false };
        if !answer.records().is_empty() || !answer.aliases().is_empty() {
            return same(answer, &self.look_up(&beside, *record_type).await);
        }
        let types = [RecordType::A, RecordType::Aaaa, RecordType::Txt];
        let found =
            types.into_iter().filter(|t| other_types.iter().any(|record| record.type_name() == <&str>::from(t)));
        let answers = join_all(found.map(|t| self.look_up(&beside, t))).await;
        let there: Vec<&RecordData> = answers.iter().flat_map(|answer| answer.records()).collect();
        // Of many addresses each answer may have a different subset.
        !there.is_empty() && other_types.iter().any(|record| there.contains(&record))
    }

    /// The record at its name with the domain appended twice, as control panels create it from a full name. Wildcard
    /// answers do not count.
    async fn doubled(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        if !answer.is_definite() || is_there(expected, answer) {
            return None;
        }
        let name = format!("{}.{}", expected.name, expected.registered());
        let found = self.all(&name, expected.record_type, expected.registered()).await.answer;
        if found.records().is_empty() {
            return None;
        }
        let beside = self.look_up(&self.beside(&name)?, expected.record_type).await;
        (!same(&found, &beside)).then_some(found)
    }

    /// The record at names where it is often published by mistake. Only explains a fault, so the resolvers' answers
    /// suffice.
    async fn misplaced(&self, expected: &Expected, answer: &Answer) -> Vec<(String, Answer)> {
        if !answer.is_definite() || is_there(expected, answer) {
            return Vec::new();
        }
        let found = join_all(expected.mistaken_names().into_iter().map(|name| async move {
            let answer = self.look_up(&name, expected.record_type).await;
            (name, answer)
        }));
        found.await.into_iter().filter(|(_, answer)| !answer.records().is_empty()).collect()
    }

    /// The key behind a valid DKIM CNAME record.
    async fn target(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        let is_target = |record: &RecordData| matches!(record, RecordData::Cname(to) if *to == expected.value);
        if expected.purpose != Purpose::Dkim || !answer.records().iter().any(is_target) {
            return None;
        }
        // Our own zone, which may be served elsewhere.
        Some(self.all(&expected.value, RecordType::Txt, "").await.answer)
    }

    /// The end of the alias chain of a DKIM record that does not point to its target.
    async fn chain(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        if expected.purpose != Purpose::Dkim || is_right(expected, answer) {
            return None;
        }
        let [RecordData::Cname(to)] = answer.records() else { return None };
        Some(self.look_up(to, RecordType::Txt).await)
    }

    /// Aliases and addresses of the MX hosts.
    async fn mx_targets(&self, expected: &Expected, answer: &Answer) -> Vec<MxTarget> {
        let ours = &expected.value;
        let host = |record: &RecordData| match record {
            RecordData::Mx { exchange, .. } if exchange != "." => Some(exchange.clone()),
            _ => None,
        };
        let hosts: Vec<String> = answer.records().iter().filter_map(host).take(MAIL_HOSTS).collect();
        let addresses = match hosts.iter().any(|host| !host.eq_ignore_ascii_case(ours)) {
            true => self.addresses(ours).await.1,
            false => Vec::new(),
        };
        join_all(hosts.into_iter().map(|host| async {
            if host.eq_ignore_ascii_case(ours) {
                let found = self.look_up(&host, RecordType::Cname).await;
                let aliases = found.records().iter().filter_map(RecordData::target).map(str::to_owned).collect();
                return MxTarget { host, aliases, is_ours: true };
            }
            if host.parse::<IpAddr>().is_ok() {
                return MxTarget { host, aliases: Vec::new(), is_ours: false };
            }
            let (aliases, found) = self.addresses(&host).await;
            let is_ours = found.iter().any(|ip| addresses.contains(ip));
            MxTarget { host, aliases, is_ours }
        }))
        .await
    }

    /// The aliases of a host and its addresses. Private addresses do not identify a host.
    async fn addresses(&self, host: &str) -> (Vec<String>, Vec<IpAddr>) {
        let (v4, v6) = tokio::join!(self.look_up(host, RecordType::A), self.look_up(host, RecordType::Aaaa));
        let is_outside = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified()),
            IpAddr::V6(v6) => {
                !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified())
            }
        };
        let found = [&v4, &v6].into_iter().flat_map(|a| a.records()).filter_map(RecordData::address);
        let aliases = if v4.aliases().is_empty() { v6.aliases() } else { v4.aliases() };
        (aliases.to_vec(), found.filter(is_outside).collect())
    }

    /// The SPF evaluation of the record, if there is exactly one, and of the record that would be suggested.
    async fn spf(&self, expected: &Expected, answer: &Answer) -> (Option<spf::Report>, Option<spf::Report>) {
        let is_spf = matches!(expected.purpose, Purpose::Spf | Purpose::ReturnPathSpf);
        if !is_spf || expected.record_type != RecordType::Txt {
            return (None, None);
        }
        let texts = answer.records().iter().filter_map(|record| match record {
            RecordData::Txt(text) => Some(text.as_str()),
            _ => None,
        });
        let texts = spf::candidates(&texts.collect::<Vec<_>>());
        let report = match texts.as_slice() {
            [record] if spf::is_spf(record) => Some(self.evaluate(&expected.name, record).await),
            _ => None,
        };
        let offered = match spf::needed(&texts, &expected.value, report.as_ref()) {
            Some(offer) => Some(self.evaluate(&expected.name, &offer.text).await),
            None => None,
        };
        (report, offered)
    }

    async fn evaluate(&self, name: &str, record: &str) -> spf::Report {
        let mut evaluation = spf::Evaluation::new(name, record);
        loop {
            let questions = evaluation.questions();
            if questions.is_empty() {
                return evaluation.report();
            }
            let answers = join_all(questions.iter().map(|(name, of)| self.look_up(name, *of))).await;
            for ((name, of), answer) in questions.iter().zip(answers) {
                evaluation.feed(name, *of, answer);
            }
        }
    }

    /// The DMARC record that applies to a subdomain without its own (RFC 7489 §6.6.3).
    async fn inherited(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        let name = expected.inherited_from()?;
        if !answer.is_definite() || is_there(expected, answer) {
            return None;
        }
        Some(self.all(&name, RecordType::Txt, expected.registered()).await.answer)
    }

    /// True if a resolver fails, but answers with checking disabled.
    async fn bogus(&self, expected: &Expected, answers: &[ServerAnswer]) -> bool {
        let failed =
            |one: &&ServerAnswer| matches!(one.answer, Answer::Indefinite { reason: Indefinite::ServFail, .. });
        let unvalidated = answers.iter().filter(|one| !one.authoritative).filter(failed);
        let unvalidated =
            unvalidated.map(|one| self.ask(one.server, Role::Unvalidated, &expected.name, expected.record_type));
        join_all(unvalidated).await.iter().any(Answer::is_definite)
    }
}

/// True if the expected record exists, valid or not; other TXT records and wildcard aliases do not count.
fn is_there(expected: &Expected, answer: &Answer) -> bool {
    answer.records().iter().any(|record| match record {
        RecordData::Txt(text) => expected.begins_like(text),
        RecordData::Cname(target) => target.eq_ignore_ascii_case(&expected.value),
        _ => true,
    })
}

/// True if the record is valid, so that nothing needs an explanation.
fn is_right(expected: &Expected, answer: &Answer) -> bool {
    answer.aliases().is_empty()
        && answer.records().iter().any(|record| match record {
            RecordData::Txt(text) if expected.purpose == Purpose::Dmarc => expected.begins_like(text),
            RecordData::Txt(text) => text.trim_end() == expected.value,
            RecordData::Cname(target) => target.eq_ignore_ascii_case(&expected.value),
            RecordData::Mx { exchange, .. } => exchange.eq_ignore_ascii_case(&expected.value),
            _ => false,
        })
}

/// True if the answers have the same records by the same aliases.
fn same(one: &Answer, other: &Answer) -> bool {
    let sorted = |answer: &Answer| {
        let mut records = answer.records().to_vec();
        records.sort();
        records
    };
    other.is_definite() && one.aliases() == other.aliases() && sorted(one) == sorted(other)
}
