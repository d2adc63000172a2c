//! A custom domain as shown: all fields of its JSON, in every state.

use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{DomainId, InboxId};
use crate::store::domains::DomainRow;
use crate::verification::bounds::SERVERS;
use crate::verification::dns_provider::DnsProvider;
use crate::verification::judge::{CheckedRecord, RecordStatus, verdict};
use crate::verification::provider::Existing;
use crate::verification::records::{Expected, Purpose, RecordKey};
use crate::verification::report::DomainRecord;
use crate::verification::spf::is_spf;
use crate::verification::status::{OnUnverified, VerifiedStatus};
use crate::verifier::Rules;
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// Serialized as its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CustomDomain {
    pub id: DomainId,
    #[serde(serialize_with = "as_text")]
    pub domain: DomainName,
    pub verified_status: VerifiedStatus,
    /// Its current capabilities.
    pub capabilities: Capabilities,
    /// One sentence: what is wrong and what to do next, or that everything is valid.
    pub verdict: String,
    /// Warnings to read before publishing the records.
    pub warnings: Vec<Warning>,
    /// The records to publish, with their states.
    pub records: Vec<DomainRecord>,
    /// The name servers that answered for the domain's records in the last check.
    pub name_servers: Vec<String>,
    /// Who hosts the zone, by their names, and how records are entered there.
    pub dns_provider: ZoneHost,
    pub dkim_tokens: [String; 3],
    /// The name of the first DKIM record.
    pub dkim_host: String,
    /// Its target.
    pub dkim_value: String,
    /// Receives mail for unknown local parts.
    pub catch_all_inbox_id: Option<InboxId>,
    /// The label of the subdomain for bounces.
    pub return_path: Option<String>,
    /// The default for mail of senders logged in at the platform domain.
    pub is_default: bool,
    /// What happens to mail while it is not verified.
    pub on_unverified: OnUnverified,
    /// The first of the faults that will fail a verified domain.
    pub degraded_since: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it was last verified.
    pub verified_at: Option<Timestamp>,
    /// When the last check settled.
    pub last_checked_at: Option<Timestamp>,
    /// When the next check is due; `None` while failed.
    pub next_check_at: Option<Timestamp>,
    /// When the window ends, while pending.
    pub window_ends_at: Option<Timestamp>,
}

/// Who hosts the zone of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = DnsProvider)]
pub struct ZoneHost {
    /// `None` if it is not known; the steps are general then.
    pub name: Option<&'static str>,
    /// How records are entered there, in order.
    pub steps: Vec<String>,
}

/// A warning that is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = DomainWarning)]
pub struct Warning {
    /// A stable code: `existing_mail`.
    pub code: &'static str,
    /// The consequence and the alternative.
    pub message: String,
    /// The current mail provider, if recognised.
    pub provider: Option<&'static str>,
    /// Its MX hosts.
    pub hosts: Vec<String>,
    /// A name to claim instead that leaves existing mail as it is.
    pub subdomain: String,
}

/// Current capabilities of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Capabilities {
    /// It can be used as a sender domain: it is verified.
    pub sending: bool,
    /// Mail to it is delivered here: it is verified and its MX points here.
    pub receiving: bool,
}

fn as_text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn of(row: &DomainRow, rules: &Rules) -> CustomDomain {
    let expected = rules.expected(row);
    let found = |expected: &Expected| row.evidence.get(&expected.key());
    let checked = |expected: &Expected| CheckedRecord {
        expected: expected.clone(),
        evidence: found(expected).map(|(evidence, _)| evidence.clone()).unwrap_or_default(),
    };
    let checked: Vec<CheckedRecord> = match row.evidence.is_empty() {
        true => Vec::new(),
        false => expected.iter().map(checked).collect(),
    };
    let verdict = verdict(row.name.as_str(), &row.state, &rules.policy, &checked);
    let verified = row.state.status == VerifiedStatus::Verified;
    let dkim = expected.iter().find(|expected| expected.purpose == Purpose::Dkim);
    let (dkim_host, dkim_value) = dkim.map(|dkim| (dkim.name.clone(), dkim.value.clone())).unwrap_or_default();
    let name_servers = name_servers(row);
    let known = DnsProvider::of(&name_servers);
    let provider = known.unwrap_or(DnsProvider::usual());
    let records = expected.iter().map(|expected| DomainRecord {
        entry: Some(provider.entered(expected)),
        ..DomainRecord::of(expected, found(expected).map(|(seen, at)| (seen, *at)))
    });
    CustomDomain {
        id: row.id.clone(),
        domain: row.name.clone(),
        verified_status: row.state.status,
        capabilities: Capabilities { sending: verified, receiving: verified && row.receiving },
        verdict,
        warnings: existing(row, &checked).into_iter().collect(),
        records: records.collect(),
        name_servers,
        dns_provider: ZoneHost { name: known.map(|known| known.name), steps: provider.steps() },
        dkim_tokens: row.tokens.clone(),
        dkim_host,
        dkim_value,
        catch_all_inbox_id: row.catch_all.clone(),
        return_path: row.return_path.clone(),
        is_default: row.is_default,
        on_unverified: row.on_unverified,
        degraded_since: row.state.degraded_since(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        verified_at: row.state.verified_at,
        last_checked_at: row.last_checked_at,
        next_check_at: row.state.next_check_at,
        window_ends_at: row.state.window_ends_at,
    }
}

/// The authoritative servers of the last check: of the records at the domain itself, else of all, since names below it may be delegated
/// elsewhere.
fn name_servers(row: &DomainRow) -> Vec<String> {
    let of = |is_wanted: &dyn Fn(&RecordKey) -> bool| -> BTreeSet<String> {
        let records = row.evidence.iter().filter(|(key, _)| is_wanted(key));
        let answers = records.flat_map(|(_, (evidence, _))| &evidence.answers).filter(|answer| answer.authoritative);
        answers.filter_map(|answer| answer.name.clone()).collect()
    };
    let own = of(&|key| key.name == row.name.as_str());
    let found = if own.is_empty() { of(&|_| true) } else { own };
    found.into_iter().take(SERVERS).collect()
}

/// The mail provider found by the last check, if it is not this platform.
fn existing(row: &DomainRow, records: &[CheckedRecord]) -> Option<Warning> {
    let seen = |purpose| {
        let of = records.iter().filter(move |record| record.expected.purpose == purpose);
        of.flat_map(|record| &record.evidence.observed).map(String::as_str)
    };
    let CheckedRecord { expected: mx, evidence: found } = records.iter().find(|r| r.expected.purpose == Purpose::Mx)?;
    if matches!(found.status, RecordStatus::Unknown | RecordStatus::NotChecked) {
        return None;
    }
    // As displayed: preference and host.
    let shown = found.observed.iter().filter_map(|value| value.split_once(' '));
    let hosts: Vec<(u16, &str)> = shown.filter_map(|(number, host)| Some((number.parse().ok()?, host))).collect();
    let spf = seen(Purpose::Spf).find(|text| is_spf(text));
    let existing = Existing::of(row.name.as_str(), mx.registered(), &mx.value, &hosts, spf);
    let Existing { provider, hosts, warning, subdomain } = existing?;
    Some(Warning { code: "existing_mail", message: warning, provider, hosts, subdomain })
}
