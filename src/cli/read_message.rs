//! `inboxlayer read-message`: parses a message from standard input as every listener would, and prints nothing. The
//! daemon runs it at startup on messages that were being parsed when the last one ended.

use super::failure::Failure;
use crate::imap;
use crate::message::{self, ReadLimits};
use clap::Args;
use std::io::Read;
use std::process::ExitCode;

/// The stack size of the daemon's parsing threads.
const STACK: usize = 2 * 1024 * 1024;

/// `[limits]` of the daemon.
#[derive(Debug, Args)]
pub(super) struct ReadMessageArgs {
    nesting: usize,
    parts: usize,
    header_size: usize,
    fields: usize,
}

pub(super) fn run(args: &ReadMessageArgs) -> Result<ExitCode, Failure> {
    let mut raw = Vec::new();
    std::io::stdin().lock().read_to_end(&mut raw)?;
    let ReadMessageArgs { nesting, parts, header_size, fields } = *args;
    let limits = ReadLimits { nesting, parts, header_size, fields };
    let parser = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let (header, body) = message::split(&raw);
        imap::content::read_all(header, body, &limits);
    })?;
    // A panic is not an abort: the daemon catches it.
    let _ = parser.join();
    Ok(ExitCode::SUCCESS)
}
