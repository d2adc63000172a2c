//! The domains in the From fields of a message. Invariant: if any reader may see a mailbox at a domain, it counts; an
//! unparsable From counts as a match. A domain in a quoted display name does not count: lists write `"ann@here via
//! List" <list@there>`.

use super::addresses::{Addresses, Listed};
use super::headers::{Field, Fields, after_line, ends_header};
use super::words::{decoded_words, encoded_words, encoded_words_are_closed};
use crate::address::DomainName;

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
            Listed::GroupStart(name) => {
                is_clear &= !name.contains(&b'@') && memchr::memmem::find(&name, b"=?").is_none()
            }
            Listed::GroupEnd => {}
        }
    }
    !is_clear && mentions_in_any_reading(field.value, domain)
}

/// True if a lenient reader may complete a malformed From to a mailbox at the domain.
fn mentions_in_any_reading(value: &[u8], domain: &DomainName) -> bool {
    let encoded: Vec<u8> = encoded_words(value).flat_map(|(_, text)| [text, b" ".to_vec()]).flatten().collect();
    // Some remove line ends and blanks before they decode.
    let without_blanks: Vec<u8> = value.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let decoded = [value, &without_blanks].map(decoded_words);
    // Readers differ on an encoded word that never ends.
    !encoded_words_are_closed(value)
        || [value, &encoded].into_iter().chain(decoded.iter().map(String::as_bytes)).any(|text| mentions(text, domain))
}

/// True if some of the words after an `@`, joined, begin with the domain: lenient readers skip punctuation, white space,
/// comments and whole words, and join the rest. Costs the length of the text times that of the domain.
fn mentions(text: &[u8], domain: &DomainName) -> bool {
    let domain = domain.as_str().as_bytes();
    let Some(at) = memchr::memchr(b'@', text) else { return false };
    let behind = text.get(at..).unwrap_or_default();
    // How many octets of the domain some words make up.
    let mut made = vec![false; domain.len()];
    made.iter_mut().take(1).for_each(|none| *none = true);
    let is_of_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    for word in behind.split(|b| !is_of_name(b)).filter(|word| !word.is_empty()) {
        // Backwards, so that no word is used twice.
        for from in (0..made.len()).rev().filter(|from| made.get(*from) == Some(&true)).collect::<Vec<_>>() {
            let wanted = domain.get(from..).unwrap_or_default();
            let common = word.len().min(wanted.len());
            if !word.iter().zip(wanted).all(|(is, wanted)| is.eq_ignore_ascii_case(wanted)) {
                continue;
            }
            match made.get_mut(from + common) {
                Some(made) => *made = true,
                None => return true,
            }
        }
    }
    false
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
            "From: ann@inboxlayer.de(x) .d\u{e9}<v\r\n",
            "From: ann@(x) Ann <inboxlayer.dev\r\n",
            "From: ann@inbox(x) Ann <layer.d, e v\r\n",
            "From: =?utf-8?q?ann=40inbox?= =?utf-8?q?layer.dev?= (x)\r\n",
            "From: =?utf-8?q?ann=40inbox?= =?utf-8?b?bGF5ZXIuZGV2\r\n",
            "From: =?utf-8?q?ann=40inboxlayer.dev?=(: x@x.org\r\n",
            "From: =?utf-8?q?an?utn=40inboxlayer.dev?=(: x@x.org\r\n",
            "From: =?utf-8?q?an=?40inboxlayer.dev?=(: x@x.org\r\n",
            "From: =?utf-8?q?an=4?0inbox?= =?utf-8?q?layer.dev?= (x)\r\n",
            "From: =?utf-8?q?ann=\r\n 40inboxlayer.dev?=(: x@x.org\r\n",
            "From: =?utf-16?b?AGEAbgBuAEAAaQBuAGIAbwB4AGwAYQB5AGUAcgAuAGQAZQB2?=\r\n",
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
            "From: Ann at inboxlayer.dev <ann@outside.example\r\n",
            "From: inboxlayer.dev alerts\r\n",
            "From: root (Cron Daemon)\r\n",
            "From: =?utf-8?q?J=C3=BCrgen?=\r\n",
            "From: =?utf-8?q?What? Me?= <x@x.org>\r\n",
            "From: ann@mail.inboxlayer.dev\r\n",
            "Reply-To: ann@inboxlayer.dev\r\n",
            "X-From: ann@inboxlayer.dev\r\n",
            "From: x@x.org\r\n\r\nFrom: ann@inboxlayer.dev\r\n",
            "",
        ] {
            assert!(!is_from_domain(format!("Subject: s\r\n{others}\r\n").as_bytes(), &domain), "{others}");
        }
    }
    #[test]
    fn strange_messages_of_others_are_not_taken_for_ours() {
        let domain = DomainName::parse("inboxlayer.dev").unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/messages/strange");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let messages: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "eml")).collect();
        assert!(messages.len() > 50, "{} messages", messages.len());
        for path in messages {
            let is_ours = path.file_stem().is_some_and(|name| name == "comment-as-name");
            assert_eq!(is_from_domain(&std::fs::read(&path).unwrap(), &domain), is_ours, "{}", path.display());
        }
    }
}
