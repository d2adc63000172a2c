//! What the sandbox's verbs work on.

use super::SandboxError;
use super::outside::Outside;
use super::state::State;
use crate::app::Services;
use crate::dns::authority::play::{Kind, Play, PlayError};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The play internet around the daemon; clones share it.
#[derive(Clone, Debug)]
pub(super) struct World(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) services: Services,
    pub(super) play: Play,
    pub(super) outside: Outside,
    pub(super) state: State,
    /// The MX server, once it is bound.
    pub(super) mx: OnceLock<SocketAddr>,
    /// One move of the clock at a time.
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

    /// What an operator of the platform, and Amazon, would have published. Set at every start, before what people set.
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
        // The domain that customers' SPF records include.
        let included = config.records.spf.split_ascii_whitespace().filter_map(|term| term.strip_prefix("include:"));
        sets.extend(included.map(|name| (name.to_owned(), Kind::Txt, sending.to_owned())));
        tracing::debug!(%zone, "the zone of keys is played from the store");
        for (name, kind, value) in sets {
            self.play.set(&name, kind, &[value], 60).map_err(|e: PlayError| SandboxError::First(e.to_string()))?;
        }
        self.state.restore(&self.play);
        Ok(())
    }
}
