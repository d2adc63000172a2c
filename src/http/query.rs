//! The query of a request, and lists in pages.
//!
//! Invariant: a parameter nobody asked for is an error with its name; a page has at most [`MOST`] entries.

use super::fields::MOST_ERRORS;
use super::problem::{FieldError, Problem};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Serialize;
use std::fmt::Display;
use std::str::FromStr;

/// Entries of a page at most.
const MOST: u32 = 100;
/// Entries of a page where the request does not say.
const USUAL: u32 = 50;

/// The parameters, taken out one by one.
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
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(FieldError { field: field.to_owned(), message: message.to_string() });
        }
    }

    /// One parameter.
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
        let limit = self.take::<u32>("limit").unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            self.fault("limit", format!("must be 1 to {MOST}"));
        }
        let cursor: Option<String> = self.take("cursor");
        let after = cursor.and_then(|cursor| {
            cursor.parse().map_err(|_| self.fault("cursor", "is no `next_cursor` of this list")).ok()
        });
        Page { limit, after }
    }

    /// All that was wrong, unknown parameters included.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let shown: String = name.chars().take(100).collect();
            self.fault(&shown, "is unknown, or stands there twice");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

/// Which part of a list is asked for. The cursor is the id of the last entry before it.
#[derive(Debug)]
pub(super) struct Page<Id> {
    limit: u32,
    /// The last entry of the page before.
    pub(super) after: Option<Id>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<Id> Page<Id> {
    /// How many rows to ask the store for: one more than are shown tells whether there is a next page.
    pub(super) fn rows(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The page made of the rows that the store gave.
    pub(super) fn list<R, T>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> String, show: impl FnMut(R) -> T) -> List<T> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(id);
        List { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}
