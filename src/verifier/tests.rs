//! The verifier against real DNS servers.
