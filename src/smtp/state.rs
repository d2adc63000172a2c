//! A session as a machine of owned states, without I/O: [`Session::step`] takes what happened and says what to do.
//!
//! Invariant: a message is stored only for a client the server knows and for recipients the server made; a state that
//! lacks either cannot say [`Action::Store`]. TLS begins a session anew: nothing said in plaintext is known after it.
//! RFC 5321 §4.1.4 (order of commands), RFC 3207 §4.2 (STARTTLS), RFC 4954 §4 (AUTH).

use super::codec::data::{BareLf, Outcome};
use super::codec::line::Line;
use super::codec::reply;
use super::codec::request::{self, Command, Path};
use super::counts::{Cost, Counts};
use super::sasl::{self, Credentials, Exchange, Turn};
use crate::address::{Address, AddressError, DomainName, ReversePath};
use crate::envelope::{Recipients, Reply};
use crate::id::AccountId;
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::resources::spool::ClientSpool;
use bytes::Bytes;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One of the two servers. What differs between them is who may send, and to whom.
pub(super) trait SmtpHandler: Send + Sync + Sized + 'static {
    /// Who may send: the submission server makes one from a log-in only.
    type Client: Send + Sync;
    /// To whom: the MX server makes one for an inbox here only.
    type Recipient: Send;
    /// Its name in the log.
    const NAME: &'static str;
    /// It lets clients log in.
    const OFFERS_AUTH: bool;
    /// What becomes of an LF on its own in a message.
    const BARE_LF: BareLf;

    /// Who a client is that has not logged in, if that may send.
    fn stranger() -> Option<Self::Client>;

    /// The envelope sender, where the server has use for it.
    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply>;

    /// Checks credentials.
    fn log_in(
        &self,
        peer: SocketAddr,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Self::Client, Reply>> + Send;

    /// Makes a recipient of an address, for a message that is to have `size` octets; 0 where the client did not say. `owner`
    /// is the client's account, or its network.
    fn recipient(
        &self,
        owner: Owner,
        address: Address,
        size: usize,
    ) -> impl Future<Output = Result<Self::Recipient, Reply>> + Send;

    /// Takes a message: when the reply is positive, it is on disk.
    fn store(
        &self,
        peer: SocketAddr,
        client: &Self::Client,
        mail: Mail<Self::Recipient>,
    ) -> impl Future<Output = Reply> + Send;

    /// The account of a client that has logged in.
    fn account(client: &Self::Client) -> Option<&AccountId>;

    /// Resolves when what the client logged in with holds no more. Cancel safe.
    fn ended(client: &mut Self::Client) -> impl Future<Output = ()> + Send;
}

/// What a session must know of the configuration.
#[derive(Debug)]
pub(super) struct Rules {
    /// Our name.
    pub hostname: DomainName,
    /// Where `<postmaster>` is.
    pub platform: DomainName,
    /// Octets of one message.
    pub message_size: usize,
    /// Recipients of one message.
    pub recipients: usize,
}

/// What the client said it is.
#[derive(Clone, Debug)]
struct Hello {
    name: String,
    extended: bool,
}

/// MAIL has been said.
struct Transaction<D: SmtpHandler> {
    client: D::Client,
    mail_from: ReversePath,
    /// As announced (RFC 1870); 0: not.
    size: usize,
    recipients: Vec<D::Recipient>,
}

/// DATA has been said: there are recipients.
struct Envelope<D: SmtpHandler> {
    client: D::Client,
    mail_from: ReversePath,
    recipients: Recipients<D::Recipient>,
}

/// A whole message with its envelope.
pub(super) struct Mail<R> {
    pub mail_from: ReversePath,
    pub recipients: Recipients<R>,
    pub message: Bytes,
    /// What the client calls itself.
    pub helo: String,
    /// RFC 3848.
    pub protocol: &'static str,
}

enum Phase<D: SmtpHandler> {
    /// No client yet: before EHLO, or before the log-in.
    Unknown,
    /// In an AUTH exchange.
    Exchanging(Exchange),
    /// The server checks credentials.
    LoggingIn,
    /// Between messages.
    Ready(D::Client),
    /// After MAIL.
    Open(Transaction<D>),
    /// The server looks for a recipient.
    Resolving(Transaction<D>),
    /// The message comes in.
    Receiving(Envelope<D>),
    /// The server stores the message.
    Storing,
    /// Nothing more is said, or TLS begins.
    Over,
}

/// What happened.
pub(super) enum Input<D: SmtpHandler> {
    /// The client sent a line.
    Line(Line),
    /// After [`Action::LogIn`].
    LoggedIn(Result<D::Client, Reply>),
    /// After [`Action::Resolve`].
    Resolved(Result<D::Recipient, Reply>),
    /// After [`Action::Receive`].
    Received(Outcome),
    /// After [`Action::Store`].
    Stored(D::Client, Reply),
}

/// What to do.
pub(super) enum Action<D: SmtpHandler> {
    /// Send this.
    Reply(Reply),
    /// Send these lines with code 250.
    Hello(Vec<String>),
    /// Send this, drop what came in behind the command, begin TLS, and go on with [`Session::new`].
    StartTls(Reply),
    /// Check these.
    LogIn(Credentials),
    /// Find a recipient for a message of this announced size.
    Resolve(Address, usize),
    /// Send this, then read a message.
    Receive(Reply),
    /// Store a message of this client.
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
    /// A session at its beginning.
    pub(super) fn new(rules: Arc<Rules>, tls: bool, spool: ClientSpool) -> Self {
        Self { rules, tls, spool, hello: None, counts: Counts::default(), phase: Phase::Unknown }
    }

    /// The greeting (RFC 5321 §4.2: no enhanced code).
    pub(super) fn greeting(&self) -> Reply {
        Reply::plain(220, format!("{} ESMTP Inboxlayer", self.rules.hostname))
    }

    /// True between MAIL and the reply to its end: what a stopping server waits for.
    pub(super) fn in_transaction(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::Resolving(_) | Phase::Receiving(_) | Phase::Storing)
    }

    /// True while lines belong to an AUTH exchange.
    pub(super) fn in_exchange(&self) -> bool {
        matches!(self.phase, Phase::Exchanging(_))
    }

    /// True for a client that has logged in.
    pub(super) fn is_logged_in(&self) -> bool {
        D::OFFERS_AUTH
            && matches!(self.phase, Phase::Ready(_) | Phase::Open(_) | Phase::Resolving(_) | Phase::Receiving(_))
    }

    /// The client, where there is one.
    pub(super) fn client_mut(&mut self) -> Option<&mut D::Client> {
        match &mut self.phase {
            Phase::Ready(client) => Some(client),
            Phase::Open(transaction) | Phase::Resolving(transaction) => Some(&mut transaction.client),
            Phase::Receiving(envelope) => Some(&mut envelope.client),
            _ => None,
        }
    }

    fn client(&self) -> Option<&D::Client> {
        match &self.phase {
            Phase::Ready(client) => Some(client),
            Phase::Open(transaction) | Phase::Resolving(transaction) => Some(&transaction.client),
            Phase::Receiving(envelope) => Some(&envelope.client),
            _ => None,
        }
    }

    /// On whose behalf the store is asked: the account that has logged in, or the network of `peer`.
    pub(super) fn owner(&self, peer: IpAddr) -> Owner {
        match self.client().and_then(D::account) {
            Some(account) => Owner::Account(account.clone()),
            None => Owner::Network(network_of(peer)),
        }
    }

    /// Room for what the client sends.
    pub(super) fn spool(&self) -> ClientSpool {
        self.spool_of(self.client())
    }

    /// The same for a client that the session has given away.
    pub(super) fn spool_of(&self, client: Option<&D::Client>) -> ClientSpool {
        match client.and_then(D::account) {
            Some(account) => self.spool.logged_in(account),
            None => self.spool.clone(),
        }
    }

    /// The envelope sender of the message under way.
    pub(super) fn mail_from(&self) -> Option<&ReversePath> {
        match &self.phase {
            Phase::Open(transaction) | Phase::Resolving(transaction) => Some(&transaction.mail_from),
            Phase::Receiving(envelope) => Some(&envelope.mail_from),
            _ => None,
        }
    }

    /// Takes what happened; says what to do.
    pub(super) fn step(mut self, input: Input<D>) -> (Self, Action<D>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let action = match (phase, input) {
            (Phase::Exchanging(exchange), Input::Line(Line::Text(line))) => self.turn(exchange.respond(&line)),
            // An exchange ends with whatever is no line of it.
            (Phase::Exchanging(_), Input::Line(line)) => self.line(Phase::Unknown, line),
            (phase @ (Phase::Unknown | Phase::Ready(_) | Phase::Open(_)), Input::Line(line)) => self.line(phase, line),
            (Phase::LoggingIn, Input::LoggedIn(Ok(client))) => {
                self.go(Phase::Ready(client), Action::Reply(reply::authenticated()))
            }
            (Phase::LoggingIn, Input::LoggedIn(Err(reply))) => self.charge(Phase::Unknown, Cost::FailedLogin, reply),
            (Phase::Resolving(mut transaction), Input::Resolved(Ok(recipient))) => {
                transaction.recipients.push(recipient);
                self.go(Phase::Open(transaction), Action::Reply(reply::recipient_ok()))
            }
            (Phase::Resolving(transaction), Input::Resolved(Err(reply))) => {
                self.charge(Phase::Open(transaction), Cost::Refused, reply)
            }
            (Phase::Receiving(envelope), Input::Received(outcome)) => self.received(envelope, outcome),
            // Where the log-in held no more, no message was stored and none will be.
            (Phase::Storing, Input::Stored(_, reply)) if reply.code == 421 => Action::Close(reply),
            (Phase::Storing, Input::Stored(client, reply)) => {
                if reply.is_positive() {
                    self.counts.message_taken();
                    self.go(Phase::Ready(client), Action::Reply(reply))
                } else {
                    self.charge(Phase::Ready(client), Cost::Refused, reply)
                }
            }
            // Only an error in the connection's loop leads here.
            _ => Action::Close(reply::lost_thread()),
        };
        (self, action)
    }

    fn go(&mut self, phase: Phase<D>, action: Action<D>) -> Action<D> {
        self.phase = phase;
        action
    }

    /// Replies, and counts the cost; a client that has reached a limit is sent away.
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
            (Command::Rset, Phase::Open(transaction)) => {
                self.charge(Phase::Ready(transaction.client), Cost::Idle, reply::ok())
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
            (Command::Auth { mechanism, initial }, Phase::Unknown) => {
                self.turn(sasl::begin(mechanism, initial.as_deref()))
            }
            (Command::Auth { .. }, phase) => self.charge(phase, Cost::Wrong, reply::log_in_twice()),
            (_, Phase::Unknown) if D::OFFERS_AUTH && !self.tls => {
                self.charge(Phase::Unknown, Cost::Wrong, reply::tls_first())
            }
            (_, Phase::Unknown) if self.hello.is_none() => {
                self.charge(Phase::Unknown, Cost::Wrong, reply::hello_first())
            }
            (_, Phase::Unknown) => self.charge(Phase::Unknown, Cost::Wrong, reply::log_in_first()),
            (Command::Mail { from, size }, Phase::Ready(client)) => self.mail(client, from, size),
            (Command::Mail { .. }, phase) => self.charge(phase, Cost::Wrong, reply::nested_mail()),
            (Command::Rcpt { to }, Phase::Open(transaction)) => self.rcpt(transaction, to),
            (Command::Rcpt { .. }, phase) => self.charge(phase, Cost::Wrong, reply::mail_first()),
            (Command::Data, Phase::Open(transaction)) => self.data(transaction),
            (Command::Data, phase) => self.charge(phase, Cost::Wrong, reply::mail_first()),
        }
    }

    /// EHLO and HELO also end a message that was begun (RFC 5321 §4.1.4).
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
                lines.push("AUTH PLAIN LOGIN".into());
            }
            lines.extend(["8BITMIME".into(), "ENHANCEDSTATUSCODES".into(), "HELP".into()]);
        }
        self.hello = Some(hello);
        let phase = match phase {
            Phase::Ready(client) | Phase::Open(Transaction { client, .. }) => Phase::Ready(client),
            _ => D::stranger().map_or(Phase::Unknown, Phase::Ready),
        };
        self.go(phase, Action::Hello(lines))
    }

    fn start_tls(&mut self, phase: Phase<D>) -> Action<D> {
        if self.tls {
            return self.charge(phase, Cost::Wrong, reply::tls_twice());
        }
        match phase {
            Phase::Open(_) => self.charge(phase, Cost::Wrong, reply::not_now()),
            _ => Action::StartTls(reply::go_ahead_tls()),
        }
    }

    fn turn(&mut self, turn: Turn) -> Action<D> {
        match turn {
            Turn::Ask(exchange, reply) => self.go(Phase::Exchanging(exchange), Action::Reply(reply)),
            Turn::Done(credentials) => self.go(Phase::LoggingIn, Action::LogIn(credentials)),
            Turn::Refuse(reply) => self.charge(Phase::Unknown, Cost::Wrong, reply),
        }
    }

    fn mail(&mut self, client: D::Client, from: Result<ReversePath, AddressError>, size: usize) -> Action<D> {
        if size > self.rules.message_size {
            return self.charge(Phase::Ready(client), Cost::Refused, reply::too_big());
        }
        if self.spool_of(Some(&client)).has_room(size).is_err() {
            return self.charge(Phase::Ready(client), Cost::Refused, reply::no_room());
        }
        match D::sender(from) {
            Ok(mail_from) => {
                let transaction = Transaction { client, mail_from, size, recipients: Vec::new() };
                self.go(Phase::Open(transaction), Action::Reply(reply::sender_ok()))
            }
            Err(reply) => self.charge(Phase::Ready(client), Cost::Wrong, reply),
        }
    }

    fn rcpt(&mut self, transaction: Transaction<D>, to: Path) -> Action<D> {
        if transaction.recipients.len() >= self.rules.recipients {
            return self.charge(Phase::Open(transaction), Cost::Refused, reply::too_many_recipients());
        }
        let address = to.address(&self.rules.platform);
        let size = transaction.size;
        self.go(Phase::Resolving(transaction), Action::Resolve(address, size))
    }

    fn data(&mut self, transaction: Transaction<D>) -> Action<D> {
        let Transaction { client, mail_from, size, recipients } = transaction;
        match Recipients::new(recipients) {
            Some(recipients) => self
                .go(Phase::Receiving(Envelope { client, mail_from, recipients }), Action::Receive(reply::send_data())),
            None => {
                let still_open = Transaction { client, mail_from, size, recipients: Vec::new() };
                self.charge(Phase::Open(still_open), Cost::Wrong, reply::recipient_first())
            }
        }
    }

    fn received(&mut self, envelope: Envelope<D>, outcome: Outcome) -> Action<D> {
        let Envelope { client, mail_from, recipients } = envelope;
        let message = match outcome {
            Outcome::Message(message) => message,
            Outcome::BareLineEnd => return self.charge(Phase::Ready(client), Cost::Wrong, reply::bare_line_end()),
            Outcome::TooBig => return self.charge(Phase::Ready(client), Cost::Wrong, reply::too_big()),
            Outcome::NoRoom(_) => return self.charge(Phase::Ready(client), Cost::Refused, reply::no_room()),
            Outcome::Disk(_) => return self.charge(Phase::Ready(client), Cost::Refused, reply::try_later()),
        };
        let helo = self.hello.as_ref().map(|h| h.name.clone()).unwrap_or_default();
        let mail = Mail { mail_from, recipients, message, helo, protocol: self.protocol() };
        self.go(Phase::Storing, Action::Store(client, Box::new(mail)))
    }

    /// RFC 3848.
    fn protocol(&self) -> &'static str {
        let extended = self.hello.as_ref().is_some_and(|h| h.extended);
        match (D::OFFERS_AUTH, extended, self.tls) {
            // Behind this server everybody has logged in, and under TLS.
            (true, ..) => "ESMTPSA",
            (false, true, true) => "ESMTPS",
            (false, true, false) => "ESMTP",
            (false, false, _) => "SMTP",
        }
    }
}
