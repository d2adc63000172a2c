//! Messages that a program or a mailing list sent, which are not to be answered by another program. RFC 3834 §2 and §5, RFC 2919.

use super::fields::{Header, unfold};
use super::words::without_controls;
use std::fmt;

/// Values of Precedence that ask for no answer.
const PRECEDENCES: [&str; 4] = ["bulk", "list", "junk", "auto_reply"];
/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// Why a message is taken for automatic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Automatic {
    /// The value of Auto-Submitted.
    AutoSubmitted(String),
    /// List-Id.
    List,
    /// The value of Precedence.
    Precedence(String),
    /// A bounce, a delay notice, a read receipt.
    NullReversePath,
}

impl fmt::Display for Automatic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AutoSubmitted(value) => write!(f, "it was sent by a program (Auto-Submitted: {value})"),
            Self::List => f.write_str("it came through a mailing list (List-Id)"),
            Self::Precedence(value) => write!(f, "it was sent to many (Precedence: {value})"),
            Self::NullReversePath => f.write_str("its return path is empty, as that of a bounce or a notice is"),
        }
    }
}

/// Why a message is not to be answered by a program; `None` if it may be.
pub(crate) fn automatic(header: &Header<'_>, has_null_reverse_path: bool) -> Option<Automatic> {
    let auto_submitted = header.all("Auto-Submitted").map(|field| first_word(field.value));
    if let Some(value) = auto_submitted.into_iter().find(|value| !value.is_empty() && value != "no") {
        return Some(Automatic::AutoSubmitted(value));
    }
    if header.find("List-Id").is_some() {
        return Some(Automatic::List);
    }
    let precedence = header.all("Precedence").map(|field| first_word(field.value));
    if let Some(value) = precedence.into_iter().find(|value| PRECEDENCES.contains(&value.as_str())) {
        return Some(Automatic::Precedence(value));
    }
    let is_null = header.find("Return-Path").is_some_and(|value| unfold(value).trim_ascii() == b"<>");
    (has_null_reverse_path || is_null).then_some(Automatic::NullReversePath)
}

/// In lower case, without comments and parameters.
fn first_word(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(&unfold(value)).to_ascii_lowercase();
    let word = value.split(|c: char| c.is_whitespace() || matches!(c, ';' | '(')).find(|word| !word.is_empty());
    without_controls(word.unwrap_or_default().chars().take(SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fields::ReadLimits;
    use super::*;

    fn of(header: &str) -> Option<Automatic> {
        automatic(&Header::read(header.as_bytes(), &ReadLimits::default()), false)
    }

    #[test]
    fn what_programs_and_lists_send_is_known_by_its_header() {
        for (header, wanted) in [
            ("Auto-Submitted: auto-replied\r\n", "it was sent by a program (Auto-Submitted: auto-replied)"),
            (
                "auto-submitted:\r\n Auto-Generated (cron); owner-email=\"a@x\"\r\n",
                "it was sent by a program (Auto-Submitted: auto-generated)",
            ),
            (
                "Auto-Submitted: no\r\nAuto-Submitted: auto-notified\r\n",
                "it was sent by a program (Auto-Submitted: auto-notified)",
            ),
            ("List-Id: Discussion <talk.lists.example.org>\r\n", "it came through a mailing list (List-Id)"),
            ("Precedence: Bulk\r\n", "it was sent to many (Precedence: bulk)"),
            ("Return-Path: <>\r\n", "its return path is empty, as that of a bounce or a notice is"),
        ] {
            assert_eq!(of(header).map(|found| found.to_string()).as_deref(), Some(wanted), "{header}");
        }
        for header in [
            "Subject: Auto-Submitted: auto-replied\r\n",
            "Auto-Submitted: no\r\n",
            "Auto-Submitted: NO (a person)\r\n",
            "Auto-Submitted:\r\n",
            "Precedence: first-class\r\nReturn-Path: <ann@example.org>\r\n",
            "X-List-Id: x\r\n",
        ] {
            assert_eq!(of(header), None, "{header}");
        }
        let none = Header::read(b"Subject: x\r\n", &ReadLimits::default());
        assert_eq!(automatic(&none, true), Some(Automatic::NullReversePath));
    }
}
