//! One DNS and one daemon for all fault tests of a run, and a claim for each of them.

use super::dns::{Dns, KEYS, Paths, Zone};
use crate::rest::Rest;
use crate::serve::Serve;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::PipeWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The customers' SPF record, whose include is served here.
pub const SPF: &str = "v=spf1 include:spf.inboxlayer.dev ~all";
/// The expected DMARC record: others can be weaker or stricter.
pub const DMARC: &str = "v=DMARC1; p=quarantine;";
/// The expected MX host.
pub const MX: &str = "smtp.inboxlayer.dev";

/// A DNS, and a daemon that queries it.
pub struct World {
    /// Dropped before the DNS: a server must have ended before its address is reused.
    _guard: Guard,
    dns: Mutex<Dns>,
    http: String,
    token: String,
    daemon: Serve,
}

/// Shared by most tests: starting it takes longer than all their checks.
fn world() -> Arc<World> {
    static WORLD: OnceLock<Arc<World>> = OnceLock::new();
    Arc::clone(WORLD.get_or_init(|| Arc::new(World::start(Paths::Plain, "timeout = \"3s\""))))
}

impl World {
    /// Starts a DNS, and a daemon with these lines in `[dns]`.
    pub fn start(paths: Paths, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let dns = Dns::start(&folder, paths);
        let config =
            format!("resolvers = [\"{}\"]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\n{more}", dns.resolver());
        // Only the tests request checks.
        let records = format!(
            "[platform]\nallow_special_use = [\"test\"]\n[dkim]\nzone = \"{KEYS}\"\n\
             [records]\nspf = \"{SPF}\"\ndmarc = \"{DMARC}\"\n\
             [verification]\nfirst_pause = \"1h\"\nlongest_pause = \"1h\"\n"
        );
        let unknown = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        let daemon = Serve::start_with_dns(unknown, &config, &records);
        let (_, _, token) = daemon.account("faults");
        let processes = dns.processes().into_iter().chain(daemon.process()).collect::<Vec<_>>();
        let guard = Guard::new(&processes, &[&folder, daemon.config().parent().unwrap()]);
        let http = format!("http://{}", daemon.http);
        World { _guard: guard, dns: Mutex::new(dns), http, token, daemon }
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

/// Ends processes and removes folders when it is dropped or the test process ends: statics are never dropped, so a shell waits
/// for the end of a pipe and cleans up.
pub struct Guard {
    pipe: Option<PipeWriter>,
    shell: Child,
}

impl Guard {
    pub fn new(processes: &[u32], folders: &[&Path]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let pids = processes.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("cat >/dev/null; kill -9 {pids}; rm -rf \"$@\"")).arg("sh").args(folders);
        let shell = shell.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { pipe: Some(writer), shell }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// A claim to a domain under `test`, and its owner's zone.
pub struct Claim {
    pub name: String,
    pub id: String,
    pub tokens: Vec<String>,
    api: Rest,
    world: Arc<World>,
}

impl Claim {
    /// Claims a name. Only our keys are published.
    pub fn new(name: &str) -> Self {
        Self::within(&world(), name)
    }

    /// The same in a separate world.
    pub fn within(world: &Arc<World>, name: &str) -> Self {
        let claim = Self::bare(world, name);
        claim.dns().publish_keys(&claim.tokens);
        claim
    }

    /// Claims a name without publishing its keys.
    pub fn without_keys(name: &str) -> Self {
        Self::bare(&world(), name)
    }

    fn bare(world: &Arc<World>, name: &str) -> Self {
        let (api, world) = (Rest::new(&world.http, &world.token), Arc::clone(world));
        let made = api.post("/api/v1/custom_domains", json!({"domain": name})).expect(201);
        let tokens = made.body["dkim_tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned());
        Self { name: name.to_owned(), id: made.at("/id").to_owned(), tokens: tokens.collect(), api, world }
    }

    /// The DNS, locked against other tests.
    pub fn dns(&self) -> MutexGuard<'_, Dns> {
        // A failed test does not affect it.
        self.world.dns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a server.
    pub fn host(&self, host: u8) -> String {
        self.dns().host(host).to_string()
    }

    /// The name of a token's record.
    pub fn dkim(&self, token: usize) -> String {
        format!("{}._domainkey.{}", self.tokens[token], self.name)
    }

    /// Its target, as in zone files.
    pub fn target(&self, token: usize) -> String {
        format!("{}.{KEYS}.", self.tokens[token])
    }

    /// A zone with all expected records.
    pub fn zone(&self) -> Zone {
        let zone = (0..3).fold(Zone::default(), |zone, n| zone.with(&self.dkim(n), "CNAME", &self.target(n)));
        zone.with(&self.name, "MX", &format!("10 {MX}."))
            .with_text(&self.name, SPF)
            .with_text(&format!("_dmarc.{}", self.name), DMARC)
    }

    /// Changes it.
    pub fn patch(&self, change: Value) -> Seen {
        let path = format!("/api/v1/custom_domains/{}", self.id);
        Seen(self.api.call(Method::PATCH, &path, Some(change), &[]).expect(200).body)
    }

    /// Serves the zone from both name servers, and delegates it to them.
    pub fn publish(&self, zone: &Zone) {
        let (mut dns, servers) = (self.dns(), [Dns::FIRST, Dns::SECOND]);
        dns.serve(&self.name, &servers, zone);
        dns.delegate(&self.name, &servers, None);
    }

    /// Requests a check and waits until it has settled: the API's response.
    #[track_caller]
    pub fn check(&self) -> Seen {
        let path = format!("/api/v1/custom_domains/{}/verify", self.id);
        Seen(self.api.call(Method::POST, &path, Some(json!({})), &[("prefer", "wait=30")]).expect(200).body)
    }

    /// Publishes a zone and checks it.
    #[track_caller]
    pub fn check_with(&self, zone: &Zone) -> Seen {
        self.publish(zone);
        self.check()
    }
}

/// A claim after a check.
#[derive(Debug)]
pub struct Seen(pub Value);

impl Seen {
    /// The first record for a purpose.
    #[track_caller]
    pub fn record(&self, purpose: &str) -> Record<'_> {
        self.records(purpose).next().unwrap_or_else(|| panic!("no {purpose} in {}", self.0))
    }

    /// All records for a purpose.
    pub fn records(&self, purpose: &str) -> impl Iterator<Item = Record<'_>> {
        let records = self.0["records"].as_array().unwrap().iter();
        records.filter(move |record| record["purpose"] == purpose).map(Record)
    }

    /// The claim's status.
    pub fn status(&self) -> &str {
        self.0["verified_status"].as_str().unwrap()
    }

    /// The domain's verdict.
    pub fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap()
    }
}

/// A record of a claim, as the API shows it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(pub &'a Value);

impl<'a> Record<'a> {
    /// Checks status and code; returns it for further checks.
    #[track_caller]
    pub fn is(&self, status: &str, code: &str) -> &Self {
        let (found, error) = (&self.0["status"], &self.0["error"]);
        assert_eq!((found, &error["code"]), (&json!(status), &json!(code)), "{:#}", self.0);
        assert!(!error["message"].as_str().unwrap().is_empty() && !error["fix"].as_str().unwrap().is_empty());
        self
    }

    /// It is valid, without a warning.
    #[track_caller]
    pub fn is_right(&self) -> &Self {
        assert_eq!((&self.0["status"], &self.0["error"]), (&json!("valid"), &Value::Null), "{:#}", self.0);
        self
    }

    /// The message contains this.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.0["error"]["message"].as_str().unwrap_or_default().contains(part), "not {part:?}: {:#}", self.0);
        self
    }

    /// The fix contains this.
    #[track_caller]
    pub fn fix(&self, part: &str) -> &Self {
        assert!(self.0["error"]["fix"].as_str().unwrap_or_default().contains(part), "not {part:?}: {:#}", self.0);
        self
    }

    /// These values were observed, in any order.
    #[track_caller]
    pub fn observed(&self, values: &[&str]) -> &Self {
        let mut seen: Vec<&str> =
            self.0["observed"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        let mut wanted = values.to_vec();
        seen.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "{:#}", self.0);
        self
    }

    /// The answers: the server, its name if it is authoritative, and the kind of answer.
    pub fn who_said(&self) -> Vec<(&'a str, &'a str, &'a str)> {
        let text = |answers: &'a Value, field: &str| answers[field].as_str().unwrap_or_default();
        let evidence = self.0["evidence"].as_array().unwrap().iter();
        evidence.map(|answers| (text(answers, "server"), text(answers, "name"), text(answers, "answer"))).collect()
    }

    /// The servers that answered, and their AD bits.
    pub fn vouched(&self) -> Vec<(&'a str, bool)> {
        let evidence = self.0["evidence"].as_array().unwrap().iter();
        evidence.map(|answers| (answers["server"].as_str().unwrap(), answers["ad"].as_bool().unwrap())).collect()
    }
}
