//! The zone that customers' DKIM CNAMEs point to: `<token>.<zone>` TXT, read from the store.

use super::finding::{Finding, soa, txt};
use crate::config::Dkim;
use crate::store::{Store, StoreError};
use crate::verification::rotation::KEY_TTL;
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::name::NS;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

/// A fresh key is published for at least this long before it signs.
const TTL: u32 = KEY_TTL.as_secs() as u32;
/// A new key appears within seconds, so its absence must not be cached for long.
const NEGATIVE_TTL: u32 = 60;

#[derive(Clone, Debug)]
pub struct KeysZone {
    apex: Name,
    name_server: Name,
    addresses: Vec<IpAddr>,
    store: Store,
}

impl KeysZone {
    /// The configured zone, with the keys of a store.
    pub fn new(config: &Dkim, store: Store) -> Result<Self, ProtoError> {
        let absolute = |text: &str| Name::from_ascii(format!("{text}."));
        Ok(Self {
            apex: absolute(config.zone.as_str())?,
            name_server: absolute(config.name_server.as_str())?,
            addresses: config.name_server_addresses.clone(),
            store,
        })
    }

    pub(super) fn holds(&self, name: &Name) -> bool {
        self.apex.zone_of(name)
    }

    pub(super) async fn find(&self, name: &Name, kind: RecordType) -> Result<Finding, StoreError> {
        let soa = soa(&self.apex, &self.name_server, self.store.dkim_serial().await?, NEGATIVE_TTL);
        let labels = name.num_labels().saturating_sub(self.apex.num_labels());
        let mut present = match labels {
            0 => vec![soa.clone(), Record::from_rdata(self.apex.clone(), TTL, RData::NS(NS(self.name_server.clone())))],
            1 => self.key(name).await?.into_iter().collect(),
            _ => Vec::new(),
        };
        if *name == self.name_server {
            present.extend(self.addresses.iter().map(|address| {
                let data = match address {
                    IpAddr::V4(v4) => RData::A(A(*v4)),
                    IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
                };
                Record::from_rdata(name.clone(), TTL, data)
            }));
        }
        if present.is_empty() {
            // RFC 8020 §2: an empty non-terminal exists.
            let above = !self.addresses.is_empty() && name.zone_of(&self.name_server);
            return Ok(if above { Finding::NoData(soa) } else { Finding::NoName(soa) });
        }
        // RFC 8482 §4.1: ANY is answered with one set.
        let kind = if kind == RecordType::ANY { present.first().map_or(kind, Record::record_type) } else { kind };
        present.retain(|record| record.record_type() == kind);
        Ok(if present.is_empty() { Finding::NoData(soa) } else { Finding::Records(present) })
    }

    async fn key(&self, name: &Name) -> Result<Option<Record>, StoreError> {
        let token = name.iter().next().and_then(|label| std::str::from_utf8(label).ok()).unwrap_or_default();
        let public = self.store.dkim_in_zone(&token.to_ascii_lowercase()).await?;
        Ok(public.map(|text| Record::from_rdata(name.clone(), TTL, RData::TXT(txt(&text)))))
    }
}
