//! A daemon as `serve` runs it, with one account and one inbox, that takes mail from outside.

#![allow(dead_code, reason = "each benchmark uses a part")]

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use tempfile::TempDir;

/// Killed when dropped, if it has not ended.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Server {
    pub inbox: String,
    pub token: String,
    pub http: SocketAddr,
    pub mx: SocketAddr,
    base: String,
    client: reqwest::Client,
    daemon: Daemon,
    dir: TempDir,
}

impl Server {
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (http, mx) = (free_address()?, free_address()?);
        let config = dir.path().join("inboxlayer.toml");
        std::fs::write(&config, configuration(http, mx, dir.path())?)?;
        let operator = create_operator(&config)?;
        let daemon = Daemon(program().args(["serve", "--config"]).arg(&config).spawn()?);
        let (base, client) = (format!("http://{http}/api/v1"), reqwest::Client::new());
        let mut server = Self { inbox: String::new(), token: operator, http, mx, base, client, daemon, dir };
        while server.client.get(format!("http://{http}/readyz")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let account = server.post("accounts", &json!({"name": "bench"})).await?["account_id"].clone();
        let inbox = server.post("inboxes", &json!({"name": "bench", "account_id": account})).await?;
        let token = server.post("tokens", &json!({"name": "bench", "account_id": account})).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("text");
        (server.inbox, server.token) = (text(&inbox["id"])?, text(&token["token"])?);
        Ok(server)
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("data/inboxlayer.db")
    }

    /// KiB that the daemon holds in memory.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.fetch(path).await?)?)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&self.send(path, body).await?)?)
    }

    /// The octets of the answer to a GET.
    pub async fn fetch(&self, path: &str) -> Result<Vec<u8>> {
        self.octets(self.client.get(format!("{}/{path}", self.base))).await
    }

    /// The octets of the answer to a POST.
    pub async fn send(&self, path: &str, body: &Value) -> Result<Vec<u8>> {
        self.octets(self.client.post(format!("{}/{path}", self.base)).json(body)).await
    }

    pub async fn change(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.octets(self.client.patch(format!("{}/{path}", self.base)).json(body)).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn octets(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let (status, url, body) = (answer.status(), answer.url().clone(), answer.bytes().await?);
        anyhow::ensure!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body.into())
    }

    pub fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.daemon.0.id().to_string()).status()?;
        let status = self.daemon.0.wait()?;
        if status.success() { Ok(()) } else { bail!("the daemon ended with {status}") }
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
    program.env("INBOXLAYER_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    program
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What is sent waits for a relay that is not there.
fn configuration(http: SocketAddr, mx: SocketAddr, folder: &Path) -> Result<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(format!(
        "data_dir = {data:?}\n[tls]\ncertificate = {certificate:?}\nprivate_key = {key:?}\n[http]\nlisten = \"{http}\"\ntls = false\n\
         [smtp]\nmx = \"{mx}\"\nsubmission = \"127.0.0.1:0\"\nsubmissions = \"127.0.0.1:0\"\n\
         [imap]\nimap = \"127.0.0.1:0\"\nimaps = \"127.0.0.1:0\"\n[dns]\nresolvers = [\"127.0.0.1:9\"]\n\
         [queue]\nallow_networks = [\"127.0.0.0/8\"]\n[queue.relay]\nhost = \"127.0.0.1\"\nport = 9\n\
         [limits]\nconnections_per_address = 100000\nconnections_per_network = 100000\nconnections = 100000\n\
         streams = 100000\nstreams_per_account = 100000\nmessages_per_hour = 100000000\nrecipients_per_hour = 100000000\n\
         mx_messages_per_hour = 100000000\nmx_recipients_per_hour = 100000000\n\
         messages = 10000000\ninbox_size = 1000000000000\nqueue_size = 1000000000000\n[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\n[log]\nfilter = \"warn\"\n",
        data = folder.join("data"),
    ))
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
