//! A session as a sans-I/O machine of owned states: [`Session::step`] takes an event and returns an action.
//!
//! Invariant: [`Action::Store`] needs a client and recipients, which only the server makes. STARTTLS begins a new session:
//! nothing received in plaintext is kept.
//! RFC 5321 §4.1.4 (order of commands), RFC 3207 §4.2 (STARTTLS), RFC 4954 §4 (AUTH).

use super::codec::chunks::ChunkReceiver;
use super::codec::data::Outcome;
use super::codec::line::Line;
use super::codec::reply;
use super::codec::request::{self, Command, Path};
use super::counts::{Cost, Counts};
use super::handler::{Addressee, Mail, Rules, SmtpHandler};
use crate::address::{Address, AddressError, ReversePath};
use crate::auth::sasl::{self, Credentials, Exchange, Mechanism, SaslError, Step};
use crate::auth::session::AuthSession;
use crate::envelope::{MailParameters, RecipientParameters, Recipients, Reply};
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::resources::spool::ClientSpool;
use std::net::IpAddr;
use std::sync::Arc;

/// A smaller chunk that is not the last counts as an idle command.
const SMALL_CHUNK: usize = 512;

/// The client's EHLO or HELO.
#[derive(Clone, Debug)]
struct Hello {
    name: String,
    extended: bool,
}

/// After MAIL.
struct Transaction<D: SmtpHandler> {
    client: D::Client,
    mail_from: ReversePath,
    /// As announced (RFC 1870), or 0.
    size: usize,
    parameters: MailParameters,
    recipients: Vec<Addressee<D::Recipient>>,
}

/// After DATA.
struct Envelope<D: SmtpHandler> {
    client: D::Client,
    mail_from: ReversePath,
    parameters: MailParameters,
    recipients: Recipients<Addressee<D::Recipient>>,
}

enum Phase<D: SmtpHandler> {
    /// Before EHLO, or before log-in.
    Initial,
    /// In an AUTH exchange.
    Exchanging(Mechanism, Exchange),
    /// Credentials are checked.
    LoggingIn(Mechanism),
    /// They are wrong, and the mechanism's challenge says so: this is the reply to its response (RFC 7628 §3.2.3).
    Refused(Reply),
    /// Between messages.
    Ready(D::Client),
    /// After MAIL.
    Open(Transaction<D>),
    /// A recipient is looked up.
    Resolving(Transaction<D>, RecipientParameters),
    /// The message, or a chunk of it, is received.
    Receiving(Envelope<D>),
    /// After a BDAT that was not the last.
    Chunked(Envelope<D>, Box<ChunkReceiver>),
    /// The message is stored.
    Storing,
    /// The session has ended, or TLS begins.
    Over,
}

/// An event for the session.
pub(super) enum Input<D: SmtpHandler> {
    Line(Line),
    /// After [`Action::LogIn`].
    LoggedIn(Result<D::Client, Reply>),
    /// After [`Action::Resolve`].
    Resolved(Result<D::Recipient, Reply>),
    /// After [`Action::Receive`], or [`Action::Chunk`] with the last chunk or one that refuses the message.
    Received(Outcome),
    /// After another [`Action::Chunk`], of this number of octets.
    Chunk(Box<ChunkReceiver>, usize),
    /// After [`Action::Store`].
    Stored(D::Client, Reply),
}

/// What the connection has to do.
pub(super) enum Action<D: SmtpHandler> {
    Reply(Reply),
    /// Send these lines with code 250.
    Hello(Vec<String>),
    /// Send this, drop the input behind the command, begin TLS, and continue with [`Session::new`].
    StartTls(Reply),
    LogIn(Credentials),
    /// Look up a recipient for a message of this announced size.
    Resolve(Address, usize),
    /// Send this, then receive a message.
    Receive(Reply),
    /// Receive a chunk.
    Chunk {
        receiver: Box<ChunkReceiver>,
        octets: usize,
        last: bool,
    },
    /// Drop this number of octets, then send this.
    Discard(usize, Reply),
    Store(D::Client, Box<Mail<D::Recipient>>),
    /// Send this and close.
    Close(Reply),
}

/// A session with one client.
pub(super) struct Session<D: SmtpHandler> {
    rules: Arc<Rules>,
    tls: bool,
    spool: ClientSpool,
    hello: Option<Hello>,
    counts: Counts,
    phase: Phase<D>,
}

impl<D: SmtpHandler> Session<D> {
    pub(super) fn new(rules: Arc<Rules>, tls: bool, spool: ClientSpool) -> Self {
        Self { rules, tls, spool, hello: None, counts: Counts::default(), phase: Phase::Initial }
    }

    /// The greeting (RFC 5321 §4.2: no enhanced code).
    pub(super) fn greeting(&self) -> Reply {
        Reply::plain(220, format!("{} ESMTP Inboxlayer", self.rules.hostname))
    }

    /// From MAIL to the reply to DATA: a shutdown waits for its end.
    pub(super) fn in_transaction(&self) -> bool {
        matches!(
            self.phase,
            Phase::Open(_) | Phase::Resolving(..) | Phase::Receiving(_) | Phase::Chunked(..) | Phase::Storing
        )
    }

    /// Whether the next line belongs to an AUTH exchange.
    pub(super) fn in_exchange(&self) -> bool {
        matches!(self.phase, Phase::Exchanging(..) | Phase::Refused(_))
    }

    pub(super) fn is_logged_in(&self) -> bool {
        D::OFFERS_AUTH
            && matches!(
                self.phase,
                Phase::Ready(_) | Phase::Open(_) | Phase::Resolving(..) | Phase::Receiving(_) | Phase::Chunked(..)
            )
    }

    /// The session of a client that has logged in.
    pub(super) fn auth_session(&mut self) -> Option<&mut AuthSession> {
        let client = match &mut self.phase {
            Phase::Ready(client) => client,
            Phase::Open(transaction) | Phase::Resolving(transaction, _) => &mut transaction.client,
            Phase::Receiving(envelope) | Phase::Chunked(envelope, _) => &mut envelope.client,
            _ => return None,
        };
        D::session(client)
    }

    pub(super) fn client(&self) -> Option<&D::Client> {
        match &self.phase {
            Phase::Ready(client) => Some(client),
            Phase::Open(transaction) | Phase::Resolving(transaction, _) => Some(&transaction.client),
            Phase::Receiving(envelope) | Phase::Chunked(envelope, _) => Some(&envelope.client),
            _ => None,
        }
    }

    /// Whose share look-ups count against: the account that has logged in, or the network of `peer`.
    pub(super) fn owner(&self, peer: IpAddr) -> Owner {
        match self.client().and_then(D::account) {
            Some(account) => Owner::Account(account.clone()),
            None => Owner::Network(network_of(peer)),
        }
    }

    /// The share that incoming messages count against.
    pub(super) fn spool(&self) -> ClientSpool {
        self.spool_of(self.client())
    }

    /// The same for a client in an [`Action::Store`].
    pub(super) fn spool_of(&self, client: Option<&D::Client>) -> ClientSpool {
        match client.and_then(D::account) {
            Some(account) => self.spool.logged_in(account),
            None => self.spool.clone(),
        }
    }

    /// The envelope sender of the current transaction.
    pub(super) fn mail_from(&self) -> Option<&ReversePath> {
        match &self.phase {
            Phase::Open(transaction) | Phase::Resolving(transaction, _) => Some(&transaction.mail_from),
            Phase::Receiving(envelope) | Phase::Chunked(envelope, _) => Some(&envelope.mail_from),
            _ => None,
        }
    }

    pub(super) fn step(mut self, input: Input<D>) -> (Self, Action<D>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let action = match (phase, input) {
            (Phase::Exchanging(mechanism, exchange), Input::Line(Line::Text(line))) => {
                self.sasl(mechanism, exchange.respond(&line))
            }
            // A line that is too long or ends with a bare LF ends the exchange.
            (Phase::Exchanging(..), Input::Line(line)) => self.line(Phase::Initial, line),
            (Phase::Refused(reply), Input::Line(_)) => self.charge(Phase::Initial, Cost::FailedLogin, reply),
            (phase @ (Phase::Initial | Phase::Ready(_) | Phase::Open(_) | Phase::Chunked(..)), Input::Line(line)) => {
                self.line(phase, line)
            }
            (Phase::LoggingIn(_), Input::LoggedIn(Ok(client))) => {
                self.go(Phase::Ready(client), Action::Reply(reply::authenticated()))
            }
            (Phase::LoggingIn(mechanism), Input::LoggedIn(Err(refused))) => {
                match mechanism.refusal().filter(|_| refused.is_permanent()) {
                    Some(text) => self.go(Phase::Refused(refused), Action::Reply(reply::challenge(text))),
                    None => self.charge(Phase::Initial, Cost::FailedLogin, refused),
                }
            }
            (Phase::Resolving(mut transaction, parameters), Input::Resolved(Ok(recipient))) => {
                transaction.recipients.push(Addressee { recipient, parameters });
                self.go(Phase::Open(transaction), Action::Reply(reply::recipient_ok()))
            }
            (Phase::Resolving(transaction, _), Input::Resolved(Err(reply))) => {
                self.charge(Phase::Open(transaction), Cost::Refused, reply)
            }
            (Phase::Receiving(envelope), Input::Received(outcome)) => self.received(envelope, outcome),
            (Phase::Receiving(envelope), Input::Chunk(receiver, octets)) => {
                self.go(Phase::Chunked(envelope, receiver), Action::Reply(reply::chunk_ok(octets)))
            }
            // The log-in has ended, and the message is not stored.
            (Phase::Storing, Input::Stored(_, reply)) if reply.code == 421 => Action::Close(reply),
            (Phase::Storing, Input::Stored(client, reply)) => {
                if reply.is_positive() {
                    self.counts.message_accepted();
                    self.go(Phase::Ready(client), Action::Reply(reply))
                } else {
                    self.charge(Phase::Ready(client), Cost::Refused, reply)
                }
            }
            // An event that does not belong to the state: a bug in the connection's loop.
            _ => Action::Close(reply::internal_error()),
        };
        (self, action)
    }

    fn go(&mut self, phase: Phase<D>, action: Action<D>) -> Action<D> {
        self.phase = phase;
        action
    }

    /// Replies and counts the cost; closes the connection at a limit.
    fn charge(&mut self, phase: Phase<D>, cost: Cost, reply: Reply) -> Action<D> {
        match self.counts.add(cost) {
            Ok(()) => self.go(phase, Action::Reply(reply)),
            Err(reply) => Action::Close(reply),
        }
    }

    fn line(&mut self, phase: Phase<D>, line: Line) -> Action<D> {
        let text = match line {
            Line::Text(text) => text,
            Line::TooLong => return self.charge(phase, Cost::Wrong, reply::line_too_long()),
            Line::BareLineFeed => return self.charge(phase, Cost::Wrong, reply::bare_line_feed()),
        };
        if request::is_http(&text) {
            return Action::Close(reply::not_http());
        }
        match request::parse(&text) {
            Ok(command) => self.command(phase, command),
            // Where the next command begins is not known.
            Err(reply) if reply == reply::bad_chunk() => Action::Close(reply),
            Err(reply) => self.charge(phase, Cost::Wrong, reply),
        }
    }

    fn command(&mut self, phase: Phase<D>, command: Command) -> Action<D> {
        match (command, phase) {
            (Command::Quit, _) => Action::Close(reply::bye()),
            (Command::Hello { name, extended }, phase) => self.hello(phase, Hello { name, extended }),
            (Command::Noop, phase) => self.charge(phase, Cost::Idle, reply::ok()),
            (Command::Vrfy, phase) => self.charge(phase, Cost::Idle, reply::cannot_verify()),
            (Command::Help, phase) => self.charge(phase, Cost::Idle, reply::help()),
            (Command::Rset, Phase::Open(Transaction { client, .. }) | Phase::Chunked(Envelope { client, .. }, _)) => {
                self.charge(Phase::Ready(client), Cost::Idle, reply::ok())
            }
            (Command::Rset, phase) => self.charge(phase, Cost::Idle, reply::ok()),
            (Command::StartTls, phase) => self.start_tls(phase),
            (Command::Auth { .. }, phase) if !D::OFFERS_AUTH => {
                self.charge(phase, Cost::Wrong, reply::not_implemented())
            }
            (Command::Auth { .. }, phase) if !self.tls => self.charge(phase, Cost::Wrong, reply::auth_needs_tls()),
            (Command::Auth { .. }, phase) if self.hello.is_none() => {
                self.charge(phase, Cost::Wrong, reply::hello_first())
            }
            (Command::Auth { mechanism, initial }, Phase::Initial) => {
                self.sasl(mechanism, sasl::begin(mechanism, initial.as_deref()))
            }
            (Command::Auth { .. }, phase) => self.charge(phase, Cost::Wrong, reply::already_authenticated()),
            // What follows is no line.
            (Command::Bdat { .. }, Phase::Initial) => Action::Close(reply::chunk_before_mail()),
            (_, Phase::Initial) if D::OFFERS_AUTH && !self.tls => {
                self.charge(Phase::Initial, Cost::Wrong, reply::tls_required())
            }
            (_, Phase::Initial) if self.hello.is_none() => {
                self.charge(Phase::Initial, Cost::Wrong, reply::hello_first())
            }
            (_, Phase::Initial) => self.charge(Phase::Initial, Cost::Wrong, reply::login_required()),
            (Command::Bdat { octets, last }, phase) => self.bdat(phase, octets, last),
            (Command::Mail { .. } | Command::Rcpt { .. } | Command::Data, phase @ Phase::Chunked(..)) => {
                self.charge(phase, Cost::Wrong, reply::chunks_begun())
            }
            (command, phase) if !D::OFFERS_DSN && command.has_dsn() => {
                self.charge(phase, Cost::Wrong, reply::unknown_parameter())
            }
            (Command::Mail { from, size, parameters }, Phase::Ready(client)) => {
                self.mail(client, from, size, parameters)
            }
            (Command::Mail { .. }, phase) => self.charge(phase, Cost::Wrong, reply::nested_mail()),
            (Command::Rcpt { to, parameters }, Phase::Open(transaction)) => self.rcpt(transaction, to, parameters),
            (Command::Rcpt { .. }, phase) => self.charge(phase, Cost::Wrong, reply::mail_first()),
            (Command::Data, Phase::Open(transaction)) => self.data(transaction),
            (Command::Data, phase) => self.charge(phase, Cost::Wrong, reply::mail_first()),
        }
    }

    /// EHLO and HELO also abort a transaction (RFC 5321 §4.1.4).
    fn hello(&mut self, phase: Phase<D>, hello: Hello) -> Action<D> {
        if let Err(reply) = self.counts.add(Cost::Idle) {
            return Action::Close(reply);
        }
        let mut lines = vec![self.rules.hostname.to_string()];
        if hello.extended {
            lines.extend(["PIPELINING".into(), format!("SIZE {}", self.rules.message_size)]);
            if !self.tls {
                lines.push("STARTTLS".into());
            }
            if D::OFFERS_AUTH && self.tls {
                lines.push("AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2".into());
            }
            lines.extend(["8BITMIME", "CHUNKING"].map(Into::into));
            if D::OFFERS_DSN {
                lines.push("DSN".into());
            }
            lines.push("ENHANCEDSTATUSCODES".into());
            lines.extend([format!("LIMITS RCPTMAX={}", self.rules.recipients), "HELP".into()]);
        }
        self.hello = Some(hello);
        let phase = match phase {
            Phase::Ready(client)
            | Phase::Open(Transaction { client, .. })
            | Phase::Chunked(Envelope { client, .. }, _) => Phase::Ready(client),
            _ => D::anonymous().map_or(Phase::Initial, Phase::Ready),
        };
        self.go(phase, Action::Hello(lines))
    }

    fn start_tls(&mut self, phase: Phase<D>) -> Action<D> {
        if self.tls {
            return self.charge(phase, Cost::Wrong, reply::tls_active());
        }
        match phase {
            Phase::Open(_) | Phase::Chunked(..) => self.charge(phase, Cost::Wrong, reply::not_in_transaction()),
            _ => Action::StartTls(reply::ready_for_tls()),
        }
    }

    fn sasl(&mut self, mechanism: Mechanism, step: Step) -> Action<D> {
        match step {
            Step::Challenge(exchange, text) => {
                self.go(Phase::Exchanging(mechanism, exchange), Action::Reply(reply::challenge(text)))
            }
            Step::Credentials(credentials) => self.go(Phase::LoggingIn(mechanism), Action::LogIn(credentials)),
            Step::Failed(error) => {
                let cost = if error == SaslError::OtherIdentity { Cost::FailedLogin } else { Cost::Wrong };
                self.charge(Phase::Initial, cost, reply::sasl_failed(error))
            }
        }
    }

    fn mail(
        &mut self,
        client: D::Client,
        from: Result<ReversePath, AddressError>,
        size: usize,
        parameters: MailParameters,
    ) -> Action<D> {
        if size > self.rules.message_size {
            return self.charge(Phase::Ready(client), Cost::Refused, reply::too_big());
        }
        if self.spool_of(Some(&client)).has_capacity(size).is_err() {
            return self.charge(Phase::Ready(client), Cost::Refused, reply::no_storage());
        }
        match D::sender(from) {
            Ok(mail_from) => {
                let transaction = Transaction { client, mail_from, size, parameters, recipients: Vec::new() };
                self.go(Phase::Open(transaction), Action::Reply(reply::sender_ok()))
            }
            Err(reply) => self.charge(Phase::Ready(client), Cost::Wrong, reply),
        }
    }

    fn rcpt(&mut self, transaction: Transaction<D>, to: Path, parameters: RecipientParameters) -> Action<D> {
        if transaction.recipients.len() >= self.rules.recipients {
            return self.charge(Phase::Open(transaction), Cost::Refused, reply::too_many_recipients());
        }
        let address = to.address(&self.rules.platform);
        let size = transaction.size;
        self.go(Phase::Resolving(transaction, parameters), Action::Resolve(address, size))
    }

    fn data(&mut self, transaction: Transaction<D>) -> Action<D> {
        let Transaction { client, mail_from, size, parameters, recipients } = transaction;
        match Recipients::new(recipients) {
            Some(recipients) => self.go(
                Phase::Receiving(Envelope { client, mail_from, parameters, recipients }),
                Action::Receive(reply::send_data()),
            ),
            None => {
                let still_open = Transaction { client, mail_from, size, parameters, recipients: Vec::new() };
                self.charge(Phase::Open(still_open), Cost::Wrong, reply::recipient_first())
            }
        }
    }

    /// The octets of a chunk are read, whether they are wanted or not (RFC 3030 §2).
    fn bdat(&mut self, phase: Phase<D>, octets: usize, last: bool) -> Action<D> {
        if octets > self.rules.message_size {
            return Action::Close(reply::too_big());
        }
        let (envelope, receiver) = match phase {
            Phase::Chunked(envelope, receiver) => (envelope, receiver),
            Phase::Open(Transaction { client, mail_from, size, parameters, recipients }) => {
                match Recipients::new(recipients) {
                    Some(recipients) => {
                        let message = self.spool_of(Some(&client)).begin();
                        let receiver = ChunkReceiver::new(self.rules.message_size, D::BARE_LF, message);
                        (Envelope { client, mail_from, parameters, recipients }, Box::new(receiver))
                    }
                    None => {
                        let still_open = Transaction { client, mail_from, size, parameters, recipients: Vec::new() };
                        return self.discard(Phase::Open(still_open), octets, reply::recipient_first());
                    }
                }
            }
            phase => return self.discard(phase, octets, reply::mail_first()),
        };
        // Small chunks do not bring the message to its end in time.
        if octets < SMALL_CHUNK
            && !last
            && let Err(reply) = self.counts.add(Cost::Idle)
        {
            return Action::Close(reply);
        }
        self.go(Phase::Receiving(envelope), Action::Chunk { receiver, octets, last })
    }

    fn discard(&mut self, phase: Phase<D>, octets: usize, reply: Reply) -> Action<D> {
        match self.charge(phase, Cost::Wrong, reply) {
            Action::Reply(reply) => Action::Discard(octets, reply),
            closing => closing,
        }
    }

    fn received(&mut self, envelope: Envelope<D>, outcome: Outcome) -> Action<D> {
        let Envelope { client, mail_from, parameters, recipients } = envelope;
        let message = match outcome {
            Outcome::Message(message) => message,
            Outcome::BareLineEnd => return self.charge(Phase::Ready(client), Cost::Wrong, reply::bare_line_end()),
            Outcome::TooBig => return self.charge(Phase::Ready(client), Cost::Wrong, reply::too_big()),
            Outcome::NoRoom(_) => return self.charge(Phase::Ready(client), Cost::Refused, reply::no_storage()),
            Outcome::Disk(_) => return self.charge(Phase::Ready(client), Cost::Refused, reply::local_error()),
        };
        let helo = self.hello.as_ref().map(|h| h.name.clone()).unwrap_or_default();
        let mail = Mail { mail_from, parameters, recipients, message, helo, protocol: self.protocol() };
        self.go(Phase::Storing, Action::Store(client, Box::new(mail)))
    }

    /// RFC 3848.
    fn protocol(&self) -> &'static str {
        let extended = self.hello.as_ref().is_some_and(|h| h.extended);
        match (D::OFFERS_AUTH, extended, self.tls) {
            // Submission needs TLS and a log-in.
            (true, ..) => "ESMTPSA",
            (false, true, true) => "ESMTPS",
            (false, true, false) => "ESMTP",
            (false, false, _) => "SMTP",
        }
    }
}
