//! Statements, parameters and columns, between the verbs and the server.
//!
//! A verb's parameters are `?1`, `?2` …; the server's are `$1`, `$2` …, whose types it infers. A [`Value`] is sent as whatever
//! the server has inferred; what does not fit is an error, never another value.

use crate::store::StoreError;
use crate::store::engine::Value;
use bytes::BytesMut;
use lru::LruCache;
use postgres::Statement;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use std::error::Error;
use std::num::NonZeroUsize;

/// Prepared statements that a connection keeps.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The statements that a connection has prepared, by the verbs' text. The one that was used the longest ago goes first.
pub(super) type Statements = LruCache<Box<str>, Statement>;

pub(super) fn no_statements() -> Statements {
    LruCache::new(KEPT)
}

/// The text with `$1` for `?1` outside of quotation marks.
pub(super) fn numbered(sql: &str) -> String {
    let mut quote = None;
    let mut next = sql.chars().skip(1);
    sql.chars()
        .map(|character| {
            let is_parameter = next.next().is_some_and(|after| after.is_ascii_digit());
            match (quote, character) {
                (None, '?') if is_parameter => return '$',
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), close) if open == close => quote = None,
                _ => {}
            }
            character
        })
        .collect()
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Bound<'a>(pub Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (&self.0, wanted) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT8) => number.to_sql(wanted, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(wanted, out),
            (Value::Integer(number), &Type::INT2) => i16::try_from(*number)?.to_sql(wanted, out),
            (Value::Integer(number @ (0 | 1)), &Type::BOOL) => (*number == 1).to_sql(wanted, out),
            (Value::Text(text), &(Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN)) => {
                if text.contains('\0') {
                    return Err("text with a NUL character, which PostgreSQL does not take".into());
                }
                text.as_ref().to_sql(wanted, out)
            }
            (Value::Octets(octets), &Type::BYTEA) => octets.to_sql(wanted, out),
            (value, wanted) => Err(format!("{value:?} for a parameter of type {wanted}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The value of a column.
pub(in crate::store::engine) fn column(row: &postgres::Row, column: usize) -> Result<Value<'_>, StoreError> {
    let Some(found) = row.columns().get(column) else {
        return Err(StoreError::Corrupt(format!("an answer without a column {column}")));
    };
    let integer = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
    Ok(match *found.type_() {
        Type::INT8 => integer(row.try_get(column)?),
        Type::INT4 => integer(row.try_get::<_, Option<i32>>(column)?.map(i64::from)),
        Type::INT2 => integer(row.try_get::<_, Option<i16>>(column)?.map(i64::from)),
        Type::BOOL => integer(row.try_get::<_, Option<bool>>(column)?.map(i64::from)),
        Type::NUMERIC => integer(row.try_get::<_, Option<Whole>>(column)?.map(|number| number.0)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            row.try_get::<_, Option<&str>>(column)?.map_or(Value::Null, |text| Value::Text(text.into()))
        }
        Type::BYTEA => row.try_get::<_, Option<&[u8]>>(column)?.map_or(Value::Null, Value::Octets),
        ref other => return Err(StoreError::Corrupt(format!("column {column} is of type {other}"))),
    })
}

/// A NUMERIC without a fraction: what `sum` makes of BIGINT.
struct Whole(i64);

impl<'a> FromSql<'a> for Whole {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // How many digits of base 10,000, the power of the first, the sign, the decimals that are shown; then the digits.
        let mut fields = raw.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes));
        let mut field = || fields.next().ok_or("a number that is cut off");
        let (count, weight, sign, _) = (field()?, field()?.cast_signed(), field()?, field()?);
        let mut number = 0_i128;
        for place in 0..=i32::from(weight) {
            let digit = if place < i32::from(count) { field()? } else { 0 };
            number =
                number.checked_mul(10_000).and_then(|n| n.checked_add(digit.into())).ok_or("a number too large")?;
        }
        let whole_digits = i32::from(weight).saturating_add(1).max(0);
        match sign {
            _ if i32::from(count) > whole_digits => Err("a number with a fraction".into()),
            0x0000 => Ok(Self(number.try_into()?)),
            0x4000 => Ok(Self((-number).try_into()?)),
            _ => Err("not a number".into()),
        }
    }

    fn accepts(found: &Type) -> bool {
        *found == Type::NUMERIC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_outside_of_quotation_marks() {
        assert_eq!(
            numbered("SELECT ?1, '?2 it''s ?3', \"?4\", ?12 WHERE a = ?2"),
            "SELECT $1, '?2 it''s ?3', \"?4\", $12 WHERE a = $2"
        );
        assert_eq!(numbered("a ? b, é?1"), "a ? b, é$1");
    }

    #[test]
    fn whole_numbers_are_read_from_numeric() {
        let raw = |fields: &[u16]| fields.iter().flat_map(|field| field.to_be_bytes()).collect::<Vec<u8>>();
        let read = |fields: &[u16]| Whole::from_sql(&Type::NUMERIC, &raw(fields)).map(|number| number.0).ok();
        assert_eq!(read(&[0, 0, 0, 0]), Some(0));
        assert_eq!(read(&[1, 0, 0, 0, 7]), Some(7));
        assert_eq!(read(&[2, 1, 0x4000, 0, 1, 2345]), Some(-12_345));
        assert_eq!(read(&[1, 2, 0, 0, 3]), Some(300_000_000));
        assert_eq!(read(&[2, 0, 0, 2, 1, 5000]), None, "1.5");
        assert_eq!(read(&[1, 0xFFFF, 0, 2, 5000]), None, "0.5");
        assert_eq!(read(&[0, 0, 0xC000, 0]), None, "NaN");
        assert_eq!(read(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5807]), Some(i64::MAX));
        assert_eq!(read(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808]), None);
    }
}
