//! The SMTP envelope and replies. Invariant: an [`Envelope`] has at least one recipient; no text in a [`Reply`] can
//! add a line. RFC 5321 §2.3.1 (envelope), §4.2 (replies); RFC 3463 and RFC 2034 (enhanced status codes).

mod parameters;

pub use parameters::{MailParameters, Notify, OriginalRecipient, RecipientParameters, Returned, Xtext};

use crate::address::{Address, ReversePath};
use std::fmt;

/// A list that is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients<T = Address>(Vec<T>);

impl<T> Recipients<T> {
    /// `None` if the list is empty.
    pub fn new(list: Vec<T>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }

    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Recipients<U> {
        Recipients(self.0.into_iter().map(change).collect())
    }

    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `MAIL FROM`.
    pub mail_from: ReversePath,
    pub rcpt_to: Recipients,
}

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl EnhancedCode {
    /// Parses the code at the start of a reply text, like `5.1.1`; `None` if there is none.
    pub fn parse_prefix(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().next()?;
        let mut parts = word.split('.');
        let class = parts.next()?.parse().ok().filter(|c| matches!(c, 2 | 4 | 5))?;
        let code = Self(class, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(code)
    }
}

/// An SMTP reply, ours or a remote server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code (RFC 5321 §4.2).
    pub code: u16,
    pub enhanced: Option<EnhancedCode>,
    /// The text. [`Reply::to_bytes`] always makes one line of it.
    pub text: String,
}

impl Reply {
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without an enhanced code: greetings, 354, 334 and the like.
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// The reply on the wire, with CRLF. Control characters and non-ASCII in the text become `?`.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{self}\r\n").into_bytes()
    }

    /// 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        matches!(self.code, 200..=399)
    }

    /// 5yz: repeating the same command will not succeed.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if !self.text.is_empty() {
            let line: String =
                self.text.chars().take(450).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// Octets of a queue ID.
const QUEUE_ID: usize = 200;

/// The ID under which a host has queued a message, from the reply with which it accepted it: that of Postfix, Exim, Sendmail,
/// OpenSMTPD, Exchange, Haraka or Amazon SES; the reply's text where it names none in such a way.
pub fn queue_id(reply: &str) -> &str {
    let text = without_codes(reply);
    let lower = text.to_ascii_lowercase();
    let after = |mark: &str| {
        let rest = text.get(lower.find(mark)? + mark.len()..)?;
        id(rest.split([' ', ',', ']', ')']).next()?)
    };
    let before = |mark: &str| id(text.get(..lower.find(mark)?)?.split_ascii_whitespace().next_back()?);
    let alone = || {
        let mut words = text.split_ascii_whitespace();
        let is_ok = words.next()?.trim_end_matches(':').eq_ignore_ascii_case("ok");
        let word = words.next().filter(|_| is_ok)?;
        if words.next().is_none() { id(word) } else { None }
    };
    let found = after("queued as ")
        .or_else(|| after("queued ("))
        .or_else(|| after("internalid="))
        .or_else(|| after(" id="))
        .or_else(|| before(" message accepted"))
        .or_else(alone);
    found.unwrap_or(text)
}

/// A word as an ID, without the punctuation around it.
fn id(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    (word.len() <= QUEUE_ID && word.bytes().any(|b| b.is_ascii_digit())).then_some(word)
}

/// The text of a reply; the whole reply where it has none.
fn without_codes(reply: &str) -> &str {
    let Some((_, rest)) = reply.split_once(' ') else { return reply };
    let rest = rest.trim_start();
    match EnhancedCode::parse_prefix(rest) {
        Some(_) => rest.split_once(' ').map_or(reply, |(_, text)| text.trim_start()),
        None if rest.is_empty() => reply,
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_always_one_line() {
        let reply = Reply::new(550, EnhancedCode(5, 1, 1), "no\r\n250 yes \u{e9}");
        assert_eq!(reply.to_bytes(), b"550 5.1.1 no??250 yes ?\r\n");
    }

    #[test]
    fn the_id_is_found_in_the_replies_of_servers() {
        for (reply, id) in [
            ("250 2.0.0 Ok: queued as 4XYZq81234", "4XYZq81234"),
            ("250 2.0.0 Ok: queued as <0A1B2C>.", "0A1B2C"),
            ("250 2.0.0 queued as msg_01jdczz0000000000000000000", "msg_01jdczz0000000000000000000"),
            ("250 OK id=1rAbCd-0000Xy-2B", "1rAbCd-0000Xy-2B"),
            ("250 2.0.0 4AO5V7aB012345 Message accepted for delivery", "4AO5V7aB012345"),
            ("250 2.0.0 7ac31e02 Message accepted for delivery", "7ac31e02"),
            (
                "250 2.6.0 <a@b> [InternalId=4398046511104, Hostname=X.EURP.PROD.OUTLOOK.COM] 9 bytes Queued mail for delivery",
                "4398046511104",
            ),
            ("250 Message Queued (8E1F5B52-6C1B-4F2C-9C0E-2F1C9B3D7A11.1)", "8E1F5B52-6C1B-4F2C-9C0E-2F1C9B3D7A11.1"),
            ("250 Ok 0102018c5e3f-4d2a1b00-000000", "0102018c5e3f-4d2a1b00-000000"),
            // No ID, or one that is not known as such.
            ("250 2.0.0 OK  1732512667 a640c23a62f3a-si1 - gsmtp", "OK  1732512667 a640c23a62f3a-si1 - gsmtp"),
            ("250 ok 1732512667 qp 4711", "ok 1732512667 qp 4711"),
            ("250 2.0.0 Message queued as requested", "Message queued as requested"),
            ("250 Ok", "Ok"),
            ("250 2.0.0", "250 2.0.0"),
            ("250", "250"),
            ("", ""),
        ] {
            assert_eq!(queue_id(reply), id, "{reply}");
        }
    }

    #[test]
    fn enhanced_codes_are_parsed_at_the_start_only() {
        assert_eq!(EnhancedCode::parse_prefix("5.1.1 no such user"), Some(EnhancedCode(5, 1, 1)));
        assert_eq!(EnhancedCode::parse_prefix("sorry 5.1.1"), None);
        assert_eq!(EnhancedCode::parse_prefix("9.1.1"), None);
    }
}
