//! DNS client: queries to recursive resolvers and to authoritative servers. Invariant: nothing is cached between
//! queries; a server outside the public ranges is queried only if the configuration lists it or its network. RFC 1035
//! §4.2 (UDP and TCP), RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 7766 (TCP).

pub mod authority;
mod delegation;
mod exchange;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/dns.rs"]
pub(crate) mod fuzz;
mod observe;
mod progress;
mod queries;
mod query_limiter;
mod resolver;
#[cfg(test)]
mod tests;

pub use progress::{Counts, Progress};
pub use resolver::{Addresses, Resolver, ResolverError};
