//! Which addresses may be dialled. Tenants choose their MX hosts and name servers, so DNS answers must not lead into
//! our own network. Invariant: an address outside the public ranges, or one of this host, is dialled only if the
//! configuration allows its network. RFC 6890 (special-purpose addresses), RFC 4291, RFC 6052 §2.1 (NAT64), RFC 3056
//! (6to4).

use ipnet::IpNet;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network: write an address, or an address and a prefix length, like \"10.0.0.0/8\" or \"fd00::/8\""
)]
pub struct BadNetwork(pub String);

/// Networks in CIDR form and single addresses, read from a list of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// True if one of them contains the address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = BadNetwork;

    fn try_from(texts: Vec<String>) -> Result<Self, BadNetwork> {
        let network = |text: &String| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse::<IpNet>()).map_err(|_| BadNetwork(text.clone()))
        };
        texts.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// Networks outside the public ranges that may be dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AllowedNetworks(Networks);

impl AllowedNetworks {
    /// Loopback, IPv4 and IPv6: for the sandbox and tests.
    pub fn loopback() -> Self {
        let v4 = IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8);
        Self(Networks(vec![v4, IpAddr::from(Ipv6Addr::LOCALHOST).into()]))
    }

    /// True without any network.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// True if one of the networks contains the address.
    pub fn lists(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// True if this address may be dialled: allowed here, or public and not of this host.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.0.contains(address) || (is_public(address) && !is_own(address))
    }
}

/// True for a globally routable unicast address.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // "This network", private, loopback, shared (RFC 6598), link-local.
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
        // NAT64 and 6to4 embed an IPv4 address, which decides.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Only 2000::/3 is assigned as global unicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// True for an address of this host's interfaces: the local address of a route to it is the address itself. Sends
/// nothing.
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

    fn networks(texts: &[&str]) -> Result<Networks, BadNetwork> {
        texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().try_into()
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
    fn only_configured_networks_are_allowed() {
        let allowed = AllowedNetworks(networks(&["127.0.0.0/8", "fd00::/8", "10.0.0.7"]).unwrap());
        for inside in ["127.9.9.9", "::ffff:127.0.0.1", "fdff::1", "10.0.0.7", "8.8.8.8"] {
            assert!(allowed.allows(ip(inside)), "{inside}");
        }
        for outside in ["10.0.0.8", "::1", "fe80::1", "192.168.0.1"] {
            assert!(!allowed.allows(ip(outside)), "{outside}");
        }
        assert!(AllowedNetworks::loopback().allows(ip("::1")));
        assert!(!AllowedNetworks::default().allows(ip("127.0.0.1")));
        assert!(networks(&["0.0.0.0/0"]).unwrap().contains(ip("192.168.0.1")));
    }

    #[test]
    fn invalid_networks_are_rejected() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "localhost", "10.0.0.0/8/8"] {
            assert_eq!(networks(&["10.0.0.1", bad]), Err(BadNetwork(bad.into())));
        }
    }

    #[test]
    fn own_addresses_are_recognised() {
        assert!(is_own(ip("127.0.0.1")));
        assert!(!is_own(ip("8.8.8.8")));
    }
}
