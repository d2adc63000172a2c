//! Query parameters and pagination. Invariant: an unknown parameter is an error that names it; a page has at most
//! [`MAX_ENTRIES`] entries.

use super::fields::MAX_ERRORS;
use super::problem::{FieldError, Problem};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Serialize;
use std::fmt::Display;
use std::str::FromStr;

const MAX_ENTRIES: u32 = 100;
/// Entries of a page by default.
const DEFAULT_ENTRIES: u32 = 50;

/// Query parameters, taken out one by one.
#[derive(Debug)]
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = read.map_err(|_| Problem::malformed("The query is not URL-encoded UTF-8."))?;
        Ok(Self { pairs, errors: Vec::new() })
    }
}

impl Parameters {
    fn fault(&mut self, field: &str, message: impl Display) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { field: field.to_owned(), message: message.to_string() });
        }
    }

    pub(super) fn take<T: FromStr>(&mut self, name: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, text) = self.pairs.swap_remove(at);
        text.parse().map_err(|error: T::Err| self.fault(name, error)).ok()
    }

    /// `limit` and `cursor`.
    pub(super) fn page<Id: FromStr>(&mut self) -> Page<Id> {
        let limit = self.take::<u32>("limit").unwrap_or(DEFAULT_ENTRIES);
        if !(1..=MAX_ENTRIES).contains(&limit) {
            self.fault("limit", format!("must be 1 to {MAX_ENTRIES}"));
        }
        let cursor: Option<String> = self.take("cursor");
        let after = cursor.and_then(|cursor| {
            cursor.parse().map_err(|_| self.fault("cursor", "must be a `next_cursor` of this list")).ok()
        });
        Page { limit, after }
    }

    /// All errors, including unknown parameters.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let shown: String = name.chars().take(100).collect();
            self.fault(&shown, "is unknown, or given twice");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

/// The requested part of a list. The cursor is the id of the last entry of the previous page.
#[derive(Debug)]
pub(super) struct Page<Id> {
    limit: u32,
    pub(super) after: Option<Id>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<Id> Page<Id> {
    /// Rows to request from the store: one more than shown, to see whether there is a next page.
    pub(super) fn rows(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// Makes a page of the rows returned by the store.
    pub(super) fn list<R, T>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> String, show: impl FnMut(R) -> T) -> List<T> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(id);
        List { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}
