//! How many names an account may take.

/// Limits of the names of an account: of inboxes, or of custom domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// At once.
    pub present: u32,
    /// Ever: a name stays with the account after it has been given up.
    pub ever: u32,
}

impl NameLimits {
    /// Both limits.
    pub const fn new(present: u32, ever: u32) -> Self {
        Self { present, ever }
    }
}
