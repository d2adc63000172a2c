//! Names that cannot be claimed.
//!
//! RFC 6761, RFC 6762 §3, RFC 7686, RFC 8375, RFC 9476 (special-use names); the public suffix list.

use crate::address::{AddressError, DomainName};
use crate::config::Platform;
use crate::verification::records::registered;

/// Octets that a DKIM record's name adds to the domain: a token of 32, and `._domainkey.`
const DKIM_PREFIX: usize = 32 + 12;

/// Special-use names: names under them cannot be registered in the DNS.
const SPECIAL_USE: &[&str] = &[
    "alt",
    "arpa",
    "example",
    "example.com",
    "example.net",
    "example.org",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
];

/// Maximum octets of quoted input.
const SHOWN: usize = 100;

/// Why a name cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Malformed(AddressError),
    /// Something that contains a domain name: a URL, a host and port, an e-mail address.
    #[error("{text:?} {what}: claim the domain name alone{}", .name.as_ref().map(|name| format!(", {name}")).unwrap_or_default())]
    NotAlone {
        /// The input.
        text: String,
        /// Its kind.
        what: &'static str,
        /// The domain name in it.
        name: Option<DomainName>,
    },
    /// A label is too long (RFC 1035 §2.3.4).
    #[error("{0:?} is too long: a label of a domain name has at most 63 octets")]
    LabelTooLong(String),
    #[error("an IP address cannot be claimed; a domain name can")]
    IpLiteral,
    /// It, or the name of a record under it, is too long (RFC 1035 §2.3.4).
    #[error("the name is too long: with its DKIM records it would be over 253 octets")]
    TooLong,
    /// It has only one label.
    #[error("{0} is a top-level name; claim a domain under it, like yourdomain.com")]
    SingleLabel(DomainName),
    /// It is the platform domain, or under it.
    #[error("{0} belongs to this platform; every inbox has an address there already")]
    Platform(DomainName),
    #[error("{0} is reserved for special use (RFC 6761) and cannot exist in the DNS")]
    SpecialUse(DomainName),
    /// A public suffix.
    #[error("{0} is a public suffix, under which others register their domains; claim your own under it")]
    PublicSuffix(DomainName),
}

impl Refused {
    /// A stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotAlone { .. } => "invalid_domain",
            Self::LabelTooLong(_) => "label_too_long",
            Self::IpLiteral => "ip_literal",
            Self::TooLong => "domain_too_long",
            Self::SingleLabel(_) => "single_label",
            Self::Platform(_) => "platform_domain",
            Self::SpecialUse(_) => "special_use",
            Self::PublicSuffix(_) => "public_suffix",
        }
    }
}

impl From<AddressError> for Refused {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::IpLiteral => Self::IpLiteral,
            AddressError::TooLong => Self::TooLong,
            other => Self::Malformed(other),
        }
    }
}

/// Detects an invalid input that contains a domain name.
fn not_alone(text: &str) -> Option<Refused> {
    let (what, rest) = match (text.split_once("://"), text.find('/')) {
        (Some((_, rest)), _) => ("is a URL", rest),
        (None, Some(_)) => ("is a URL", text),
        (None, None) if text.contains('@') => ("is an e-mail address", text),
        (None, None) if text.contains(':') => ("has a port", text),
        (None, None) => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    // Quoted input is short, whatever was given.
    let text = crate::verification::bounds::cut(text, SHOWN);
    Some(Refused::NotAlone { text, what, name: DomainName::parse(host).ok() })
}

fn longest_label(text: &str) -> &str {
    text.split('.').max_by_key(|label| label.len()).unwrap_or_default()
}

/// The canonical name, if it can be claimed. Surrounding white space is ignored.
pub(super) fn claimable(text: &str, platform: &Platform) -> Result<DomainName, Refused> {
    let text = text.trim();
    let name = DomainName::parse(text).map_err(|error| match (error, not_alone(text)) {
        (AddressError::IpLiteral, _) => Refused::IpLiteral,
        (AddressError::LabelTooLong, _) => {
            Refused::LabelTooLong(crate::verification::bounds::cut(longest_label(text), SHOWN))
        }
        (_, Some(refused)) => refused,
        (error, None) => error.into(),
    })?;
    if name.as_str().len() + DKIM_PREFIX > 253 {
        return Err(Refused::TooLong);
    }
    if name.is_within(&platform.domain) {
        return Err(Refused::Platform(name));
    }
    let within = |ancestor: &str| {
        let rest = name.as_str().strip_suffix(ancestor);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let allowed = |special: &str| platform.allow_special_use.iter().any(|a| a.eq_ignore_ascii_case(special));
    if SPECIAL_USE.iter().any(|special| within(special) && !allowed(special)) {
        return Err(Refused::SpecialUse(name));
    }
    if name.label_count() < 2 {
        return Err(Refused::SingleLabel(name));
    }
    if registered(&name).is_none() {
        return Err(Refused::PublicSuffix(name));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str, allow: &[&str]) -> String {
        let platform =
            Platform { allow_special_use: allow.iter().map(|a| (*a).to_owned()).collect(), ..Platform::default() };
        match claimable(text, &platform) {
            Ok(name) => name.to_string(),
            Err(refused) => {
                assert!(!refused.to_string().is_empty());
                refused.code().to_owned()
            }
        }
    }

    #[test]
    fn claimable_names_become_canonical() {
        for (text, name) in [
            ("YourDomain.com.", "yourdomain.com"),
            ("mail.acme.co.uk", "mail.acme.co.uk"),
            ("Bücher.example-shop.de", "xn--bcher-kva.example-shop.de"),
            ("somebody.github.io", "somebody.github.io"),
            ("notinboxlayer.dev", "notinboxlayer.dev"),
            ("contest.org", "contest.org"),
        ] {
            assert_eq!(outcome(text, &[]), name);
        }
        assert_eq!(outcome("acme.test", &["test"]), "acme.test");
    }

    #[test]
    fn other_names_are_rejected_with_the_reason() {
        for (text, code) in [
            ("", "invalid_domain"),
            ("a..b", "invalid_domain"),
            ("a b.com", "invalid_domain"),
            ("a_b.com", "invalid_domain"),
            ("acme.com\r\nx", "invalid_domain"),
            ("192.0.2.1", "ip_literal"),
            ("[2001:db8::1]", "ip_literal"),
            ("inboxlayer.dev", "platform_domain"),
            ("a.b.InboxLayer.dev", "platform_domain"),
            ("com", "single_label"),
            ("localhost", "special_use"),
            ("acme.test", "special_use"),
            ("shop.example.com", "special_use"),
            ("printer.local", "special_use"),
            ("1.168.192.in-addr.arpa", "special_use"),
            ("co.uk", "public_suffix"),
            ("github.io", "public_suffix"),
        ] {
            assert_eq!(outcome(text, &[]), code, "{text:?}");
        }
        let label = "a".repeat(50);
        assert_eq!(outcome(&format!("{label}.{label}.{label}.{label}.{label}.com"), &[]), "domain_too_long");
        assert_eq!(outcome(&format!("{label}.{label}.{label}.{label}.acme.com"), &[]), "domain_too_long");
        assert_eq!(outcome("test", &["test"]), "single_label");
        assert_eq!(outcome("acme.invalid", &["test"]), "special_use");
    }

    #[test]
    fn urls_and_addresses_are_rejected_with_the_name_suggested() {
        let message = |text: &str| claimable(text, &Platform::default()).unwrap_err().to_string();
        for (text, ending) in [
            ("http://acme.com", "\"http://acme.com\" is a URL: claim the domain name alone, acme.com"),
            ("https://user@acme.com:8443/path?x", "is a URL: claim the domain name alone, acme.com"),
            ("acme.com/mail", "\"acme.com/mail\" is a URL: claim the domain name alone, acme.com"),
            ("acme.com:25", "\"acme.com:25\" has a port: claim the domain name alone, acme.com"),
            ("ann@acme.com", "\"ann@acme.com\" is an e-mail address: claim the domain name alone, acme.com"),
            ("http://", "\"http://\" is a URL: claim the domain name alone"),
        ] {
            assert!(message(text).ends_with(ending), "{text}: {}", message(text));
            assert_eq!(outcome(text, &[]), "invalid_domain", "{text}");
        }
        let long = format!("{}.com", "a".repeat(64));
        assert!(message(&long).contains("a label of a domain name has at most 63 octets"), "{}", message(&long));
        assert_eq!(outcome(&long, &[]), "label_too_long");
        for text in [" acme.com ", "\tacme.com\r\n", "\u{a0}acme.com\u{3000}"] {
            assert_eq!(outcome(text, &[]), "acme.com", "{text:?}");
        }
        assert_eq!(outcome("2001:db8::1", &[]), "ip_literal");
    }
}
