//! A DNS server on UDP and TCP, authoritative for the DKIM zone; in the sandbox also for the simulated internet.
//! Invariant: no UDP response is larger than the client's limit or 1232 octets; a larger one is truncated with TC set
//! and is complete over TCP. On the open internet UDP responses are rate-limited by network, so that the server is of
//! no use for amplification. RFC 1035 §4.2 (transport), RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 7766 (TCP).

mod answer;
mod finding;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/targets/authority.rs"]
pub(crate) mod fuzz;
mod keys_zone;
mod limit;
pub mod play;

pub use keys_zone::KeysZone;

use crate::net::connections::Capacity;
use crate::net::listener::{self, Proxies, Shutdown};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use limit::{Limiter, Ruling};
use play::Play;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Maximum UDP response that is unlikely to be fragmented.
const UDP_PAYLOAD: u16 = 1232;
/// Concurrent UDP queries; more are dropped, and clients retry.
const IN_FLIGHT: usize = 256;
/// Idle timeout of a TCP connection (RFC 7766 §6.2.3: seconds).
const TCP_IDLE: Duration = Duration::from_secs(5);
/// A resolver needs few connections; the limit by address makes exhausting them expensive.
const TCP_CAPACITY: Capacity =
    Capacity { total: 512, per_address: 16, per_network: 64, idle_under_load: Duration::from_secs(2) };
/// Attempts to find a port free for both UDP and TCP.
const PORT_TRIES: usize = 16;

/// The zones served; clones share them.
#[derive(Clone, Debug)]
pub struct Zones {
    inner: Arc<Inner>,
    /// Which name server of the simulated internet answers, from 1 on.
    server: u8,
}

#[derive(Debug)]
struct Inner {
    keys: OnceLock<KeysZone>,
    play: Option<Play>,
}

impl Zones {
    /// The DKIM zone only; other names are refused.
    pub fn of_keys(zone: KeysZone) -> Self {
        Self { inner: Arc::new(Inner { keys: OnceLock::from(zone), play: None }), server: 1 }
    }

    /// A simulated internet, authoritative for every name.
    pub fn of_play(play: Play) -> Self {
        Self { inner: Arc::new(Inner { keys: OnceLock::new(), play: Some(play) }), server: 1 }
    }

    /// The same zones, answered by another name server of the simulated internet.
    pub fn at_server(&self, server: u8) -> Self {
        Self { inner: Arc::clone(&self.inner), server }
    }

    /// Adds the DKIM zone to a simulated internet once the store is open. A second zone is ignored.
    pub fn add_keys(&self, zone: KeysZone) {
        let _ = self.inner.keys.set(zone);
    }
}

/// A DNS server with bound sockets.
#[derive(Debug)]
pub struct Authority {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Authority {
    /// Binds UDP and TCP to one address. Port 0: one that is free for both.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            let tcp = TcpListener::bind(address).await?;
            let bound = tcp.local_addr()?;
            tries -= 1;
            match UdpSocket::bind(bound).await {
                Ok(udp) => return Ok(Self { udp, tcp, address: bound }),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown. `limited` enables the UDP rate limit, for every listener reachable from the open
    /// internet.
    pub async fn serve(self, zones: Zones, limited: bool, shutdown: Shutdown) {
        let limiter = limited.then(Limiter::new);
        let tcp_zones = zones.clone();
        let over_tcp = listener::serve(
            "dns",
            self.tcp,
            TCP_CAPACITY,
            || b"".into(),
            Proxies::None,
            shutdown.clone(),
            move |stream, _, activity| {
                let zones = tcp_zones.clone();
                async move {
                    tokio::select! {
                        () = serve_tcp(stream, zones) => {}
                        () = activity.has_to_close() => {}
                    }
                }
            },
        );
        tokio::join!(serve_udp(self.udp, zones, limiter, shutdown), over_tcp);
    }
}

async fn serve_udp(socket: UdpSocket, zones: Zones, mut limiter: Option<Limiter>, shutdown: Shutdown) {
    let socket = Arc::new(socket);
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // An earlier response met a closed port; any other error would repeat at once.
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    tracing::warn!(%error, "cannot read the DNS socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let ruling = limiter.as_mut().map_or(Ruling::Answer, |limiter| limiter.rule(peer.ip()));
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        if ruling == Ruling::Silence {
            continue;
        }
        let (socket, zones) = (Arc::clone(&socket), zones.clone());
        tokio::spawn(async move {
            let answer = match ruling {
                Ruling::Truncate => truncated(&question),
                _ => reply(&zones, &question, Some(UDP_PAYLOAD)).await,
            };
            if let Some(answer) = answer {
                // Lost like any datagram; the client retries.
                let _ = socket.send_to(&answer, peer).await;
            }
            drop(permit);
        });
    }
}

async fn serve_tcp(mut stream: TcpStream, zones: Zones) {
    loop {
        let question = match tokio::time::timeout(TCP_IDLE, read_framed(&mut stream)).await {
            Ok(Ok(question)) => question,
            _ => return,
        };
        let Some(answer) = reply(&zones, &question, None).await else {
            // The timeout fault of the simulated internet: silence until the client gives up.
            tokio::time::sleep(TCP_IDLE).await;
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let framed = [length.to_be_bytes().as_slice(), &answer].concat();
        match tokio::time::timeout(TCP_IDLE, stream.write_all(&framed)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}

async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut question = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

/// The encoded response, if there is one. Its size is limited by `at_most` and by the client.
async fn reply(zones: &Zones, question: &[u8], at_most: Option<u16>) -> Option<Vec<u8>> {
    let request = match Message::from_vec(question) {
        Ok(request) => request,
        Err(_) => return unreadable(question),
    };
    // Ignore responses, or two servers would answer each other for ever.
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let response = answer::answer(zones, &request).await?;
    let size = at_most.map_or(u16::MAX, |max| request.max_payload().min(max));
    match encode(&response) {
        Some(whole) if whole.len() <= usize::from(size) => Some(whole),
        _ => encode(&emptied(response)),
    }
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(512);
    message.emit(&mut BinEncoder::new(&mut octets)).ok()?;
    Some(octets)
}

/// TC set and no records: a partial record set is useless (RFC 2181 §9), and an interrupted encoder leaves half a
/// record behind.
fn emptied(mut response: Message) -> Message {
    response.metadata.truncation = true;
    response.answers.clear();
    response.authorities.clear();
    response
}

/// FORMERR, if the header has an id.
fn unreadable(question: &[u8]) -> Option<Vec<u8>> {
    let ([high, low, flags, ..], true) = (question, question.len() >= 12) else { return None };
    if flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([*high, *low]);
    encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
}

/// Only the question and TC: a real client retries over TCP.
fn truncated(question: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    encode(&emptied(answer::begin(&request)))
}

#[cfg(test)]
mod tests;
