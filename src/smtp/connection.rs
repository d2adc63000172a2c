//! One client connection: the only place that reads, writes and waits.
//!
//! Invariant: octets received before TLS are never read as commands after it; replies are in the order of their commands,
//! those of a pipelined batch in one write; every wait has a time-out. RFC 2920 (pipelining), RFC 3207, RFC 5321 §4.5.3.2
//! (time-outs).
//!
//! The time-out is for a whole command, and between two reads of a message. A message also has a minimum data rate, and
//! twelve times the time-out in all (an hour by default).

use super::codec::chunks::ChunkReceiver;
use super::codec::data::{Outcome, Receiver};
use super::codec::line::Lines;
use super::codec::reply;
use super::handler::{Rules, SmtpHandler};
use super::state::{Action, Input, Session};
use crate::auth::session::SessionEnd;
use crate::envelope::Reply;
use crate::message;
use crate::net::connections::Activity;
use crate::net::listener::Shutdown;
use crate::net::tls::ServerTls;
use crate::resources::rate::Progress;
use crate::resources::spool::Spool;
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Octets of an idle connection's input buffer.
const COMMAND_BUFFER: usize = 1024;
/// Octets of one read of a message.
const DATA_BUFFER: usize = 32 * 1024;
/// Copies of the header while a message is stored.
const HEADER_FACTOR: usize = 3;
/// Octets of replies kept for the end of a pipelined batch.
const OUTPUT_BUFFER: usize = 16 * 1024;
/// A whole message may take this many times the time-out.
const DATA_TIMEOUTS: u32 = 12;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// For the last reply.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same when another client needs the connection.
const OVERLOADED_TIMEOUT: Duration = Duration::from_millis(100);

/// Shared by all connections of a listener.
pub(super) struct Shared {
    pub rules: Arc<Rules>,
    pub tls: ServerTls,
    pub implicit_tls: bool,
    /// `limits.smtp_timeout`
    pub timeout: Duration,
    pub spool: Spool,
    pub shutdown: Shutdown,
}

/// Why a session ended, other than by the client's QUIT.
#[derive(Debug)]
enum End {
    /// The client disconnected.
    Gone,
    TimedOut,
    /// A message below the minimum data rate.
    TooSlow,
    /// Its log-in has ended.
    LoggedOut(SessionEnd),
    /// Shutdown.
    Stopping,
    /// Another client needs the connection.
    Overloaded,
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Broken(error),
        }
    }
}

impl End {
    /// The last reply.
    fn reply(&self) -> Option<Reply> {
        match self {
            Self::Gone | Self::Broken(_) => None,
            Self::TimedOut => Some(reply::idle_timeout()),
            Self::TooSlow => Some(reply::too_slow()),
            Self::LoggedOut(end) => Some(reply::session_ended(*end)),
            Self::Stopping => Some(reply::stopping()),
            Self::Overloaded => Some(reply::overloaded()),
        }
    }
}

/// Serves one client to its end.
pub(super) async fn serve<D: SmtpHandler>(
    server: Arc<D>,
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
) {
    // An IPv4 client of a dual-stack socket.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if shared.implicit_tls {
        secure(&*server, &shared, stream, peer, activity, true).await;
        return;
    }
    let mut wire = Wire::new(stream, &shared, peer, activity);
    let session = Session::<D>::new(Arc::clone(&shared.rules), false, shared.spool.client(peer.ip()));
    let greeting = session.greeting();
    wire.push::<D>(&greeting);
    let wants_tls = converse(&*server, &mut wire, session).await;
    if wants_tls {
        if !wire.input.is_empty() {
            // RFC 3207 §5: it may have been injected.
            tracing::warn!(%peer, listener = D::NAME, octets = wire.input.len(), "plaintext behind STARTTLS was dropped");
        }
        secure(&*server, &shared, wire.stream, peer, wire.activity, false).await;
    }
}

/// The handshake, and a new session.
async fn secure<D: SmtpHandler>(
    server: &D,
    shared: &Shared,
    stream: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
    greet: bool,
) {
    activity.waits();
    let handshake = timeout(shared.timeout.min(HANDSHAKE_TIMEOUT), Box::pin(shared.tls.accept(stream)));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        // No reply is possible during the handshake.
        () = activity.has_to_close() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, listener = D::NAME, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::info!(%peer, listener = D::NAME, "TLS handshake timed out");
            return;
        }
    };
    let mut wire = Wire::new(Box::new(stream), shared, peer, activity);
    let session = Session::<D>::new(Arc::clone(&shared.rules), true, shared.spool.client(peer.ip()));
    if greet {
        let greeting = session.greeting();
        wire.push::<D>(&greeting);
    }
    converse(server, &mut wire, session).await;
}

/// Runs a session to its end. True: STARTTLS.
async fn converse<S: Socket, D: SmtpHandler>(server: &D, wire: &mut Wire<S>, session: Session<D>) -> bool {
    let end = match run(server, wire, session).await {
        Ok(Finish::StartTls) => return true,
        Ok(Finish::Closed) => None,
        Err(end) => Some(end),
    };
    if let Some(end) = &end {
        let peer = wire.peer;
        match end {
            End::Gone => tracing::debug!(%peer, listener = D::NAME, "the client disconnected"),
            End::Broken(error) => tracing::info!(%peer, listener = D::NAME, %error, "the connection failed"),
            // At debug level, since an attacker can cause many.
            End::Overloaded => tracing::debug!(%peer, listener = D::NAME, "closed: the listener is full"),
            End::TimedOut | End::TooSlow | End::LoggedOut(_) | End::Stopping => {}
        }
        match end.reply() {
            Some(reply) if matches!(end, End::Overloaded) => reply::write(&mut wire.output, &reply),
            Some(reply) => wire.push::<D>(&reply),
            None => {}
        }
    }
    // Bounded, since the client may not read.
    let limit = if matches!(end, Some(End::Overloaded)) { OVERLOADED_TIMEOUT } else { CLOSE_TIMEOUT };
    let _ = timeout(limit, async {
        wire.stream.write_all(&wire.output).await?;
        wire.stream.shutdown().await
    })
    .await;
    false
}

/// How a session ended, other than by an error.
enum Finish {
    StartTls,
    Closed,
}

async fn run<S: Socket, D: SmtpHandler>(
    server: &D,
    wire: &mut Wire<S>,
    mut session: Session<D>,
) -> Result<Finish, End> {
    let mut deadline = Instant::now() + wire.timeout;
    loop {
        wire.check_end(&mut session).await?;
        let Some(line) = wire.lines.next(&mut wire.input, session.in_exchange()) else {
            wire.flush().await?;
            wire.fill(&mut session, deadline, COMMAND_BUFFER).await?;
            continue;
        };
        let (next, finish) = dispatch(server, wire, session, Input::Line(line)).await?;
        if let Some(finish) = finish {
            return Ok(finish);
        }
        session = next;
        deadline = Instant::now() + wire.timeout;
    }
}

/// Runs the session from a line to its reply, or to its end.
async fn dispatch<S: Socket, D: SmtpHandler>(
    server: &D,
    wire: &mut Wire<S>,
    mut session: Session<D>,
    mut input: Input<D>,
) -> Result<(Session<D>, Option<Finish>), End> {
    wire.activity.works();
    loop {
        let (next, action) = session.step(input);
        session = next;
        // Boxed: an idle session does not reserve memory for the services' futures.
        input = match action {
            Action::Reply(reply) => {
                wire.push::<D>(&reply);
                break;
            }
            Action::Hello(lines) => {
                reply::write_lines(&mut wire.output, 250, &lines);
                break;
            }
            Action::LogIn(credentials) => Input::LoggedIn(Box::pin(server.log_in(wire.peer, credentials)).await),
            Action::Resolve(address, size) => {
                let owner = session.owner(wire.peer.ip());
                Input::Resolved(Box::pin(server.recipient(session.client(), owner, address, size)).await)
            }
            Action::Receive(reply) => {
                wire.push::<D>(&reply);
                let outcome = Box::pin(wire.receive(&mut session)).await?;
                log_refusal(wire, &session, &outcome);
                Input::Received(outcome)
            }
            Action::Chunk { receiver, octets, last } => {
                let received = Box::pin(wire.receive_chunk(&mut session, receiver, octets, last)).await?;
                if let Input::Received(outcome) = &received {
                    log_refusal(wire, &session, outcome);
                }
                received
            }
            Action::Discard(octets, reply) => {
                Box::pin(wire.read_chunk(&mut session, None, octets)).await?;
                wire.push::<D>(&reply);
                break;
            }
            Action::Store(client, mail) => {
                // Memory for the header that is rewritten.
                let mut work = session.spool_of(Some(&client)).claim();
                let header = message::split(&mail.message).0.len();
                let reply = match work.grow_to(header.saturating_mul(HEADER_FACTOR)) {
                    Ok(()) => Box::pin(server.store(wire.peer, &client, *mail)).await,
                    Err(_) => reply::no_storage(),
                };
                Input::Stored(client, reply)
            }
            Action::StartTls(reply) => {
                wire.push::<D>(&reply);
                wire.flush().await?;
                return Ok((session, Some(Finish::StartTls)));
            }
            Action::Close(reply) => {
                wire.push::<D>(&reply);
                return Ok((session, Some(Finish::Closed)));
            }
        };
    }
    wire.waits(&session);
    if wire.output.len() > OUTPUT_BUFFER {
        wire.flush().await?;
    }
    Ok((session, None))
}

fn log_refusal<S, D: SmtpHandler>(wire: &Wire<S>, session: &Session<D>, outcome: &Outcome) {
    if !matches!(outcome, Outcome::Message(_)) {
        let mail_from = session.mail_from().map(ToString::to_string).unwrap_or_default();
        tracing::info!(peer = %wire.peer, listener = D::NAME, %mail_from, ?outcome, "message refused");
    }
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// The socket and its buffers.
struct Wire<S> {
    stream: S,
    peer: SocketAddr,
    input: BytesMut,
    output: Vec<u8>,
    lines: Lines,
    timeout: Duration,
    message_size: usize,
    shutdown: Shutdown,
    activity: Arc<Activity>,
}

impl<S: Socket> Wire<S> {
    fn new(stream: S, shared: &Shared, peer: SocketAddr, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            peer,
            activity,
            input: BytesMut::new(),
            output: Vec::new(),
            lines: Lines::default(),
            timeout: shared.timeout,
            message_size: shared.rules.message_size,
            shutdown: shared.shutdown.clone(),
        }
    }

    /// Adds a reply to the output; refusals are logged.
    fn push<D: SmtpHandler>(&mut self, reply: &Reply) {
        if reply.code >= 400 {
            tracing::info!(peer = %self.peer, listener = D::NAME, %reply, "refused");
        }
        reply::write(&mut self.output, reply);
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        tokio::select! {
            written = timeout(self.timeout, written) => written.map_err(|_| End::TimedOut)??,
            () = self.activity.has_to_close() => return Err(End::Overloaded),
        }
        if self.output.capacity() > COMMAND_BUFFER {
            self.output = Vec::new();
        }
        self.output.clear();
        Ok(())
    }

    /// Whether the session has to end before its next step.
    async fn check_end<D: SmtpHandler>(&self, session: &mut Session<D>) -> Result<(), End> {
        if self.shutdown.is_requested() && !session.in_transaction() {
            return Err(End::Stopping);
        }
        tokio::select! {
            biased;
            end = log_in_ended(session) => Err(End::LoggedOut(end)),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// The connection waits for its client.
    fn waits<D: SmtpHandler>(&self, session: &Session<D>) {
        if !session.is_logged_in() {
            self.activity.waits();
        }
    }

    /// Reads at least one octet.
    async fn fill<D: SmtpHandler>(
        &mut self,
        session: &mut Session<D>,
        deadline: Instant,
        capacity: usize,
    ) -> Result<(), End> {
        let stoppable = !session.in_transaction();
        if self.input.is_empty() && self.input.capacity() > capacity.max(COMMAND_BUFFER) {
            self.input = BytesMut::new();
        }
        self.input.reserve(capacity);
        tokio::select! {
            biased;
            end = log_in_ended(session) => Err(End::LoggedOut(end)),
            () = self.shutdown.requested(), if stoppable => Err(End::Stopping),
            () = self.activity.has_to_close() => Err(End::Overloaded),
            read = timeout_at(deadline, self.stream.read_buf(&mut self.input)) => match read {
                Err(_) => Err(End::TimedOut),
                Ok(Ok(0)) => Err(End::Gone),
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
            },
        }
    }

    async fn receive<D: SmtpHandler>(&mut self, session: &mut Session<D>) -> Result<Outcome, End> {
        self.flush().await?;
        let spool = session.spool();
        let mut receiver = Receiver::new(self.message_size, D::BARE_LF, spool.begin());
        let last = Instant::now() + self.timeout.saturating_mul(DATA_TIMEOUTS);
        let mut progress = spool.progress();
        loop {
            if let Some(end) = receiver.feed(&self.input) {
                let _ = self.input.split_to(end);
                self.check_end(session).await?;
                return Ok(receiver.finish().await);
            }
            self.input.clear();
            self.waits(session);
            receiver.spill().await;
            let deadline = last.min(Instant::now() + self.timeout);
            self.fill_in_time(session, deadline, &mut progress).await?;
            progress.received(self.input.len());
        }
    }

    async fn receive_chunk<D: SmtpHandler>(
        &mut self,
        session: &mut Session<D>,
        mut receiver: Box<ChunkReceiver>,
        octets: usize,
        last: bool,
    ) -> Result<Input<D>, End> {
        self.read_chunk(session, Some(&mut receiver), octets).await?;
        if last {
            self.check_end(session).await?;
        }
        Ok(match last || receiver.is_refused() {
            true => Input::Received(receiver.finish().await),
            false => Input::Chunk(receiver, octets),
        })
    }

    /// Reads the octets of a chunk; without a receiver they are dropped.
    async fn read_chunk<D: SmtpHandler>(
        &mut self,
        session: &mut Session<D>,
        mut receiver: Option<&mut ChunkReceiver>,
        mut octets: usize,
    ) -> Result<(), End> {
        let last = Instant::now() + self.timeout.saturating_mul(DATA_TIMEOUTS);
        let mut progress = session.spool().progress();
        loop {
            let read = self.input.split_to(octets.min(self.input.len()));
            octets -= read.len();
            if let Some(receiver) = &mut receiver {
                receiver.feed(&read);
                receiver.spill().await;
            }
            if octets == 0 {
                return Ok(());
            }
            self.flush().await?;
            self.waits(session);
            let deadline = last.min(Instant::now() + self.timeout);
            self.fill_in_time(session, deadline, &mut progress).await?;
            progress.received(self.input.len());
        }
    }

    /// Reads octets of a message; fails below the minimum data rate.
    async fn fill_in_time<D: SmtpHandler>(
        &mut self,
        session: &mut Session<D>,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<(), End> {
        loop {
            let until = deadline.min(progress.period_ends());
            match self.fill(session, until, DATA_BUFFER).await {
                Err(End::TimedOut) if progress.is_too_slow(Instant::now()) => return Err(End::TooSlow),
                Err(End::TimedOut) if Instant::now() < deadline => {}
                filled => return filled,
            }
        }
    }
}

async fn log_in_ended<D: SmtpHandler>(session: &mut Session<D>) -> SessionEnd {
    match session.auth_session() {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}
