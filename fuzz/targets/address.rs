//! Addresses and names: whatever can be read has one spelling, which reads as the same.

use super::{Address, DomainName, InboxName, LocalPart, ReversePath};

/// Every reader of [`crate::address`] on one text.
pub fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(address) = Address::parse(&text) {
        let shown = address.to_string();
        assert_eq!(Address::parse(&shown).as_ref(), Ok(&address), "{shown:?}");
        assert!(shown.len() <= 254, "{} octets", shown.len());
        assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
        assert!(!address.local.base().is_empty());
        assert_eq!(ReversePath::parse(&text), Ok(ReversePath::Mailbox(address)));
    }
    if let Ok(domain) = DomainName::parse(&text) {
        let shown = domain.as_str();
        assert_eq!(DomainName::parse(shown).as_ref(), Ok(&domain));
        assert!(shown.len() <= 253 && shown.split('.').all(|label| (1..=63).contains(&label.len())), "{shown}");
        assert!(
            shown.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.')),
            "{shown}"
        );
        assert!(domain.is_within(&domain) && shown.parse::<std::net::IpAddr>().is_err(), "{shown}");
    }
    if let Ok(local) = LocalPart::parse(&text) {
        let shown = local.to_string();
        assert_eq!(LocalPart::parse(&shown).map(|again| again.as_str().to_owned()), Ok(local.as_str().to_owned()));
    }
    if let Ok(name) = InboxName::parse(&text) {
        // Its address is one, without quotes.
        let address = name.at(&DomainName::parse("example.org").unwrap());
        assert_eq!(Address::parse(&address.to_string()), Ok(address.clone()));
        assert!(!address.to_string().contains('"'));
    }
}
