//! What IMAP shows of a message's bytes: structure, envelope, sections.
//!
//! Pure: bytes in, bytes out. Invariant: every section is a slice of the message as it was delivered, octet for octet.

pub(super) mod envelope;
pub(super) mod section;
pub(super) mod structure;
