//! The DNS of the fault tests: Debian's knot as the signed root, as a signed top-level domain and as the name servers of
//! the customers, each on a loopback address of its own with real delegations between them, and unbound as the validating
//! resolver that starts at that root.
//!
//! Delegations have no port, so all servers listen at port 53, which needs root unless the system allows it to everyone.

use super::knot::{Knot, end, until};
use super::relay::{Log, LoggedQuery, stand_before};
use super::unbound;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};

/// The zone of the DKIM keys, served by the operator's own name servers.
pub const KEYS: &str = "dkim.inboxlayer.dev";

/// The address of our mail host, from a documentation range.
pub const MX_ADDRESS: &str = "192.0.2.25";

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

    /// The addresses of a server in the DNS.
    fn addresses(&self, host: u8) -> Vec<IpAddr> {
        match host {
            Dns::SIX => vec![Ipv6Addr::LOCALHOST.into()],
            Dns::BOTH => vec![self.host(Dns::FIRST).into(), Ipv6Addr::LOCALHOST.into()],
            host => vec![self.host(host).into()],
        }
    }

    /// The NS record of a server of a zone, and the records of its addresses.
    fn name_server(&self, zone: &str, host: u8) -> String {
        let mut text = format!("{zone}. NS ns{host}.{zone}.\n");
        for address in self.addresses(host) {
            let record_type = if address.is_ipv4() { "A" } else { "AAAA" };
            writeln!(text, "ns{host}.{zone}. {record_type} {address}").unwrap();
        }
        text
    }
}

/// A zone's records except SOA and NS, as lines of a zone file without the class.
#[derive(Clone, Debug, Default)]
pub struct Zone(pub Vec<(String, String, String)>);

impl Zone {
    /// Adds a record.
    pub fn with(mut self, name: &str, record_type: &str, data: &str) -> Self {
        self.0.push((name.to_owned(), record_type.to_owned(), data.to_owned()));
        self
    }

    /// Adds a TXT record, split into strings of 255 octets.
    pub fn with_text(self, name: &str, text: &str) -> Self {
        self.with(name, "TXT", &character_strings(text))
    }

    /// Removes the records of a type at a name.
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

/// A delegation of a name to other servers.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The servers, by the last octet of their address.
    pub servers: Vec<u8>,
    /// The signer that the parent zone names.
    pub ds: Option<String>,
}

/// How the servers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// By IPv4.
    Plain,
    /// By IPv4, with a relay before each server that records queries.
    Relayed,
    /// By IPv4; the resolver and one more server by IPv6, at the only IPv6 loopback address. Concurrent runs of these tests take
    /// turns.
    Six,
}

/// All of them, running.
pub struct Dns {
    parent: Knot,
    customers: Vec<Knot>,
    resolver: Child,
    resolver_at: SocketAddr,
    /// What the root says of the key of `test`.
    ds: String,
    delegations: BTreeMap<String, Delegation>,
    keys: BTreeMap<String, String>,
    log: Option<Log>,
    /// Dropped last, when the servers have ended: another test reuses its addresses.
    network: Network,
    /// Locks the IPv6 address.
    _turn: Option<File>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        end(&mut self.resolver);
    }
}

impl Dns {
    /// The server of the root and the top-level domains.
    const PARENT: u8 = 1;
    /// Name servers of customers: both have every zone, unless a test says otherwise.
    pub const FIRST: u8 = 2;
    /// The other one.
    pub const SECOND: u8 = 3;
    /// Another provider's, to which single names are delegated.
    pub const ELSEWHERE: u8 = 4;
    /// A server with an IPv6 address only.
    pub const SIX: u8 = 6;
    /// A name server that is [`Dns::FIRST`] by IPv4 and [`Dns::SIX`] by IPv6.
    pub const BOTH: u8 = 46;
    /// Name servers reachable over UDP only.
    pub const NO_TCP: [u8; 2] = [7, 8];
    /// No server listens there.
    pub const NOBODY: u8 = 99;
    const RESOLVER: u8 = 53;
    const CARELESS: u8 = 54;

    /// Starts everything in a folder.
    pub fn start(folder: &Path, paths: Paths) -> Self {
        let network = Network::take();
        let port = if paths == Paths::Relayed { 5300 } else { 53 };
        let at = |host: u8| SocketAddr::from((network.host(host), port));
        let hosts = [Self::PARENT, Self::FIRST, Self::SECOND, Self::ELSEWHERE, Self::RESOLVER];
        let log = (paths == Paths::Relayed).then(Log::default);
        if let Some(log) = &log {
            hosts.iter().for_each(|host| stand_before(at(*host), (network.host(*host), 53).into(), true, log));
        }
        let mut parent = Knot::new(folder, at(Self::PARENT));
        let mut customers: Vec<Knot> =
            [Self::FIRST, Self::SECOND, Self::ELSEWHERE].map(|host| Knot::new(folder, at(host))).into();
        let file_lock = (paths == Paths::Six).then(turn_at_six);
        if file_lock.is_some() {
            customers.push(Knot::new(folder, (Ipv6Addr::LOCALHOST, 53).into()));
        }
        customers.iter_mut().for_each(Knot::start);
        parent.signed.extend([".".into(), "test.".into()]);
        for (zone, text) in parent_zones(&network, &BTreeMap::new(), &BTreeMap::new(), None) {
            parent.zones.insert(zone, text);
        }
        // Its keys are generated when it starts; then the root signs those of `test`.
        parent.start();
        let ds = parent.ds("test.");
        for (zone, text) in parent_zones(&network, &BTreeMap::new(), &BTreeMap::new(), Some(&ds)) {
            parent.serve(&zone, text);
        }
        let resolver_at = match paths {
            Paths::Plain | Paths::Relayed => (network.host(Self::RESOLVER), 53).into(),
            Paths::Six => (Ipv6Addr::LOCALHOST, free_port_at_six()).into(),
        };
        let listen = if paths == Paths::Relayed { at(Self::RESOLVER) } else { resolver_at };
        let (from, root) = (network.host(Self::RESOLVER).into(), network.host(Self::PARENT).into());
        let resolver = unbound::start(folder, listen, from, root, Some(&parent.ds(".")));
        let (delegations, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { network, parent, customers, resolver, resolver_at, ds, delegations, keys, log, _turn: file_lock }
    }

    /// Starts another resolver, which does not validate: its address and its process, which the caller ends.
    pub fn careless_resolver(&self, folder: &Path) -> (SocketAddr, Child) {
        let at = SocketAddr::from((self.host(Self::CARELESS), 53));
        (at, unbound::start(folder, at, at.ip(), self.host(Self::PARENT).into(), None))
    }

    /// The validating resolver.
    pub fn resolver(&self) -> SocketAddr {
        self.resolver_at
    }

    /// The queries by others than the resolver, to it and to all servers, if there are relays.
    pub fn queries(&self) -> Vec<LoggedQuery> {
        let resolver = IpAddr::from(self.host(Self::RESOLVER));
        let log = self.log.as_ref().expect("relays").lock().unwrap();
        log.iter().filter(|queries| queries.by != resolver).cloned().collect()
    }

    /// The address of a server here.
    pub fn host(&self, host: u8) -> Ipv4Addr {
        self.network.host(host)
    }

    /// The processes, which must end with the tests.
    pub fn processes(&self) -> Vec<u32> {
        let knots = self.customers.iter().chain([&self.parent]).filter_map(Knot::process);
        knots.chain([self.resolver.id()]).collect()
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

    /// Delegates a name of `test`, or one at the root, to servers, from now on.
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

    /// Queries the resolver, so that it caches the answer.
    pub fn remember(&self, name: &str, record_type: &str) -> String {
        let (server, port) = (format!("@{}", self.resolver_at.ip()), self.resolver_at.port().to_string());
        let output = Command::new("dig").args([&server, "-p", &port, "+short", name, record_type]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write_parent(&mut self) {
        for (zone, text) in parent_zones(&self.network, &self.delegations, &self.keys, Some(&self.ds)) {
            if self.parent.zones.get(&zone) != Some(&text) {
                self.parent.serve(&zone, text);
            }
        }
    }

    fn knot(&mut self, host: u8) -> &mut Knot {
        let addresses = self.network.addresses(host);
        self.customers.iter_mut().find(|knot| addresses == [knot.address.ip()]).expect("a server of customers")
    }

    fn text(&self, name: &str, servers: &[u8], zone: &Zone) -> String {
        let mut text =
            format!("$TTL 300\n{name}. SOA ns{}.{name}. hostmaster.{name}. 1 3600 600 86400 60\n", servers[0]);
        for host in servers {
            text += &self.network.name_server(name, *host);
        }
        for (owner, record_type, data) in &zone.0 {
            writeln!(text, "{owner}. {record_type} {data}").unwrap();
        }
        text
    }
}

/// The root and `test` with the delegations, and `inboxlayer.dev` with the keys.
fn parent_zones(
    network: &Network,
    delegations: &BTreeMap<String, Delegation>,
    keys: &BTreeMap<String, String>,
    ds: Option<&str>,
) -> [(String, String); 3] {
    let address = network.host(Dns::PARENT);
    let head = |zone: &str| {
        format!("$TTL 300\n{zone} SOA ns.nic.test. hostmaster.nic.test. 1 3600 600 86400 60\n{zone} NS ns.nic.test.\n")
    };
    let glue = format!("ns.nic.test. A {address}\n");
    let signed = ds.map(|ds| format!("test. DS {ds}\n")).unwrap_or_default();
    let mut root = head(".") + "test. NS ns.nic.test.\ninboxlayer.dev. NS ns.nic.test.\n" + &signed + &glue;
    let mut test = head("test.") + &glue;
    for (name, Delegation { servers, ds }) in delegations {
        let parent = if name.ends_with(".test") { &mut test } else { &mut root };
        for host in servers {
            *parent += &network.name_server(name, *host);
        }
        if let Some(ds) = ds {
            writeln!(parent, "{name}. DS {ds}").unwrap();
        }
    }
    let mut ours = head("inboxlayer.dev.");
    writeln!(ours, "smtp.inboxlayer.dev. A {MX_ADDRESS}\nspf.inboxlayer.dev. TXT \"v=spf1 ip4:192.0.2.1 -all\"")
        .unwrap();
    for (name, key) in keys {
        writeln!(ours, "{name}. TXT {key}").unwrap();
    }
    [(".".into(), root), ("test.".into(), test), ("inboxlayer.dev.".into(), ours)]
}

/// Waits until no other run of these tests uses the IPv6 address, and locks it.
fn turn_at_six() -> File {
    let path = std::env::temp_dir().join("inboxlayer-stories-at-six");
    let file_lock = File::options().create(true).append(true).open(&path).unwrap();
    file_lock.lock().unwrap();
    // A killed run may not have cleaned up yet.
    until("::1 can be used at port 53: the loopback needs IPv6, and nothing else may listen there", &path, || {
        UdpSocket::bind((Ipv6Addr::LOCALHOST, 53)).is_ok()
    });
    file_lock
}

fn free_port_at_six() -> u16 {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
