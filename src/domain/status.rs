//! The verified_status machine. (stub: owner verification)

use std::fmt;
use std::str::FromStr;

/// `verified_status` of a custom domain. No other value exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifiedStatus {
    /// Waiting for its records, inside a window.
    Pending,
    /// Its required records are right.
    Verified,
    /// The window ended, or the records broke for longer than the grace.
    Failed,
}

impl VerifiedStatus {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for VerifiedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VerifiedStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "pending" => Ok(Self::Pending),
            "verified" => Ok(Self::Verified),
            "failed" => Ok(Self::Failed),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

/// `on_unverified` of a custom domain: what happens to mail that should leave under it while it is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnverified {
    /// It leaves under the platform domain.
    #[default]
    Fallback,
    /// It is refused: 550 5.7.1.
    Reject,
    /// It is kept until the domain is verified.
    Hold,
}

impl OnUnverified {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Reject => "reject",
            Self::Hold => "hold",
        }
    }
}

impl fmt::Display for OnUnverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnUnverified {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "fallback" => Ok(Self::Fallback),
            "reject" => Ok(Self::Reject),
            "hold" => Ok(Self::Hold),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the words expected here")]
pub struct UnknownWord(pub String);
