//! The zone of DKIM keys as queried by `dig` and a validating resolver, and as a zone file checked by BIND.

use crate::clients::{Outcome, run};
use crate::free_address::free_address;
use crate::rest::Rest;
use crate::serve::{Relay, Serve};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough that a response with a key exceeds 512 octets.
const ZONE: &str = "dkim.the-keys-of-many-customers.keys.test";
const DOMAIN: &str = "acme.test";

struct Served {
    serve: Serve,
    dns: SocketAddr,
    /// The tokens with their TXT records.
    keys: Vec<(String, String)>,
}

impl Served {
    fn start() -> Self {
        let dns = free_address();
        let more = format!(
            "[platform]\nallow_special_use = [\"test\"]\n[dkim]\nzone = \"{ZONE}\"\nlisten = \"{dns}\"\nname_server = \"ns.{ZONE}\"\nname_server_addresses = [\"127.0.0.1\", \"::1\"]\n"
        );
        let serve = Serve::start(Relay::start().address, &more);
        let (_, _, token) = serve.account("demo");
        let api = Rest::new(&format!("http://{}", serve.http), &token);
        let id = api.post("/api/v1/custom_domains", json!({"domain": DOMAIN})).expect(201).at("/id").to_owned();
        let path = format!("/api/v1/custom_domains/{id}/dkim_keys");
        let keys = api.poll(&path, |keys| (0..3).all(|at| keys.body["data"][at]["public"].is_string()));
        let text = |at: usize, field: &str| keys.at(&format!("/data/{at}/{field}")).to_owned();
        let keys = (0..3).map(|at| (text(at, "token"), text(at, "public"))).collect();
        Self { serve, dns, keys }
    }

    fn dig(&self, arguments: &[&str]) -> Dug {
        dig(self.dns, arguments)
    }
}

/// What `dig` shows.
struct Dug(String);

fn dig(server: SocketAddr, arguments: &[&str]) -> Dug {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "+tries=2", "+time=5"]);
    let shown = run(command_with(command, arguments), b"").succeeded().stdout;
    // Columns are separated by tabs or spaces, depending on the length of names.
    let line = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    Dug(shown.lines().map(line).collect::<Vec<_>>().join("\n"))
}

fn command_with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

impl Dug {
    fn has(&self, status: &str, flags: &str, answers: usize, authorities: usize) {
        let text = &self.0;
        assert!(text.contains(&format!("status: {status},")), "{text}");
        let counts = format!("flags: {flags}; QUERY: 1, ANSWER: {answers}, AUTHORITY: {authorities}");
        assert!(text.contains(&counts), "{counts}\n{text}");
    }

    /// The TXT record in the answer, its strings joined.
    fn txt(&self) -> String {
        let line = self.0.lines().find(|line| line.contains(" IN TXT \"")).unwrap_or_else(|| panic!("{}", self.0));
        line.split('"').skip(1).step_by(2).collect()
    }
}

#[test]
fn dig_finds_the_keys_and_what_is_not_there() {
    let served = Served::start();
    let (token, public) = &served.keys[0];
    let name = format!("{token}.{ZONE}");
    for transport in [&["+norecurse"][..], &["+norecurse", "+tcp"], &["+norecurse", "+noedns", "+tcp"]] {
        let found = served.dig(&[transport, &[&name, "TXT"]].concat());
        found.has("NOERROR", "qr aa", 1, 0);
        assert_eq!(found.txt(), *public);
    }
    // The response repeats the question's case (0x20).
    let mixed = name.to_ascii_uppercase();
    let found = served.dig(&["+norecurse", &mixed, "TXT"]);
    found.has("NOERROR", "qr aa", 1, 0);
    assert!(found.0.contains(&format!(";{mixed}. IN TXT")) && found.txt() == *public, "{}", found.0);
    // A response that does not fit is truncated; dig then retries over TCP.
    let cut = ["+norecurse", "+noedns", "+bufsize=512", &name, "TXT"];
    served.dig(&[&["+ignore"][..], &cut].concat()).has("NOERROR", "qr aa tc", 0, 0);
    assert_eq!(served.dig(&cut).txt(), *public);

    // No record of that type; an unknown type; no such name.
    for (name, kind, status) in [
        (name.as_str(), "A", "NOERROR"),
        (&name, "TYPE65400", "NOERROR"),
        (ZONE, "TXT", "NOERROR"),
        (&format!("nobody.{ZONE}"), "TXT", "NXDOMAIN"),
        (&format!("x.{name}"), "TXT", "NXDOMAIN"),
    ] {
        let absent = served.dig(&["+norecurse", name, kind]);
        absent.has(status, "qr aa", 0, 1);
        let soa = absent.0.lines().find(|line| line.contains(" IN SOA ")).unwrap_or_else(|| panic!("{}", absent.0));
        assert!(soa.starts_with(&format!("{ZONE}. 60 ")), "{soa}");
    }
    served.dig(&["+norecurse", ZONE, "SOA"]).has("NOERROR", "qr aa", 1, 0);
    assert!(served.dig(&["+norecurse", ZONE, "NS"]).0.contains(&format!(" IN NS ns.{ZONE}.")));
    for (kind, address) in [("A", "127.0.0.1"), ("AAAA", "::1")] {
        assert!(served.dig(&["+norecurse", &format!("ns.{ZONE}"), kind]).0.contains(&format!(" IN {kind} {address}")));
    }

    // Other zones; another class; zone transfer; an unknown EDNS version.
    for elsewhere in ["acme.test", "keys.test", "xdkim.keys.test", "."] {
        served.dig(&["+norecurse", elsewhere, "A"]).has("REFUSED", "qr", 0, 0);
    }
    served.dig(&["+norecurse", "-c", "CH", "version.bind", "TXT"]).has("REFUSED", "qr", 0, 0);
    assert!(served.dig(&["+tcp", ZONE, "AXFR"]).0.contains("Transfer failed"));
    let future = served.dig(&["+norecurse", "+edns=7", "+noednsnegotiation", &name, "TXT"]).0;
    assert!(future.contains("status: BADVERS"), "{future}");
}

/// An `unbound` process, killed on drop.
struct Unbound(Child, SocketAddr);

impl Unbound {
    /// It validates the customer's zone, read from a signed file, and queries our server for the zone of keys.
    fn start(folder: &Path, keys: SocketAddr, anchor: &str, zone_file: &Path) -> Self {
        let address = free_address();
        let text = format!(
            r#"
server:
    interface: 127.0.0.1@{port}
    do-daemonize: no
    use-syslog: no
    username: ""
    chroot: ""
    pidfile: ""
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
    # Sends names in random case and checks the response for it.
    use-caps-for-id: yes
    do-not-query-localhost: no
    local-zone: "test." nodefault
    qname-minimisation: yes
remote-control:
    control-enable: no
auth-zone:
    name: "{DOMAIN}"
    zonefile: "{zone}"
    for-downstream: no
    for-upstream: yes
stub-zone:
    name: "{ZONE}"
    stub-addr: {keys_at}
"#,
            port = address.port(),
            zone = zone_file.display(),
            keys_at = keys.to_string().replace(':', "@"),
        );
        let config = folder.join("unbound.conf");
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.join("unbound.log")).unwrap();
        let child = Command::new("unbound").arg("-d").arg("-c").arg(&config).stdin(Stdio::null()).stderr(log).spawn();
        let unbound = Self(child.expect("unbound (tests/run installs it)"), address);
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let log = std::fs::read_to_string(folder.join("unbound.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "unbound does not listen: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        unbound
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tool(folder: &Path, program: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.current_dir(folder).args(arguments);
    run(command, b"").succeeded()
}

/// The customer's zone with its three CNAMEs, signed (RFC 4034): the file, and the trust anchor.
fn signed_zone(folder: &Path, tokens: &[(String, String)]) -> (std::path::PathBuf, String) {
    let mut zone = format!(
        "$TTL 300\n@ IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 7200 900 1209600 60\n@ IN NS ns\nns IN A 127.0.0.1\n"
    );
    for (token, _) in tokens {
        zone.push_str(&format!("{token}._domainkey IN CNAME {token}.{ZONE}.\n"));
    }
    std::fs::write(folder.join("zone"), zone).unwrap();
    let key = ["-q", "-a", "ECDSAP256SHA256"];
    tool(folder, "dnssec-keygen", &[&key[..], &[DOMAIN]].concat());
    let named = tool(folder, "dnssec-keygen", &[&key[..], &["-f", "KSK", DOMAIN]].concat()).stdout;
    tool(folder, "dnssec-signzone", &["-S", "-o", DOMAIN, "-f", "zone.signed", "zone"]);
    let anchor = std::fs::read_to_string(folder.join(format!("{}.key", named.trim()))).unwrap();
    let anchor = anchor.lines().find(|line| !line.starts_with(';')).unwrap().to_owned();
    (folder.join("zone.signed"), anchor)
}

#[test]
fn a_validating_resolver_follows_the_customers_cnames() {
    let served = Served::start();
    let folder = tempfile::tempdir().unwrap();
    let (zone, anchor) = signed_zone(folder.path(), &served.keys);
    let unbound = Unbound::start(folder.path(), served.dns, &anchor, &zone);
    for (token, public) in &served.keys {
        let found = dig(unbound.1, &[&format!("{token}._domainkey.{DOMAIN}"), "TXT"]);
        found.has("NOERROR", "qr rd ra", 2, 0);
        assert_eq!(found.txt(), *public);
        // The customer's CNAME is validated.
        dig(unbound.1, &["+dnssec", &format!("{token}._domainkey.{DOMAIN}"), "CNAME"]).has(
            "NOERROR",
            "qr rd ra ad",
            2,
            0,
        );
    }
    // A missing name is NXDOMAIN through the resolver, too.
    let absent = dig(unbound.1, &[&format!("nobody.{ZONE}"), "TXT"]);
    absent.has("NXDOMAIN", "qr rd ra", 0, 1);
}

#[test]
fn the_printed_zone_is_one_that_bind_takes_and_the_sealing_key_is_changed() {
    let mut served = Served::start();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
    command.args(["domain", "zone"]).env("INBOXLAYER_URL", format!("http://{}", served.serve.http));
    command.env("INBOXLAYER_TOKEN", &served.serve.operator);
    let zone = run(command, b"").succeeded().stdout;
    std::fs::write(folder.path().join("zone"), &zone).unwrap();
    let checked = tool(folder.path(), "named-checkzone", &["-D", "-o", "-", ZONE, "zone"]).stdout;
    for (token, public) in &served.keys {
        let line = checked.lines().find(|line| line.starts_with(token.as_str())).unwrap_or_else(|| panic!("{checked}"));
        assert_eq!(line.split('"').skip(1).step_by(2).collect::<String>(), *public);
    }

    // The served and the printed zone have the same SOA.
    let soa = |text: &str| {
        text.lines().find(|line| line.contains(" SOA ")).unwrap().replace(&format!("{ZONE}. 60 IN"), "@ IN")
    };
    assert_eq!(soa(&served.dig(&["+norecurse", ZONE, "SOA"]).0), soa(&zone));

    // With another sealing key the daemon does not start, and says what to do; with the original one it starts.
    assert!(served.serve.terminate());
    let key = served.serve.data_dir().join("secret.key");
    let original = std::fs::read(&key).unwrap();
    for (bytes, says) in
        [(&[7_u8; 32][..], "is not the sealing key of this store"), (b"short", "does not hold a key of 32 octets")]
    {
        std::fs::write(&key, bytes).unwrap();
        let refused = start(&served.serve, None);
        assert!(refused.code == 1 && refused.stderr.contains(says), "{refused:?}");
    }
    let refused = start(&served.serve, Some("not base64"));
    assert!(refused.code == 1 && refused.stderr.contains("INBOXLAYER_SECRET_KEY does not hold a key"), "{refused:?}");
    assert!(!refused.stderr.contains("not base64"), "a secret is shown: {refused:?}");
    std::fs::write(&key, &original).unwrap();

    // The sealing key can be changed while the daemon is stopped, not while it runs.
    let change = |serve: &Serve| run(serve.program(&["seal", "change"]), b"");
    assert!(change(&served.serve).succeeded().stdout.starts_with("4 private keys and webhook secrets re-encrypted"));
    assert_ne!(std::fs::read(&key).unwrap(), original);
    served.serve.launch();
    let refused = change(&served.serve);
    assert!(refused.code == 1 && refused.stderr.contains("stop every daemon first"), "{refused:?}");
    let (token, public) = &served.keys[2];
    assert_eq!(served.dig(&["+norecurse", &format!("{token}.{ZONE}"), "TXT"]).txt(), *public);
}

/// Runs the daemon, which must fail to start.
fn start(serve: &Serve, secret: Option<&str>) -> Outcome {
    let mut command = serve.program(&["serve"]);
    if let Some(secret) = secret {
        command.env("INBOXLAYER_SECRET_KEY", secret);
    }
    run(command, b"")
}
