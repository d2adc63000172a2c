//! The SMTP client of the queue and the sandbox. It keeps connections open for the next message. Invariant: the data
//! sent ends where the message ends; credentials are sent only over verified TLS; a message is sent again on another
//! connection only if no server can have accepted it. RFC 5321 §3.3, RFC 3207, RFC 7435.
//!
//! [`SmtpClient::deliver`] takes an idle connection or opens one ([`connection`]), hands the message over ([`transaction`]),
//! and keeps the connection ([`idle`]).

mod answer;
mod connection;
mod dot_stuffer;
mod idle;
mod mail;
mod open;
mod read_limited;
mod timeouts;
mod transaction;

pub use answer::{Answer, Failure};
pub use connection::{Connection, Protection, TryNextHost};
pub use mail::{Body, ForwardPath, OutgoingMail, RcptTo};
pub use timeouts::{TimeAllowance, Timeouts};
pub use transaction::Transaction;

use crate::config::Relay;
use crate::envelope::EnhancedCode;
use crate::net::client_tls::ClientTls;
use crate::net::connections::network_of;
use connection::{State, lost, no_tls};
use idle::{IdleConnections, Key};
use open::OpenConnections;
use std::net::SocketAddr;

/// Messages per connection. Servers have their own limits, and some have several hosts behind one address.
const MESSAGES: usize = 100;

/// Connections to one address (an IPv6 /64 counts as one), including idle ones, as long as the caller starts no more
/// deliveries than this at once.
pub const CONNECTIONS_PER_ADDRESS: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Its name, checked against its certificate.
    pub name: &'a str,
    pub socket: SocketAddr,
    pub security: Security<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Security<'a> {
    /// TLS if offered, with any certificate; plaintext if it fails (RFC 7435 §3).
    Opportunistic,
    /// Verified TLS, implicit at port 465, then authentication with the relay's credentials.
    Verified(&'a Relay),
}

/// The result at a server.
#[derive(Debug)]
pub struct Delivery {
    pub protection: Protection,
    /// For each recipient, in order.
    pub answers: Vec<Answer>,
    /// The connection was closed by the server or lost.
    pub connection_ended: bool,
    /// The server reports deliveries to who asks for it (RFC 3461).
    pub offers_dsn: bool,
}

/// The client; clones share its connections.
#[derive(Clone, Debug)]
pub struct SmtpClient {
    /// Our name in EHLO.
    hostname: String,
    tls: ClientTls,
    timeouts: Timeouts,
    open: OpenConnections,
    idle: IdleConnections,
}

impl SmtpClient {
    pub fn new(hostname: String, tls: ClientTls, timeouts: Timeouts) -> Self {
        Self { hostname, tls, timeouts, open: OpenConnections::default(), idle: IdleConnections::default() }
    }

    /// Sends a message.
    pub async fn deliver(&self, host: &Host<'_>, mail: &OutgoingMail<'_>) -> Result<Delivery, TryNextHost> {
        let key = host.key();
        if let Some(mut connection) = self.idle.take(&key) {
            let transaction = self.transact(&mut connection, mail).await;
            // An idle connection may have been closed or have reached the server's limit, which says nothing about the
            // message.
            let has_ended = transaction.connection_ended();
            if !has_ended && !is_temporary(&transaction.mail) {
                return Ok(self.finish(connection, key, mail, &transaction));
            }
            tracing::debug!(host = host.name, socket = %host.socket, "idle connection closed, opening another");
            if !has_ended {
                tokio::spawn(connection.quit());
            }
        }
        let mut connection = self.connect(host).await?;
        let transaction = self.transact(&mut connection, mail).await;
        if let (Answer::Reply(reply), Some(failure)) = (&transaction.mail, &connection.no_tls)
            && reply.code == 530
        {
            // The server requires TLS, which has just failed.
            return Err(connection.next_host(Answer::Lost(failure.clone())));
        }
        Ok(self.finish(connection, key, mail, &transaction))
    }

    pub async fn close_idle(&self) {
        self.idle.close().await;
    }

    async fn transact(&self, connection: &mut Connection, mail: &OutgoingMail<'_>) -> Transaction {
        match connection.check(mail) {
            Ok(()) => connection.transact(mail).await,
            Err(failure) => failure.into(),
        }
    }

    fn finish(&self, connection: Connection, key: Key, mail: &OutgoingMail<'_>, transaction: &Transaction) -> Delivery {
        let delivery = Delivery {
            protection: connection.protection,
            answers: transaction.by_recipient(mail.rcpt_to.len()),
            connection_ended: transaction.connection_ended(),
            offers_dsn: connection.offers_dsn(),
        };
        if connection.state == State::Broken || delivery.answers.iter().any(Answer::ends_connection) {
            drop(connection);
        } else if connection.messages < MESSAGES {
            self.idle.put(key, connection);
        } else {
            tokio::spawn(connection.quit());
        }
        delivery
    }

    async fn connect(&self, host: &Host<'_>) -> Result<Connection, TryNextHost> {
        let network = network_of(host.socket.ip());
        let others = self.open.count(network).all;
        // An idle connection to another host at this address makes room.
        if others >= CONNECTIONS_PER_ADDRESS
            && let Some(idle) = self.idle.take_to(network)
        {
            tokio::spawn(idle.quit());
        }
        let open = self.open.add(network);
        let connected = match host.security {
            Security::Opportunistic => self.connect_opportunistic(host).await,
            Security::Verified(relay) => self.connect_verified(host, relay).await,
        };
        match connected {
            Ok(mut connection) => {
                connection._open = Some(open.established());
                Ok(connection)
            }
            Err(failed) => {
                let is_crowded = self.open.count(network).established > 0
                    && (is_temporary(&failed.answer) || is_unreachable(&failed.answer));
                Err(TryNextHost { is_crowded, ..failed })
            }
        }
    }

    async fn connect_opportunistic(&self, host: &Host<'_>) -> Result<Connection, TryNextHost> {
        let mut connection = self.open(host).await?;
        if !connection.offers_tls() {
            return Ok(connection);
        }
        let answer = connection.command("STARTTLS\r\n").await;
        if answer.ends_connection() {
            return Err(connection.next_host(answer));
        }
        if let Answer::Reply(reply) = &answer
            && !answer.is_accepted()
        {
            let text = format!("no TLS with {}: {reply}", host.name);
            connection.no_tls = Some(Failure::new(EnhancedCode(4, 7, 5), text));
            return Ok(connection);
        }
        match connection.handshake(self.tls.opportunistic(), host.name).await {
            Ok(mut connection) => {
                let proven = connection.tls().is_some_and(|tls| self.tls.proves(tls, host.name));
                connection.protection = if proven { Protection::Verified } else { Protection::Unverified };
                connection.ehlo(&self.hostname).await?;
                Ok(connection)
            }
            Err(failure) => {
                tracing::info!(host = host.name, socket = %host.socket, reason = failure.text, "TLS failed, using plaintext");
                let mut connection = self.open(host).await?;
                connection.no_tls = Some(failure);
                Ok(connection)
            }
        }
    }

    async fn connect_verified(&self, host: &Host<'_>, relay: &Relay) -> Result<Connection, TryNextHost> {
        let mut connection = if relay.port == 465 {
            Connection::open_tls(host.name, host.socket, &self.hostname, &self.tls, self.timeouts).await?
        } else {
            let mut connection = self.open(host).await?;
            if !connection.offers_tls() {
                return Err(connection.next_host(Answer::Lost(no_tls(host.name))));
            }
            let answer = connection.command("STARTTLS\r\n").await;
            if !answer.is_accepted() {
                return Err(connection.next_host(answer));
            }
            let mut connection = connection.handshake(self.tls.verifying(), host.name).await.map_err(lost)?;
            connection.protection = Protection::Verified;
            connection.ehlo(&self.hostname).await?;
            connection
        };
        connection.authenticate(relay).await?;
        Ok(connection)
    }

    async fn open(&self, host: &Host<'_>) -> Result<Connection, TryNextHost> {
        Connection::open(host.name, host.socket, &self.hostname, self.timeouts).await
    }
}

impl Host<'_> {
    fn key(&self) -> Key {
        let verified = match self.security {
            Security::Opportunistic => None,
            Security::Verified(relay) => Some(relay.username.clone()),
        };
        Key { host: self.name.to_owned(), socket: self.socket, verified }
    }
}

fn is_temporary(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(reply) if reply.code / 100 == 4)
}

fn is_unreachable(answer: &Answer) -> bool {
    matches!(answer, Answer::Lost(failure) if failure.status == EnhancedCode(4, 4, 1))
}
