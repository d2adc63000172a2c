//! Faults of the name servers: disagreement, lack of authority, no answer, stale caches. Invariant: nothing here
//! decides whether a record is valid; it explains an indefinite answer, or warns about a valid record that is not
//! visible to everyone yet. RFC 1034 §4.2 (delegation), RFC 2308 §5 (negative caching), RFC 4035 §5.5 (bogus data).

use super::{Code, Fix, Observation, RecordError, ServerAnswer, ZoneCut};
use crate::clock::Timestamp;
use crate::verification::bounds;
use crate::verification::observed::{Answer, Indefinite};
use crate::verification::records::Expected;
use std::time::Duration;

/// Why there is no definite answer.
pub(super) fn unanswered(expected: &Expected, observation: &Observation, reason: &Indefinite) -> RecordError {
    let name = &expected.name;
    if observation.bogus {
        return RecordError::new(
            Code::DnssecBogus,
            format!(
                "the DNSSEC signatures of {name} are invalid, so that validating resolvers get no answer for the zone"
            ),
            "At your registrar, delete the DS record of the domain, or replace it by the one that your DNS provider shows; \
             this often happens after a change of DNS provider.",
        );
    }
    if let Indefinite::Disagreement(lines) = reason {
        if !observation.authoritative().any(|answers| answers.answer.is_definite()) {
            return remembered(expected, observation, lines);
        }
        return disagreement(expected, observation, lines);
    }
    if let Some(error) = lame(expected, observation) {
        return error;
    }
    if let Some(error) = no_tcp(expected, observation) {
        return error;
    }
    let silent: Vec<String> =
        observation.authoritative().filter(|answers| !answers.answer.is_definite()).map(line).collect();
    let who = if silent.is_empty() { String::new() } else { format!(" ({})", silent.join("; ")) };
    let see = match below(expected, observation).filter(|_| !silent.is_empty()) {
        Some((zone, above)) => format!(
            "correct the NS records of {zone} in the zone {above}, which point to servers that do not answer; or delete them, if \
             the records belong in {above} itself."
        ),
        None => "check whether the name servers of your zone answer, and whether its DNSSEC is valid.".to_owned(),
    };
    RecordError::new(
        Code::ResolverFailed,
        format!("the DNS gave no definite answer for {name}: {reason}{who}"),
        Fix::step("Nothing to do if this passes: the check is repeated").then(format!("If it persists, {see}")),
    )
}

/// Only resolvers answered, with data of different age: this says nothing about the name servers.
fn remembered(expected: &Expected, observation: &Observation, lines: &[String]) -> RecordError {
    let message = format!(
        "resolvers disagree about {}, and none of its zone's name servers answered: {}",
        expected.name,
        lines.join("; ")
    );
    let longest =
        observation.servers.iter().map(|answers| remaining(&answers.answer)).max().unwrap_or_default().as_secs();
    let fix = Fix::step("Nothing to do if it has just been changed: the check is repeated").then(format!(
        "Some of them have the previous answer cached, for at most {longest} more seconds. If it persists, check whether the name \
         servers of your zone can be reached from everywhere."
    ));
    RecordError::new(Code::ServersDisagree, message, fix)
}

/// Lists the answer of each server, by name where known.
fn disagreement(expected: &Expected, observation: &Observation, lines: &[String]) -> RecordError {
    let named = |line: &String| {
        let rest_of = |answers: &ServerAnswer| {
            let rest =
                line.strip_prefix(&answers.server.ip().to_string()).filter(|rest| rest.starts_with([' ', ':']))?;
            let who = if answers.authoritative { answers.who() } else { format!("the resolver {}", answers.who()) };
            Some(bounds::brief(&format!("{who}{rest}"), bounds::LINE))
        };
        observation.servers.iter().find_map(rest_of).unwrap_or_else(|| line.clone())
    };
    let answers: Vec<String> = lines.iter().map(named).collect();
    let message = format!("the name servers disagree about {}: {}", expected.name, answers.join("; "));
    let heard = observation
        .authoritative()
        .filter(|answers| answers.answer.is_definite())
        .map(|answers| answers.answer.records());
    let mut heard: Vec<_> = heard.collect();
    heard.dedup();
    // The servers that answer agree: it depends on the others, or on the resolver.
    let fix = match heard.len() {
        1 => {
            "Wait until every name server of your zone answers and the resolvers see the change; if it persists, check at \
             your registrar whether each of the name servers there is still yours."
        }
        _ => {
            "Wait until the change has reached every name server of your zone; if they still differ after an hour, tell your \
             DNS provider, and check at your registrar whether the domain is also delegated to an old provider."
        }
    };
    RecordError::new(Code::ServersDisagree, message, fix)
}

/// The zone of the name and its parent, if the parent belongs to the owner too: then the delegation at the registrar
/// is not involved.
fn below<'a>(expected: &Expected, observation: &'a Observation) -> Option<(&'a str, &'a str)> {
    let ZoneCut { zone, above } = observation.cut.as_ref()?;
    let above = above.as_deref()?;
    let registered = expected.registered();
    let owned = above == registered || above.strip_suffix(registered).is_some_and(|rest| rest.ends_with('.'));
    owned.then_some((zone.as_str(), above))
}

/// The answer needs TCP, which the name servers do not offer, often because of a firewall that passes only UDP.
fn no_tcp(expected: &Expected, observation: &Observation) -> Option<RecordError> {
    let fails =
        |answers: &&ServerAnswer| matches!(answers.answer, Answer::Indefinite { reason: Indefinite::NoTcp(_), .. });
    let failing: Vec<&ServerAnswer> = observation.authoritative().filter(fails).collect();
    if failing.is_empty() {
        return None;
    }
    let Expected { name, record_type, .. } = expected;
    let answers: Vec<String> = failing.iter().map(|answers| line(answers)).collect();
    let servers: Vec<String> = failing.iter().map(|answers| answers.who()).collect();
    let open = format!("Open TCP port 53 of {}, at its firewall or through your DNS provider", servers.join(", "));
    let fix = Fix::step(open).then(format!(
        "Or delete {record_type} records of {name} that are not needed, until the answer fits in one datagram."
    ));
    let message = format!("the DNS gave no definite answer for {name}: {}", answers.join("; "));
    Some(RecordError::new(Code::ResolverFailed, message, fix))
}

/// A warning about a valid record, if any.
pub(super) fn reservation(
    expected: &Expected,
    observation: &Observation,
    is_right: impl Fn(&Answer) -> bool,
    now: Timestamp,
) -> Option<RecordError> {
    let remembers =
        |answers: &&ServerAnswer| !answers.authoritative && answers.answer.is_definite() && !is_right(&answers.answer);
    let source = observation.authoritative().any(|answers| answers.answer.is_definite());
    let held = observation.servers.iter().filter(remembers).max_by_key(|answers| remaining(&answers.answer));
    if let Some(held) = held.filter(|_| source) {
        let left = remaining(&held.answer);
        let who = held.who();
        let old = match held.answer.records().first() {
            Some(record) => {
                let value = bounds::brief(&record.to_string(), bounds::LINE);
                format!("still has the previous value, {value},")
            }
            None => "still has the answer that there is no record".to_owned(),
        };
        let seconds = left.as_secs();
        let message = format!(
            "{} is valid at the source, but the resolver {who} {old} in its cache for {seconds} more seconds",
            expected.name
        );
        let fix = "Nothing to do: caches expire, and then everybody sees the change.";
        let error = RecordError::new(Code::StillCached, message, fix);
        return Some(RecordError { expected_visible_at: Some(now.after(left)), ..error });
    }
    lame(expected, observation)
}

/// A server in the delegation that is not authoritative.
fn lame(expected: &Expected, observation: &Observation) -> Option<RecordError> {
    // An authoritative server is not at fault for the end of an alias chain outside its zones.
    if !observation.answer.aliases().is_empty() {
        return None;
    }
    let is_lame = |answers: &&ServerAnswer| match &answers.answer {
        Answer::Indefinite { reason: Indefinite::Lame | Indefinite::Refused, .. } => true,
        Answer::Indefinite { reason: Indefinite::NotAuthoritative(_), .. } => !agrees(observation, answers),
        _ => false,
    };
    let lame: Vec<String> = observation.authoritative().filter(is_lame).map(ServerAnswer::who).collect();
    if lame.is_empty() {
        return peculiar(expected, observation);
    }
    let all = lame.len() == observation.authoritative().count();
    let listed = lame.join(", ");
    let fate = if all { "no look-up works there" } else { "look-ups that reach them fail or take long" };
    let zone = observation
        .cut
        .as_ref()
        .map_or_else(|| format!("the zone of {}", expected.name), |cut| format!("the zone {}", cut.zone));
    let message = format!("{zone} is delegated to {listed}, which are not authoritative for it: {fate}");
    let fix = match below(expected, observation) {
        Some((zone, above)) => Fix::step(format!(
            "Correct the NS records of {zone} in the zone {above}: remove {listed}, or add the zone there"
        ))
        .then(format!("Or delete them all, if the records belong in {above} itself.")),
        None => Fix::step(format!(
            "At your registrar, correct the name servers of the domain: remove {listed}, or add the zone there"
        ))
        .then("They must be those that your DNS provider shows for this zone."),
    };
    Some(RecordError::new(Code::LameDelegation, message, fix))
}

/// True for a server whose answer lacks the AA bit but is correct.
fn agrees(observation: &Observation, answers: &ServerAnswer) -> bool {
    let Answer::Indefinite { reason: Indefinite::NotAuthoritative(given), .. } = &answers.answer else { return false };
    let sorted = |answer: &Answer| answer.clone().in_order().records().to_vec();
    observation.answer.is_definite() && sorted(given) == sorted(&observation.answer)
}

/// Servers that serve the zone, with a fault that only some resolvers object to.
fn peculiar(expected: &Expected, observation: &Observation) -> Option<RecordError> {
    let name = &expected.name;
    let who = |of: &dyn Fn(&ServerAnswer) -> bool| {
        observation.authoritative().filter(|answers| of(answers)).map(ServerAnswer::who).collect::<Vec<_>>().join(", ")
    };
    let unmarked = who(&|answers| agrees(observation, answers));
    if !unmarked.is_empty() {
        let message = format!(
            "{unmarked} answers correctly for {name}, but without the AA flag of authoritative servers: a few resolvers \
             ignore such answers"
        );
        let fix = Fix::step("Nothing to do at once: the record is published")
            .then("Ask your DNS provider whether that server is a cache, or lacks a copy of the zone.");
        return Some(RecordError::new(Code::LameDelegation, message, fix));
    }
    let refusing = who(&|answers| matches!(answers.answer, Answer::Indefinite { reason: Indefinite::RefusedName, .. }));
    if refusing.is_empty() {
        return None;
    }
    let message = format!(
        "{refusing} serves the zone, but refuses to answer for {name}: look-ups of that name that reach it take longer or fail"
    );
    let fix = Fix::step("The name servers at your registrar may stay as they are").then(format!(
        "If this persists, ask your DNS provider why that server refuses {name}: often it has a rule or filter."
    ));
    Some(RecordError::new(Code::LameDelegation, message, fix))
}

fn remaining(answer: &Answer) -> Duration {
    match answer {
        Answer::Found { ttl, .. } => *ttl,
        Answer::NoRecord { negative_ttl, .. } => negative_ttl.unwrap_or_default(),
        Answer::Indefinite { .. } => Duration::ZERO,
    }
}

fn line(answers: &ServerAnswer) -> String {
    let who = answers.who();
    let line = match &answers.answer {
        Answer::Indefinite { reason, .. } => format!("{who}: {reason}"),
        answer => {
            let records: Vec<String> = answer.records().iter().map(ToString::to_string).collect();
            if records.is_empty() { format!("{who} has none") } else { format!("{who} has {}", records.join(", ")) }
        }
    };
    bounds::brief(&line, bounds::LINE)
}
