//! Trace fields: Return-Path, Received, and the authserv-id of Authentication-Results. Invariant: client text cannot
//! end a line or add a field. RFC 5321 §4.4 (trace), §4.1.3 (address literals), RFC 3848 (protocols), RFC 8601 §2.2
//! (authserv-id).

use crate::address::{Address, DomainName, ReversePath};
use crate::clock::Timestamp;
use std::net::IpAddr;

/// The maximum length of a domain, where an EHLO name is cut.
const LONGEST_HELO: usize = 255;

/// Data of the trace fields added at the MX: Return-Path and Received.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The envelope sender, for Return-Path.
    pub return_path: &'a ReversePath,
    /// The EHLO name. Untrusted text.
    pub helo: &'a str,
    pub client: IpAddr,
    pub hostname: &'a DomainName,
    /// `ESMTP`, `ESMTPS`, `SMTP`.
    pub protocol: &'a str,
    pub id: &'a str,
    /// The recipient, if there is only one.
    pub for_address: Option<&'a Address>,
    /// Real time.
    pub now: Timestamp,
}

/// The fields as octets, ending in CRLF, without line breaks from `helo`.
pub fn trace(with: &Trace<'_>) -> Vec<u8> {
    let mut out = format!("Return-Path: <{}>\r\n", with.return_path);
    let (helo, client) = (host_text(with.helo), literal(with.client));
    let (hostname, protocol, id) = (with.hostname, with.protocol, with.id);
    out += &format!("Received: from {helo} ({client})\r\n\tby {hostname} with {protocol} id {id}");
    if let Some(address) = with.for_address {
        out += &format!("\r\n\tfor <{address}>");
    }
    out += &format!(";\r\n\t{}\r\n", with.now.to_rfc5322());
    out.into_bytes()
}

/// The header block of a submitted message as stored for local recipients: it already has our Received field.
pub fn with_return_path(mail_from: &ReversePath, header: &[u8]) -> Vec<u8> {
    [format!("Return-Path: <{mail_from}>\r\n").as_bytes(), header].concat()
}

/// An IP address as an SMTP literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. An IPv4-mapped address is written as IPv4.
pub(super) fn literal(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// Replaces characters that are invalid in host names and address literals with `?`.
pub(super) fn host_text(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let shown: String = text.chars().take(LONGEST_HELO).map(|c| if safe(c) { c } else { '?' }).collect();
    if shown.is_empty() { "unknown".to_owned() } else { shown }
}

/// The authserv-id of an Authentication-Results field: its first word, without comments and quotes.
pub(super) fn authserv_id(value: &[u8]) -> Option<String> {
    let word = super::addresses::first_word(value)?;
    let text = std::str::from_utf8(word).ok()?;
    let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    Some(bare.replace('\\', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(helo: &str, client: &str) -> String {
        let hostname = DomainName::parse("smtp.inboxlayer.dev").unwrap();
        let path = ReversePath::parse("ann@x.org").unwrap();
        let to = Address::parse("me@inboxlayer.dev").unwrap();
        let trace = trace(&Trace {
            return_path: &path,
            helo,
            client: client.parse().unwrap(),
            hostname: &hostname,
            protocol: "ESMTPS",
            id: "in_1",
            for_address: Some(&to),
            now: Timestamp::from_millis(1_795_498_267_042),
        });
        String::from_utf8(trace).unwrap()
    }

    #[test]
    fn a_received_field_has_source_host_protocol_and_time() {
        assert_eq!(
            stamp("mail.x.org", "192.0.2.1"),
            "Return-Path: <ann@x.org>\r\n\
             Received: from mail.x.org ([192.0.2.1])\r\n\
             \tby smtp.inboxlayer.dev with ESMTPS id in_1\r\n\
             \tfor <me@inboxlayer.dev>;\r\n\
             \tTue, 24 Nov 2026 05:31:07 +0000\r\n"
        );
    }

    #[test]
    fn client_text_cannot_leave_its_clause() {
        let stamped = stamp("x\r\nFrom: ceo@bank.example (\"", "::ffff:192.0.2.1");
        assert!(stamped.contains("from x??From:?ceo?bank.example??? ([192.0.2.1])\r\n"), "{stamped}");
        assert!(stamp("", "2001:db8::1").contains("from unknown ([IPv6:2001:db8::1])"));
        assert!(stamp(&"a".repeat(70_000), "192.0.2.1").len() < 600);
    }

    #[test]
    fn the_authserv_id_is_the_first_word() {
        for (value, id) in [
            (" mx.x.org; spf=pass", Some("mx.x.org")),
            ("\r\n (note) mx.x.org 1;none", Some("mx.x.org")),
            (" \"mx.x.org\" ; none", Some("mx.x.org")),
            ("mx.x.org", Some("mx.x.org")),
            (" ;", None),
            ("", None),
        ] {
            assert_eq!(authserv_id(value.as_bytes()).as_deref(), id, "{value:?}");
        }
    }
}
