//! The signing provider: issues tokens, holds their keys, and signs.

use super::confirmed::Confirmed;
#[cfg(feature = "ses")]
use super::keys::token;
use super::keys::{Keys, KeysError};
#[cfg(feature = "ses")]
use super::ses::{ReserveError, Reserved, Ses};
use crate::address::DomainName;
use crate::id::{AccountId, DomainId};
use crate::net::listener::Shutdown;
use crate::store::ownership::Ownership;

/// Why there are no tokens for a claim; temporary.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[cfg(feature = "ses")]
    #[error(transparent)]
    Ses(#[from] ReserveError),
}

#[derive(Clone, Debug)]
pub enum Provider {
    Local(Box<Keys>),
    #[cfg(feature = "ses")]
    Ses(Ses),
}

impl From<Keys> for Provider {
    fn from(keys: Keys) -> Self {
        Self::Local(Box::new(keys))
    }
}

/// Tokens for a new claim. Keep this value until the claim is stored.
#[derive(Debug)]
pub struct Fresh {
    pub tokens: [String; 3],
    /// Whether the tokens alone prove ownership of the name.
    pub ownership: Ownership,
    #[cfg(feature = "ses")]
    _reserved: Option<Reserved>,
}

impl Provider {
    /// Three tokens for a claim to a name.
    #[cfg_attr(not(feature = "ses"), expect(unused_variables, reason = "tokens made here do not depend on the name"))]
    pub async fn tokens(&self, name: &DomainName) -> Result<Fresh, ProviderError> {
        match self {
            Self::Local(keys) => {
                // Every claim has its own.
                Ok(Fresh {
                    tokens: keys.tokens()?,
                    ownership: Ownership::ByTokens,
                    #[cfg(feature = "ses")]
                    _reserved: None,
                })
            }
            #[cfg(feature = "ses")]
            Self::Ses(ses) => {
                let reserved = ses.reserve(name).await?;
                let secret = token()?;
                let ownership = match reserved.is_ours {
                    true => Ownership::WhenContested(secret),
                    false => Ownership::Always(secret),
                };
                Ok(Fresh { tokens: reserved.tokens.clone(), ownership, _reserved: Some(reserved) })
            }
        }
    }

    /// To be called after a claim is stored.
    pub fn claimed(&self, account: &AccountId, id: &DomainId) {
        match self {
            Self::Local(keys) => keys.provision(account, id.clone()),
            #[cfg(feature = "ses")]
            Self::Ses(_) => {}
        }
    }

    /// Waits for a limited time until a claim's keys are generated here.
    pub async fn keys_made(&self, id: &DomainId) {
        match self {
            Self::Local(keys) => {
                if !keys.made(id).await {
                    tracing::debug!(%id, "keys of a domain are still being generated");
                }
            }
            #[cfg(feature = "ses")]
            Self::Ses(_) => {}
        }
    }

    /// To be called after a claim has ended or its status or return path has changed. The store has the pending work.
    pub fn changed(&self) {
        match self {
            // Keys are deleted with their claim.
            Self::Local(_) => {}
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.wake(),
        }
    }

    /// The provider's confirmation for a name with valid records; `None` if unknown.
    #[cfg_attr(not(feature = "ses"), expect(unused_variables, reason = "tokens made here do not depend on the name"))]
    pub async fn confirms(&self, name: &DomainName) -> Option<Confirmed> {
        match self {
            Self::Local(_) => Some(Confirmed { sends: true, mail_from: None }),
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.confirms(name).await,
        }
    }

    /// True if relayed mail is signed by the provider.
    pub const fn is_elsewhere(&self) -> bool {
        match self {
            Self::Local(_) => false,
            #[cfg(feature = "ses")]
            Self::Ses(_) => true,
        }
    }

    /// Runs background work until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        match self {
            Self::Local(_) => shutdown.requested().await,
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.run(shutdown).await,
        }
    }
}
