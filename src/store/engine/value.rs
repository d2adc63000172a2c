//! Values of columns and parameters: integers (numbers, booleans, times in milliseconds, row numbers), text (ids, names) and
//! octets.
//!
//! Both engines support only these, so that a verb is the same for both.

use crate::access::{Action, Direction, Pattern};
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::{
    AccessEntryId, AccountId, AliasId, BodyHash, BodyId, ContentId, DeliveryId, DomainId, InboxId, LabelId, MailboxId,
    MessageId, NotificationTokenId, RunnerId, SubmissionId, ThreadId, TokenId, UserId, WebhookDeliveryId, WebhookId,
};
use crate::verification::judge::RecordStatus;
use crate::verification::records::Purpose;
use crate::verification::rotation::Role;
use crate::verification::status::{OnUnverified, VerifiedStatus};
use std::borrow::Cow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
    Octets(&'a [u8]),
}

/// A list of values or rows as one parameter, in JSON; [`super::Transaction::items`] makes it a table.
#[derive(Debug)]
pub struct List(String);

impl<T: Into<serde_json::Value>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(serde_json::Value::from_iter(items).to_string())
    }
}

impl ToValue for List {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self.0.as_str().into())
    }
}

pub trait ToValue {
    fn to_value(&self) -> Value<'_>;
}

pub trait FromValue: Sized {
    /// Fails if no version of the program writes such a value.
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected>;
}

/// A column has a value of the wrong type or range: what was found and expected.
#[derive(Debug)]
pub struct Unexpected(pub String);

impl Unexpected {
    fn new(value: &Value<'_>, wanted: &str) -> Self {
        let found = match value {
            Value::Null => "NULL",
            Value::Integer(_) => "an integer",
            Value::Text(_) => "text",
            Value::Octets(_) => "octets",
        };
        Self(format!("expected {wanted}, found {found}"))
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self.into())
    }
}

impl ToValue for Box<str> {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self.as_str().into())
    }
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        match value {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(Unexpected::new(&other, "text")),
        }
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value<'_> {
        Value::Octets(self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Value<'_> {
        Value::Octets(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Value<'_> {
        Value::Octets(self)
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        match value {
            Value::Octets(octets) => Ok(octets.to_vec()),
            other => Err(Unexpected::new(&other, "octets")),
        }
    }
}

impl ToValue for bool {
    fn to_value(&self) -> Value<'_> {
        Value::Integer((*self).into())
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl ToValue for i64 {
    fn to_value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        match value {
            Value::Integer(number) => Ok(number),
            other => Err(Unexpected::new(&other, "an integer")),
        }
    }
}

macro_rules! small_integers {
    ($($name:ident)*) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Integer((*self).into())
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
                let number = i64::from_value(value)?;
                number.try_into().map_err(|_| Unexpected(format!("{number} is out of range for {}", stringify!($name))))
            }
        }
    )*};
}

small_integers!(u8 u16 u32 i32);

impl ToValue for Timestamp {
    fn to_value(&self) -> Value<'_> {
        Value::Integer(self.millis())
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        i64::from_value(value).map(Self::from_millis)
    }
}

impl ToValue for BodyHash {
    fn to_value(&self) -> Value<'_> {
        Value::Octets(self.as_bytes())
    }
}

impl FromValue for BodyHash {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        match value {
            Value::Octets(octets) => octets
                .try_into()
                .map(Self::new)
                .map_err(|_| Unexpected(format!("expected 32 octets, found {}", octets.len()))),
            other => Err(Unexpected::new(&other, "octets")),
        }
    }
}

macro_rules! row_numbers {
    ($($name:ident)*) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Integer(self.row())
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
                i64::from_value(value).map(Self::new)
            }
        }
    )*};
}

row_numbers!(BodyId ContentId MailboxId);

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Text(self.to_string().into())
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
                match value {
                    Value::Text(text) => text.parse().map_err(|error| Unexpected(format!("{text:?}: {error}"))),
                    other => Err(Unexpected::new(&other, "text")),
                }
            }
        }
    )*};
}

as_text!(AccessEntryId AccountId AliasId DeliveryId DomainId InboxId LabelId MessageId NotificationTokenId RunnerId SubmissionId ThreadId TokenId UserId WebhookDeliveryId WebhookId Address DomainName InboxName);
as_text!(Action Direction OnUnverified Pattern Purpose RecordStatus Role VerifiedStatus);
