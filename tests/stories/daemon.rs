//! A daemon for one test: the real program as `sandbox`, on free ports.

use crate::clients::{Outcome, run};
use crate::engine::Engine;
use crate::rest::Rest;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Maximum duration of a start on a busy machine; the first one generates keys.
const START: Duration = Duration::from_secs(120);

/// A running sandbox. Dropping it kills it and removes its folder; if the test has failed, the end of its log is shown.
pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    engine: Engine,
    environment: Vec<(String, String)>,
    ready: Value,
}

impl Daemon {
    /// Starts a fresh one and waits until it listens.
    pub fn start() -> Self {
        Self::start_in(&[])
    }

    /// The same with these environment variables, also for later starts.
    pub fn start_in(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment: Vec<_> = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let engine = Engine::fresh();
        let (child, ready) = launch(folder.path(), &engine, &environment);
        Self { child, folder, engine, environment, ready }
    }

    /// `kill -9`, then a start on the same data. Ports may change.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Starts again on the same data.
    pub fn launch(&mut self) {
        let (child, ready) = launch(self.folder.path(), &self.engine, &self.environment);
        self.child = child;
        self.ready = ready;
    }

    /// Sets the environment variables of the next start.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A field of the ready file.
    pub fn ready(&self, field: &str) -> &str {
        self.ready
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("ready.json has no {field}: {}", self.ready))
    }

    /// A listener as host and port.
    pub fn address(&self, field: &str) -> (String, String) {
        let text = self.ready(field);
        let (host, port) = text.rsplit_once(':').unwrap_or_else(|| panic!("{field} is not host:port: {text}"));
        (host.to_owned(), port.to_owned())
    }

    /// The REST API with the account's token.
    pub fn api(&self) -> Rest {
        self.api_as(self.ready("token"))
    }

    /// The REST API with another token.
    pub fn api_as(&self, token: &str) -> Rest {
        Rest::new(self.ready("http"), token)
    }

    /// The ready file.
    pub fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    /// What its store is on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Everything it has logged, over all starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs the program's command line against this daemon, with a token.
    pub fn cli(&self, token: &str, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
        command.args(arguments).env("INBOXLAYER_URL", self.ready("http")).env("INBOXLAYER_TOKEN", token);
        run(command, b"")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the daemon's last lines ---\n{}", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

fn launch(folder: &Path, engine: &Engine, environment: &[(String, String)]) -> (Child, Value) {
    let ready_file = folder.join("ready.json");
    let _ = std::fs::remove_file(&ready_file);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_inboxlayer"))
        .args(["sandbox", "--port-base", "0", "--ready-json"])
        .arg(&ready_file)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(engine.arguments())
        .env("RUST_LOG", "inboxlayer=debug,info")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        // The overview that it prints for people.
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the daemon starts");
    let began = Instant::now();
    loop {
        if let Some(ready) = std::fs::read(&ready_file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            let is_sqlite = folder.join("data/inboxlayer.db").exists();
            assert_eq!(is_sqlite, matches!(engine, Engine::Sqlite), "it is on another engine");
            return (child, ready);
        }
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            panic!(
                "the sandbox ended with {status}: {}",
                std::fs::read_to_string(folder.join("log")).unwrap_or_default()
            );
        }
        if began.elapsed() > START {
            let _ = child.kill();
            panic!("the sandbox is not ready: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
