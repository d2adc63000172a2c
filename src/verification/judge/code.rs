//! The words for what can be wrong with a record, and the error that is shown for one.
//!
//! Invariant: a word, once published, keeps its meaning: programs go by it. `docs/verification.md` has a row for each.

use super::fix::Fix;
use crate::clock::Timestamp;
use crate::verification::bounds;
use std::fmt;

/// What is wrong with a record, in one stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Nothing is there.
    Missing,
    /// Another type of record is there.
    WrongType,
    /// Something quite different is there.
    WrongValue,
    /// Almost the value is there: a typing error.
    NearMiss,
    /// The record stands at `name.domain.domain`.
    SuffixDoubled,
    /// The DNS provider has put the domain behind the value.
    TargetSuffixed,
    /// An address where the CNAME record belongs.
    Proxied,
    /// The target of another token.
    Swapped,
    /// It leads to the target by another name.
    Indirect,
    /// The CNAME record is right, but there is no key behind it: ours to mend.
    TargetWithoutKey,
    /// Quotation marks inside the value.
    QuotedTwice,
    /// The value was cut off.
    TxtTruncated,
    /// White space stands before the value.
    LeadingSpace,
    /// The record stands at a name without the underscore, or without the label that has it.
    WrongName,
    /// SPF does not let our servers send.
    SpfMissingInclude,
    /// More than one SPF record.
    SpfMultiple,
    /// More than ten look-ups (RFC 7208 §4.6.4).
    SpfLookupLimit,
    /// More than two look-ups that find nothing (RFC 7208 §4.6.4).
    SpfVoidLookups,
    /// The record cannot be read.
    SpfSyntax,
    /// What the record includes has no SPF record, or one that cannot be used.
    SpfBrokenInclude,
    /// The record lets everybody send.
    SpfAllowsAll,
    /// More than one DMARC record.
    DmarcMultiple,
    /// The record cannot be read.
    DmarcInvalid,
    /// The policy is weaker than asked for.
    DmarcWeaker,
    /// Other hosts take the domain's mail.
    MxOtherHosts,
    /// Other hosts are tried before ours.
    MxOutranked,
    /// The MX record leads to a CNAME record.
    MxTargetIsCname,
    /// An MX record leads to `localhost`: senders would deliver to themselves.
    MxLocalhost,
    /// The domain says that it takes no mail.
    NullMx,
    /// A CNAME record at the domain itself hides all its other records.
    CnameAtApex,
    /// The zone's name servers say different things.
    ServersDisagree,
    /// A name server that the zone is delegated to is not responsible for it, or silent.
    LameDelegation,
    /// Right at the source; resolvers still hold what was there before.
    StillCached,
    /// The signatures of the zone do not hold.
    DnssecBogus,
    /// Nobody gave a definite answer.
    ResolverFailed,
    /// Right in the DNS; the provider that signs elsewhere has not confirmed it yet.
    AwaitingProvider,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::Missing,
        Self::WrongType,
        Self::WrongValue,
        Self::NearMiss,
        Self::SuffixDoubled,
        Self::TargetSuffixed,
        Self::Proxied,
        Self::Swapped,
        Self::Indirect,
        Self::TargetWithoutKey,
        Self::QuotedTwice,
        Self::TxtTruncated,
        Self::LeadingSpace,
        Self::WrongName,
        Self::SpfMissingInclude,
        Self::SpfMultiple,
        Self::SpfLookupLimit,
        Self::SpfVoidLookups,
        Self::SpfSyntax,
        Self::SpfBrokenInclude,
        Self::SpfAllowsAll,
        Self::DmarcMultiple,
        Self::DmarcInvalid,
        Self::DmarcWeaker,
        Self::MxOtherHosts,
        Self::MxOutranked,
        Self::MxTargetIsCname,
        Self::MxLocalhost,
        Self::NullMx,
        Self::CnameAtApex,
        Self::ServersDisagree,
        Self::LameDelegation,
        Self::StillCached,
        Self::DnssecBogus,
        Self::ResolverFailed,
        Self::AwaitingProvider,
    ];

    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::WrongValue => "wrong_value",
            Self::NearMiss => "near_miss",
            Self::SuffixDoubled => "suffix_doubled",
            Self::TargetSuffixed => "target_suffixed",
            Self::Proxied => "proxied",
            Self::Swapped => "swapped",
            Self::Indirect => "indirect",
            Self::TargetWithoutKey => "target_without_key",
            Self::QuotedTwice => "quoted_twice",
            Self::TxtTruncated => "txt_truncated",
            Self::LeadingSpace => "leading_space",
            Self::WrongName => "wrong_name",
            Self::SpfMissingInclude => "spf_missing_include",
            Self::SpfMultiple => "spf_multiple",
            Self::SpfLookupLimit => "spf_lookup_limit",
            Self::SpfVoidLookups => "spf_void_lookups",
            Self::SpfSyntax => "spf_syntax",
            Self::SpfBrokenInclude => "spf_broken_include",
            Self::SpfAllowsAll => "spf_allows_all",
            Self::DmarcMultiple => "dmarc_multiple",
            Self::DmarcInvalid => "dmarc_invalid",
            Self::DmarcWeaker => "dmarc_weaker",
            Self::MxOtherHosts => "mx_other_hosts",
            Self::MxOutranked => "mx_outranked",
            Self::MxTargetIsCname => "mx_target_is_cname",
            Self::MxLocalhost => "mx_localhost",
            Self::NullMx => "null_mx",
            Self::CnameAtApex => "cname_at_apex",
            Self::ServersDisagree => "servers_disagree",
            Self::LameDelegation => "lame_delegation",
            Self::StillCached => "still_cached",
            Self::DnssecBogus => "dnssec_bogus",
            Self::ResolverFailed => "resolver_failed",
            Self::AwaitingProvider => "awaiting_provider",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordError {
    /// A stable word for programs.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
    /// The exact thing to do.
    pub fix: String,
    /// The first step of that, as a part of a sentence: for the verdict, and not shown by itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) step: String,
    /// When caches will have forgotten what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_visible_at: Option<Timestamp>,
}

impl RecordError {
    pub(super) fn new(code: Code, message: impl Into<String>, fix: impl Into<Fix>) -> Self {
        let Fix { text, step } = fix.into();
        let message = bounds::brief(&message.into(), bounds::MESSAGE);
        let (fix, step) = (bounds::brief(&text, bounds::FIX), bounds::brief(&step, bounds::FIX));
        Self { code, message, fix, step, expected_visible_at: None }
    }

    /// As it is shown.
    pub fn shown(&self) -> Self {
        Self { step: String::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_word_everywhere() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(serde_json::from_value::<Code>(code.as_str().into()).unwrap(), code);
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
