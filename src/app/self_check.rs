//! Checks our own DNS after the start: whether the resolvers validate, and whether the platform domain, its MX, this
//! host's name and the DKIM zone agree. Invariant: it only warns, each time with the record to publish; a DNS failure
//! is reported as unknown. The daemon runs either way, since records are often published later.

use super::Services;
use crate::dns::Addresses;
use crate::dns::Resolver;
use crate::http::SelfCheck;
use crate::verification::observed::{Answer, RecordData, RecordType};
use crate::verification::rotation::same_key;
use std::net::SocketAddr;

pub(super) async fn run(services: Services) {
    let found = warnings(&services).await;
    if found.is_empty() {
        tracing::info!("the DNS of the platform domain, of this host and of the DKIM zone is correct");
    }
    for warning in &found {
        tracing::warn!("self-check: {warning}");
    }
    services.readiness.self_checked(SelfCheck { checked_at: Some(services.clock.now()), warnings: found });
}

async fn warnings(services: &Services) -> Vec<String> {
    let (dkim_name, dkim_value) = services.keys.platform_record();
    let (config, resolver) = (&services.config, &services.resolver);
    let (domain, hostname) = (config.platform.domain.as_str(), config.platform.hostname.as_str());
    let mut found = Vec::new();
    found.extend(unvalidated(&resolver.of_the_root().await));
    if config.records.mx_host != config.platform.hostname {
        found.push(format!(
            "records.mx_host is {}, platform.hostname is {hostname}: customers' MX records point to another name than the one in this host's greeting",
            config.records.mx_host
        ));
    }
    let fix = format!("publish: {domain}. MX {} {hostname}.", config.records.mx_priority);
    let leads_here = |data: &RecordData| matches!(data, RecordData::Mx { exchange, .. } if exchange == hostname);
    found.extend(judge(resolver, domain, RecordType::Mx, leads_here, &fix).await);
    match resolver.addresses(hostname).await {
        Addresses::Found(_) => {}
        Addresses::None { .. } => found.push(format!(
            "{hostname} has no address, so mail cannot be received: publish an A record with this host's address, and its PTR record back"
        )),
        Addresses::Indefinite(reason) => found.push(format!("the addresses of {hostname} are unknown: {reason}")),
    }
    if services.provider.is_elsewhere() {
        match services.provider.confirms(&config.platform.domain).await {
            Some(confirmed) if confirmed.sends => {}
            Some(_) => found.push(format!(
                "Amazon SES does not send for {domain}, so it refuses fallback mail from that domain: create it as an identity there, with Easy DKIM, and publish its records"
            )),
            None => found.push(format!("whether Amazon SES sends for {domain} is unknown: no answer")),
        }
        return found;
    }
    let fix = format!("publish: {dkim_name}. TXT \"{dkim_value}\"");
    let is_key = |data: &RecordData| matches!(data, RecordData::Txt(text) if same_key(text, &dkim_value));
    found.extend(judge(resolver, &dkim_name, RecordType::Txt, is_key, &fix).await);
    if let Some(listen) = config.dkim.listen {
        let (zone, server) = (config.dkim.zone.as_str(), config.dkim.name_server.as_str());
        let fix = format!(
            "delegate in its parent zone: {zone}. NS {server}., with an A record of {server} that points to {listen}"
        );
        let delegated = |data: &RecordData| matches!(data, RecordData::Ns(name) if name == server);
        found.extend(judge(resolver, zone, RecordType::Ns, delegated, &fix).await);
        if config.dkim.name_server.is_within(&config.dkim.zone) && config.dkim.name_server_addresses.is_empty() {
            found.push(format!(
                "{server} is inside {zone} and has no address there: set dkim.name_server_addresses to the addresses of its glue record in the parent zone"
            ));
        }
    }
    found
}

/// A warning, unless every resolver that answers sets AD for the root's NS records, which are signed (RFC 4035
/// §3.2.3).
fn unvalidated(answers: &[(SocketAddr, Answer)]) -> Option<String> {
    let listed = |careless: &[&(SocketAddr, Answer)]| {
        careless.iter().map(|(server, _)| server.to_string()).collect::<Vec<_>>().join(", ")
    };
    let vouches = |answer: &Answer| matches!(answer, Answer::Found { authenticated: true, .. });
    let (definite, silent): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| answer.is_definite());
    if definite.is_empty() {
        let reason = silent.first().and_then(|(_, answer)| match answer {
            Answer::Indefinite { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        return Some(format!(
            "whether the resolvers ({}) validate DNSSEC is unknown: {}",
            listed(&silent),
            reason.unwrap_or_default()
        ));
    }
    let careless: Vec<_> = definite.into_iter().filter(|(_, answer)| !vouches(answer)).collect();
    (!careless.is_empty()).then(|| {
        format!(
            "these resolvers do not validate DNSSEC: {}. If none does, a check accepts forged and broken zones as \
             valid; set [dns] resolvers to validating ones, for example an unbound on this host",
            listed(&careless)
        )
    })
}

/// A warning, unless one of the records is as expected.
async fn judge(
    resolver: &Resolver,
    name: &str,
    record_type: RecordType,
    good: impl Fn(&RecordData) -> bool,
    fix: &str,
) -> Option<String> {
    match resolver.lookup(name, record_type).await {
        Answer::Found { records, .. } if records.iter().any(good) => None,
        Answer::Found { records, .. } => {
            let have: Vec<String> = records.iter().map(ToString::to_string).collect();
            Some(format!("{name} {record_type} is {}; {fix}", have.join(", ")))
        }
        Answer::NoRecord { .. } => Some(format!("{name} has no {record_type} record; {fix}")),
        Answer::Indefinite { reason, .. } => Some(format!("{name} {record_type} is unknown: {reason}")),
    }
}
