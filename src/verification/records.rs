//! The records that a domain's owner has to publish. Invariant: the [`RecordKey`]s of a claim are unique and stay the
//! same for its life, since findings are stored under them. The order of records is only for display.

use super::observed::RecordType;
use crate::address::DomainName;

/// The purpose of a record.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    strum::Display,
    strum::EnumString,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
#[schema(as = RecordPurpose)]
pub enum Purpose {
    /// Publishes the signing key.
    Dkim,
    /// Directs mail here.
    Mx,
    /// Authorises our servers to send.
    Spf,
    /// Sets the policy for mail that is not aligned.
    Dmarc,
    /// Proves which account owns the name.
    Ownership,
    /// Directs bounces to a subdomain: its MX record.
    #[serde(rename = "return_path")]
    ReturnPath,
    /// Authorises our servers as senders of the subdomain: its SPF record. Shown as `return_path` too, with its type.
    #[serde(rename = "return_path")]
    ReturnPathSpf,
}

impl Purpose {
    /// True for both records of a return path.
    pub const fn is_return_path(self) -> bool {
        matches!(self, Self::ReturnPath | Self::ReturnPathSpf)
    }
}

/// Identifies a record of a claim and the findings about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    pub purpose: Purpose,
    /// The full name, without a trailing dot.
    pub name: String,
}

impl RecordKey {
    /// The key of a token's DKIM record.
    pub fn dkim(token: &str, domain: &DomainName) -> Self {
        Self { purpose: Purpose::Dkim, name: format!("{token}._domainkey.{domain}") }
    }

    /// The key of the ownership record.
    pub fn ownership(domain: &DomainName) -> Self {
        Self { purpose: Purpose::Ownership, name: format!("_inboxlayer.{domain}") }
    }
}

/// The label of a subdomain: letters, digits and hyphens (RFC 1035 §2.3.1), in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLabel(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one label of a host name, like bounce: letters, digits and hyphens, at most 63")]
pub struct NotALabel;

impl HostLabel {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostLabel {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        let fits = text.len() <= 63 && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-');
        let host = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if fits && host { Ok(Self(text.to_ascii_lowercase())) } else { Err(NotALabel) }
    }
}

/// The configured part of every domain's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The zone of the DKIM targets.
    pub dkim_zone: DomainName,
    /// The target of the MX record.
    pub mx_host: DomainName,
    pub mx_priority: u16,
    pub spf: String,
    pub dmarc: String,
    /// Purposes required for verification, besides ownership.
    pub required: Vec<Purpose>,
}

/// The host that receives bounces, and the servers that send from the return path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounces {
    /// The target of its MX record.
    pub mx_host: DomainName,
    pub mx_priority: u16,
    pub spf: String,
}

/// A record to be published.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Expected {
    pub purpose: Purpose,
    #[serde(rename = "type", serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub record_type: RecordType,
    /// The full name, without a trailing dot.
    pub name: String,
    /// The host to enter at a DNS provider: relative to the registered domain, `@` for the domain itself.
    pub host_label: String,
    pub value: String,
    /// For an MX record.
    pub priority: Option<u16>,
    /// The domain is not verified without it.
    pub required: bool,
}

impl Expected {
    pub fn key(&self) -> RecordKey {
        RecordKey { purpose: self.purpose, name: self.name.clone() }
    }

    /// True for a text that starts like the value: a record of the same kind, valid or not.
    pub fn begins_like(&self, text: &str) -> bool {
        let version = |text: &str| text.trim().split([' ', ';']).next().map(str::to_ascii_lowercase);
        version(text) == version(&self.value)
    }

    /// The registered domain, which DNS providers append to a host.
    pub fn registered(&self) -> &str {
        match self.name.strip_prefix(self.host_label.as_str()).and_then(|rest| rest.strip_prefix('.')) {
            Some(registered) if !registered.is_empty() => registered,
            _ => &self.name,
        }
    }

    /// Names where a record at an underscore label is often published by mistake: without the underscore, and without
    /// the label.
    pub fn mistaken_names(&self) -> Vec<String> {
        let labels: Vec<&str> = self.name.split('.').collect();
        let Some(at) = labels.iter().position(|label| label.starts_with('_')) else { return Vec::new() };
        let (before, rest) = labels.split_at(at);
        let Some((label, behind)) = rest.split_first() else { return Vec::new() };
        let without = label.trim_start_matches('_');
        [[before, &[without], behind].concat().join("."), [before, behind].concat().join(".")].into()
    }

    /// The name of the DMARC record that applies to a subdomain without its own, at the organizational domain (RFC
    /// 7489 §6.6.3). `None` for other records.
    pub fn inherited_from(&self) -> Option<String> {
        let name = format!("_dmarc.{}", self.registered());
        (self.purpose == Purpose::Dmarc && name != self.name).then_some(name)
    }
}

impl Template {
    /// The records of one claim, in display order.
    pub fn records(&self, domain: &DomainName, tokens: &[String; 3], ownership: Option<&str>) -> Vec<Expected> {
        let record = |purpose, record_type, name: String, value: String| Expected {
            purpose,
            record_type,
            host_label: host_label(&name, domain),
            name,
            value,
            priority: (purpose == Purpose::Mx).then_some(self.mx_priority),
            required: purpose == Purpose::Ownership || self.required.contains(&purpose),
        };
        let mut records: Vec<Expected> = tokens
            .iter()
            .map(|token| {
                let target = format!("{token}.{}", self.dkim_zone);
                record(Purpose::Dkim, RecordType::Cname, RecordKey::dkim(token, domain).name, target)
            })
            .collect();
        records.push(record(Purpose::Mx, RecordType::Mx, domain.to_string(), self.mx_host.to_string()));
        records.push(record(Purpose::Spf, RecordType::Txt, domain.to_string(), self.spf.clone()));
        records.push(record(Purpose::Dmarc, RecordType::Txt, format!("_dmarc.{domain}"), self.dmarc.clone()));
        if let Some(secret) = ownership {
            let name = RecordKey::ownership(domain).name;
            records.push(record(Purpose::Ownership, RecordType::Txt, name, secret.to_owned()));
        }
        records
    }
}

impl Bounces {
    /// The optional records of the return path `label.domain`: MX and SPF.
    pub fn records(&self, domain: &DomainName, label: &str) -> Vec<Expected> {
        let name = format!("{label}.{domain}");
        let record = |purpose, record_type, value: String, priority| Expected {
            purpose,
            record_type,
            name: name.clone(),
            host_label: host_label(&name, domain),
            value,
            priority,
            required: false,
        };
        vec![
            record(Purpose::ReturnPath, RecordType::Mx, self.mx_host.to_string(), Some(self.mx_priority)),
            record(Purpose::ReturnPathSpf, RecordType::Txt, self.spf.clone(), None),
        ]
    }
}

/// The name relative to the registered domain; `@` is that domain.
fn host_label(name: &str, domain: &DomainName) -> String {
    // A claim without a registered domain is refused on creation, so this is only a fallback.
    let registered = registered(domain).unwrap_or(domain.as_str());
    match name.strip_suffix(registered) {
        Some("") => "@".to_owned(),
        Some(rest) => rest.trim_end_matches('.').to_owned(),
        None => name.to_owned(),
    }
}

/// The registered domain: one label more than a public suffix. `None` for a public suffix.
pub fn registered(domain: &DomainName) -> Option<&str> {
    psl::domain_str(domain.as_str())
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
impl Template {
    /// As the public documentation has it.
    pub(crate) fn documented() -> Self {
        Self {
            dkim_zone: "dkim.amazonses.com".parse().unwrap(),
            mx_host: "smtp.inboxlayer.dev".parse().unwrap(),
            mx_priority: 10,
            spf: "v=spf1 include:amazonses.com ~all".into(),
            dmarc: "v=DMARC1; p=none;".into(),
            required: vec![Purpose::Dkim],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(domain: &str, ownership: Option<&str>) -> Vec<String> {
        let tokens = ["t1", "t2", "t3"].map(String::from);
        let records = Template::documented().records(&domain.parse().unwrap(), &tokens, ownership);
        let priority = |r: &Expected| r.priority.map(|p| format!("{p} ")).unwrap_or_default();
        records
            .iter()
            .map(|r| {
                let required = if r.required { "!" } else { "" };
                format!(
                    "{}{required} {} {} {} {}{}",
                    r.purpose,
                    r.host_label,
                    r.name,
                    r.record_type,
                    priority(r),
                    r.value
                )
            })
            .collect()
    }

    #[test]
    fn the_records_match_the_documentation() {
        assert_eq!(
            lines("yourdomain.com", None),
            [
                "dkim! t1._domainkey t1._domainkey.yourdomain.com CNAME t1.dkim.amazonses.com",
                "dkim! t2._domainkey t2._domainkey.yourdomain.com CNAME t2.dkim.amazonses.com",
                "dkim! t3._domainkey t3._domainkey.yourdomain.com CNAME t3.dkim.amazonses.com",
                "mx @ yourdomain.com MX 10 smtp.inboxlayer.dev",
                "spf @ yourdomain.com TXT v=spf1 include:amazonses.com ~all",
                "dmarc _dmarc _dmarc.yourdomain.com TXT v=DMARC1; p=none;",
            ]
        );
    }

    #[test]
    fn a_return_path_is_one_label_with_its_own_mx_and_spf() {
        let bounces = Bounces {
            mx_host: "smtp.inboxlayer.dev".parse().unwrap(),
            mx_priority: 20,
            spf: "v=spf1 include:amazonses.com ~all".into(),
        };
        let lines: Vec<String> = bounces
            .records(&"mail.acme.com".parse().unwrap(), "bounce")
            .iter()
            .map(|r| {
                format!("{} {} {} {:?} {} {}", r.host_label, r.name, r.record_type, r.priority, r.value, r.required)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "bounce.mail bounce.mail.acme.com MX Some(20) smtp.inboxlayer.dev false",
                "bounce.mail bounce.mail.acme.com TXT None v=spf1 include:amazonses.com ~all false",
            ]
        );
        let label = |text: &str| text.parse::<HostLabel>().map(|label| label.as_str().to_owned());
        assert_eq!(label("Bounce-1"), Ok("bounce-1".into()));
        for wrong in ["", "a.b", "_domainkey", "-a", "a-", "a b", "é", &"a".repeat(64)] {
            assert_eq!(label(wrong), Err(NotALabel), "{wrong}");
        }
    }

    #[test]
    fn host_labels_are_relative_to_the_registered_domain() {
        let of = |domain| {
            lines(domain, Some("secret")).iter().map(|l| l.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            of("mail.acme.co.uk")[2..],
            ["t3._domainkey.mail", "mail", "mail", "_dmarc.mail", "_inboxlayer.mail"]
        );
        assert_eq!(of("acme.test")[2..], ["t3._domainkey", "@", "@", "_dmarc", "_inboxlayer"]);
        assert!(lines("acme.test", Some("secret"))[6].starts_with("ownership! "));
    }
}
