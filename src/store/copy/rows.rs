//! Reading and writing the rows of any table.

use crate::store::engine::{FromValue, ToValue, Unexpected, Value, params};
use crate::store::{StoreError, Transaction};
use std::ops::ControlFlow;

/// Rows per batch.
const BATCH_ROWS: usize = 500;
/// Rows per batch of [`LARGE`] tables, since the server may send the whole batch even if reading stops early.
const LARGE_BATCH_ROWS: usize = 64;
/// Tables with large values.
const LARGE: &[&str] = &["body", "content"];
/// A batch ends with the row that reaches this size.
const BATCH_OCTETS: usize = 16 * 1024 * 1024;
/// Parameters per statement; with more, preparing the statement takes longer than is saved.
const PARAMETERS: usize = 500;

/// A value of any column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Octets(Vec<u8>),
}

pub type Row = Vec<Cell>;

impl ToValue for Cell {
    fn to_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text.as_str().into()),
            Self::Octets(octets) => Value::Octets(octets),
        }
    }
}

impl FromValue for Cell {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Text(text) => Self::Text(text.into_owned()),
            Value::Octets(octets) => Self::Octets(octets.to_vec()),
        })
    }
}

impl Cell {
    fn octets(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) => 8,
            Self::Text(text) => text.len(),
            Self::Octets(octets) => octets.len(),
        }
    }

    /// The encoding is injective: type, length, octets.
    fn hash_into(&self, hash: &mut blake3::Hasher) {
        let mut part = |kind: u8, octets: &[u8]| {
            hash.update(&[kind]).update(&(octets.len() as u64).to_be_bytes()).update(octets);
        };
        match self {
            Self::Null => part(0, &[]),
            Self::Integer(number) => part(1, &number.to_be_bytes()),
            Self::Text(text) => part(2, text.as_bytes()),
            Self::Octets(octets) => part(3, octets),
        }
    }
}

/// A digest of a table that does not depend on the order of rows: their number, and the sum of their BLAKE3 hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    sum: [u64; 4],
}

impl Digest {
    pub fn add(&mut self, row: &[Cell]) {
        let mut hash = blake3::Hasher::new();
        row.iter().for_each(|cell| cell.hash_into(&mut hash));
        self.rows += 1;
        for (sum, octets) in self.sum.iter_mut().zip(hash.finalize().as_bytes().as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*octets));
        }
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: &'static str,
    /// Without generated ones, sorted, so that the order is the same on both engines.
    pub columns: Vec<String>,
    /// Indexes into `columns`: the primary key, or all columns of a table without one, which has one row.
    key: Vec<usize>,
    /// The index of the column that is written after all rows.
    pub deferred: Option<usize>,
}

impl Table {
    pub fn of(c: &Transaction<'_>, name: &'static str, deferred: &[(&str, &str)]) -> Result<Self, StoreError> {
        let mut found = c.columns(name)?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut key: Vec<(i64, usize)> = found
            .iter()
            .enumerate()
            .filter(|(_, (_, part))| *part > 0)
            .map(|(index, (_, part))| (*part, index))
            .collect();
        key.sort_unstable();
        let mut key: Vec<usize> = key.into_iter().map(|(_, index)| index).collect();
        if key.is_empty() {
            key = (0..found.len()).collect();
        }
        let columns: Vec<String> = found.into_iter().map(|(column, _)| column).collect();
        let deferred = deferred.iter().find(|(table, _)| *table == name);
        let deferred = deferred.and_then(|(_, column)| columns.iter().position(|found| found == column));
        Ok(Self { name, columns, key, deferred })
    }

    fn key_columns(&self) -> Vec<&str> {
        self.key.iter().filter_map(|index| self.columns.get(*index)).map(String::as_str).collect()
    }

    pub fn key_of(&self, row: &[Cell]) -> Row {
        self.key.iter().filter_map(|index| row.get(*index)).cloned().collect()
    }

    pub fn count(&self, c: &Transaction<'_>) -> Result<u64, StoreError> {
        let count = c.query_row(&format!("SELECT count(*) FROM {}", self.name), params![], |row| row.get::<i64>(0))?;
        Ok(count.unsigned_abs())
    }

    pub fn last_key(&self, c: &Transaction<'_>) -> Result<Option<Row>, StoreError> {
        let key = self.key_columns();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1",
            key.join(", "),
            self.name,
            key.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ")
        );
        c.query_opt(&sql, params![], |row| (0..key.len()).map(|column| row.get(column)).collect())
    }

    /// The next rows after a key, in the order of keys.
    pub fn batch(&self, c: &Transaction<'_>, after: Option<&[Cell]>) -> Result<Vec<Row>, StoreError> {
        let (columns, key) = (self.columns.join(", "), self.key_columns().join(", "));
        let limit = if LARGE.contains(&self.name) { LARGE_BATCH_ROWS } else { BATCH_ROWS };
        let (condition, values) = match after {
            Some(after) => (format!("WHERE ({key}) > ({})", placeholders(1, after.len())), after),
            None => (String::new(), &[][..]),
        };
        let sql = format!("SELECT {columns} FROM {} {condition} ORDER BY {key} LIMIT {limit}", self.name);
        let (mut rows, mut octets) = (Vec::new(), 0_usize);
        c.for_each(&sql, &parameters(values), |found| {
            let row: Row = (0..self.columns.len()).map(|column| found.get(column)).collect::<Result<_, _>>()?;
            octets = octets.saturating_add(row.iter().map(Cell::octets).sum());
            rows.push(row);
            Ok(if octets < BATCH_OCTETS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(rows)
    }

    pub fn insert(&self, c: &Transaction<'_>, rows: &[Row]) -> Result<(), StoreError> {
        let width = self.columns.len().max(1);
        for rows in rows.chunks((PARAMETERS / width).max(1)) {
            let tuples: Vec<String> =
                (0..rows.len()).map(|row| format!("({})", placeholders(row * width + 1, width))).collect();
            let sql = format!("INSERT INTO {} ({}) VALUES {}", self.name, self.columns.join(", "), tuples.join(", "));
            let values: Vec<&dyn ToValue> = rows
                .iter()
                .flat_map(|row| row.iter().enumerate())
                .map(|(index, cell)| if Some(index) == self.deferred { &Cell::Null as &dyn ToValue } else { cell })
                .collect();
            c.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// Writes the deferred column of rows where it is not NULL.
    pub fn update_deferred(&self, c: &Transaction<'_>, rows: &[Row]) -> Result<(), StoreError> {
        let Some((index, column)) = self.deferred.and_then(|index| Some((index, self.columns.get(index)?))) else {
            return Ok(());
        };
        let key: Vec<String> =
            self.key_columns().iter().zip(2..).map(|(column, number)| format!("{column} = ?{number}")).collect();
        let sql = format!("UPDATE {} SET {column} = ?1 WHERE {}", self.name, key.join(" AND "));
        for row in rows {
            if let Some(value) = row.get(index).filter(|value| **value != Cell::Null) {
                let key = self.key_of(row);
                let values: Vec<&dyn ToValue> = std::iter::once(value).chain(&key).map(|cell| cell as _).collect();
                c.execute(&sql, &values)?;
            }
        }
        Ok(())
    }
}

/// `?first, …`: `count` parameters.
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

fn parameters(cells: &[Cell]) -> Vec<&dyn ToValue> {
    cells.iter().map(|cell| cell as _).collect()
}
