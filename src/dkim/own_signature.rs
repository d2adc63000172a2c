//! Detects a valid signature of our own on a message from outside: our users' mail coming back through a list or a
//! forwarder. RFC 6376 §6. Invariant: bounded work and no DNS query: the key is the one we sign with, and other
//! signatures, of which a sender can add any number, are removed before hashing.

use super::canonical::{Field, parse};
use crate::address::DomainName;
use crate::verification::tag_list::tags;
use futures_util::FutureExt;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, Error, MessageAuthenticator, Parameters, ResolverCache, Txt};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

/// Maximum signatures of ours that are tried; a message has one.
const MOST_SIGNATURES: usize = 4;
/// Maximum octets of a header block with a signature of ours: finding the signed fields takes time proportional to its
/// size times the number of fields.
const LONGEST_HEADER: usize = 128 * 1024;
const MOST_FIELDS: usize = 500;

/// True if a signature of `domain` with `selector` verifies with the key in the TXT record `record`. `header` ends
/// with the empty line, and `message` begins with `header`.
pub fn is_signed_by(message: &[u8], header: &[u8], domain: &DomainName, selector: &str, record: &str) -> bool {
    let Some(fields) = to_verify(header, domain, selector) else { return false };
    let Ok(key) = DomainKey::parse(record.as_bytes()) else { return false };
    // An empty header block, and the body.
    let Some(body) = header.len().checked_sub(2).and_then(|at| message.get(at..)) else { return false };
    let Some(parsed) = AuthenticatedMessage::parse_with_opts(body, Some(&fields), true) else { return false };
    let Ok(verifier) = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()) else {
        return false;
    };
    let key = OneKey { name: format!("{selector}._domainkey.{domain}.").into(), key: Arc::new(key) };
    let verified = verifier.verify_dkim(Parameters::new(&parsed).with_txt_cache(&key)).now_or_never();
    verified.is_some_and(|signatures| signatures.iter().any(|signature| *signature.result() == DkimResult::Pass))
}

/// The fields to verify, without other signatures; `None` without a signature of ours or with too large a header.
fn to_verify(header: &[u8], domain: &DomainName, selector: &str) -> Option<Vec<u8>> {
    let fields = parse(header);
    let ours = |field: &Field<'_>| {
        let value = String::from_utf8_lossy(field.value);
        let has =
            |name: &str, wanted: &str| tags(&value).any(|(tag, text)| tag == name && text.eq_ignore_ascii_case(wanted));
        has("d", domain.as_str()) && has("s", selector)
    };
    let is = |field: &Field<'_>, name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
    let of_others = |field: &Field<'_>| {
        is(field, "DKIM-Signature") && !ours(field)
            || field.name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ARC-"))
            || is(field, "DKIM2-Signature")
            || is(field, "Message-Instance")
    };
    if header.len() > LONGEST_HEADER || fields.len() > MOST_FIELDS {
        return None;
    }
    let kept: Vec<_> = fields.iter().filter(|field| !of_others(field)).collect();
    let signatures = kept.iter().filter(|field| is(field, "DKIM-Signature")).count();
    if !(1..=MOST_SIGNATURES).contains(&signatures) {
        return None;
    }
    Some(kept.iter().flat_map(|field| [field.name, b":", field.value].concat()).collect())
}

/// Replaces the DNS: has the one key under its name, and fails for other names.
struct OneKey {
    name: Box<str>,
    key: Arc<DomainKey>,
}

impl ResolverCache<Box<str>, Txt> for OneKey {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let known = <Box<str> as Borrow<Q>>::borrow(&self.name) == name;
        Some(if known { Txt::DomainKey(Arc::clone(&self.key)) } else { Txt::Error(Error::NotAligned) })
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::dkim::Keys;
    use crate::identity::SendIdentity;
    use crate::store::Store;

    const HEADER: &str = "From: Ann <ann@inboxlayer.dev>\r\nTo: list@x.example\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 05:31:07 +0000\r\n\
                          Message-ID: <1@inboxlayer.dev>\r\n\r\n";
    const BODY: &str = "hello  there\r\n\r\nAnn\r\n";

    #[tokio::test]
    async fn an_own_signature_verifies_unless_the_message_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let config = Config::default();
        let keys = Keys::open(store.clone(), dir.path(), &config, Clock::System).await.unwrap();
        let (_, record) = keys.platform_record();
        let identity = SendIdentity::Platform { address: "ann@inboxlayer.dev".parse().unwrap() };
        let signature = keys.signer().sign(&identity, HEADER.as_bytes(), BODY.as_bytes()).await.unwrap();
        let signature = String::from_utf8(signature).unwrap();
        let verifies = |header: &str, body: &str| {
            let (domain, selector) = (&config.platform.domain, &config.dkim.platform_selector);
            is_signed_by(format!("{header}{body}").as_bytes(), header.as_bytes(), domain, selector, &record)
        };
        let signed = format!("{signature}{HEADER}");
        assert!(verifies(&signed, BODY));
        // Fields added by a list or forwarder, including other signatures.
        let others = "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=a; h=from; bh=eA==; b=eA==\r\n".repeat(100);
        let list =
            format!("Received: by x.example\r\nARC-Seal: i=1; b=eA==\r\n{others}List-Id: <list.x.example>\r\n{signed}");
        assert!(verifies(&list, BODY));
        assert!(!verifies(&signed, "hello there, send money\r\n"));
        assert!(!verifies(&signed.replace("Ann <ann", "Boss <ceo"), BODY));
        assert!(!verifies(&format!("From: ceo@inboxlayer.dev\r\n{signed}"), BODY));
        assert!(!verifies(&signed.replace("d=inboxlayer.dev", "d=x.example"), BODY));
        assert!(!verifies(&signed.replace("; t=", "; l=0; t="), BODY));
        assert!(!verifies(HEADER, BODY));
        // A signature requesting failure reports sends none.
        assert!(!verifies(&signed.replace("; t=", "; r=y; t="), BODY));
        // A header over the size limit.
        assert!(!verifies(&format!("{}{signed}", "X: y\r\n".repeat(MOST_FIELDS)), BODY));
        assert!(!verifies(&format!("{}{HEADER}", signature.repeat(MOST_SIGNATURES + 1)), BODY));
    }
}
