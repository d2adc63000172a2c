//! A mail server that says what its script tells it to, and remembers what it heard.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server answers to lines that begin so. The first rule that fits counts; without one it is friendly.
#[derive(Clone, Default)]
pub struct Script {
    /// Beginning of a command (`END` is the end of data, `HELLO` the greeting), and the reply; `!` drops the connection.
    pub rules: Vec<(&'static str, &'static str)>,
    /// What EHLO offers.
    pub offers: Vec<&'static str>,
    /// STARTTLS, with this certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS from the first octet.
    pub implicit: bool,
    /// Answers 220 to STARTTLS, and then rubbish.
    pub breaks_tls: bool,
}

/// A message the server took, or was about to.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub commands: Vec<String>,
    /// After the transparency procedure.
    pub message: Vec<u8>,
    pub tls: bool,
}

impl Heard {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.message).into_owned()
    }
}

pub struct Server {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script));
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (rules, log) = (Arc::clone(&script), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (rules.lock().unwrap().clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    let place = {
                        let mut log = log.lock().unwrap();
                        log.push(Heard::default());
                        log.len() - 1
                    };
                    let visit = Visit { script, log, place };
                    let _ = visit.serve(stream).await;
                });
            }
        });
        Self { address, script, heard, task }
    }

    pub fn now(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// All connections so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The only message that came to its end.
    pub fn only_message(&self) -> Heard {
        let mut whole: Vec<_> = self.heard().into_iter().filter(|h| !h.message.is_empty()).collect();
        assert_eq!(whole.len(), 1, "{whole:?}");
        whole.pop().unwrap()
    }
}

struct Visit {
    script: Script,
    log: Arc<Mutex<Vec<Heard>>>,
    place: usize,
}

impl Visit {
    async fn serve(self, stream: tokio::net::TcpStream) -> io::Result<()> {
        if self.script.implicit {
            let acceptor = TlsAcceptor::from(self.script.tls.clone().unwrap());
            let mut secure = BufReader::new(acceptor.accept(stream).await?);
            self.note(|heard| heard.tls = true);
            self.talk(&mut secure, true, true).await?;
            return Ok(());
        }
        let mut plain = BufReader::new(stream);
        if !self.talk(&mut plain, true, false).await? {
            return Ok(());
        }
        let mut plain = plain.into_inner();
        if self.script.breaks_tls {
            plain.write_all(b"this is no TLS\r\n").await?;
            return Ok(());
        }
        let acceptor = TlsAcceptor::from(self.script.tls.clone().unwrap());
        let mut secure = BufReader::new(acceptor.accept(plain).await?);
        self.note(|heard| heard.tls = true);
        self.talk(&mut secure, false, true).await?;
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.log.lock().unwrap()[self.place]);
    }

    fn rule(&self, line: &str) -> Option<&'static str> {
        self.script.rules.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, reply)| *reply)
    }

    /// True when STARTTLS follows.
    async fn talk<S>(&self, stream: &mut BufReader<S>, greet: bool, tls: bool) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let say = async |stream: &mut BufReader<S>, reply: &str| {
            if reply == "!" {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
            stream.get_mut().flush().await
        };
        if greet {
            say(stream, self.rule("HELLO").unwrap_or("220 scripted")).await?;
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            let line = line.trim_end();
            self.note(|heard| heard.commands.push(line.to_owned()));
            let verb = line.split(' ').next().unwrap_or_default();
            if let Some(reply) = self.rule(line) {
                say(stream, reply).await?;
                continue;
            }
            match verb {
                "EHLO" => {
                    let mut lines = vec!["scripted"];
                    lines.extend(&self.script.offers);
                    if (self.script.tls.is_some() || self.script.breaks_tls) && !tls {
                        lines.push("STARTTLS");
                    }
                    let last = lines.len() - 1;
                    let reply =
                        lines.iter().enumerate().map(|(i, l)| format!("250{}{l}", if i == last { ' ' } else { '-' }));
                    say(stream, &reply.collect::<Vec<_>>().join("\r\n")).await?;
                }
                "STARTTLS" => {
                    say(stream, "220 go on").await?;
                    return Ok(true);
                }
                "AUTH" => say(stream, "235 2.7.0 welcome").await?,
                "DATA" => {
                    say(stream, "354 go on").await?;
                    let message = read_data(stream).await?;
                    self.note(|heard| heard.message = message);
                    say(stream, self.rule("END").unwrap_or("250 2.0.0 taken as 42")).await?;
                }
                "QUIT" => {
                    say(stream, "221 bye").await?;
                    return Ok(false);
                }
                _ => say(stream, "250 2.1.0 fine").await?,
            }
        }
    }
}

/// RFC 5321 §4.5.2, by the letter.
async fn read_data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

/// A certificate of its own making for these names, as PEM, and the server side with it.
pub fn certificate(names: &[&str]) -> (String, Arc<rustls::ServerConfig>) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), Arc::new(config))
}
