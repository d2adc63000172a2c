//! The search index: which documents contain which trigrams. Each engine has its own. Trigrams are numbers, which
//! [`crate::message::grams`] computes.

#[cfg(feature = "cluster")]
use super::postgres;
use super::{Connection, Transaction, sqlite};
use crate::id::MessageId;
use crate::store::StoreError;
use std::ops::Range;

/// An indexed message.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    pub number: i64,
    pub message: &'a MessageId,
    pub grams: &'a [u32],
}

/// The documents that contain all trigrams of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// In descending order.
    pub numbers: Vec<i64>,
    /// There may be more below this number.
    pub rest: Option<i64>,
}

impl Transaction<'_> {
    /// Adds a document. Its number must be unused.
    pub fn index_insert(&self, document: &Document<'_>) -> Result<(), StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => sqlite::search::insert(self, document),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::search::insert(self, document),
        }
    }

    /// Removes the documents of `messages`, of which some may not be indexed.
    pub fn index_remove(&self, messages: &[MessageId]) -> Result<(), StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => sqlite::search::remove(self, messages),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::search::remove(self, messages),
        }
    }

    /// Removes all documents.
    pub fn index_clear(&self) -> Result<(), StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => sqlite::search::clear(self),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::search::clear(self),
        }
    }

    /// The documents in a range of numbers that contain all of the trigrams, at most `limit`. The cost does not depend on documents outside
    /// the range.
    pub fn index_find(&self, grams: &[u32], within: Range<i64>, limit: usize) -> Result<Documents, StoreError> {
        match &self.connection {
            Connection::Sqlite(_) => sqlite::search::find(self, grams, within, limit),
            #[cfg(feature = "cluster")]
            Connection::Postgres(_) => postgres::search::find(self, grams, within, limit),
        }
    }
}
