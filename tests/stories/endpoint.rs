//! An HTTP endpoint for webhooks, which answers as a story wants it to.

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Maximum wait for requests. A daemon that is killed in an attempt has a lease on it for two minutes.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Status(u16),
    /// 503 with this `Retry-After`.
    RetryAfter(u32),
    Redirect(String),
    /// Never.
    Hang,
    /// One octet in a second.
    OctetByOctet,
    /// 200, and a body that does not end.
    Endless,
    /// Interim responses without end, as fast as the client reads.
    Interim,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Received {
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub body: Value,
}

impl Received {
    pub fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_default()
    }

    pub fn sequence(&self) -> u64 {
        self.body["sequence"].as_u64().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    /// Of the next requests; the last stays.
    behaviours: VecDeque<Behaviour>,
    connections: usize,
}

/// Listens until the test ends.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Endpoint {
    /// On loopback, answering 204.
    pub fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { behaviours: [Behaviour::Status(204)].into(), ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().unwrap().connections += 1;
                let shared = Arc::clone(&shared);
                // The daemon may be killed in the middle of a request.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next requests are answered so; those after them as the last one.
    pub fn behave(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state.lock().unwrap().behaviours = behaviours.into_iter().collect();
    }

    /// Requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// The requests, once `done` is true for them.
    #[track_caller]
    pub fn wait(&self, done: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let began = Instant::now();
        loop {
            let received = self.received();
            if done(&received) {
                return received;
            }
            let ids: Vec<_> = received.iter().map(|one| (one.id(), one.sequence())).collect();
            assert!(began.elapsed() < PATIENCE, "timed out with {} requests: {ids:?}", received.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this many requests have arrived, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait(|received| received.len() >= count)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        assert!(line.starts_with("POST "), "{line}");
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let text = String::from_utf8(body).expect("UTF-8");
        let behaviour = {
            let mut state = state.lock().unwrap();
            state.received.push(Received { headers, body: serde_json::from_str(&text).expect("JSON"), text });
            match state.behaviours.len() {
                1 => state.behaviours.front().cloned(),
                _ => state.behaviours.pop_front(),
            }
        };
        answer(&mut out, &behaviour.expect("a behaviour"))?;
    }
}

fn answer(out: &mut TcpStream, behaviour: &Behaviour) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Status(204) => out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
        Behaviour::Status(status) => {
            out.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nno").as_bytes())
        }
        Behaviour::RetryAfter(seconds) => {
            out.write_all(format!("HTTP/1.1 503 x\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        }
        Behaviour::Redirect(to) => {
            out.write_all(format!("HTTP/1.1 307 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        }
        Behaviour::Hang => {
            // Until the client hangs up.
            let mut rest = Vec::new();
            out.try_clone()?.read_to_end(&mut rest).map(|_| ())
        }
        Behaviour::OctetByOctet => {
            for octet in
                b"HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"
            {
                out.write_all(&[*octet])?;
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        Behaviour::Endless => {
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                out.write_all(b"8\r\nxxxxxxxx\r\n")?;
            }
        }
        Behaviour::Interim => {
            let interim = ["100 Continue", "102 Processing", "103 Early Hints"];
            let many = interim.map(|status| format!("HTTP/1.1 {status}\r\n\r\n")).concat().repeat(1000);
            loop {
                out.write_all(many.as_bytes())?;
            }
        }
    }
}
