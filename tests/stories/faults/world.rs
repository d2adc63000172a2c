//! One DNS and one daemon for all fault tests of a run, and a claim for each of them.

use super::dns::{Dns, KEYS, Zone};
use crate::rest::Rest;
use crate::serve::Serve;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::PipeWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The customers' SPF record, whose include is served here.
pub const SPF: &str = "v=spf1 include:spf.inboxlayer.dev ~all";
/// The DMARC record that is asked for: a policy that another can be weaker than, and stricter.
pub const DMARC: &str = "v=DMARC1; p=quarantine;";
/// Where mail should go.
pub const MX: &str = "smtp.inboxlayer.dev";

struct World {
    dns: Mutex<Dns>,
    http: String,
    token: String,
    /// The end of this pipe is what the processes outlive us by.
    _guard: (PipeWriter, Child),
    _daemon: Serve,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        let dns = Dns::start(&folder);
        let resolvers =
            format!("resolvers = [\"{}\"]\nallow_networks = [\"127.0.0.0/8\"]\ntimeout = \"3s\"", dns.resolver());
        // The only checks are those that the tests ask for.
        let more = format!(
            "[platform]\nallow_special_use = [\"test\"]\n[dkim]\nzone = \"{KEYS}\"\n[records]\nspf = \"{SPF}\"\ndmarc = \"{DMARC}\"\n\
             [verification]\nfirst_pause = \"1h\"\nlongest_pause = \"1h\"\n"
        );
        let nobody = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        let daemon = Serve::start_with_dns(nobody, &resolvers, &more);
        let (_, _, token) = daemon.account("faults");
        let processes = dns.processes().into_iter().chain(daemon.process()).collect::<Vec<_>>();
        let guard = end_with_us(&processes, &[&folder, daemon.config().parent().unwrap()]);
        let http = format!("http://{}", daemon.http);
        World { dns: Mutex::new(dns), http, token, _guard: guard, _daemon: daemon }
    })
}

/// What a static holds is never dropped: a shell waits for the end of this process, however it comes, and tidies up.
fn end_with_us(processes: &[u32], folders: &[&Path]) -> (PipeWriter, Child) {
    let (reader, writer) = std::io::pipe().unwrap();
    let pids = processes.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("cat >/dev/null; kill -9 {pids}; rm -rf \"$@\"")).arg("sh").args(folders);
    let shell = shell.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (writer, shell)
}

/// A claim of a domain under `test`, and the zone its owner has made for it.
pub struct Claim {
    pub name: String,
    pub id: String,
    pub tokens: Vec<String>,
    api: Rest,
}

impl Claim {
    /// Claims a name. Nothing is published yet but our keys.
    pub fn new(name: &str) -> Self {
        let claim = Self::without_keys(name);
        claim.dns().publish_keys(&claim.tokens);
        claim
    }

    /// Claims a name, and there are no keys for it.
    pub fn without_keys(name: &str) -> Self {
        let api = Rest::new(&world().http, &world().token);
        let made = api.post("/api/v1/custom_domains", json!({"domain": name})).expect(201);
        let tokens = made.body["dkim_tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned());
        Self { name: name.to_owned(), id: made.at("/id").to_owned(), tokens: tokens.collect(), api }
    }

    /// The DNS, while no other test changes it.
    pub fn dns(&self) -> MutexGuard<'static, Dns> {
        // A test that failed has not broken it.
        world().dns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a server.
    pub fn host(&self, host: u8) -> String {
        self.dns().host(host).to_string()
    }

    /// The name of a token's record.
    pub fn dkim(&self, token: usize) -> String {
        format!("{}._domainkey.{}", self.tokens[token], self.name)
    }

    /// Where it should lead, as zone files have it.
    pub fn target(&self, token: usize) -> String {
        format!("{}.{KEYS}.", self.tokens[token])
    }

    /// A zone in which all is right.
    pub fn zone(&self) -> Zone {
        let zone = (0..3).fold(Zone::default(), |zone, n| zone.with(&self.dkim(n), "CNAME", &self.target(n)));
        zone.with(&self.name, "MX", &format!("10 {MX}."))
            .with_text(&self.name, SPF)
            .with_text(&format!("_dmarc.{}", self.name), DMARC)
    }

    /// Serves the zone from both name servers, and delegates it to them.
    pub fn publish(&self, zone: &Zone) {
        let (mut dns, servers) = (self.dns(), [Dns::FIRST, Dns::SECOND]);
        dns.serve(&self.name, &servers, zone);
        dns.delegate(&self.name, &servers, None);
    }

    /// Asks for a check and waits until it has settled: what the API says then.
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

    /// The sentence for the whole domain.
    pub fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap()
    }
}

/// A record of a claim, as the API shows it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(pub &'a Value);

impl Record<'_> {
    /// It has this status and this fault; for what else must be so.
    #[track_caller]
    pub fn is(&self, status: &str, code: &str) -> &Self {
        let (found, error) = (&self.0["status"], &self.0["error"]);
        assert_eq!((found, &error["code"]), (&json!(status), &json!(code)), "{:#}", self.0);
        assert!(!error["message"].as_str().unwrap().is_empty() && !error["fix"].as_str().unwrap().is_empty());
        self
    }

    /// It is right, without a word.
    #[track_caller]
    pub fn is_right(&self) -> &Self {
        assert_eq!((&self.0["status"], &self.0["error"]), (&json!("valid"), &Value::Null), "{:#}", self.0);
        self
    }

    /// What is wrong is said with this in it.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.0["error"]["message"].as_str().unwrap_or_default().contains(part), "not {part:?}: {:#}", self.0);
        self
    }

    /// What to do is said with this in it.
    #[track_caller]
    pub fn fix(&self, part: &str) -> &Self {
        assert!(self.0["error"]["fix"].as_str().unwrap_or_default().contains(part), "not {part:?}: {:#}", self.0);
        self
    }

    /// These values were seen, in any order.
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
}
