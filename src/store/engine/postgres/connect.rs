//! Connecting to the server.

use super::session::Session;
use crate::config::{self, StoreTls};
use crate::net::client_tls::ClientTls;
use crate::net::tls::TlsError;
use crate::store::Access;
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::{Config, NoTls};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `TCP_USER_TIMEOUT`, and the idle time before a keep-alive probe.
const TCP_TIMEOUT: Duration = Duration::from_secs(30);
/// Settings of each session. A commit is acknowledged once it is on disk, whatever the server's default. Plans use indexes and
/// nested loops, as SQLite's do, even without statistics: a write that scans a whole table conflicts with every other write to
/// it.
const SESSION_SETTINGS: &str = "
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET jit = off;
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The text does not quote the URL, which contains a password.
    #[error("[store] url: {0}")]
    Url(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens connections; clones share the cache of TLS sessions.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    pub access: Access,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Connector {
    pub fn new(settings: &config::Store, access: Access) -> Result<Self, SettingsError> {
        let url = settings.url.as_ref().ok_or_else(|| SettingsError::Url("required by the engine postgres".into()))?;
        let mut config: Config = url.reveal().parse().map_err(|error: postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            SettingsError::Url(format!("not a PostgreSQL connection URL: {reason}"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SettingsError::Url("no host".into()));
        }
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = match settings.tls {
            StoreTls::Require if !is_local || !config.get_hostaddrs().is_empty() => {
                let client = ClientTls::new(settings.extra_roots.as_deref())?;
                Some(MakeRustlsConnect::new(rustls::ClientConfig::clone(client.verifying().config())))
            }
            StoreTls::Require | StoreTls::Disable => None,
        };
        config
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(TCP_TIMEOUT)
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(TCP_TIMEOUT);
        if config.get_application_name().is_none() {
            config.application_name(access.application_name());
        }
        Ok(Self { config, tls, access })
    }

    /// Opens a connection. Blocks.
    pub fn connect(&self) -> Result<Session, postgres::Error> {
        let session = Session::new(match &self.tls {
            Some(tls) => self.config.connect(tls.clone())?,
            None => self.config.connect(NoTls)?,
        });
        session.command(SESSION_SETTINGS)?;
        Ok(session)
    }

    /// Cancels the running statement of the session that `token` belongs to. Blocks.
    pub fn cancel(&self, token: &postgres::CancelToken) -> Result<(), postgres::Error> {
        match &self.tls {
            Some(tls) => token.cancel_query(tls.clone()),
            None => token.cancel_query(NoTls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn errors_and_debug_output_do_not_contain_the_password() {
        let settings = |url: &str| config::Store { url: Some(Secret::new(url)), ..config::Store::default() };
        for wrong in ["postgres://mail:hunter2@host:port/mail", "user=mail password=hunter2", "hunter2"] {
            let refused = Connector::new(&settings(wrong), Access::Shared).unwrap_err().to_string();
            assert!(refused.starts_with("[store] url: ") && !refused.contains("hunter2"), "{refused}");
        }
        let right = Connector::new(&settings("postgres://mail:hunter2@db.example/mail"), Access::Shared).unwrap();
        assert!(!format!("{right:?}").contains("hunter2"));
    }
}
