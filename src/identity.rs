//! The outbound From: the address a message leaves under. Invariant: a [`SendIdentity`] is at the platform domain or
//! at a domain that was `verified` when it was chosen, and cannot be built otherwise. RFC 5322 §3.6.2 (From), RFC 7489
//! §3.1 (alignment needs the same domain in `d=`).

use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::id::DomainId;
use crate::verification::status::{OnUnverified, VerifiedStatus};

/// A custom domain, as far as the choice depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: DomainId,
    pub name: DomainName,
    /// Its current status.
    pub status: VerifiedStatus,
    /// What to do while it is not verified.
    pub on_unverified: OnUnverified,
}

/// A domain that was verified when its status was read. Built by [`VerifiedDomain::of`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDomain {
    id: DomainId,
    name: DomainName,
}

impl VerifiedDomain {
    /// `None` unless the claim is verified.
    pub fn of(claim: &Claim) -> Option<Self> {
        (claim.status == VerifiedStatus::Verified).then(|| Self { id: claim.id.clone(), name: claim.name.clone() })
    }

    pub fn id(&self) -> &DomainId {
        &self.id
    }

    pub fn name(&self) -> &DomainName {
        &self.name
    }
}

/// The address a message leaves under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendIdentity {
    /// At the platform domain.
    Platform {
        /// `inbox@platform`.
        address: Address,
    },
    /// At a verified custom domain.
    Custom {
        /// The local part at `domain`, with a tag if the log-in address had one.
        local: LocalPart,
        domain: VerifiedDomain,
    },
}

impl SendIdentity {
    pub fn address(&self) -> Address {
        match self {
            Self::Platform { address } => address.clone(),
            Self::Custom { local, domain } => Address { local: local.clone(), domain: domain.name.clone() },
        }
    }

    /// The custom domain's id; `None` at the platform domain.
    pub fn custom_domain(&self) -> Option<&DomainId> {
        match self {
            Self::Platform { .. } => None,
            Self::Custom { domain, .. } => Some(domain.id()),
        }
    }
}

/// The message leaves under the platform domain instead of the sender's own: the original address and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The log-in address.
    pub from: Address,
    /// The domain's status: pending or failed.
    pub reason: VerifiedStatus,
    /// The setting of the domain's owner.
    pub on_unverified: OnUnverified,
}

/// What happens to a message while its sender's domain is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// It leaves under the platform domain.
    FallsBack,
    /// It is refused, or bounced if already accepted: 5.7.1.
    IsRefused,
    /// It is held until the domain is verified.
    IsHeld,
}

impl Fallback {
    /// Applies the owner's setting. Mail is held for a pending domain only, since a failed one may never be verified.
    pub fn decision(&self) -> Unverified {
        match (self.on_unverified, self.reason) {
            (OnUnverified::Fallback, _) => Unverified::FallsBack,
            (OnUnverified::Hold, VerifiedStatus::Pending) => Unverified::IsHeld,
            (OnUnverified::Reject | OnUnverified::Hold, _) => Unverified::IsRefused,
        }
    }
}

/// The chosen identity, and the fallback if it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the message leaves under.
    pub identity: SendIdentity,
    /// Set if the log-in's custom domain is not verified.
    pub fallback: Option<Fallback>,
}

/// Chooses the identity. `login_domain` is the claim of the log-in address (`None`: the platform domain, or a deleted
/// claim); `default_domain` is the inbox's default domain, or else the account's, and `default_local` the local part that the
/// inbox has there instead of its name.
pub fn choose(
    inbox: &InboxName,
    platform: &DomainName,
    login: &Address,
    login_domain: Option<&Claim>,
    default_domain: Option<&Claim>,
    default_local: Option<&LocalPart>,
) -> Choice {
    let on_platform = SendIdentity::Platform { address: inbox.at(platform) };
    if login.domain == *platform {
        let identity = match default_domain.and_then(VerifiedDomain::of) {
            Some(domain) => {
                let local = default_local.cloned().unwrap_or_else(|| inbox.at(platform).local);
                SendIdentity::Custom { local, domain }
            }
            None => on_platform,
        };
        return Choice { identity, fallback: None };
    }
    // A claim to another name does not apply to this address.
    let claim = login_domain.filter(|claim| claim.name == login.domain);
    if let Some(domain) = claim.and_then(VerifiedDomain::of) {
        let identity = SendIdentity::Custom { local: login.local.clone(), domain };
        return Choice { identity, fallback: None };
    }
    while_unverified(inbox, platform, login, claim, OnUnverified::Fallback)
}

/// The identity of a message whose custom domain is not verified: `requested` is the address it was to leave under,
/// `claim` the current claim to its domain. A deleted claim counts as failed, with `on_unverified` as it was.
pub fn while_unverified(
    inbox: &InboxName,
    platform: &DomainName,
    requested: &Address,
    claim: Option<&Claim>,
    on_unverified: OnUnverified,
) -> Choice {
    let fallback = Fallback {
        from: requested.clone(),
        reason: claim.map_or(VerifiedStatus::Failed, |claim| claim.status),
        on_unverified: claim.map_or(on_unverified, |claim| claim.on_unverified),
    };
    Choice { identity: SendIdentity::Platform { address: inbox.at(platform) }, fallback: Some(fallback) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATFORM: &str = "inboxlayer.dev";

    fn domain(name: &str) -> DomainName {
        name.parse().unwrap()
    }

    fn claim(name: &str, status: &str) -> Claim {
        let (name, status) = (domain(name), status.parse().unwrap());
        Claim { id: DomainId::new(), name, status, on_unverified: OnUnverified::Fallback }
    }

    /// The choice as one line: the identity, and `from=…; reason=…` of a fallback.
    fn line(login: &str, login_domain: Option<&Claim>, default_domain: Option<&Claim>) -> String {
        let inbox = "hello".parse().unwrap();
        let choice = choose(&inbox, &domain(PLATFORM), &login.parse().unwrap(), login_domain, default_domain, None);
        let fallback = choice.fallback.map(|f| format!(" from={}; reason={}", f.from, f.reason)).unwrap_or_default();
        format!("{}{fallback}", choice.identity.address())
    }

    /// All combinations of log-in, status of its domain and status of the default domain.
    #[test]
    fn every_combination() {
        let defaults = [None, Some("pending"), Some("verified"), Some("failed")];
        for status in ["pending", "verified", "failed"] {
            for default in defaults {
                let (acme, default) = (claim("acme.com", status), default.map(|s| claim("other.org", s)));
                for login in ["hello@acme.com", "support@acme.com", "hello+tag@acme.com"] {
                    let expected = match status {
                        "verified" => login.to_owned(),
                        _ => format!("hello@inboxlayer.dev from={login}; reason={status}"),
                    };
                    assert_eq!(line(login, Some(&acme), default.as_ref()), expected);
                }
            }
        }
        for default in defaults {
            let expected = match default {
                Some("verified") => "hello@other.org",
                _ => "hello@inboxlayer.dev",
            };
            let default = default.map(|s| claim("other.org", s));
            assert_eq!(line("hello@inboxlayer.dev", None, default.as_ref()), expected);
            // A tag of the log-in address is not part of the default identity.
            assert_eq!(line("hello+tag@inboxlayer.dev", None, default.as_ref()), expected);
        }
    }

    #[test]
    fn the_local_part_that_an_inbox_has_at_its_default_domain_is_used_there_alone() {
        let (inbox, support) = ("support-7k2m".parse().unwrap(), LocalPart::parse("support").unwrap());
        let (acme, other) = (claim("acme.com", "verified"), claim("other.org", "verified"));
        let from = |login: &str, login_domain: Option<&Claim>, default: &Claim| {
            let login = login.parse().unwrap();
            let choice = choose(&inbox, &domain(PLATFORM), &login, login_domain, Some(default), Some(&support));
            choice.identity.address().to_string()
        };
        let platform = "support-7k2m@inboxlayer.dev";
        assert_eq!(from(platform, None, &acme), "support@acme.com");
        assert_eq!(from(platform, None, &claim("acme.com", "pending")), platform);
        assert_eq!(from("support-7k2m@other.org", Some(&other), &acme), "support-7k2m@other.org");
    }

    #[test]
    fn a_deleted_claim_or_one_to_another_name_is_never_used() {
        let (other, default) = (claim("other.org", "verified"), claim("acme.com", "verified"));
        let expected = "hello@inboxlayer.dev from=hello@acme.com; reason=failed";
        assert_eq!(line("hello@acme.com", None, Some(&default)), expected);
        assert_eq!(line("hello@acme.com", Some(&other), Some(&default)), expected);
    }

    #[test]
    fn only_a_verified_claim_makes_a_verified_domain() {
        let of = |status| VerifiedDomain::of(&claim("acme.com", status)).is_some();
        assert_eq!([of("pending"), of("verified"), of("failed")], [false, true, false]);
    }

    #[test]
    fn mail_is_held_for_a_pending_domain_only() {
        use OnUnverified::{Fallback as FallBack, Hold, Reject};
        use Unverified::{FallsBack, IsHeld, IsRefused};
        let decided = |on_unverified, status: Option<&str>| {
            let acme = status.map(|status| Claim { on_unverified, ..claim("acme.com", status) });
            let (inbox, from) = ("hello".parse().unwrap(), "hello@acme.com".parse().unwrap());
            let choice = while_unverified(&inbox, &domain(PLATFORM), &from, acme.as_ref(), on_unverified);
            assert_eq!(choice.identity.custom_domain(), None);
            choice.fallback.unwrap().decision()
        };
        for (wish, pending, failed) in
            [(FallBack, FallsBack, FallsBack), (Reject, IsRefused, IsRefused), (Hold, IsHeld, IsRefused)]
        {
            assert_eq!([Some("pending"), Some("failed"), None].map(|s| decided(wish, s)), [pending, failed, failed]);
        }
    }

    #[test]
    fn the_owners_setting_is_part_of_the_fallback() {
        let acme = Claim { on_unverified: OnUnverified::Reject, ..claim("acme.com", "pending") };
        let login = "hello@acme.com".parse().unwrap();
        let choice = choose(&"hello".parse().unwrap(), &domain(PLATFORM), &login, Some(&acme), None, None);
        assert_eq!(choice.fallback.unwrap().on_unverified, OnUnverified::Reject);
        assert_eq!(choice.identity.custom_domain(), None);
    }
}
