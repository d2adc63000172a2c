//! Properties of rewriting and bounces under random and hostile input. Invariant: an independent parser agrees with
//! the result. RFC 5322, RFC 3464.

use super::tests::{RECEIVED, Sender, domain, pending, send, verified};
use super::*;
use crate::address::Address;
use crate::clock::Timestamp;
use crate::envelope::EnhancedCode;
use mail_parser::{HeaderName, MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

fn sender(fallback: bool) -> Sender {
    if fallback { pending() } else { verified() }
}

/// A random field, and whether it is kept.
fn field() -> impl Strategy<Value = (String, Vec<u8>, bool)> {
    let name = prop_oneof![
        4 => "[!-9;-~]{1,40}",
        4 => prop::sample::select(vec!["Subject", "To", "Reply-To", "Date", "Message-ID", "Received", "X-From", "Fro"])
            .prop_map(str::to_owned),
        4 => prop::sample::select(vec!["From", "Bcc", "Resent-Bcc", "Return-Path", "Inboxlayer-Fallback", "bcc", "FROM"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["Sender", "Resent-Sender", "Resent-From"]).prop_map(str::to_owned),
    ];
    // Values that end like a one-letter zone or an open encoded word are tested separately.
    let line = "[\t -<>@-~]{0,30}";
    (name, "[ \t]{0,2}", prop::collection::vec((line, prop::collection::vec(0x80_u8.., 0..4)), 1..4)).prop_map(
        |(name, blanks, lines)| {
            let mut raw = format!("{name}{blanks}:").into_bytes();
            for (at, (text, high)) in lines.iter().enumerate() {
                raw.extend_from_slice(if at == 0 { b"" } else { b"\r\n " });
                raw.extend_from_slice(text.as_bytes());
                raw.extend_from_slice(high);
                raw.push(b'.');
            }
            raw.extend_from_slice(b"\r\n");
            let private = [
                "From",
                "Bcc",
                "Resent-Bcc",
                "Return-Path",
                "Inboxlayer-Fallback",
                "Sender",
                "Resent-Sender",
                "Resent-From",
            ];
            let leaves = !private.iter().any(|p| p.eq_ignore_ascii_case(&name));
            (name, raw, leaves)
        },
    )
}

/// Random text that resembles a header.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec![
        "From",
        "from",
        "Bcc",
        "Sender",
        "Date",
        "Subject",
        "Content-Type",
        "Received",
        ":",
        " :",
        ": ",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n ",
        "\r\n\t",
        "\r",
        "\n",
        " ",
        "\t",
        "\0",
        "\u{b}",
        "\u{c}",
        "\u{feff}",
        "<",
        ">",
        "\"",
        "(",
        ")",
        ",",
        ";",
        "\\",
        "@",
        "=?utf-8?B?",
        "=?utf-8?Q?",
        "=?utf-8?Q?a=0D=0Ab?=",
        "=?utf-8*en?q?=00?=",
        "=?utf-8?B?Cg==?=",
        "=?utf-7?Q?+AAo-?=",
        "=?utf-8?b?4oCo?= <acme-support@acme.com>",
        "From: =?utf-8?Q?Ann=0A?= <acme-support@acme.com>\r\n",
        "Resent-Sender: ceo@bank.example\r\n",
        "?=",
        "=?",
        "a",
        "-Z",
        " Z",
        "+",
        "boundary=\"",
        "multipart/mixed; ",
        "From: ceo@bank.example\r\n",
        "\r\nFrom: ",
        "\r\nBcc: x@bank.example\r\n",
        "ceo@bank.example",
        "\r\n\r\n",
        "Date: Tue, 24 Nov 2026 05:31:07 Z\r\n",
        "acme-support@acme.com",
        "Ann <support+x@acme.com>",
        "acme-support@inboxlayer.dev",
        "\r\nMessage-ID: <a@b>\r\n",
        "\r\nDate: x\r\n",
        "Resent-Date:1 1 1 1 1 1 Z\r\n",
    ];
    let piece = prop_oneof![
        12 => prop::sample::select(pieces).prop_map(|p| p.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The From that mail-parser reads; checks that there is only one, and no Bcc.
fn seen(message: &[u8]) -> Result<Address, String> {
    let parsed = MessageParser::new().parse_headers(message).ok_or("nothing parsed")?;
    let named = |name: HeaderName<'_>| parsed.headers().iter().filter(|h| h.name == name).count();
    let strangers = parsed.headers().iter().any(|h| {
        h.name == HeaderName::ResentSender && h.value.as_address().is_some_and(|a| a.contains("ceo@bank.example"))
    });
    if strangers {
        return Err("a stranger's Resent-Sender".to_owned());
    }
    if (named(HeaderName::From), named(HeaderName::Bcc), named(HeaderName::ResentBcc)) != (1, 0, 0) {
        return Err(format!("From or Bcc: {:?}", parsed.headers()));
    }
    let addresses: Vec<_> = parsed.from().map(|a| a.iter().collect()).unwrap_or_default();
    match addresses.as_slice() {
        [one] if one.name().is_some_and(|name| name.contains(char::is_control)) => Err(format!("a control: {one:?}")),
        [one] => Address::parse(one.address().unwrap_or_default()).map_err(|e| format!("{e}: {one:?}")),
        other => Err(format!("{other:?}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn only_fields_named_by_the_rules_change(fields in prop::collection::vec(field(), 0..12), fallback in any::<bool>()) {
        let header = [fields.iter().flat_map(|(_, raw, _)| raw.clone()).collect::<Vec<_>>(), b"\r\n".to_vec()].concat();
        prop_assert_eq!(split(&header), (&header[..], &b""[..]));
        let (out, _) = send(&header, &sender(fallback));
        let first_from = fields.iter().position(|(name, ..)| name.eq_ignore_ascii_case("From")).unwrap_or(fields.len());
        let (before, after) = fields.split_at(first_from);
        let kept = |part: &[(String, Vec<u8>, bool)]| {
            part.iter().filter(|(.., leaves)| *leaves).flat_map(|(_, raw, _)| raw.clone()).collect::<Vec<_>>()
        };
        // Before the From: exactly the kept fields; after it too; then the added fields.
        let rest = out.strip_prefix(RECEIVED.as_bytes()).unwrap().strip_prefix(kept(before).as_slice()).unwrap();
        let from = headers::Fields::new(rest).next().unwrap();
        prop_assert!(from.is("From"));
        let rest = rest[from.raw.len()..].strip_prefix(kept(after).as_slice()).unwrap();
        let added: Vec<_> = headers::Fields::new(rest).map(|f| String::from_utf8(f.name.to_vec()).unwrap()).collect();
        let has = |wanted: &str| fields.iter().any(|(name, ..)| name.eq_ignore_ascii_case(wanted));
        let expected = [("Date", !has("Date")), ("Message-ID", !has("Message-ID")), ("Inboxlayer-Fallback", fallback)];
        prop_assert_eq!(added, expected.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn an_independent_parser_sees_the_same_from(soup in soup(), fallback in any::<bool>()) {
        let sender = sender(fallback);
        let (header, body) = split(&soup);
        prop_assert_eq!([header, body].concat(), soup.clone());
        let (out, address) = send(header, &sender);
        let message = [out.as_slice(), body].concat();
        prop_assert_eq!(seen(&message), Ok(address.clone()), "{:?}", String::from_utf8_lossy(&message));
        prop_assert_eq!(split(&message), (&out[..], body));

        let (again, same) = send(&out, &sender);
        prop_assert_eq!(&same, &address);
        prop_assert_eq!(from_field(&again), from_field(&out));

        let (whole, address) = send(&soup, &sender);
        prop_assert_eq!(seen(&whole), Ok(address));
    }

    #[test]
    fn any_input_leaves_with_one_from(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (out, address) = send(&bytes, &verified());
        prop_assert_eq!(seen(&out), Ok(address));
    }

    #[test]
    fn a_bounce_is_always_a_report(
        diagnostics in prop::collection::vec("(\\PC|[\r\n\t\0-]|--=_report_|a{300}){0,20}", 1..4),
        mta in prop::option::of("\\PC{0,300}"),
        header in soup(),
        code in (prop::sample::select(vec![4_u8, 5]), 0_u16..9, 0_u16..30),
    ) {
        let bounce = report(&diagnostics, mta.as_deref(), &header, EnhancedCode(code.0, code.1, code.2));
        prop_assert!(bounce.is_ascii() && !has_nul(&bounce));
        for line in bounce.split_inclusive(|b| *b == b'\n') {
            prop_assert!(line.len() <= 1000 && line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'));
        }
        let parsed = MessageParser::new().parse(&bounce).unwrap();
        let kind = parsed.content_type().unwrap();
        prop_assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        prop_assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let PartType::Multipart(parts) = &parsed.parts[0].body else { panic!("{parsed:?}") };
        let kinds: Vec<_> = parts
            .iter()
            .map(|id| parsed.parts[*id as usize].content_type().and_then(|t| t.subtype()).unwrap_or_default())
            .collect();
        prop_assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
    }
}

fn from_field(header: &[u8]) -> Vec<u8> {
    headers::Fields::new(header).find(|f| f.is("From")).unwrap().raw.to_vec()
}

fn report(diagnostics: &[String], mta: Option<&str>, header: &[u8], status: EnhancedCode) -> Vec<u8> {
    let [to, address] = ["acme-support@acme.com", "ann@example.org"].map(|a| Address::parse(a).unwrap());
    let now = Timestamp::from_millis(1_795_498_267_042);
    let failed: Vec<_> = diagnostics
        .iter()
        .map(|reply| Diagnostic::Smtp(reply))
        .map(|diagnostic| ReportedRecipient {
            address: &address,
            original: None,
            status,
            diagnostic,
            remote_mta: mta,
            last_attempt: now,
        })
        .collect();
    super::report(&Report {
        action: Action::Failed,
        to: &to,
        platform: &domain("inboxlayer.dev"),
        hostname: &domain("smtp.inboxlayer.dev"),
        queue_id: "sub_1",
        envelope_id: None,
        arrived_at: now,
        recipients: &failed,
        returned: Returned::Header(header),
        now,
        message_id: "unique",
    })
}

#[test]
fn a_bounce_matches_the_golden_file() {
    let header =
        "From: acme-support@acme.com\r\nMessage-ID: <1@acme.com>\r\nSubject: Grüße\r\n --=_report_unique\r\n\r\n";
    let diagnostic = "550 5.1.1 <ann@example.org>:\r\n550 5.1.1 no such user \u{1b}[31m";
    let bounce = report(&[diagnostic.to_owned()], Some("mx.example.org"), header.as_bytes(), EnhancedCode(5, 1, 1));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/messages/bounce.golden.eml");
    let expected = std::fs::read(golden).unwrap_or_default();
    assert_eq!(String::from_utf8(bounce).unwrap(), String::from_utf8(expected).unwrap());
}

/// Hostile headers are processed in linear time; a quadratic algorithm would seem to hang.
#[test]
fn hostile_headers_take_linear_time() {
    let many = 1 << 18;
    let of = |head: &str, piece: &str| format!("{head}{}\r\n", piece.repeat(many / piece.len()));
    for header in [
        of("", "a:\r\n"),
        of("X:", "\r\n "),
        of("no colon ", "x"),
        of("", "From: a\r\n"),
        of("", "From: acme-support@acme.com\r\n"),
        of("From: ", "("),
        of("From: ", "\""),
        of("From: \"", "\\"),
        of("From: ", "<"),
        of("From: ", "a "),
        of("From: ", "a,"),
        of("From: ", "a:"),
        of("From: acme-support@acme.com ", "=?"),
        of("From: ", "=?a?q?a?= "),
        of("Sender: ", "acme-support@acme.com,"),
        of("Subject: ", "=?utf-8?B?"),
        of("", "Date: Z\r\n"),
        of("Authentication-Results: ", "("),
        of("", "\r"),
    ] {
        let (block, body) = split(header.as_bytes());
        let (out, address) = send(block, &verified());
        assert_eq!(address.to_string(), "acme-support@acme.com");
        assert!(out.len() + body.len() < 2 * many);
        hop_count(block);
        report(&["5".repeat(many)], Some(&header), header.as_bytes(), EnhancedCode(5, 0, 0));
    }
}
