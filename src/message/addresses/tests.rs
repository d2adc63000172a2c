//! Address lists: displayed forms and addresses.

use super::*;
use crate::message::ReadLimits;

/// Each entry as in ENVELOPE: name, route, local part, host.
fn shown(value: &str) -> Vec<String> {
    let block = format!("To: {value}\r\n\r\n");
    let text = |text: Vec<u8>| String::from_utf8(text).unwrap();
    let some = |part: Option<Vec<u8>>| part.map_or_else(|| "NIL".to_owned(), text);
    let show = |listed: Listed<'_>| match listed {
        Listed::Mailbox(mailbox) => {
            let (local, host) = mailbox.local_and_host();
            [some(mailbox.name()), some(mailbox.route()), text(local), text(host)].join("|")
        }
        Listed::GroupStart(name) => format!("{}:", text(name)),
        Listed::GroupEnd => ";".to_owned(),
    };
    listed(&Header::read(block.as_bytes(), &ReadLimits::default()), "To").map(show).collect()
}

#[test]
fn addresses_are_displayed_as_far_as_they_can_be_parsed() {
    for (value, list) in [
        ("a@b", &["NIL|NIL|a|b"][..]),
        ("\"Doe, J.\" <j.doe@b>, c@d (Cee)", &["Doe, J.|NIL|j.doe|b", "Cee|NIL|c|d"]),
        ("=?utf-8?q?J=C3=BC?= X <\"a b\"@c>", &["=?utf-8?q?J=C3=BC?= X|NIL|a b|c"]),
        ("<@r1,@r2:a@b>", &["NIL|@r1,@r2|a|b"]),
        ("team: a@b, c@d;", &["team:", "NIL|NIL|a|b", "NIL|NIL|c|d", ";"]),
        ("My \"team\": a@b", &["My team:", "NIL|NIL|a|b", ";"]),
        ("undisclosed recipients:;", &["undisclosed recipients:", ";"]),
        ("postmaster", &["NIL|NIL|postmaster|"]),
        ("root (Cron Daemon)", &["Cron Daemon|NIL|root|"]),
        ("(Cron \\(D\\)) <root@h>", &["Cron (D)|NIL|root|h"]),
        ("Ann (c) <a@b> (d)", &["Ann|NIL|a|b"]),
        ("<>", &["NIL|NIL||"]),
        (" , ,", &[]),
        ("<user (comment)@ (comment) b.example>", &["comment|NIL|user|b.example"]),
        ("ann @ x . org", &["NIL|NIL|ann|x.org"]),
        ("Ann Lee ann@x.org", &["Ann Lee|NIL|ann|x.org"]),
        ("ann@x.org Ann", &["NIL|NIL|ann|x.org"]),
        ("ann@x.org>", &["NIL|NIL|ann|x.org"]),
        ("<ann@x.org", &["NIL|NIL|ann|x.org"]),
        ("Ann <ann@x.org, Bob <b@x.org>", &["Ann|NIL|ann|x.org", "Bob|NIL|b|x.org"]),
        ("Ann <ann@x.org> Bob <b@x.org>", &["Ann|NIL|ann|x.org", "Bob|NIL|b|x.org"]),
        ("<ann@x.org><b@x.org>", &["NIL|NIL|ann|x.org", "NIL|NIL|b|x.org"]),
        ("<ann@x.org> via list", &["NIL|NIL|ann|x.org"]),
        ("\"Ann <ann@x.org>", &["Ann|NIL|ann|x.org"]),
        ("ann@x.org (Ann", &["NIL|NIL|ann|x.org"]),
        ("Ann <mailto:ann@x.org>", &["Ann|NIL|ann|x.org"]),
        ("<MailTo:ann@x.org>, <tel:ann@x.org>", &["NIL|NIL|ann|x.org", "NIL|NIL|telann|x.org"]),
        ("a@x.org <b@y.org>", &["a@x.org|NIL|b|y.org"]),
        ("ann@[192.0.2.1], b@[IPv6:2001:db8::1]", &["NIL|NIL|ann|[192.0.2.1]", "NIL|NIL|b|[IPv6:2001:db8::1]"]),
        ("J.\"Doe\"\r\n <a@b>; c@d", &["J.Doe|NIL|a|b", "NIL|NIL|c|d"]),
        ("a@b@c", &["NIL|NIL|a|b@c"]),
        ("@b", &["NIL|NIL||b"]),
    ] {
        assert_eq!(shown(value), list, "{value:?}");
    }
}

#[test]
fn a_mailbox_is_shown_decoded() {
    let block = b"From: =?utf-8?q?J=C3=BC=0A?= X <a@b>, g: c;, <>, \"a \\\" b\"@c\r\nX: y\r\nFROM: d@e (=?utf-8?b?w7w=?=)\r\n\r\n";
    let shown: Vec<_> = mailboxes(&Header::read(block, &ReadLimits::default()), "From")
        .map(|mailbox| (mailbox.display_name(), mailbox.shown_address()))
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        shown,
        [
            (text("Jü X"), text("a@b")),
            (None, text("c")),
            (None, None),
            (None, text("\"a \\\" b\"@c")),
            (text("ü"), text("d@e"))
        ]
    );
}

#[test]
fn lists_are_bounded_and_parsed_in_linear_time() {
    for piece in ["a@b,", "g:;", "(", "<", "\"", "a:", "=?", "a ", "<@", "\\", "\"\\", "a@[", "<a>b"] {
        assert!(shown(&piece.repeat(4_800_000 / piece.len())).len() <= LISTED, "{piece}");
    }
}

#[test]
fn only_well_formed_addresses_count() {
    for (value, addresses) in [
        ("ann@x.org", &[Some("ann@x.org")][..]),
        (" Ann <ann@x.org>\r\n", &[Some("ann@x.org")]),
        ("(a (nested) one) ann @ x . org (Ann)", &[Some("ann@x.org")]),
        ("\"Ann, of X\" <ann@x.org>", &[Some("ann@x.org")]),
        ("\"a b\"@x.org", &[Some("\"a b\"@x.org")]),
        ("a@x.org, B <b@x.org>", &[Some("a@x.org"), Some("b@x.org")]),
        ("Team: a@x.org, b@x.org;", &[Some("a@x.org"), Some("b@x.org")]),
        ("undisclosed:;", &[]),
        (", ,", &[]),
        ("", &[]),
        ("Ann", &[None]),
        ("a b@x.org", &[None]),
        ("Ann <ann>", &[None]),
        ("Ann <>", &[None]),
        ("<ann@x.org", &[None]),
        ("ann@x.org>", &[None]),
        ("<a@x.org> b", &[None]),
        ("<a@x.org><b@x.org>", &[None, Some("b@x.org")]),
        ("<@r.org:a@x.org>", &[None]),
        ("<mailto:a@x.org>", &[None]),
        ("\"open <a@x.org>", &[None]),
        ("a@x.org (open", &[None]),
        ("a\0b <a@x.org>", &[None]),
        (")", &[None]),
    ] {
        let read: Vec<_> = Addresses::of(value.as_bytes()).filter_map(Listed::mailbox).map(|m| m.address()).collect();
        let read: Vec<_> = read.iter().map(|address| address.as_ref().map(ToString::to_string)).collect();
        assert_eq!(read.iter().map(Option::as_deref).collect::<Vec<_>>(), addresses, "{value:?}");
    }
}
