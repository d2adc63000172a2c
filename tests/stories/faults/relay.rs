//! A relay before a name server, which forwards queries and answers unchanged and records the queries. Without TCP it acts like
//! a firewall that passes UDP only.

use hickory_proto::op::Message;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A query to a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoggedQuery {
    /// The server.
    pub server: SocketAddr,
    /// The client.
    pub by: IpAddr,
    /// Over TCP.
    pub tcp: bool,
    /// The name, in lower case.
    pub name: String,
    /// The type.
    pub record_type: String,
    /// The flags, and the DO bit of EDNS.
    pub flags: Vec<&'static str>,
    /// The message id: a packet that is sent again has the same.
    pub id: u16,
}

/// The queries to several servers, in order.
pub type Log = Arc<Mutex<Vec<LoggedQuery>>>;

/// Listens at `at` and forwards to the server at `to`, for as long as the process lives.
pub fn stand_before(to: SocketAddr, at: SocketAddr, with_tcp: bool, log: &Log) {
    let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    let kept = Arc::clone(log);
    std::thread::spawn(move || datagrams(&socket, at, to, &kept));
    if with_tcp {
        let (listener, kept) = (TcpListener::bind(at).unwrap(), Arc::clone(log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // Either side may disconnect.
                std::thread::spawn(move || drop(connection(stream, at, to, &kept)));
            }
        });
    }
}

fn datagrams(socket: &UdpSocket, at: SocketAddr, to: SocketAddr, kept: &Mutex<Vec<LoggedQuery>>) {
    let mut buffer = [0; 65_535];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        let question = buffer[..length].to_vec();
        keep(kept, &question, at, peer.ip(), false);
        let back = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let upstream = UdpSocket::bind((to.ip(), 0)).unwrap();
            upstream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut answer = [0; 65_535];
            if upstream.send_to(&question, to).is_ok()
                && let Ok((length, _)) = upstream.recv_from(&mut answer)
            {
                let _ = back.send_to(&answer[..length], peer);
            }
        });
    }
}

fn connection(
    mut client: TcpStream,
    at: SocketAddr,
    to: SocketAddr,
    kept: &Mutex<Vec<LoggedQuery>>,
) -> std::io::Result<()> {
    let by = client.peer_addr()?.ip();
    let mut server = TcpStream::connect(to)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut question)?;
        keep(kept, &question, at, by, true);
        server.write_all(&[&length[..], &question].concat())?;
    }
}

fn keep(kept: &Mutex<Vec<LoggedQuery>>, question: &[u8], server: SocketAddr, by: IpAddr, tcp: bool) {
    let message = Message::from_vec(question).expect("a question");
    let edns = message.edns.as_ref();
    let flags = [
        ("rd", message.metadata.recursion_desired),
        ("ad", message.metadata.authentic_data),
        ("cd", message.metadata.checking_disabled),
        ("edns", edns.is_some()),
        ("do", edns.is_some_and(|edns| edns.flags().dnssec_ok)),
    ];
    for query in &message.queries {
        let logged = LoggedQuery {
            server,
            by,
            tcp,
            name: query.name().to_ascii().to_ascii_lowercase(),
            record_type: query.query_type().to_string(),
            flags: flags.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect(),
            id: message.metadata.id,
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(logged);
    }
}
