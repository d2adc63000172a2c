//! Connections to the server.

use super::session::Session;
use crate::config::{self, StoreTls};
use crate::net::client_tls::ClientTls;
use crate::net::tls::TlsError;
use crate::store::Access;
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::{Config, NoTls};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// For octets that were sent to be acknowledged; and for an idle connection, until it is probed.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Of a connection that has been set up. A commit is on disk when it is acknowledged, whatever the server's default is.
/// Statements go by indexes, row by row, as with SQLite, also where the server has no statistics yet: a write that reads a whole
/// table runs into every other write to it.
const SET_UP: &str = "
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET jit = off;
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Why there is no connector.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Without the URL: it has a password.
    #[error("[store] url: {0}")]
    Url(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Makes connections; clones share the TLS sessions.
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
        let url = settings.url.as_ref().ok_or_else(|| SettingsError::Url("it is missing".into()))?;
        let mut config: Config = url.reveal().parse().map_err(|error: postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            SettingsError::Url(format!("it cannot be read: {reason}"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SettingsError::Url("it names no host".into()));
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
            .connect_timeout(CONNECT)
            .keepalives(true)
            .keepalives_idle(UNACKNOWLEDGED)
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(UNACKNOWLEDGED);
        if config.get_application_name().is_none() {
            config.application_name(access.program());
        }
        Ok(Self { config, tls, access })
    }

    /// A new connection. Blocks.
    pub fn connect(&self) -> Result<Session, postgres::Error> {
        let session = Session::new(match &self.tls {
            Some(tls) => self.config.connect(tls.clone())?,
            None => self.config.connect(NoTls)?,
        });
        session.command(SET_UP)?;
        Ok(session)
    }

    /// Asks the server to end the statement that a connection runs. Blocks.
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
    fn an_address_that_is_wrong_is_refused_without_its_password() {
        let settings = |url: &str| config::Store { url: Some(Secret::new(url)), ..config::Store::default() };
        for wrong in ["postgres://mail:hunter2@host:port/mail", "user=mail password=hunter2", "hunter2"] {
            let refused = Connector::new(&settings(wrong), Access::Shared).unwrap_err().to_string();
            assert!(refused.starts_with("[store] url: ") && !refused.contains("hunter2"), "{refused}");
        }
        let right = Connector::new(&settings("postgres://mail:hunter2@db.example/mail"), Access::Shared).unwrap();
        assert!(!format!("{right:?}").contains("hunter2"));
    }
}
