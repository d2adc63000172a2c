//! Lists of addresses as header fields have them, for showing. RFC 5322 §3.4, §4.4.
//!
//! Invariant: reading is linear, never fails and never goes deep; what is listed of one field is bounded. What decides who
//! may send is read by stricter rules elsewhere.

use super::decode::decoded_words;
use super::fields::{Token, tokens};

/// What is listed of one field: a stranger's header must not become a thousand times its size.
pub(crate) const LISTED: usize = 1000;

/// One thing in a list. A group is its name, its members, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    Mailbox(ListedMailbox),
    GroupStart(Vec<u8>),
    GroupEnd,
}

/// Texts are unfolded and unquoted, and encoded words stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedMailbox {
    /// The display name, or else a comment.
    pub name: Option<Vec<u8>>,
    /// `@a,@b` of `<@a,@b:c@d>`
    pub route: Option<Vec<u8>>,
    pub local: Vec<u8>,
    /// Empty where there is no `@`.
    pub host: Vec<u8>,
}

impl ListedMailbox {
    /// The display name with its encoded words decoded.
    pub fn display_name(&self) -> Option<String> {
        self.name.as_deref().map(decoded_words).filter(|name| !name.is_empty())
    }

    /// `local@host`, or what there is of it.
    pub fn address(&self) -> Option<String> {
        let local = String::from_utf8_lossy(&self.local);
        match (self.local.is_empty(), self.host.is_empty()) {
            (true, true) => None,
            (_, true) => Some(local.into_owned()),
            _ => Some(format!("{local}@{}", String::from_utf8_lossy(&self.host))),
        }
    }
}

/// The mailboxes of a field, members of groups among them.
pub(crate) fn mailboxes(value: &[u8]) -> impl Iterator<Item = ListedMailbox> {
    addresses(value).into_iter().filter_map(|listed| match listed {
        Listed::Mailbox(mailbox) => Some(mailbox),
        Listed::GroupStart(_) | Listed::GroupEnd => None,
    })
}

/// What has been read of one address.
#[derive(Default)]
struct Pending {
    words: Vec<Vec<u8>>,
    comment: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    in_angles: bool,
    in_route: bool,
    closed: bool,
}

impl Pending {
    fn joined(&mut self, with: &[u8]) -> Vec<u8> {
        std::mem::take(&mut self.words).join(with)
    }

    fn has_something(&self) -> bool {
        self.closed || self.local.is_some() || !self.words.is_empty() || self.name.is_some()
    }

    fn finish(mut self) -> Listed {
        // After `>` nothing belongs to the address.
        let (local, host) = match self.local.take() {
            Some(local) => (local, self.joined(b"")),
            None => (self.joined(b" "), Vec::new()),
        };
        let name = self.name.filter(|name| !name.is_empty()).or(self.comment);
        Listed::Mailbox(ListedMailbox { name, route: self.route, local, host })
    }
}

/// What a field lists, in order.
pub(crate) fn addresses(value: &[u8]) -> Vec<Listed> {
    let mut list = Vec::new();
    let mut pending = Pending::default();
    let mut in_group = false;
    for token in tokens(value, b"<>@,;:") {
        if list.len() >= LISTED {
            return list;
        }
        match token {
            Token::Word(_) if pending.closed => {}
            Token::Word(word) => pending.words.push(word),
            Token::Comment(text) => pending.comment = Some(text),
            Token::Special(b'<') if !pending.in_angles => {
                pending.name = Some(pending.joined(b" "));
                pending.local = None;
                pending.in_angles = true;
            }
            Token::Special(b'>') => {
                pending.in_angles = false;
                pending.closed = true;
            }
            Token::Special(b'@') if pending.in_angles && pending.local.is_none() && pending.words.is_empty() => {
                pending.in_route = true;
                pending.route.get_or_insert_default().push(b'@');
            }
            Token::Special(b'@') if pending.local.is_none() => pending.local = Some(pending.joined(b"")),
            Token::Special(b':') if pending.in_angles => {
                let host = pending.joined(b"");
                pending.route.get_or_insert_default().extend_from_slice(&host);
                pending.in_route = false;
            }
            Token::Special(b',') if pending.in_route => {
                let host = pending.joined(b"");
                let route = pending.route.get_or_insert_default();
                route.extend_from_slice(&host);
                route.push(b',');
            }
            Token::Special(b':') => {
                list.push(Listed::GroupStart(pending.joined(b" ")));
                pending = Pending::default();
                in_group = true;
            }
            Token::Special(b',' | b';') => {
                let done = std::mem::take(&mut pending);
                if done.has_something() {
                    list.push(done.finish());
                }
                if token == Token::Special(b';') && std::mem::take(&mut in_group) {
                    list.push(Listed::GroupEnd);
                }
            }
            Token::Special(_) => {}
        }
    }
    if pending.has_something() {
        list.push(pending.finish());
    }
    if in_group {
        list.push(Listed::GroupEnd);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<String> {
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        let some = |part: Option<&[u8]>| part.map_or_else(|| "NIL".to_owned(), text);
        let show = |listed: &Listed| match listed {
            Listed::Mailbox(m) => {
                [some(m.name.as_deref()), some(m.route.as_deref()), text(&m.local), text(&m.host)].join("|")
            }
            Listed::GroupStart(name) => format!("{}:", text(name)),
            Listed::GroupEnd => ";".to_owned(),
        };
        addresses(value.as_bytes()).iter().map(show).collect()
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(read("a@b"), ["NIL|NIL|a|b"]);
        assert_eq!(read("\"Doe, J.\" <j.doe@b>, c@d (Cee)"), ["Doe, J.|NIL|j.doe|b", "Cee|NIL|c|d"]);
        assert_eq!(read("=?utf-8?q?J=C3=BC?= X <\"a b\"@c>"), ["=?utf-8?q?J=C3=BC?= X|NIL|a b|c"]);
        assert_eq!(read("<@r1,@r2:a@b>"), ["NIL|@r1,@r2|a|b"]);
        assert_eq!(read("team: a@b, c@d;"), ["team:", "NIL|NIL|a|b", "NIL|NIL|c|d", ";"]);
        assert_eq!(read("undisclosed recipients:;"), ["undisclosed recipients:", ";"]);
        assert_eq!(read("nobody"), ["NIL|NIL|nobody|"]);
        assert_eq!(read("<>"), ["NIL|NIL||"]);
        assert!(read(" , ,").is_empty());
        for piece in ["a@b,", "g:;", "(", "<", "\"", "a:", "=?"] {
            assert!(read(&piece.repeat(4_800_000)).len() <= LISTED, "{piece}");
        }
    }

    #[test]
    fn names_are_shown_decoded() {
        let shown: Vec<_> = mailboxes(b"=?utf-8?q?J=C3=BC?= X <a@b>, g: c;, <>")
            .map(|mailbox| (mailbox.display_name(), mailbox.address()))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(shown, [(text("J\u{fc} X"), text("a@b")), (None, text("c")), (None, None)]);
    }
}
