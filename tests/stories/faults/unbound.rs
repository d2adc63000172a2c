//! An unbound process: a recursive resolver with our root, validating DNSSEC or not.

use super::knot::until;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts one in a folder. `root` is the root server, `from` the source address of its queries, `anchor` the digest of the root's
/// key: without it, it does not validate.
pub fn start(folder: &Path, listen: SocketAddr, from: IpAddr, root: IpAddr, anchor: Option<&str>) -> Child {
    let (at, port) = (listen.ip(), listen.port());
    let at_file = |kind: &str| folder.join(format!("unbound-{port}-{}.{kind}", at.to_string().replace(':', "_")));
    let six = if at.is_ipv6() { "do-ip6: yes\n  outgoing-interface: ::1" } else { "do-ip6: no" };
    let validation = match anchor {
        Some(digest) => format!("module-config: \"validator iterator\"\n  trust-anchor: \". DS {digest}\""),
        None => "module-config: \"iterator\"".to_owned(),
    };
    std::fs::write(at_file("hints"), format!(". 3600 NS ns.nic.test.\nns.nic.test. 3600 A {root}\n")).unwrap();
    // A new zone must not be denied by a cached NSEC record; `test` must be queried, not answered locally (RFC 6761 §6.2).
    let text = format!(
        "server:\n  directory: \"{folder}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         verbosity: 1\n  num-threads: 1\n  interface: {at}@{port}\n  outgoing-interface: {from}\n  {six}\n  \
         access-control: 127.0.0.0/8 allow\n  access-control: ::1/128 allow\n  \
         do-not-query-localhost: no\n  root-hints: \"{hints}\"\n  {validation}\n  \
         aggressive-nsec: no\n  local-zone: \"test.\" nodefault\n\
         remote-control:\n  control-enable: no\n",
        folder = folder.display(),
        hints = at_file("hints").display(),
    );
    std::fs::write(at_file("conf"), text).unwrap();
    let log = std::fs::File::create(at_file("log")).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(at_file("conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().unwrap_or_else(|e| panic!("unbound: {e}; tests/run installs it"));
    until("unbound answers", &at_file("log"), || {
        let (server, port) = (format!("@{at}"), port.to_string());
        let output =
            Command::new("dig").args([&server, "-p", &port, "+short", "+time=1", "+tries=1", "test.", "SOA"]).output();
        output.unwrap_or_else(|e| panic!("dig: {e}; tests/run installs it")).stdout.starts_with(b"ns.nic.test.")
    });
    child
}
