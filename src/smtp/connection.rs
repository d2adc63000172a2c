//! One client on its socket: the only place of this server that reads, writes and waits.
//!
//! Invariant: octets that came before TLS are never read as commands after it; replies leave in the order of their
//! commands, all that are due in one write; every wait has an end. RFC 2920 (pipelining), RFC 3207, RFC 5321 §4.5.3.2
//! (time-outs).
//!
//! A client that is slow on purpose: a command must be there, to its last octet, within the time-out; between two reads
//! of a message there may be as long, but it must come at the minimum rate, and the whole of it within twelve times that
//! (an hour by default).

use super::codec::data::{Outcome, Receiver};
use super::codec::line::Lines;
use super::codec::reply;
use super::state::{Action, Input, Rules, Session, SmtpHandler};
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

/// What an idle connection holds for input.
const COMMAND_BUFFER: usize = 1024;
/// What one read of a message takes.
const DATA_BUFFER: usize = 32 * 1024;
/// Copies of a header block while a message is taken in.
const HEADER_FACTOR: usize = 3;
/// Replies that wait for the end of a pipelined batch.
const OUTPUT_BUFFER: usize = 16 * 1024;
/// How many time-outs a whole message may take.
const DATA_PATIENCE: u32 = 12;
/// How long a TLS handshake may take at most.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long the last reply may take to leave.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same where another client waits for the place.
const FAREWELL_UNDER_LOAD: Duration = Duration::from_millis(100);

/// What all connections of a server share.
pub(super) struct Setting {
    pub rules: Arc<Rules>,
    pub tls: ServerTls,
    pub implicit_tls: bool,
    /// How long a client may be silent.
    pub timeouts: Duration,
    /// For messages under way.
    pub spool: Spool,
    pub shutdown: Shutdown,
}

/// Why a session ended, other than by the client's QUIT.
#[derive(Debug)]
enum End {
    /// The client went away.
    Gone,
    /// It was silent for too long.
    TimedOut,
    /// It sent a message below the minimum rate.
    TooSlow,
    /// What it logged in with holds no more.
    Revoked,
    /// The daemon stops.
    Stopping,
    /// Another client needs its place.
    Overloaded,
    /// The socket failed.
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
    /// What the client is told, if it can still hear.
    fn farewell(&self) -> Option<Reply> {
        match self {
            Self::Gone | Self::Broken(_) => None,
            Self::TimedOut => Some(reply::timed_out()),
            Self::TooSlow => Some(reply::too_slow()),
            Self::Revoked => Some(reply::log_in_ended()),
            Self::Stopping => Some(reply::stopping()),
            Self::Overloaded => Some(reply::overloaded()),
        }
    }
}

/// Serves one client to its end.
pub(super) async fn serve<D: SmtpHandler>(
    server: Arc<D>,
    setting: Arc<Setting>,
    stream: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
) {
    // A version 4 client of a dual-stack socket is what it is.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if setting.implicit_tls {
        secure(&*server, &setting, stream, peer, activity, true).await;
        return;
    }
    let mut wire = Wire::new(stream, &setting, peer, activity);
    let session = Session::<D>::new(Arc::clone(&setting.rules), false, setting.spool.client(peer.ip()));
    let greeting = session.greeting();
    wire.say::<D>(&greeting);
    let wants_tls = converse(&*server, &mut wire, session).await;
    if wants_tls {
        if !wire.input.is_empty() {
            // RFC 3207 §5: somebody between client and server may have put it there.
            tracing::warn!(%peer, listener = D::NAME, octets = wire.input.len(), "plaintext behind STARTTLS was dropped");
        }
        secure(&*server, &setting, wire.stream, peer, wire.activity, false).await;
    }
}

/// The handshake, and a session that knows nothing of what was said before.
async fn secure<D: SmtpHandler>(
    server: &D,
    setting: &Setting,
    stream: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
    greet: bool,
) {
    activity.waits();
    let handshake = timeout(setting.timeouts.min(HANDSHAKE), Box::pin(setting.tls.accept(stream)));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        // Nothing that is said would be understood.
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
    let mut wire = Wire::new(Box::new(stream), setting, peer, activity);
    let session = Session::<D>::new(Arc::clone(&setting.rules), true, setting.spool.client(peer.ip()));
    if greet {
        let greeting = session.greeting();
        wire.say::<D>(&greeting);
    }
    converse(server, &mut wire, session).await;
}

/// A session to its end. True when it ended in STARTTLS.
async fn converse<S: Socket, D: SmtpHandler>(server: &D, wire: &mut Wire<S>, session: Session<D>) -> bool {
    let end = match run(server, wire, session).await {
        Ok(Finish::StartTls) => return true,
        Ok(Finish::Closed) => None,
        Err(end) => Some(end),
    };
    if let Some(end) = &end {
        let peer = wire.peer;
        match end {
            End::Gone => tracing::debug!(%peer, listener = D::NAME, "the client went away"),
            End::Broken(error) => tracing::info!(%peer, listener = D::NAME, %error, "the connection broke"),
            // Whoever fills the listener writes no line of the log for each connection.
            End::Overloaded => tracing::debug!(%peer, listener = D::NAME, "closed: the listener is full"),
            End::TimedOut | End::TooSlow | End::Revoked | End::Stopping => {}
        }
        match end.farewell() {
            Some(reply) if matches!(end, End::Overloaded) => reply::write(&mut wire.output, &reply),
            Some(reply) => wire.say::<D>(&reply),
            None => {}
        }
    }
    // The session is over: a client that does not read must not keep it.
    let farewell = if matches!(end, Some(End::Overloaded)) { FAREWELL_UNDER_LOAD } else { FAREWELL };
    let _ = timeout(farewell, async {
        wire.stream.write_all(&wire.output).await?;
        wire.stream.shutdown().await
    })
    .await;
    false
}

/// How a session ended in good order.
enum Finish {
    StartTls,
    Closed,
}

/// What one line led to.
enum Next<D: SmtpHandler> {
    Go(Session<D>),
    Finish(Finish),
}

async fn run<S: Socket, D: SmtpHandler>(
    server: &D,
    wire: &mut Wire<S>,
    mut session: Session<D>,
) -> Result<Finish, End> {
    let mut deadline = Instant::now() + wire.timeouts;
    loop {
        wire.interrupted(&mut session).await?;
        let Some(line) = wire.lines.next(&mut wire.input, session.in_exchange()) else {
            wire.flush().await?;
            wire.fill(&mut session, deadline, COMMAND_BUFFER).await?;
            continue;
        };
        match dispatch(server, wire, session, Input::Line(line)).await? {
            Next::Go(next) => session = next,
            Next::Finish(finish) => return Ok(finish),
        }
        deadline = Instant::now() + wire.timeouts;
    }
}

/// Steps from one line to the reply to it.
async fn dispatch<S: Socket, D: SmtpHandler>(
    server: &D,
    wire: &mut Wire<S>,
    mut session: Session<D>,
    mut input: Input<D>,
) -> Result<Next<D>, End> {
    wire.activity.works();
    loop {
        let (next, action) = session.step(input);
        session = next;
        // The services' futures are big and rare: boxed, so that an idle session is small.
        input = match action {
            Action::Reply(reply) => {
                wire.say::<D>(&reply);
                break;
            }
            Action::Hello(lines) => {
                reply::write_lines(&mut wire.output, 250, &lines);
                break;
            }
            Action::LogIn(credentials) => Input::LoggedIn(Box::pin(server.log_in(wire.peer, credentials)).await),
            Action::Resolve(address, size) => {
                let owner = session.owner(wire.peer.ip());
                Input::Resolved(Box::pin(server.recipient(owner, address, size)).await)
            }
            Action::Receive(reply) => {
                wire.say::<D>(&reply);
                let outcome = Box::pin(wire.receive(&mut session)).await?;
                if !matches!(outcome, Outcome::Message(_)) {
                    let mail_from = session.mail_from().map(ToString::to_string).unwrap_or_default();
                    tracing::info!(peer = %wire.peer, listener = D::NAME, %mail_from, ?outcome, "a message was refused");
                }
                Input::Received(outcome)
            }
            Action::Store(client, mail) => {
                // The header block is written anew: what is made of it beside the message.
                let mut work = session.spool_of(Some(&client)).claim();
                let header = message::split(&mail.message).0.len();
                let reply = match work.grow_to(header.saturating_mul(HEADER_FACTOR)) {
                    Ok(()) => Box::pin(server.store(wire.peer, &client, *mail)).await,
                    Err(_) => reply::no_room(),
                };
                Input::Stored(client, reply)
            }
            Action::StartTls(reply) => {
                wire.say::<D>(&reply);
                wire.flush().await?;
                return Ok(Next::Finish(Finish::StartTls));
            }
            Action::Close(reply) => {
                wire.say::<D>(&reply);
                return Ok(Next::Finish(Finish::Closed));
            }
        };
    }
    wire.waits(&session);
    if wire.output.len() > OUTPUT_BUFFER {
        wire.flush().await?;
    }
    Ok(Next::Go(session))
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
    timeouts: Duration,
    message_size: usize,
    shutdown: Shutdown,
    activity: Arc<Activity>,
}

impl<S: Socket> Wire<S> {
    fn new(stream: S, setting: &Setting, peer: SocketAddr, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            peer,
            activity,
            input: BytesMut::new(),
            output: Vec::new(),
            lines: Lines::default(),
            timeouts: setting.timeouts,
            message_size: setting.rules.message_size,
            shutdown: setting.shutdown.clone(),
        }
    }

    /// Puts a reply into the batch; every refusal is a line of the log.
    fn say<D: SmtpHandler>(&mut self, reply: &Reply) {
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
            written = timeout(self.timeouts, written) => written.map_err(|_| End::TimedOut)??,
            () = self.activity.has_to_close() => return Err(End::Overloaded),
        }
        if self.output.capacity() > COMMAND_BUFFER {
            self.output = Vec::new();
        }
        self.output.clear();
        Ok(())
    }

    /// An error when the session must end before anything else is done.
    async fn interrupted<D: SmtpHandler>(&self, session: &mut Session<D>) -> Result<(), End> {
        if self.shutdown.is_requested() && !session.in_transaction() {
            return Err(End::Stopping);
        }
        tokio::select! {
            biased;
            () = log_in_ended(session) => Err(End::Revoked),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// From now on the client is waited for.
    fn waits<D: SmtpHandler>(&self, session: &Session<D>) {
        if !session.is_logged_in() {
            self.activity.waits();
        }
    }

    /// Reads what there is, at least one octet.
    async fn fill<D: SmtpHandler>(
        &mut self,
        session: &mut Session<D>,
        deadline: Instant,
        room: usize,
    ) -> Result<(), End> {
        let stoppable = !session.in_transaction();
        if self.input.is_empty() && self.input.capacity() > room.max(COMMAND_BUFFER) {
            self.input = BytesMut::new();
        }
        self.input.reserve(room);
        tokio::select! {
            biased;
            () = log_in_ended(session) => Err(End::Revoked),
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

    /// Reads a message to its true end.
    async fn receive<D: SmtpHandler>(&mut self, session: &mut Session<D>) -> Result<Outcome, End> {
        self.flush().await?;
        let spool = session.spool();
        let mut receiver = Receiver::new(self.message_size, D::BARE_LF, spool.begin());
        let last = Instant::now() + self.timeouts.saturating_mul(DATA_PATIENCE);
        let mut progress = spool.progress();
        loop {
            if let Some(end) = receiver.feed(&self.input) {
                // What follows was pipelined behind the message.
                let _ = self.input.split_to(end);
                // Before it is stored: the sender may have lost its log-in meanwhile.
                self.interrupted(session).await?;
                return Ok(receiver.finish().await);
            }
            self.input.clear();
            self.waits(session);
            receiver.spill().await;
            let deadline = last.min(Instant::now() + self.timeouts);
            self.fill_in_time(session, deadline, &mut progress).await?;
            progress.received(self.input.len());
        }
    }

    /// Reads octets of a message, while they come at the minimum rate.
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

async fn log_in_ended<D: SmtpHandler>(session: &mut Session<D>) {
    match session.client_mut() {
        Some(client) => D::ended(client).await,
        None => std::future::pending().await,
    }
}
