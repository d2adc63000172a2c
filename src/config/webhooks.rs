//! `[webhooks]`: where events may be sent.

use crate::net::ranges::AllowedNetworks;
use serde::Deserialize;

/// `[webhooks]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhooks {
    /// Networks outside the public ranges whose endpoints may get deliveries, as CIDR; there also without TLS.
    pub allow_networks: AllowedNetworks,
    /// Concurrent deliveries.
    pub concurrency: usize,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { allow_networks: AllowedNetworks::default(), concurrency: 64 }
    }
}
