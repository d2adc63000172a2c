//! Names that nobody can claim, and why.
//!
//! RFC 6761, RFC 6762 §3, RFC 7686, RFC 8375, RFC 9476 (special-use names); the public suffix list.

use crate::address::{AddressError, DomainName};
use crate::config::Platform;
use crate::domain::records::registered;

/// Octets that a DKIM record's name adds to the domain: a token of 32, and `._domainkey.`
const DKIM_PREFIX: usize = 32 + 12;

/// Special-use names: nothing under them is anybody's in the DNS.
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

/// Why a name cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no domain name.
    #[error("{0}")]
    Malformed(AddressError),
    /// It is an address.
    #[error("an IP address cannot be claimed; a domain name can")]
    IpLiteral,
    /// It, or the name of a record under it, has more octets than a name can have (RFC 1035 §2.3.4).
    #[error("the name is too long: with its DKIM records it would be over 253 octets")]
    TooLong,
    /// It has one label.
    #[error("{0} is a top-level name; claim a domain under it, like yourdomain.com")]
    SingleLabel(DomainName),
    /// It is the platform's, or under it.
    #[error("{0} belongs to this platform; every inbox has an address there already")]
    Platform(DomainName),
    /// It is reserved for special use.
    #[error("{0} is reserved for special use (RFC 6761) and cannot be in the DNS")]
    SpecialUse(DomainName),
    /// Others register names under it.
    #[error("{0} is a public suffix, under which others register their domains; claim your own under it")]
    PublicSuffix(DomainName),
}

impl Refused {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "invalid_domain",
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

/// The canonical name, if it can be claimed.
pub(super) fn claimable(text: &str, platform: &Platform) -> Result<DomainName, Refused> {
    let name = DomainName::parse(text)?;
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
    fn what_can_be_claimed_becomes_canonical() {
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
    fn what_cannot_says_why() {
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
}
