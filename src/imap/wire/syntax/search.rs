//! SEARCH, SORT, THREAD: RFC 9051 §6.4.4, RFC 4731 (ESEARCH), RFC 5182 (SAVE), RFC 5256, RFC 5957 (SORT=DISPLAY), RFC 5267
//! (ESORT), RFC 9394 (PARTIAL); and ESEARCH in several mailboxes: RFC 7377.

use super::super::parser::{Parser, Read};
use super::super::values::{Charset, PartialRange};
use super::notify::{self, Mailboxes};
use super::search_keys::{SearchKey, search_keys};

/// SEARCH and UID SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub returned: Returned,
    pub charset: Option<Charset>,
    pub key: SearchKey,
    pub by_uid: bool,
}

/// What is returned of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// A SEARCH or SORT response: there was no RETURN.
    Old,
    /// An ESEARCH response with these.
    Extended(ReturnOptions),
}

/// The options of RETURN. `RETURN ()` is `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnOptions {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    pub save: bool,
    /// Not with `all`.
    pub partial: Option<PartialRange>,
}

/// SORT and UID SORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    pub returned: Returned,
    /// Each, and whether it is reversed. Not empty.
    pub by: Vec<(SortKey, bool)>,
    pub charset: Charset,
    pub key: SearchKey,
    pub by_uid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    Arrival,
    Cc,
    Date,
    DisplayFrom,
    DisplayTo,
    From,
    Size,
    Subject,
    To,
}

/// THREAD and UID THREAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub algorithm: Algorithm,
    pub charset: Charset,
    pub key: SearchKey,
    pub by_uid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    OrderedSubject,
    References,
}

/// ESEARCH: a search in several mailboxes, whose results are UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSearch {
    /// Empty: in the selected mailbox.
    pub mailboxes: Vec<Mailboxes>,
    pub returned: ReturnOptions,
    pub charset: Option<Charset>,
    pub key: SearchKey,
}

/// The arguments of SEARCH.
pub fn search(parser: &mut Parser<'_>, by_uid: bool) -> Read<Search> {
    let returned = returned(parser)?;
    let (charset, key) = program(parser)?;
    Ok(Search { returned, charset, key, by_uid })
}

/// The arguments of SORT.
pub fn sort(parser: &mut Parser<'_>, by_uid: bool) -> Read<Sort> {
    let returned = returned(parser)?;
    parser.space()?;
    let by = parser.list(sort_key)?;
    let charset = charset(parser)?;
    parser.space()?;
    Ok(Sort { returned, by, charset, key: search_keys(parser)?, by_uid })
}

/// The arguments of THREAD.
pub fn thread(parser: &mut Parser<'_>, by_uid: bool) -> Read<Thread> {
    parser.space()?;
    let name = parser.name("a threading algorithm")?;
    let algorithm = match name.as_str() {
        "ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        "REFERENCES" => Algorithm::References,
        _ => return Err(parser.unknown("threading algorithm", name.as_bytes())),
    };
    let charset = charset(parser)?;
    parser.space()?;
    Ok(Thread { algorithm, charset, key: search_keys(parser)?, by_uid })
}

/// The arguments of ESEARCH.
pub fn multi_search(parser: &mut Parser<'_>) -> Read<MultiSearch> {
    let mut mailboxes = Vec::new();
    if parser.eat_space_and_word("IN") {
        parser.space()?;
        mailboxes = parser.list(notify::mailboxes)?;
    }
    let returned = match returned(parser)? {
        Returned::Extended(options) => options,
        Returned::Old => ReturnOptions { all: true, ..ReturnOptions::default() },
    };
    let (charset, key) = program(parser)?;
    Ok(MultiSearch { mailboxes, returned, charset, key })
}

fn returned(parser: &mut Parser<'_>) -> Read<Returned> {
    if !parser.eat_space_and_word("RETURN") {
        return Ok(Returned::Old);
    }
    parser.space()?;
    let mut options = ReturnOptions::default();
    parser.list_or_empty(|parser| {
        let name = parser.name("a RETURN option")?;
        match name.as_str() {
            "MIN" => options.min = true,
            "MAX" => options.max = true,
            "ALL" => options.all = true,
            "COUNT" => options.count = true,
            "SAVE" => options.save = true,
            "PARTIAL" => {
                parser.space()?;
                options.partial = Some(parser.partial_range()?);
            }
            _ => return Err(parser.unknown("RETURN option", name.as_bytes())),
        }
        Ok(())
    })?;
    if options.all && options.partial.is_some() {
        return Err(parser.error("RETURN has either ALL or PARTIAL"));
    }
    options.all |= options == ReturnOptions::default();
    Ok(Returned::Extended(options))
}

/// `search-program`, with the space before it.
fn program(parser: &mut Parser<'_>) -> Read<(Option<Charset>, SearchKey)> {
    let charset = match parser.eat_space_and_word("CHARSET") {
        true => Some(charset(parser)?),
        false => None,
    };
    parser.space()?;
    Ok((charset, search_keys(parser)?))
}

fn charset(parser: &mut Parser<'_>) -> Read<Charset> {
    parser.space()?;
    if parser.peek() != Some(b'"') {
        return parser.atom("a charset").map(str::to_owned);
    }
    let name = parser.string("a charset")?;
    String::from_utf8(name.into_owned()).map_err(|error| parser.unknown("charset", error.as_bytes()))
}

fn sort_key(parser: &mut Parser<'_>) -> Read<(SortKey, bool)> {
    let is_reversed = parser.eat_word("REVERSE");
    if is_reversed {
        parser.space()?;
    }
    let name = parser.name("a sort key")?;
    let key = match name.as_str() {
        "ARRIVAL" => SortKey::Arrival,
        "CC" => SortKey::Cc,
        "DATE" => SortKey::Date,
        "DISPLAYFROM" => SortKey::DisplayFrom,
        "DISPLAYTO" => SortKey::DisplayTo,
        "FROM" => SortKey::From,
        "SIZE" => SortKey::Size,
        "SUBJECT" => SortKey::Subject,
        "TO" => SortKey::To,
        _ => return Err(parser.unknown("sort key", name.as_bytes())),
    };
    Ok((key, is_reversed))
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::super::super::values::Mailbox;
    use super::*;

    fn of(text: &str) -> Result<Search, String> {
        read(text, false, |parser| search(parser, false)).map_err(|error| error.to_string())
    }

    fn options(text: &str) -> ReturnOptions {
        let Returned::Extended(options) = of(&format!(" RETURN {text} ALL")).unwrap().returned else { panic!() };
        options
    }

    #[test]
    fn searches_are_read() {
        assert_eq!(of(" ALL").unwrap().returned, Returned::Old);
        assert_eq!(of(" CHARSET UTF-8 TEXT x").unwrap().charset.as_deref(), Some("UTF-8"));
        assert_eq!(of(" RETURN (SAVE) CHARSET \"x\" ALL").unwrap().charset.as_deref(), Some("x"));
        let all = ReturnOptions { all: true, ..ReturnOptions::default() };
        assert_eq!((options("()"), options("(ALL)")), (all, all));
        assert!(options("(MIN MAX)").min && !options("(MIN MAX)").all);
        assert!(options("(COUNT PARTIAL -1:-100)").partial.is_some());
        for (text, expected) in [
            ("", "expected a space at octet 1"),
            (" RETURN (FOO) ALL", "unknown RETURN option \"FOO\""),
            (" RETURN (ALL PARTIAL 1:2) ALL", "RETURN has either ALL or PARTIAL"),
            (" CHARSET", "expected a space after CHARSET"),
            (" CHARSET UTF-8", "expected a space after UTF-8"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn sorts_and_threads_are_read() {
        let sorted = read(" (SUBJECT REVERSE DATE) UTF-8 ALL", false, |parser| sort(parser, true)).unwrap();
        assert_eq!(sorted.by, [(SortKey::Subject, false), (SortKey::Date, true)]);
        assert!(read(" RETURN (COUNT) (DISPLAYFROM) UTF-8 ALL", false, |parser| sort(parser, true)).is_ok());
        let threads = read(" REFERENCES US-ASCII TEXT x", false, |parser| thread(parser, false)).unwrap();
        assert_eq!((threads.algorithm, threads.charset.as_str()), (Algorithm::References, "US-ASCII"));
        for (text, expected) in [
            (" (FOO) UTF-8 ALL", "unknown sort key \"FOO\""),
            (" () UTF-8 ALL", "expected a sort key at octet 3"),
            (" (REVERSE) UTF-8 ALL", "expected a space after REVERSE"),
            (" (DATE) UTF-8", "expected a space after UTF-8"),
        ] {
            let error = read(text, false, |parser| sort(parser, false)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        let error = read(" FOO UTF-8 ALL", false, |parser| thread(parser, false)).unwrap_err();
        assert_eq!(error.to_string(), "unknown threading algorithm \"FOO\"");
    }

    #[test]
    fn searches_in_several_mailboxes_are_read() {
        let of = |text| read(text, false, multi_search);
        let text = " IN (mailboxes \"folder1\" subtree (\"a\" b) selected) RETURN (MIN) subject \"chad\"";
        let found = of(text).unwrap();
        let mailbox = |name: &str| Mailbox(name.as_bytes().to_vec());
        let expected = [
            Mailboxes::Named(vec![mailbox("folder1")]),
            Mailboxes::Subtree(vec![mailbox("a"), mailbox("b")]),
            Mailboxes::Selected { is_delayed: false },
        ];
        assert_eq!(found.mailboxes, expected);
        assert!(found.returned.min && !found.returned.all);
        assert!(of(" unseen").unwrap().mailboxes.is_empty());
        assert!(of(" IN () unseen").is_err());
    }
}
