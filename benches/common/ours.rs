//! Our server: one or more daemons as `serve` runs them, with accounts of one inbox each.

use crate::target::{Target, User, wait_for};
use anyhow::{Context, Result, bail};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use tempfile::TempDir;

/// A certificate for `localhost`, used by all servers of a run.
pub struct Pair {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    _dir: TempDir,
}

impl Pair {
    pub fn make() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, private_key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&private_key, made.signing_key.serialize_pem())?;
        Ok(Self { certificate, private_key, _dir: dir })
    }

    /// A client that trusts it.
    pub fn roots(&self) -> Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.certificate)?)?;
        Ok(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }
}

/// A port that is probably free.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The daemons of a target, and their database.
pub struct Setup {
    pub name: &'static str,
    pub daemons: usize,
    /// Accounts, with an inbox each.
    pub accounts: usize,
    /// The URL of a database on PostgreSQL, and the server's process; otherwise SQLite.
    pub postgres: Option<(String, u32)>,
}

pub struct Server {
    pub target: Target,
    daemons: Daemons,
    /// Of each daemon.
    logs: Vec<PathBuf>,
    _dir: TempDir,
}

/// Killed when dropped, if they have not ended.
struct Daemons(Vec<Child>);

impl Drop for Daemons {
    fn drop(&mut self) {
        for daemon in &mut self.0 {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The listeners of a daemon.
struct Addresses {
    http: SocketAddr,
    submissions: SocketAddr,
    imaps: SocketAddr,
    mx: SocketAddr,
}

impl Server {
    pub async fn start(pair: &Pair, sink: SocketAddr, setup: &Setup) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (mut daemons, mut addresses, mut logs) = (Daemons(Vec::new()), Vec::new(), Vec::new());
        let mut operator = None;
        for number in 0..setup.daemons {
            let address = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
            let at = Addresses { http: address()?, submissions: address()?, imaps: address()?, mx: address()? };
            let config = dir.path().join(format!("{number}.toml"));
            std::fs::write(&config, configuration(pair, sink, setup, &at, &dir.path().join(number.to_string())))?;
            if operator.is_none() {
                operator = Some(create_operator(&config)?);
            }
            let log = dir.path().join(format!("{number}.log"));
            let stderr = std::fs::File::create(&log)?;
            daemons.0.push(program().args(["serve", "--config"]).arg(&config).stderr(stderr).spawn()?);
            logs.push(log);
            for address in [at.http, at.submissions, at.imaps, at.mx] {
                wait_for(address).await?;
            }
            addresses.push(at);
        }
        let (first, token) = (addresses.first().context("no daemon")?, operator.context("no operator")?);
        let api = Api { base: format!("http://{}/api/v1", first.http), token, client: reqwest::Client::new() };
        let mut users = Vec::new();
        for number in 0..setup.accounts {
            users.push(api.user(&format!("bench{number}")).await?);
        }
        let mut pids: Vec<u32> = daemons.0.iter().map(Child::id).collect();
        pids.extend(setup.postgres.as_ref().map(|(_, pid)| *pid));
        let target = Target {
            name: setup.name,
            submissions: addresses.iter().map(|at| at.submissions).collect(),
            imaps: addresses.iter().map(|at| at.imaps).collect(),
            mx: addresses.iter().map(|at| at.mx).collect(),
            users,
            roots: pair.roots()?,
            pids,
        };
        Ok(Self { target, daemons, logs, _dir: dir })
    }

    /// Stops the daemons. Their writes to PostgreSQL, and how many times one was run again.
    pub async fn stop(mut self) -> Result<(u64, u64)> {
        for daemon in &mut self.daemons.0 {
            Command::new("kill").arg(daemon.id().to_string()).status()?;
            let status = daemon.wait()?;
            if !status.success() {
                bail!("a daemon ended with {status}");
            }
        }
        let (mut writes, mut retries) = (0, 0);
        for log in &self.logs {
            for line in std::fs::read_to_string(log)?.lines() {
                if line.contains("closed the database") {
                    writes += number_in(line, "writes=")?;
                    retries += number_in(line, "retries=")?;
                } else {
                    eprintln!("{}: {line}", self.target.name);
                }
            }
        }
        Ok((writes, retries))
    }
}

/// The number behind a field's name in a line of the log.
fn number_in(line: &str, field: &str) -> Result<u64> {
    let number = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(field)?.parse().ok());
    number.with_context(|| format!("no {field} in {line}"))
}

/// The program; its daemons share a sealing key.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
    program.env("INBOXLAYER_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    program
}

fn configuration(pair: &Pair, sink: SocketAddr, setup: &Setup, at: &Addresses, data: &Path) -> String {
    let Addresses { http, submissions, imaps, mx } = at;
    let store = match &setup.postgres {
        Some((url, _)) => format!("[store]\nengine = \"postgres\"\nurl = {url:?}\ntls = \"disable\"\n"),
        None => String::new(),
    };
    format!(
        "data_dir = {data:?}\n{store}[tls]\ncertificate = {certificate:?}\nprivate_key = {key:?}\n\
         [http]\nlisten = \"{http}\"\n\
         [smtp]\nmx = \"{mx}\"\nsubmission = \"127.0.0.1:0\"\nsubmissions = \"{submissions}\"\n\
         [imap]\nimap = \"127.0.0.1:0\"\nimaps = \"{imaps}\"\n[dns]\nresolvers = [\"127.0.0.1:9\"]\n\
         [queue]\nallow_networks = [\"127.0.0.0/8\"]\n[queue.relay]\nhost = \"127.0.0.1\"\nport = {relay}\n\
         [limits]\nconnections_per_address = 100000\nconnections_per_network = 100000\nconnections = 100000\nconnections_per_account = 100000\nmessages_per_hour = 100000000\n\
         recipients_per_hour = 100000000\nmx_messages_per_hour = 100000000\nmx_recipients_per_hour = 100000000\n[log]\nfilter = \"warn,inboxlayer::store::engine::postgres=info\"\n",
        certificate = pair.certificate,
        key = pair.private_key,
        relay = sink.port(),
    )
}

fn create_operator(config: &Path) -> Result<String> {
    let made = program().args(["token", "create", "--operator", "--config"]).arg(config).output()?;
    if !made.status.success() {
        bail!("token create --operator: {}", String::from_utf8_lossy(&made.stderr));
    }
    let printed = String::from_utf8(made.stdout)?;
    let token = printed.split_ascii_whitespace().find(|word| word.starts_with("ilt_"));
    Ok(token.context("no token was printed")?.to_owned())
}

struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    /// Makes an account with an inbox of this name.
    async fn user(&self, name: &str) -> Result<User> {
        let account = self.post("accounts", json!({"name": name})).await?["account_id"].clone();
        self.post("inboxes", json!({"name": name, "account_id": account})).await?;
        let token = self.post("tokens", json!({"name": name, "account_id": account})).await?;
        let password = token["token"].as_str().context("the token's text")?.to_owned();
        Ok(User { address: format!("{name}@inboxlayer.dev"), password })
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}/{path}", self.base);
        let answer = self.client.post(url).bearer_auth(&self.token).json(&body).send().await?;
        let (status, body) = (answer.status(), answer.json::<Value>().await?);
        if status.is_success() { Ok(body) } else { bail!("POST {path}: {status} {body}") }
    }
}
