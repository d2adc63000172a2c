//! `inboxlayer store …`: the database, while the daemon is stopped.

use super::ConfigArgs;
use super::failure::Failure;
use crate::store::OpenError;
use crate::store::compact::{CompactError, Compacted, compact};
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
}

pub(super) async fn run(command: StoreCommand) -> Result<ExitCode, Failure> {
    let StoreCommand::Compact { config } = command;
    let data_dir = config.load()?.data_dir.0;
    let Compacted { before, after } = compact(&data_dir).await.map_err(|error| {
        let fix = match &error {
            CompactError::Open(OpenError::InUse { .. }) | CompactError::Busy => {
                "stop the daemon and other users of the database first"
            }
            CompactError::Open(_) => "give the daemon's configuration with --config, and run this as the daemon's user",
            _ => "free some disk space and run it again; the database is unchanged",
        };
        Failure::new(error.to_string(), fix)
    })?;
    println!("before: {before} octets\nafter:  {after} octets");
    Ok(ExitCode::SUCCESS)
}
