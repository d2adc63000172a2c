//! Which records a domain needs: what its owner has to publish.
//!
//! Invariant: no two records of a claim have the same [`RecordKey`], and a record keeps its key for the life of the claim:
//! what was found of it is stored under that. The order of the records is only that in which they are shown.

use super::observed::RecordType;
use super::status::UnknownWord;
use crate::address::DomainName;
use std::fmt;
use std::str::FromStr;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Lets receivers find the key that signs.
    Dkim,
    /// Leads mail here.
    Mx,
    /// Allows our servers to send.
    Spf,
    /// Tells receivers what to do with mail that is not aligned.
    Dmarc,
    /// Shows which account the name belongs to.
    Ownership,
    /// Lets bounces come back to a subdomain: its MX record.
    #[serde(rename = "return_path")]
    ReturnPath,
    /// Allows our servers to send from there: its SPF record. The API shows it as `return_path` too, with its type.
    #[serde(rename = "return_path")]
    ReturnPathSpf,
}

impl Purpose {
    /// Every purpose.
    const ALL: [Self; 7] =
        [Self::Dkim, Self::Mx, Self::Spf, Self::Dmarc, Self::Ownership, Self::ReturnPath, Self::ReturnPathSpf];

    /// As it stands in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dkim => "dkim",
            Self::Mx => "mx",
            Self::Spf => "spf",
            Self::Dmarc => "dmarc",
            Self::Ownership => "ownership",
            Self::ReturnPath => "return_path",
            Self::ReturnPathSpf => "return_path_spf",
        }
    }

    /// True for both records of a return path.
    pub const fn is_return_path(self) -> bool {
        matches!(self, Self::ReturnPath | Self::ReturnPathSpf)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// Which record of a claim: the key of what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What the record is for.
    pub purpose: Purpose,
    /// Its full name, without a trailing dot.
    pub name: String,
}

impl RecordKey {
    /// Of the DKIM record of a token.
    pub fn dkim(token: &str, domain: &DomainName) -> Self {
        Self { purpose: Purpose::Dkim, name: format!("{token}._domainkey.{domain}") }
    }

    /// Of the record of ownership.
    pub fn ownership(domain: &DomainName) -> Self {
        Self { purpose: Purpose::Ownership, name: format!("_inboxlayer.{domain}") }
    }
}

/// A label that makes a subdomain: letters, digits and hyphens (RFC 1035 §2.3.1), in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLabel(String);

/// The text is no label of a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one label of a host name, like bounce: letters, digits and hyphens, at most 63")]
pub struct NotALabel;

impl HostLabel {
    /// The label.
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

/// What the configuration says of every domain's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The zone of the DKIM targets.
    pub dkim_zone: DomainName,
    /// Target of the MX record.
    pub mx_host: DomainName,
    /// Its priority.
    pub mx_priority: u16,
    /// The SPF record.
    pub spf: String,
    /// The DMARC record.
    pub dmarc: String,
    /// What must be right for a domain to be verified, beside the record of ownership.
    pub required: Vec<Purpose>,
}

/// The host that takes what comes back to a return path, and those who send from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounces {
    /// Target of its MX record.
    pub mx_host: DomainName,
    /// The priority of that.
    pub mx_priority: u16,
    /// Its SPF record.
    pub spf: String,
}

/// A record as its owner should publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What for.
    pub purpose: Purpose,
    /// Its type.
    pub record_type: RecordType,
    /// Its full name, without a trailing dot.
    pub name: String,
    /// What to type where a panel asks for the host: relative to the registered domain, `@` for that itself.
    pub host_label: String,
    /// Its value.
    pub value: String,
    /// Of an MX record.
    pub priority: Option<u16>,
    /// The domain is not verified without it.
    pub required: bool,
}

impl Expected {
    /// Which record of its claim it is.
    pub fn key(&self) -> RecordKey {
        RecordKey { purpose: self.purpose, name: self.name.clone() }
    }

    /// True for a text that begins as the value does: a record of its kind, right or wrong.
    pub fn begins_like(&self, text: &str) -> bool {
        let version = |text: &str| text.trim().split([' ', ';']).next().map(str::to_ascii_lowercase);
        version(text) == version(&self.value)
    }

    /// The domain that panels put behind a host label: the one that is registered.
    pub fn registered(&self) -> &str {
        match self.name.strip_prefix(self.host_label.as_str()).and_then(|rest| rest.strip_prefix('.')) {
            Some(registered) if !registered.is_empty() => registered,
            _ => &self.name,
        }
    }

    /// The names where a record that belongs at a label with an underscore often stands instead: without the underscore, and
    /// without the label.
    pub fn mistaken_names(&self) -> Vec<String> {
        let labels: Vec<&str> = self.name.split('.').collect();
        let Some(at) = labels.iter().position(|label| label.starts_with('_')) else { return Vec::new() };
        let (before, rest) = labels.split_at(at);
        let Some((label, behind)) = rest.split_first() else { return Vec::new() };
        let without = label.trim_start_matches('_');
        [[before, &[without], behind].concat().join("."), [before, behind].concat().join(".")].into()
    }

    /// Where receivers look for the DMARC policy of a subdomain that has no record of its own: at the organizational
    /// domain (RFC 7489 §6.6.3). None for any other record.
    pub fn inherited_from(&self) -> Option<String> {
        let name = format!("_dmarc.{}", self.registered());
        (self.purpose == Purpose::Dmarc && name != self.name).then_some(name)
    }
}

impl Template {
    /// The records of one claim, in their order.
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
    /// The records of the return path `label.domain`, never required: what comes back, and who may send from there.
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

/// The name relative to the domain that is registered: what panels call host. `@` is that domain itself.
fn host_label(name: &str, domain: &DomainName) -> String {
    // A name without a registered domain is refused when the claim is made; the whole domain then is as good.
    let registered = registered(domain).unwrap_or(domain.as_str());
    match name.strip_suffix(registered) {
        Some("") => "@".to_owned(),
        Some(rest) => rest.trim_end_matches('.').to_owned(),
        None => name.to_owned(),
    }
}

/// The domain that somebody registered: one label more than a public suffix. `None` for a public suffix.
pub fn registered(domain: &DomainName) -> Option<&str> {
    psl::domain_str(domain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            dkim_zone: "dkim.amazonses.com".parse().unwrap(),
            mx_host: "smtp.inboxlayer.dev".parse().unwrap(),
            mx_priority: 10,
            spf: "v=spf1 include:amazonses.com ~all".into(),
            dmarc: "v=DMARC1; p=none;".into(),
            required: vec![Purpose::Dkim],
        }
    }

    fn lines(domain: &str, ownership: Option<&str>) -> Vec<String> {
        let tokens = ["t1", "t2", "t3"].map(String::from);
        let records = template().records(&domain.parse().unwrap(), &tokens, ownership);
        let priority = |r: &Expected| r.priority.map(|p| format!("{p} ")).unwrap_or_default();
        records
            .iter()
            .map(|r| {
                let required = if r.required { "!" } else { "" };
                format!(
                    "{}{required} {} {} {} {}{}",
                    r.purpose.as_str(),
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
    fn the_records_are_those_of_the_documentation() {
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
