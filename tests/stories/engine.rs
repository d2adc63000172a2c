//! What a story's daemons keep their store on: SQLite, or with `STORE_ENGINE=postgres` a database of a PostgreSQL server that this process
//! starts. The program is built with `--features cluster` then.

#[allow(dead_code, reason = "the program's tests use the rest")]
#[path = "../../src/store/engine/postgres/testing/server.rs"]
mod server;

pub use server::Server;

use rusqlite::Connection;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

/// The store of one daemon, or of several.
#[derive(Clone, Debug)]
pub enum Engine {
    Sqlite,
    /// A database, by its name on the server.
    Postgres(&'static Server, String),
}

/// True where the run is for PostgreSQL. The story, which is of something that SQLite alone has, is to end then; standard error says so.
pub fn skips(what_sqlite_has: &str) -> bool {
    let skips = is_for_postgres();
    if skips {
        // Not `eprintln`, which is shown only when the story fails.
        let _ = writeln!(std::io::stderr(), "skipped on PostgreSQL: {what_sqlite_has}");
    }
    skips
}

fn is_for_postgres() -> bool {
    std::env::var_os("STORE_ENGINE").is_some_and(|engine| engine == "postgres")
}

impl Engine {
    /// A fresh one on the engine that this run is for.
    pub fn fresh() -> Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        match is_for_postgres() {
            true => Self::fresh_on(SERVER.get_or_init(|| Server::start(400))),
            false => Self::Sqlite,
        }
    }

    /// A fresh database on a server of PostgreSQL.
    pub fn fresh_on(server: &'static Server) -> Self {
        let name = format!("story_{}", ulid::Ulid::new().to_string().to_lowercase());
        server.ask("postgres", &format!("CREATE DATABASE {name}"));
        Self::Postgres(server, name)
    }

    /// The settings of `[store]` for it.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let Self::Postgres(server, name) = self else { return Vec::new() };
        let connections = ["read_connections", "write_connections"].map(|key| (key, "4".to_owned()));
        [("engine", "postgres".to_owned()), ("url", server.url(name))].into_iter().chain(connections).collect()
    }

    /// The program's environment variables for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variable = |key: &str| format!("INBOXLAYER_STORE__{}", key.to_uppercase());
        self.settings().into_iter().map(|(key, value)| (variable(key), value)).collect()
    }

    /// The arguments of the sandbox for it, which takes no such variables.
    pub fn arguments(&self) -> Vec<String> {
        self.settings()
            .into_iter()
            .flat_map(|(key, value)| ["--set".to_owned(), format!("store.{key}={value}")])
            .collect()
    }

    /// The first column of the only row of an answer, as text.
    pub fn ask(&self, data_dir: &Path, sql: &str) -> String {
        match self {
            Self::Sqlite => {
                let database = Connection::open(data_dir.join("inboxlayer.db")).unwrap();
                database.query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres(server, name) => server.ask(name, sql).trim_end().to_owned(),
        }
    }
}
