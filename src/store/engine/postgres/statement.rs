//! Conversion of statements, parameters and columns between verbs and the server.
//!
//! A verb's parameters are `?1`, `?2` …; the server's are `$1`, `$2` …. A [`Value`] is sent as the type that the server has
//! inferred for the parameter; a value that the type cannot represent is an error.

use crate::store::StoreError;
use crate::store::engine::Value;
use bytes::BytesMut;
use lru::LruCache;
use postgres::Statement;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use std::error::Error;
use std::num::NonZeroUsize;

/// Prepared statements per connection.
const CACHE_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// A connection's prepared statements, by the SQL of the verb.
pub(super) type Statements = LruCache<Box<str>, Statement>;

pub(super) fn statement_cache() -> Statements {
    LruCache::new(CACHE_SIZE)
}

/// Replaces `?1` by `$1` outside of quotes.
pub(super) fn with_dollar_parameters(sql: &str) -> String {
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
                    return Err("text contains a NUL character, which PostgreSQL cannot store".into());
                }
                text.as_ref().to_sql(wanted, out)
            }
            (Value::Octets(octets), &Type::BYTEA) => octets.to_sql(wanted, out),
            (value, wanted) => Err(format!("cannot convert {value:?} to a parameter of type {wanted}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

pub(in crate::store::engine) fn column(row: &postgres::Row, column: usize) -> Result<Value<'_>, StoreError> {
    let Some(found) = row.columns().get(column) else {
        return Err(StoreError::Corrupt(format!("the result has no column {column}")));
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
        ref other => return Err(StoreError::Corrupt(format!("column {column}: unsupported type {other}"))),
    })
}

/// A NUMERIC without a fraction, the type of `sum` over BIGINT.
struct Whole(i64);

impl<'a> FromSql<'a> for Whole {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // The number of base-10,000 digits, the weight of the first, the sign and the display scale; then the digits.
        let mut fields = raw.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes));
        let mut field = || fields.next().ok_or("truncated NUMERIC");
        let (count, weight, sign, _) = (field()?, field()?.cast_signed(), field()?, field()?);
        let mut number = 0_i128;
        for place in 0..=i32::from(weight) {
            let digit = if place < i32::from(count) { field()? } else { 0 };
            number =
                number.checked_mul(10_000).and_then(|n| n.checked_add(digit.into())).ok_or("NUMERIC out of range")?;
        }
        let whole_digits = i32::from(weight).saturating_add(1).max(0);
        match sign {
            _ if i32::from(count) > whole_digits => Err("NUMERIC with a fraction".into()),
            0x0000 => Ok(Self(number.try_into()?)),
            0x4000 => Ok(Self((-number).try_into()?)),
            _ => Err("NUMERIC is NaN or infinite".into()),
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
    fn parameters_are_replaced_outside_of_quotes() {
        assert_eq!(
            with_dollar_parameters("SELECT ?1, '?2 it''s ?3', \"?4\", ?12 WHERE a = ?2"),
            "SELECT $1, '?2 it''s ?3', \"?4\", $12 WHERE a = $2"
        );
        assert_eq!(with_dollar_parameters("a ? b, é?1"), "a ? b, é$1");
    }

    #[test]
    fn numeric_without_a_fraction_is_decoded() {
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
