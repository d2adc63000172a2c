//! The parameters of MAIL and RCPT that go with a message to the next host: those of delivery status notifications (RFC 3461).
//!
//! Invariant: a value is what the client sent, checked by the RFC's syntax, so that it can be written into a command and a report as it
//! is.

use std::fmt;

/// Octets of ENVID (RFC 3461 §4.4), and of ORCPT (§4.2).
const ENVELOPE_ID: usize = 100;
const ORIGINAL_RECIPIENT: usize = 500;

/// What MAIL says beside the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// RET: what a report of a failure returns.
    pub returned: Option<Returned>,
    /// ENVID, repeated in reports.
    pub envelope_id: Option<Xtext>,
}

/// RFC 3461 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The message.
    Full,
    /// Its header.
    Headers,
}

impl Returned {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Full, Self::Headers].into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// What RCPT says beside the recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub original: Option<OriginalRecipient>,
}

impl RecipientParameters {
    /// Whether the sender wants a report of this kind. Without NOTIFY, of failures and delays (RFC 3461 §4.1).
    pub fn wants(&self, kind: Notify) -> bool {
        self.notify.unwrap_or(Notify::FAILURE | Notify::DELAY).contains(kind)
    }
}

bitflags::bitflags! {
    /// The reports that a sender wants of a recipient; none: NEVER. RFC 3461 §4.1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Notify: u8 {
        const SUCCESS = 1;
        const FAILURE = 1 << 1;
        const DELAY = 1 << 2;
    }
}

impl Notify {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::SUCCESS, "SUCCESS"), (Self::FAILURE, "FAILURE"), (Self::DELAY, "DELAY")];

    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(Self::empty());
        }
        text.split(',').try_fold(Self::empty(), |all, word| {
            let (kind, _) = Self::NAMES.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(word))?;
            (!all.contains(kind)).then_some(all | kind)
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(kind, _)| self.contains(*kind)).map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "NEVER" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

/// `addr-type ";" xtext` (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    pub kind: String,
    pub address: Xtext,
}

impl OriginalRecipient {
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, address) = text.split_once(';').filter(|_| text.len() <= ORIGINAL_RECIPIENT)?;
        let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let address = Xtext::parse(address).filter(|_| is_atom)?;
        Some(Self { kind: kind.to_owned(), address })
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// Text in which octets other than printable ASCII, `+` and `=` are `+` and two hexadecimal digits (RFC 3461 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xtext(String);

impl Xtext {
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            let is_valid = match octet {
                b'+' => octets.next().and_then(digit).is_some() && octets.next().and_then(digit).is_some(),
                octet => octet.is_ascii_graphic() && octet != b'=',
            };
            if !is_valid {
                return None;
            }
        }
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// ENVID.
    pub fn envelope_id(text: &str) -> Option<Self> {
        Self::parse(text).filter(|_| text.len() <= ENVELOPE_ID)
    }

    /// The text, as printable ASCII: other octets are `?`.
    pub fn decoded(&self) -> String {
        let mut octets = self.0.bytes();
        let mut text = String::with_capacity(self.0.len());
        while let Some(octet) = octets.next() {
            let octet = match octet {
                b'+' => octets.next().and_then(digit).unwrap_or(0) * 16 + octets.next().and_then(digit).unwrap_or(0),
                octet => octet,
            };
            text.push(if matches!(octet, b' '..=b'~') { char::from(octet) } else { '?' });
        }
        text
    }
}

impl fmt::Display for Xtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An upper-case hexadecimal digit.
fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_as_they_are() {
        for text in ["NEVER", "SUCCESS", "SUCCESS,FAILURE,DELAY", "FAILURE,DELAY"] {
            assert_eq!(Notify::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Notify::parse("delay,Success"), Some(Notify::DELAY | Notify::SUCCESS));
        for text in ["", "NEVER,DELAY", "DELAY,DELAY", "SUCCESS,", "ALWAYS"] {
            assert_eq!(Notify::parse(text), None, "{text}");
        }
        let original = OriginalRecipient::parse("rfc822;Ann+2Btag@x.org").unwrap();
        assert_eq!(original.to_string(), "rfc822;Ann+2Btag@x.org");
        assert_eq!(original.address.decoded(), "Ann+tag@x.org");
        for text in ["ann@x.org", ";ann@x.org", "rfc822;", "rfc 822;a", "rfc822;a=b", "rfc822;a+2b", "rfc822;a+2"] {
            assert_eq!(OriginalRecipient::parse(text), None, "{text}");
        }
        assert_eq!(Xtext::parse("a+0D+0Ab").unwrap().decoded(), "a??b");
        assert_eq!(Xtext::envelope_id(&"x".repeat(101)), None);
        assert_eq!(Returned::parse("hdrs"), Some(Returned::Headers));
    }

    #[test]
    fn without_notify_failures_and_delays_are_reported() {
        let mut parameters = RecipientParameters::default();
        assert!(parameters.wants(Notify::FAILURE) && parameters.wants(Notify::DELAY));
        assert!(!parameters.wants(Notify::SUCCESS));
        parameters.notify = Some(Notify::empty());
        assert!(!parameters.wants(Notify::FAILURE));
    }
}
