//! The arguments of commands, a file for each family.

pub mod append;
pub mod fetch;
pub mod list;
pub mod metadata;
pub mod notify;
pub mod quota;
pub mod search;
pub mod search_keys;
pub mod select;
pub mod store;
