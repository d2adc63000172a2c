//! A search as a tree of conditions: sets as UIDs, texts as they are compared.

use super::matching::{Candidate, Text};
use super::modseq::ModSeqs;
use super::work_limit::Meter;
use crate::clock::Timestamp;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::syntax::search_keys::{DateOf, Order, SearchKey};
use crate::imap::wire::values::Flag;
use crate::message::charset::decoded;
use crate::message::grams::Place;
use crate::store::messages::Flags;
use crate::store::open_mailbox::Depth;
use jiff::civil::Date;
use std::time::Duration;

/// Alternatives that are looked for in the index at most.
const LISTS: usize = 300;

#[derive(Debug)]
pub(super) enum Query {
    /// All of these.
    All(Vec<Query>),
    /// One of these.
    Any(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// Ranges of UIDs, ascending.
    Uids(Vec<(u32, u32)>),
    /// All of these flags set.
    Flags(Flags),
    /// This keyword, in lower case.
    Keyword(String),
    /// `\Recent`
    Recent,
    /// INTERNALDATE, in days.
    Arrived(Span),
    /// INTERNALDATE is not later.
    Until(Timestamp),
    /// INTERNALDATE is not earlier.
    From(Timestamp),
    /// SAVEDATE, in days.
    Saved(Span),
    /// The EMAILID.
    Email(String),
    /// The THREADID.
    Thread(String),
    /// The Date field, in days.
    Sent(Span),
    /// More octets.
    Larger(u64),
    /// Fewer octets.
    Smaller(u64),
    /// The envelope's subject contains the text.
    Subject(Text),
    /// A field of this name, in lower case, that contains the text.
    Header(String, Text),
    /// The decoded body contains it.
    Body(Text),
    /// The header or the body does.
    Anywhere(Text),
}

/// Days since 1970-01-01, from the first to before the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub i64, pub i64);

impl Span {
    fn of(order: Order, date: Date) -> Self {
        let day = days(date);
        match order {
            Order::Before => Self(i64::MIN, day),
            Order::On => Self(day, day.saturating_add(1)),
            Order::Since => Self(day, i64::MAX),
        }
    }

    fn contains(self, day: i64) -> bool {
        self.0 <= day && day < self.1
    }

    /// By the day in UTC.
    fn has(self, time: Timestamp) -> bool {
        self.contains(time.seconds().div_euclid(86_400))
    }
}

/// Days since 1970-01-01.
fn days(date: Date) -> i64 {
    date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24
}

/// What the meaning of keys depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub selected: &'a SelectedMailbox,
    /// Of strings.
    pub charset: &'a str,
    pub now: Timestamp,
    pub modseqs: &'a ModSeqs,
}

impl Context<'_> {
    fn text(&self, octets: &[u8]) -> Text {
        Text::new(self.charset, octets)
    }

    fn ago(&self, seconds: u32) -> Timestamp {
        self.now.before(Duration::from_secs(seconds.into()))
    }
}

impl Query {
    /// `None` when a key is not supported.
    pub fn new(key: &SearchKey, context: &Context<'_>) -> Option<Self> {
        use SearchKey as K;
        let selected = context.selected;
        let not = |query| Self::Not(Box::new(query));
        let all = |keys: &[SearchKey]| keys.iter().map(|key| Self::new(key, context)).collect::<Option<_>>();
        Some(match key {
            K::All => Self::All(Vec::new()),
            K::And(keys) => Self::All(all(keys)?),
            K::Or(keys) => Self::Any(all(keys)?),
            K::Not(key) => not(Self::new(key, context)?),
            K::Sequence(set) => Self::Uids(selected.clip_to_runs(set, false)),
            K::Uid(set) => Self::Uids(selected.clip_to_runs(set, true)),

            K::ModSeq(_, modseq) => Self::Uids(context.modseqs.at_least(*modseq)),

            K::Has(flag) => Self::has(flag),
            K::Recent => Self::Recent,
            K::Old => not(Self::Recent),
            K::New => Self::All(vec![Self::Recent, not(Self::Flags(Flags::SEEN))]),

            K::Date(DateOf::Arrival, order, date) => Self::Arrived(Span::of(*order, *date)),
            K::Date(DateOf::Sent, order, date) => Self::Sent(Span::of(*order, *date)),
            K::Larger(size) => Self::Larger(*size),
            K::Smaller(size) => Self::Smaller(*size),

            K::Older(seconds) => Self::Until(context.ago(*seconds)),
            K::Younger(seconds) => Self::From(context.ago(*seconds)),
            K::Date(DateOf::Saved, order, date) => Self::Saved(Span::of(*order, *date)),
            // RFC 8514 §4.3: every mailbox has save dates.
            K::SaveDateSupported => Self::All(Vec::new()),
            K::EmailId(id) => Self::Email(id.clone()),
            K::ThreadId(id) => Self::Thread(id.clone()),

            K::Header(name, wanted) => {
                Self::Header(decoded(context.charset.as_bytes(), name).to_lowercase(), context.text(wanted))
            }
            K::Subject(wanted) => Self::Subject(context.text(wanted)),
            K::Body(wanted) => Self::Body(context.text(wanted)),
            K::Text(wanted) => Self::Anywhere(context.text(wanted)),
        })
    }

    fn has(flag: &Flag) -> Self {
        match flag {
            Flag::Answered => Self::Flags(Flags::ANSWERED),
            Flag::Deleted => Self::Flags(Flags::DELETED),
            Flag::Draft => Self::Flags(Flags::DRAFT),
            Flag::Flagged => Self::Flags(Flags::FLAGGED),
            Flag::Seen => Self::Flags(Flags::SEEN),
            // No message has such a keyword.
            Flag::OtherSystem(name) => Self::Keyword(format!("\\{name}")),
            Flag::Keyword(keyword) => Self::Keyword(keyword.to_lowercase()),
        }
    }

    /// `None`: more of the message has to be read to decide.
    pub fn matches(&self, candidate: &Candidate, meter: Meter<'_>) -> Option<bool> {
        if !meter.allows(self.octets(candidate)) {
            return None;
        }
        match self {
            Self::All(queries) => combine(queries, candidate, meter, false),
            Self::Any(queries) => combine(queries, candidate, meter, true),
            Self::Not(query) => query.matches(candidate, meter).map(|verdict| !verdict),
            Self::Uids(runs) => {
                let uid = candidate.uid();
                let after = runs.partition_point(|(_, last)| *last < uid);
                Some(runs.get(after).is_some_and(|(first, _)| *first <= uid))
            }
            Self::Flags(flags) => Some(candidate.flags.flags.contains(*flags)),
            Self::Keyword(keyword) => {
                Some(candidate.flags.keywords.split_ascii_whitespace().any(|k| k.eq_ignore_ascii_case(keyword)))
            }
            Self::Recent => Some(candidate.is_recent),
            Self::Arrived(span) => candidate.arrived_at().map(|time| span.has(time)),
            Self::Until(time) => candidate.arrived_at().map(|arrived| arrived <= *time),
            Self::From(time) => candidate.arrived_at().map(|arrived| arrived >= *time),
            Self::Saved(span) => candidate.saved_at().map(|time| span.has(time)),
            Self::Email(id) => candidate.has_email_id(id),
            Self::Thread(id) => candidate.has_thread_id(id),
            Self::Larger(size) => candidate.size().map(|octets| u64::from(octets) > *size),
            Self::Smaller(size) => candidate.size().map(|octets| u64::from(octets) < *size),
            Self::Sent(span) => candidate.day_sent().map(|day| day.is_some_and(|day| span.contains(day))),
            Self::Subject(text) => candidate.subject_contains(text),
            Self::Header(name, text) => candidate.header_contains(name, text),
            Self::Body(text) => candidate.body_contains(text),
            Self::Anywhere(text) => match candidate.any_field_contains(text) {
                Some(false) => candidate.body_contains(text),
                verdict => verdict,
            },
        }
    }

    /// Whether a key compares what is read at this depth.
    pub fn reads(&self, depth: Depth) -> bool {
        match self {
            Self::All(queries) | Self::Any(queries) => queries.iter().any(|query| query.reads(depth)),
            Self::Not(query) => query.reads(depth),
            Self::Uids(_) | Self::Flags(_) | Self::Keyword(_) | Self::Recent => depth == Depth::Flags,
            Self::Sent(_) | Self::Subject(_) | Self::Header(..) => depth == Depth::Header,
            Self::Body(_) => depth == Depth::Body,
            Self::Anywhere(_) => matches!(depth, Depth::Header | Depth::Body),
            _ => depth == Depth::Size,
        }
    }

    /// Texts of which a message that matches contains all of at least one list, for the search index; `None` where there are no such
    /// texts, or too many lists.
    pub fn terms(&self) -> Option<Vec<Vec<(Place, &str)>>> {
        match self {
            Self::All(queries) => {
                let of_keys: Vec<_> = queries.iter().filter_map(Self::terms).collect();
                let (only, several): (Vec<_>, Vec<_>) = of_keys.into_iter().partition(|lists| lists.len() == 1);
                match only.is_empty() {
                    false => Some(vec![only.into_iter().flatten().flatten().collect()]),
                    true => several.into_iter().min_by_key(Vec::len),
                }
            }
            Self::Any(queries) => {
                let lists = queries.iter().map(Self::terms).collect::<Option<Vec<_>>>()?.concat();
                (lists.len() <= LISTS).then_some(lists)
            }
            Self::Subject(text) => term(Place::Subject, text),
            Self::Header(name, text) => match name.as_str() {
                "from" => term(Place::From, text),
                "to" | "cc" | "bcc" => term(Place::To, text),
                "subject" => term(Place::Subject, text),
                _ => term(Place::Anywhere, text),
            },
            Self::Body(text) | Self::Anywhere(text) => term(Place::Anywhere, text),
            _ => None,
        }
    }

    /// Whether it needs the object identifiers of messages.
    pub fn needs_ids(&self) -> bool {
        match self {
            Self::All(queries) | Self::Any(queries) => queries.iter().any(Self::needs_ids),
            Self::Not(query) => query.needs_ids(),
            Self::Email(_) | Self::Thread(_) => true,
            _ => false,
        }
    }

    /// Its number of keys.
    pub fn keys(&self) -> usize {
        match self {
            Self::All(queries) | Self::Any(queries) => queries.iter().map(Self::keys).sum::<usize>().saturating_add(1),
            Self::Not(query) => query.keys().saturating_add(1),
            _ => 1,
        }
    }

    /// The octets that a comparison with the candidate reads.
    fn octets(&self, candidate: &Candidate) -> usize {
        match self {
            Self::Sent(_) | Self::Subject(_) | Self::Header(..) => candidate.header_size(),
            Self::Body(_) => candidate.whole_size(),
            // Each field is compared twice, undecoded and decoded.
            Self::Anywhere(_) => candidate.header_size().saturating_mul(4).saturating_add(candidate.whole_size()),
            _ => 0,
        }
    }
}

/// A text that is long enough for the index.
fn term(place: Place, text: &Text) -> Option<Vec<Vec<(Place, &str)>>> {
    let is_long_enough = text.folded().chars().nth(2).is_some();
    is_long_enough.then(|| vec![vec![(place, text.folded())]])
}

/// And (`decisive` is false) or or (`decisive` is true) of the conditions.
fn combine(queries: &[Query], candidate: &Candidate, meter: Meter<'_>, decisive: bool) -> Option<bool> {
    let mut all_known = true;
    for query in queries {
        if meter.is_over() {
            return None;
        }
        match query.matches(candidate, meter) {
            Some(verdict) if verdict == decisive => return Some(decisive),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!decisive)
}

#[cfg(test)]
mod tests {
    use crate::imap::wire::parser::tests::read;
    use crate::imap::wire::syntax::search_keys::search_keys;

    #[test]
    fn sequence_numbers_are_seen_however_deep_they_are() {
        let of = |keys: &str| read(keys, false, search_keys).unwrap().names_sequence_numbers();
        assert!(of("1:3") && of("SEEN OR UID 1 NOT (FLAGGED 4)"));
        let of_selected = |keys: &str| read(keys, false, search_keys).unwrap().names_selected();
        assert!(of_selected("SEEN NOT 4") && of_selected("$") && of_selected("OR UID $ ALL") && !of_selected("UID 4"));
        assert!(!of("UID 1:3") && !of("$ SEEN") && !of("OR UID $ NOT (FLAGGED ALL)"));
    }
}
