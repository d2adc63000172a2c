//! The capabilities that the server offers, in one table.

/// The state of a session that determines its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before TLS: no log-in.
    Plaintext,
    /// TLS, not logged in.
    NotAuthenticated,
    Authenticated,
}

use Phase::{Authenticated, NotAuthenticated, Plaintext};

/// Each capability, and where it is offered. ENABLE and IDLE are listed before log-in too, since some clients look there alone.
const CAPABILITIES: &[(&str, &[Phase])] = &[
    ("IMAP4rev1", &[Plaintext, NotAuthenticated, Authenticated]),
    ("IMAP4rev2", &[Plaintext, NotAuthenticated, Authenticated]),
    ("LITERAL+", &[Plaintext, NotAuthenticated, Authenticated]),
    ("SASL-IR", &[NotAuthenticated]),
    ("ID", &[Plaintext, NotAuthenticated, Authenticated]),
    ("STARTTLS", &[Plaintext]),
    ("LOGINDISABLED", &[Plaintext]),
    ("AUTH=PLAIN", &[NotAuthenticated]),
    ("AUTH=LOGIN", &[NotAuthenticated]),
    ("AUTH=OAUTHBEARER", &[NotAuthenticated]),
    ("AUTH=XOAUTH2", &[NotAuthenticated]),
    ("ENABLE", &[NotAuthenticated, Authenticated]),
    ("IDLE", &[NotAuthenticated, Authenticated]),
    ("NAMESPACE", &[Authenticated]),
    ("CHILDREN", &[Authenticated]),
    ("SPECIAL-USE", &[Authenticated]),
    ("CREATE-SPECIAL-USE", &[Authenticated]),
    ("LIST-EXTENDED", &[Authenticated]),
    ("LIST-STATUS", &[Authenticated]),
    ("LIST-METADATA", &[Authenticated]),
    ("STATUS=SIZE", &[Authenticated]),
    ("APPENDLIMIT", &[Authenticated]),
    ("METADATA", &[Authenticated]),
    ("QUOTA", &[Authenticated]),
    ("QUOTA=RES-STORAGE", &[Authenticated]),
    ("QUOTA=RES-MESSAGE", &[Authenticated]),
    ("UNSELECT", &[Authenticated]),
    ("UIDPLUS", &[Authenticated]),
    ("MOVE", &[Authenticated]),
    ("ESEARCH", &[Authenticated]),
    ("SEARCHRES", &[Authenticated]),
    ("WITHIN", &[Authenticated]),
    ("PARTIAL", &[Authenticated]),
    ("MULTISEARCH", &[Authenticated]),
    ("INPROGRESS", &[Authenticated]),
    ("I18NLEVEL=1", &[Authenticated]),
    ("SORT", &[Authenticated]),
    ("SORT=DISPLAY", &[Authenticated]),
    ("ESORT", &[Authenticated]),
    ("THREAD=ORDEREDSUBJECT", &[Authenticated]),
    ("THREAD=REFERENCES", &[Authenticated]),
    ("OBJECTID", &[Authenticated]),
    ("SAVEDATE", &[Authenticated]),
    ("COMPRESS=DEFLATE", &[Authenticated]),
    ("MULTIAPPEND", &[Authenticated]),
    ("CATENATE", &[Authenticated]),
    ("REPLACE", &[Authenticated]),
    ("BINARY", &[Authenticated]),
    ("PREVIEW", &[Authenticated]),
    ("UTF8=ACCEPT", &[Authenticated]),
    ("CONDSTORE", &[Authenticated]),
    ("QRESYNC", &[Authenticated]),
    ("UIDONLY", &[Authenticated]),
    ("NOTIFY", &[Authenticated]),
];

/// What is offered in a phase.
pub fn capabilities(phase: Phase) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().filter(move |(_, phases)| phases.contains(&phase)).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_of_rfcs_names_what_is_offered() {
        let list = include_str!("../../../docs/rfc.md");
        let (_, rows) = list.split_once("| **IMAP** |").unwrap();
        let (rows, _) = rows.split_once("| **MIME** |").unwrap();
        let done = rows.lines().filter(|row| row.contains("| yes |") || row.contains("| partly |"));
        let about = done.filter_map(|row| row.split('|').nth(2));
        let listed: BTreeSet<&str> = about.flat_map(|about| about.split('`').skip(1).step_by(2)).collect();
        let offered: BTreeSet<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, offered);
    }
}
