//! `[retention]`: what is removed by its age.

use serde::Deserialize;

/// `[retention]`: days after which messages are removed from Trash and Junk, where the inbox has no rule of its own; 0: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub trash_days: u16,
    pub junk_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { trash_days: 30, junk_days: 30 }
    }
}
