//! Reconciles identities at SES with the claims in the background. Invariant: every due row is either deleted, or up
//! to date, or due again after a growing pause.

use super::{GIVEN_UP, ReserveError, Ses, SesError};
use crate::address::DomainName;
use crate::net::listener::Shutdown;
use crate::store::StoreError;
use crate::store::ses::{SesIdentity, SesReply};
use std::time::Duration;

/// Maximum time between polls of the store.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The first pause after a failure. It doubles …
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// SES allows some calls once per second: names per poll, processed one after another.
const AT_ONCE: u32 = 16;

impl Ses {
    /// Processes due identities until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let work = async {
                if let Err(error) = self.settle().await {
                    tracing::error!(%error, "cannot read the due Amazon SES identities");
                }
                let next = self.0.store.ses_next_due().await.ok().flatten();
                let pause = next.map_or(LONGEST_SLEEP, |due| due.since(self.0.clock.now()));
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    // Never a busy loop, even if a row stays due.
                    () = tokio::time::sleep(pause.clamp(Duration::from_secs(1), LONGEST_SLEEP)) => {}
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = work => {}
            }
        }
    }

    /// Processes everything due now.
    pub async fn settle(&self) -> Result<(), StoreError> {
        loop {
            let due = self.0.store.ses_due(self.0.clock.now(), AT_ONCE).await?;
            for name in &due {
                self.mend(name).await?;
            }
            if due.is_empty() {
                return Ok(());
            }
        }
    }

    async fn mend(&self, name: &DomainName) -> Result<(), StoreError> {
        let _turn = self.lock(name).await;
        // Read again: the previous holder of the lock may have changed it.
        let Some(row) = self.0.store.ses_identity(name).await? else { return Ok(()) };
        let mended = match row.claimed_tokens {
            None => self.remove(&row).await,
            Some(_) => self.keep(&row).await,
        };
        match mended {
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
                self.0.store.ses_failed(name, self.0.clock.now().after(pause)).await
            }
        }
    }

    /// No claim needs it. An identity without our tag is left alone.
    async fn remove(&self, row: &SesIdentity) -> Result<(), ReserveError> {
        match self.0.client.is_marked(&row.name, &row.mark).await {
            Ok(true) => {
                self.0.client.delete(&row.name).await?;
                tracing::info!(domain = %row.name, "identity at Amazon SES deleted");
            }
            Ok(false) if row.led => self.0.client.lead_mail_from(&row.name, None).await?,
            Ok(false) | Err(SesError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.0.store.ses_forget(&row.name).await?)
    }

    /// A claim needs it.
    async fn keep(&self, row: &SesIdentity) -> Result<(), ReserveError> {
        let (name, mark) = (&row.name, &row.mark);
        let reply = match self.0.client.get(name, mark).await {
            Err(SesError::NotFound) => {
                tracing::warn!(domain = %name, "identity at Amazon SES is missing: creating it again");
                self.make_or_adopt(name, mark).await?
            }
            reply => reply?,
        };
        if reply.dkim_status == GIVEN_UP {
            self.0.client.look_anew(name).await?;
        }
        if !reply.signs {
            tracing::warn!(domain = %name, "signing is off at Amazon SES: turning it on");
            self.0.client.sign(name).await?;
        }
        if row.claimed_tokens.as_ref().is_some_and(|claimed| *claimed != reply.tokens) {
            tracing::error!(domain = %name, "the tokens at Amazon SES differ from those of the claims: delete and recreate the claims");
        }
        self.lead_mail_from(row, &reply).await?;
        self.0.store.ses_record_reply(name, reply).await?;
        Ok(self.0.store.ses_settled(row).await?)
    }

    /// Sets MAIL FROM to the return path of the verified claim. Without one, a setting made by others stays.
    async fn lead_mail_from(&self, row: &SesIdentity, reply: &SesReply) -> Result<(), ReserveError> {
        let (name, store) = (&row.name, &self.0.store);
        match (row.return_path.as_ref(), row.led) {
            (Some(wanted), _) if !reply.leads_to(wanted) => {
                // Recorded first, so that a setting whose response is lost is still known here.
                store.ses_led(name, true).await?;
                self.0.client.lead_mail_from(name, Some(wanted)).await?;
                tracing::info!(domain = %name, mail_from = %wanted, "MAIL FROM domain set at Amazon SES");
            }
            (None, true) => {
                if reply.mail_from.is_some() {
                    self.0.client.lead_mail_from(name, None).await?;
                }
                store.ses_led(name, false).await?;
            }
            (Some(_), _) | (None, false) => {}
        }
        Ok(())
    }
}
