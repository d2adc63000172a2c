//! Queries on SQLite's catalog.

use crate::store::engine::Catalog;

pub(in crate::store::engine) const CATALOG: Catalog = Catalog {
    tables: "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    columns: "SELECT name, pk FROM pragma_table_xinfo(?1) WHERE hidden = 0",
    // AUTOINCREMENT continues after the highest row number by itself.
    reset_sequences: "SELECT name FROM sqlite_schema WHERE false",
};

pub(in crate::store::engine) fn items(parameter: usize) -> String {
    format!("json_each(?{parameter})")
}
