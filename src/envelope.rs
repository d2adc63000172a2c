//! The SMTP envelope and replies. Invariant: an [`Envelope`] has at least one recipient; no text in a [`Reply`] can
//! add a line. RFC 5321 §2.3.1 (envelope), §4.2 (replies); RFC 3463 and RFC 2034 (enhanced status codes).

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_always_one_line() {
        let reply = Reply::new(550, EnhancedCode(5, 1, 1), "no\r\n250 yes \u{e9}");
        assert_eq!(reply.to_bytes(), b"550 5.1.1 no??250 yes ?\r\n");
    }

    #[test]
    fn enhanced_codes_are_parsed_at_the_start_only() {
        assert_eq!(EnhancedCode::parse_prefix("5.1.1 no such user"), Some(EnhancedCode(5, 1, 1)));
        assert_eq!(EnhancedCode::parse_prefix("sorry 5.1.1"), None);
        assert_eq!(EnhancedCode::parse_prefix("9.1.1"), None);
    }
}
