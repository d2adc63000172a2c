//! Three daemons on one PostgreSQL and one object store, behind HAProxy: what was answered is there, whichever of them dies, while the
//! database is restarted, connections to it are cut, and the object store fails.
//!
//! The clients and the comparison are those of the crash story (`python/crash.py`), here through HAProxy. A minute; fifteen with `NIGHTLY`,
//! any other number with `DAEMONS_SECONDS`.

#[allow(dead_code, reason = "the program's tests use the rest")]
#[path = "../../src/store/bodies/testing.rs"]
mod s3;

use crate::clients::python;
use crate::crash_keeps_mail::{Clients, LIMITS, accounts, check_store, number, rand_below, text};
use crate::daemon::Daemon;
use crate::engine::{Engine, Server};
use crate::free_address::free_address;
use crate::rest::Rest;
use crate::serve::{Relay, Serve, certificate, rows};
use reqwest::Method;
use s3::{Fault, FaultProxy, Moto};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);
/// 32 octets in base64.
const SEALING_KEY: &str = "b2Zhbm9mYW5vZmFub2Zhbm9mYW5vZmFub2Zhbm9mYW4=";

/// A PostgreSQL server of a story's own, which ends with the process.
fn server() -> &'static Server {
    Box::leak(Box::new(Server::start(400)))
}

fn relay_of(relay: &Relay) -> String {
    format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port())
}

/// The object store and the proxy before it.
struct Objects {
    // Of the proxy.
    _runtime: tokio::runtime::Runtime,
    _moto: Moto,
    proxy: FaultProxy,
}

impl Objects {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (moto, proxy) = runtime.block_on(async {
            let moto = Moto::start().await;
            moto.make_bucket("bodies").await;
            let proxy = FaultProxy::start(moto.address()).await;
            (moto, proxy)
        });
        Self { _runtime: runtime, _moto: moto, proxy }
    }

    fn configuration(&self) -> String {
        let url = self.proxy.url();
        format!(
            "[bodies]\nstore = \"s3://bodies/mail\"\nendpoint = \"{url}\"\nregion = \"us-east-1\"\ntimeout = \"2s\"\ncache = 0\n"
        )
    }

    /// Some of the requests that come next fail, in one way or another.
    fn fail_some(&self) {
        const FAULTS: [Fault; 6] = [
            Fault::Status(500),
            Fault::Status(503),
            Fault::Stall,
            Fault::CutUpload,
            Fault::CutAnswer,
            Fault::FailAfterSuccess,
        ];
        let mut next = Vec::new();
        for _ in 0..20 {
            next.extend(std::iter::repeat_n(Fault::None, usize::try_from(rand_below(8)).unwrap()));
            next.push(FAULTS[usize::try_from(rand_below(6)).unwrap()]);
        }
        self.proxy.next(next);
    }
}

/// HAProxy before all daemons. It asks each of them at `/readyz`.
struct Balancer {
    child: std::process::Child,
    http: SocketAddr,
    submissions: SocketAddr,
    mx: SocketAddr,
    imaps: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Balancer {
    fn start(daemons: &[Serve]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [http, submissions, mx, imaps] = std::array::from_fn(|_| free_address());
        let servers = |of: fn(&Serve) -> SocketAddr, header: &str| {
            let line = |(n, daemon): (usize, &Serve)| {
                format!(" server d{n} {} {header} check port {}\n", of(daemon), daemon.http.port())
            };
            daemons.iter().enumerate().map(line).collect::<String>()
        };
        let text = format!(
            "defaults\n mode tcp\n balance roundrobin\n retries 5\n option redispatch\n timeout connect 2s\n timeout client 60s\n \
             timeout server 60s\n timeout check 3s\n source {BALANCER}\n option httpchk GET /readyz\n \
             default-server inter 200ms fall 2 rise 1\n\
             listen http\n mode http\n bind {http}\n option forwardfor\n{}\
             listen submissions\n bind {submissions}\n{}listen mx\n bind {mx}\n{}listen imaps\n bind {imaps}\n{}",
            servers(|d| d.http, ""),
            servers(|d| d.submissions, "send-proxy-v2"),
            servers(|d| d.mx, "send-proxy-v2"),
            servers(|d| d.imaps, "send-proxy-v2"),
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let child = std::process::Command::new("haproxy").arg("-db").arg("-f").arg(&file).spawn();
        let child = child.unwrap_or_else(|e| panic!("haproxy: {e}; tests/run installs what is missing"));
        let began = Instant::now();
        while std::net::TcpStream::connect(imaps).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "haproxy does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, http, submissions, mx, imaps, _folder: folder }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What happens to the daemons and what they need, in turn.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    KillOne,
    CutConnections,
    KillTwo,
    RestartDatabase,
    StopOne,
    CrashDatabase,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::KillOne,
    Trouble::CutConnections,
    Trouble::KillTwo,
    Trouble::RestartDatabase,
    Trouble::StopOne,
    Trouble::CrashDatabase,
];

struct World {
    server: &'static Server,
    daemons: Vec<Serve>,
    objects: Objects,
    balancer: Balancer,
    /// Its DNS is where customers publish their records.
    customers: Daemon,
    relay: Relay,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let (server, objects, relay, customers) = (server(), Objects::start(), Relay::start(), Daemon::start());
        let engine = Engine::fresh_on(server);
        let dns = customers.ready("dns");
        let port = customers.address("dns").1;
        let dns = format!(
            "resolvers = [\"{dns}\"]\nauthoritative_port = {port}\nallow_networks = [\"127.0.0.0/8\"]\ntimeout = \"1s\""
        );
        // One certificate for all, as they have one name.
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let environment = [
            ("INBOXLAYER_TLS__CERTIFICATE", text(&chain)),
            ("INBOXLAYER_TLS__PRIVATE_KEY", text(&key)),
            ("INBOXLAYER_SECRET_KEY", SEALING_KEY),
            ("INBOXLAYER_TRUSTED_PROXIES", "[\"127.9.0.1\"]"),
            ("INBOXLAYER_PLATFORM__ALLOW_SPECIAL_USE", "[\"test\"]"),
            ("INBOXLAYER_DRAIN", "1s"),
            ("AWS_ACCESS_KEY_ID", "of-the-tests"),
            ("AWS_SECRET_ACCESS_KEY", "of-the-tests"),
        ];
        let more = format!(
            "{LIMITS}connections_per_address = 1000\nconnections_per_network = 1000\n{}",
            objects.configuration()
        );
        let start = || Serve::start_on(engine.clone(), &environment, &dns, &relay_of(&relay), &more);
        let daemons: Vec<Serve> = (0..3).map(|_| start()).collect();
        let balancer = Balancer::start(&daemons);
        Self { server, daemons, objects, balancer, customers, relay, folder }
    }

    /// The configuration of the clients: through HAProxy.
    fn clients(&self) -> PathBuf {
        let ca = self.folder.path().join("cert.pem");
        let mut config = accounts(&self.daemons[0]);
        let ports = [
            ("http", self.balancer.http),
            ("submissions", self.balancer.submissions),
            ("mx", self.balancer.mx),
            ("imaps", self.balancer.imaps),
        ];
        for (name, address) in ports {
            config[name] = address.port().into();
        }
        (config["ca"], config["temporary"], config["large"]) = (json!(ca), true.into(), 600.into());
        let file = self.folder.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }

    fn any_daemon(&self) -> usize {
        usize::try_from(rand_below(3)).unwrap()
    }

    fn make(&mut self, trouble: Trouble) {
        let one = self.any_daemon();
        let postmaster = || {
            let file = std::fs::read_to_string(self.server.directory().join("data/postmaster.pid")).unwrap();
            file.lines().next().unwrap().to_owned()
        };
        let signal = |name: &str, pid: &str| {
            let sent = std::process::Command::new("kill").args([name, pid]).status().unwrap();
            assert!(sent.success());
        };
        match trouble {
            Trouble::KillOne => self.daemons[one].kill(),
            Trouble::KillTwo => {
                self.daemons[one].kill();
                std::thread::sleep(Duration::from_millis(rand_below(300)));
                self.daemons[(one + 1) % 3].kill();
            }
            Trouble::StopOne => assert!(self.daemons[one].terminate(), "the end on SIGTERM"),
            Trouble::CutConnections => {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'mail' AND pid <> pg_backend_pid()";
                for _ in 0..3 {
                    self.server.ask("postgres", sql);
                    std::thread::sleep(Duration::from_millis(rand_below(200)));
                }
            }
            // The script that runs it starts it again.
            Trouble::RestartDatabase => signal("-INT", &postmaster()),
            Trouble::CrashDatabase => signal("-QUIT", &postmaster()),
        }
    }

    /// All daemons run and are ready.
    fn recover(&mut self) {
        self.server.wait_until_it_answers();
        for daemon in &mut self.daemons {
            if daemon.process().is_none() {
                daemon.launch();
            }
            daemon.api().poll("/readyz", |answer| answer.status == 200);
        }
        Rest::new(&format!("http://{}", self.balancer.http), "").poll("/readyz", |answer| answer.status == 200);
    }

    /// A request through HAProxy that is made until it is not refused temporarily.
    fn ask(&self, token: &str, method: &Method, path: &str, body: &Value) -> crate::rest::Answer {
        let began = Instant::now();
        loop {
            let api = Rest::new(&format!("http://{}", self.balancer.http), token);
            let answer = api.call(method.clone(), path, Some(body.clone()), &[("Prefer", "wait=10")]);
            if !matches!(answer.status, 429 | 502..=504) {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{}", answer.text);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Claims a domain, whose owner publishes its records.
    fn claim(&self, token: &str, name: &str) -> String {
        let claimed = self.ask(token, &Method::POST, "/api/v1/custom_domains", &json!({"domain": name})).expect(201);
        for record in claimed.body["records"].as_array().unwrap() {
            let priority = record["priority"].as_u64().map_or(String::new(), |priority| format!("{priority} "));
            let value = format!("{priority}{}", record["value"].as_str().unwrap());
            let set = json!({"name": record["name"], "type": record["type"], "values": [value], "ttl": 60});
            self.customers.api().put("/sandbox/dns/records", set).expect(200);
        }
        claimed.at("/id").to_owned()
    }
}

#[test]
#[cfg_attr(not(feature = "cluster"), ignore = "needs --features cluster")]
fn three_daemons_keep_what_any_of_them_has_answered() {
    let time = Duration::from_secs(number("DAEMONS_SECONDS", 60, 900));
    let mut world = World::start();
    let (config, state) = (world.clients(), world.folder.path().join("state.json"));
    let (_, _, token) = world.daemons[1].account("customer");
    let mut domains = Vec::new();
    let (began, mut rounds, mut made) = (Instant::now(), 0, Value::Null);
    while began.elapsed() < time || rounds < TROUBLES.len() {
        let trouble = TROUBLES[rounds % TROUBLES.len()];
        let clients = Clients::start(&config, &state).takes_temporary_errors();
        clients.wait_for_answers(1);
        domains.push(world.claim(&token, &format!("d{rounds}.test")));
        world.objects.fail_some();
        std::thread::sleep(Duration::from_millis(rand_below(500)));
        world.make(trouble);
        std::thread::sleep(Duration::from_millis(rand_below(1500)));
        world.objects.proxy.clear();
        world.recover();
        clients.stop();
        check_store(&world.daemons[0]);
        let checked = python("crash.py", &["check", text(&config), text(&state)], b"");
        assert_eq!(checked.code, 0, "after {trouble:?} in round {rounds}: {}", checked.stderr);
        made = checked.json();
        rounds += 1;
    }
    println!("{rounds} rounds in {} s, numbers by worker: {made}", began.elapsed().as_secs());
    for (worker, number) in made.as_object().unwrap() {
        assert!(number.as_u64().unwrap() > 0, "{worker} has changed nothing: {made}");
    }

    for id in &domains {
        let path = format!("/api/v1/custom_domains/{id}");
        let verify = |_| {
            world.ask(&token, &Method::POST, &format!("{path}/verify"), &json!({})).body["verified_status"]
                == "verified"
        };
        assert!((0..10).any(verify), "{}", world.ask(&token, &Method::GET, &path, &json!({})).text);
    }
    let is_deferred = |row: &Value| row["deliveries"][0]["rcpt_to"] == "later@elsewhere.example";
    world.daemons[2].api().poll("/api/v1/queue?per_page=100", |answer| {
        answer.status == 200 && rows(&answer.body).iter().all(is_deferred)
    });
    let outside = world.relay.subjects();
    let state: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    for subject in state["arrived"].as_array().unwrap() {
        assert!(outside.contains_key(subject.as_str().unwrap()), "{subject} was acknowledged and never delivered");
    }
    for daemon in &mut world.daemons {
        assert!(daemon.terminate(), "the end on SIGTERM");
    }
    check_store(&world.daemons[0]);
}

#[test]
#[cfg_attr(not(feature = "cluster"), ignore = "needs --features cluster")]
fn two_daemons_share_a_queue_and_each_message_is_delivered_by_one_of_them() {
    const MESSAGES: usize = 120;
    let (engine, relay) = (Engine::fresh_on(server()), Relay::slow(Duration::from_millis(30)));
    let environment = [("INBOXLAYER_SECRET_KEY", SEALING_KEY), ("INBOXLAYER_QUEUE__CONCURRENCY", "8")];
    let dns = "resolvers = [\"127.0.0.1:9\"]";
    let daemons = [(); 2].map(|()| Serve::start_on(engine.clone(), &environment, dns, &relay_of(&relay), LIMITS));
    let (_, inbox, token) = daemons[0].account("sender");
    for number in 0..MESSAGES {
        let message =
            json!({"to": format!("r{number}@elsewhere.example"), "subject": format!("m{number}"), "text_body": "x"});
        let api = Rest::new(&format!("http://{}", daemons[number % 2].http), &token);
        api.post(&format!("/api/v1/emails/send?inbox_id={inbox}"), message).expect(201);
    }
    daemons[0].api().poll("/api/v1/queue?per_page=100", |answer| answer.status == 200 && rows(&answer.body).is_empty());
    let attempts = relay.attempts();
    assert_eq!((attempts.len(), relay.subjects().len()), (MESSAGES, MESSAGES));
    let wrong: Vec<_> = attempts.iter().filter(|(_, attempts)| (attempts.begun, attempts.at_once) != (1, 1)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let of_each = daemons.each_ref().map(|daemon| daemon.log().matches("delivered").count());
    assert!(of_each.iter().all(|count| *count > 0), "{of_each:?}");
}
