//! `inboxlayer seal …`: the key that encrypts private DKIM keys, on the store of a stopped daemon.

use super::ConfigArgs;
use super::failure::Failure;
use crate::dkim::Keys;
use crate::resources::disk::FreeDisk;
use crate::store::{Access, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum SealCommand {
    /// Re-encrypt every private key and webhook secret under a fresh sealing key, while the daemon is stopped.
    #[command(after_help = "Example:\n  inboxlayer seal change --config /etc/inboxlayer/inboxlayer.toml")]
    Change {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(super) async fn run(command: SealCommand) -> Result<ExitCode, Failure> {
    let SealCommand::Change { config } = command;
    let config = config.load()?;
    let data_dir = config.data_dir.0.clone();
    let disk = FreeDisk::new(&data_dir, 0);
    let store = Store::open_with_access(&config, disk, Access::Exclusive).map_err(|error| {
        let fix = match error.is_in_use() {
            true => "stop every daemon first: it holds the current key in memory",
            false => "give the daemon's configuration with --config, and run this as the daemon's user",
        };
        Failure::new(error.to_string(), fix)
    })?;
    let sealed = Keys::reseal(&store, &data_dir).await;
    store.close().await;
    let count = sealed.map_err(|error| {
        Failure::new(error.to_string(), "provide the current key as for the daemon; nothing has been changed")
    })?;
    match std::env::var_os("INBOXLAYER_SECRET_KEY") {
        Some(_) => println!(
            "{count} private keys and webhook secrets re-encrypted: set INBOXLAYER_SECRET_KEY to INBOXLAYER_NEXT_SECRET_KEY from now on"
        ),
        None => println!(
            "{count} private keys and webhook secrets re-encrypted; back up {} now",
            data_dir.join("secret.key").display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}
