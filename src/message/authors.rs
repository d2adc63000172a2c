//! The domains in the From fields of a message. Invariant: if any reader may see a mailbox at a domain, it counts; an
//! unparsable From counts as a match. A domain in a quoted display name does not count: lists write `"ann@here via
//! List" <list@there>`.

use super::addresses::{Addresses, Listed};
use super::headers::{Field, Fields, after_line, ends_header};
use super::words::encoded_words;
use crate::address::DomainName;

/// Maximum octets of a domain with everything a lenient reader skips; bounds the work per `@`.
const LONGEST: usize = 2000;

/// True if the message claims to be from a mailbox at `domain`. Reads up to the first empty line.
pub fn is_from_domain(message: &[u8], domain: &DomainName) -> bool {
    let mut rest = message;
    // Some readers continue after a line that is not a field.
    loop {
        let mut fields = Fields::new(rest);
        if fields.by_ref().any(|field| field.is("From") && names(&field, domain)) {
            return true;
        }
        rest = fields.rest();
        if ends_header(rest) {
            return false;
        }
        rest = after_line(rest);
    }
}

fn names(field: &Field<'_>, domain: &DomainName) -> bool {
    let mut is_clear = true;
    for listed in Addresses::of(field.value) {
        match listed {
            Listed::Mailbox(mailbox) => match mailbox.address() {
                Some(address) if address.domain == *domain => return true,
                Some(_) => is_clear &= !mailbox.shows_another_address(),
                None => is_clear = false,
            },
            // Some readers take a group name for an address.
            Listed::GroupStart(name) => is_clear &= !name.contains(&b'@'),
            Listed::GroupEnd => {}
        }
    }
    !is_clear && (mentions(field.value, domain) || encoded_words(field.value).any(|(_, text)| mentions(&text, domain)))
}

/// True if `@domain` occurs in the text, ignoring punctuation, white space and comments as a lenient reader does.
fn mentions(text: &[u8], domain: &DomainName) -> bool {
    memchr::memchr_iter(b'@', text).any(|at| {
        let rest = text.get(at + 1..).unwrap_or_default();
        [true, false].into_iter().any(|skip_comments| begins_with(rest, domain, skip_comments))
    })
}

/// True if the text begins with the domain. One that does not end within [`LONGEST`] octets counts.
fn begins_with(text: &[u8], domain: &DomainName, skip_comments: bool) -> bool {
    let mut wanted = domain.as_str().bytes();
    let mut next = wanted.next();
    let mut depth = 0_usize;
    for octet in text.iter().take(LONGEST) {
        match octet {
            b'(' if skip_comments => depth += 1,
            b')' if skip_comments => depth = depth.saturating_sub(1),
            _ if depth > 0 || !(octet.is_ascii_alphanumeric() || b"@.-".contains(octet)) => {}
            _ if next != Some(octet.to_ascii_lowercase()) => return false,
            _ => next = wanted.next(),
        }
        if next.is_none() {
            return true;
        }
    }
    text.len() > LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_from_at_the_domain_is_seen_however_it_is_written() {
        let domain = DomainName::parse("inboxlayer.dev").unwrap();
        for ours in [
            "From: ann@inboxlayer.dev\r\n",
            "from : Ann <Ann+x@INBOXLAYER.dev>\r\n",
            "From: x@x.org\r\nFROM: ann@inboxlayer.dev\r\n",
            "From: x@x.org, ann@inboxlayer.dev\r\n",
            "From: Team: x@x.org, ann@inboxlayer.dev;\r\n",
            "From: ann @ inboxlayer (x) .dev\r\n",
            "From:\r\n ann@inboxlayer.dev\r\n",
            "From: \"ann\"@inboxlayer.dev\r\n",
            "From: <@x.org:ann@inboxlayer.dev>\r\n",
            "From: <ann@inboxlayer.dev\r\n",
            "From: ann@inboxlayer.dev <x@x.org>\r\n",
            "From: =?utf-8?q?ann=40inboxlayer.dev?=\r\n",
            "From: a b ann@inboxlayer.dev\r\n",
            "From: <ann@\\inboxlayer.dev\r\n",
            "From: a b ann@inboxlayer(x).dev\r\n",
            "From: \"(\" <ann@inboxlayer (x) .dev\r\n",
            "From: \"(\" <ann@inboxlayer (x@y) .dev\r\n",
            "From: ann@inboxlayer.dev(x) .dev\r\n",
            "From: ann@inboxlayer.dev(: x@x.org\r\n",
            "Subject: x\r\nno field\r\nFrom: ann@inboxlayer.dev\r\n",
        ] {
            assert!(is_from_domain(format!("Subject: s\r\n{ours}\r\n").as_bytes(), &domain), "{ours}");
        }
        for others in [
            "From: x@x.org\r\n",
            "From: \"ann@inboxlayer.dev via List\" <list@x.org>\r\n",
            "From: x@x.org (ann@inboxlayer.dev)\r\n",
            "From: ann@inboxlayer.dev.x.org\r\n",
            "From: Ann <ann@inboxlayer.developers.org>\r\n",
            "From: a b ann@outside.example\r\n",
            "From: ann@mail.inboxlayer.dev\r\n",
            "Reply-To: ann@inboxlayer.dev\r\n",
            "X-From: ann@inboxlayer.dev\r\n",
            "From: x@x.org\r\n\r\nFrom: ann@inboxlayer.dev\r\n",
            "",
        ] {
            assert!(!is_from_domain(format!("Subject: s\r\n{others}\r\n").as_bytes(), &domain), "{others}");
        }
    }
}
