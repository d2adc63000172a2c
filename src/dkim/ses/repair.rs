//! Reconciles identities at SES with the claims in the background. Invariant: every due row is either deleted, or up
//! to date, or due again after a growing pause.

use super::{GIVEN_UP, Identities, ReserveError, Ses, SesError};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::RunnerId;
use crate::jobs::{Claimed, Work};
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::StoreError;
use crate::store::jobs::{Claim, JobKey};
use crate::store::ses::{SesIdentity, SesReply};
use std::sync::Arc;
use std::time::Duration;

/// The first pause after a failure. It doubles …
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Names at once: SES allows one call a second to some of its verbs.
pub(super) const CONCURRENCY: usize = 2;

impl Ses {
    /// Processes due identities until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        self.repairs.run(&shutdown).await;
    }

    /// Repairs everything that is due now.
    pub async fn settle(&self) {
        self.repairs.settle().await;
    }
}

impl Work for Arc<Identities> {
    type Job = DomainName;
    const NAME: &'static str = "identities at Amazon SES";
    const ENDS_JOBS_AT_SHUTDOWN: bool = false;

    async fn claim(&self, claim: Claim, _at_once: bool) -> Result<Vec<Claimed<DomainName>>, StoreError> {
        let job =
            |(name, owner): (DomainName, Owner)| Claimed { key: JobKey::SesIdentity(name.clone()), owner, job: name };
        Ok(self.store.ses_claim(claim).await?.into_iter().map(job).collect())
    }

    async fn next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        if places.free == 0 { Ok(None) } else { self.store.ses_next_due().await }
    }

    async fn run(&self, name: DomainName, runner: RunnerId) {
        if let Err(error) = self.repair(&name, &runner).await {
            tracing::error!(domain = %name, %error, "an identity at Amazon SES could not be repaired; it is tried again when the lease ends");
        }
    }
}

impl Identities {
    async fn repair(&self, name: &DomainName, runner: &RunnerId) -> Result<(), StoreError> {
        let _lock = self.lock(name).await;
        // Read again: the previous holder of the lock may have changed it.
        let Some(row) = self.store.ses_identity(name).await? else { return Ok(()) };
        let repaired = match row.claimed_tokens {
            None => self.remove(&row, runner).await,
            Some(_) => self.keep(&row, runner).await,
        };
        match repaired {
            Ok(()) => Ok(()),
            Err(ReserveError::Store(error)) => Err(error),
            Err(ReserveError::Ses(error)) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << row.tries.min(16)).min(LONGEST_PAUSE);
                match &error {
                    SesError::Throttled | SesError::TimedOut | SesError::Failed(_) => {
                        tracing::warn!(domain = %name, %error, ?pause, "cannot update an identity at Amazon SES; trying again");
                    }
                    // Needs an operator.
                    _ => {
                        tracing::error!(domain = %name, %error, ?pause, "cannot update an identity at Amazon SES; it needs an operator")
                    }
                }
                self.store.ses_failed(name, runner.clone(), self.clock.now().after(pause)).await
            }
        }
    }

    /// No claim needs it. An identity without our tag is left alone.
    async fn remove(&self, row: &SesIdentity, runner: &RunnerId) -> Result<(), ReserveError> {
        match self.client.is_marked(&row.name, &row.mark).await {
            Ok(true) => {
                self.client.delete(&row.name).await?;
                tracing::info!(domain = %row.name, "identity at Amazon SES deleted");
            }
            Ok(false) if row.mail_from_set => self.client.set_mail_from(&row.name, None).await?,
            Ok(false) | Err(SesError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.store.ses_forget(&row.name, runner.clone()).await?)
    }

    /// A claim needs it.
    async fn keep(&self, row: &SesIdentity, runner: &RunnerId) -> Result<(), ReserveError> {
        let (name, mark) = (&row.name, &row.mark);
        let reply = match self.client.get(name, mark).await {
            Err(SesError::NotFound) => {
                tracing::warn!(domain = %name, "identity at Amazon SES is missing: creating it again");
                self.make_or_adopt(name, mark).await?
            }
            reply => reply?,
        };
        if reply.dkim_status == GIVEN_UP {
            self.client.look_anew(name).await?;
        }
        if !reply.signs {
            tracing::warn!(domain = %name, "signing is off at Amazon SES: turning it on");
            self.client.sign(name).await?;
        }
        if row.claimed_tokens.as_ref().is_some_and(|claimed| *claimed != reply.tokens) {
            tracing::error!(domain = %name, "the tokens at Amazon SES differ from those of the claims: delete and recreate the claims");
        }
        if self.set_mail_from(row, runner, &reply).await? {
            self.store.ses_settled(row, runner.clone(), reply).await?;
        }
        Ok(())
    }

    /// Sets MAIL FROM to the return path of the verified claim. Without one, a setting made by others stays. False if the
    /// lease is lost.
    async fn set_mail_from(
        &self,
        row: &SesIdentity,
        runner: &RunnerId,
        reply: &SesReply,
    ) -> Result<bool, ReserveError> {
        let name = &row.name;
        let record = async |is_set| self.store.ses_mail_from_set(name, runner.clone(), is_set).await;
        match (row.return_path.as_ref(), row.mail_from_set) {
            (Some(wanted), _) if !reply.has_mail_from(wanted) => {
                // Recorded first, so that a setting whose response is lost is still known here.
                if !record(true).await? {
                    return Ok(false);
                }
                self.client.set_mail_from(name, Some(wanted)).await?;
                tracing::info!(domain = %name, mail_from = %wanted, "MAIL FROM domain set at Amazon SES");
                Ok(true)
            }
            (None, true) => {
                if reply.mail_from.is_some() {
                    self.client.set_mail_from(name, None).await?;
                }
                Ok(record(false).await?)
            }
            (Some(_), _) | (None, false) => Ok(true),
        }
    }
}
