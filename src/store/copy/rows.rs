//! Rows of any table, as values.

use crate::store::engine::{FromValue, ToValue, Unexpected, Value, params};
use crate::store::{StoreError, Transaction};
use std::ops::ControlFlow;

/// Rows that one transaction copies.
const ROWS: usize = 500;
/// The same for tables with large values, of which the server may send all of a batch.
const LARGE_ROWS: usize = 64;
const LARGE: &[&str] = &["body", "content"];
/// Octets that one transaction copies, but for a row that alone has more.
const OCTETS: usize = 16 * 1024 * 1024;
/// Parameters of one statement; more would be slower to prepare than they save.
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

    /// Different values give different octets.
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

/// The rows of a table, in whatever order: how many, and the sum of their BLAKE3 hashes.
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

/// A table, as the statements of a copy need it.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: &'static str,
    /// But for generated ones; in one order for both engines.
    pub columns: Vec<String>,
    /// Places in `columns` of the primary key, or of all where there is none: such a table has one row.
    key: Vec<usize>,
    /// The place of a column that is written once all rows are there.
    pub later: Option<usize>,
}

impl Table {
    pub fn of(c: &Transaction<'_>, name: &'static str, later: &[(&str, &str)]) -> Result<Self, StoreError> {
        let mut found = c.columns(name)?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut key: Vec<(i64, usize)> = found
            .iter()
            .enumerate()
            .filter(|(_, (_, part))| *part > 0)
            .map(|(place, (_, part))| (*part, place))
            .collect();
        key.sort_unstable();
        let mut key: Vec<usize> = key.into_iter().map(|(_, place)| place).collect();
        if key.is_empty() {
            key = (0..found.len()).collect();
        }
        let columns: Vec<String> = found.into_iter().map(|(column, _)| column).collect();
        let later = later.iter().find(|(table, _)| *table == name);
        let later = later.and_then(|(_, column)| columns.iter().position(|found| found == column));
        Ok(Self { name, columns, key, later })
    }

    fn key_columns(&self) -> Vec<&str> {
        self.key.iter().filter_map(|place| self.columns.get(*place)).map(String::as_str).collect()
    }

    pub fn key_of(&self, row: &[Cell]) -> Row {
        self.key.iter().filter_map(|place| row.get(*place)).cloned().collect()
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

    /// The rows after a key.
    pub fn batch(&self, c: &Transaction<'_>, after: Option<&[Cell]>) -> Result<Vec<Row>, StoreError> {
        let (columns, key) = (self.columns.join(", "), self.key_columns().join(", "));
        let limit = if LARGE.contains(&self.name) { LARGE_ROWS } else { ROWS };
        let (condition, values) = match after {
            Some(after) => (format!("WHERE ({key}) > ({})", numbers(0, after.len())), after),
            None => (String::new(), &[][..]),
        };
        let sql = format!("SELECT {columns} FROM {} {condition} ORDER BY {key} LIMIT {limit}", self.name);
        let (mut rows, mut octets) = (Vec::new(), 0_usize);
        c.for_each(&sql, &parameters(values), |found| {
            let row: Row = (0..self.columns.len()).map(|column| found.get(column)).collect::<Result<_, _>>()?;
            octets = octets.saturating_add(row.iter().map(Cell::octets).sum());
            rows.push(row);
            Ok(if octets < OCTETS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(rows)
    }

    pub fn insert(&self, c: &Transaction<'_>, rows: &[Row]) -> Result<(), StoreError> {
        let width = self.columns.len().max(1);
        for rows in rows.chunks((PARAMETERS / width).max(1)) {
            let tuples: Vec<String> = (0..rows.len()).map(|row| format!("({})", numbers(row * width, width))).collect();
            let sql = format!("INSERT INTO {} ({}) VALUES {}", self.name, self.columns.join(", "), tuples.join(", "));
            let values: Vec<&dyn ToValue> = rows
                .iter()
                .flat_map(|row| row.iter().enumerate())
                .map(|(place, cell)| if Some(place) == self.later { &Cell::Null as &dyn ToValue } else { cell })
                .collect();
            c.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// Writes the column that was left out, where it has a value.
    pub fn update_later(&self, c: &Transaction<'_>, rows: &[Row]) -> Result<(), StoreError> {
        let Some((place, column)) = self.later.and_then(|place| Some((place, self.columns.get(place)?))) else {
            return Ok(());
        };
        let key: Vec<String> =
            self.key_columns().iter().zip(2..).map(|(column, number)| format!("{column} = ?{number}")).collect();
        let sql = format!("UPDATE {} SET {column} = ?1 WHERE {}", self.name, key.join(" AND "));
        for row in rows {
            if let Some(value) = row.get(place).filter(|value| **value != Cell::Null) {
                let key = self.key_of(row);
                let values: Vec<&dyn ToValue> = std::iter::once(value).chain(&key).map(|cell| cell as _).collect();
                c.execute(&sql, &values)?;
            }
        }
        Ok(())
    }
}

/// `?1, ?2 …`, after as many others.
fn numbers(after: usize, count: usize) -> String {
    (after + 1..=after + count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

fn parameters(cells: &[Cell]) -> Vec<&dyn ToValue> {
    cells.iter().map(|cell| cell as _).collect()
}
