//! The DNS as a client sees it: questions to recursive resolvers, and to the servers responsible for a zone.
//!
//! Invariant: nothing is kept between questions, so an answer is never older than the question; a server outside the
//! public ranges is asked only where the configuration names it or its network.
//! RFC 1035 §4.2 (UDP and TCP), RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 7766 (TCP).

pub mod authority;
mod delegation;
mod exchange;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/dns.rs"]
pub(crate) mod fuzz;
mod observe;
mod queries;
mod query_limiter;
mod resolver;
#[cfg(test)]
mod tests;

pub use resolver::{Addresses, Resolver, ResolverError};
