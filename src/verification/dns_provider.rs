//! Who hosts a zone, by the names of its name servers, and how a record is entered there. Invariant: pure and careful: a provider is
//! named only by host names of its own; of an unknown one the general rules are shown.

use super::observed::RecordType;
use super::records::Expected;
use super::report::Entered;
use super::zone_file::quoted;

/// A host of zones, and what is special about its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsProvider {
    /// Its common name.
    pub name: &'static str,
    /// Its name servers: suffixes of their names, or with a `*` at the end the beginning of a label.
    hosts: &'static [&'static str],
    /// Where records are edited.
    place: &'static str,
    /// What the field for the host is called.
    host_field: &'static str,
    apex: Apex,
    dots: Dots,
    quotes: Quotes,
    mx: Mx,
    /// What else is to be known.
    advice: &'static str,
}

/// How the host is written of a record at the domain itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apex {
    At,
    Empty,
}

/// Whether a host name in a value ends with a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dots {
    /// Without one the domain is appended.
    Needed,
    Optional,
}

/// Whether the value of a TXT record has quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    Needed,
    /// The provider adds them.
    Added,
}

/// Where the priority of an MX record is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mx {
    Field,
    InValue,
}

/// What is usual; the base of the table and the rules for an unknown provider.
const USUAL: DnsProvider = DnsProvider {
    name: "",
    hosts: &[],
    place: "the DNS settings of the domain",
    host_field: "Host",
    apex: Apex::At,
    dots: Dots::Optional,
    quotes: Quotes::Added,
    mx: Mx::Field,
    advice: "",
};

const KNOWN: &[DnsProvider] = &[
    DnsProvider {
        name: "Cloudflare",
        hosts: &["ns.cloudflare.com", "secondary.cloudflare.com", "foundationdns.com", "foundationdns.net"],
        place: "DNS > Records",
        host_field: "Name",
        advice: "Set “Proxy status” of every CNAME record to “DNS only” (grey cloud): a proxied record is answered with \
                 addresses, and its CNAME cannot be seen.",
        ..USUAL
    },
    DnsProvider {
        name: "Amazon Route 53",
        hosts: &["awsdns-*"],
        place: "Route 53 > Hosted zones",
        host_field: "Record name",
        apex: Apex::Empty,
        quotes: Quotes::Needed,
        mx: Mx::InValue,
        advice: "All records of one type at a name are one record with several lines: where one exists, edit it and add a line. Leave \
                 “Alias” off.",
        ..USUAL
    },
    DnsProvider {
        name: "GoDaddy",
        hosts: &["domaincontrol.com"],
        place: "Domain Portfolio > DNS > DNS Records",
        host_field: "Name",
        advice: "“Forwarding” of the domain must not replace its records.",
        ..USUAL
    },
    DnsProvider {
        name: "Namecheap",
        hosts: &["registrar-servers.com"],
        place: "Domain List > Manage > Advanced DNS",
        advice: "MX records are under “Mail Settings”: choose “Custom MX” first. Choosing another mail service there removes them.",
        ..USUAL
    },
    DnsProvider {
        name: "Squarespace",
        hosts: &["squarespacedns.com"],
        place: "Domains > DNS > DNS Settings > Custom records",
        ..USUAL
    },
    DnsProvider {
        name: "Google Cloud DNS or Squarespace",
        hosts: &["googledomains.com"],
        place: "Squarespace: Domains > DNS Settings > Custom records; Google Cloud: Network services > Cloud DNS",
        advice: "Domains of the former Google Domains are at Squarespace, where this page's values are entered as they are. In Google \
                 Cloud DNS leave the name empty for the domain itself, end host names in values with a dot, write the priority of an \
                 MX record before its host, and put the values of TXT records in quotation marks.",
        ..USUAL
    },
    DnsProvider {
        name: "Hetzner",
        hosts: &["ns.hetzner.com", "ns.hetzner.de", "ns1.your-server.de", "second-ns.com", "second-ns.de"],
        place: "DNS > the zone > Records",
        host_field: "Name",
        dots: Dots::Needed,
        ..USUAL
    },
    DnsProvider {
        name: "OVHcloud",
        hosts: &["ovh.net", "ovh.ca", "anycast.me"],
        place: "Web Cloud > Domain names > DNS zone > Add an entry",
        host_field: "Sub-domain",
        apex: Apex::Empty,
        dots: Dots::Needed,
        advice: "For SPF use a TXT record, not the form “SPF”, so that the value is exactly this one.",
        ..USUAL
    },
    DnsProvider {
        name: "Gandi",
        hosts: &["gandi.net"],
        place: "Domain > DNS Records",
        host_field: "Name",
        dots: Dots::Needed,
        ..USUAL
    },
    DnsProvider {
        name: "IONOS",
        hosts: &["ui-dns.com", "ui-dns.de", "ui-dns.org", "ui-dns.biz"],
        place: "Domains & SSL > the domain > DNS",
        host_field: "Host name",
        advice: "IONOS replaces records of its own mail service when you switch that on; leave it off for this name.",
        ..USUAL
    },
    DnsProvider {
        name: "DigitalOcean",
        hosts: &["digitalocean.com"],
        place: "Networking > Domains",
        host_field: "Hostname",
        dots: Dots::Needed,
        ..USUAL
    },
    DnsProvider {
        name: "Azure DNS",
        hosts: &["azure-dns.com", "azure-dns.net", "azure-dns.org", "azure-dns.info"],
        place: "DNS zones > the zone > Recordsets",
        host_field: "Name",
        advice: "All records of one type at a name are one record set: where one exists, add a line to it. Set “Alias record set” to No.",
        ..USUAL
    },
    DnsProvider {
        name: "Akamai (Linode)",
        hosts: &["linode.com"],
        place: "Domains > the domain",
        host_field: "Hostname",
        apex: Apex::Empty,
        ..USUAL
    },
    DnsProvider {
        name: "Porkbun",
        hosts: &["porkbun.com"],
        place: "Domain Management > DNS",
        apex: Apex::Empty,
        advice: "Delete the default CNAME records for parking, if they are at one of these names.",
        ..USUAL
    },
    DnsProvider {
        name: "Hostinger",
        hosts: &["dns-parking.com"],
        place: "Domains > DNS / Nameservers",
        host_field: "Name",
        ..USUAL
    },
    DnsProvider {
        name: "Vercel",
        hosts: &["vercel-dns.com"],
        place: "Domains > the domain > DNS Records",
        host_field: "Name",
        apex: Apex::Empty,
        ..USUAL
    },
    DnsProvider {
        name: "Wix",
        hosts: &["wixdns.net"],
        place: "Domains > Manage DNS Records",
        host_field: "Host Name",
        apex: Apex::Empty,
        ..USUAL
    },
    DnsProvider {
        name: "DNSimple",
        hosts: &["dnsimple.com", "dnsimple-edge.net", "dnsimple-edge.org", "dnsimple-edge.com"],
        place: "the domain > DNS > Record editor",
        host_field: "Name",
        apex: Apex::Empty,
        ..USUAL
    },
];

impl DnsProvider {
    /// The host of a zone with these name servers; the first one that any of them belongs to.
    pub fn of<H: AsRef<str>>(name_servers: &[H]) -> Option<&'static Self> {
        KNOWN.iter().find(|one| name_servers.iter().any(|host| one.has(host.as_ref())))
    }

    /// The rules for a provider that is not known.
    pub fn usual() -> &'static Self {
        &USUAL
    }

    fn has(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let fits = |known: &&str| match known.strip_suffix('*') {
            Some(start) => host.split('.').any(|label| label.starts_with(start)),
            None => host.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        };
        self.hosts.iter().any(fits)
    }

    /// What to do there, in order.
    pub fn steps(&self) -> Vec<String> {
        let Self { host_field, .. } = self;
        let place = match self.name {
            "" => format!("Where the domain's name servers are, open {}.", self.place),
            name => format!("At {name}, open {}.", self.place),
        };
        let apex = match self.apex {
            Apex::At => "enter @",
            Apex::Empty => "leave it empty",
        };
        let host = format!(
            "Enter the host in “{host_field}” without the domain, which is appended. For the domain itself {apex}."
        );
        let dots = match (self.dots, self.name) {
            (Dots::Needed, _) => "End host names in values with a dot: without it the domain is appended to them.",
            (Dots::Optional, "") => {
                "If the saved value shows your domain at its end, enter it again with a dot at its end."
            }
            (Dots::Optional, _) => "Host names in values need no dot at the end.",
        };
        let quotes = match (self.quotes, self.name) {
            (Quotes::Needed, _) => "Put the value of a TXT record in quotation marks.",
            (Quotes::Added, "") => {
                "Enter the value of a TXT record without quotation marks, unless the form asks for them."
            }
            (Quotes::Added, _) => "Enter the value of a TXT record without quotation marks.",
        };
        let mx = match self.mx {
            Mx::Field => "The priority of an MX record has a field of its own.",
            Mx::InValue => "Enter an MX record as its priority, a space and the host.",
        };
        let proxy = if self.name.is_empty() { "Switch proxies and CNAME flattening off for these names." } else { "" };
        let all = [&place, &host, dots, quotes, mx, proxy, self.advice];
        all.into_iter().filter(|step| !step.is_empty()).map(str::to_owned).collect()
    }

    /// A record as it is entered there.
    pub fn entered(&self, record: &Expected) -> Entered {
        let host = match (record.host_label.as_str(), self.apex) {
            ("@", Apex::Empty) => "",
            (label, _) => label,
        };
        let dotted = |name: &str| match self.dots {
            Dots::Needed => format!("{}.", name.trim_end_matches('.')),
            Dots::Optional => name.to_owned(),
        };
        let (value, priority) = match record.record_type {
            RecordType::Txt if self.quotes == Quotes::Needed => (quoted(&record.value), None),
            RecordType::Txt => (record.value.clone(), None),
            RecordType::Mx => {
                let priority = record.priority.unwrap_or_default();
                match self.mx {
                    Mx::Field => (dotted(&record.value), Some(priority)),
                    Mx::InValue => (format!("{priority} {}", dotted(&record.value)), None),
                }
            }
            _ => (dotted(&record.value), None),
        };
        Entered { host: host.to_owned(), value, priority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::records::Template;
    use std::collections::BTreeSet;

    fn name(host: &str) -> Option<&'static str> {
        DnsProvider::of(&[host]).map(|provider| provider.name)
    }

    #[test]
    fn a_provider_is_known_by_its_name_servers() {
        for (host, provider) in [
            ("kate.ns.cloudflare.com", "Cloudflare"),
            ("NS-2048.awsdns-64.com.", "Amazon Route 53"),
            ("ns-1537.awsdns-00.co.uk", "Amazon Route 53"),
            ("ns01.domaincontrol.com", "GoDaddy"),
            ("dns1.registrar-servers.com", "Namecheap"),
            ("ns02.squarespacedns.com", "Squarespace"),
            ("ns-cloud-d1.googledomains.com", "Google Cloud DNS or Squarespace"),
            ("helium.ns.hetzner.de", "Hetzner"),
            ("ns3.second-ns.de", "Hetzner"),
            ("dns104.ovh.net", "OVHcloud"),
            ("ns-42-a.gandi.net", "Gandi"),
            ("ns1027.ui-dns.biz", "IONOS"),
            ("ns1.digitalocean.com", "DigitalOcean"),
            ("ns3-08.azure-dns.org", "Azure DNS"),
            ("ns5.linode.com", "Akamai (Linode)"),
            ("maceio.ns.porkbun.com", "Porkbun"),
        ] {
            assert_eq!(name(host), Some(provider), "{host}");
        }
        for other in ["ns1.acme.com", "ns1.notgandi.net", "cloudflare.com.evil.example", "ns.my-awsdns-1.com", ""] {
            assert_eq!(name(other), None, "{other}");
        }
        // One server of a provider is enough: the others may be secondaries.
        assert_eq!(DnsProvider::of(&["ns1.acme.com", "a.ns.cloudflare.com"]).map(|one| one.name), Some("Cloudflare"));
    }

    #[test]
    fn names_and_hosts_are_of_one_provider_each() {
        let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
        for provider in KNOWN {
            assert!(names.insert(provider.name), "{}", provider.name);
            assert!(provider.hosts.iter().all(|host| hosts.insert(host)), "{}", provider.name);
            let steps = provider.steps();
            assert!(steps.len() >= 5 && steps.iter().all(|step| step.ends_with('.')), "{steps:?}");
        }
        assert!(names.len() >= 10);
        assert!(DnsProvider::usual().steps()[0].starts_with("Where the domain's name servers are"));
    }

    #[test]
    fn records_are_entered_as_the_provider_wants_them() {
        let tokens = ["t1", "t2", "t3"].map(String::from);
        let records = Template::documented().records(&"acme.com".parse().unwrap(), &tokens, None);
        let of = |provider: &str, at: usize| {
            let provider = KNOWN.iter().find(|known| known.name == provider).unwrap();
            let Entered { host, value, priority } = provider.entered(&records[at]);
            format!("{host}|{value}|{}", priority.map(|number| number.to_string()).unwrap_or_default())
        };
        assert_eq!(of("Cloudflare", 0), "t1._domainkey|t1.dkim.amazonses.com|");
        assert_eq!(of("Cloudflare", 3), "@|smtp.inboxlayer.dev|10");
        assert_eq!(of("Cloudflare", 4), "@|v=spf1 include:amazonses.com ~all|");
        assert_eq!(of("Amazon Route 53", 3), "|10 smtp.inboxlayer.dev|");
        assert_eq!(of("Amazon Route 53", 4), "|\"v=spf1 include:amazonses.com ~all\"|");
        assert_eq!(of("Hetzner", 0), "t1._domainkey|t1.dkim.amazonses.com.|");
        assert_eq!(of("OVHcloud", 3), "|smtp.inboxlayer.dev.|10");
        assert_eq!(of("GoDaddy", 5), "_dmarc|v=DMARC1; p=none;|");
    }
}
