//! What the signing provider does for a name.

use crate::address::DomainName;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// It sends and signs for the name.
    pub sends: bool,
    /// The domain of the envelope sender, unless it is the provider's own.
    pub mail_from: Option<DomainName>,
}
