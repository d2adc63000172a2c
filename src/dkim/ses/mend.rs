//! Mending in the background: what stands at SES follows the claims, whatever went wrong before.
//!
//! Invariant: every row that is due ends in one of three ways: it is forgotten, nothing is left to do, or it is due again
//! after a pause that grows.

use super::{GIVEN_UP, ReserveError, Ses, SesError};
use crate::address::DomainName;
use crate::net::listener::Shutdown;
use crate::store::StoreError;
use crate::store::ses::{SesIdentity, SesReply};
use std::time::Duration;

/// Looks at the store at least this often, whatever it was told.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The first pause after a failure. It doubles …
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// SES allows one call a second to some of its verbs: this many names at a look, one after another.
const AT_ONCE: u32 = 16;

impl Ses {
    /// Mends what is due until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let work = async {
                if let Err(error) = self.settle().await {
                    tracing::error!(%error, "the identities at Amazon SES that are due could not be read");
                }
                let next = self.0.store.ses_next_due().await.ok().flatten();
                let pause = next.map_or(LONGEST_SLEEP, |due| due.since(self.0.clock.now()));
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    // Never a busy loop, should a row stay due.
                    () = tokio::time::sleep(pause.clamp(Duration::from_secs(1), LONGEST_SLEEP)) => {}
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = work => {}
            }
        }
    }

    /// Mends everything that is due now.
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
        // Read anew: whoever had the turn before may have changed it.
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
                        tracing::warn!(domain = %name, %error, ?pause, "an identity at Amazon SES is tried again");
                    }
                    // Somebody has to do something.
                    _ => {
                        tracing::error!(domain = %name, %error, ?pause, "an identity at Amazon SES could not be mended")
                    }
                }
                self.0.store.ses_failed(name, self.0.clock.now().after(pause)).await
            }
        }
    }

    /// No claim needs it. What does not bear our mark stays there.
    async fn remove(&self, row: &SesIdentity) -> Result<(), ReserveError> {
        match self.0.client.is_marked(&row.name, &row.mark).await {
            Ok(true) => {
                self.0.client.delete(&row.name).await?;
                tracing::info!(domain = %row.name, "its identity at Amazon SES was deleted");
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
                tracing::warn!(domain = %name, "its identity at Amazon SES is gone: making it again");
                self.make_or_adopt(name, mark).await?
            }
            reply => reply?,
        };
        if reply.dkim_status == GIVEN_UP {
            self.0.client.look_anew(name).await?;
        }
        if !reply.signs {
            tracing::warn!(domain = %name, "Amazon SES did not sign its mail: switching that on");
            self.0.client.sign(name).await?;
        }
        if row.claimed_tokens.as_ref().is_some_and(|claimed| *claimed != reply.tokens) {
            tracing::error!(domain = %name, "Amazon SES gave other tokens than the claims have: they must be deleted and made anew");
        }
        self.lead_mail_from(row, &reply).await?;
        self.0.store.ses_record_reply(name, reply).await?;
        Ok(self.0.store.ses_settled(row).await?)
    }

    /// The MAIL FROM domain follows the return path of the verified claim. What others have set stays while there is none.
    async fn lead_mail_from(&self, row: &SesIdentity, reply: &SesReply) -> Result<(), ReserveError> {
        let (name, store) = (&row.name, &self.0.store);
        match (row.return_path.as_ref(), row.led) {
            (Some(wanted), _) if !reply.leads_to(wanted) => {
                // Noted first: an answer that is lost must not leave there what nobody knows of.
                store.ses_led(name, true).await?;
                self.0.client.lead_mail_from(name, Some(wanted)).await?;
                tracing::info!(domain = %name, mail_from = %wanted, "Amazon SES looks for its MAIL FROM domain");
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
