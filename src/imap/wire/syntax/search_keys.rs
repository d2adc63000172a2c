//! Search keys: RFC 3501 §6.4.4, RFC 9051 §6.4.4, WITHIN (RFC 5032), MODSEQ (RFC 7162 §3.1.5), OBJECTID (RFC 8474),
//! SAVEDATE (RFC 8514).
//!
//! Clients search for one of many addresses with a long chain of `OR a OR b OR c …`. Keys are read without recursion, and the
//! tree that they make is flat: ORs within ORs are one list, as are parentheses within parentheses.
//!
//! Invariant: the tree is at most [`LEVELS`] deep, so that nothing that walks it runs out of stack.

use super::super::parser::{Parser, Read, is_atom_char};
use super::super::values::{Flag, SequenceSet};
use jiff::civil::Date;

/// Levels of the tree, after it is made flat.
pub const LEVELS: usize = 200;

/// A condition for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    All,
    /// Two or more keys, of which all hold. In any order.
    And(Vec<SearchKey>),
    /// Two or more keys, of which one holds. In any order.
    Or(Vec<SearchKey>),
    Not(Box<SearchKey>),
    /// Messages by sequence number.
    Sequence(SequenceSet),
    Uid(SequenceSet),
    /// The flag is set.
    Has(Flag),
    New,
    Old,
    Recent,
    /// A date of a message, by day.
    Date(DateOf, Order, Date),
    /// INTERNALDATE is at least this many seconds ago.
    Older(u32),
    /// INTERNALDATE is at most this many seconds ago.
    Younger(u32),
    /// More octets.
    Larger(u64),
    /// Fewer octets.
    Smaller(u64),
    /// A field of this name contains this text.
    Header(Vec<u8>, Vec<u8>),
    Subject(Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
    /// The mod-sequence, or that of the metadata item, is at least this.
    ModSeq(Option<ModSeqEntry>, u64),
    EmailId(String),
    ThreadId(String),
    SaveDateSupported,
}

impl SearchKey {
    /// Whether it names messages by sequence number.
    pub fn names_sequence_numbers(&self) -> bool {
        self.has(|key| matches!(key, Self::Sequence(SequenceSet::Ranges(_))))
    }

    /// Whether it names messages of the selected mailbox: by sequence number, or as `$`.
    pub fn names_selected(&self) -> bool {
        self.has(|key| matches!(key, Self::Sequence(_) | Self::Uid(SequenceSet::Saved)))
    }

    /// Whether it is such a key, or one in it.
    fn has(&self, is_one: fn(&Self) -> bool) -> bool {
        match self {
            Self::And(keys) | Self::Or(keys) => keys.iter().any(|key| key.has(is_one)),
            Self::Not(key) => key.has(is_one),
            key => is_one(key),
        }
    }
}

/// Which date of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOf {
    /// INTERNALDATE.
    Arrival,
    /// The Date field.
    Sent,
    /// SAVEDATE.
    Saved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Before,
    On,
    /// On the day or later.
    Since,
}

/// A metadata item of a message whose mod-sequence is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModSeqEntry {
    /// `/flags/…`
    pub name: Vec<u8>,
    pub kind: EntryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Private,
    Shared,
    All,
}

/// What has been opened and not closed.
enum Open {
    /// Keys in parentheses, or the whole search; and how many more parentheses have to be closed.
    All {
        keys: Keys,
        parentheses: usize,
    },
    /// The alternatives of an OR, and how many more there have to be.
    Any {
        keys: Keys,
        missing: usize,
    },
    Not,
}

/// Keys, and the levels of the deepest of them.
#[derive(Default)]
struct Keys {
    keys: Vec<SearchKey>,
    levels: usize,
}

impl Keys {
    fn add(&mut self, key: SearchKey, levels: usize) {
        self.keys.push(key);
        self.levels = self.levels.max(levels);
    }

    /// Adds the keys of a key of the same kind. The fewer are moved to the more: n keys cost n log n, however they are nested.
    fn merge(&mut self, mut keys: Vec<SearchKey>, levels: usize) {
        if keys.len() > self.keys.len() {
            std::mem::swap(&mut self.keys, &mut keys);
        }
        self.keys.append(&mut keys);
        self.levels = self.levels.max(levels);
    }

    /// One key of these, and its levels.
    fn into_key(mut self, of_many: fn(Vec<SearchKey>) -> SearchKey) -> (SearchKey, usize) {
        match (self.keys.pop(), self.keys.is_empty()) {
            (Some(only), true) => (only, self.levels),
            (last, _) => {
                self.keys.extend(last);
                (of_many(self.keys), self.levels.saturating_add(1))
            }
        }
    }
}

/// One or more search keys up to the end of the command, all of which have to hold.
pub fn search_keys(parser: &mut Parser<'_>) -> Read<SearchKey> {
    let mut open = vec![Open::All { keys: Keys::default(), parentheses: 0 }];
    loop {
        // A key begins here.
        if parser.eat(b'(') {
            match open.last_mut() {
                Some(Open::All { parentheses, .. }) => *parentheses = parentheses.saturating_add(1),
                _ => open.push(Open::All { keys: Keys::default(), parentheses: 1 }),
            }
            continue;
        }
        if parser.eat_word("OR") {
            parser.space()?;
            match open.last_mut() {
                Some(Open::Any { missing, .. }) => *missing = missing.saturating_add(1),
                _ => open.push(Open::Any { keys: Keys::default(), missing: 2 }),
            }
            continue;
        }
        if parser.eat_word("NOT") {
            parser.space()?;
            match open.last() {
                // Twice is not at all.
                Some(Open::Not) => drop(open.pop()),
                _ => open.push(Open::Not),
            }
            continue;
        }
        let key = simple(parser)?;
        if let Some(whole) = place(parser, &mut open, key)? {
            return Ok(whole);
        }
    }
}

/// Puts a complete key where it belongs, with all that is complete by that; the whole search once that is.
fn place(parser: &mut Parser<'_>, open: &mut Vec<Open>, key: SearchKey) -> Read<Option<SearchKey>> {
    let (mut key, mut levels) = (key, 1_usize);
    loop {
        if levels > LEVELS {
            return Err(parser.error(format!("search keys are nested too deep, the limit is {LEVELS} levels")));
        }
        match open.pop() {
            None => return Ok(Some(key)),
            Some(Open::Not) => (key, levels) = (SearchKey::Not(Box::new(key)), levels.saturating_add(1)),
            Some(Open::Any { mut keys, missing }) => {
                match key {
                    SearchKey::Or(inner) => keys.merge(inner, levels.saturating_sub(1)),
                    key => keys.add(key, levels),
                }
                if missing > 1 {
                    open.push(Open::Any { keys, missing: missing.saturating_sub(1) });
                    parser.space()?;
                    return Ok(None);
                }
                (key, levels) = keys.into_key(SearchKey::Or);
            }
            Some(Open::All { mut keys, mut parentheses }) => {
                match key {
                    SearchKey::And(inner) => keys.merge(inner, levels.saturating_sub(1)),
                    key => keys.add(key, levels),
                }
                while parentheses > 0 && parser.eat(b')') {
                    parentheses = parentheses.saturating_sub(1);
                }
                let is_outermost = open.is_empty();
                if parentheses > 0 || is_outermost && !parser.is_at_end() {
                    open.push(Open::All { keys, parentheses });
                    if !parser.eat(b' ') {
                        let what = if parentheses > 0 { "a space or \")\"" } else { "a space" };
                        return Err(parser.expected(what));
                    }
                    return Ok(None);
                }
                (key, levels) = keys.into_key(SearchKey::And);
            }
        }
    }
}

/// A key without others in it.
fn simple(parser: &mut Parser<'_>) -> Read<SearchKey> {
    use SearchKey as K;
    if parser.peek().is_some_and(|octet| octet.is_ascii_digit() || matches!(octet, b'*' | b'$')) {
        return parser.sequence_set().map(K::Sequence);
    }
    let name = parser.name("a search key")?;
    let not = |key| K::Not(Box::new(key));
    let date_key = |parser: &mut Parser<'_>, of, order| {
        parser.space()?;
        Ok(K::Date(of, order, parser.date()?))
    };
    Ok(match name.as_str() {
        "ALL" => K::All,
        "ANSWERED" => K::Has(Flag::Answered),
        "DELETED" => K::Has(Flag::Deleted),
        "DRAFT" => K::Has(Flag::Draft),
        "FLAGGED" => K::Has(Flag::Flagged),
        "SEEN" => K::Has(Flag::Seen),
        "UNANSWERED" => not(K::Has(Flag::Answered)),
        "UNDELETED" => not(K::Has(Flag::Deleted)),
        "UNDRAFT" => not(K::Has(Flag::Draft)),
        "UNFLAGGED" => not(K::Has(Flag::Flagged)),
        "UNSEEN" => not(K::Has(Flag::Seen)),
        "KEYWORD" => keyword(parser)?,
        "UNKEYWORD" => not(keyword(parser)?),
        "NEW" => K::New,
        "OLD" => K::Old,
        "RECENT" => K::Recent,
        "UID" => {
            parser.space()?;
            K::Uid(parser.sequence_set()?)
        }
        "BEFORE" => date_key(parser, DateOf::Arrival, Order::Before)?,
        "ON" => date_key(parser, DateOf::Arrival, Order::On)?,
        "SINCE" => date_key(parser, DateOf::Arrival, Order::Since)?,
        "SENTBEFORE" => date_key(parser, DateOf::Sent, Order::Before)?,
        "SENTON" => date_key(parser, DateOf::Sent, Order::On)?,
        "SENTSINCE" => date_key(parser, DateOf::Sent, Order::Since)?,
        "SAVEDBEFORE" => date_key(parser, DateOf::Saved, Order::Before)?,
        "SAVEDON" => date_key(parser, DateOf::Saved, Order::On)?,
        "SAVEDSINCE" => date_key(parser, DateOf::Saved, Order::Since)?,
        "SAVEDATESUPPORTED" => K::SaveDateSupported,
        "OLDER" => K::Older(interval(parser)?),
        "YOUNGER" => K::Younger(interval(parser)?),
        "LARGER" => K::Larger(size(parser)?),
        "SMALLER" => K::Smaller(size(parser)?),
        "BCC" | "CC" | "FROM" | "TO" => K::Header(name.into_bytes(), text(parser)?),
        "HEADER" => K::Header(text(parser)?, text(parser)?),
        "SUBJECT" => K::Subject(text(parser)?),
        "BODY" => K::Body(text(parser)?),
        "TEXT" => K::Text(text(parser)?),
        "MODSEQ" => mod_sequence(parser)?,
        "EMAILID" => K::EmailId(object_id(parser)?),
        "THREADID" => K::ThreadId(object_id(parser)?),
        _ => return Err(parser.unknown("search key", name.as_bytes())),
    })
}

fn keyword(parser: &mut Parser<'_>) -> Read<SearchKey> {
    parser.space()?;
    parser.atom("a keyword").map(|keyword| SearchKey::Has(Flag::Keyword(keyword.to_owned())))
}

fn interval(parser: &mut Parser<'_>) -> Read<u32> {
    parser.space()?;
    parser.nz_number("a number of seconds").map(u32::from)
}

fn size(parser: &mut Parser<'_>) -> Read<u64> {
    parser.space()?;
    parser.number64("a number of octets")
}

fn text(parser: &mut Parser<'_>) -> Read<Vec<u8>> {
    parser.space()?;
    parser.astring("a string").map(|text| text.into_owned())
}

/// `objectid` (RFC 8474 §7). Any other name is of no message.
fn object_id(parser: &mut Parser<'_>) -> Read<String> {
    parser.space()?;
    parser.atom("an object ID").map(str::to_owned)
}

fn mod_sequence(parser: &mut Parser<'_>) -> Read<SearchKey> {
    parser.space()?;
    let mut entry = None;
    if parser.peek() == Some(b'"') {
        let name = parser.string("a metadata item")?.into_owned();
        let flag = name.get(.."/flags/".len()).filter(|start| start.eq_ignore_ascii_case(b"/flags/"));
        let flag = flag.and_then(|start| name.get(start.len()..)).unwrap_or_default();
        let flag = flag.strip_prefix(b"\\").unwrap_or(flag);
        if flag.is_empty() || !flag.iter().all(|octet| is_atom_char(*octet)) {
            return Err(parser.unknown("metadata item", &name));
        }
        parser.space()?;
        let kind = parser.name("\"priv\", \"shared\" or \"all\"")?;
        let kind = match kind.as_str() {
            "PRIV" => EntryKind::Private,
            "SHARED" => EntryKind::Shared,
            "ALL" => EntryKind::All,
            _ => return Err(parser.unknown("kind of metadata item", kind.as_bytes())),
        };
        parser.space()?;
        entry = Some(ModSeqEntry { name, kind });
    }
    Ok(SearchKey::ModSeq(entry, parser.number64("a mod-sequence")?))
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::SearchKey as K;
    use super::*;

    fn keys(text: &str) -> Result<SearchKey, String> {
        read(text, false, search_keys).map_err(|error| error.to_string())
    }

    fn header(name: &str, text: &str) -> SearchKey {
        K::Header(name.as_bytes().to_vec(), text.as_bytes().to_vec())
    }

    fn unseen() -> SearchKey {
        K::Not(Box::new(K::Has(Flag::Seen)))
    }

    #[test]
    fn keys_are_read() {
        let day = Date::constant(1994, 2, 1);
        for (text, expected) in [
            ("ALL", K::All),
            ("unseen", unseen()),
            ("FROM \"Smith\"", header("FROM", "Smith")),
            ("HEADER X-Y {1}\r\nz", header("X-Y", "z")),
            ("HEADER Reply-To \"\"", header("Reply-To", "")),
            ("SINCE 1-Feb-1994", K::Date(DateOf::Arrival, Order::Since, day)),
            ("SENTON \"1-Feb-1994\"", K::Date(DateOf::Sent, Order::On, day)),
            ("SAVEDBEFORE 1-Feb-1994", K::Date(DateOf::Saved, Order::Before, day)),
            ("OLDER 86400", K::Older(86400)),
            ("LARGER 5000000000", K::Larger(5_000_000_000)),
            ("KEYWORD $Junk", K::Has(Flag::Keyword("$Junk".to_owned()))),
            ("UID $", K::Uid(SequenceSet::Saved)),
            ("$", K::Sequence(SequenceSet::Saved)),
            ("MODSEQ 620162338", K::ModSeq(None, 620162338)),
            ("EMAILID M6d99ac3275bb4e", K::EmailId("M6d99ac3275bb4e".to_owned())),
            ("SAVEDATESUPPORTED", K::SaveDateSupported),
            ("NOT NOT SEEN", K::Has(Flag::Seen)),
            ("(((SEEN)))", K::Has(Flag::Seen)),
        ] {
            assert_eq!(keys(text), Ok(expected), "{text}");
        }
        let K::ModSeq(Some(entry), 5) = keys("MODSEQ \"/flags/\\\\draft\" all 5").unwrap() else { panic!() };
        assert_eq!((entry.name.as_slice(), entry.kind), (&b"/flags/\\draft"[..], EntryKind::All));
    }

    #[test]
    fn the_same_kind_of_nesting_is_one_list() {
        let froms = |names: &[&str]| names.iter().map(|name| header("FROM", name)).collect::<Vec<_>>();
        for text in ["OR FROM a OR FROM b FROM c", "OR OR FROM a FROM b FROM c", "OR (OR FROM a (FROM b)) (FROM c)"] {
            assert_eq!(keys(text), Ok(K::Or(froms(&["a", "b", "c"]))), "{text}");
        }
        assert_eq!(keys("FROM a (FROM b (FROM c))"), Ok(K::And(froms(&["a", "b", "c"]))));
        let or = K::Or(vec![header("FROM", "a"), K::And(vec![unseen(), K::All])]);
        assert_eq!(keys("NOT OR FROM a (UNSEEN ALL)"), Ok(K::Not(Box::new(or.clone()))));
        assert_eq!(keys("OR FROM a (UNSEEN ALL) RECENT"), Ok(K::And(vec![or, K::Recent])));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "expected a search key at octet 1"),
            ("(", "expected a search key at octet 2"),
            ("()", "expected a search key at octet 2"),
            ("FOO", "unknown search key \"FOO\""),
            ("SEEN FOO", "unknown search key \"FOO\""),
            ("OR SEEN", "expected a space after SEEN"),
            ("(SEEN", "expected a space or \")\" after SEEN"),
            ("SEEN)", "expected a space after SEEN"),
            ("NOT", "expected a space after NOT"),
            ("FROM", "expected a space after FROM"),
            ("FROM ", "expected a string after FROM"),
            ("SEEN ", "expected a search key after SEEN"),
            ("SEEN  SEEN", "expected a search key after SEEN"),
            ("SINCE 1-Foo-2020", "unknown month \"Foo\""),
            ("MODSEQ \"/flags/x\" some 1", "unknown kind of metadata item \"SOME\""),
            ("MODSEQ \"/flagsx\" all 1", "unknown metadata item \"/flagsx\""),
            ("OLDER 0", "expected a number of seconds that is not 0 after OLDER"),
        ] {
            assert_eq!(keys(text), Err(expected.to_owned()), "{text}");
        }
    }

    fn levels(key: &SearchKey) -> usize {
        1 + match key {
            K::And(keys) | K::Or(keys) => keys.iter().map(levels).max().unwrap_or(0),
            K::Not(key) => levels(key),
            _ => 0,
        }
    }

    #[test]
    fn many_keys_are_read_in_linear_time_and_deep_ones_are_refused() {
        let many = 20_000;
        for text in [
            format!("{}SEEN", "OR SEEN ".repeat(many)),
            format!("{}SEEN{}", "OR SEEN (".repeat(many), ")".repeat(many)),
            format!("{}SEEN{}", "OR ".repeat(many), " SEEN".repeat(many)),
            format!("{}SEEN{}", "OR (".repeat(many), ") SEEN".repeat(many)),
            format!("{}SEEN{}", "(SEEN ".repeat(many), ")".repeat(many)),
            format!("{}SEEN{}", "(".repeat(many), " SEEN)".repeat(many)),
            format!("{}SEEN", "SEEN ".repeat(many)),
            format!("{}SEEN", "NOT ".repeat(many)),
        ] {
            let key = keys(&text).unwrap();
            assert!(levels(&key) <= 2, "{}", levels(&key));
            if let K::And(all) | K::Or(all) = key {
                assert_eq!(all.len(), many + 1);
            }
        }
        let deep =
            |levels: usize| keys(&format!("{}SEEN{}", "NOT (ALL OR SEEN (ALL ".repeat(levels), "))".repeat(levels)));
        assert!(levels(&deep(LEVELS / 4 - 1).unwrap()) <= LEVELS);
        assert_eq!(deep(many), Err("search keys are nested too deep, the limit is 200 levels".to_owned()));
    }
}
