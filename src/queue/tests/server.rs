//! A mail server that says what its script tells it to, and remembers what it heard.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// What the server answers to lines that begin so. The first rule that fits counts; without one it is friendly.
#[derive(Clone, Default)]
pub struct Script {
    /// Beginning of a command (`END` is the end of data, `HELLO` the greeting), and the reply; `!` drops the connection, `?` is none.
    pub rules: Vec<(&'static str, &'static str)>,
    /// What EHLO offers.
    pub offers: Vec<&'static str>,
    /// STARTTLS, with this certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS from the first octet.
    pub implicit: bool,
    /// Answers 220 to STARTTLS, and then rubbish.
    pub breaks_tls: bool,
    /// The rules begin with the second message of a connection.
    pub second_message: bool,
    /// Closes the connection after a message.
    pub closes: bool,
    /// With more sessions at once, it greets with 421.
    pub sessions: Option<usize>,
    /// The end of data is answered only with a permit of this.
    pub gate: Option<Arc<Semaphore>>,
}

/// What came over one connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub commands: Vec<String>,
    /// The messages of this connection that came to their end, after the transparency procedure.
    pub messages: Vec<Vec<u8>>,
    pub tls: bool,
    /// The TLS session is an earlier one, resumed.
    pub is_resumed: bool,
}

impl Heard {
    /// The last MAIL command.
    pub fn mail(&self) -> &str {
        self.commands.iter().rfind(|command| command.starts_with("MAIL")).map_or("", String::as_str)
    }

    /// The last message.
    pub fn text(&self) -> String {
        self.messages.last().map(|message| String::from_utf8_lossy(message).into_owned()).unwrap_or_default()
    }
}

pub struct Server {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    sessions: Arc<AtomicUsize>,
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
        let sessions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sessions);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, sessions) = (Arc::clone(&rules), Arc::clone(&log), Arc::clone(&count));
                sessions.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let place = {
                        let mut log = log.lock().unwrap();
                        log.push(Heard::default());
                        log.len() - 1
                    };
                    let visit = Visit { script, log, place, sessions };
                    let _ = visit.serve(stream).await;
                    visit.sessions.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { address, script, heard, sessions, task }
    }

    pub fn now(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// All connections so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> usize {
        self.sessions.load(SeqCst)
    }

    /// Commands so far that begin so.
    pub fn commands(&self, begin: &str) -> usize {
        self.heard().iter().flat_map(|heard| &heard.commands).filter(|command| command.starts_with(begin)).count()
    }

    /// Messages that came to their end.
    pub fn messages(&self) -> usize {
        self.heard().iter().map(|heard| heard.messages.len()).sum()
    }

    /// They, by whichever connection they came.
    pub fn texts(&self) -> Vec<String> {
        let text = |message: &Vec<u8>| String::from_utf8_lossy(message).into_owned();
        self.heard().iter().flat_map(|heard| heard.messages.iter().map(text).collect::<Vec<_>>()).collect()
    }

    /// The only message that came to its end.
    pub fn only_message(&self) -> Heard {
        let mut whole: Vec<_> = self.heard().into_iter().filter(|h| !h.messages.is_empty()).collect();
        assert_eq!((whole.len(), self.messages()), (1, 1), "{whole:?}");
        whole.pop().unwrap()
    }
}

struct Visit {
    /// As it is now, whatever it was when the connection began.
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Heard>>>,
    place: usize,
    sessions: Arc<AtomicUsize>,
}

impl Visit {
    async fn serve(&self, stream: tokio::net::TcpStream) -> io::Result<()> {
        let Script { tls, implicit, breaks_tls, .. } = self.script();
        let accept = async |stream| {
            let secure = TlsAcceptor::from(tls.unwrap()).accept(stream).await?;
            let kind = secure.get_ref().1.handshake_kind();
            self.note(|heard| {
                heard.tls = true;
                heard.is_resumed = kind == Some(rustls::HandshakeKind::Resumed);
            });
            io::Result::Ok(BufReader::new(secure))
        };
        if implicit {
            self.talk(&mut accept(stream).await?, true, true).await?;
            return Ok(());
        }
        let mut plain = BufReader::new(stream);
        if !self.talk(&mut plain, true, false).await? {
            return Ok(());
        }
        let mut plain = plain.into_inner();
        if breaks_tls {
            plain.write_all(b"this is no TLS\r\n").await?;
            return Ok(());
        }
        self.talk(&mut accept(plain).await?, false, true).await?;
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.log.lock().unwrap()[self.place]);
    }

    fn script(&self) -> Script {
        self.script.lock().unwrap().clone()
    }

    fn rule(&self, line: &str) -> Option<&'static str> {
        let script = self.script();
        let messages = self.log.lock().unwrap()[self.place].messages.len();
        if script.second_message && messages < if line == "END" { 2 } else { 1 } {
            return None;
        }
        script.rules.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, reply)| *reply)
    }

    /// True when STARTTLS follows.
    async fn talk<S>(&self, stream: &mut BufReader<S>, greet: bool, tls: bool) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let say = async |stream: &mut BufReader<S>, reply: &str| {
            match reply {
                "!" => return Err(io::ErrorKind::ConnectionAborted.into()),
                "?" => return std::future::pending().await,
                _ => {}
            }
            stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
            stream.get_mut().flush().await
        };
        if greet {
            if self.script().sessions.is_some_and(|limit| self.sessions.load(SeqCst) > limit) {
                return say(stream, "421 4.7.0 too many connections").await.map(|()| false);
            }
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
                if reply.starts_with("421") {
                    return Ok(false);
                }
                continue;
            }
            match verb {
                "EHLO" => {
                    let script = self.script();
                    let mut lines = vec!["scripted"];
                    lines.extend(&script.offers);
                    if (script.tls.is_some() || script.breaks_tls) && !tls {
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
                    self.note(|heard| {
                        heard.messages.push(message);
                    });
                    if let Some(gate) = self.script().gate {
                        gate.acquire().await.unwrap().forget();
                    }
                    say(stream, self.rule("END").unwrap_or("250 2.0.0 taken as 42")).await?;
                    if self.script().closes {
                        return Ok(false);
                    }
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
