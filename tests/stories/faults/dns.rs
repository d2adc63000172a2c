//! The DNS of the fault tests: Debian's knot as the root, as a signed top-level domain and as the name servers of the
//! customers, each on a loopback address of its own with real delegations between them, and unbound as the validating
//! resolver that starts at that root.
//!
//! Delegations carry no port, so all of them listen at port 53: as root, or where the system lets everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The zone of the DKIM keys, kept as an operator would who prints it for his own name servers.
pub const KEYS: &str = "dkim.inboxlayer.dev";

/// A loopback network that no other run of these tests uses.
pub struct Network {
    third: u8,
    _taken: UdpSocket,
}

impl Network {
    fn take() -> Self {
        let first = std::process::id() % 250;
        for third in (0..250).map(|n| u8::try_from((first + n) % 250 + 1).unwrap()) {
            match UdpSocket::bind((Ipv4Addr::new(127, 53, third, 254), 53)) {
                Ok(taken) => return Self { third, _taken: taken },
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => panic!(
                    "port 53 of the loopback addresses cannot be used ({error}): run the tests as root, or let everybody \
                     use it with: sysctl net.ipv4.ip_unprivileged_port_start=53"
                ),
                Err(_) => {}
            }
        }
        panic!("there is no free loopback network 127.53.x")
    }

    fn host(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 53, self.third, host)
    }
}

/// A zone's records beside SOA and NS, as lines of a zone file without the class.
#[derive(Clone, Debug, Default)]
pub struct Zone(pub Vec<(String, String, String)>);

impl Zone {
    /// Adds a record.
    pub fn with(mut self, name: &str, record_type: &str, data: &str) -> Self {
        self.0.push((name.to_owned(), record_type.to_owned(), data.to_owned()));
        self
    }

    /// Adds a TXT record, cut into strings of 255 octets as it must be.
    pub fn with_text(self, name: &str, text: &str) -> Self {
        self.with(name, "TXT", &character_strings(text))
    }

    /// Takes the records of a type away from a name.
    pub fn without(mut self, name: &str, record_type: &str) -> Self {
        let before = self.0.len();
        self.0.retain(|(n, t, _)| (n.as_str(), t.as_str()) != (name, record_type));
        assert!(self.0.len() < before, "there is no {record_type} record at {name}: {:?}", self.0);
        self
    }
}

fn character_strings(text: &str) -> String {
    let strings = text.as_bytes().chunks(255).map(|chunk| {
        let escaped = String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    });
    strings.collect::<Vec<_>>().join(" ")
}

/// How a name is handed on to other servers.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The servers, by the last octet of their address.
    pub servers: Vec<u8>,
    /// The signer that the parent zone names.
    pub ds: Option<String>,
}

/// One knot.
struct Knot {
    address: Ipv4Addr,
    folder: PathBuf,
    zones: BTreeMap<String, String>,
    signed: BTreeSet<String>,
    child: Option<Child>,
}

impl Knot {
    fn new(folder: &Path, address: Ipv4Addr) -> Self {
        let folder = folder.join(format!("knot-{}", address.octets()[3]));
        for part in ["run", "db", "zones"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        Self { address, folder, zones: BTreeMap::new(), signed: BTreeSet::new(), child: None }
    }

    fn write(&self) {
        let folder = self.folder.display();
        let mut text = format!(
            "server:\n  rundir: {folder}/run\n  listen: {}@53\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n- target: stderr\n  any: info\n\
             database:\n  storage: {folder}/db\n\
             policy:\n- id: signed\n  single-type-signing: on\n\
             template:\n- id: default\n  storage: {folder}/zones\n  zonefile-sync: -1\n  \
             zonefile-load: difference-no-serial\n  journal-content: all\n  serial-policy: unixtime\nzone:\n",
            self.address
        );
        for (zone, records) in &self.zones {
            let file = format!("{}zone", if zone == "." { "root." } else { zone });
            std::fs::write(self.folder.join("zones").join(&file), records).unwrap();
            writeln!(text, "- domain: {zone}\n  file: {file}").unwrap();
            if self.signed.contains(zone) {
                text += "  dnssec-signing: on\n  dnssec-policy: signed\n";
            }
        }
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.join("knot.conf")
    }

    fn start(&mut self) {
        self.write();
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let mut command = Command::new("knotd");
        command.arg("-c").arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("knotd: {e}; tests/run installs it")));
        until("knotd takes commands", &self.folder.join("log"), || self.control(&["status"]).is_some());
    }

    fn control(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("knotc").arg("-c").arg(self.config()).arg("-b").args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Serves a zone from now on, or its new content.
    fn serve(&mut self, zone: &str, records: String) {
        let zone = format!("{}.", zone.trim_end_matches('.'));
        self.zones.insert(zone.clone(), records);
        self.write();
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        // Only the second of them waits until the zone is there, and signed.
        for command in [&["reload"][..], &["zone-reload", &zone]] {
            assert!(self.control(command).is_some(), "knot does not {command:?}:\n{}", log());
        }
    }

    /// The digest of the key that signs a zone, as its parent publishes it.
    fn ds(&self, zone: &str) -> String {
        let output = Command::new("keymgr").arg("-c").arg(self.config()).args([zone, "ds"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        line.split_once(" DS ").expect("a DS record").1.to_owned()
    }
}

/// All of them, running.
pub struct Dns {
    network: Network,
    parent: Knot,
    customers: Vec<Knot>,
    resolver: Child,
    delegations: BTreeMap<String, Delegation>,
    keys: BTreeMap<String, String>,
}

impl Dns {
    /// The server of the root and the top-level domains.
    const PARENT: u8 = 1;
    /// Name servers of customers: both hold every zone, unless a test has it otherwise.
    pub const FIRST: u8 = 2;
    /// The other one.
    pub const SECOND: u8 = 3;
    /// Another provider's, where single names are delegated to.
    pub const ELSEWHERE: u8 = 4;
    /// Nobody listens there.
    pub const NOBODY: u8 = 99;
    const RESOLVER: u8 = 53;

    /// Starts everything in a folder.
    pub fn start(folder: &Path) -> Self {
        let network = Network::take();
        let mut parent = Knot::new(folder, network.host(Self::PARENT));
        let mut customers: Vec<Knot> =
            [Self::FIRST, Self::SECOND, Self::ELSEWHERE].map(|host| Knot::new(folder, network.host(host))).into();
        customers.iter_mut().for_each(Knot::start);
        parent.signed.insert("test.".into());
        for (zone, text) in parent_zones(&network, &BTreeMap::new(), &BTreeMap::new()) {
            parent.zones.insert(zone, text);
        }
        parent.start();
        let resolver = resolver(folder, &network, &parent.ds("test."));
        let (delegations, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { network, parent, customers, resolver, delegations, keys }
    }

    /// The validating resolver.
    pub fn resolver(&self) -> SocketAddr {
        (self.network.host(Self::RESOLVER), 53).into()
    }

    /// The address of a server here.
    pub fn host(&self, host: u8) -> Ipv4Addr {
        self.network.host(host)
    }

    /// The processes, which must end with the tests.
    pub fn processes(&self) -> Vec<u32> {
        let knots = self.customers.iter().chain([&self.parent]).filter_map(|knot| knot.child.as_ref());
        knots.chain([&self.resolver]).map(Child::id).collect()
    }

    /// Serves a zone from the servers named.
    pub fn serve(&mut self, name: &str, servers: &[u8], zone: &Zone) {
        let text = self.text(name, servers, zone);
        for host in servers {
            self.knot(*host).serve(name, text.clone());
        }
    }

    /// Serves a zone from one server, with the NS records of several.
    pub fn serve_alone(&mut self, name: &str, server: u8, servers: &[u8], zone: &Zone) {
        let text = self.text(name, servers, zone);
        self.knot(server).serve(name, text);
    }

    /// Signs a zone of one server, and answers with the DS record that makes it part of the chain of trust.
    pub fn sign(&mut self, name: &str, server: u8) -> String {
        let zone = format!("{name}.");
        let knot = self.knot(server);
        knot.signed.insert(zone.clone());
        let records = knot.zones.get(&zone).expect("a zone that is served").clone();
        knot.serve(name, records);
        knot.ds(&zone)
    }

    /// Delegates a name of `test` to servers, from now on.
    pub fn delegate(&mut self, name: &str, servers: &[u8], ds: Option<String>) {
        self.delegations.insert(name.to_owned(), Delegation { servers: servers.to_vec(), ds });
        self.write_parent();
    }

    /// Publishes a key at the target of a token.
    pub fn publish_keys(&mut self, tokens: &[String]) {
        for token in tokens {
            let key = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC";
            self.keys.insert(format!("{token}.{KEYS}"), character_strings(key));
        }
        self.write_parent();
    }

    /// Asks the resolver, so that it keeps the answer.
    pub fn remember(&self, name: &str, record_type: &str) -> String {
        let server = format!("@{}", self.network.host(Self::RESOLVER));
        let output = Command::new("dig").args([&server, "+short", name, record_type]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write_parent(&mut self) {
        for (zone, text) in parent_zones(&self.network, &self.delegations, &self.keys) {
            if self.parent.zones.get(&zone) != Some(&text) {
                self.parent.serve(&zone, text);
            }
        }
    }

    fn knot(&mut self, host: u8) -> &mut Knot {
        let address = self.network.host(host);
        self.customers.iter_mut().find(|knot| knot.address == address).expect("a server of customers")
    }

    fn text(&self, name: &str, servers: &[u8], zone: &Zone) -> String {
        let mut text =
            format!("$TTL 300\n{name}. SOA ns{}.{name}. hostmaster.{name}. 1 3600 600 86400 60\n", servers[0]);
        for host in servers {
            let address = self.network.host(*host);
            writeln!(text, "{name}. NS ns{host}.{name}.\nns{host}.{name}. A {address}").unwrap();
        }
        for (owner, record_type, data) in &zone.0 {
            writeln!(text, "{owner}. {record_type} {data}").unwrap();
        }
        text
    }
}

/// The root, `test` with the delegations, and `inboxlayer.dev` with the keys.
fn parent_zones(
    network: &Network,
    delegations: &BTreeMap<String, Delegation>,
    keys: &BTreeMap<String, String>,
) -> [(String, String); 3] {
    let address = network.host(Dns::PARENT);
    let head = |zone: &str| {
        format!("$TTL 300\n{zone} SOA ns.nic.test. hostmaster.nic.test. 1 3600 600 86400 60\n{zone} NS ns.nic.test.\n")
    };
    let glue = format!("ns.nic.test. A {address}\n");
    let root = head(".") + "test. NS ns.nic.test.\ninboxlayer.dev. NS ns.nic.test.\n" + &glue;
    let mut test = head("test.") + &glue;
    for (name, Delegation { servers, ds }) in delegations {
        for host in servers {
            let address = network.host(*host);
            writeln!(test, "{name}. NS ns{host}.{name}.\nns{host}.{name}. A {address}").unwrap();
        }
        if let Some(ds) = ds {
            writeln!(test, "{name}. DS {ds}").unwrap();
        }
    }
    let mut ours = head("inboxlayer.dev.");
    writeln!(ours, "smtp.inboxlayer.dev. A {address}\nspf.inboxlayer.dev. TXT \"v=spf1 ip4:192.0.2.1 -all\"").unwrap();
    for (name, key) in keys {
        writeln!(ours, "{name}. TXT {key}").unwrap();
    }
    [(".".into(), root), ("test.".into(), test), ("inboxlayer.dev.".into(), ours)]
}

fn resolver(folder: &Path, network: &Network, anchor: &str) -> Child {
    let (parent, address) = (network.host(Dns::PARENT), network.host(Dns::RESOLVER));
    let hints = folder.join("hints");
    std::fs::write(&hints, format!(". 3600 NS ns.nic.test.\nns.nic.test. 3600 A {parent}\n")).unwrap();
    // A zone that has just been made must not be denied on the strength of an older proof; and `test` is not served
    // here (RFC 6761 §6.2) but asked for.
    let text = format!(
        "server:\n  directory: \"{folder}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         verbosity: 1\n  num-threads: 1\n  interface: {address}\n  access-control: 127.0.0.0/8 allow\n  do-ip6: no\n  \
         do-not-query-localhost: no\n  root-hints: \"{hints}\"\n  module-config: \"validator iterator\"\n  \
         trust-anchor: \"test. DS {anchor}\"\n  aggressive-nsec: no\n  local-zone: \"test.\" nodefault\n\
         remote-control:\n  control-enable: no\n",
        folder = folder.display(),
        hints = hints.display(),
    );
    let config = folder.join("unbound.conf");
    std::fs::write(&config, text).unwrap();
    let log_file = folder.join("unbound.log");
    let log = std::fs::File::create(&log_file).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().unwrap_or_else(|e| panic!("unbound: {e}; tests/run installs it"));
    until("unbound answers", &log_file, || {
        let server = format!("@{}", IpAddr::from(address));
        let output = Command::new("dig").args([&server, "+short", "+time=1", "+tries=1", "test.", "SOA"]).output();
        output.unwrap_or_else(|e| panic!("dig: {e}; tests/run installs it")).stdout.starts_with(b"ns.nic.test.")
    });
    child
}

fn until(what: &str, log: &Path, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not yet\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
