//! The PostgreSQL server of this process's tests, started by the first test that uses it.

mod server;

use super::Postgres;
use super::connect::Connector;
use super::session::Session;
use crate::config::{Engine, Store as Settings, StoreTls};
use crate::events::Events;
use crate::secret::Secret;
use crate::store::Access;
use server::Server;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

pub(in crate::store) struct Cluster {
    server: Server,
    /// The database of each data directory.
    databases: Mutex<HashMap<PathBuf, String>>,
}

pub(in crate::store) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(400))
}

/// A server for few connections, whose state in memory is small. Transactions that are open there disturb no other tests.
pub(in crate::store) fn small_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(50))
}

/// Settings for a server at a URL, without TLS.
pub(super) fn of_url(url: String) -> Settings {
    let (engine, tls) = (Engine::Postgres, StoreTls::Disable);
    let url = Some(Secret::new(url));
    Settings { engine, url, tls, read_connections: 4, write_connections: 4, ..Settings::default() }
}

/// Creates a database as a copy of `template`.
fn new_database(server: &Session, template: &str) -> Result<String, postgres::Error> {
    let name = format!("store_{}", ulid::Ulid::new().to_string().to_lowercase());
    server.command(&format!("CREATE DATABASE {name} TEMPLATE {template}")).map(|_| name)
}

impl Cluster {
    fn start(connections: usize) -> Self {
        let cluster = Self { server: Server::start(connections), databases: Mutex::default() };
        cluster.run("CREATE DATABASE store");
        drop(Postgres::open(&cluster.settings("store"), Events::new(), Access::Shared).unwrap());
        cluster
    }

    pub fn session(&self, database: &str) -> Session {
        Connector::new(&self.settings(database), Access::Shared).unwrap().connect().unwrap()
    }

    /// Runs a command as the superuser.
    pub fn run(&self, sql: &str) {
        self.server.ask("postgres", sql);
    }

    /// Over the Unix socket.
    pub fn settings(&self, database: &str) -> Settings {
        of_url(self.server.url(database))
    }

    /// Over TCP with TLS.
    pub fn tls_settings(&self, database: &str, roots: Option<PathBuf>) -> Settings {
        let url = format!("postgres://mail:of%20the%20tests@localhost:{}/{database}", self.server.port());
        Settings { extra_roots: roots, tls: StoreTls::Require, ..of_url(url) }
    }

    /// The PEM file of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.server.directory().join("certificate.pem")
    }

    pub fn socket(&self) -> PathBuf {
        self.server.directory().join(format!(".s.PGSQL.{}", self.server.port()))
    }

    /// The database of a data directory, created with the schema on first use. Databases of removed directories are dropped.
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
        let name = new_database(&server, "store").unwrap();
        // Otherwise a store that another test opens meanwhile drops it.
        std::fs::create_dir_all(directory).unwrap();
        databases.insert(directory.to_owned(), name.clone());
        self.settings(&name)
    }

    /// Copies the database of a closed store; the copy belongs to another data directory.
    pub fn copy(&self, from: &Path, to: &Path) {
        let mut databases = self.databases.lock().unwrap();
        let server = self.session("postgres");
        // The connections of a store are closed shortly after it.
        let start = Instant::now();
        let name = loop {
            match new_database(&server, &databases[from]) {
                Ok(name) => break name,
                Err(error) if start.elapsed() > Duration::from_secs(20) => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        databases.insert(to.to_owned(), name);
    }
}
