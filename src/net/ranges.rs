//! Which addresses may be dialled. Tenants choose their MX hosts and name servers, so what the DNS answers must not lead
//! us into our own network.
//!
//! Invariant: an address outside the public ranges, or one of this host's own, is dialled only where the configuration
//! allows its network. RFC 6890 (special-purpose addresses), RFC 4291, RFC 6052 §2.1 (NAT64), RFC 3056 (6to4).

use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

/// A network in CIDR form, or a single address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// The text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network: write an address, or an address and a prefix length, like \"10.0.0.0/8\" or \"fd00::/8\""
)]
pub struct BadNetwork(pub String);

impl Network {
    /// True when the address is in this network. An IPv4-mapped IPv6 address counts as the IPv4 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (base, prefix) = text.split_once('/').map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
        };
        if prefix > longest { Err(bad()) } else { Ok(Self { base, prefix }) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Networks outside the public ranges that may be dialled all the same. Read from a list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct AllowedNetworks(Vec<Network>);

impl AllowedNetworks {
    /// Loopback only, IPv4 and IPv6: for the sandbox and tests.
    pub fn loopback() -> Self {
        let v4 = Network { base: Ipv4Addr::LOCALHOST.into(), prefix: 8 };
        let v6 = Network { base: Ipv6Addr::LOCALHOST.into(), prefix: 128 };
        Self(vec![v4, v6])
    }

    /// True when this address may be dialled: it is allowed here, or public and not this host's own.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address)) || (is_public(address) && !is_own(address))
    }
}

impl TryFrom<Vec<String>> for AllowedNetworks {
    type Error = BadNetwork;

    fn try_from(texts: Vec<String>) -> Result<Self, BadNetwork> {
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Self)
    }
}

/// True for an address that the internet routes to one host.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback, shared (RFC 6598), link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Protocol assignments, documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18..=19, ..] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // NAT64 and 6to4 carry an IPv4 address, which decides.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast is 2000::/3 and nothing else yet.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// True for an address of this host's interfaces: the way to oneself begins at oneself. Sends nothing.
pub fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip().to_canonical() == address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_routed_addresses_are_public() {
        for public in
            ["8.8.8.8", "193.0.14.129", "2001:500:2f::f", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(ip(public)), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(ip(inside)), "{inside}");
        }
    }

    #[test]
    fn what_is_configured_is_allowed_and_nothing_beside_it() {
        let allowed =
            AllowedNetworks::try_from(vec!["127.0.0.0/8".into(), "fd00::/8".into(), "10.0.0.7".into()]).unwrap();
        for inside in ["127.9.9.9", "::ffff:127.0.0.1", "fdff::1", "10.0.0.7", "8.8.8.8"] {
            assert!(allowed.allows(ip(inside)), "{inside}");
        }
        for outside in ["10.0.0.8", "::1", "fe80::1", "192.168.0.1"] {
            assert!(!allowed.allows(ip(outside)), "{outside}");
        }
        assert!(AllowedNetworks::loopback().allows(ip("::1")));
        assert!(!AllowedNetworks::default().allows(ip("127.0.0.1")));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(ip("192.168.0.1")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "localhost", "10.0.0.0/8/8"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork(bad.into())));
        }
    }

    #[test]
    fn this_host_knows_itself() {
        assert!(is_own(ip("127.0.0.1")));
        assert!(!is_own(ip("8.8.8.8")));
    }
}
