//! Records as a zone file: what an owner imports at the DNS provider instead of typing it.
//!
//! Invariant: a zone's server reads exactly the values that are shown elsewhere, whatever octets they hold. RFC 1035 §5.1
//! (master files), §3.3 (strings of at most 255 octets).

use super::observed::RecordType;
use super::records::{Expected, Purpose, registered};
use crate::address::DomainName;
use std::fmt::Write;

/// Long enough to be cached, short enough to mend a typo within the hour.
const TTL: u32 = 3600;
/// Octets of one string of a TXT record.
const STRING: usize = 255;

/// The records of a domain, relative to the domain that is registered: host labels as a panel asks for them.
pub fn zone_file(domain: &DomainName, records: &[Expected]) -> String {
    let origin = registered(domain).unwrap_or(domain.as_str());
    let mut file = format!(
        "; The records of {domain}. Import this file at your DNS provider, or type each record in there:\n\
         ; \"host\" is what a panel asks for beside the domain.\n\
         $ORIGIN {origin}.\n$TTL {TTL}\n"
    );
    for record in records {
        let (what, required) = (title(record.purpose), if record.required { ", required" } else { "" });
        let data = match record.record_type {
            RecordType::Txt => quoted(&record.value),
            RecordType::Mx => format!("{} {}.", record.priority.unwrap_or_default(), record.value),
            _ => format!("{}.", record.value),
        };
        let (host, record_type) = (&record.host_label, record.record_type);
        // Writing to a string does not fail.
        let _ = writeln!(file, "\n; {what}{required}. host: {host}");
        if let Some(advice) = advice(record.purpose) {
            let _ = writeln!(file, "; {advice}");
        }
        let _ = writeln!(file, "{host} IN {record_type} {data}");
    }
    file
}

fn title(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Dkim => "DKIM, the key that signs your mail",
        Purpose::Mx => "MX, leads mail to your inboxes",
        Purpose::Spf => "SPF, lets our servers send",
        Purpose::Dmarc => "DMARC, what receivers do with forgeries",
        Purpose::Ownership => "Ownership, shows whose the name is",
        Purpose::ReturnPath => "Return path, where bounces come back to",
    }
}

/// What to look at before a record is added to those that stand there.
fn advice(purpose: Purpose) -> Option<&'static str> {
    match purpose {
        Purpose::Mx => Some("Delete the MX records of another mail service at this name, or leave this one out."),
        Purpose::Spf => Some("Never two SPF records at a name: if there is one, add what this one includes to it."),
        Purpose::Dmarc => Some("If there is a DMARC record already, keep that."),
        Purpose::Dkim | Purpose::Ownership | Purpose::ReturnPath => None,
    }
}

/// A text as the strings of a TXT record, each at most 255 octets, quoted.
pub fn quoted(text: &str) -> String {
    let string = |part: &[u8]| {
        let mut quoted = String::from("\"");
        for octet in part {
            match octet {
                b'"' | b'\\' => quoted.extend(['\\', char::from(*octet)]),
                b' '..=b'~' => quoted.push(char::from(*octet)),
                // RFC 1035 §5.1: \DDD is the octet of that decimal number.
                _ => quoted.push_str(&format!("\\{octet:03}")),
            }
        }
        quoted.push('"');
        quoted
    };
    match text.as_bytes() {
        [] => string(b""),
        octets => octets.chunks(STRING).map(string).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::records::Template;

    fn file(domain: &str, spf: &str) -> String {
        let template = Template {
            dkim_zone: "dkim.amazonses.com".parse().unwrap(),
            mx_host: "smtp.inboxlayer.dev".parse().unwrap(),
            mx_priority: 10,
            spf: spf.into(),
            dmarc: "v=DMARC1; p=none;".into(),
            required: vec![Purpose::Dkim],
        };
        let domain = domain.parse().unwrap();
        zone_file(&domain, &template.records(&domain, &["t1", "t2", "t3"].map(String::from), None))
    }

    #[test]
    fn a_zone_file_has_an_origin_dots_and_quotes() {
        let file = file("mail.acme.co.uk", "v=spf1 include:amazonses.com ~all");
        let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "$ORIGIN acme.co.uk.",
                "$TTL 3600",
                "t1._domainkey.mail IN CNAME t1.dkim.amazonses.com.",
                "t2._domainkey.mail IN CNAME t2.dkim.amazonses.com.",
                "t3._domainkey.mail IN CNAME t3.dkim.amazonses.com.",
                "mail IN MX 10 smtp.inboxlayer.dev.",
                "mail IN TXT \"v=spf1 include:amazonses.com ~all\"",
                "_dmarc.mail IN TXT \"v=DMARC1; p=none;\"",
            ]
        );
        assert!(
            file.contains("\n; DKIM, the key that signs your mail, required. host: t1._domainkey.mail\n"),
            "{file}"
        );
    }

    #[test]
    fn long_texts_stand_in_several_strings_and_no_octet_ends_one() {
        let long = quoted(&"A".repeat(300));
        assert_eq!(long, format!("\"{}\" \"{}\"", "A".repeat(255), "A".repeat(45)));
        assert_eq!(quoted("a\"b\\c;\n\u{e9}"), "\"a\\\"b\\\\c;\\010\\195\\169\"");
        assert_eq!(quoted(""), "\"\"");
        assert!(file("acme.com", "v=spf1\n@ IN A 1.2.3.4").contains("\n@ IN TXT \"v=spf1\\010@ IN A 1.2.3.4\"\n"));
    }
}
