//! SORT. RFC 5256; RFC 5267 (ESORT), RFC 5957 (SORT=DISPLAY), RFC 7162 (MODSEQ).

use super::facts::{self, Facts, sent_at};
use super::find::{Finder, Stop};
use super::{answer, completed, find, modseq, not_found, numbers};
use crate::imap::context::{CommandError, Context};
use crate::imap::wire::Wire;
use crate::imap::wire::frame::Tag;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::search::{Returned, Sort, SortKey};
use crate::message::ReadLimits;
use crate::message::addresses::{self, Listed};
use crate::message::casemap::casemap;
use crate::message::fields::Header;
use crate::message::threading::base_subject;
use crate::message::words::decoded_words;
use crate::resources::work::WorkError;
use crate::store::open_mailbox::{Depth, Fetched};
use std::cmp::Ordering;

/// SORT and UID SORT.
pub async fn sort(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    Sort { returned, by, charset, key, by_uid }: Sort,
) -> Result<Reply, CommandError> {
    let options = match returned {
        Returned::Old => None,
        Returned::Extended(options) => Some(options),
    };
    let mut finder = Finder::new(context, tag);
    let found = match find(context, wire, &mut finder, (Some(&charset), &key), by_uid).await {
        Ok(found) => in_order(context, wire, &mut finder, found, by).await,
        Err(stop) => Err(stop),
    };
    let found = match found {
        Ok(found) => found,
        Err(stop) => return not_found(context, options, stop),
    };
    let modseq = modseq::highest(context, context.selected.as_ref(), &key, options.as_ref(), &found).await?;
    match options {
        None => {
            let numbers = numbers(context, &found, by_uid);
            wire.writer().sort(numbers, modseq);
        }
        Some(options) => answer(context, wire, tag, (&options, by_uid), (found, modseq)),
    }
    Ok(completed(context))
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    /// As `i;unicode-casemap` compares it.
    Text(Box<str>),
}

/// The values of a message's keys.
struct Values(Vec<Value>);

impl Facts for Values {
    type Wanted = Vec<SortKey>;

    fn of(message: &Fetched, limits: &ReadLimits, keys: &Vec<SortKey>) -> Self {
        let header = Header::read(&message.header, limits);
        Self(keys.iter().map(|key| value(*key, message, &header)).collect())
    }

    fn memory(&self) -> usize {
        let text = |value: &Value| match value {
            Value::Number(_) => 0,
            Value::Text(text) => text.len(),
        };
        let each = size_of::<(u32, Self)>() + self.0.capacity() * size_of::<Value>();
        self.0.iter().map(text).fold(each, usize::saturating_add)
    }
}

/// How deep a message is read for a key.
fn depth(key: SortKey) -> Depth {
    match key {
        SortKey::Arrival => Depth::Flags,
        SortKey::Size => Depth::Size,
        _ => Depth::Header,
    }
}

fn value(key: SortKey, message: &Fetched, header: &Header<'_>) -> Value {
    let text = |text: &str| Value::Text(casemap(text).into());
    match key {
        SortKey::Arrival => Value::Number(message.internal_date.millis()),
        SortKey::Date => Value::Number(sent_at(message, header)),
        SortKey::Size => Value::Number(message.size.into()),
        SortKey::Subject => {
            let subject = header.find("Subject").map(decoded_words).unwrap_or_default();
            text(&base_subject(&subject).0)
        }
        SortKey::From => text(&mailbox(header, "From")),
        SortKey::To => text(&mailbox(header, "To")),
        SortKey::Cc => text(&mailbox(header, "Cc")),
        SortKey::DisplayFrom => text(&displayed(header, "From")),
        SortKey::DisplayTo => text(&displayed(header, "To")),
    }
}

/// The mailbox of the first address, which of a group is its name; empty without one (RFC 5256 §3).
fn mailbox(header: &Header<'_>, field: &str) -> String {
    let octets = match addresses::listed(header, field).next() {
        Some(Listed::Mailbox(mailbox)) => mailbox.local_and_host().0,
        Some(Listed::GroupStart(name)) => name,
        Some(Listed::GroupEnd) | None => Vec::new(),
    };
    String::from_utf8_lossy(&octets).into_owned()
}

/// The display name of the first address, or else the address (RFC 5957 §3).
fn displayed(header: &Header<'_>, field: &str) -> String {
    match addresses::listed(header, field).next() {
        Some(Listed::Mailbox(mailbox)) => mailbox.display_name().unwrap_or_else(|| {
            let (local, host) = mailbox.local_and_host();
            let at = if host.is_empty() { "" } else { "@" };
            format!("{}{at}{}", String::from_utf8_lossy(&local), String::from_utf8_lossy(&host))
        }),
        Some(Listed::GroupStart(name)) => decoded_words(&name),
        Some(Listed::GroupEnd) | None => String::new(),
    }
}

/// The keys without repeated ones, which decide nothing: the work for a message is bounded, however many a command names.
fn distinct(by: Vec<(SortKey, bool)>) -> Vec<(SortKey, bool)> {
    let mut keys: Vec<(SortKey, bool)> = Vec::new();
    for (key, is_reversed) in by {
        if keys.iter().all(|(known, _)| *known != key) {
            keys.push((key, is_reversed));
        }
    }
    keys
}

/// Sorts messages, whose UIDs are ascending: by the first key, then by the next, at last by sequence number.
async fn in_order(
    context: &Context<'_>,
    wire: &mut Wire,
    finder: &mut Finder<'_>,
    found: Vec<u32>,
    by: Vec<(SortKey, bool)>,
) -> Result<Vec<u32>, Stop> {
    let Some(selected) = &context.selected else { return Ok(found) };
    let (keys, reversed): (Vec<SortKey>, Vec<bool>) = distinct(by).into_iter().unzip();
    let deepest = keys.iter().map(|key| depth(*key)).max().unwrap_or(Depth::Flags);
    let known = facts::read::<Values>(finder, wire, selected, &found, (deepest, keys)).await?;
    let (mut of, _claim) = (known.of, known.claim);
    let octets = of.iter().map(|(_, values)| values.memory()).sum();
    let work = finder.server.reading.work().run(&finder.owner, octets, move |budget| {
        of.sort_by(|(_, a), (_, b)| compare(&a.0, &b.0, &reversed));
        budget.check()?;
        Ok(of.into_iter().map(|(uid, _)| uid).collect::<Vec<u32>>())
    });
    let sorted: Result<_, WorkError> = wire.watch(work).await?;
    Ok(sorted?)
}

fn compare(a: &[Value], b: &[Value], reversed: &[bool]) -> Ordering {
    let each = a.iter().zip(b).zip(reversed);
    let mut orders = each.map(|((a, b), is_reversed)| if *is_reversed { b.cmp(a) } else { a.cmp(b) });
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_passed_over_also_in_reverse() {
        let by = [(SortKey::Date, true), (SortKey::Subject, false), (SortKey::Date, false)].repeat(1000);
        assert_eq!(distinct(by), [(SortKey::Date, true), (SortKey::Subject, false)]);
    }
}
