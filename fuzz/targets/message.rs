//! Header blocks: the mailboxes of a field, and the header of a message that leaves.

use super::addresses::{Addresses, Listed, Mailbox};
use super::headers::Fields;
use super::{Outgoing, Submitted, display_name, is_from_domain, missing_line_end, outgoing, split, without_results_of};
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::identity::{Choice, Fallback, SendIdentity};
use crate::verification::status::{OnUnverified, VerifiedStatus};
use mail_parser::{HeaderName, MessageParser};

fn read(value: &[u8]) -> Vec<Mailbox<'_>> {
    Addresses::of(value).filter_map(Listed::mailbox).collect()
}

/// The mailboxes of a field: each, written under another address, is a field of one mailbox with that address.
pub fn mailboxes(input: &[u8]) {
    let address = Address::parse("ann@example.org").unwrap();
    let mut count = 0;
    for mailbox in read(input) {
        count += 1;
        let (local, host) = mailbox.local_and_host();
        assert!(local.len() + host.len() <= input.len() && mailbox.name().unwrap_or_default().len() <= input.len());
        let shown = mailbox.display_name().into_iter().chain(mailbox.shown_address());
        assert!(shown.into_iter().all(|text| !text.contains(char::is_control)), "a control character in {mailbox:?}");
        let Some(own) = mailbox.address() else { continue };
        assert_eq!(Address::parse(&own.to_string()).as_ref(), Ok(&own));
        // What is decided on is what is shown.
        let of_shown = mailbox.shown_address().and_then(|text| Address::parse(&text).ok());
        assert_eq!(of_shown.as_ref(), Some(&own), "{mailbox:?}");
        let mut field = b"From: ".to_vec();
        display_name::write(&mailbox, &mut field, "From: ".len(), &address);
        field.extend_from_slice(b"\r\n");
        let shown = String::from_utf8_lossy(&field);
        let fields: Vec<_> = Fields::new(&field).collect();
        assert!(matches!(fields.as_slice(), [one] if one.raw == field), "more than a field: {shown:?}");
        let again: Vec<_> = read(fields[0].value).iter().map(Mailbox::address).collect();
        assert!(matches!(again.as_slice(), [Some(one)] if *one == address), "another mailbox: {shown:?}");
        assert!(field.split(|b| *b == b'\n').all(|line| line.len() <= 998), "a line over 998 octets: {shown:?}");
    }
    assert!(count <= input.len());
}

/// A message that leaves under the platform's address: its body as it came, one From with the sender's address, no field that
/// is private, however the header was written. mail-parser reads the header as we do.
pub fn rewriting(input: &[u8]) {
    let (header, body) = split(input);
    assert_eq!([header, body].concat(), input, "a message is its header and its body");
    let inbox = InboxName::parse("acme-support").unwrap();
    let domains = ["inboxlayer.dev", "smtp.inboxlayer.dev", "acme.com"].map(|name| DomainName::parse(name).unwrap());
    let [platform, hostname, _] = &domains;
    let sender = inbox.at(platform);
    let fallback = Fallback {
        from: Address::parse("acme-support@acme.com").unwrap(),
        reason: VerifiedStatus::Pending,
        on_unverified: OnUnverified::Fallback,
    };
    for fallback in [None, Some(fallback)] {
        let choice = Choice { identity: SendIdentity::Platform { address: sender.clone() }, fallback };
        let message = Submitted {
            choice,
            inbox: inbox.clone(),
            queue_id: "sub_1".into(),
            protocol: "ESMTPSA".into(),
            client: None,
            arrived_at: Timestamp::from_millis(1_795_498_267_042),
        };
        let with = Outgoing { message: &message, aliases: &[], own_domains: &domains, platform, hostname };
        let (out, from) = outgoing(header, &with);
        let is_fallback = message.choice.fallback.is_some();
        let message = [out.as_slice(), body, missing_line_end(body)].concat();
        let shown = String::from_utf8_lossy(&out);
        assert!(from.domain == *platform && from.local.base() == inbox.as_str(), "{from}");
        assert_eq!(split(&message).0.len(), out.len(), "the header ends elsewhere: {shown:?}");
        let named = |name: &str| Fields::new(&out).filter(|field| field.is(name)).count();
        assert_eq!((named("From"), named("Bcc"), named("Resent-Bcc"), named("Return-Path")), (1, 0, 0, 0), "{shown:?}");
        assert!(named("Date") >= 1 && named("Message-ID") >= 1 && named("Received") >= 1, "{shown:?}");
        assert_eq!(named("Inboxlayer-Fallback"), usize::from(is_fallback), "{shown:?}");
        seen(&message, &from);
        // What we say of ourselves does not stay in what comes from outside.
        let without = without_results_of(&out, &[hostname, platform]);
        assert!(without == without_results_of(&without, &[hostname, platform]) && without.len() <= out.len());
    }
}

/// A message from outside: where another parser shows a mailbox of ours in its From, we see that it says so.
pub fn from_domain(input: &[u8]) {
    // What the listener lets in: lines end in CRLF, and there is no NUL.
    let text: Vec<u8> = input.iter().copied().filter(|b| !matches!(b, b'\r' | 0)).collect();
    let message = text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    // In a header of fields alone: what stands in other lines each reader sees for itself.
    let mut fields = Fields::new(&message);
    fields.by_ref().for_each(drop);
    if !(fields.rest().is_empty() || fields.rest().starts_with(b"\r\n")) {
        return;
    }
    let domain = DomainName::parse("inboxlayer.dev").unwrap();
    // It runs on past the empty line behind some dates.
    let Some(parsed) = MessageParser::new().parse_headers(split(&message).0) else { return };
    let froms = parsed.headers().iter().filter(|header| header.name == HeaderName::From);
    let ours = froms.filter_map(|header| header.value.as_address()).flat_map(|list| list.iter()).any(|one| {
        one.address().and_then(|text| Address::parse(text).ok()).is_some_and(|address| address.domain == domain)
    });
    assert!(!ours || is_from_domain(&message, &domain), "{:?}", String::from_utf8_lossy(&message));
}

/// What another parser sees.
fn seen(message: &[u8], from: &Address) {
    let shown = || String::from_utf8_lossy(message).into_owned();
    let parsed = MessageParser::new().parse_headers(message).unwrap_or_else(|| panic!("nothing parsed: {:?}", shown()));
    let named = |name: HeaderName<'_>| parsed.headers().iter().filter(|header| header.name == name).count();
    assert_eq!(
        (named(HeaderName::From), named(HeaderName::Bcc), named(HeaderName::ResentBcc)),
        (1, 0, 0),
        "{:?}",
        shown()
    );
    let addresses: Vec<_> =
        parsed.from().map(|list| list.iter().filter_map(|one| one.address()).collect()).unwrap_or_default();
    let [one] = addresses.as_slice() else { panic!("{addresses:?}: {:?}", shown()) };
    assert_eq!(Address::parse(one).as_ref(), Ok(from), "{:?}", shown());
}
