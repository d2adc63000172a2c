//! What a tool is: an operation of the API, the parameters that it takes of it, and the fields that it shows.

use axum::http::Method;

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) effect: Effect,
    /// It sends, asks the DNS, or shows what strangers have written.
    pub(super) is_open: bool,
    /// The operation needs a token of scope `account`.
    pub(super) whole_account: bool,
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) parameters: &'static [&'static [Parameter]],
    pub(super) shows: Shows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    /// Adds something, once for each call.
    Adds,
    /// Changes what is there; once more changes nothing.
    Changes,
    /// Checks again; once more does no harm.
    Checks,
    /// Cannot be undone.
    Sends,
}

/// Fields of a schema of the document.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) schema: &'static str,
    pub(super) fields: &'static [&'static str],
}

/// What of the answer is the result.
#[derive(Debug)]
pub(super) enum Shows {
    One(Picked),
    /// A page, as an array of this name.
    Page(&'static str, Picked),
    /// An email, with a part of its text.
    Email,
    /// The same, or null if none has come in time.
    Waited,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) about: &'static str,
}

/// Where the operation has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The id in the path.
    Path,
    /// The query, under this name.
    Query(&'static str),
    Body,
    IdempotencyKey,
    /// From which character of the text on; not the API's.
    Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An id with this prefix.
    Id(&'static str),
    Text,
    Texts,
    /// Texts, with commas in a query.
    Listed,
    Flag,
    Number {
        min: u32,
        max: u32,
    },
    OneOf(&'static [&'static str]),
    /// Files in base64.
    Files,
}

impl Parameter {
    pub(super) const fn id(name: &'static str, prefix: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Path, kind: Kind::Id(prefix), is_required: true, about }
    }

    /// `under` is the name that the API has for it.
    pub(super) const fn query(name: &'static str, under: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, place: Place::Query(under), kind, is_required: false, about }
    }

    pub(super) const fn body(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, place: Place::Body, kind, is_required: false, about }
    }

    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }
}

impl Tool {
    pub(super) fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + use<> {
        self.parameters.iter().copied().flatten()
    }
}
