//! `inboxlayer store reindex`: builds the index of searches anew.

use crate::app::{ReindexError, StartError, reindex};
use crate::cli::ConfigArgs;
use crate::cli::failure::Failure;
use clap::Args;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) const AFTER_HELP: &str = "\
Stop every daemon of the database first. No mail is changed. If the command is interrupted, the daemon indexes the rest in the
background; meanwhile searches find everything, but take longer.

Example:
  inboxlayer store reindex --config /etc/inboxlayer/inboxlayer.toml";

#[derive(Debug, Args)]
pub(in crate::cli) struct ReindexArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: ReindexArgs) -> Result<ExitCode, Failure> {
    let mut printed = Instant::now();
    let report = |done: u64, of: u64| {
        if done == of || printed.elapsed() >= PAUSE {
            eprintln!("indexed: {done} of {of} messages");
            printed = Instant::now();
        }
    };
    let messages = reindex(&args.config.load()?, report).await.map_err(|error| {
        let fix = match &error {
            ReindexError::Start(StartError::Open(open)) if open.is_in_use() => "stop every daemon that uses it first",
            ReindexError::Start(_) => {
                "give the daemon's configuration with --config, and run this as the daemon's user"
            }
            ReindexError::Index(_) => "run it again, or start the daemon, which indexes the rest; no mail is changed",
        };
        Failure::new(error.to_string(), fix)
    })?;
    println!("indexed: {messages} messages");
    Ok(ExitCode::SUCCESS)
}
