//! `inboxlayer serve`: the daemon.

use super::failure::Failure;
use super::{ConfigArgs, full_runtime, logging};
use crate::app::{App, Services, StartError};
use crate::clock::Clock;
use clap::Args;
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inboxlayer serve --config /etc/inboxlayer/inboxlayer.toml\n  INBOXLAYER_HTTP__LISTEN=127.0.0.1:9000 inboxlayer serve\n\nSIGTERM and SIGINT stop it gracefully."
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let config = args.config.load_for_serve()?;
    logging::start(&config.log)?;
    full_runtime()?.block_on(async {
        let services = Services::open(config, Clock::System).await?;
        let app = App::start(services, None).await?;
        tracing::info!(addresses = ?app.addresses(), "listening");
        app.check_dns();
        app.run_until_signal().await;
        Ok(ExitCode::SUCCESS)
    })
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let fix = match &error {
            StartError::Open(error) if error.is_in_use() => "stop what uses the store, or wait until it ends",
            StartError::Bind { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "ports under 1024 need CAP_NET_BIND_SERVICE (the systemd unit in config/ gives it), or choose others in the configuration"
            }
            StartError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "another program is listening there: stop it, or choose another port in the configuration"
            }
            StartError::Bind { .. } => "choose an address of this machine in the configuration",
            StartError::Tls(_) => "give PEM files that this user may read: the chain, leaf first, and its key",
            _ => "",
        };
        Self::new(error.to_string(), fix)
    }
}
