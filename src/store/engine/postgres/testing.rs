//! The PostgreSQL server of this process's tests, made when the first of them asks for it.

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
    /// The databases of data directories, by these.
    databases: Mutex<HashMap<PathBuf, String>>,
}

/// The server.
pub(in crate::store) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// Of the server at a URL, without TLS.
pub(super) fn of_url(url: String) -> Settings {
    let (engine, tls) = (Engine::Postgres, StoreTls::Disable);
    let url = Some(Secret::new(url));
    Settings { engine, url, tls, read_connections: 4, write_connections: 4, ..Settings::default() }
}

/// A database like another one.
fn new_database(server: &Session, template: &str) -> Result<String, postgres::Error> {
    let name = format!("store_{}", ulid::Ulid::new().to_string().to_lowercase());
    server.command(&format!("CREATE DATABASE {name} TEMPLATE {template}")).map(|_| name)
}

impl Cluster {
    fn start() -> Self {
        let cluster = Self { server: Server::start(), databases: Mutex::default() };
        cluster.run("CREATE DATABASE store");
        drop(Postgres::open(&cluster.settings("store"), Events::new(), Access::Shared).unwrap());
        cluster
    }

    /// A connection to a database.
    pub fn session(&self, database: &str) -> Session {
        Connector::new(&self.settings(database), Access::Shared).unwrap().connect().unwrap()
    }

    /// Runs a command of the server's superuser.
    pub fn run(&self, sql: &str) {
        self.server.ask("postgres", sql);
    }

    /// A database, over the Unix socket.
    pub fn settings(&self, database: &str) -> Settings {
        of_url(self.server.url(database))
    }

    /// The same, over TCP and TLS.
    pub fn tls_settings(&self, database: &str, roots: Option<PathBuf>) -> Settings {
        let url = format!("postgres://mail:of%20the%20tests@localhost:{}/{database}", self.server.port());
        Settings { extra_roots: roots, tls: StoreTls::Require, ..of_url(url) }
    }

    /// The file of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.server.directory().join("certificate.pem")
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.server.directory().join(format!(".s.PGSQL.{}", self.server.port()))
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
        let name = new_database(&server, "store").unwrap();
        databases.insert(directory.to_owned(), name.clone());
        self.settings(&name)
    }

    /// Makes a copy of the database of a closed store, which goes with another data directory.
    pub fn copy(&self, from: &Path, to: &Path) {
        let mut databases = self.databases.lock().unwrap();
        let server = self.session("postgres");
        // The connections of a store end a moment after it is closed.
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
