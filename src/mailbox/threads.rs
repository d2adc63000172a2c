//! Threads of messages that were there before threads were: found in the background, the oldest first.

use super::MailboxService;
use crate::message::threading::Threading;
use crate::reading::Reading;
use crate::resources::Owner;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use std::time::Duration;

/// Messages of one transaction.
const BATCH: u32 = 200;
/// Between two batches, so that others write.
const PAUSE: Duration = Duration::from_millis(50);
/// After an error.
const LATER: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl MailboxService {
    /// Gives every message its thread; ends once all have one.
    pub async fn thread_old_messages(&self, reading: &Reading) {
        loop {
            match self.thread_batch(reading).await {
                Ok(0) => return,
                Ok(count) => {
                    tracing::debug!(count, "messages were put into threads");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot put messages into threads; trying again in a minute");
                    tokio::time::sleep(LATER).await;
                }
            }
        }
    }

    /// Returns how many it has found without a thread.
    async fn thread_batch(&self, reading: &Reading) -> Result<usize, Failed> {
        let rows = self.store.unthreaded(BATCH).await?;
        let count = rows.len();
        let octets = rows.iter().map(|row| row.header.len()).sum();
        let read = reading.read(&Owner::System, octets, move |reader, budget| {
            let mut read = Vec::with_capacity(rows.len());
            for row in rows {
                budget.check()?;
                let is_set_aside = reader.begin(row.content).is_set_aside;
                let threading = if is_set_aside { Threading::default() } else { Threading::of(&row.header) };
                read.push((row.id, threading));
            }
            Ok(read)
        });
        let read = read.await?;
        self.store.thread_all(read).await?;
        Ok(count)
    }
}
