//! Under which address a message leaves. (stub: owner outbound)
//!
//! Invariant: a [`SendIdentity`] is at the platform's domain or at one that was `verified` when it was chosen; there is
//! no other way to make one.

use crate::address::{Address, DomainName, InboxName};
use crate::domain::status::{OnUnverified, VerifiedStatus};
use crate::id::DomainId;

/// What choosing needs to know of a custom domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: DomainId,
    /// Its name.
    pub name: DomainName,
    /// Its status now.
    pub status: VerifiedStatus,
    /// What to do while it is not verified.
    pub on_unverified: OnUnverified,
}

/// A domain that was verified when its status was read. Made by [`VerifiedDomain::of`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDomain {
    id: DomainId,
    name: DomainName,
}

impl VerifiedDomain {
    /// The claim's domain, if it is verified.
    pub fn of(claim: &Claim) -> Option<Self> {
        (claim.status == VerifiedStatus::Verified).then(|| Self { id: claim.id.clone(), name: claim.name.clone() })
    }

    /// The claim's id.
    pub fn id(&self) -> &DomainId {
        &self.id
    }

    /// The domain.
    pub fn name(&self) -> &DomainName {
        &self.name
    }
}

/// The address a message leaves under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendIdentity {
    /// At the platform's own domain.
    Platform {
        /// `inbox@platform`.
        address: Address,
    },
    /// At a verified custom domain.
    Custom {
        /// The local part (with a tag, if the log-in had one) at `domain`.
        local: crate::address::LocalPart,
        /// The domain.
        domain: VerifiedDomain,
    },
}

impl SendIdentity {
    /// The address.
    pub fn address(&self) -> Address {
        match self {
            Self::Platform { address } => address.clone(),
            Self::Custom { local, domain } => Address { local: local.clone(), domain: domain.name.clone() },
        }
    }

    /// The custom domain's id; none for the platform's own.
    pub fn custom_domain(&self) -> Option<&DomainId> {
        match self {
            Self::Platform { .. } => None,
            Self::Custom { domain, .. } => Some(domain.id()),
        }
    }
}

/// A message leaves under the platform's domain although the sender's is another: which address it would have had, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The address logged in as.
    pub from: Address,
    /// The domain's status: pending or failed.
    pub reason: VerifiedStatus,
    /// What the domain's owner wants done.
    pub on_unverified: OnUnverified,
}

/// The identity chosen, and whether it is a fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the message leaves under.
    pub identity: SendIdentity,
    /// Set when the log-in's custom domain is not verified.
    pub fallback: Option<Fallback>,
}

/// Chooses the identity. `login_domain` is the claim the log-in address is at (none: the platform's domain);
/// `default_domain` the inbox's default domain, or else the account's.
pub fn choose(
    inbox: &InboxName,
    platform: &DomainName,
    login: &Address,
    login_domain: Option<&Claim>,
    default_domain: Option<&Claim>,
) -> Choice {
    let _ = (inbox, platform, login, login_domain, default_domain);
    todo!("owner: outbound")
}
