//! `inboxlayer store …`: the database, while the daemon is stopped.

mod copy;
mod reindex;

use super::ConfigArgs;
use super::failure::Failure;
use crate::config::{Config, Engine};
use crate::mailbox::MailboxService;
use crate::store::compact::{CompactError, Compacted, compact};
use crate::store::{OpenError, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Return disk space of deleted mail to the file system, while the daemon is stopped.
    #[command(
        after_help = "It needs free disk space for a copy of the compacted database.\n\nExample:\n  inboxlayer store compact --config /etc/inboxlayer/inboxlayer.toml"
    )]
    Compact {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Copy the database to another one, of either engine, while no daemon uses them.
    #[command(after_help = copy::AFTER_HELP)]
    Copy(copy::CopyArgs),
    /// Build the index of searches anew, while the daemon is stopped.
    #[command(after_help = reindex::AFTER_HELP)]
    Reindex(reindex::ReindexArgs),
}

async fn compact_dir(config: &Config) -> Result<Compacted, CompactError> {
    // Recovers it, brings its schema up to date, and holds the lock of the directory until the end.
    if config.store.engine != Engine::Sqlite {
        return Err(CompactError::NotSqlite);
    }
    let store = Store::open(&config.data_dir.0)?;
    MailboxService::new(store.clone(), &config.limits).finish_long_changes().await?;
    while store.bodies_sweep(config.bodies.grace.0).await? {}
    compact(store).await
}

pub(super) async fn run(command: StoreCommand) -> Result<ExitCode, Failure> {
    let config = match command {
        StoreCommand::Copy(args) => return copy::run(args).await,
        StoreCommand::Reindex(args) => return reindex::run(args).await,
        StoreCommand::Compact { config } => config,
    };
    let Compacted { before, after } = compact_dir(&config.load()?).await.map_err(|error| {
        let fix = match &error {
            CompactError::Open(OpenError::InUse { .. }) | CompactError::Busy => {
                "stop the daemon and other users of the database first"
            }
            CompactError::NotSqlite => "leave it to the database server",
            CompactError::Open(_) => "give the daemon's configuration with --config, and run this as the daemon's user",
            _ => "free some disk space and run it again; the database is unchanged",
        };
        Failure::new(error.to_string(), fix)
    })?;
    println!("before: {before} octets\nafter:  {after} octets");
    Ok(ExitCode::SUCCESS)
}
