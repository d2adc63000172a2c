//! `inboxlayer store copy`: from the database of the configuration to another one.

use crate::cli::ConfigArgs;
use crate::cli::failure::Failure;
use crate::config::{Config, DataDir, Engine};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::copy::{CopyError, Progress, Step};
use clap::Args;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two lines about the same table.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) const AFTER_HELP: &str = "\
Stop every daemon of both databases first. The source is not changed. A copy that was cut off continues when the same command is run
again; until it is complete and compared, no daemon opens the target. Afterwards set [store] to the target, keep the key that seals
secrets (secret.key in the data directory, or INBOXLAYER_SECRET_KEY), and do not start a daemon on the source again: with bodies in
an object store it would remove those of the target.

Examples:
  INBOXLAYER_COPY_TO=postgres://mail:password@db.example.com/mail inboxlayer store copy --config /etc/inboxlayer/inboxlayer.toml
  inboxlayer store copy --config /etc/inboxlayer/inboxlayer.toml --to sqlite:///var/lib/inboxlayer";

#[derive(Debug, Args)]
pub(in crate::cli) struct CopyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The target: postgres://…, an empty database made as for [store] url; or sqlite://DIRECTORY, a data directory without a
    /// database. TLS and roots of [store] apply.
    #[arg(long, env = "INBOXLAYER_COPY_TO", hide_env_values = true, value_name = "URL", value_parser = secret)]
    to: Secret,
}

/// Any text: it may hold a password.
#[expect(clippy::unnecessary_wraps, reason = "as clap asks for it")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

pub(super) async fn run(args: CopyArgs) -> Result<ExitCode, Failure> {
    let from = args.config.load()?;
    let to = target(&from, args.to.reveal())?;
    let (source, target) = Store::open_two(&from, &to).map_err(|error| {
        let fix = match error.is_in_use() {
            true => "stop every daemon that uses it first",
            false => "run this as the daemon's user; [store] in config/inboxlayer.toml says what the database must be",
        };
        Failure::new(error.to_string(), fix)
    })?;
    let mut lines = Lines { table: "", step: Step::Copied, at: Instant::now() };
    let copied = source.copy_to(&target, &name(&from), &mut |progress| lines.report(progress)).await;
    source.close().await;
    target.close().await;
    let rows = copied.map_err(|error| Failure::new(error.to_string(), fix(&error)))?;
    println!("copied and compared: {rows} rows");
    Ok(ExitCode::SUCCESS)
}

/// The configuration of the target.
fn target(from: &Config, url: &str) -> Result<Config, Failure> {
    let mut to = from.clone();
    if let Some(directory) = url.strip_prefix("sqlite://") {
        if !directory.starts_with('/') {
            return Err(Failure::usage(
                format!("--to {url}: not an absolute path"),
                "write sqlite:///var/lib/inboxlayer",
            ));
        }
        to.store.engine = Engine::Sqlite;
        to.data_dir = DataDir(directory.into());
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        to.store.engine = Engine::Postgres;
        to.store.url = Some(Secret::new(url));
    } else {
        return Err(Failure::usage(
            "--to: neither postgres:// nor sqlite://",
            "write postgres://user:password@host/database or sqlite:///directory",
        ));
    }
    if name(from) == name(&to) {
        return Err(Failure::usage("the source and the target are the same database", "name another one with --to"));
    }
    Ok(to)
}

/// A database, without its password.
fn name(config: &Config) -> String {
    match config.store.engine {
        Engine::Sqlite => format!("sqlite://{}", config.data_dir.0.display()),
        Engine::Postgres => {
            let url = config.store.url.as_ref().map(Secret::reveal).unwrap_or_default();
            let place =
                url.rsplit_once('@').map_or_else(|| url.trim_start_matches("postgresql://"), |(_, place)| place);
            format!("postgres://{}", place.trim_start_matches("postgres://"))
        }
    }
}

fn fix(error: &CopyError) -> &'static str {
    match error {
        CopyError::NotEmpty(_) => "name an empty database or directory",
        CopyError::OtherSource(_) => "copy from that one, or make the target anew",
        CopyError::Schema(_) => "copy with the version of inboxlayer that both databases were last used with",
        CopyError::Different { .. } => "make the target anew and copy again; the source is unchanged",
        CopyError::Store(_) => "run it again: it continues where it was cut off; the source is unchanged",
    }
}

/// Prints how far it is: each table's end, and now and then between.
struct Lines {
    table: &'static str,
    step: Step,
    at: Instant,
}

impl Lines {
    fn report(&mut self, progress: Progress) {
        let Progress { step, table, rows, of } = progress;
        let is_other = self.table != table || self.step != step;
        if rows == of || is_other || self.at.elapsed() >= PAUSE {
            eprintln!("{step} {table}: {rows} of {of}");
            *self = Self { table, step, at: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_its_password() {
        let url = |url: &str| {
            let mut config = Config::default();
            config.store.engine = Engine::Postgres;
            config.store.url = Some(Secret::new(url));
            name(&config)
        };
        assert_eq!(url("postgres://mail:hunter2@db.example/mail"), "postgres://db.example/mail");
        assert_eq!(url("postgresql:///mail?host=/run/postgresql"), "postgres:///mail?host=/run/postgresql");
        assert_eq!(name(&Config::default()), "sqlite:///var/lib/inboxlayer");
    }

    #[test]
    fn a_target_is_another_database() {
        let from = Config::default();
        assert!(target(&from, "sqlite:///var/lib/inboxlayer").is_err());
        assert!(target(&from, "sqlite://here").is_err() && target(&from, "mysql://db/mail").is_err());
        assert_eq!(target(&from, "sqlite:///elsewhere").unwrap().data_dir, DataDir("/elsewhere".into()));
        assert_eq!(target(&from, "postgres://db/mail").unwrap().store.engine, Engine::Postgres);
    }
}
