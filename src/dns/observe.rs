//! What the DNS holds of the records of a claim, as its own servers and the resolvers see it, and what explains that.
//!
//! Invariant: each name is asked for at the servers of the zone it is in, found by following the delegation for that
//! name (`_domainkey` may be delegated elsewhere), and at every resolver, all in parallel and under one deadline; within
//! one observation nothing is asked twice of a server. RFC 1034 §4.2 (zone cuts), §4.3.1; RFC 4035 §3.2.2 (the CD bit); RFC 4592
//! (wildcards).

use super::Resolver;
use super::delegation::Zone;
use super::exchange::Role;
use super::queries::Queries;
use crate::verification::judge::{MxTarget, Observation, ServerAnswer, ZoneCut};
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use crate::verification::reconcile::{by_host, reconcile};
use crate::verification::records::{Expected, Purpose};
use crate::verification::spf;
use futures_util::future::join_all;
use std::net::IpAddr;
use tokio::time::Instant;

/// The steps of an observation that wait for answers: delegation, addresses, records, what explains them.
const STEPS: u32 = 4;
/// Mail hosts of a domain that are looked at.
const MAIL_HOSTS: usize = 10;

impl Resolver {
    /// Observes all of them; the observations come in the same order.
    pub async fn observe(&self, expected: &[&Expected]) -> Vec<Observation> {
        let deadline = Instant::now() + self.timeout().saturating_mul(STEPS);
        let wanted = expected.iter().map(|expected| expected.value.clone()).collect();
        let queries = Queries::new(self, deadline, wanted);
        join_all(expected.iter().map(|expected| queries.observation(expected))).await
    }
}

/// What every server says of a name, and what that is taken together.
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
        // Whoever validates sees nothing: one resolver that takes everything for good does not outdo one that does.
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

    /// What every server says of a name, and what that is taken together.
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

    /// Tells a server that refuses one name from one that knows nothing of the zone: the latter refuses the zone itself too.
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

    /// What each server of a zone says of a name.
    async fn each(&self, zone: &Zone, name: &str, record_type: RecordType) -> Vec<ServerAnswer> {
        join_all(zone.servers.iter().map(|one| async move {
            let answer = self.ask(one.server, Role::Authoritative, name, record_type).await.in_order();
            ServerAnswer { server: one.server, name: Some(one.name.clone()), authoritative: true, answer }
        }))
        .await
    }

    /// What stands where a CNAME record was looked for and not found.
    async fn other_types(&self, expected: &Expected, answer: &Answer) -> Vec<RecordData> {
        let Answer::NoRecord { nxdomain: false, .. } = answer else { return Vec::new() };
        if expected.record_type != RecordType::Cname {
            return Vec::new();
        }
        let types = [RecordType::A, RecordType::Aaaa, RecordType::Txt];
        let found = join_all(types.map(|t| self.all(&expected.name, t, expected.registered()))).await;
        found.iter().flat_map(|seen| seen.answer.records()).cloned().collect()
    }

    /// What was found and is not wanted stands at any name: one that nobody has made has it too (RFC 4592).
    async fn wildcard(&self, expected: &Expected, answer: &Answer, other_types: &[RecordData]) -> bool {
        let Expected { name, record_type, .. } = expected;
        // Above the registered domain there are only those of others.
        if *name == expected.registered() || is_right(expected, answer) {
            return false;
        }
        let Some(beside) = self.beside(name) else { return false };
        if !answer.records().is_empty() || !answer.aliases().is_empty() {
            return same(answer, &self.look_up(&beside, *record_type).await);
        }
        let types = [RecordType::A, RecordType::Aaaa, RecordType::Txt];
        let found = types.into_iter().filter(|t| other_types.iter().any(|record| record.type_name() == t.as_str()));
        let answers = join_all(found.map(|t| self.look_up(&beside, t))).await;
        let there: Vec<&RecordData> = answers.iter().flat_map(|answer| answer.records()).collect();
        // Of many addresses each answer may have others.
        !there.is_empty() && other_types.iter().any(|record| there.contains(&record))
    }

    /// The record at its name with the domain once more behind it, as panels make it of a full name. What a wildcard has
    /// there nobody has made.
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

    /// The record at the names where it often stands by mistake. It only explains: the resolvers' word will do.
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

    /// The key behind a DKIM record that is right.
    async fn target(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        let right = |record: &RecordData| matches!(record, RecordData::Cname(to) if *to == expected.value);
        if expected.purpose != Purpose::Dkim || !answer.records().iter().any(right) {
            return None;
        }
        // Our own zone, which stands somewhere else.
        Some(self.all(&expected.value, RecordType::Txt, "").await.answer)
    }

    /// Where a DKIM record leads in the end that does not lead to its target.
    async fn chain(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        if expected.purpose != Purpose::Dkim || is_right(expected, answer) {
            return None;
        }
        let [RecordData::Cname(to)] = answer.records() else { return None };
        Some(self.look_up(to, RecordType::Txt).await)
    }

    /// What the mail hosts are.
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

    /// The aliases of a host and its addresses. Those inside a network say nothing of who is there.
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

    /// What receivers find who evaluate the SPF record, where there is exactly one, and what they would find of the one
    /// that is offered instead.
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

    /// What stands where receivers look for the policy of a subdomain that has none of its own (RFC 7489 §6.6.3).
    async fn inherited(&self, expected: &Expected, answer: &Answer) -> Option<Answer> {
        let name = expected.inherited_from()?;
        if !answer.is_definite() || is_there(expected, answer) {
            return None;
        }
        Some(self.all(&name, RecordType::Txt, expected.registered()).await.answer)
    }

    /// A resolver fails, and knows the answer all the same when it need not check signatures.
    async fn bogus(&self, expected: &Expected, answers: &[ServerAnswer]) -> bool {
        let failed =
            |one: &&ServerAnswer| matches!(one.answer, Answer::Indefinite { reason: Indefinite::ServFail, .. });
        let unvalidated = answers.iter().filter(|one| !one.authoritative).filter(failed);
        let unvalidated =
            unvalidated.map(|one| self.ask(one.server, Role::Unvalidated, &expected.name, expected.record_type));
        join_all(unvalidated).await.iter().any(Answer::is_definite)
    }
}

/// True when the record that was looked for is there, right or wrong; other texts may stand beside it, and a wildcard's
/// alias in its place.
fn is_there(expected: &Expected, answer: &Answer) -> bool {
    answer.records().iter().any(|record| match record {
        RecordData::Txt(text) => expected.begins_like(text),
        RecordData::Cname(target) => target.eq_ignore_ascii_case(&expected.value),
        _ => true,
    })
}

/// True when the record is there as it should be, so that nothing needs to be explained.
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

/// True for two answers with the same records by the same way.
fn same(one: &Answer, other: &Answer) -> bool {
    let sorted = |answer: &Answer| {
        let mut records = answer.records().to_vec();
        records.sort();
        records
    };
    other.is_definite() && one.aliases() == other.aliases() && sorted(one) == sorted(other)
}
