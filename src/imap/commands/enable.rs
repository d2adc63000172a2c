//! ENABLE. RFC 5161, RFC 7162 §3.2.3, RFC 9051 §6.3.1, RFC 9586 §3.

use crate::imap::context::{Context, Enabled};
use crate::imap::updates::enable_condstore;
use crate::imap::wire::Wire;
use crate::imap::wire::response::Reply;

/// The capabilities that may be enabled, and what each switches on.
const OFFERED: &[(&str, Enabled)] = &[
    ("IMAP4rev2", Enabled::IMAP4REV2),
    ("UTF8=ACCEPT", Enabled::UTF8_ACCEPT),
    ("CONDSTORE", Enabled::CONDSTORE),
    ("QRESYNC", Enabled::QRESYNC.union(Enabled::CONDSTORE)),
    ("UIDONLY", Enabled::UIDONLY),
];

/// ENABLE: names that are not offered are passed over (RFC 5161 §3.1).
pub fn enable(context: &mut Context<'_>, wire: &mut Wire, names: &[String]) -> Reply {
    let is_requested = |name: &str| names.iter().any(|requested| requested.eq_ignore_ascii_case(name));
    let before = context.enabled;
    let new = OFFERED.iter().filter(|(name, what)| is_requested(name) && !before.contains(*what));
    let enabled = new.clone().fold(before, |enabled, (_, what)| enabled | *what);
    wire.writer().enabled(new.map(|(name, _)| *name));
    if enabled.contains(Enabled::CONDSTORE) {
        enable_condstore(context, wire);
    }
    context.enabled = enabled;
    if let (true, Some(selected)) = (enabled.contains(Enabled::IMAP4REV2), &mut context.selected) {
        selected.forget_recent();
    }
    Reply::completed()
}
