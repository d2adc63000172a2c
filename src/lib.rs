//! Inboxlayer: mailboxes on your own domain, over REST, SMTP and IMAP, in one daemon.
//!
//! This page is the map. Modules form layers; imports only go down, and the servers never import one another.
//!
//! | layer | modules | may know |
//! | --- | --- | --- |
//! | 0 words | [`clock`], [`id`], [`address`], [`envelope`], [`secret`] | nothing of the world: no I/O, no tokio |
//! | 1 rules | [`verification`], [`identity`], [`message`], [`access`] | layer 0; everything that is decided is decided here, without a socket |
//! | 2 outside world | [`config`], [`store`], [`events`], [`dns`], [`auth`], [`dkim`], [`net`], [`resources`], [`rates`], [`jobs`], [`smtp_client`], [`in_process`] | files, sockets, SQL |
//! | 3 services | [`mailbox`], [`registry`], [`verifier`], [`submission`], [`inbound`], [`queue`], [`rotation`], [`reading`], [`search`], [`views`], [`public_events`], [`webhooks`] | layers 0 to 2 |
//! | 4 servers | [`smtp`], [`imap`], [`http`], [`mcp`], [`web`] | a protocol each, and the services |
//! | top | [`app`], [`sandbox`], [`cli`] | all of it: opens, binds, starts, stops |

#![cfg_attr(
    any(test, fuzzing),
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "fuzz targets are tests, and built without `test` too; all else is linted without either"
    )
)]

// Layer 0: words.
pub mod address;
pub mod clock;
pub mod envelope;
pub mod id;
pub mod secret;

// Layer 1: rules.
pub mod access;
pub mod identity;
pub mod message;
pub mod verification;

// Layer 2: the outside world.
pub mod auth;
pub mod config;
pub mod dkim;
pub mod dns;
pub mod events;
pub(crate) mod in_process;
pub(crate) mod jobs;
pub mod net;
pub(crate) mod rates;
pub(crate) mod resources;
pub mod smtp_client;
pub mod store;

// Layer 3: services.
pub mod inbound;
pub(crate) mod mailbox;
pub(crate) mod public_events;
pub mod queue;
pub mod reading;
pub mod registry;
pub mod rotation;
pub(crate) mod search;
pub mod submission;
pub mod verifier;
pub(crate) mod views;
pub mod webhooks;

// Layer 4: servers.
pub mod http;
pub mod imap;
pub mod mcp;
pub mod smtp;
pub mod web;

// Top: what puts it together.
pub mod app;
pub mod cli;
pub mod sandbox;

#[cfg(all(test, feature = "cluster"))]
#[path = "../tests/stories/free_address.rs"]
mod free_address;

// Reachable for the coverage-guided fuzz targets alone.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/mod.rs"]
pub mod fuzz;
