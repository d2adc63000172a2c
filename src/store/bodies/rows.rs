//! The tables `body` and `body_name`.
//!
//! Invariant: a row of `body_name` refers to a durable object, or the row of `body` with the same id has the stored form. A body
//! without a row in `body_name` was stored before bodies had hashes: its data is the body itself.

use super::format::{BodyInfo, DamagedBody, Encoded};
use super::name::ObjectName;
use super::put::NewObject;
use crate::id::{BodyHash, BodyId};
use crate::store::StoreError;
use crate::store::engine::{List, Octets, Row, Transaction, params};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// The time from the put of an object in which a transaction may refer to it. Rows of `object_condemned` are kept at least as
/// long, so that the transaction finds them.
pub(super) const MAX_PUT_AGE: Duration = Duration::from_secs(3600);
/// A stored form up to this size is read with one query.
const MAX_SINGLE_READ: usize = 64 * 1024;

/// An encoded body, durable in the object store if there is one.
#[derive(Clone, Debug)]
pub(crate) struct NewBody {
    pub(super) encoded: Encoded,
    pub(super) object: Option<NewObject>,
}

impl NewBody {
    /// The length of the body, in octets.
    pub fn len(&self) -> usize {
        self.encoded.info.size
    }

    /// The length of its stored form, in octets.
    pub fn stored_len(&self) -> usize {
        self.encoded.info.stored_size
    }

    /// The object, to call [`NewObject::committed`] after the commit.
    pub fn object(&self) -> Option<NewObject> {
        self.object.clone()
    }
}

/// A range of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Octets(Vec<u8>),
    /// To be read from the object store after the transaction.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "read where there is an object store"))]
    Object(ObjectName, BodyInfo, Range<usize>),
    Damaged(DamagedBody),
}

/// Inserts a body or finds the existing one. The caller inserts a row of `content` that refers to it in the same transaction.
///
/// An existing body is written again, so that the time taken does not reveal whether another account has the body.
pub(in crate::store) fn insert(transaction: &Transaction<'_>, new: &NewBody) -> Result<BodyId, StoreError> {
    let NewBody { encoded, object } = new;
    let BodyInfo { hash, stored_size, .. } = encoded.info;
    object.iter().for_each(NewObject::used);
    let sql = "SELECT body_id, object FROM body_name WHERE hash = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<Option<String>>(1)?));
    if let Some((id, stored_object)) = transaction.query_opt(sql, params![hash], row)? {
        match (object, stored_object) {
            // The new object is not needed.
            (Some(object), _) => condemn(transaction, object.name())?,
            (None, None) => {
                transaction.overwrite_body(id, &encoded.pieces)?;
                // Another version of the program may compress differently.
                let sql = "UPDATE body_name SET stored_size = ?2 WHERE body_id = ?1 AND stored_size <> ?2";
                transaction.execute(sql, params![id, number(stored_size)])?;
            }
            (None, Some(_)) => {}
        }
        return Ok(id);
    }
    let id = match object {
        Some(object) => {
            let sql = "SELECT 1 FROM object_condemned WHERE name = ?1";
            if object.put_at().elapsed() > MAX_PUT_AGE || transaction.exists(sql, params![object.name().as_str()])? {
                return Err(StoreError::Aborted(format!(
                    "object {} was condemned, or put more than an hour ago",
                    object.name()
                )));
            }
            transaction.insert_body(&[])?
        }
        None => transaction.insert_body(&encoded.pieces)?,
    };
    insert_name(transaction, id, &encoded.info, object.as_ref().map(NewObject::name))?;
    Ok(id)
}

pub(super) fn insert_name(
    transaction: &Transaction<'_>,
    id: BodyId,
    info: &BodyInfo,
    object: Option<&ObjectName>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO body_name (body_id, hash, size, stored_size, object) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (size, stored_size) = (number(info.size), number(info.stored_size));
    transaction.execute(sql, params![id, info.hash, size, stored_size, object.map(ObjectName::as_str)])?;
    Ok(())
}

/// Records that contents of the bodies were deleted: the sweep checks whether they were the last.
pub(in crate::store) fn release(transaction: &Transaction<'_>, bodies: Vec<BodyId>) -> Result<(), StoreError> {
    let bodies: BTreeSet<i64> = bodies.into_iter().map(BodyId::row).collect();
    if bodies.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO body_released (body_id, due_at, has_waited) SELECT CAST(value AS BIGINT), 0, 0 FROM {} WHERE true
         ON CONFLICT (body_id) DO UPDATE SET due_at = 0, has_waited = 0",
        transaction.items(1)
    );
    transaction.execute(&sql, params![bodies.into_iter().collect::<List>()])?;
    Ok(())
}

/// Marks an object that no row refers to for deletion by the sweep.
pub(super) fn condemn(transaction: &Transaction<'_>, name: &ObjectName) -> Result<(), StoreError> {
    let sql = "INSERT INTO object_condemned (name, at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    transaction.execute(sql, params![name.as_str(), crate::clock::Timestamp::real()])?;
    Ok(())
}

/// The metadata of a body, and its object; `None` for a body stored before bodies had hashes.
pub(super) fn known(
    transaction: &Transaction<'_>,
    id: BodyId,
) -> Result<Option<(BodyInfo, Option<ObjectName>)>, StoreError> {
    let sql = "SELECT hash, size, stored_size, object FROM body_name WHERE body_id = ?1";
    Ok(transaction.query_opt(sql, params![id], |row| known_of(row, 0))?.flatten())
}

/// The same from four columns of `body_name` beginning at `column`, which are NULL if there is no row.
fn known_of(row: &Row<'_>, column: usize) -> Result<Option<(BodyInfo, Option<ObjectName>)>, StoreError> {
    let Some(hash) = row.get::<Option<BodyHash>>(column)? else { return Ok(None) };
    let (size, stored_size) = (octets(row.get(column + 1)?), octets(row.get(column + 2)?));
    let object = row.get::<Option<String>>(column + 3)?.map(|name| {
        ObjectName::parse(&name).ok_or_else(|| StoreError::Corrupt(format!("invalid object name {name:?}")))
    });
    Ok(Some((BodyInfo { hash, size, stored_size }, object.transpose()?)))
}

/// A complete body, from four columns of `body_name` beginning at `column` and `body.data`.
pub(in crate::store) fn whole(row: &Row<'_>, column: usize, data: Vec<u8>) -> Result<Piece, StoreError> {
    Ok(match known_of(row, column)? {
        None => Piece::Octets(data),
        Some((info, None)) => decode(&info, &data, 0..info.size).map_or_else(Piece::Damaged, Piece::Octets),
        Some((info, Some(name))) => Piece::Object(name, info, 0..info.size),
    })
}

/// The total length of a body, and the octets of `range`, clipped to it.
pub(in crate::store) fn read(
    transaction: &Transaction<'_>,
    id: BodyId,
    range: Range<usize>,
) -> Result<(usize, Piece), StoreError> {
    match known(transaction, id)? {
        None => {
            let (size, octets) = transaction.read_range(Octets::Body(id), range)?;
            Ok((size, Piece::Octets(octets)))
        }
        Some((info, Some(name))) => Ok((info.size, Piece::Object(name, info, range))),
        Some((info, None)) => Ok((info.size, Piece::Octets(read_data(transaction, id, &info, range)?))),
    }
}

/// Reads a range from `body.data`.
fn read_data(
    transaction: &Transaction<'_>,
    id: BodyId,
    info: &BodyInfo,
    range: Range<usize>,
) -> Result<Vec<u8>, StoreError> {
    if info.stored_size <= MAX_SINGLE_READ {
        let (_, stored) = transaction.read_range(Octets::Body(id), 0..info.stored_size)?;
        return Ok(decode(info, &stored, range)?);
    }
    let (_, octets) = transaction.read_range(Octets::Body(id), info.index_range()?)?;
    let index = info.index(&octets)?;
    let (_, stored) = transaction.read_range(Octets::Body(id), index.stored_range(range.clone()))?;
    Ok(index.decode(range, &stored)?)
}

/// Decodes a range from the complete stored form.
fn decode(info: &BodyInfo, stored: &[u8], range: Range<usize>) -> Result<Vec<u8>, DamagedBody> {
    let index = info.index(stored.get(info.index_range()?).unwrap_or_default())?;
    let needed = index.stored_range(range.clone());
    index.decode(range, stored.get(needed).unwrap_or_default())
}

fn number(octets: usize) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

fn octets(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
