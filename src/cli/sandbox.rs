//! `inboxlayer sandbox`: the whole daemon on loopback, with a play internet.

use super::failure::Failure;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inboxlayer sandbox\n  inboxlayer sandbox --data-dir ./play --ready-json ./play.json --port-base 0"
)]
pub(super) struct SandboxArgs {
    /// The first of the ports; 0 takes free ones.
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
    let _ = (args.port_base, args.data_dir, args.ready_json);
    Err(Failure::new("the sandbox has not landed yet", ""))
}
