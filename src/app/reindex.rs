//! Builds the index of searches anew, while no daemon runs: the services that this needs, and no listener.

use super::{StartError, open_store, suspects};
use crate::clock::Clock;
use crate::config::Config;
use crate::reading::Reading;
use crate::resources::spool::Spool;
use crate::resources::work::WorkPool;
use crate::search::{IndexError, SearchIndex};
use crate::store::Access;

#[derive(Debug, thiserror::Error)]
pub enum ReindexError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Calls `report` with how many messages are done, and of how many. Returns their number.
pub async fn reindex(config: &Config, report: impl FnMut(u64, u64)) -> Result<u64, ReindexError> {
    let (store, disk) = open_store(config, Access::Exclusive)?;
    let log = suspects::reading_log(&config.data_dir.0, &store, &config.limits).await;
    let spool = Spool::open_on(&config.data_dir.0, &config.limits, disk).map_err(StartError::Spool)?;
    let reading = Reading::new(config, WorkPool::default(), log);
    let done = SearchIndex::new(store.clone(), Clock::System, reading, &spool).rebuild(report).await;
    store.close().await;
    Ok(done?)
}
