//! `inboxlayer sandbox`: the whole daemon on loopback, with a simulated internet.

use super::failure::Failure;
use super::{environment, full_runtime, logging};
use crate::config::{Log, Setting};
use crate::sandbox::{self, SandboxError, SandboxOptions};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inboxlayer sandbox\n  inboxlayer sandbox --data-dir ./play --ready-json ./play.json --port-base 0\n  inboxlayer sandbox --set limits.recipients=10 --set verification.window=1h\n\nINBOXLAYER_LIMITS__<KEY> variables set limits, too."
)]
pub(super) struct SandboxArgs {
    /// Added to every standard port: 20000 gives 20025, 20587, 20993 and so on (the default); 0 uses free ports.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Keep the data here. Without it a temporary folder is used.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write addresses, tokens and ids here once every listener is up.
    #[arg(long, value_name = "FILE")]
    ready_json: Option<PathBuf>,
    /// Set a configuration key, such as a limit; may be repeated. The keys are those of config/inboxlayer.toml.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = Setting::of_argument)]
    settings: Vec<Setting>,
}

pub(super) fn run(args: SandboxArgs) -> Result<ExitCode, Failure> {
    logging::start(&Log::default())?;
    let SandboxArgs { port_base, data_dir, ready_json, settings: arguments } = args;
    // Other settings of `serve` on this machine do not apply to the sandbox.
    let variables = environment().filter_map(|(variable, value)| Setting::of_variable(variable, value));
    let limits = variables.filter(|setting| setting.key().starts_with("limits."));
    let settings = limits.chain(arguments).collect();
    let run = sandbox::run(SandboxOptions { port_base, data_dir, ready_json, settings });
    full_runtime()?.block_on(run).map_err(|error| match error.downcast::<SandboxError>() {
        Ok(SandboxError::Config(error)) => error.into(),
        Ok(error @ SandboxError::OwnKey(_)) => Failure::usage(error.to_string(), "leave it out"),
        Ok(error) => failed(&error.into()),
        Err(error) => failed(&error),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> Failure {
    Failure::new(
        format!("{error:#}"),
        "another sandbox may be running: stop it, or choose other ports with --port-base and another --data-dir",
    )
}
