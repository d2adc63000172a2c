//! `inboxlayer config …`: checks the configuration without starting anything.

use super::ConfigArgs;
use super::failure::Failure;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration; errors are shown with file and line.
    #[command(after_help = "Example:\n  inboxlayer config check --config /etc/inboxlayer/inboxlayer.toml")]
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(super) fn run(command: &ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check { config } => {
            config.load_for_serve()?;
            println!("the configuration is valid");
            Ok(ExitCode::SUCCESS)
        }
    }
}
