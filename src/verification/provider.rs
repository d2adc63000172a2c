//! A mail set-up that a domain has already: who runs it, and what changing the MX records would do to it.
//!
//! Invariant: pure, and careful: a set-up is named only by host names that its provider publishes for that; what is not
//! known is shown by its hosts, never guessed.

/// A provider of mailboxes, or of a filter before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// As people know it.
    pub name: &'static str,
    /// It passes mail on to mailboxes elsewhere.
    pub filter: bool,
}

/// Where the domain's mail goes now, and what to know before its MX records are changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Existing {
    /// Who runs it, where it is recognised.
    pub provider: Option<&'static str>,
    /// The hosts that take the domain's mail now.
    pub hosts: Vec<String>,
    /// What changing the MX records would do.
    pub warning: String,
    /// A name to claim instead, which leaves the mailboxes at the domain itself as they are.
    pub subdomain: String,
}

/// A provider; the ends of its exchangers' names; the names that its customers include in their SPF records.
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

/// Who runs the mail of a domain with these exchangers and this SPF record. The exchangers say more: SPF decides only
/// where they say nothing.
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

/// A name to receive at beside the mail that `domain` has: a subdomain of what is registered, and never itself.
pub fn beside(domain: &str, registered: &str) -> String {
    let label = if domain.strip_prefix("mail.") == Some(registered) { "inbox" } else { "mail" };
    format!("{label}.{registered}")
}

impl Existing {
    /// What to tell the owner of `domain`, under what is `registered`, before mail is led to `our_host`. `None` where that
    /// is where it goes already, and where nothing else takes it or seems to.
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
            // SPF says who sends, and not where mailboxes are.
            (None, Some(Provider { name, .. }), false) => (
                format!(
                    "mail to {domain} is taken by {} now, and {domain} seems to use {name}, which its SPF record names.",
                    hosts.join(", ")
                ),
                None,
            ),
            (None, None, false) => (format!("mail to {domain} is taken by {} now.", hosts.join(", ")), None),
            // A null MX record says that it takes none.
            (None, Some(Provider { name, .. }), true) if mx.is_empty() => {
                (format!("{domain} has no MX record now, but seems to use {name}, which its SPF record names."), by_spf)
            }
            (None, _, true) => return None,
        };
        let subdomain = beside(domain, registered);
        let warning = format!(
            "{now} Once its MX record leads to {our_host}, new mail comes here and no longer there: addresses that exist only \
             there will bounce. Sending needs no MX record: leave it as it is to send only. To receive here beside the \
             mailboxes you have, claim {subdomain} instead."
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
    fn set_ups_are_recognised_by_their_exchangers() {
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
        // The end of a name is not the end of a label.
        assert_eq!(name(&["mx.notgoogle.com"], None), None);
        assert_eq!(name(&[], None), None);
    }

    #[test]
    fn spf_decides_where_the_exchangers_say_nothing() {
        assert_eq!(name(&[], Some("v=spf1 include:_spf.google.com ~all")), Some("Google Workspace"));
        assert_eq!(name(&[], Some("v=spf1 redirect=_spf.yandex.net")), Some("Yandex 360"));
        assert_eq!(name(&[], Some("v=spf1 include:amazonses.com ~all")), None);
        assert_eq!(name(&["mx01.mail.icloud.com"], Some("v=spf1 include:_spf.google.com ~all")), Some("iCloud Mail"));
    }

    #[test]
    fn the_name_to_receive_at_beside_is_another_one() {
        assert_eq!(beside("acme.co.uk", "acme.co.uk"), "mail.acme.co.uk");
        assert_eq!(beside("shop.acme.com", "acme.com"), "mail.acme.com");
        assert_eq!(beside("mail.acme.com", "acme.com"), "inbox.acme.com");
    }

    #[test]
    fn the_warning_says_what_will_happen_and_offers_a_subdomain() {
        let ours = "smtp.inboxlayer.dev";
        let of = |mx: &[(u16, &str)], spf| Existing::of("acme.com", "acme.com", ours, mx, spf);
        let google = of(&[(1, "aspmx.l.google.com.")], None).unwrap();
        assert_eq!((google.subdomain.as_str(), google.provider), ("mail.acme.com", Some("Google Workspace")));
        assert!(
            google
                .warning
                .starts_with("acme.com has its mailboxes at Google Workspace now. Once its MX record leads to")
        );
        let other = of(&[(5, "mx1.acme.com"), (10, ours)], None).unwrap();
        assert!(other.warning.starts_with("mail to acme.com is taken by mx1.acme.com now."), "{}", other.warning);
        assert_eq!(of(&[(10, "smtp.inboxlayer.dev.")], None), None);
        assert_eq!(of(&[(0, ".")], None), None);
        assert_eq!(of(&[], None), None);
        // Who comes after us takes no mail that we do not leave to them.
        assert_eq!(of(&[(1, ours), (5, "aspmx.l.google.com")], None), None);
    }

    #[test]
    fn what_spf_says_is_said_with_care() {
        let google = Some("v=spf1 include:_spf.google.com ~all");
        let of = |mx: &[(u16, &str)]| Existing::of("shop.acme.com", "acme.com", "smtp.inboxlayer.dev", mx, google);
        let own = of(&[(5, "mx1.acme.com")]).unwrap();
        assert_eq!(own.provider, None);
        assert!(
            own.warning.starts_with(
                "mail to shop.acme.com is taken by mx1.acme.com now, and shop.acme.com seems to use Google Workspace"
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
