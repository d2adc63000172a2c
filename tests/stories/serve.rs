//! The daemon as an operator runs it: `serve` with a configuration file, a certificate, and a relay for outgoing mail.

use crate::engine::Engine;
use crate::free_address::free_address;
use crate::rest::Rest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inboxlayer");

/// A daemon on fixed ports, so that it has the same after a restart.
pub struct Serve {
    child: Option<Child>,
    folder: tempfile::TempDir,
    data_dir: PathBuf,
    engine: Engine,
    environment: Vec<(String, String)>,
    pub http: SocketAddr,
    pub submission: SocketAddr,
    pub submissions: SocketAddr,
    pub mx: SocketAddr,
    pub imap: SocketAddr,
    pub imaps: SocketAddr,
    pub operator: String,
}

impl Serve {
    /// Makes folder, certificate, configuration and an operator token, and starts. `more` is appended to the configuration. There
    /// is no DNS.
    pub fn start(relay: SocketAddr, more: &str) -> Self {
        Self::start_with_dns(relay, "resolvers = [\"127.0.0.1:9\"]", more)
    }

    /// The same with these lines in `[dns]`.
    pub fn start_with_dns(relay: SocketAddr, dns: &str, more: &str) -> Self {
        let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.port());
        Self::start_in(&[], dns, &queue, more)
    }

    /// The same with environment variables and these lines in `[queue]`.
    pub fn start_in(environment: &[(&str, &str)], dns: &str, queue: &str, more: &str) -> Self {
        Self::start_on(Engine::fresh(), environment, dns, queue, more)
    }

    /// The same on a store that there may be other daemons on.
    pub fn start_on(engine: Engine, environment: &[(&str, &str)], dns: &str, queue: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let [http, submission, submissions, mx, imap, imaps] = std::array::from_fn(|_| free_address());
        let at = |name: &str| folder.path().join(name).display().to_string();
        let data_dir = folder.path().join("data");
        let text = format!(
            r#"
data_dir = "{data}"
[tls]
certificate = "{certificate}"
private_key = "{key}"
[http]
listen = "{http}"
[smtp]
mx = "{mx}"
submission = "{submission}"
submissions = "{submissions}"
[imap]
imap = "{imap}"
imaps = "{imaps}"
[dns]
{dns}
[queue]
allow_networks = ["127.0.0.0/8"]
retry_pauses = ["1s"]
{queue}
{more}
"#,
            data = data_dir.display(),
            certificate = at("cert.pem"),
            key = at("key.pem"),
        );
        std::fs::write(folder.path().join("inboxlayer.toml"), text).unwrap();
        let operator = String::new();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut serve = Self {
            child: None,
            folder,
            data_dir,
            engine,
            environment,
            http,
            submission,
            submissions,
            mx,
            imap,
            imaps,
            operator,
        };
        let made = serve.program(&["token", "create", "--operator"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let words = String::from_utf8(made.stdout).unwrap();
        serve.operator = words.split_ascii_whitespace().find(|w| w.starts_with("ilt_")).expect("a token").to_owned();
        serve.launch();
        serve
    }

    /// Starts the program on the same data and ports, and waits until it listens.
    pub fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child =
            self.program(&["serve"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let began = Instant::now();
        while TcpStream::connect(self.imaps).is_err() || TcpStream::connect(self.http).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(120), "{ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends SIGTERM and waits for the end. True if the exit code is 0.
    pub fn terminate(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let printed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(printed.success());
        child.wait().unwrap().success()
    }

    /// The REST API, as the operator.
    pub fn api(&self) -> Rest {
        Rest::new(&format!("http://{}", self.http), &self.operator)
    }

    /// A new account with one inbox: its id, the inbox's id, and a token.
    pub fn account(&self, inbox: &str) -> (String, String, String) {
        let api = self.api();
        let account = api.post("/api/v1/accounts", json!({"name": inbox})).expect(201).at("/account_id").to_owned();
        let inbox = api.post("/api/v1/inboxes", json!({"name": inbox, "account_id": account})).expect(201);
        let token = api.post("/api/v1/tokens", json!({"name": "test", "account_id": account})).expect(201);
        (account, inbox.at("/id").to_owned(), token.at("/token").to_owned())
    }

    /// The PEM file that clients trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("inboxlayer.toml")
    }

    /// What its store is on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// From the next start on its store is another one.
    pub fn move_to(&mut self, engine: Engine, data_dir: PathBuf) {
        self.environment.push(("INBOXLAYER_DATA_DIR".to_owned(), data_dir.display().to_string()));
        (self.engine, self.data_dir) = (engine, data_dir);
    }

    /// The program with its configuration and environment.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(self.config()).env("RUST_LOG", "inboxlayer=info,warn");
        command.envs(self.engine.environment());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The warnings and errors that it has logged, but for those about how stories run it: without a DNS, and on a database that does not sync.
    pub fn problems(&self) -> Vec<String> {
        let log = self.log();
        let problems = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        let expected = |line: &str| line.contains("app::self_check") || line.contains("fsync = off");
        problems.filter(|line| !expected(line)).map(str::to_owned).collect()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the daemon's last lines ---\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Writes a fresh self-signed pair, `cert.pem` and `key.pem`.
pub fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// A relay that counts messages by subject, and attempts by recipient. It accepts everything but mail for `later@`, which it defers.
pub struct Relay {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    subjects: BTreeMap<String, u32>,
    attempts: BTreeMap<String, Attempts>,
}

/// Attempts to deliver to a recipient.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    pub begun: u32,
    now: u32,
    /// The most at one time.
    pub at_once: u32,
}

/// An attempt that is under way, from RCPT to the end of the transaction or connection.
struct Attempt<'a> {
    kept: &'a Mutex<Kept>,
    recipient: String,
}

impl<'a> Attempt<'a> {
    fn begin(kept: &'a Mutex<Kept>, recipient: String) -> Self {
        let mut all = kept.lock().unwrap();
        let attempts = all.attempts.entry(recipient.clone()).or_default();
        (attempts.begun, attempts.now) = (attempts.begun + 1, attempts.now + 1);
        attempts.at_once = attempts.at_once.max(attempts.now);
        drop(all);
        Self { kept, recipient }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut all = self.kept.lock().unwrap();
        all.attempts.get_mut(&self.recipient).unwrap().now -= 1;
    }
}

impl Relay {
    pub fn start() -> Self {
        Self::slow(Duration::ZERO)
    }

    /// One that takes so long for a message.
    pub fn slow(pause: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::<Mutex<Kept>>::default();
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&shared);
                // The daemon may be killed in the middle of a session.
                std::thread::spawn(move || drop(take_mail(stream, &kept, pause)));
            }
        });
        Self { address, kept }
    }

    pub fn subjects(&self) -> BTreeMap<String, u32> {
        self.kept.lock().unwrap().subjects.clone()
    }

    /// The attempts by recipient.
    pub fn attempts(&self) -> BTreeMap<String, Attempts> {
        self.kept.lock().unwrap().attempts.clone()
    }
}

fn take_mail(stream: TcpStream, kept: &Mutex<Kept>, pause: Duration) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    out.write_all(b"220 relay ESMTP\r\n")?;
    let mut subject = None;
    let mut in_data = false;
    let mut attempts = Vec::new();
    for line in BufReader::new(stream).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if in_data {
            if let Some(text) = line.strip_prefix("Subject: ") {
                subject.get_or_insert(text.to_owned());
            }
            if line == "." {
                in_data = false;
                std::thread::sleep(pause);
                attempts.clear();
                // Counted before the reply: what was acknowledged has arrived.
                *kept.lock().unwrap().subjects.entry(subject.take().unwrap_or_default()).or_insert(0) += 1;
                out.write_all(b"250 2.0.0 taken\r\n")?;
            }
            continue;
        }
        let reply: &[u8] = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => b"250-relay\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            "DATA" => {
                in_data = true;
                b"354 go on\r\n"
            }
            "QUIT" => return out.write_all(b"221 bye\r\n"),
            "RCPT" if line.contains("<later@") => b"451 4.3.0 later\r\n",
            "RCPT" => {
                let recipient = line.split(['<', '>']).nth(1).unwrap_or_default();
                attempts.push(Attempt::begin(kept, recipient.to_owned()));
                b"250 2.1.5 ok\r\n"
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        out.write_all(reply)?;
    }
    Ok(())
}

/// The rows of a list answer: an array, or the `data` of an object.
pub fn rows(body: &Value) -> &[Value] {
    body.as_array().or_else(|| body["data"].as_array()).map(Vec::as_slice).unwrap_or_default()
}
