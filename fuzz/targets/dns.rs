//! DNS: what is made of a server's response.

use super::exchange::{QueryOptions, keeping, read, referral};
use super::query_limiter::Role;
use crate::verification::bounds;
use crate::verification::observed::{Answer, RecordData, RecordType};
use hickory_resolver::proto::op::DnsResponse;
use hickory_resolver::proto::rr::Name;
use std::net::SocketAddr;

/// Octets of a name as text: 255 on the wire, each of which may be written as `\123`.
const NAME: usize = 4 * 255;

/// One response as the answer to any question, from any kind of server: bounded, in lower case, and definite only where
/// it may be.
pub fn response(input: &[u8]) {
    let Ok(response) = DnsResponse::from_buffer(input.to_vec()) else { return };
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    let mut names = vec![Name::from_ascii("acme.test.").unwrap()];
    names.extend(response.queries.first().map(|query| query.name().clone()));
    let options = QueryOptions::of(vec!["v=spf1 include:inboxlayer.dev ~all".to_owned()]);
    use RecordType::{A, Aaaa, Cname, Mx, Ns, Txt};
    for name in &names {
        for record_type in [Cname, Mx, Txt, A, Aaaa, Ns] {
            for role in [Role::Recursive, Role::Unvalidated, Role::Authoritative] {
                let answer = keeping(read(&response, server, role, name, record_type), &options);
                check(&answer, record_type);
                if role == Role::Authoritative && !response.authoritative {
                    assert!(matches!(answer, Answer::Indefinite { .. }), "{answer:?} without authority");
                }
            }
        }
        let referral = referral(&response, name);
        assert!(referral.to.len() <= 2 * bounds::SERVERS, "{} servers", referral.to.len());
        referral.to.iter().for_each(|delegate| is_name(&delegate.host));
    }
}

fn check(answer: &Answer, record_type: RecordType) {
    assert!(answer.aliases().len() <= bounds::ALIASES + 1, "{} aliases", answer.aliases().len());
    answer.aliases().iter().for_each(|alias| is_name(alias));
    let Answer::Found { records, .. } = answer else { return };
    assert!((1..=bounds::RECORDS).contains(&records.len()), "{} records", records.len());
    for record in records {
        assert_eq!(record.type_name(), <&str>::from(record_type));
        match record {
            RecordData::Txt(text) => assert!(text.len() <= bounds::TXT + 100, "{} octets of text", text.len()),
            RecordData::Cname(name) | RecordData::Ns(name) | RecordData::Mx { exchange: name, .. } => is_name(name),
            RecordData::A(_) | RecordData::Aaaa(_) | RecordData::Other { .. } => {}
        }
    }
}

fn is_name(name: &str) {
    assert!((1..=NAME).contains(&name.len()), "{name:?}");
    assert!(name.is_ascii() && !name.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_control()), "{name:?}");
}
