//! The state that the sandbox's routes work on.

use super::SandboxError;
use super::outside::Outside;
use super::state::State;
use crate::app::Services;
use crate::dns::authority::play::{Kind, Play, PlayError};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The simulated internet around the daemon; clones share it.
#[derive(Clone, Debug)]
pub(super) struct World(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) services: Services,
    pub(super) play: Play,
    pub(super) outside: Outside,
    pub(super) state: State,
    /// The MX listener, once it is bound.
    pub(super) mx: OnceLock<SocketAddr>,
    /// Held while the clock advances.
    pub(super) moving: tokio::sync::Mutex<()>,
}

impl std::ops::Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl World {
    pub(super) fn new(services: Services, play: Play, outside: Outside, state: State) -> Self {
        Self(Arc::new(Inner {
            services,
            play,
            outside,
            state,
            mx: OnceLock::new(),
            moving: tokio::sync::Mutex::default(),
        }))
    }

    /// Publishes what the platform's operator and Amazon would have published. Called at every start, before the
    /// stored records are restored.
    pub(super) fn publish_platform(&self) -> Result<(), SandboxError> {
        let config = &self.services.config;
        let (domain, zone) = (config.platform.domain.as_str(), config.dkim.zone.as_str());
        let (key_name, key_value) = self.services.keys.platform_record();
        let sending = "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all";
        let mut sets = vec![
            (domain.to_owned(), Kind::Mx, format!("{} {}.", config.records.mx_priority, config.platform.hostname)),
            (domain.to_owned(), Kind::Txt, sending.to_owned()),
            (format!("_dmarc.{domain}"), Kind::Txt, "v=DMARC1; p=reject;".to_owned()),
            (key_name, Kind::Txt, key_value),
        ];
        // The domain included by customers' SPF records.
        let included = config.records.spf.split_ascii_whitespace().filter_map(|term| term.strip_prefix("include:"));
        sets.extend(included.map(|name| (name.to_owned(), Kind::Txt, sending.to_owned())));
        tracing::debug!(%zone, "the DKIM zone is served from the store");
        for (name, kind, value) in sets {
            self.play.set(&name, kind, &[value], 60).map_err(|e: PlayError| SandboxError::First(e.to_string()))?;
        }
        self.state.restore(&self.play);
        Ok(())
    }
}
