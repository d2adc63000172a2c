//! Records as a zone file for import at a DNS provider. Invariant: a name server reads exactly the values shown
//! elsewhere, whatever octets they contain; importing the file breaks nothing published, as of the last check. RFC
//! 1035 §5.1 (master files), §3.3 (strings of at most 255 octets).

use super::judge::{Code, RecordStatus};
use super::observed::RecordType;
use super::records::{Purpose, registered};
use super::report::DomainRecord;
use super::spf::{self, is_spf};
use super::tag_list::is_dmarc;
use crate::address::DomainName;
use std::fmt::Write;

/// Long enough to be cached, short enough to correct a typo within the hour.
const TTL: u32 = 3600;
/// Maximum octets of one string of a TXT record.
const STRING: usize = 255;

/// The records of a domain, relative to the registered domain. Records found valid are written as published; a record
/// that would conflict with another one is only a comment.
pub fn zone_file(domain: &DomainName, records: &[DomainRecord]) -> String {
    let origin = registered(domain).unwrap_or(domain.as_str());
    let mut file = format!(
        "; The records of {domain}. Import this file at your DNS provider, or type each record in there:\n\
         ; \"host\" is the name relative to the domain. Records that would conflict with existing ones are comments.\n\
         $ORIGIN {origin}.\n$TTL {TTL}\n"
    );
    for record in records {
        let (what, required) =
            (title(record.expected.purpose), if record.expected.required { ", required" } else { "" });
        // Writing to a string cannot fail.
        let _ = writeln!(file, "\n; {what}{required}. host: {}", record.expected.host_label);
        file.push_str(&entry(record));
    }
    file
}

fn entry(record: &DomainRecord) -> String {
    let line = |data: &str| format!("{} IN {} {data}\n", record.expected.host_label, record.expected.record_type);
    if record.status == RecordStatus::Valid {
        return match (&record.observed_name, standing(record)) {
            (Some(name), _) => comment(&format!("Nothing to publish: the record at {name} applies.")),
            (None, Some(data)) => line(&data),
            (None, None) => comment("Nothing to publish: the existing record is valid."),
        };
    }
    if !in_the_way(record) {
        let advice = advice(record.expected.purpose).filter(|_| !matches!(record.status, RecordStatus::Missing));
        return advice.map(comment).unwrap_or_default() + &line(&data(record, &record.expected.value));
    }
    let error = record.error.as_ref();
    let why = error.map(|error| comment(&format!("Not imported: {}.", error.message))).unwrap_or_default();
    match merged(record) {
        Some(merged) => {
            let introduction = comment("A name must have only one SPF record. Replace the existing ones by this one:");
            format!("{why}{introduction}; {}", line(&data(record, &merged)))
        }
        None => {
            let fix = error.map(|error| comment(&error.fix)).unwrap_or_default();
            format!("{why}{fix}; {}", line(&data(record, &record.expected.value)))
        }
    }
}

/// A comment line. Untrusted text in it cannot end the line or hide another.
fn comment(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c.is_alphanumeric() || c == '\u{2026}';
    format!("; {}\n", text.replace(|c| !is_plain(c), " "))
}

/// The data of a record with this value, in zone file format.
fn data(record: &DomainRecord, value: &str) -> String {
    match record.expected.record_type {
        RecordType::Txt => quoted(value),
        RecordType::Mx => format!("{} {value}.", record.expected.priority.unwrap_or_default()),
        _ => format!("{value}."),
    }
}

/// The data of a valid record as published, so that importing it changes nothing.
fn standing(record: &DomainRecord) -> Option<String> {
    let mut observed = record.observed.iter().map(String::as_str);
    match record.expected.record_type {
        RecordType::Txt => {
            let one = |text: &&str| match record.expected.purpose {
                Purpose::Spf | Purpose::ReturnPathSpf => is_spf(text),
                Purpose::Dmarc => is_dmarc(text),
                _ => text.trim() == record.expected.value,
            };
            observed.find(one).map(quoted)
        }
        // As displayed: preference and host.
        RecordType::Mx => {
            let ours = |text: &str| {
                text.split_once(' ').is_some_and(|(_, host)| host.eq_ignore_ascii_case(&record.expected.value))
            };
            observed.find(|text| ours(text)).map(|text| format!("{text}."))
        }
        _ => observed
            .find(|target| target.eq_ignore_ascii_case(&record.expected.value))
            .map(|target| format!("{target}.")),
    }
}

/// Existing records that this one would conflict with.
fn in_the_way(record: &DomainRecord) -> bool {
    let alias = record.error.as_ref().is_some_and(|error| error.code == Code::CnameAtApex);
    // Secrets of several claims may coexist.
    alias || (record.status == RecordStatus::Mismatch && record.expected.purpose != Purpose::Ownership)
}

/// One SPF record merged from the existing ones and ours.
fn merged(record: &DomainRecord) -> Option<String> {
    let readable = |text: &&str| is_spf(text) && spf::Record::parse(text).is_ok();
    let found: Vec<&str> = record.observed.iter().map(String::as_str).filter(readable).collect();
    (record.expected.record_type == RecordType::Txt && !found.is_empty())
        .then(|| spf::merge(&found, &record.expected.value))
}

fn title(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Dkim => "DKIM, the key that signs your mail",
        Purpose::Mx => "MX, directs mail to your inboxes",
        Purpose::Spf => "SPF, lets our servers send",
        Purpose::Dmarc => "DMARC, what receivers do with forgeries",
        Purpose::Ownership => "Ownership, proves whose name it is",
        Purpose::ReturnPath | Purpose::ReturnPathSpf => "Return path, where bounces come back to",
    }
}

/// What to check before a record is added to existing ones.
fn advice(purpose: Purpose) -> Option<&'static str> {
    match purpose {
        Purpose::Mx => Some("Delete the MX records of another mail service at this name, or leave this one out."),
        Purpose::Spf => Some("A name must have only one SPF record: if there is one, add the terms of this one to it."),
        Purpose::Dmarc => Some("If there is a DMARC record already, keep that."),
        Purpose::Dkim | Purpose::Ownership | Purpose::ReturnPath | Purpose::ReturnPathSpf => None,
    }
}

/// Text as quoted strings of a TXT record, each at most 255 octets.
pub fn quoted(text: &str) -> String {
    let string = |part: &[u8]| {
        let mut quoted = String::from("\"");
        for octet in part {
            match octet {
                b'"' | b'\\' => quoted.extend(['\\', char::from(*octet)]),
                b' '..=b'~' => quoted.push(char::from(*octet)),
                // RFC 1035 §5.1: \DDD is the octet with that decimal value.
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
    use crate::clock::Timestamp;
    use crate::verification::judge::{Evidence, RecordError};
    use crate::verification::records::{Expected, Template};
    use RecordStatus::{Mismatch, Missing, Unknown, Valid};

    fn records(domain: &str, spf: &str) -> Vec<Expected> {
        let template = Template { spf: spf.into(), ..Template::documented() };
        template.records(&domain.parse().unwrap(), &["t1", "t2", "t3"].map(String::from), Some("s3cret"))
    }

    fn file(domain: &str, spf: &str) -> String {
        let records: Vec<_> = records(domain, spf).iter().map(|expected| DomainRecord::of(expected, None)).collect();
        zone_file(&domain.parse().unwrap(), &records)
    }

    /// The lines for a record of acme.com in this state, below its title.
    fn found(position: usize, status: RecordStatus, observed: &[&str], error: Option<RecordError>) -> Vec<String> {
        let observed = observed.iter().map(|text| (*text).to_owned()).collect();
        let evidence = Evidence { status, observed, error, ..Evidence::default() };
        let expected = &records("acme.com", "v=spf1 include:amazonses.com ~all")[position];
        let record = DomainRecord::of(expected, Some((&evidence, Timestamp::real())));
        entry(&record).lines().map(str::to_owned).collect()
    }

    fn error(code: Code, message: &str, fix: &str) -> Option<RecordError> {
        Some(
            serde_json::from_value(serde_json::json!({"code": code, "message": message, "fix": fix, "step": ""}))
                .unwrap(),
        )
    }

    #[test]
    fn untrusted_text_cannot_end_a_comment() {
        let evil = "v=spf1 \r\n@ IN TXT evil\u{2028}\u{202e}\u{1b}[2J\u{9b}2J";
        let lines =
            found(4, Mismatch, &[evil], error(Code::SpfSyntax, &format!("{evil} is there"), &format!("Delete {evil}")));
        assert!(lines.iter().all(|line| line.starts_with("; ")), "{lines:?}");
        assert!(lines.concat().chars().all(|c| (' '..='~').contains(&c)), "{lines:?}");
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
                "_inboxlayer.mail IN TXT \"s3cret\"",
            ]
        );
        assert!(
            file.contains("\n; DKIM, the key that signs your mail, required. host: t1._domainkey.mail\n"),
            "{file}"
        );
    }

    #[test]
    fn conflicting_records_are_comments_and_valid_ones_are_unchanged() {
        let other = error(Code::MxOtherHosts, "mail goes to aspmx.l.google.com,\nnot here", "Leave it to send only");
        let lines = found(3, Mismatch, &["1 aspmx.l.google.com"], other);
        assert_eq!(
            lines,
            [
                "; Not imported: mail goes to aspmx.l.google.com, not here.",
                "; Leave it to send only",
                "; @ IN MX 10 smtp.inboxlayer.dev."
            ]
        );
        let texts = ["site=1", "v=spf1 include:_spf.google.com -all"];
        let lines = found(4, Mismatch, &texts, error(Code::SpfMissingInclude, "m", "f"));
        assert!(lines.iter().all(|line| line.starts_with("; ")), "{lines:?}");
        let merged = "; @ IN TXT \"v=spf1 include:_spf.google.com include:amazonses.com -all\"";
        assert_eq!(lines.last().unwrap(), merged);
        let lines = found(5, Mismatch, &["v=DMARC1; p=maybe"], error(Code::DmarcInvalid, "m", "Change it"));
        assert!(lines[1] == "; Change it" && lines.iter().all(|line| line.starts_with("; ")), "{lines:?}");
        let lines = found(0, Mismatch, &["elsewhere.example"], error(Code::WrongValue, "m", "f"));
        assert_eq!(lines[2], "; t1._domainkey IN CNAME t1.dkim.amazonses.com.");
        let lines = found(4, Missing, &[], error(Code::CnameAtApex, "m", "f"));
        assert!(lines.iter().all(|line| line.starts_with("; ")), "{lines:?}");

        // Already valid: importing it changes nothing.
        let both = ["5 smtp.inboxlayer.dev", "20 backup.example"];
        assert_eq!(found(3, Valid, &both, error(Code::MxOtherHosts, "m", "f")), ["@ IN MX 5 smtp.inboxlayer.dev."]);
        let wider = ["site=1", "v=spf1 include:amazonses.com include:_spf.google.com ~all"];
        assert_eq!(found(4, Valid, &wider, None), [format!("@ IN TXT \"{}\"", wider[1])]);
        assert_eq!(
            found(0, Valid, &["t1.dkim.amazonses.com"], None),
            ["t1._domainkey IN CNAME t1.dkim.amazonses.com."]
        );
        assert_eq!(found(0, Valid, &["hop.example"], None), ["; Nothing to publish: the existing record is valid."]);

        // No record there, or unknown.
        let lines = found(4, Missing, &["site=1"], error(Code::Missing, "m", "f"));
        assert_eq!(lines, ["@ IN TXT \"v=spf1 include:amazonses.com ~all\""]);
        assert!(found(4, Unknown, &[], None)[0].starts_with("; A name must have only one SPF record"));
        assert_eq!(
            found(6, Mismatch, &["s3cre"], error(Code::TxtTruncated, "m", "f")),
            ["_inboxlayer IN TXT \"s3cret\""]
        );
    }

    #[test]
    fn long_texts_are_split_into_strings_and_escaped() {
        let long = quoted(&"A".repeat(300));
        assert_eq!(long, format!("\"{}\" \"{}\"", "A".repeat(255), "A".repeat(45)));
        assert_eq!(quoted("a\"b\\c;\n\u{e9}"), "\"a\\\"b\\\\c;\\010\\195\\169\"");
        assert_eq!(quoted(""), "\"\"");
        assert!(file("acme.com", "v=spf1\n@ IN A 1.2.3.4").contains("\n@ IN TXT \"v=spf1\\010@ IN A 1.2.3.4\"\n"));
    }
}
