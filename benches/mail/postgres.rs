//! A server of PostgreSQL for one run, in a temporary folder, with its defaults for durability: every commit is synced.

use crate::ours::free_port;
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Cluster {
    server: Child,
    programs: PathBuf,
    port: u16,
    _dir: TempDir,
}

impl Cluster {
    pub async fn start() -> Result<Self> {
        let programs = std::fs::read_dir("/usr/lib/postgresql")
            .context("apt-get install postgresql")?
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .find(|programs| programs.join("initdb").exists())
            .context("apt-get install postgresql")?;
        let dir = tempfile::Builder::new().prefix("bench-postgres").tempdir()?;
        if is_root()? {
            run(Command::new("chown").arg("postgres").arg(dir.path()))?;
        }
        let (data, port) = (dir.path().join("data"), free_port()?);
        let initdb = unprivileged(&programs.join("initdb"))?.arg("-D").arg(&data).args(INITDB).output()?;
        ensure!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let server = unprivileged(&programs.join("postgres"))?
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=256MB", "-c", "log_min_messages=fatal"])
            .spawn()?;
        let started = Self { server, programs, port, _dir: dir };
        started.ready().await?;
        Ok(started)
    }

    /// Waits until the server takes connections.
    async fn ready(&self) -> Result<()> {
        let begin = Instant::now();
        let is_ready = || {
            Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
        };
        while !is_ready()?.success() {
            ensure!(begin.elapsed() < Duration::from_secs(60), "PostgreSQL does not take connections");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Makes a database; returns its URL.
    pub fn create(&self, name: &str) -> Result<String> {
        let sql = format!("CREATE DATABASE {name} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        let url = |database: &str| format!("postgres://mail@127.0.0.1:{}/{database}", self.port);
        run(Command::new(self.programs.join("psql")).args(["-q", "-d", &url("postgres"), "-c", &sql]))?;
        Ok(url(name))
    }

    /// Adds `inboxes` inboxes with `messages` messages each.
    pub fn fill(&self, database: &str, inboxes: usize, messages: usize) -> Result<()> {
        let url = format!("postgres://mail@127.0.0.1:{}/{database}", self.port);
        let done = Command::new(self.programs.join("psql"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &url])
            .args(["-v", &format!("inboxes={inboxes}"), "-v", &format!("messages={messages}"), "-f"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/mail/fill.sql"))
            .status()?;
        ensure!(done.success(), "psql: {done}");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGQUIT: it ends at once; its folder is removed.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

const INITDB: [&str; 5] = ["-U", "mail", "--locale=C", "-E", "UTF8"];

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Result<Command> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.output()?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
