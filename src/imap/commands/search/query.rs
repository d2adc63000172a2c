//! A search as a tree of conditions: sets as UIDs, texts in lower case.

use super::matching::{Candidate, Text};
use super::work_limit::Meter;
use crate::imap::selected::SelectedMailbox;
use crate::store::messages::Flags;
use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::datetime::NaiveDate;
use imap_codec::imap_types::search::SearchKey;

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
    /// The Date field, in days.
    Sent(Span),
    /// More octets.
    Larger(u32),
    /// Fewer octets.
    Smaller(u32),
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
    fn before(date: &NaiveDate) -> Self {
        Self(i64::MIN, days(date))
    }

    fn since(date: &NaiveDate) -> Self {
        Self(days(date), i64::MAX)
    }

    fn on(date: &NaiveDate) -> Self {
        Self(days(date), days(date) + 1)
    }

    pub fn contains(self, day: i64) -> bool {
        self.0 <= day && day < self.1
    }
}

fn days(date: &NaiveDate) -> i64 {
    // The default of chrono's date is 1970-01-01.
    date.as_ref().signed_duration_since(Default::default()).num_days()
}

fn text(text: &AString<'_>) -> Text {
    Text::new(text.as_ref())
}

impl Query {
    /// All of `keys`; `None` when a key is not supported.
    pub fn new(keys: &[SearchKey<'_>], selected: &SelectedMailbox) -> Option<Self> {
        keys.iter().map(|key| Self::of(key, selected)).collect::<Option<_>>().map(Self::All)
    }

    fn of(key: &SearchKey<'_>, selected: &SelectedMailbox) -> Option<Self> {
        use SearchKey as K;
        let not = |query| Self::Not(Box::new(query));
        let flag = Self::Flags;
        let header = |name: &str, wanted| Self::Header(name.to_lowercase(), text(wanted));
        Some(match key {
            K::All => Self::All(Vec::new()),
            K::And(keys) => Self::new(keys.as_ref(), selected)?,
            K::Or(a, b) => Self::Any(vec![Self::of(a, selected)?, Self::of(b, selected)?]),
            K::Not(key) => not(Self::of(key, selected)?),
            K::SequenceSet(set) => Self::Uids(selected.clip_to_runs(set, false)),
            K::Uid(set) => Self::Uids(selected.clip_to_runs(set, true)),

            K::Answered => flag(Flags::ANSWERED),
            K::Deleted => flag(Flags::DELETED),
            K::Draft => flag(Flags::DRAFT),
            K::Flagged => flag(Flags::FLAGGED),
            K::Seen => flag(Flags::SEEN),
            K::Unanswered => not(flag(Flags::ANSWERED)),
            K::Undeleted => not(flag(Flags::DELETED)),
            K::Undraft => not(flag(Flags::DRAFT)),
            K::Unflagged => not(flag(Flags::FLAGGED)),
            K::Unseen => not(flag(Flags::SEEN)),
            K::Keyword(keyword) => Self::Keyword(keyword.inner().to_lowercase()),
            K::Unkeyword(keyword) => not(Self::Keyword(keyword.inner().to_lowercase())),
            K::Recent => Self::Recent,
            K::Old => not(Self::Recent),
            K::New => Self::All(vec![Self::Recent, not(flag(Flags::SEEN))]),

            K::Before(date) => Self::Arrived(Span::before(date)),
            K::On(date) => Self::Arrived(Span::on(date)),
            K::Since(date) => Self::Arrived(Span::since(date)),
            K::SentBefore(date) => Self::Sent(Span::before(date)),
            K::SentOn(date) => Self::Sent(Span::on(date)),
            K::SentSince(date) => Self::Sent(Span::since(date)),
            K::Larger(size) => Self::Larger(*size),
            K::Smaller(size) => Self::Smaller(*size),

            K::Bcc(wanted) => header("Bcc", wanted),
            K::Cc(wanted) => header("Cc", wanted),
            K::From(wanted) => header("From", wanted),
            K::Subject(wanted) => Self::Subject(text(wanted)),
            K::To(wanted) => header("To", wanted),
            K::Header(name, wanted) => header(std::str::from_utf8(name.as_ref()).ok()?, wanted),
            K::Body(wanted) => Self::Body(text(wanted)),
            K::Text(wanted) => Self::Anywhere(text(wanted)),
            _ => return None,
        })
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
            Self::Arrived(span) => candidate.day_of_arrival().map(|day| span.contains(day)),
            Self::Larger(size) => candidate.size().map(|octets| octets > *size),
            Self::Smaller(size) => candidate.size().map(|octets| octets < *size),
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
