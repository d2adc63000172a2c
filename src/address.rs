//! Domains, local parts, addresses and inbox names in one canonical form. Invariant: a value is well-formed and
//! canonical, so `==` is the comparison that the protocols require, and none contains CR, LF, NUL, a space outside
//! quotes, or `>`. RFC 5321 §4.1.2 (mailbox syntax), §4.5.3.1 (sizes), RFC 5890 (A-labels), RFC 1035 §2.3.4.

#[cfg(any(test, fuzzing))]
#[path = "../fuzz/targets/address.rs"]
pub(crate) mod fuzz;
mod reserved;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

/// A mail domain in canonical form: IDNA A-labels, lower case, no trailing dot, at least one label, at most 253 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a text is not a valid address, domain name or inbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("a domain name needs labels between its dots")]
    EmptyLabel,
    #[error("a domain name has at most 253 octets")]
    TooLong,
    #[error("a label has at most 63 octets")]
    LabelTooLong,
    #[error("a domain name is made of letters, digits and inner hyphens")]
    BadDomainCharacter,
    #[error("an IP address is not a domain name")]
    IpLiteral,
    #[error("an address is written local-part@domain")]
    NoAtSign,
    /// The local part is empty or has an invalid character.
    #[error(
        "the local part of an address is made of printable ASCII characters; others than letters, digits, dots and !#$%&'*+-/=?^_`{{|}}~ need quotes"
    )]
    BadLocalPart,
    /// The path is over 254 octets (RFC 5321 §4.5.3.1.3 without the brackets).
    #[error("an address has at most 254 octets")]
    AddressTooLong,
}

impl DomainName {
    /// Parses a domain name in any spelling: mixed case, U-labels, one trailing dot.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::EmptyLabel);
        }
        if text.starts_with('[') || text.parse::<std::net::IpAddr>().is_ok() {
            return Err(AddressError::IpLiteral);
        }
        // Longer than any name whose A-labels fit; keeps hostile input from the IDNA tables.
        if text.len() > 1024 {
            return Err(AddressError::TooLong);
        }
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3)
            .map_err(|_| AddressError::BadDomainCharacter)?
            .into_owned();
        if ascii.len() > 253 {
            return Err(AddressError::TooLong);
        }
        for label in ascii.split('.') {
            if label.is_empty() {
                return Err(AddressError::EmptyLabel);
            }
            if label.len() > 63 {
                return Err(AddressError::LabelTooLong);
            }
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !label.bytes().all(good) || label.starts_with('-') || label.ends_with('-') {
                return Err(AddressError::BadDomainCharacter);
            }
        }
        // IDNA maps full-width digits and the like, so the result may be an address. Many programs read a name whose
        // last label is a number as an address (`0x7f.1`), and no top-level domain is numeric (RFC 3696 §2).
        if ascii.rsplit('.').next().is_some_and(is_number) {
            return Err(AddressError::IpLiteral);
        }
        Ok(Self(ascii))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the name itself and every name below it.
    pub fn is_within(&self, ancestor: &DomainName) -> bool {
        self.0 == ancestor.0 || self.0.strip_suffix(ancestor.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    pub fn label_count(&self) -> usize {
        self.0.split('.').count()
    }
}

/// True for a label that `inet_aton` parses as a number.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// The part before the `@`, without quotes; displayed with quotes where RFC 5321 requires them. Compared exactly: RFC
/// 5321 §2.4 leaves it to the receiver whether `Ann` is `ann`. Local mailboxes are looked up by [`LocalPart::base`],
/// without case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LocalPart(String);

impl LocalPart {
    /// Parses a local part, quoted (`"a b"`) or not. Dots may be anywhere: some providers have issued addresses like `a..b` and
    /// `a.`. More than 64 octets are accepted, as SRS and VERP produce them.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let inner = match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            Some(quoted) => unquote(quoted)?,
            None if text.bytes().all(|b| b == b'.' || is_atext(b)) => text.to_owned(),
            None => return Err(AddressError::BadLocalPart),
        };
        Self::from_unquoted(inner)
    }

    /// A local part whose quotes have already been removed by a parser.
    pub fn from_unquoted(text: impl Into<String>) -> Result<Self, AddressError> {
        let text = text.into();
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if text.is_empty() || !printable {
            return Err(AddressError::BadLocalPart);
        }
        Ok(Self(text))
    }

    /// Without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if RFC 5321 requires quotes around it.
    pub fn is_quoted(&self) -> bool {
        !is_dot_string(&self.0)
    }

    /// The text before the first `+`, in lower case: the name of an inbox or alias. `a+b` is `a`; `+b` stays `+b`.
    pub fn base(&self) -> String {
        let lower = self.0.to_ascii_lowercase();
        match lower.split_once('+') {
            Some((base, _)) if !base.is_empty() => base.to_owned(),
            _ => lower,
        }
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_quoted() {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

fn unquote(quoted: &str) -> Result<String, AddressError> {
    let mut inner = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(AddressError::BadLocalPart),
            '\\' => inner.push(chars.next().ok_or(AddressError::BadLocalPart)?),
            _ => inner.push(c),
        }
    }
    Ok(inner)
}

/// `local-part@domain`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub local: LocalPart,
    pub domain: DomainName,
}

impl Address {
    /// Fails if the address is over 254 octets.
    pub fn new(local: LocalPart, domain: DomainName) -> Result<Self, AddressError> {
        let address = Self { local, domain };
        if address.to_string().len() > 254 {
            return Err(AddressError::AddressTooLong);
        }
        Ok(address)
    }

    /// Parses `local@domain`, split at the last `@`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAtSign)?;
        if local.is_empty() {
            return Err(AddressError::NoAtSign);
        }
        Self::new(LocalPart::parse(local)?, DomainName::parse(domain)?)
    }
}

/// The reverse-path: null (`<>`) or a mailbox. RFC 5321 §4.1.2.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: this message must never be bounced.
    Null,
    Mailbox(Address),
    /// What a stranger says instead of one: a local part alone (`root`), or one at an IP address or at a host whose name has
    /// underscores. It is recorded, and nothing is ever sent there.
    Unroutable(UnroutablePath),
}

/// A path at no domain: printable ASCII without angle brackets outside quotes, at most 254 octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnroutablePath(String);

impl UnroutablePath {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let split = text.rsplit_once('@').filter(|_| !text.ends_with('"'));
        let (local, host) = split.map_or((text, None), |(local, host)| (local, Some(host)));
        let local = LocalPart::parse(local)?;
        let path = match host {
            None => Self(local.to_string()),
            Some(host) if is_address_literal(host) || is_host_with_underscores(host) => Self(format!("{local}@{host}")),
            Some(host) => return Err(DomainName::parse(host).err().unwrap_or(AddressError::BadDomainCharacter)),
        };
        if path.0.len() > 254 { Err(AddressError::AddressTooLong) } else { Ok(path) }
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
fn is_address_literal(host: &str) -> bool {
    let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inner.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

fn is_host_with_underscores(host: &str) -> bool {
    host.contains('_') && DomainName::parse(&host.replace('_', "x")).is_ok()
}

impl ReversePath {
    /// `None` if null.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null | Self::Unroutable(_) => None,
            Self::Mailbox(address) => Some(address),
        }
    }

    /// Parses the text between the angle brackets; the empty text is null.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text {
            "" => Ok(Self::Null),
            _ => Address::parse(text).map(Self::Mailbox).or_else(|_| UnroutablePath::parse(text).map(Self::Unroutable)),
        }
    }
}

/// Displayed without angle brackets; null is the empty text.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(address) => address.fmt(f),
            Self::Unroutable(UnroutablePath(path)) => f.write_str(path),
        }
    }
}

/// The name of an inbox: `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`. Its platform address is `name@` the platform domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxName(String);

/// Why a text is not a valid inbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxNameError {
    /// The text does not match the pattern.
    #[error(
        "an inbox name has 1 to 64 lower-case letters, digits, dots, hyphens or underscores, and begins and ends with a letter or digit"
    )]
    Malformed,
    /// A role name (RFC 2142), or one used by certificate authorities and operators.
    #[error(
        "this name is reserved for the operator of the platform, in any spelling; choose another, and create an alias at your own domain"
    )]
    Reserved,
}

/// Characters of a local part in the name that is made of it.
const CANDIDATE_BASE: usize = 48;

impl InboxName {
    /// Parses a name that an account may take: well-formed and not reserved.
    pub fn claim(text: &str, platform: &DomainName) -> Result<Self, InboxNameError> {
        let name = Self::parse(text)?;
        if reserved::is_reserved(text, platform) { Err(InboxNameError::Reserved) } else { Ok(name) }
    }

    /// Names for an inbox whose address elsewhere is `local`: that itself if it may be claimed, then with each suffix.
    pub fn candidates(local: &str, suffixes: &[String], platform: &DomainName) -> Vec<Self> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let base: String = local.chars().map(plain).take(CANDIDATE_BASE).collect();
        let base = base.trim_matches('-');
        let base = if base.is_empty() { "inbox" } else { base };
        let with_suffix = suffixes.iter().map(|suffix| format!("{base}-{suffix}"));
        std::iter::once(local.to_owned())
            .chain(with_suffix)
            .filter_map(|name| Self::claim(&name, platform).ok())
            .collect()
    }

    /// The platform's own inbox, for the mail that RFC 5321 §4.5.1 requires it to accept.
    pub fn postmaster() -> Self {
        Self("postmaster".to_owned())
    }

    /// Parses any well-formed name.
    pub fn parse(text: &str) -> Result<Self, InboxNameError> {
        let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let inner = |b: u8| edge(b) || matches!(b, b'.' | b'_' | b'-');
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Err(InboxNameError::Malformed);
        };
        // Two dots in a row are not a valid dot-string.
        if bytes.len() > 64 || !edge(*first) || !edge(*last) || !bytes.iter().all(|b| inner(*b)) || text.contains("..")
        {
            return Err(InboxNameError::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The inbox's address at a domain.
    pub fn at(&self, domain: &DomainName) -> Address {
        Address { local: LocalPart(self.0.clone()), domain: domain.clone() }
    }
}

macro_rules! text_type {
    ($($name:ident $error:ty;)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                String::schema()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_type! {
    DomainName AddressError;
    LocalPart AddressError;
    Address AddressError;
    InboxName InboxNameError;
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Display for InboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
