//! The published Python SDK, synchronous and asynchronous, drives the API; every answer is validated against the contract that
//! it carries.

use crate::clients::python;
use crate::daemon::Daemon;

#[test]
fn accounts_inboxes_and_domains_are_as_the_published_contract_says() {
    let daemon = Daemon::start();
    python("published_account.py", &[daemon.ready_file().to_str().unwrap()], b"").succeeded();
}

#[test]
fn emails_drafts_labels_and_threads_are_as_the_published_contract_says() {
    let daemon = Daemon::start();
    python("published_mail.py", &[daemon.ready_file().to_str().unwrap()], b"").succeeded();
}

#[test]
fn a_stream_is_read_by_the_published_parser_and_goes_on_from_where_it_was_cut() {
    let daemon = Daemon::start();
    python("published_stream.py", &[daemon.ready_file().to_str().unwrap()], b"").succeeded();
}
