//! Limits on names.

/// Limits of the names of an account's inboxes or custom domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// Names in use.
    pub present: u32,
    /// Names ever used, including those of deleted inboxes or claims.
    pub ever: u32,
}

impl NameLimits {
    pub const fn new(present: u32, ever: u32) -> Self {
        Self { present, ever }
    }
}
