//! A DNS server: UDP and TCP on one port, authoritative for the zone of signing keys; the sandbox's play internet has
//! its name servers here too.
//!
//! Invariant: no answer over UDP is larger than the asker said it takes, nor than 1232 octets; what does not fit is cut
//! with TC set, and TCP has it whole. In the open internet a network is answered only so often over UDP, so that forged
//! questions gain nothing.
//!
//! RFC 1035 §4.2 (transport), RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 7766 (TCP).

mod answer;
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

/// The largest answer over UDP that no path is likely to fragment.
const UDP_PAYLOAD: u16 = 1232;
/// UDP questions at work at once; more are dropped, and asked again.
const IN_FLIGHT: usize = 256;
/// How long a TCP connection may be silent (RFC 7766 §6.2.3: seconds).
const TCP_IDLE: Duration = Duration::from_secs(5);
/// No resolver needs more than a few, and those who would take all the places need many addresses.
const TCP_CAPACITY: Capacity =
    Capacity { total: 512, per_address: 16, per_network: 64, idle_under_load: Duration::from_secs(2) };
/// Tries for a port that is free for UDP and TCP both.
const PORT_TRIES: usize = 16;

/// What is answered from; clones share it.
#[derive(Clone, Debug)]
pub struct Zones(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: OnceLock<KeysZone>,
    play: Option<Play>,
}

impl Zones {
    /// The zone of keys alone; every other name is refused.
    pub fn of_keys(zone: KeysZone) -> Self {
        Self(Arc::new(Inner { keys: OnceLock::from(zone), play: None }))
    }

    /// A play internet, which is answered for whole.
    pub fn of_play(play: Play) -> Self {
        Self(Arc::new(Inner { keys: OnceLock::new(), play: Some(play) }))
    }

    /// Adds the zone of keys to a play internet, once the store is open. A second zone is not taken.
    pub fn add_keys(&self, zone: KeysZone) {
        let _ = self.0.keys.set(zone);
    }
}

/// A DNS server's sockets, bound.
#[derive(Debug)]
pub struct Authority {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Authority {
    /// Binds UDP and TCP at one address. Port 0: one that is free for both.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown. `limited`: networks are held to a rate over UDP; for every listener that the open
    /// internet reaches.
    pub async fn serve(self, zones: Zones, limited: bool, shutdown: Shutdown) {
        let limiter = limited.then(Limiter::new);
        let tcp_zones = zones.clone();
        let over_tcp = listener::serve(
            "dns",
            self.tcp,
            TCP_CAPACITY,
            b"",
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
                // An earlier answer met a closed port; anything else would repeat at once.
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    tracing::warn!(%error, "the DNS socket could not be read");
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
                // Lost like any datagram; the asker asks again.
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
            // A fault of the play internet: silence until the asker gives up.
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

/// The answer as octets, none where there must be none. `at_most` bounds it, as does what the asker takes.
async fn reply(zones: &Zones, question: &[u8], at_most: Option<u16>) -> Option<Vec<u8>> {
    let request = match Message::from_vec(question) {
        Ok(request) => request,
        Err(_) => return unreadable(question),
    };
    // Two servers that answer each other's answers would never end.
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

/// With TC, and no records at all: a part of a set is of use to nobody (RFC 2181 §9), and an encoder that is stopped
/// half-way leaves half a record behind.
fn emptied(mut response: Message) -> Message {
    response.metadata.truncation = true;
    response.answers.clear();
    response.authorities.clear();
    response
}

/// FORMERR, if there is a header to take the id from.
fn unreadable(question: &[u8]) -> Option<Vec<u8>> {
    let ([high, low, flags, ..], true) = (question, question.len() >= 12) else { return None };
    if flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([*high, *low]);
    encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
}

/// Nothing but the question and TC: whoever really is there asks again over TCP.
fn truncated(question: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    encode(&emptied(answer::begin(&request)))
}

#[cfg(test)]
mod tests;
