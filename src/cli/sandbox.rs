//! `inboxlayer sandbox`: the whole daemon on loopback, with a play internet.

use super::failure::Failure;
use super::{full_runtime, logging};
use crate::config::Log;
use crate::sandbox::{self, SandboxOptions};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inboxlayer sandbox\n  inboxlayer sandbox --data-dir ./play --ready-json ./play.json --port-base 0"
)]
pub(super) struct SandboxArgs {
    /// Added to every standard port: 20000 gives 20025, 20587, 20993 and so on (the default); 0 takes free ones.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Keep the data here, for the next time. Without it a temporary folder is used.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write addresses, tokens and ids here once everything listens.
    #[arg(long, value_name = "FILE")]
    ready_json: Option<PathBuf>,
}

pub(super) fn run(args: SandboxArgs) -> Result<ExitCode, Failure> {
    logging::start(&Log::default())?;
    let SandboxArgs { port_base, data_dir, ready_json } = args;
    let run = sandbox::run(SandboxOptions { port_base, data_dir, ready_json });
    full_runtime()?.block_on(run).map_err(|error| {
        Failure::new(
            format!("{error:#}"),
            "another sandbox may be running: stop it, or choose other ports with --port-base and another --data-dir",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
