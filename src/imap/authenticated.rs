//! After log-in: commands one after the other, and responses about changes between them (RFC 3501 §3.2, §3.3).
//!
//! Invariant: an unexpected error is `NO [UNAVAILABLE]`, logged once, here.

use super::commands;
use super::context::{CommandError, Context, Enabled, End};
use super::updates::{push_changes, push_expunged, push_highest_modseq};
use super::wire::code::Code;
use super::wire::command::{Body, Command};
use super::wire::frame::Tag;
use super::wire::parser::Mode;
use super::wire::response::{NO_STORAGE, Reply};
use super::wire::{Input, NO_MEMORY, Wire};
use crate::store::StoreError;
use std::io;
use tokio::time::timeout;

/// BAD replies in a row that end a session.
const ERRORS: u32 = 50;
const IDLE: &str = "idle timeout, closing connection";

/// Runs commands until the session ends.
pub async fn serve(context: &mut Context<'_>, wire: &mut Wire) -> End {
    let mut errors = 0;
    loop {
        let mode = Mode { is_authenticated: true, utf8: context.enabled.takes_utf8() };
        let input = match timeout(context.server.config.limits.imap_timeout.0, wire.command(mode)).await {
            Err(_) => return End::bye(IDLE),
            Ok(Err(_)) => return End::Gone,
            Ok(Ok(input)) => input,
        };
        let asks_to_compress =
            matches!(&input, Input::Command(command, _) if matches!(command.body, Body::Compress(_)));
        // Boxed: an idle session does not pay for the largest command.
        let (tag, reply) = match Box::pin(run(context, wire, input)).await {
            Ok(done) => done,
            Err(end) => return end,
        };
        errors = if reply.is_bad() { errors + 1 } else { 0 };
        if let Some(text) = reply.refusal() {
            tracing::info!(listener = "imap", inbox = %context.login.inbox, reply = text, "refused");
        }
        wire.reply(tag.as_ref().map(Tag::as_str), &reply);
        if let Err(error) = wire.flush().await {
            return connection_failed(context, &error);
        }
        if asks_to_compress && reply.is_ok() {
            wire.compress();
        }
        if errors >= ERRORS {
            return End::bye("too many errors, closing connection");
        }
    }
}

/// Runs one command: its tagged response, or the end of the session.
async fn run(context: &mut Context<'_>, wire: &mut Wire, input: Input) -> Result<(Option<Tag>, Reply), End> {
    let (tag, row, body, messages) = match input {
        Input::Command(command, messages) => {
            let Command { tag, row, body } = *command;
            (tag, row, body, messages)
        }
        Input::Unreadable(tag, error) => return Ok((tag, Reply::bad(error.to_string()))),
        Input::Refused(tag, refusal) => return Ok((tag, refusal.into())),
        Input::Lost(text) => return Err(End::bye(text)),
        Input::End => return Err(End::Gone),
    };
    if matches!(body, Body::Logout) {
        wire.writer().bye("logging out");
        wire.reply(Some(tag.as_str()), &Reply::completed());
        return Err(End::LoggedOut);
    }
    let (name, may_expunge) = (row.name, row.may_expunge && !searches_sequence_numbers(&body));
    let always = matches!(body, Body::Noop | Body::Check);
    // Another daemon may have changed the mailbox a moment ago: its event may come later.
    let is_behind = context.server.store.is_shared() && row.reads_messages;
    let caught_up = match is_behind {
        true => push_changes(context, wire, false).await.map(drop),
        false => Ok(()),
    };
    let done = match caught_up {
        Ok(()) => commands::dispatch(context, wire, (&tag, row), body, messages).await,
        Err(error) => Err(error),
    };
    let done = match done {
        Ok(reply) => {
            let has_expunged = match always || context.changed.take() {
                true => push_changes(context, wire, may_expunge).await,
                false => Ok(may_expunge && push_expunged(context, wire)),
            };
            push_highest_modseq(context, wire);
            has_expunged.map(|has_expunged| with_highest_modseq(context, reply, has_expunged))
        }
        Err(error) => Err(error),
    };
    let reply = match done {
        Ok(reply) => reply,
        Err(CommandError::Wire(error)) => return Err(connection_failed(context, &error)),
        Err(CommandError::Interrupted(error)) => {
            let inbox = &context.login.inbox;
            tracing::error!(%error, command = name, %inbox, "closing the connection: a response was sent in part");
            return Err(End::Gone);
        }
        Err(CommandError::MailboxDeleted) => return Err(End::bye("the selected mailbox has been deleted")),
        Err(CommandError::IdleTimeout) => return Err(End::bye(IDLE)),
        Err(CommandError::Store(error @ StoreError::DiskLow(_))) => {
            tracing::info!(%error, command = name, inbox = %context.login.inbox, "an IMAP command was refused");
            Reply::no(NO_STORAGE).code(Code::Unavailable)
        }
        Err(CommandError::Store(error)) => unavailable(context, name, &error),
        Err(CommandError::Work(error)) => unavailable(context, name, &error),
    };
    Ok((Some(tag), reply))
}

/// Whether a search names messages by sequence number, which its results must not change (RFC 7162 §3.2.10.2).
fn searches_sequence_numbers(body: &Body) -> bool {
    match body {
        Body::Search(search) => search.key.names_sequence_numbers(),
        Body::Sort(sort) => sort.key.names_sequence_numbers(),
        Body::Thread(thread) => thread.key.names_sequence_numbers(),
        _ => false,
    }
}

/// With HIGHESTMODSEQ, if VANISHED was sent (RFC 7162 §3.2.7, §3.2.9) and there is no other code.
fn with_highest_modseq(context: &Context<'_>, reply: Reply, has_expunged: bool) -> Reply {
    match &context.selected {
        Some(selected) if has_expunged && reply.is_plain_ok() && context.enabled.contains(Enabled::QRESYNC) => {
            reply.code(Code::HighestModSeq(selected.highest_modseq()))
        }
        _ => reply,
    }
}

fn unavailable(context: &Context<'_>, command: &str, error: &(dyn std::error::Error + Sync)) -> Reply {
    tracing::error!(%error, command, inbox = %context.login.inbox, "an IMAP command failed");
    Reply::no("local error, try again later").code(Code::Unavailable)
}

fn connection_failed(context: &Context<'_>, error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::OutOfMemory => return End::bye(NO_MEMORY),
        io::ErrorKind::TimedOut => {
            tracing::info!(listener = "imap", inbox = %context.login.inbox, %error, "closing the connection");
        }
        _ => {}
    }
    End::Gone
}
