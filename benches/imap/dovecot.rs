//! Debian's Dovecot, configured in a temporary folder.

use crate::ours::{Pair, free_port};
use crate::target::{Target, User, wait_for};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;

const PASSWORD: &str = "bench-password";
const CONFIGURATION: &str = include_str!("dovecot.conf");

/// How messages are stored.
#[derive(Clone, Copy)]
pub enum Storage {
    Maildir,
    Sdbox,
}

impl Storage {
    pub const ALL: &[Self] = &[Self::Maildir, Self::Sdbox];
}

pub struct Server {
    pub target: Target,
    child: Child,
    dir: TempDir,
}

impl Server {
    pub async fn start(pair: &Pair, storage: Storage) -> Result<Self> {
        for program in ["/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp"] {
            ensure!(Path::new(program).exists(), "{program} is missing: apt-get install dovecot-imapd dovecot-lmtpd");
        }
        let dir = tempfile::Builder::new().prefix("dovecot").tempdir()?;
        let (imap, lmtp) = (free_port()?, free_port()?);
        // The server's own users need access.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let mail = dir.path().join("mail");
        std::fs::create_dir(&mail)?;
        std::fs::set_permissions(&mail, PermissionsExt::from_mode(0o777))?;
        let (name, storage) = match storage {
            Storage::Maildir => ("Dovecot Maildir", "maildir"),
            Storage::Sdbox => ("Dovecot sdbox", "sdbox"),
        };
        let cores = std::thread::available_parallelism()?.to_string();
        let configuration = CONFIGURATION
            .replace("@DIR@", &dir.path().display().to_string())
            .replace("@CERT@", &pair.certificate.display().to_string())
            .replace("@KEY@", &pair.private_key.display().to_string())
            .replace("@STORAGE@", storage)
            .replace("@CORES@", &cores)
            .replace("@IMAP@", &imap.to_string())
            .replace("@LMTP@", &lmtp.to_string());
        let file = dir.path().join("dovecot.conf");
        std::fs::write(&file, configuration)?;
        std::fs::write(dir.path().join("users"), format!("bench@peer.test:{{PLAIN}}{PASSWORD}::::::\n"))?;
        let child = Command::new("/usr/sbin/dovecot").arg("-F").arg("-c").arg(&file).spawn()?;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for port in [imap, lmtp] {
            wait_for(address(port)).await?;
        }
        let target = Target {
            name,
            submissions: Vec::new(),
            imaps: vec![address(imap)],
            mx: vec![address(lmtp)],
            users: vec![User { address: "bench@peer.test".into(), password: PASSWORD.into() }],
            roots: pair.roots()?,
            pids: vec![child.id()],
        };
        Ok(Self { target, child, dir })
    }

    /// Stops it, and shows what it has logged of errors.
    pub fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        let log = std::fs::read_to_string(self.dir.path().join("dovecot.log")).context("Dovecot's log")?;
        let errors = log.lines().filter(|line| ["Error:", "Fatal:", "Panic:"].iter().any(|word| line.contains(word)));
        errors.take(20).for_each(|line| eprintln!("{}: {line}", self.target.name));
        Ok(())
    }
}
