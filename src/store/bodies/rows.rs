//! The rows of bodies: what is known of each, and where it is.
//!
//! Invariant: a row of `body_name` names an object that is durable, or has the stored form beside it in `body`. A body without
//! such a row was stored before bodies had names: its data is the body itself.

use super::format::{BodyInfo, DamagedBody, Encoded};
use super::name::ObjectName;
use super::put::NewObject;
use crate::id::{BodyHash, BodyId};
use crate::store::StoreError;
use crate::store::engine::{List, Octets, Row, Transaction, params};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// A writer names an object within this time of its put. Condemned names are kept longer, so that it meets them.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(3600);
/// Up to this many octets, a stored form is read in one go.
const ONE_READ: usize = 64 * 1024;

/// A body that can be stored: in its stored form, and durable in the object store where bodies are kept in one.
#[derive(Clone, Debug)]
pub(crate) struct NewBody {
    pub(super) encoded: Encoded,
    pub(super) object: Option<NewObject>,
}

impl NewBody {
    /// Octets of the body.
    pub fn len(&self) -> usize {
        self.encoded.info.size
    }

    /// For the report of the commit.
    pub fn object(&self) -> Option<NewObject> {
        self.object.clone()
    }
}

/// What was read of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Octets(Vec<u8>),
    /// It has to be read from the object store, after the transaction.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "read where there is an object store"))]
    Object(ObjectName, BodyInfo, Range<usize>),
    Damaged(DamagedBody),
}

/// Stores a body, or finds it; the caller gives it a header block in the same transaction.
///
/// Where it is there already, it is written all the same: what a message takes does not tell whether another account has it.
pub(in crate::store) fn insert(transaction: &Transaction<'_>, new: &NewBody) -> Result<BodyId, StoreError> {
    let NewBody { encoded, object } = new;
    let BodyInfo { hash, stored_size, .. } = encoded.info;
    object.iter().for_each(NewObject::used);
    let sql = "SELECT body_id, object FROM body_name WHERE hash = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<Option<String>>(1)?));
    if let Some((id, stored_object)) = transaction.query_opt(sql, params![hash], row)? {
        match (object, stored_object) {
            // Never named by anybody.
            (Some(object), _) => condemn(transaction, object.name())?,
            (None, None) => {
                transaction.overwrite_body(id, &encoded.pieces)?;
                // Another version of the program may compress in another way.
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
            if object.put_at().elapsed() > NAMED_WITHIN || transaction.exists(sql, params![object.name().as_str()])? {
                return Err(StoreError::Aborted(format!("object {} was put too long ago to be named", object.name())));
            }
            transaction.insert_body(&[])?
        }
        None => transaction.insert_body(&encoded.pieces)?,
    };
    insert_name(transaction, id, &encoded.info, object.as_ref().map(NewObject::name))?;
    Ok(id)
}

/// Notes what a body is called, and where it is.
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

/// Notes that bodies have lost a content: the sweep looks whether it was the last.
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

/// Lets the sweep delete an object that no row names.
pub(super) fn condemn(transaction: &Transaction<'_>, name: &ObjectName) -> Result<(), StoreError> {
    let sql = "INSERT INTO object_condemned (name, at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    transaction.execute(sql, params![name.as_str(), crate::clock::Timestamp::real()])?;
    Ok(())
}

/// What the store knows of a body; none where it was stored before bodies had names.
pub(super) fn known(
    transaction: &Transaction<'_>,
    id: BodyId,
) -> Result<Option<(BodyInfo, Option<ObjectName>)>, StoreError> {
    let sql = "SELECT hash, size, stored_size, object FROM body_name WHERE body_id = ?1";
    Ok(transaction.query_opt(sql, params![id], |row| known_of(row, 0))?.flatten())
}

/// The same out of four columns of `body_name`, which are NULL where there is no row.
fn known_of(row: &Row<'_>, column: usize) -> Result<Option<(BodyInfo, Option<ObjectName>)>, StoreError> {
    let Some(hash) = row.get::<Option<BodyHash>>(column)? else { return Ok(None) };
    let (size, stored_size) = (octets(row.get(column + 1)?), octets(row.get(column + 2)?));
    let object = row.get::<Option<String>>(column + 3)?.map(|name| {
        ObjectName::parse(&name).ok_or_else(|| StoreError::Corrupt(format!("{name:?} is no name of an object")))
    });
    Ok(Some((BodyInfo { hash, size, stored_size }, object.transpose()?)))
}

/// A whole body, from four columns of `body_name` and what `body` holds.
pub(in crate::store) fn whole(row: &Row<'_>, column: usize, data: Vec<u8>) -> Result<Piece, StoreError> {
    Ok(match known_of(row, column)? {
        None => Piece::Octets(data),
        Some((info, None)) => decode(&info, &data, 0..info.size).map_or_else(Piece::Damaged, Piece::Octets),
        Some((info, Some(name))) => Piece::Object(name, info, 0..info.size),
    })
}

/// Some octets of a body, fewer at its end, and how many it has in all. The others are not brought into memory.
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
        Some((info, None)) => Ok((info.size, Piece::Octets(read_here(transaction, id, &info, range)?))),
    }
}

fn read_here(
    transaction: &Transaction<'_>,
    id: BodyId,
    info: &BodyInfo,
    range: Range<usize>,
) -> Result<Vec<u8>, StoreError> {
    if info.stored_size <= ONE_READ {
        let (_, stored) = transaction.read_range(Octets::Body(id), 0..info.stored_size)?;
        return Ok(decode(info, &stored, range)?);
    }
    let (_, octets) = transaction.read_range(Octets::Body(id), info.index_range()?)?;
    let index = info.index(&octets)?;
    let (_, stored) = transaction.read_range(Octets::Body(id), index.stored_range(range.clone()))?;
    Ok(index.decode(range, &stored)?)
}

/// A range of a body out of all of its stored form.
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
