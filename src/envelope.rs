//! What SMTP says about a message from outside it: the envelope, and replies.
//!
//! Invariant: an [`Envelope`] has at least one recipient, and no text in a [`Reply`] can break its line.
//! RFC 5321 §2.3.1 (envelope), §4.2 (replies); RFC 3463 and RFC 2034 (enhanced status codes).

use crate::address::{Address, ReversePath};
use std::fmt;

/// A list that is never empty, so that "no recipients" needs no check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients<T = Address>(Vec<T>);

impl<T> Recipients<T> {
    /// The list, or `None` when it would be empty.
    pub fn new(list: Vec<T>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }

    /// All of them, at least one.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// All of them, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// Who a message is from and to, as SMTP has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `MAIL FROM`.
    pub mail_from: ReversePath,
    /// `RCPT TO`, at least one.
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
    /// Reads `5.1.1` at the start of a reply text; `None` when it has no such code.
    pub fn parse_prefix(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().next()?;
        let mut parts = word.split('.');
        let class = parts.next()?.parse().ok().filter(|c| matches!(c, 2 | 4 | 5))?;
        let code = Self(class, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(code)
    }
}

/// An SMTP reply: what the server says to one command, or what a remote server said to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code (RFC 5321 §4.2).
    pub code: u16,
    /// The enhanced code, where the reply carries one.
    pub enhanced: Option<EnhancedCode>,
    /// The text. [`Reply::to_bytes`] makes one line of it, whatever it holds.
    pub text: String,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without one: greetings, 354, 334 and the like.
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// The reply as it goes over the wire, CRLF included. Control characters and non-ASCII in the text become `?`.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{self}\r\n").into_bytes()
    }

    /// 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        matches!(self.code, 200..=399)
    }

    /// 5yz: trying again without a change is of no use.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_whatever_its_text() {
        let reply = Reply::new(550, EnhancedCode(5, 1, 1), "no\r\n250 yes \u{e9}");
        assert_eq!(reply.to_bytes(), b"550 5.1.1 no??250 yes ?\r\n");
    }

    #[test]
    fn enhanced_codes_are_read_at_the_start_only() {
        assert_eq!(EnhancedCode::parse_prefix("5.1.1 no such user"), Some(EnhancedCode(5, 1, 1)));
        assert_eq!(EnhancedCode::parse_prefix("sorry 5.1.1"), None);
        assert_eq!(EnhancedCode::parse_prefix("9.1.1"), None);
    }
}
