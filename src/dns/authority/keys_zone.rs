//! The zone that customers' DKIM CNAMEs lead to: `<token>.<zone>` TXT, straight from the store.

use super::answer::{Finding, soa};
use crate::config::Dkim;
use crate::store::{Store, StoreError};
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::name::NS;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Keys never change under a token, so they may be kept for long.
const TTL: u32 = 3600;
/// A key in the making is there in seconds: its absence must not be remembered for long.
const NEGATIVE_TTL: u32 = 60;

/// The zone of keys.
#[derive(Clone, Debug)]
pub struct KeysZone {
    apex: Name,
    name_server: Name,
    store: Store,
}

impl KeysZone {
    /// The zone that the configuration names, with the keys of a store.
    pub fn new(config: &Dkim, store: Store) -> Result<Self, ProtoError> {
        let absolute = |text: &str| Name::from_ascii(format!("{text}."));
        Ok(Self { apex: absolute(config.zone.as_str())?, name_server: absolute(config.name_server.as_str())?, store })
    }

    pub(super) fn holds(&self, name: &Name) -> bool {
        self.apex.zone_of(name)
    }

    pub(super) async fn find(&self, name: &Name, kind: RecordType) -> Result<Finding, StoreError> {
        let soa = soa(&self.apex, &self.name_server, NEGATIVE_TTL);
        let labels = name.num_labels().saturating_sub(self.apex.num_labels());
        let present = match labels {
            0 => vec![soa.clone(), Record::from_rdata(self.apex.clone(), TTL, RData::NS(NS(self.name_server.clone())))],
            1 => match self.key(name).await? {
                Some(record) => vec![record],
                None => return Ok(Finding::NoName(soa)),
            },
            _ => return Ok(Finding::NoName(soa)),
        };
        // RFC 8482 §4.1: ANY is answered with one set.
        let wanted: Vec<Record> =
            present.into_iter().filter(|r| r.record_type() == kind || kind == RecordType::ANY).take(1).collect();
        Ok(if wanted.is_empty() { Finding::NoData(soa) } else { Finding::Records(wanted) })
    }

    async fn key(&self, name: &Name) -> Result<Option<Record>, StoreError> {
        let token = name.iter().next().and_then(|label| std::str::from_utf8(label).ok()).unwrap_or_default();
        let public = self.store.dkim_public(&token.to_ascii_lowercase()).await?;
        Ok(public.map(|text| Record::from_rdata(name.clone(), TTL, RData::TXT(txt(&text)))))
    }
}

/// A text of any length, in strings of at most 255 octets (RFC 1035 §3.3).
pub(super) fn txt(text: &str) -> TXT {
    if text.is_empty() { TXT::from_bytes(vec![b""]) } else { TXT::from_bytes(text.as_bytes().chunks(255).collect()) }
}
