//! Allow and block lists: which senders an inbox takes mail from, and which recipients it sends to.
//!
//! An entry is of one inbox or of the whole account. Of the entries that match, the narrowest decides: one of the inbox before one of
//! the account; in the same scope an address before a domain, a longer domain before a shorter one, and `*` last. Between equals, block.
//! Without a match, mail is allowed.

use crate::address::{Address, AddressError, DomainName, LocalPart};
use crate::id::AccessEntryId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// Maximum number of addresses of From that are compared with the lists.
pub const ADDRESSES: usize = 50;
/// Maximum number of labels of a domain in an entry. It bounds the patterns that a longer domain is looked up by.
const LABELS: usize = 8;

/// The mail that an entry applies to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = no_direction, parse_err_ty = String)]
pub enum Direction {
    /// Received mail, by its senders.
    Receive,
    /// Submitted mail, by its recipients.
    Send,
}

fn no_direction(_: &str) -> String {
    "must be receive or send".to_owned()
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = no_action, parse_err_ty = String)]
pub enum Action {
    Allow,
    Block,
}

fn no_action(_: &str) -> String {
    "must be allow or block".to_owned()
}

/// The addresses that an entry matches: one, in lower case and without `+tag`; those at a domain and its subdomains; or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Address(Address),
    Domain(DomainName),
    All,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAPattern {
    #[error("must be an address, a domain, or * for all addresses: {0}")]
    Syntax(#[from] AddressError),
    #[error("a domain in a list has at most {LABELS} labels")]
    TooDeep,
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        Ok(match text.trim() {
            "*" => Self::All,
            text if text.contains('@') => Self::Address(base(&Address::parse(text)?)?),
            text => match DomainName::parse(text)? {
                domain if domain.label_count() > LABELS => return Err(NotAPattern::TooDeep),
                domain => Self::Domain(domain),
            },
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => domain.fmt(f),
            Self::All => f.write_str("*"),
        }
    }
}

fn base(address: &Address) -> Result<Address, AddressError> {
    Address::new(LocalPart::from_unquoted(address.local.base())?, address.domain.clone())
}

/// All patterns that match an address, as text.
pub fn patterns_of(address: &Address) -> Vec<String> {
    let exact = base(address).unwrap_or_else(|_| address.clone()).to_string();
    let domain = address.domain.as_str();
    let parents = domain.rmatch_indices('.').filter_map(|(at, _)| domain.get(at + 1..));
    let domains = parents.chain([domain]).take(LABELS).map(str::to_owned);
    [exact, "*".to_owned()].into_iter().chain(domains).collect()
}

/// An entry that matches an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub id: AccessEntryId,
    pub of_inbox: bool,
    pub action: Action,
    /// As stored.
    pub pattern: String,
}

impl Match {
    /// Orders narrower entries first.
    fn order(&self) -> (bool, u8, Reverse<usize>, bool) {
        let (kind, length) = match self.pattern.as_str() {
            "*" => (2, 0),
            address if address.contains('@') => (0, 0),
            domain => (1, domain.len()),
        };
        (!self.of_inbox, kind, Reverse(length), self.action == Action::Allow)
    }
}

/// The entry that decides.
pub fn decisive(matches: Vec<Match>) -> Option<Match> {
    matches.into_iter().min_by_key(Match::order)
}

/// The entry that decides, if it blocks.
pub fn blocked_by(matches: Vec<Match>) -> Option<Match> {
    decisive(matches).filter(|entry| entry.action == Action::Block)
}

/// The entry that blocks an address. `matches` may also have entries for other addresses.
pub fn blocks(matches: &[Match], address: &Address) -> Option<Match> {
    if matches.is_empty() {
        return None;
    }
    let patterns = patterns_of(address);
    blocked_by(matches.iter().filter(|entry| patterns.contains(&entry.pattern)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(entries: &[(&str, Action, bool)], address: &str) -> Option<Action> {
        let matching = patterns_of(&address.parse().unwrap());
        let matches = entries.iter().filter_map(|(pattern, action, of_inbox)| {
            let pattern = pattern.parse::<Pattern>().unwrap().to_string();
            matching.contains(&pattern).then(|| Match {
                id: AccessEntryId::new(),
                of_inbox: *of_inbox,
                action: *action,
                pattern,
            })
        });
        decisive(matches.collect()).map(|entry| entry.action)
    }

    #[test]
    fn the_narrowest_entry_decides_and_between_equals_block() {
        use Action::{Allow, Block};
        let (inbox, account) = (true, false);
        for (entries, address, wanted) in [
            (&[("example.org", Block, account)][..], "ann@example.org", Some(Block)),
            (&[("example.org", Block, account)], "ann@mail.example.org", Some(Block)),
            (&[("example.org", Block, account)], "ann@notexample.org", None),
            (&[("example.org", Block, account)], "ann@org", None),
            (&[("Ann@Example.org", Block, account)], "ann+list@EXAMPLE.org", Some(Block)),
            (&[("ann@example.org", Block, account)], "bob@example.org", None),
            (&[("example.org", Block, account), ("ann@example.org", Allow, account)], "ann@example.org", Some(Allow)),
            (
                &[("example.org", Block, account), ("mail.example.org", Allow, account)],
                "a@mail.example.org",
                Some(Allow),
            ),
            (&[("*", Block, account), ("example.org", Allow, account)], "ann@example.org", Some(Allow)),
            (&[("*", Block, account), ("example.org", Allow, account)], "ann@example.net", Some(Block)),
            (&[("ann@example.org", Block, account), ("*", Allow, inbox)], "ann@example.org", Some(Allow)),
            (&[("example.org", Allow, inbox), ("example.org", Block, inbox)], "ann@example.org", Some(Block)),
            (&[("example.org", Block, inbox), ("example.org", Allow, inbox)], "ann@example.org", Some(Block)),
            (&[("example.org", Block, account)], "a@1.2.3.4.5.6.7.8.9.example.org", Some(Block)),
            (&[], "ann@example.org", None),
        ] {
            assert_eq!(decision(entries, address), wanted, "{entries:?} {address}");
        }
    }

    #[test]
    fn a_pattern_is_an_address_a_domain_or_all_addresses() {
        for (text, wanted) in
            [(" Ann+tag@Example.ORG ", "ann@example.org"), ("Bücher.example", "xn--bcher-kva.example"), ("*", "*")]
        {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), wanted);
        }
        assert_eq!("1.2.3.4.5.6.7.8.example".parse::<Pattern>(), Err(NotAPattern::TooDeep));
        for text in ["", "@", "@example.org", "ann@", "*.example.org", "a b", "ann@example.org, bob@example.org"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
