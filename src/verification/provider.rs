//! Recognises an existing mail service of a domain, and the effect of changing the MX records. Invariant: pure and
//! careful: a service is named only by host names that its provider publishes; an unknown one is shown by its hosts,
//! never guessed.

/// A provider of mailboxes or of a mail filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its common name.
    pub name: &'static str,
    /// It forwards mail to mailboxes elsewhere.
    pub filter: bool,
}

/// The current mail service of a domain, and what to know before its MX records are changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Existing {
    /// The provider, if recognised.
    pub provider: Option<&'static str>,
    /// The current MX hosts.
    pub hosts: Vec<String>,
    /// The effect of changing the MX records.
    pub warning: String,
    /// A name to claim instead that leaves existing mailboxes as they are.
    pub subdomain: String,
}

/// Name; whether it is a filter; suffixes of its MX hosts; names that its customers include in their SPF records.
type Known = (&'static str, bool, &'static [&'static str], &'static [&'static str]);

const KNOWN: &[Known] = &[
    ("Google Workspace", false, &["google.com", "googlemail.com"], &["_spf.google.com"]),
    (
        "Microsoft 365",
        false,
        &["mail.protection.outlook.com", "mx.microsoft", "mail.protection.partner.outlook.cn"],
        &["spf.protection.outlook.com", "spf.protection.partner.outlook.cn"],
    ),
    (
        "Zoho Mail",
        false,
        &[
            "mx.zoho.com",
            "mx2.zoho.com",
            "mx3.zoho.com",
            "mx.zoho.eu",
            "mx2.zoho.eu",
            "mx3.zoho.eu",
            "mx.zoho.in",
            "mx2.zoho.in",
            "mx3.zoho.in",
            "mx.zoho.com.au",
            "mx2.zoho.com.au",
            "mx3.zoho.com.au",
        ],
        &["zoho.com", "zohomail.com", "zoho.eu", "zoho.in", "zohomail.eu", "one.zoho.com"],
    ),
    ("Fastmail", false, &["messagingengine.com"], &["spf.messagingengine.com"]),
    ("Proton Mail", false, &["protonmail.ch"], &["_spf.protonmail.ch"]),
    ("iCloud Mail", false, &["mail.icloud.com"], &["icloud.com"]),
    ("Yandex 360", false, &["mx.yandex.net", "mx.yandex.ru"], &["_spf.yandex.net", "_spf.yandex.ru"]),
    (
        "Amazon WorkMail",
        false,
        &[
            "inbound-smtp.us-east-1.amazonaws.com",
            "inbound-smtp.us-west-2.amazonaws.com",
            "inbound-smtp.eu-west-1.amazonaws.com",
        ],
        &[],
    ),
    ("Cloudflare Email Routing", true, &["mx.cloudflare.net"], &["_spf.mx.cloudflare.net"]),
    ("Mimecast", true, &["mimecast.com", "mimecast.co.za"], &["_netblocks.mimecast.com"]),
    ("Proofpoint", true, &["pphosted.com", "ppe-hosted.com"], &["spf-us.ppe-hosted.com", "spf-eu.ppe-hosted.com"]),
    ("Barracuda", true, &["ess.barracudanetworks.com"], &["spf.ess.barracudanetworks.com"]),
    ("ImprovMX", true, &["improvmx.com"], &["spf.improvmx.com"]),
    ("Forward Email", true, &["forwardemail.net"], &["spf.forwardemail.net"]),
    ("Migadu", false, &["migadu.com"], &["spf.migadu.com"]),
    ("Mailbox.org", false, &["mailbox.org"], &["mailbox.org"]),
    ("Mail.ru", false, &["emx.mail.ru"], &["_spf.mail.ru"]),
    ("Rackspace Email", false, &["emailsrvr.com"], &["emailsrvr.com"]),
    ("GoDaddy Email", false, &["secureserver.net"], &["secureserver.net"]),
    ("Namecheap Private Email", false, &["privateemail.com"], &["spf.privateemail.com"]),
    (
        "IONOS",
        false,
        &["mx00.ionos.com", "mx01.ionos.com", "kundenserver.de", "mx00.ionos.de", "mx01.ionos.de"],
        &["_spf-us.ionos.com", "_spf-eu.ionos.com", "_spf.kundenserver.de"],
    ),
    ("OVHcloud", false, &["mail.ovh.net", "mail.ovh.ca"], &["mx.ovh.com"]),
    ("Gandi Mail", false, &["mail.gandi.net"], &["_mailcust.gandi.net"]),
    ("Hostinger", false, &["hostinger.com"], &["_spf.mail.hostinger.com"]),
    ("Titan", false, &["titan.email"], &["spf.titan.email"]),
];

/// The mail service of a domain with these MX hosts and this SPF record. SPF is used only if the hosts are not
/// recognised.
pub fn recognise<H: AsRef<str>>(mx: &[H], spf: Option<&str>) -> Option<Provider> {
    let provider = |(name, filter, ..): &Known| Provider { name, filter: *filter };
    let by_mx = KNOWN
        .iter()
        .find(|(_, _, hosts, _)| mx.iter().any(|host| hosts.iter().any(|known| is_or_is_below(host.as_ref(), known))));
    let by_spf = || {
        let names: Vec<&str> =
            spf.into_iter().flat_map(|record| record.split_ascii_whitespace()).filter_map(included).collect();
        KNOWN.iter().find(|(_, _, _, known)| names.iter().any(|n| known.iter().any(|k| n.eq_ignore_ascii_case(k))))
    };
    by_mx.or_else(by_spf).map(provider)
}

/// A name for receiving beside existing mail: a subdomain of the registered domain.
pub fn beside(domain: &str, registered: &str) -> String {
    let label = if domain.strip_prefix("mail.") == Some(registered) { "inbox" } else { "mail" };
    format!("{label}.{registered}")
}

impl Existing {
    /// The warning for the owner of `domain` (under `registered`) before mail is directed to `our_host`. `None` if
    /// mail already goes there, or if there is no other mail service.
    pub fn of(domain: &str, registered: &str, our_host: &str, mx: &[(u16, &str)], spf: Option<&str>) -> Option<Self> {
        let host = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
        let best = mx.iter().map(|(preference, _)| *preference).min();
        if mx.iter().any(|(preference, name)| Some(*preference) == best && host(name) == our_host) {
            return None;
        }
        let hosts: Vec<String> =
            mx.iter().map(|(_, name)| host(name)).filter(|h| !h.is_empty() && h != our_host).collect();
        let (by_mx, by_spf) = (recognise(&hosts, None), recognise::<&str>(&[], spf));
        let (now, provider) = match (by_mx, by_spf, hosts.is_empty()) {
            (Some(Provider { name, filter: false }), ..) => {
                (format!("{domain} has its mailboxes at {name} now."), by_mx)
            }
            (Some(Provider { name, filter: true }), ..) => {
                (format!("mail to {domain} goes through {name} now."), by_mx)
            }
            // SPF shows senders, not mailboxes.
            (None, Some(Provider { name, .. }), false) => (
                format!(
                    "mail to {domain} is received by {} now, and {domain} seems to use {name}, which its SPF record names.",
                    hosts.join(", ")
                ),
                None,
            ),
            (None, None, false) => (format!("mail to {domain} is received by {} now.", hosts.join(", ")), None),
            // A null MX means that no mail is accepted.
            (None, Some(Provider { name, .. }), true) if mx.is_empty() => {
                (format!("{domain} has no MX record now, but seems to use {name}, which its SPF record names."), by_spf)
            }
            (None, _, true) => return None,
        };
        let subdomain = beside(domain, registered);
        let warning = format!(
            "{now} Once its MX record points to {our_host}, new mail comes here and no longer there: addresses that exist only \
             there will bounce. Sending needs no MX record: leave it unchanged to send only. To receive here without changing the \
             existing mailboxes, claim {subdomain} instead."
        );
        Some(Self { provider: provider.map(|p| p.name), hosts, warning, subdomain })
    }
}

fn included(term: &str) -> Option<&str> {
    let (name, domain) = term.split_once([':', '='])?;
    let name = name.trim_start_matches(['+', '-', '~', '?']);
    let leads = name.eq_ignore_ascii_case("include") || name.eq_ignore_ascii_case("redirect");
    leads.then(|| domain.trim_end_matches('.'))
}

fn is_or_is_below(host: &str, known: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(mx: &[&str], spf: Option<&str>) -> Option<&'static str> {
        recognise(mx, spf).map(|provider| provider.name)
    }

    #[test]
    fn mail_services_are_recognised_by_their_mx_hosts() {
        for (host, provider) in [
            ("aspmx.l.google.com", "Google Workspace"),
            ("SMTP.google.com.", "Google Workspace"),
            ("alt2.aspmx.l.google.com", "Google Workspace"),
            ("acme-com.mail.protection.outlook.com", "Microsoft 365"),
            ("acme-com.p-v1.mx.microsoft", "Microsoft 365"),
            ("mx2.zoho.eu", "Zoho Mail"),
            ("in1-smtp.messagingengine.com", "Fastmail"),
            ("mailsec.protonmail.ch", "Proton Mail"),
            ("mx01.mail.icloud.com", "iCloud Mail"),
            ("mx.yandex.net", "Yandex 360"),
            ("inbound-smtp.eu-west-1.amazonaws.com", "Amazon WorkMail"),
            ("isaac.mx.cloudflare.net", "Cloudflare Email Routing"),
            ("us-smtp-inbound-1.mimecast.com", "Mimecast"),
            ("mx0a-001b2d01.pphosted.com", "Proofpoint"),
        ] {
            assert_eq!(name(&[host], None), Some(provider), "{host}");
        }
        assert_eq!(name(&["mx.acme.example"], None), None);
        // A suffix has to match complete labels.
        assert_eq!(name(&["mx.notgoogle.com"], None), None);
        assert_eq!(name(&[], None), None);
    }

    #[test]
    fn spf_is_used_if_the_mx_hosts_are_unknown() {
        assert_eq!(name(&[], Some("v=spf1 include:_spf.google.com ~all")), Some("Google Workspace"));
        assert_eq!(name(&[], Some("v=spf1 redirect=_spf.yandex.net")), Some("Yandex 360"));
        assert_eq!(name(&[], Some("v=spf1 include:amazonses.com ~all")), None);
        assert_eq!(name(&["mx01.mail.icloud.com"], Some("v=spf1 include:_spf.google.com ~all")), Some("iCloud Mail"));
    }

    #[test]
    fn the_suggested_name_is_different() {
        assert_eq!(beside("acme.co.uk", "acme.co.uk"), "mail.acme.co.uk");
        assert_eq!(beside("shop.acme.com", "acme.com"), "mail.acme.com");
        assert_eq!(beside("mail.acme.com", "acme.com"), "inbox.acme.com");
    }

    #[test]
    fn the_warning_has_the_effect_and_suggests_a_subdomain() {
        let ours = "smtp.inboxlayer.dev";
        let of = |mx: &[(u16, &str)], spf| Existing::of("acme.com", "acme.com", ours, mx, spf);
        let google = of(&[(1, "aspmx.l.google.com.")], None).unwrap();
        assert_eq!((google.subdomain.as_str(), google.provider), ("mail.acme.com", Some("Google Workspace")));
        assert!(
            google
                .warning
                .starts_with("acme.com has its mailboxes at Google Workspace now. Once its MX record points to")
        );
        let other = of(&[(5, "mx1.acme.com"), (10, ours)], None).unwrap();
        assert!(other.warning.starts_with("mail to acme.com is received by mx1.acme.com now."), "{}", other.warning);
        assert_eq!(of(&[(10, "smtp.inboxlayer.dev.")], None), None);
        assert_eq!(of(&[(0, ".")], None), None);
        assert_eq!(of(&[], None), None);
        // Hosts with lower priority than ours receive nothing regularly.
        assert_eq!(of(&[(1, ours), (5, "aspmx.l.google.com")], None), None);
    }

    #[test]
    fn spf_evidence_is_worded_with_care() {
        let google = Some("v=spf1 include:_spf.google.com ~all");
        let of = |mx: &[(u16, &str)]| Existing::of("shop.acme.com", "acme.com", "smtp.inboxlayer.dev", mx, google);
        let own = of(&[(5, "mx1.acme.com")]).unwrap();
        assert_eq!(own.provider, None);
        assert!(
            own.warning.starts_with(
                "mail to shop.acme.com is received by mx1.acme.com now, and shop.acme.com seems to use Google Workspace"
            ),
            "{}",
            own.warning
        );
        let none = of(&[]).unwrap();
        assert!(none.warning.starts_with("shop.acme.com has no MX record now, but seems to use"), "{}", none.warning);
        assert_eq!((none.provider, none.subdomain.as_str()), (Some("Google Workspace"), "mail.acme.com"));
        assert_eq!(of(&[(0, ".")]), None);
    }
}
