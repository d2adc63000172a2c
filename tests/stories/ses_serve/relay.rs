//! Amazon SES's relay as senders see it: STARTTLS, then AUTH, then mail from verified identities.
//! <https://docs.aws.amazon.com/ses/latest/dg/smtp-connect.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// An accepted message.
#[derive(Clone, Debug)]
pub struct Taken {
    pub mail_from: String,
    pub raw: String,
}

impl Taken {
    /// A header field, by its exact name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let header = self.raw.lines().take_while(|line| !line.is_empty());
        header.into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The relay; it runs until the tests end.
pub struct Relay {
    /// Its self-signed certificate.
    pub pem: String,
    shared: Arc<Shared>,
}

struct Shared {
    login: (String, String),
    tls: Arc<ServerConfig>,
    verified: Mutex<BTreeSet<String>>,
    taken: Mutex<Vec<Taken>>,
}

impl Relay {
    pub fn start(address: SocketAddr, name: &str, user: &str, password: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let shared = Arc::new(Shared {
            login: (user.to_owned(), password.to_owned()),
            tls: Arc::new(tls),
            verified: Mutex::default(),
            taken: Mutex::default(),
        });
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // Clients may disconnect.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { pem: made.cert.pem(), shared }
    }

    /// Accepts mail from this domain.
    pub fn verify(&self, domain: &str) {
        self.shared.verified.lock().unwrap().insert(domain.to_owned());
    }

    /// The accepted messages, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut plain = BufReader::new(stream);
        write!(plain.get_mut(), "220 email-smtp.amazonaws.com ESMTP SimpleEmailService\r\n")?;
        loop {
            let line = line(&mut plain)?;
            match verb(&line).as_str() {
                "EHLO" => write!(plain.get_mut(), "250-email-smtp.amazonaws.com\r\n250-8BITMIME\r\n250 STARTTLS\r\n")?,
                "STARTTLS" => break write!(plain.get_mut(), "220 Ready to start TLS\r\n")?,
                _ => write!(plain.get_mut(), "530 Must issue a STARTTLS command first\r\n")?,
            }
        }
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(std::io::Error::other)?;
        self.talk(BufReader::new(StreamOwned::new(connection, plain.into_inner())))
    }

    fn talk<S: Read + Write>(&self, mut stream: BufReader<S>) -> std::io::Result<()> {
        let (mut knows, mut mail_from) = (false, None);
        loop {
            let command = line(&mut stream)?;
            let say = |stream: &mut BufReader<S>, text: &str| write!(stream.get_mut(), "{text}\r\n");
            match verb(&command).as_str() {
                "EHLO" => {
                    let offers = "250-email-smtp.amazonaws.com\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 Ok";
                    say(&mut stream, offers)?;
                }
                "AUTH" => {
                    knows = self.opens(&command, &mut stream)?;
                    let reply = match knows {
                        true => "235 Authentication successful.",
                        false => "535 Authentication Credentials Invalid",
                    };
                    say(&mut stream, reply)?;
                }
                "MAIL" if !knows => say(&mut stream, "530 Authentication required")?,
                "MAIL" => {
                    let from = between(&command, '<', '>').to_owned();
                    let domain = from.split('@').nth(1).unwrap_or_default().to_owned();
                    if self.verified.lock().unwrap().contains(&domain) {
                        mail_from = Some(from);
                        say(&mut stream, "250 Ok")?;
                    } else {
                        say(&mut stream, "554 Message rejected: Email address is not verified.")?;
                    }
                }
                "DATA" => {
                    say(&mut stream, "354 End data with <CR><LF>.<CR><LF>")?;
                    let raw = data(&mut stream)?;
                    let mail_from = mail_from.take().unwrap_or_default();
                    self.taken.lock().unwrap().push(Taken { mail_from, raw });
                    say(&mut stream, "250 Ok 0102018f")?;
                }
                "QUIT" => return say(&mut stream, "221 Bye"),
                _ => say(&mut stream, "250 Ok")?,
            }
        }
    }

    /// True if AUTH (PLAIN, RFC 4616, or LOGIN) has the expected name and password.
    fn opens<S: Read + Write>(&self, command: &str, stream: &mut BufReader<S>) -> std::io::Result<bool> {
        let mut ask = |prompt: &str| {
            write!(stream.get_mut(), "334 {prompt}\r\n")?;
            line(stream).map(|answer| decoded(&answer))
        };
        let mut words = command.split(' ').skip(1);
        let (mechanism, initial) = (words.next().unwrap_or_default(), words.next());
        let (user, password) = match mechanism {
            "PLAIN" => {
                let response = initial.map(decoded).map_or_else(|| ask(""), Ok)?;
                let mut parts = response.split('\0').skip(1).map(str::to_owned);
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            _ => (ask("VXNlcm5hbWU6")?, ask("UGFzc3dvcmQ6")?),
        };
        Ok((user, password) == self.login)
    }
}

fn line<S: Read>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Up to the line with the dot alone (RFC 5321 §4.5.2).
fn data<S: Read>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut raw = String::new();
    loop {
        let line = line(stream)?;
        if line == "." {
            return Ok(raw);
        }
        raw += line.strip_prefix('.').unwrap_or(&line);
        raw.push('\n');
    }
}

fn verb(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

fn between(text: &str, open: char, close: char) -> &str {
    let inside = text.split_once(open).map_or("", |(_, rest)| rest);
    inside.split_once(close).map_or("", |(inside, _)| inside)
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
}
