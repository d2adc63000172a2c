//! Predicts SPF, DKIM and DMARC results for a message. Invariant: pure; what was not seen in the DNS is `None`. RFC
//! 7489 §3.1 (identifier alignment), §3.2 (organizational domain), §6.3 (`adkim`, `aspf`), §4.2 (one aligned pass is
//! sufficient).

use super::judge::{Code, RecordStatus};
use super::records::registered;
use super::tag_list::{dmarc_tag, policy_in_effect};
use crate::address::DomainName;
use serde::Serialize;

/// The alignment mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlignmentMode)]
pub enum Mode {
    /// The organizational domains are equal.
    Relaxed,
    /// The domains are equal.
    Strict,
}

/// The predicted result of SPF or DKIM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ExpectedMechanism)]
pub struct Mechanism {
    /// The authenticated domain: of the envelope sender, or `d=` of the signature.
    pub domain: DomainName,
    /// The required alignment with the domain of From.
    pub mode: Mode,
    /// Whether it is aligned.
    pub aligned: bool,
    /// The status of its records at the last check; `None` if they are the operator's own.
    pub record: Option<RecordStatus>,
    /// Whether it will pass, as far as seen in the DNS.
    pub passes: Option<bool>,
}

/// The predicted result of DMARC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ExpectedDmarc)]
pub struct Dmarc {
    /// The domain of From.
    pub domain: DomainName,
    /// `p=` of the record at that domain; or `sp=`, or else `p=`, of the one at its organizational domain.
    pub policy: Option<String>,
    /// SPF or DKIM is aligned.
    pub aligned: bool,
    /// An aligned mechanism will pass.
    pub passes: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ExpectedResults)]
pub struct Prospect {
    pub spf: Mechanism,
    pub dkim: Mechanism,
    pub dmarc: Dmarc,
}

/// The state of a record at the last check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub status: RecordStatus,
    /// The code of its fault or warning.
    pub code: Option<Code>,
}

/// The state of a domain's records at the last check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The SPF record of the envelope sender's domain.
    pub spf: Option<Found>,
    /// The DKIM records of the selectors that may sign: one valid record is sufficient.
    pub dkim: Vec<Found>,
    /// The DMARC record that receivers use, if any.
    pub dmarc: Option<String>,
    /// It is the organizational domain's, since the domain of From has none.
    pub inherited: bool,
}

/// The organizational domain, that is the registered one.
pub fn organizational(domain: &DomainName) -> &str {
    registered(domain).unwrap_or(domain.as_str())
}

/// True if the domains are aligned.
pub fn aligned(mode: Mode, from: &DomainName, other: &DomainName) -> bool {
    match mode {
        Mode::Strict => from == other,
        Mode::Relaxed => organizational(from) == organizational(other),
    }
}

/// Predicts the results for a message with these domains in From, in the envelope sender, and in `d=` of its
/// signature.
pub fn prospect(from: &DomainName, envelope: &DomainName, signing: &DomainName, seen: &Seen) -> Prospect {
    let tag = |name: &str| seen.dmarc.as_deref().and_then(|record| dmarc_tag(record, name));
    let mode = |name| if tag(name).is_some_and(|v| v.eq_ignore_ascii_case("s")) { Mode::Strict } else { Mode::Relaxed };
    let mechanism = |domain: &DomainName, mode, record: Option<Found>| Mechanism {
        domain: domain.clone(),
        mode,
        aligned: aligned(mode, from, domain),
        record: record.map(|record| record.status),
        passes: record.and_then(validity),
    };
    let spf = mechanism(envelope, mode("aspf"), seen.spf);
    let dkim = mechanism(signing, mode("adkim"), best(&seen.dkim));
    let aligned: Vec<&Mechanism> = [&spf, &dkim].into_iter().filter(|mechanism| mechanism.aligned).collect();
    let passes = match aligned.as_slice() {
        one if one.iter().any(|m| m.passes == Some(true)) => Some(true),
        all if all.iter().all(|m| m.passes == Some(false)) => Some(false),
        _ => None,
    };
    let policy = seen.dmarc.as_deref().and_then(|record| policy_in_effect(record, seen.inherited));
    let policy = policy.map(str::to_ascii_lowercase);
    let dmarc = Dmarc { domain: from.clone(), policy, aligned: !aligned.is_empty(), passes };
    Prospect { spf, dkim, dmarc }
}

fn validity(found: Found) -> Option<bool> {
    match found.status {
        RecordStatus::Valid => match found.code {
            // Valid, but useless to receivers: its target is unavailable.
            Some(Code::TargetWithoutKey | Code::SpfBrokenInclude) => Some(false),
            Some(Code::AwaitingProvider) => None,
            _ => Some(true),
        },
        RecordStatus::Missing | RecordStatus::Mismatch => Some(false),
        RecordStatus::Unknown | RecordStatus::NotChecked => None,
    }
}

/// The signer uses a selector with a valid record; otherwise an indefinite state precedes a fault.
fn best(all: &[Found]) -> Option<Found> {
    let found = |wanted: Option<bool>| all.iter().find(|found| validity(**found) == wanted).copied();
    found(Some(true)).or_else(|| found(None)).or_else(|| found(Some(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RecordStatus::{Mismatch, Missing, NotChecked, Unknown, Valid};

    fn domain(name: &str) -> DomainName {
        name.parse().unwrap()
    }

    /// `from envelope signing` and the DMARC record; returns what is aligned.
    fn line(domains: [&str; 3], dmarc: &str) -> String {
        let [from, envelope, signing] = domains.map(domain);
        let seen = Seen { dmarc: Some(dmarc.into()), ..Seen::default() };
        let Prospect { spf, dkim, dmarc } = prospect(&from, &envelope, &signing, &seen);
        format!("{} {} {} {}", spf.aligned, dkim.aligned, dmarc.aligned, dmarc.policy.unwrap_or_default())
    }

    #[test]
    fn relaxed_means_the_same_organizational_domain() {
        let relaxed = "v=DMARC1; p=none;";
        for (domains, expected) in [
            (["acme.com", "acme.com", "acme.com"], "true true true none"),
            (["acme.com", "bounce.acme.com", "mail.acme.com"], "true true true none"),
            (["mail.acme.com", "acme.com", "bounce.acme.com"], "true true true none"),
            (["acme.co.uk", "other.co.uk", "co.uk"], "false false false none"),
            (["acme.com", "acme.com.evil.org", "notacme.com"], "false false false none"),
            // In the private section of the public suffix list: two customers of one host.
            (["ann.github.io", "bob.github.io", "github.io"], "false false false none"),
            (["acme.com", "amazonses.com", "acme.com"], "false true true none"),
        ] {
            assert_eq!(line(domains, relaxed), expected, "{domains:?}");
        }
    }

    #[test]
    fn strict_means_the_same_domain() {
        let domains = ["acme.com", "bounce.acme.com", "acme.com"];
        assert_eq!(line(domains, "v=DMARC1; p=Reject; aspf=s"), "false true true reject");
        assert_eq!(line(domains, "v=DMARC1;p=quarantine ; ASPF = S ; adkim=s"), "false true true quarantine");
        assert_eq!(
            line(["acme.com", "acme.com", "mail.acme.com"], "v=DMARC1; p=none; adkim=s"),
            "true false true none"
        );
        assert_eq!(line(domains, "nonsense"), "true true true ");
    }

    #[test]
    fn a_subdomain_without_a_record_has_the_policy_and_the_modes_of_its_organizational_domain() {
        let mail = domain("mail.acme.com");
        let policy = |record: &str, inherited| {
            let seen = Seen { dmarc: Some(record.into()), inherited, ..Seen::default() };
            let found = prospect(&mail, &domain("bounce.acme.com"), &mail, &seen);
            (found.dmarc.policy.unwrap(), found.spf.aligned)
        };
        let both = "v=DMARC1; p=reject; sp=quarantine; aspf=s; adkim=s";
        assert_eq!(policy(both, true), ("quarantine".into(), false));
        assert_eq!(policy(both, false), ("reject".into(), false));
        assert_eq!(policy("v=DMARC1; p=reject", true), ("reject".into(), true));
    }

    #[test]
    fn one_aligned_pass_is_sufficient_and_unseen_records_predict_nothing() {
        let plain = |status: &RecordStatus| Found { status: *status, code: None };
        let pass = |spf: Option<RecordStatus>, dkim: &[RecordStatus], envelope: &str| {
            let (spf, dkim) = (spf.as_ref().map(plain), dkim.iter().map(plain).collect());
            let (acme, seen) = (domain("acme.com"), Seen { spf, dkim, ..Seen::default() });
            let found = prospect(&acme, &domain(envelope), &acme, &seen);
            (found.spf.passes, found.dkim.passes, found.dmarc.passes)
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(pass(Some(Valid), &[Valid; 3], "acme.com"), (yes, yes, yes));
        assert_eq!(pass(Some(Missing), &[Mismatch, Valid, Missing], "acme.com"), (no, yes, yes));
        assert_eq!(pass(Some(Valid), &[Missing; 3], "acme.com"), (yes, no, yes));
        // SPF passes for another domain than that of From.
        assert_eq!(pass(Some(Valid), &[Missing; 3], "amazonses.com"), (yes, no, no));
        assert_eq!(pass(Some(Missing), &[Missing, Unknown, Missing], "acme.com"), (no, None, None));
        assert_eq!(pass(Some(NotChecked), &[], "acme.com"), (None, None, None));
    }

    #[test]
    fn a_valid_record_with_a_useless_target_predicts_nothing() {
        let acme = domain("acme.com");
        let with = |code| Some(Found { status: Valid, code: Some(code) });
        for (spf, dkim, passes) in [
            (Code::SpfBrokenInclude, Code::TargetWithoutKey, (Some(false), Some(false), Some(false))),
            (Code::SpfBrokenInclude, Code::AwaitingProvider, (Some(false), None, None)),
            (Code::StillCached, Code::LameDelegation, (Some(true), Some(true), Some(true))),
        ] {
            let seen = Seen { spf: with(spf), dkim: with(dkim).into_iter().collect(), ..Seen::default() };
            let found = prospect(&acme, &acme, &acme, &seen);
            assert_eq!((found.spf.passes, found.dkim.passes, found.dmarc.passes), passes, "{spf} {dkim}");
        }
    }
}
