//! A PostgreSQL server for tests, which is stopped and removed when this value is dropped. Unit tests and stories use it, so it
//! depends on nothing in the crate.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the server, restarting it whenever it exits, until end of file on standard input, at the latest when the test process
/// ends; then removes its files.
const RUN: &str = r#"
    while [ ! -e "$2/end" ]; do
        "$1/postgres" -D "$2/data" -k "$2" -p "$3" -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
            -c max_connections="$4" -c shared_buffers=64MB -c max_locks_per_transaction=256 \
            -c ssl=on -c ssl_cert_file="$2/certificate.pem" -c ssl_key_file="$2/key.pem" >>"$2/log" 2>&1
    done &
    read -r _
    touch "$2/end"
    kill -QUIT "$(head -n 1 "$2/data/postmaster.pid")"
    wait $!
    rm -rf "$2"
"#;

#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    port: u16,
    programs: PathBuf,
    // The server is stopped when its standard input is closed.
    _running: Child,
}

/// PostgreSQL refuses to run as root: for root, a command that runs as the user `postgres` of Debian's package.
fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The directory of the newest installed version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql is installed");
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let programs =
        versions.map(|version| version.unwrap().path().join("bin")).filter(|path| path.join("initdb").exists());
    programs.max_by_key(number).expect("Debian's package postgresql is installed")
}

/// Creates an empty cluster in `data`: a copy of a cached one, since `initdb` takes seconds.
fn empty_cluster(programs: &Path, directory: &Path) {
    let version = programs.parent().unwrap().file_name().unwrap();
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres").join(version);
    let data = directory.join("data");
    if made.exists() {
        run(Command::new("cp").arg("-a").args([&made, &data]));
        return;
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
        // Another process has created it meanwhile.
        fs::remove_dir_all(&copy).unwrap();
    }
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub fn start(connections: usize) -> Self {
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
        let port = crate::free_address::free_address().port();
        let running = unprivileged(Path::new("/bin/sh"))
            .args(["-c", RUN, "server"])
            .args([&programs, &directory])
            .args([port.to_string(), connections.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self { directory, port, programs, _running: running };
        server.wait_until_it_answers();
        server
    }

    pub fn wait_until_it_answers(&self) {
        let start = Instant::now();
        loop {
            let answer = self.psql("postgres", "SELECT 1").output().unwrap();
            if answer.status.success() {
                return;
            }
            let log = || fs::read_to_string(self.directory.join("log"));
            assert!(start.elapsed() < Duration::from_secs(60), "{answer:?}: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "mail", "-p", &self.port.to_string(), "-d", database]);
        command.arg("-h").arg(&self.directory).args(["-c", sql]);
        command
    }

    /// Runs SQL as the superuser and returns the output of psql.
    pub fn ask(&self, database: &str, sql: &str) -> String {
        run(&mut self.psql(database, sql))
    }

    /// `[store] url` of a database, over the Unix socket.
    pub fn url(&self, database: &str) -> String {
        format!("host={} port={} user=mail dbname={database}", self.directory.display(), self.port)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
