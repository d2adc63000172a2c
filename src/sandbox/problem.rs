//! The errors of the sandbox's own routes, as problem documents.

use super::SandboxError;
use crate::dns::authority::play::PlayError;
use crate::http::Problem;

impl From<PlayError> for Problem {
    fn from(error: PlayError) -> Self {
        let field = match error {
            PlayError::Name(_) => "name",
            PlayError::Type(_) => "type",
            PlayError::Server(_) => "server",
            PlayError::Value { .. } | PlayError::Size | PlayError::Full => "values",
        };
        Self::invalid_field(field, error.to_string())
    }
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        tracing::error!(%error, "a request to the sandbox failed");
        Self::unavailable()
    }
}
