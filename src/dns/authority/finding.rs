//! What a zone has for one name and type, and the records that every zone has.

use hickory_proto::rr::rdata::{SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};

#[derive(Debug)]
pub(super) enum Finding {
    Records(Vec<Record>),
    Alias(Record, Name),
    /// NODATA, with the zone's SOA.
    NoData(Record),
    /// NXDOMAIN, with the zone's SOA.
    NoName(Record),
    /// Not in any of our zones.
    NotOurs,
}

/// A zone's SOA (RFC 2308 §5: its TTL limits negative caching).
pub(super) fn soa(apex: &Name, name_server: &Name, serial: u32, negative_ttl: u32) -> Record {
    let contact = Name::from_ascii("hostmaster").and_then(|n| n.append_domain(apex)).unwrap_or_else(|_| apex.clone());
    let soa = SOA::new(name_server.clone(), contact, serial, 7200, 900, 1_209_600, negative_ttl);
    Record::from_rdata(apex.clone(), negative_ttl, RData::SOA(soa))
}

/// Text of any length, in strings of at most 255 octets (RFC 1035 §3.3).
pub(super) fn txt(text: &str) -> TXT {
    if text.is_empty() { TXT::from_bytes(vec![b""]) } else { TXT::from_bytes(text.as_bytes().chunks(255).collect()) }
}
