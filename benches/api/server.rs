//! A daemon as `serve` runs it, with one account and one inbox.

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
    base: String,
    token: String,
    client: reqwest::Client,
    daemon: Daemon,
    dir: TempDir,
}

impl Server {
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let http =
            SocketAddr::from((Ipv4Addr::LOCALHOST, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()));
        let config = dir.path().join("inboxlayer.toml");
        std::fs::write(&config, configuration(http, &dir.path().join("data")))?;
        let operator = create_operator(&config)?;
        let daemon = Daemon(program().args(["serve", "--config"]).arg(&config).spawn()?);
        let (base, client) = (format!("http://{http}/api/v1"), reqwest::Client::new());
        let mut server = Self { inbox: String::new(), base, token: operator, client, daemon, dir };
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

/// What is sent waits for a relay that is not there.
fn configuration(http: SocketAddr, data: &Path) -> String {
    format!(
        "data_dir = {data:?}\n[http]\nlisten = \"{http}\"\n\
         [smtp]\nmx = \"off\"\nsubmission = \"off\"\nsubmissions = \"off\"\n\
         [imap]\nimap = \"off\"\nimaps = \"off\"\n[dns]\nresolvers = [\"127.0.0.1:9\"]\n\
         [queue]\nallow_networks = [\"127.0.0.0/8\"]\n[queue.relay]\nhost = \"127.0.0.1\"\nport = 9\n\
         [limits]\nconnections_per_address = 100000\nconnections = 100000\nmessages_per_hour = 100000000\n\
         recipients_per_hour = 100000000\nmx_messages_per_hour = 100000000\nmx_recipients_per_hour = 100000000\n\
         messages = 10000000\ninbox_size = 1000000000000\nqueue_size = 1000000000000\n[log]\nfilter = \"warn\"\n"
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
