//! Our server: the daemon as `serve` runs it, with one account and one inbox.

use crate::load::Target;
use crate::peers::wait_for;
use anyhow::{Context, Result, bail};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
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

pub struct Server {
    pub target: Target,
    child: Child,
    _dir: TempDir,
}

impl Server {
    pub async fn start(pair: &Pair, sink: SocketAddr) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, smtp, imap) = (address(free_port()?), address(free_port()?), address(free_port()?));
        let config = dir.path().join("inboxlayer.toml");
        let text = format!(
            "data_dir = {data:?}\n[tls]\ncertificate = {certificate:?}\nprivate_key = {key:?}\n\
             [http]\nlisten = \"{http}\"\n[smtp]\nmx = \"127.0.0.1:0\"\nsubmission = \"127.0.0.1:0\"\nsubmissions = \"{smtp}\"\n\
             [imap]\nimap = \"127.0.0.1:0\"\nimaps = \"{imap}\"\n[dns]\nresolvers = [\"127.0.0.1:9\"]\n\
             [queue]\nallow_networks = [\"127.0.0.0/8\"]\n[queue.relay]\nhost = \"127.0.0.1\"\nport = {relay}\n\
             [limits]\nconnections_per_address = 100000\nconnections = 100000\nmessages_per_hour = 100000000\n\
             recipients_per_hour = 100000000\n[log]\nfilter = \"warn\"\n",
            data = dir.path().join("data"),
            certificate = pair.certificate,
            key = pair.private_key,
            relay = sink.port(),
        );
        std::fs::write(&config, text)?;
        let program = env!("CARGO_BIN_EXE_inboxlayer");
        let made = Command::new(program).args(["token", "create", "--operator", "--config"]).arg(&config).output()?;
        if !made.status.success() {
            bail!("token create --operator: {}", String::from_utf8_lossy(&made.stderr));
        }
        let operator = String::from_utf8(made.stdout)?
            .split_ascii_whitespace()
            .find(|word| word.starts_with("ilt_"))
            .context("no token was printed")?
            .to_owned();
        let child = Command::new(program).args(["serve", "--config"]).arg(&config).spawn()?;
        for address in [http, smtp, imap] {
            wait_for(address).await?;
        }
        let api = Api { base: format!("http://{http}/api/v1"), token: operator, client: reqwest::Client::new() };
        let account = api.post("accounts", json!({"name": "bench"})).await?["id"].clone();
        api.post("inboxes", json!({"name": "bench", "account_id": account})).await?;
        let token = api.post("tokens", json!({"name": "bench", "account_id": account})).await?;
        let target = Target {
            name: "Inboxlayer",
            submissions: smtp,
            imaps: imap,
            user: "bench@inboxlayer.dev".into(),
            password: token["token"].as_str().context("the token's text")?.to_owned(),
            roots: pair.roots()?,
            pids: vec![child.id()],
        };
        Ok(Self { target, child, _dir: dir })
    }

    pub async fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("the daemon ended with {status}") }
    }
}

struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}/{path}", self.base);
        let answer = self.client.post(url).bearer_auth(&self.token).json(&body).send().await?;
        let (status, body) = (answer.status(), answer.json::<Value>().await?);
        if status.is_success() { Ok(body) } else { bail!("POST {path}: {status} {body}") }
    }
}
