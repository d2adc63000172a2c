//! The stories: the real daemon, started as a user starts it, driven by foreign clients.
//!
//! One binary, a module for each story. Run them with `tests/run`, which installs the clients; a missing client fails the
//! test. Nothing here asserts a duration: waits are bounded only so that a failing test ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod access_lists;
mod agents;
mod autoconfiguration;
mod browser;
mod cancelled_clients;
mod clients;
mod clock_jump;
mod codes;
mod command_line;
mod compacted;
mod corpus;
mod crash_keeps_mail;
mod daemon;
mod delete_at_once;
mod described;
mod domain_history;
mod endpoint;
mod engine;
mod faults;
mod foreign_mail;
mod forged_from;
mod free_address;
mod generated_clients;
mod held;
mod imap_clients;
mod isolation;
mod keys_rotate;
mod keys_served;
mod log_in_log_out;
mod many_daemons;
mod moved_mail;
mod noisy_neighbours;
mod one_mailbox;
mod one_reading;
mod outside;
mod own_domain;
mod pages;
mod passed_on;
mod programs;
mod proxies;
mod published_sdk;
mod readme;
mod refusals;
mod reindexed;
mod rest;
mod return_path;
mod rude;
mod sealing_key;
mod serve;
#[cfg(feature = "ses")]
mod ses_serve;
mod set_aside;
mod start_and_stop;
mod store_copy;
mod strangers;
mod streams;
mod synchronised;
mod tidy;
mod two_way;
mod untrusted_mail;
mod verifiers;
mod watching;
mod webhooks;
mod words;
