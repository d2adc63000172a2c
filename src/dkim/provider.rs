//! The signing provider: who gives out tokens, has their keys, and signs.

#[cfg(feature = "ses")]
use super::keys::token;
use super::keys::{Keys, KeysError};
#[cfg(feature = "ses")]
use super::ses::{ReserveError, Reserved, Ses};
use crate::address::DomainName;
use crate::id::{AccountId, DomainId};
use crate::net::listener::Shutdown;
use crate::store::ownership::Ownership;

/// Why there are no tokens for a claim: temporary to the client.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The keys of this daemon.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Amazon SES.
    #[cfg(feature = "ses")]
    #[error(transparent)]
    Ses(#[from] ReserveError),
}

/// The provider; clones share it.
#[derive(Clone, Debug)]
pub enum Provider {
    /// This daemon.
    Local(Box<Keys>),
    /// Amazon SES.
    #[cfg(feature = "ses")]
    Ses(Ses),
}

impl From<Keys> for Provider {
    fn from(keys: Keys) -> Self {
        Self::Local(Box::new(keys))
    }
}

/// Tokens for a claim. Keep it until the claim is stored.
#[derive(Debug)]
pub struct Fresh {
    /// The tokens.
    pub tokens: [String; 3],
    /// Whether they are proof enough whose the name is.
    pub ownership: Ownership,
    #[cfg(feature = "ses")]
    _reserved: Option<Reserved>,
}

/// What the provider does for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// It sends and signs for it.
    pub sends: bool,
    /// The domain of its mail's envelope sender, where it is not one of the provider's own.
    pub mail_from: Option<DomainName>,
}

impl Provider {
    /// Three tokens for a claim to a name.
    #[cfg_attr(not(feature = "ses"), expect(unused_variables, reason = "tokens made here do not depend on the name"))]
    pub async fn tokens(&self, name: &DomainName) -> Result<Fresh, ProviderError> {
        match self {
            Self::Local(keys) => {
                // Each claim has its own.
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

    /// An account's claim has been stored.
    pub fn claimed(&self, account: &AccountId, id: &DomainId) {
        match self {
            Self::Local(keys) => keys.provision(account, id.clone()),
            #[cfg(feature = "ses")]
            Self::Ses(_) => {}
        }
    }

    /// Waits for a claim's keys while they are still being made here, for a time.
    pub async fn keys_made(&self, id: &DomainId) {
        match self {
            Self::Local(keys) => {
                if !keys.made(id).await {
                    tracing::debug!(%id, "a domain's keys are still being made");
                }
            }
            #[cfg(feature = "ses")]
            Self::Ses(_) => {}
        }
    }

    /// A claim has ended, or has another status or return path. The store knows what is to be done.
    pub fn changed(&self) {
        match self {
            // Keys go with their claim.
            Self::Local(_) => {}
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.wake(),
        }
    }

    /// What it does for a name whose records are right; none: it does not say.
    #[cfg_attr(not(feature = "ses"), expect(unused_variables, reason = "tokens made here do not depend on the name"))]
    pub async fn confirms(&self, name: &DomainName) -> Option<Confirmed> {
        match self {
            Self::Local(_) => Some(Confirmed { sends: true, mail_from: None }),
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.confirms(name).await,
        }
    }

    /// It signs elsewhere, what is relayed through it.
    pub const fn is_elsewhere(&self) -> bool {
        match self {
            Self::Local(_) => false,
            #[cfg(feature = "ses")]
            Self::Ses(_) => true,
        }
    }

    /// What it does in the background, until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        match self {
            Self::Local(_) => shutdown.requested().await,
            #[cfg(feature = "ses")]
            Self::Ses(ses) => ses.run(shutdown).await,
        }
    }
}
