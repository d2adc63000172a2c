//! Resources as JSON, as answers of the API and events show them: made of rows of the store, and of messages that are read.

pub(crate) mod email;
pub(crate) mod labels;
