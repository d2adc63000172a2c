//! Spellings of domains, addresses and inbox names, and what they become.

use super::*;

#[test]
fn the_name_of_an_inbox_is_made_of_its_local_part_elsewhere() {
    let made = |local: &str| {
        let suffixes = ["7k2m", "x"].map(String::from);
        let names = InboxName::candidates(local, &suffixes, &"inboxlayer.dev".parse().unwrap());
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(made("acme"), "acme acme-7k2m acme-x");
    assert_eq!(made("support"), "support-7k2m support-x");
    assert_eq!(made("a.b_c"), "a.b_c a-b-c-7k2m a-b-c-x");
    assert_eq!(made("Ann/Lee!"), "ann-lee-7k2m ann-lee-x");
    assert_eq!(made("!"), "inbox-7k2m inbox-x");
    assert_eq!(made(&"a".repeat(64)), format!("{0} {1}-7k2m {1}-x", "a".repeat(64), "a".repeat(48)));
}
use proptest::prelude::*;

#[test]
fn domain_names_have_one_form() {
    for spelling in ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.Example"] {
        assert_eq!(DomainName::parse(spelling).unwrap().as_str(), "xn--bcher-kva.example");
    }
    for (bad, why) in [
        ("", AddressError::EmptyLabel),
        (".", AddressError::EmptyLabel),
        ("a..b", AddressError::EmptyLabel),
        ("192.0.2.1", AddressError::IpLiteral),
        ("[192.0.2.1]", AddressError::IpLiteral),
        ("2001:db8::1", AddressError::IpLiteral),
        ("acme.123", AddressError::IpLiteral),
        ("0x7f.1", AddressError::IpLiteral),
        ("acme.0x7F.", AddressError::IpLiteral),
        ("a b.example", AddressError::BadDomainCharacter),
        ("-a.example", AddressError::BadDomainCharacter),
        ("a_b.example", AddressError::BadDomainCharacter),
        ("a\r\nb.example", AddressError::BadDomainCharacter),
    ] {
        assert_eq!(DomainName::parse(bad), Err(why), "{bad:?}");
    }
    assert!(DomainName::parse(&"a.".repeat(200)).is_err());
}

#[test]
fn a_name_is_within_itself_and_its_ancestors_only() {
    let [parent, child, other] = ["acme.com", "mail.acme.com", "notacme.com"].map(|n| DomainName::parse(n).unwrap());
    assert!(parent.is_within(&parent) && child.is_within(&parent));
    assert!(!other.is_within(&parent) && !parent.is_within(&child));
}

#[test]
fn addresses_split_at_the_last_at_and_quote_what_needs_it() {
    let quoted = Address::parse("\"a@b c\"@Example.COM").unwrap();
    assert_eq!(quoted.local.as_str(), "a@b c");
    assert_eq!(quoted.to_string(), "\"a@b c\"@example.com");
    let (upper, lower) = (Address::parse("Ann@x.org").unwrap(), Address::parse("ann@X.org").unwrap());
    assert!(upper != lower && upper.local.base() == lower.local.base() && upper.domain == lower.domain);
    for bad in ["", "a", "@x.org", "a@", "a b@x.org", "a@x.org>", "a\r\n@x.org", "\"a@x.org", "é@x.org"] {
        assert!(Address::parse(bad).is_err(), "{bad:?}");
    }
    for (text, shown) in [("a..b@x.org", "\"a..b\"@x.org"), ("a.@x.org", "\"a.\"@x.org"), (".a@x.org", "\".a\"@x.org")]
    {
        assert_eq!(Address::parse(text).unwrap().to_string(), shown);
    }
    let long = |length| format!("{}@x.org", "a".repeat(length));
    assert!(Address::parse(&long(248)).is_ok());
    assert_eq!(Address::parse(&long(249)), Err(AddressError::AddressTooLong));
}

#[test]
fn a_reverse_path_may_be_at_no_domain() {
    for path in ["root", "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "\"a@b\"", "\"a b\"@[192.0.2.1]", "www@web_1.x.org"] {
        let read = ReversePath::parse(path).unwrap();
        assert!(matches!(read, ReversePath::Unroutable(_)), "{path}");
        assert_eq!((read.address(), read.to_string().as_str()), (None, path));
    }
    for bad in ["a b", "a@[x]", "a@[192.0.2.1", "a>", "a@x..org", "a@-x.org", "a@_ .org", "@x.org", "a@", "a\r\nb", "ä"]
    {
        assert!(ReversePath::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(ReversePath::parse(&"a".repeat(255)), Err(AddressError::AddressTooLong));
}

#[test]
fn the_base_of_a_local_part_is_the_text_before_the_tag() {
    for (local, base) in [("Ann+news", "ann"), ("ann", "ann"), ("+x", "+x"), ("a+b+c", "a")] {
        assert_eq!(LocalPart::parse(local).unwrap().base(), base);
    }
}

#[test]
fn inbox_names_follow_the_pattern() {
    for good in ["a", "a1", "a-b.c_d", &"a".repeat(64)] {
        assert!(InboxName::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a+b", "a..b", &"a".repeat(65)] {
        assert_eq!(InboxName::parse(bad), Err(InboxNameError::Malformed), "{bad}");
    }
    assert_eq!(
        InboxName::claim("postmaster", &DomainName::parse("inboxlayer.dev").unwrap()),
        Err(InboxNameError::Reserved)
    );
    assert!(InboxName::parse("postmaster").is_ok());
}

proptest! {
    #[test]
    fn what_parses_prints_and_parses_to_itself(text in "\\PC{0,40}@\\PC{0,40}") {
        if let Ok(address) = Address::parse(&text) {
            let shown = address.to_string();
            prop_assert!(shown.bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert_eq!(Address::parse(&shown), Ok(address));
        }
    }
}
