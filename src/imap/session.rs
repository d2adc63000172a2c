//! After log-in: commands one after the other, and telling what changed between them.
//!
//! Invariant: the client hears of expunged messages only where RFC 3501 §7.4.1 allows it; a failure of ours is
//! `NO [UNAVAILABLE]`, logged once, here.

use super::commands::{self, Fault};
use super::listener::ImapServer;
use super::response::{Answer, bye, other};
use super::selected::SelectedMailbox;
use super::watch::Changed;
use super::wire::{Input, NO_MEMORY, Refusal, Wire};
use crate::auth::login::Login;
use crate::id::MailboxId;
use crate::resources::Owner;
use crate::store::StoreError;
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::core::Tag;
use imap_codec::imap_types::response::{Code, Data, Response};
use std::io;

/// Commands in a row that make no sense, before a client is sent away.
const MISTAKES: u32 = 50;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a word.
    Bye(&'static str),
    /// The client said LOGOUT, and it has been answered.
    LoggedOut,
    /// Nobody is there any more.
    Gone,
}

/// A client that has logged in.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub server: &'a ImapServer,
    pub login: &'a Login,
    pub changed: &'a Changed,
    /// The open mailbox.
    pub selected: Option<SelectedMailbox>,
    /// On whose behalf work is done.
    pub owner: Owner,
}

impl<'a> Session<'a> {
    pub fn new(server: &'a ImapServer, login: &'a Login, changed: &'a Changed) -> Self {
        Self { server, login, changed, selected: None, owner: Owner::Account(login.account.clone()) }
    }

    /// Does what the client asks for until one side ends it.
    pub async fn serve(&mut self, wire: &mut Wire) -> End {
        let time_limit = self.server.config.limits.imap_timeout.0;
        let mut mistakes = 0;
        loop {
            let input = match tokio::time::timeout(time_limit, wire.command()).await {
                Err(_) => return End::Bye("idle for too long"),
                Ok(Err(_)) | Ok(Ok(Input::End)) => return End::Gone,
                Ok(Ok(Input::Lost(words))) => return End::Bye(words),
                Ok(Ok(input)) => input,
            };
            // Boxed: an idle session does not pay for the largest command.
            match Box::pin(self.answer(wire, input, &mut mistakes)).await {
                Ok(None) if mistakes < MISTAKES => {}
                Ok(None) => return End::Bye("too many errors"),
                Ok(Some(end)) => return end,
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return End::Bye(NO_MEMORY),
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        tracing::info!(listener = "imap", inbox = %self.login.inbox, %error, "closing the connection");
                    }
                    return End::Gone;
                }
            }
        }
    }

    async fn answer(&mut self, wire: &mut Wire, input: Input, mistakes: &mut u32) -> std::io::Result<Option<End>> {
        let (tag, body, message) = match input {
            Input::Command(command, message) => {
                let Command { tag, body } = *command;
                (Some(tag), body, message)
            }
            Input::Unreadable(tag, bytes) => match commands::search::by_hand(&bytes) {
                Some(body) => (tag, body, None),
                None => {
                    return self.close_command(wire, tag, Answer::bad("this command cannot be read"), mistakes).await;
                }
            },
            Input::Refused(tag, refusal) => return self.close_command(wire, tag, refused(refusal), mistakes).await,
            Input::Lost(_) | Input::End => return Ok(Some(End::Gone)),
        };
        if matches!(body, CommandBody::Logout) {
            wire.push(&bye("good-bye"));
            wire.push(&Answer::ok("done").tagged(tag));
            return Ok(Some(End::LoggedOut));
        }
        let may_expunge = !is_by_sequence_number(&body);
        let always = matches!(body, CommandBody::Noop | CommandBody::Check);
        let name = body.name();
        let done = match commands::dispatch(self, wire, body, message).await {
            Ok(answer) if always || self.changed.take() => self.tell(wire, may_expunge).await.map(|()| answer),
            Ok(answer) => {
                self.tell_expunged(wire, may_expunge);
                Ok(answer)
            }
            Err(fault) => Err(fault),
        };
        match done {
            Ok(answer) => self.close_command(wire, tag, answer, mistakes).await,
            Err(Fault::Wire(error)) => Err(error),
            Err(Fault::MailboxGone) => Ok(Some(End::Bye("the mailbox has been deleted"))),
            Err(Fault::Silent) => Ok(Some(End::Bye("idle for too long"))),
            Err(Fault::Store(error @ StoreError::DiskLow(_))) => {
                tracing::info!(%error, command = name, inbox = %self.login.inbox, "an IMAP command was refused");
                let answer = Answer::no("insufficient system storage, try again later").code(other("UNAVAILABLE"));
                self.close_command(wire, tag, answer, mistakes).await
            }
            Err(Fault::Store(error)) => self.unavailable(wire, tag, name, &error, mistakes).await,
            Err(Fault::Work(error)) => self.unavailable(wire, tag, name, &error, mistakes).await,
        }
    }

    async fn unavailable(
        &self,
        wire: &mut Wire,
        tag: Option<Tag<'static>>,
        command: &str,
        error: &(dyn std::error::Error + Sync),
        mistakes: &mut u32,
    ) -> std::io::Result<Option<End>> {
        tracing::error!(%error, command, inbox = %self.login.inbox, "an IMAP command failed");
        let answer = Answer::no("temporary failure, try again later").code(other("UNAVAILABLE"));
        self.close_command(wire, tag, answer, mistakes).await
    }

    async fn close_command(
        &self,
        wire: &mut Wire,
        tag: Option<Tag<'static>>,
        answer: Answer,
        mistakes: &mut u32,
    ) -> std::io::Result<Option<End>> {
        if let Some(reply) = answer.refusal() {
            tracing::info!(listener = "imap", inbox = %self.login.inbox, reply, "refused");
        }
        *mistakes = if answer.is_bad() { *mistakes + 1 } else { 0 };
        wire.push(&answer.tagged(tag));
        wire.flush().await?;
        Ok(None)
    }

    /// Tells what changed in the open mailbox.
    pub async fn tell(&mut self, wire: &mut Wire, may_expunge: bool) -> Result<(), Fault> {
        self.changed.take();
        let Some(view) = &mut self.selected else { return Ok(()) };
        let (store, inbox) = (&self.server.store, &self.login.inbox);
        let changes = store.mailbox_changes(inbox, view.mailbox, view.seen).await?.ok_or(Fault::MailboxGone)?;
        // RFC 3501 §2.3.2: what a session that only reads was shown as recent stays so for the next one.
        let mut recent = changes.recent_from..changes.seen.uid_next;
        if !view.read_only && !recent.is_empty() && view.has_arrivals(&changes) {
            recent = store.claim_recent(inbox, view.mailbox, recent.end).await;
        }
        let news = view.update(changes, &recent);
        for uid in news.changed {
            let (Some(sequence), Some(marks)) = (view.sequence_number(uid), view.marks(uid)) else { continue };
            commands::fetch::push_flags(wire, view, sequence, &marks);
            wire.flush_batch().await?;
        }
        self.tell_expunged(wire, may_expunge);
        if let (Some(_), Some(view)) = (news.exists, &self.selected) {
            wire.push(&Response::Data(Data::Exists(view.exists())));
            wire.push(&Response::Data(Data::Recent(view.recent())));
        }
        Ok(())
    }

    fn tell_expunged(&mut self, wire: &mut Wire, may_expunge: bool) {
        let Some(view) = &mut self.selected else { return };
        if may_expunge {
            for sequence in view.take_expunged() {
                if let Ok(data) = Data::expunge(sequence) {
                    wire.push(&Response::Data(data));
                }
            }
        }
    }

    /// This session has changed a mailbox. The event may take a moment; the client expects to hear of it with this command.
    pub fn has_changed(&self, mailbox: MailboxId) {
        self.changed.set_for(mailbox);
    }
}

/// FETCH, STORE and SEARCH count by sequence numbers, which must not change under them.
fn is_by_sequence_number(body: &CommandBody<'_>) -> bool {
    matches!(
        body,
        CommandBody::Fetch { uid: false, .. }
            | CommandBody::Store { uid: false, .. }
            | CommandBody::Search { uid: false, .. }
    )
}

/// The answer to a command that was not looked at.
pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::CommandTooLong => Answer::bad("this command is too long").code(Code::TooBig),
        Refusal::MessageTooLong => Answer::no("this message is too long").code(Code::TooBig),
        Refusal::NoRoom => Answer::no("no room for this message now, try again later").code(other("UNAVAILABLE")),
        Refusal::BareLineFeed => Answer::bad("lines end in CRLF"),
    }
}
