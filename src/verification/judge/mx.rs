//! The MX records: whether mail for the domain comes to us, and where else it goes. RFC 5321 §5.1 (preference; without
//! MX records a domain's own address), RFC 7505 (null MX), RFC 2181 §10.3 (an MX host must not be an alias).

use super::nearness::difference;
use super::{Code, Fix, Judgement, MxTarget, Observation, RecordError, nothing, publish_after};
use crate::verification::observed::RecordData;
use crate::verification::provider::beside;
use crate::verification::records::{Expected, Purpose};
use std::net::IpAddr;

pub(super) fn judge(expected: &Expected, observation: &Observation) -> Judgement {
    let (null, mut hosts): (Vec<_>, Vec<_>) =
        observation.answer.records().iter().filter_map(exchanger).partition(|(_, host)| *host == ".");
    let beside = !null.is_empty() && !hosts.is_empty();
    if !beside {
        hosts.extend(null);
    }
    let (local, hosts): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|(_, host)| is_localhost(host, expected));
    if hosts.is_empty() && !local.is_empty() && observation.answer.aliases().is_empty() {
        return Judgement::Mismatch(localhost(expected, &local, true));
    }
    let first = |hosts: &[(u16, &str)]| hosts.iter().map(|(preference, _)| *preference).min();
    match by_hosts(expected, observation, &hosts) {
        // Ours is the first of the others.
        Judgement::Valid | Judgement::Warning(_) if !local.is_empty() => match first(&local) <= first(&hosts) {
            true => Judgement::Mismatch(localhost(expected, &local, false)),
            false => Judgement::Warning(localhost(expected, &local, false)),
        },
        Judgement::Valid | Judgement::Warning(_) if beside => Judgement::Warning(null_beside(expected)),
        judgement => judgement,
    }
}

/// True for a loopback name or address (RFC 6761 §6.3), also with the domain appended.
fn is_localhost(host: &str, expected: &Expected) -> bool {
    let within = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let suffixed = [expected.name.as_str(), expected.registered()].map(|domain| format!("localhost.{domain}"));
    within("localhost")
        || within("localhost.localdomain")
        || suffixed.iter().any(|name| host == name)
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// `alone`: there is no other host.
fn localhost(expected: &Expected, local: &[(u16, &str)], alone: bool) -> RecordError {
    let name = &expected.name;
    let listed = local.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(", ");
    let message =
        format!("{name} has an MX record to {listed}, which every sender takes for itself: mail loops and bounces");
    let delete = format!("Delete the MX record to {listed} at {name}");
    let fix = if alone { publish_after(&delete, expected) } else { Fix::step(delete) };
    RecordError::new(Code::MxLocalhost, message, fix)
}

/// A null MX must not coexist with other MX records (RFC 7505 §3).
fn null_beside(expected: &Expected) -> RecordError {
    let name = &expected.name;
    let message = format!(
        "{name} also has a null MX record, which says that it accepts no mail: some senders then bounce mail at once"
    );
    RecordError::new(Code::NullMx, message, Fix::step(format!("Delete the MX record with the value \".\" at {name}")))
}

fn by_hosts(expected: &Expected, observation: &Observation, hosts: &[(u16, &str)]) -> Judgement {
    if let Some(alias) = observation.answer.aliases().first() {
        return Judgement::Mismatch(hidden(expected, alias, hosts));
    }
    let Some(best) = hosts.iter().map(|(preference, _)| *preference).min() else {
        return nothing(expected, observation);
    };
    let is_ours = |host: &str| host.eq_ignore_ascii_case(&expected.value) || by_address(observation, host);
    let name = &expected.name;
    let others: Vec<&str> = hosts.iter().map(|(_, host)| *host).filter(|host| !is_ours(host)).collect();
    let listed = others.join(", ");
    let ours = hosts.iter().filter(|(_, host)| is_ours(host)).min();
    let Some((preference, our_host)) = ours.copied() else {
        return Judgement::Mismatch(elsewhere(expected, observation, hosts));
    };
    if preference > best {
        let first: Vec<&str> = hosts.iter().filter(|(p, _)| *p < preference).map(|(_, host)| *host).collect();
        let first = first.join(", ");
        let message = format!(
            "mail for {name} goes to {first}: lower numbers are tried first, and {our_host} has {preference}, so that mail \
             comes to us only while the others are down"
        );
        let delete = format!("Delete the MX records to {first}, or change");
        let fix = match best.checked_sub(1) {
            None => Fix::with(format!("{delete} their priority to"), preference.saturating_add(1).to_string()),
            Some(below) => Fix::with(format!("{delete} the priority of the one to {our_host} to"), below.to_string()),
        };
        return Judgement::Mismatch(RecordError::new(Code::MxOutranked, message, fix));
    }
    if !others.is_empty() {
        let beside = hosts.iter().any(|(p, host)| *p == best && !is_ours(host));
        let share = match beside {
            true => "senders choose between them and us at random, and mail to them does not come to us",
            false => "senders use them when they cannot reach us, and mail to them does not come to us",
        };
        let message = format!("{name} has other mail hosts beside ours: {listed}; {share}");
        let fix = Fix::step(format!("Delete the MX records of {name} to {listed} unless they forward mail to us"));
        return Judgement::Warning(RecordError::new(Code::MxOtherHosts, message, fix));
    }
    match our_host.eq_ignore_ascii_case(&expected.value) {
        true => aliased(expected, observation),
        false => Judgement::Warning(other_name(expected, our_host)),
    }
}

/// A host with another name but an address of ours: mail to it arrives here.
fn by_address(observation: &Observation, host: &str) -> bool {
    let same = |target: &&MxTarget| target.host.eq_ignore_ascii_case(host);
    observation.mx_targets.iter().find(same).is_some_and(|target| target.is_ours && target.aliases.is_empty())
}

fn other_name(expected: &Expected, host: &str) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message = format!(
        "the MX record of {name} points to {host}, which has an address of {value} now: mail comes to us until that address changes"
    );
    let fix = Fix::with(format!("Change the value of the MX record at {name} from {host} to"), value);
    RecordError::new(Code::Indirect, message, fix)
}

/// Only our host receives mail. If it is an alias, that is the platform's error.
fn aliased(expected: &Expected, observation: &Observation) -> Judgement {
    let alias = observation.mx_targets.iter().find(|target| target.host.eq_ignore_ascii_case(&expected.value));
    let Some(target) = alias.and_then(|target| target.aliases.first()) else { return Judgement::Valid };
    let message = format!(
        "{} is itself an alias of {target}, which some senders refuse: this is an error of the platform",
        expected.value
    );
    let fix = "Nothing to do: leave the record as it is.";
    Judgement::Warning(RecordError::new(Code::MxTargetIsCname, message, fix))
}

/// A CNAME record at the name hides its other records.
fn hidden(expected: &Expected, alias: &str, hosts: &[(u16, &str)]) -> RecordError {
    let name = &expected.name;
    let fate = match hosts {
        [] => format!("{alias} has no mail host, so mail for {name} is sent to a web server and bounces"),
        [(_, host)] => format!("mail for {name} goes to {host}, the mail host of {alias}"),
        [(_, host), ..] => format!("mail for {name} goes to {host} and others, the mail hosts of {alias}"),
    };
    let message = format!("{name} is an alias (CNAME) of {alias}, and an alias has no records of its own: {fate}");
    let delete = format!(
        "Delete the CNAME record at {name} (for the web site use A and AAAA records, or what your DNS provider calls ALIAS, \
         ANAME or CNAME flattening)"
    );
    let fix = publish_after(&delete, expected);
    RecordError::new(Code::CnameAtApex, message, fix)
}

/// Mail goes to other hosts.
fn elsewhere(expected: &Expected, observation: &Observation, hosts: &[(u16, &str)]) -> RecordError {
    let Expected { name, value, .. } = expected;
    if hosts.iter().all(|(_, host)| *host == ".") {
        let message = format!("{name} says that it accepts no mail (a null MX record): senders bounce mail at once");
        let fix = publish_after(&format!("Delete the MX record with the value \".\" at {name}"), expected);
        return RecordError::new(Code::NullMx, message, fix);
    }
    let reaches_us =
        |target: &&MxTarget| target.is_ours || target.aliases.iter().any(|to| to.eq_ignore_ascii_case(value));
    let listed = hosts.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(", ");
    if let Some(target) = observation.mx_targets.iter().find(reaches_us) {
        let host = &target.host;
        let message = format!(
            "the MX record of {name} points to {host}, which is only an alias (CNAME) of {value}: some senders follow it, others \
             refuse to deliver"
        );
        let fix = Fix::with(format!("Change the value of the MX record at {name} from {host} to"), value);
        return RecordError::new(Code::MxTargetIsCname, message, fix);
    }
    let change = Fix::with(format!("Change the value of the MX record at {name} to"), value);
    for (_, host) in hosts {
        if host.parse::<IpAddr>().is_ok() {
            let message = format!(
                "the MX record of {name} has the address {host} instead of the name of a mail host: senders look for a host of \
                 that name, find none, and mail bounces"
            );
            return RecordError::new(Code::WrongValue, message, change);
        }
        if host.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            let message = format!(
                "the MX record of {name} points to {host}, which is no mail host: your DNS provider has appended your own domain to \
                 the value, and mail bounces"
            );
            let fix = Fix::with("Enter the value with a dot at its end", format!("{value}."));
            return RecordError::new(Code::TargetSuffixed, message, fix);
        }
        if let Some(difference) = difference(host, value) {
            let message = format!(
                "the MX record of {name} points to {host}, which is almost {value}: {difference}; mail for {name} does not come \
                 to us"
            );
            return RecordError::new(Code::NearMiss, message, change);
        }
    }
    if let Some((host, to)) = observation.mx_targets.iter().find_map(|t| t.aliases.first().map(|to| (&t.host, to))) {
        let message = format!(
            "mail for {name} goes to {listed}, not to us; and {host} is only an alias (CNAME) of {to}, which some senders refuse"
        );
        let fix = change_to(expected, &listed);
        return RecordError::new(Code::MxTargetIsCname, message, fix);
    }
    let message = format!("mail for {name} goes to {listed}, not to us");
    let fix = change_to(expected, &listed);
    RecordError::new(Code::MxOtherHosts, message, fix)
}

/// How to receive mail here if others receive it: on a subdomain first, since deleting their MX records ends their
/// service.
fn change_to(expected: &Expected, listed: &str) -> Fix {
    if expected.purpose == Purpose::ReturnPath {
        return publish_after(&format!("Delete the MX records to {listed}"), expected);
    }
    let beside = format!("o receive here beside it claim {}", beside(&expected.name, expected.registered()));
    let start = match expected.required {
        true => format!("T{beside}"),
        false => format!("Leave it to send only; t{beside}"),
    };
    publish_after(&format!("{start}; to receive here instead, delete the MX records to {listed}"), expected)
}

fn exchanger(record: &RecordData) -> Option<(u16, &str)> {
    match record {
        RecordData::Mx { preference, exchange } => Some((*preference, exchange)),
        _ => None,
    }
}
