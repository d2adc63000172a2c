//! The codes of faults, and the error shown for a record. Invariant: a published code keeps its meaning, since
//! programs depend on it. `docs/verification.md` has a row for each.

use super::fix::Fix;
use crate::clock::Timestamp;
use crate::verification::bounds;

/// What is wrong with a record, as a stable code.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
    strum::VariantArray,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = RecordCode)]
pub enum Code {
    /// No record.
    Missing,
    /// Another record type exists.
    WrongType,
    /// An unrelated value.
    WrongValue,
    /// Almost the expected value: a typing error.
    NearMiss,
    /// The record is at `name.domain.domain`.
    SuffixDoubled,
    /// The DNS provider has appended the domain to the value.
    TargetSuffixed,
    /// An address instead of the CNAME record.
    Proxied,
    /// The target of another token.
    Swapped,
    /// It points to the target through another name.
    Indirect,
    /// The CNAME record is valid, but there is no key behind it: an error of the platform.
    TargetWithoutKey,
    /// Quotation marks inside the value.
    QuotedTwice,
    /// The value was cut off.
    TxtTruncated,
    /// White space before the value.
    LeadingSpace,
    /// The record is at a name without the underscore, or without the label that has it.
    WrongName,
    /// SPF does not authorise our servers.
    SpfMissingInclude,
    /// More than one SPF record.
    SpfMultiple,
    /// More than ten lookups (RFC 7208 §4.6.4).
    SpfLookupLimit,
    /// More than two void lookups (RFC 7208 §4.6.4).
    SpfVoidLookups,
    /// The record cannot be parsed.
    SpfSyntax,
    /// An included domain has no usable SPF record.
    SpfBrokenInclude,
    /// The record authorises everybody.
    SpfAllowsAll,
    /// More than one DMARC record.
    DmarcMultiple,
    /// The record cannot be parsed.
    DmarcInvalid,
    /// The policy is weaker than requested.
    DmarcWeaker,
    /// Other hosts receive the domain's mail.
    MxOtherHosts,
    /// Other hosts are tried before ours.
    MxOutranked,
    /// The MX host is an alias.
    MxTargetIsCname,
    /// An MX record points to `localhost`: senders would deliver to themselves.
    MxLocalhost,
    /// The domain declares that it accepts no mail.
    NullMx,
    /// A CNAME record at the domain itself hides all its other records.
    CnameAtApex,
    /// The zone's name servers disagree.
    ServersDisagree,
    /// A name server in the delegation is not authoritative, or does not answer.
    LameDelegation,
    /// Valid at the source; resolvers still have the previous value cached.
    StillCached,
    /// The zone's DNSSEC signatures are invalid.
    DnssecBogus,
    /// No server gave a definite answer.
    ResolverFailed,
    /// Valid in the DNS; the signing provider has not confirmed it yet.
    AwaitingProvider,
}

/// A fault or warning of a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct RecordError {
    /// A stable code for programs.
    pub code: Code,
    /// A description for people.
    pub message: String,
    /// The exact fix.
    pub fix: String,
    /// The value to enter, if the fix has one; it ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fix_value: Option<String>,
    /// The first step of the fix as part of a sentence, for the verdict.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(ignore)]
    pub(super) step: String,
    /// When caches will have expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expected_visible_at: Option<Timestamp>,
}

impl RecordError {
    pub(super) fn new(code: Code, message: impl Into<String>, fix: impl Into<Fix>) -> Self {
        let Fix { text, step, value } = fix.into();
        let message = bounds::brief(&message.into(), bounds::MESSAGE);
        let (fix, step) = (bounds::brief(&text, bounds::FIX), bounds::brief(&step, bounds::FIX));
        // A value that was cut is not the one to enter.
        let fix_value = value.filter(|value| fix.contains(value.as_str()));
        Self { code, message, fix, fix_value, step, expected_visible_at: None }
    }

    /// As shown in the API.
    pub fn shown(&self) -> Self {
        Self { step: String::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    #[test]
    fn a_code_is_the_same_everywhere() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::VARIANTS {
            assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
            assert!(seen.insert(code));
        }
        let error = RecordError::new(Code::Missing, "m", "F.");
        assert_eq!(serde_json::to_string(&error.shown()).unwrap(), r#"{"code":"missing","message":"m","fix":"F."}"#);
        let later = RecordError { expected_visible_at: Some(Timestamp::from_millis(1_795_498_267_042)), ..error };
        let json = serde_json::to_string(&later).unwrap();
        assert!(json.ends_with(r#""expected_visible_at":"2026-11-24T05:31:07.042Z"}"#), "{json}");
        assert_eq!(serde_json::from_str::<RecordError>(&json).unwrap(), later);
    }
}
