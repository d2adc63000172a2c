//! An S3 server for tests (moto), and a fault-injecting proxy.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A moto server, killed on drop.
pub(crate) struct Moto {
    process: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts a server from the Python environment that `tests/run` creates.
    pub(crate) async fn start() -> Self {
        // As `main` does. Fails if another test has done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/moto_server");
        let port = crate::free_address::free_address().port();
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|e| panic!("{}: {e}: run tests/run once", program.display()));
        let started = Self { process, address: ([127, 0, 0, 1], port).into() };
        let begin = Instant::now();
        while TcpStream::connect(started.address).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(120), "moto did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        started
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a bucket, unless it exists.
    pub(crate) async fn make_bucket(&self, name: &str) {
        let request =
            format!("PUT /{name} HTTP/1.1\r\nHost: s3.amazonaws.com\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How the proxy treats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Responds with this status, without forwarding the request.
    Status(u16),
    /// Reads the request and never responds.
    Stall,
    /// Forwards half of the body, then closes both connections.
    CutUpload,
    /// Forwards the request, and responds with 500.
    FailAfterSuccess,
    /// Forwards the request and half of the response, then closes the connection.
    CutAnswer,
    /// Forwards the request, and the response with a bit flipped in the middle of its body.
    FlipAnswer,
}

/// An HTTP proxy, with one request per connection.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    requests: usize,
}

impl FaultProxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // Broken connections are expected.
                tokio::spawn(async move { serve(client, server, &state).await.unwrap_or(()) });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The faults of the next requests, one each.
    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().next = faults.into_iter().collect();
    }

    /// The fault of all further requests.
    pub(crate) fn always(&self, fault: Fault) {
        self.state.lock().unwrap().always = Some(fault);
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        (state.always, state.next) = (None, VecDeque::new());
    }

    /// The number of faults of [`Self::next`] that were not applied yet.
    pub(crate) fn left(&self) -> usize {
        self.state.lock().unwrap().next.len()
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn fault(&mut self) -> Fault {
        self.requests += 1;
        self.next.pop_front().or(self.always).unwrap_or(Fault::None)
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let Some((head, body_size)) = read_head(&mut client).await? else { return Ok(()) };
    let fault = state.lock().unwrap().fault();
    if fault == Fault::Stall {
        // Until the client closes the connection.
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    let mut body = vec![0; body_size];
    client.read_exact(&mut body).await?;
    if let Fault::Status(status) = fault {
        return client.write_all(&refusal(status)).await;
    }
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(head.as_bytes()).await?;
    if fault == Fault::CutUpload {
        return upstream.write_all(&body[..body.len() / 2]).await;
    }
    upstream.write_all(&body).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match fault {
        Fault::FailAfterSuccess => client.write_all(&refusal(500)).await,
        Fault::CutAnswer => client.write_all(&answer[..answer.len() / 2]).await,
        Fault::FlipAnswer => {
            let begin = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let middle = begin + (answer.len() - begin) / 2;
            answer[middle] ^= 1;
            client.write_all(&answer).await
        }
        _ => client.write_all(&answer).await,
    }
}

/// The head of a request, with `Connection: close`, and the length of its body. `None` at the end of the connection.
async fn read_head(client: &mut TcpStream) -> std::io::Result<Option<(String, usize)>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return Ok(None),
        }
    }
    let text = String::from_utf8(head).unwrap();
    let value = |line: &str, name: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    let size = text.lines().find_map(|line| value(line, "content-length")).map_or(0, |size| size.parse().unwrap());
    let kept = text.trim_end().lines().filter(|line| value(line, "connection").is_none());
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    Ok(Some((format!("{head}Connection: close\r\n\r\n"), size)))
}

fn refusal(status: u16) -> Vec<u8> {
    let text = "<Error><Code>SlowDown</Code></Error>";
    format!("HTTP/1.1 {status} Refused\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
        .into_bytes()
}
