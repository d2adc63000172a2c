//! Complete messages, rule by rule and by golden files. Invariant: an independent parser agrees with the result. RFC
//! 5322, RFC 3464.

use super::*;
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::DomainId;
use crate::identity::{Choice, Claim, Fallback, SendIdentity, VerifiedDomain};
use crate::verification::status::{OnUnverified, VerifiedStatus};

/// A sender: inbox `acme-support` with the alias `support` at acme.com.
pub(super) struct Sender {
    message: Submitted,
    aliases: Vec<String>,
    domains: Vec<DomainName>,
    platform: DomainName,
    hostname: DomainName,
}

pub(super) fn domain(name: &str) -> DomainName {
    DomainName::parse(name).unwrap()
}

fn sender(identity: SendIdentity, fallback: Option<Fallback>) -> Sender {
    let aliases = if identity.custom_domain().is_some() { vec!["support".to_owned()] } else { vec![] };
    Sender {
        message: Submitted {
            choice: Choice { identity, fallback },
            inbox: InboxName::parse("acme-support").unwrap(),
            queue_id: "sub_1".into(),
            protocol: "ESMTPSA".into(),
            client: None,
            arrived_at: Timestamp::from_millis(1_795_498_267_042),
        },
        aliases,
        domains: vec![domain("inboxlayer.dev"), domain("acme.com"), domain("acme.org")],
        platform: domain("inboxlayer.dev"),
        hostname: domain("smtp.inboxlayer.dev"),
    }
}

/// Logged in as `acme-support@acme.com`, which is verified.
pub(super) fn verified() -> Sender {
    let claim = Claim {
        id: DomainId::new(),
        name: domain("acme.com"),
        status: VerifiedStatus::Verified,
        on_unverified: OnUnverified::Fallback,
    };
    let local = Address::parse("acme-support@acme.com").unwrap().local;
    sender(SendIdentity::Custom { local, domain: VerifiedDomain::of(&claim).unwrap() }, None)
}

/// Logged in as `acme-support@acme.com`, which is pending.
pub(super) fn pending() -> Sender {
    let fallback = Fallback {
        from: Address::parse("acme-support@acme.com").unwrap(),
        reason: VerifiedStatus::Pending,
        on_unverified: OnUnverified::Fallback,
    };
    let address = Address::parse("acme-support@inboxlayer.dev").unwrap();
    sender(SendIdentity::Platform { address }, Some(fallback))
}

pub(super) fn send(header: &[u8], sender: &Sender) -> (Vec<u8>, Address) {
    outgoing(
        header,
        &Outgoing {
            message: &sender.message,
            aliases: &sender.aliases,
            own_domains: &sender.domains,
            platform: &sender.platform,
            hostname: &sender.hostname,
        },
    )
}

pub(super) const RECEIVED: &str =
    "Received: by smtp.inboxlayer.dev with ESMTPSA id sub_1;\r\n\tTue, 24 Nov 2026 05:31:07 +0000\r\n";
pub(super) const DATE: &str = "Date: Tue, 24 Nov 2026 05:31:07 +0000\r\n";

/// The outgoing From field, without the lines after it, and the returned address.
fn from_of(header: &str, sender: &Sender) -> (String, String) {
    let (out, address) = send(format!("{header}X-After: 1\r\n").as_bytes(), sender);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix(RECEIVED).unwrap();
    (text.split_once("X-After").unwrap().0.to_owned(), address.to_string())
}

#[test]
fn a_from_of_the_sender_at_the_identitys_domain_stays_byte_for_byte() {
    for from in [
        "From: acme-support@acme.com\r\n",
        "FROM:Ann <ACME-Support+news@Acme.COM>\r\n",
        "From :\r\n \"Ann, Lee\"\r\n\t<support@acme.com> (help)\r\n",
        "From: =?utf-8?Q?J=C3=A4n?= <support+a+b@acme.com>\r\n",
    ] {
        let (out, address) = from_of(from, &verified());
        assert_eq!(out, from);
        assert!(out.to_ascii_lowercase().contains(&address.to_ascii_lowercase()), "{address}");
    }
}

#[test]
fn any_other_from_becomes_the_identity_under_the_name_given() {
    for (from, name) in [
        ("From: ann@x.org\r\n", ""),
        ("From: Ann <acme-support@acme.org>\r\n", "Ann "),
        ("From: \"Ann, Lee\" <support@inboxlayer.dev>\r\n", "\"Ann, Lee\" "),
        ("From: Ann <ann@x.org>, Bob <acme-support+x@acme.com>\r\n", "Ann "),
        ("From: Team: Ann <acme-support+x@acme.com>;\r\n", "Ann "),
        ("From: Ann <acme-support+x@acme.com>\r\nFrom: Ann <acme-support+x@acme.com>\r\n", "Ann "),
        ("From: broken\r\nFROM : Bob <b@x.org>\r\n", "Bob "),
        ("From: broken <\r\n", ""),
        ("From:\r\n", ""),
        ("From: undisclosed:;\r\n", ""),
        ("From: Ann <acme-support@acme.com.evil.example>\r\n", "Ann "),
        ("From: Ann <acme-support-x@acme.com>\r\n", "Ann "),
    ] {
        let (out, address) = from_of(from, &verified());
        assert_eq!(out, format!("From: {name}<acme-support@acme.com>\r\n"), "{from:?}");
        assert_eq!(address, "acme-support@acme.com");
    }
}

#[test]
fn an_own_address_in_odd_syntax_is_normalized() {
    for (from, out) in [
        ("From: , Ann <support+x@acme.com>\r\n", "From: Ann <support+x@acme.com>\r\n"),
        ("From: \"support\"@acme.com\r\n", "From: <support@acme.com>\r\n"),
        ("From: support@acme.com.\r\n", "From: <support@acme.com>\r\n"),
        ("From: =?utf-8?Q?Ann <support@acme.com>\r\n", "From: <support@acme.com>\r\n"),
        ("From: ceo@bank.example <support@acme.com>\r\n", "From: \"ceo@bank.example\" <support@acme.com>\r\n"),
    ] {
        assert_eq!(from_of(from, &verified()).0, out, "{from:?}");
    }
}

#[test]
fn a_missing_from_is_added_and_a_fallback_is_marked() {
    let (out, address) = send(b"Subject: hi\r\n\r\n", &pending());
    assert_eq!(address.to_string(), "acme-support@inboxlayer.dev");
    let expected = format!(
        "{RECEIVED}Subject: hi\r\nFrom: <acme-support@inboxlayer.dev>\r\n{DATE}Message-ID: <sub_1@inboxlayer.dev>\r\n\
         Inboxlayer-Fallback: from=acme-support@acme.com; reason=pending\r\n\r\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn private_and_forged_fields_are_removed_and_sender_must_be_own() {
    let stays = "Reply-To: Boss <boss@x.org>\r\nSender: acme-support@acme.org\r\nresent-from: support@acme.com\r\n\
                 Authentication-Results: mx.x.org; spf=pass\r\nDate : yesterday\r\nMessage-id: <1@x.org>\r\n";
    let passes = "BCC: a@x.org,\r\n b@x.org\r\nResent-Bcc : c@x.org\r\nReturn-Path: <d@x.org>\r\n\
                Authentication-Results: (x)\r\n SMTP.inboxlayer.dev; dkim=pass\r\n\
                authentication-results: inboxlayer.dev 1; dkim=pass\r\n\
                Inboxlayer-Fallback: from=x\r\nSender: ann@x.org\r\nSender:\r\n\
                Resent-From: acme-support@acme.com, ann@x.org\r\nSender: support@acme.org\r\n";
    let (out, _) = send(format!("{passes}{stays}\r\n").as_bytes(), &verified());
    let expected = format!("{RECEIVED}{stays}From: <acme-support@acme.com>\r\n\r\n");
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_tag_that_needs_quotes_is_dropped() {
    let mut sender = pending();
    let address = Address::parse("\"acme-support+a b>\"@inboxlayer.dev").unwrap();
    sender.message.choice.identity = SendIdentity::Platform { address };
    assert_eq!(send(b"\r\n", &sender).1.to_string(), "acme-support@inboxlayer.dev");
}

#[test]
fn a_separator_stops_readers_that_run_past_a_field() {
    let fence = "X-Inboxlayer-Queue-ID: sub_1\r\n";
    let date = "Date: Tue, 24 Nov 2026 05:31:07 Z\r\n";
    let from = "From: acme-support@acme.com\r\n";
    let id = "Message-ID: <1@x.org>\r\n";
    let word = "Subject: =?utf-8?B?ab\r\n";
    for (header, expected) in [
        ([date, from, id].concat(), [date, fence, from, id].concat()),
        ([from, id, date].concat(), [from, id, date, fence].concat()),
        ([date, id, from, word].concat(), [date, id, from, word, fence].concat()),
        ([date, word, id, from].concat(), [date, word, id, from].concat()),
    ] {
        let (out, _) = send(header.as_bytes(), &verified());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{RECEIVED}{expected}\r\n"));
    }
}

/// Every `fixtures/messages/X.eml` leaves as `X.sent.eml`; those named `fallback-…` from the pending sender.
#[test]
fn golden_messages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".eml").filter(|stem| !stem.contains('.')) else { continue };
        let raw = std::fs::read(&path).unwrap();
        let sender = if stem.starts_with("fallback-") { pending() } else { verified() };
        let (header, body) = split(&raw);
        let sent = [send(header, &sender).0.as_slice(), body, missing_line_end(body)].concat();
        let golden = folder.join(format!("{stem}.sent.eml"));
        let expected = std::fs::read(&golden).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&expected), "{stem}");
        assert!(sent == expected, "{stem}");
        count += 1;
    }
    assert!(count >= 6);
}
