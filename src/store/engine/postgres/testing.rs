//! A PostgreSQL server for the tests of this process: made when the first of them asks for it, ended and removed with the process.

use super::Postgres;
use super::connect::Connector;
use super::session::Session;
use crate::config::{Engine, Store as Settings, StoreTls};
use crate::events::Events;
use crate::secret::Secret;
use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Runs a server until standard input ends, which it does with the process of the tests; then removes all it wrote.
const RUN: &str = r#"
    "$1/postgres" -D "$2/data" -k "$2" -p "$3" -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
        -c max_connections=400 -c shared_buffers=64MB -c max_locks_per_transaction=256 \
        -c ssl=on -c ssl_cert_file="$2/certificate.pem" -c ssl_key_file="$2/key.pem" >"$2/log" 2>&1 &
    read -r _
    kill -QUIT $!
    wait $!
    rm -rf "$2"
"#;

pub(in crate::store) struct Cluster {
    directory: PathBuf,
    port: u16,
    /// The databases of data directories, by these.
    databases: Mutex<HashMap<PathBuf, String>>,
    // It ends when its standard input is closed.
    _server: Child,
}

/// The server.
pub(in crate::store) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// PostgreSQL refuses to run as root: a command as the user `postgres` of Debian's package then.
fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// Of the server at a URL, without TLS.
pub(super) fn of_url(url: String) -> Settings {
    let (engine, tls) = (Engine::Postgres, StoreTls::Disable);
    let url = Some(Secret::new(url));
    Settings { engine, url, tls, read_connections: 4, write_connections: 4, ..Settings::default() }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql is installed");
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let programs =
        versions.map(|version| version.unwrap().path().join("bin")).filter(|path| path.join("initdb").exists());
    programs.max_by_key(number).expect("Debian's package postgresql is installed")
}

/// An empty cluster in `data`: a copy of one that is made once, since `initdb` takes seconds.
fn empty_cluster(programs: &Path, directory: &Path) {
    let version = programs.parent().unwrap().file_name().unwrap();
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres").join(version);
    let data = directory.join("data");
    if made.exists() {
        return run(Command::new("cp").arg("-a").args([&made, &data]));
    }
    let password = directory.join("password");
    fs::write(&password, "of the tests").unwrap();
    run(unprivileged(&programs.join("initdb"))
        .args(["-D", data.to_str().unwrap(), "-U", "mail", "-E", "UTF8", "--locale=C", "-N"])
        .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", password.to_str().unwrap()]));
    fs::create_dir_all(made.parent().unwrap()).unwrap();
    let copy = made.with_extension(std::process::id().to_string());
    run(Command::new("cp").arg("-a").args([&data, &copy]));
    if fs::rename(&copy, &made).is_err() {
        // Another process was first.
        fs::remove_dir_all(&copy).unwrap();
    }
}

impl Cluster {
    fn start() -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new().prefix("inboxlayer-postgres-").tempdir().unwrap().keep();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(directory.join("certificate.pem"), issued.cert.pem()).unwrap();
        fs::write(directory.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&directory));
        }
        run(Command::new("chmod").arg("600").arg(directory.join("key.pem")));
        empty_cluster(&programs, &directory);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = unprivileged(Path::new("/bin/sh"))
            .args(["-c", RUN, "server"])
            .args([&programs, &directory])
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let cluster = Self { directory, port, databases: Mutex::default(), _server: server };
        let start = Instant::now();
        while let Err(error) = cluster.try_session("postgres") {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{error}: {:?}",
                fs::read_to_string(cluster.directory.join("log"))
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster.run("CREATE DATABASE store");
        drop(Postgres::open(&cluster.settings("store"), Events::new()).unwrap());
        cluster
    }

    fn try_session(&self, database: &str) -> Result<Session, postgres::Error> {
        Connector::new(&self.settings(database)).unwrap().connect()
    }

    /// A connection to a database.
    pub fn session(&self, database: &str) -> Session {
        self.try_session(database).unwrap()
    }

    /// Runs a command of the server's superuser.
    pub fn run(&self, sql: &str) {
        self.session("postgres").command(sql).unwrap();
    }

    /// A database, over the Unix socket.
    pub fn settings(&self, database: &str) -> Settings {
        of_url(format!("host={} port={} user=mail dbname={database}", self.directory.display(), self.port))
    }

    /// The same, over TCP and TLS.
    pub fn tls_settings(&self, database: &str, roots: Option<PathBuf>) -> Settings {
        let url = format!("postgres://mail:of%20the%20tests@localhost:{}/{database}", self.port);
        Settings { extra_roots: roots, tls: StoreTls::Require, ..of_url(url) }
    }

    /// The file of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }

    /// The database that goes with a data directory, made with the schema where there is none yet. Those of directories that are gone
    /// are removed.
    pub fn database_of(&self, directory: &Path) -> Settings {
        let mut databases = self.databases.lock().unwrap();
        if let Some(name) = databases.get(directory) {
            return self.settings(name);
        }
        let server = self.session("postgres");
        databases.retain(|directory, name| {
            let stays = directory.exists();
            if !stays {
                server.command(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
            }
            stays
        });
        let name = format!("store_{}", ulid::Ulid::new().to_string().to_lowercase());
        server.command(&format!("CREATE DATABASE {name} TEMPLATE store")).unwrap();
        databases.insert(directory.to_owned(), name.clone());
        self.settings(&name)
    }
}
