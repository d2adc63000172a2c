//! Logs by tracing, to standard error: the journal, or a terminal.

use super::failure::Failure;
use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins to log. `RUST_LOG` goes over the configured filter.
pub(super) fn start(log: &Log) -> Result<(), Failure> {
    let text = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::usage(
            format!("log.filter: {text:?}: {error}"),
            "write a level, like \"info\", or \"inboxlayer::smtp=debug,info\"",
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}
