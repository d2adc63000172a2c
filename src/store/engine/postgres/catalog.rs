//! Queries on PostgreSQL's catalog.

use crate::store::engine::Catalog;

pub(in crate::store::engine) const CATALOG: Catalog = Catalog {
    tables: "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()",
    columns: "SELECT CAST(a.attname AS TEXT),
            coalesce(array_position(CAST(string_to_array(CAST(i.indkey AS TEXT), ' ') AS SMALLINT[]), a.attnum), 0)
        FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
        WHERE a.attrelid = to_regclass(CAST(?1 AS TEXT)) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''",
    reset_sequences: "SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), coalesce(max(%I), 0) + 1, false) FROM %I',
            table_name, column_name, column_name, table_name)
        FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'",
};

pub(in crate::store::engine) fn items(parameter: usize) -> String {
    format!("jsonb_array_elements(CAST(CAST(?{parameter} AS TEXT) AS JSONB))")
}
