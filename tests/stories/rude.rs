//! A raw client for input that no regular client would send, over TCP or TLS.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A longer wait fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// The client.
pub struct Rude {
    stream: Option<Box<dyn Stream>>,
    socket: TcpStream,
    input: Vec<u8>,
}

impl Rude {
    /// Over TCP.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// The same from this source address, in 127.0.0.0/8.
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Self::over(stream)
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let stream: Box<dyn Stream> = Box::new(socket.try_clone().unwrap());
        Self { stream: Some(stream), socket, input: Vec::new() }
    }

    /// With implicit TLS.
    pub fn secure(address: SocketAddr, ca: &Path) -> Self {
        let mut client = Self::connect(address);
        client.start_tls(ca);
        client
    }

    /// The TLS handshake.
    pub fn start_tls(&mut self, ca: &Path) {
        assert!(self.input.is_empty(), "octets before TLS: {:?}", String::from_utf8_lossy(&self.input));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(tls, self.stream.take().unwrap());
        stream.conn.complete_io(&mut stream.sock).expect("a TLS handshake");
        self.stream = Some(Box::new(stream));
    }

    /// Sends octets. Errors are ignored: if the server has closed, its last reply says why.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        let stream = self.stream.as_mut().unwrap();
        let _ = stream.write_all(octets.as_ref()).and_then(|()| stream.flush());
    }

    /// One line, without its line end; `None` when the server has closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut piece = [0; 4096];
            match self.stream.as_mut().unwrap().read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    panic!("no answer; before: {:?}", String::from_utf8_lossy(&self.input))
                }
                Err(_) => return None,
            }
        }
    }

    /// This number of octets; fewer if the server closes.
    pub fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = std::mem::take(&mut self.input);
        let mut piece = vec![0; 64 * 1024];
        while octets.len() < count {
            match self.stream.as_mut().unwrap().read(&mut piece) {
                Ok(read) if read > 0 => octets.extend_from_slice(&piece[..read]),
                _ => break,
            }
        }
        self.input = octets.split_off(octets.len().min(count));
        octets
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut all = String::new();
        while let Some(line) = self.line() {
            all.push_str(&line);
            all.push('\n');
        }
        // An incomplete last line.
        all.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.input)));
        all
    }

    /// Closes the connection, also in the middle of a command.
    pub fn hang_up(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// An SMTP reply, which must begin with `expect`.
    #[track_caller]
    pub fn reply(&mut self, expect: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("closed, not {expect:?}"));
            if line.as_bytes().get(3) != Some(&b'-') {
                assert!(line.starts_with(expect), "{line:?}, not {expect:?}");
                return line;
            }
        }
    }

    /// An SMTP command, and its reply.
    #[track_caller]
    pub fn say(&mut self, command: &str, expect: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.reply(expect)
    }

    /// MAIL, RCPT and DATA.
    #[track_caller]
    pub fn envelope(&mut self, to: &str) {
        self.say("MAIL FROM:<a@outside.example>", "250");
        self.say(&format!("RCPT TO:<{to}>"), "250");
        self.say("DATA", "354");
    }

    /// An IMAP command and its response up to the tagged line (or BYE), which must contain `expect`.
    #[track_caller]
    pub fn ask(&mut self, command: &str, expect: &str) -> Vec<String> {
        self.send(format!("x {command}\r\n"));
        self.answer("x", expect)
    }

    /// An IMAP response up to the tagged line (or BYE), which must contain `expect`.
    #[track_caller]
    pub fn answer(&mut self, tag: &str, expect: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("closed, not {expect:?}; before: {lines:?}"));
            let is_last = line.starts_with(&format!("{tag} ")) || line.starts_with("* BYE");
            lines.push(line);
            if is_last {
                let last = lines.last().unwrap();
                assert!(last.contains(expect), "{last:?}, not {expect:?}; before: {lines:?}");
                return lines;
            }
        }
    }
}
