//! How ids, names and times are stored in columns: as text, times as milliseconds, rows as their number.

use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::{
    AccountId, AliasId, BodyId, ContentId, DeliveryId, DomainId, InboxId, MailboxId, MessageId, RunnerId, SubmissionId,
    TokenId,
};
use crate::verification::judge::RecordStatus;
use crate::verification::records::Purpose;
use crate::verification::rotation::Role;
use crate::verification::status::{OnUnverified, VerifiedStatus};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.millis().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self::from_millis)
    }
}

macro_rules! as_row {
    ($($name:ident)*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.row().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self::new)
            }
        }
    )*};
}

as_row!(BodyId ContentId MailboxId);

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.to_string().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                text.parse().map_err(|error| FromSqlError::Other(format!("{text:?}: {error}").into()))
            }
        }
    )*};
}

as_text!(AccountId AliasId DeliveryId DomainId InboxId MessageId RunnerId SubmissionId TokenId Address DomainName InboxName);
as_text!(OnUnverified Purpose RecordStatus Role VerifiedStatus);
