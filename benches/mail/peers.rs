//! The peers: Debian's Postfix and Dovecot, configured in a temporary folder for the same work: submission over TLS with AUTH, a durable
//! queue, one relay; IMAP over TLS on Maildir.

use crate::ours::{Pair, free_port};
use crate::target::{Target, User, wait_for};
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;

const PASSWORD: &str = "bench-password";

pub struct Server {
    pub target: Target,
    dir: TempDir,
    dovecot: Child,
}

impl Server {
    pub async fn start(pair: &Pair, sink: SocketAddr) -> Result<Self> {
        for tool in ["/usr/sbin/postfix", "/usr/sbin/dovecot"] {
            if !Path::new(tool).exists() {
                bail!("{tool} is missing: apt-get install postfix dovecot-imapd");
            }
        }
        let dir = tempfile::Builder::new().prefix("peers").tempdir()?;
        let (smtp_port, imap_port) = (free_port()?, free_port()?);
        // The peers' own users need access.
        let open = |path: &Path| -> Result<()> {
            std::fs::create_dir_all(path)?;
            run(Command::new("chmod").arg("755").arg(path))
        };
        let root = dir.path();
        open(root)?;
        open(&root.join("queue"))?;
        open(&root.join("mail"))?;
        run(Command::new("mkdir").args(["-p"]).arg(root.join("data")).arg(root.join("etc")))?;
        run(Command::new("chown").args(["postfix"]).arg(root.join("data")))?;
        run(Command::new("chown").args(["nobody"]).arg(root.join("mail")))?;
        let fill = |text: &str| {
            text.replace("@DIR@", &root.display().to_string())
                .replace("@CERT@", &pair.certificate.display().to_string())
                .replace("@KEY@", &pair.private_key.display().to_string())
                .replace("@SMTP@", &smtp_port.to_string())
                .replace("@IMAP@", &imap_port.to_string())
                .replace("@SINK@", &sink.port().to_string())
        };
        std::fs::write(root.join("etc/main.cf"), fill(MAIN_CF))?;
        std::fs::write(root.join("etc/master.cf"), fill(MASTER_CF))?;
        std::fs::write(root.join("dovecot.conf"), fill(DOVECOT_CONF))?;
        std::fs::write(root.join("users"), format!("bench@peer.test:{{PLAIN}}{PASSWORD}::::::\n"))?;
        run(Command::new("postfix").arg("-c").arg(root.join("etc")).arg("check"))?;
        let dovecot = Command::new("dovecot").arg("-F").arg("-c").arg(root.join("dovecot.conf")).spawn()?;
        run(Command::new("postfix").arg("-c").arg(root.join("etc")).arg("start"))?;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for port in [smtp_port, imap_port] {
            wait_for(address(port)).await?;
        }
        let master = std::fs::read_to_string(root.join("queue/pid/master.pid")).context("Postfix's master")?;
        let target = Target {
            name: "Postfix + Dovecot",
            submissions: vec![address(smtp_port)],
            imaps: vec![address(imap_port)],
            mx: Vec::new(),
            users: vec![User { address: "bench@peer.test".into(), password: PASSWORD.into() }],
            roots: pair.roots()?,
            pids: vec![master.trim().parse()?, dovecot.id()],
        };
        Ok(Self { target, dir, dovecot })
    }

    pub async fn stop(mut self) -> Result<()> {
        run(Command::new("postfix").arg("-c").arg(self.dir.path().join("etc")).arg("stop"))?;
        run(Command::new("kill").arg(self.dovecot.id().to_string()))?;
        self.dovecot.wait()?;
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}

const MAIN_CF: &str = "
compatibility_level = 3.6
queue_directory = @DIR@/queue
data_directory = @DIR@/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/maillog
maillog_file_prefixes = @DIR@
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = peer.test
mydestination =
relayhost = [127.0.0.1]:@SINK@
smtpd_tls_cert_file = @CERT@
smtpd_tls_key_file = @KEY@
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_message_rate_limit = 0
smtp_destination_concurrency_limit = 20
";

const MASTER_CF: &str = "
127.0.0.1:@SMTP@ inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
proxywrite unix - - n -     1 proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
local     unix  - n n -     - local
virtual   unix  - n n -     - virtual
lmtp      unix  - - n -     - lmtp
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
";

const DOVECOT_CONF: &str = "
base_dir = @DIR@/dovecot
state_dir = @DIR@/dovecot-state
log_path = @DIR@/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <@CERT@
ssl_key = <@KEY@
mail_location = maildir:@DIR@/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 2000
mail_fsync = always
passdb {
  driver = passwd-file
  args = username_format=%u @DIR@/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=@DIR@/mail/%u
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = @IMAP@
    ssl = yes
  }
  service_count = 0
}
service auth {
  unix_listener @DIR@/queue/private/auth {
    mode = 0666
  }
}
";
