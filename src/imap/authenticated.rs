//! After log-in: commands one after the other, and responses about changes between them (RFC 3501 §3.2, §3.3).
//!
//! Invariant: an unexpected error is `NO [UNAVAILABLE]`, logged once, here.

use super::commands;
use super::context::{CommandError, Context, Enabled, End};
use super::updates::{push_all_changes, push_changes, push_expunged, push_highest_modseq};
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
        let limit = context.server.config.limits.imap_timeout.0;
        let next = async {
            if context.notified.is_some() {
                // Boxed: an idle session without NOTIFY does not pay for it.
                Box::pin(notify_until_input(context, wire)).await?;
            }
            wire.command(mode).await.map_err(|_| End::Gone)
        };
        let input = match timeout(limit, next).await {
            Err(_) => return End::bye(IDLE),
            Ok(Err(end)) => return end,
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

/// Sends what NOTIFY has asked for, until the client sends its next command.
async fn notify_until_input(context: &mut Context<'_>, wire: &mut Wire) -> Result<(), End> {
    while let Some(notified) = context.notified.as_deref() {
        // RFC 5465 §6.1: the client names messages by UID only, or EXPUNGE waits for its next command.
        let may_expunge = notified.selected.messages && !notified.selected.is_delayed;
        let changed = context.changed;
        tokio::select! {
            biased;
            input = wire.has_input() => return input.map_err(|_| End::Gone),
            () = changed.wait() => {}
        }
        let pushed = match push_changes(context, wire, may_expunge).await {
            Ok(_) => commands::notify::push(context, wire).await,
            Err(error) => Err(error),
        };
        pushed.or_else(|error| failed(context, "NOTIFY", error).map(drop))?;
        wire.flush().await.map_err(|error| connection_failed(context, &error))?;
    }
    Ok(())
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
    let always = matches!(body, Body::Noop | Body::Check | Body::Notify(_));
    let expunges = matches!(body, Body::Expunge(_) | Body::Move(_) | Body::Replace(_));
    let makes_names = matches!(
        body,
        Body::Create(_) | Body::Delete(_) | Body::Rename { .. } | Body::Subscribe(_) | Body::Unsubscribe(_)
    );
    // Another daemon may have changed the mailbox a moment ago: its event may come later.
    let is_behind = context.server.store.is_shared() && row.reads_messages;
    let caught_up = match is_behind {
        true => push_changes(context, wire, false).await.map(drop),
        false => Ok(()),
    };
    let done = match caught_up {
        Ok(()) if makes_names => match commands::notify::push(context, wire).await {
            Ok(()) => commands::dispatch(context, wire, (&tag, row), body, messages).await,
            Err(error) => Err(error),
        },
        Ok(()) => commands::dispatch(context, wire, (&tag, row), body, messages).await,
        Err(error) => Err(error),
    };
    let done = match done {
        Ok(reply) => {
            let pushed = match always || context.changed.take() {
                true if expunges => push_all_changes(context, wire, may_expunge).await,
                true => push_changes(context, wire, may_expunge).await,
                false => Ok(may_expunge && push_expunged(context, wire)),
            };
            push_highest_modseq(context, wire);
            match pushed {
                Ok(has_expunged) => Ok(with_highest_modseq(context, reply, has_expunged)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    let done = match done {
        Ok(reply) if makes_names => commands::notify::adopt_names(context).await.map(|()| reply),
        done => done,
    };
    let done = match done {
        Ok(reply) => commands::notify::push(context, wire).await.map(|()| reply),
        done => done,
    };
    let reply = match done {
        Ok(reply) => reply,
        Err(error) => failed(context, name, error)?,
    };
    Ok((Some(tag), reply))
}

/// The reply to a command that failed, or the end of the session.
fn failed(context: &Context<'_>, command: &'static str, error: CommandError) -> Result<Reply, End> {
    Ok(match error {
        CommandError::Wire(error) => return Err(connection_failed(context, &error)),
        CommandError::Interrupted(error) => {
            let inbox = &context.login.inbox;
            tracing::error!(%error, command, %inbox, "closing the connection: a response was sent in part");
            return Err(End::Gone);
        }
        CommandError::MailboxDeleted => return Err(End::bye("the selected mailbox has been deleted")),
        CommandError::IdleTimeout => return Err(End::bye(IDLE)),
        CommandError::Store(error @ StoreError::DiskLow(_)) => {
            tracing::info!(%error, command, inbox = %context.login.inbox, "an IMAP command was refused");
            Reply::no(NO_STORAGE).code(Code::Unavailable)
        }
        CommandError::Store(error) => unavailable(context, command, &error),
        CommandError::Work(error) => unavailable(context, command, &error),
    })
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
