//! The one reader of address lists: From, To and their like. RFC 5322 §3.4, §4.4 (obsolete forms).
//!
//! Invariant: parsing is linear, never fails and does not recurse. Anything in the place of a mailbox is one: it is
//! displayed as far as it can be parsed, and has an [`Address`] only if it is well-formed. Who may send is decided by
//! what is displayed.

mod lexer;
mod mailbox;

pub(crate) use mailbox::Mailbox;
pub(super) use mailbox::unescaped;

use self::lexer::{Lexer, Token};
use self::mailbox::{Place, Word};
use super::fields::Header;
use super::headers::Fields;
use crate::address::Address;

/// Maximum entries shown of one field, to bound the size of the result.
pub(crate) const LISTED: usize = 1000;

/// An entry of a list. A group has a start, its members, and an end.
#[derive(Debug)]
pub(crate) enum Listed<'a> {
    Mailbox(Mailbox<'a>),
    GroupStart(Vec<u8>),
    GroupEnd,
}

/// The entries of all fields of a name, in order; several fields count as one list (RFC 5322 §4.5.3).
pub(crate) fn listed<'a>(header: &Header<'a>, name: &str) -> impl Iterator<Item = Listed<'a>> {
    let all = header.all(name).flat_map(|field| Addresses::of(field.value));
    all.filter(|listed| !matches!(listed, Listed::Mailbox(mailbox) if mailbox.is_empty())).take(LISTED)
}

/// The mailboxes, including members of groups.
pub(crate) fn mailboxes<'a>(header: &Header<'a>, name: &str) -> impl Iterator<Item = Mailbox<'a>> {
    listed(header, name).filter_map(Listed::mailbox)
}

/// The addresses in all fields of a name in a header block; `None` for an invalid one.
pub fn addresses_of<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = Option<Address>> {
    let named = Fields::new(header).filter(move |field| field.is(name));
    named.flat_map(|field| Addresses::of(field.value)).filter_map(Listed::mailbox).map(|mailbox| mailbox.address())
}

/// The mailboxes of a text that is not a header field, at most `limit`; `None` if one is invalid. A name before `<`
/// may contain characters that need quotes in a field.
pub fn mailboxes_in(text: &str, limit: usize) -> Option<Vec<(Option<String>, Address)>> {
    let read = |text: &str| {
        let mailboxes = Addresses::of(text.as_bytes()).filter_map(Listed::mailbox).take(limit);
        mailboxes.map(|mailbox| Some((mailbox.display_name(), mailbox.address()?))).collect::<Option<Vec<_>>>()
    };
    read(text).or_else(|| {
        let (name, rest) = text.rsplit_once('<')?;
        read(&format!("\"{}\" <{rest}", name.trim().replace('\\', "\\\\").replace('"', "\\\"")))
    })
}

/// The first word of a structured value, skipping comments: an atom, or a quoted string with its quotes.
pub(super) fn first_word(value: &[u8]) -> Option<&[u8]> {
    let mut lexer = Lexer::of(value);
    loop {
        match lexer.token()? {
            Token::Blank | Token::Comment(_) => {}
            Token::Word(word) => return Some(word),
            Token::Sign(_) | Token::Broken => return None,
        }
    }
}

impl<'a> Listed<'a> {
    pub fn mailbox(self) -> Option<Mailbox<'a>> {
        match self {
            Self::Mailbox(mailbox) => Some(mailbox),
            Self::GroupStart(_) | Self::GroupEnd => None,
        }
    }
}

/// Parses a field's value, folded or unfolded.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    lexer: Lexer<'a>,
    /// What ended the last returned mailbox.
    queued: Option<Listed<'a>>,
    in_group: bool,
    /// Only mailboxes so far: no comma, group, or stray character.
    pub plain: bool,
}

impl<'a> Addresses<'a> {
    pub fn of(value: &'a [u8]) -> Self {
        Self { lexer: Lexer::of(value), queued: None, in_group: false, plain: true }
    }

    /// Returns a mailbox, if there is one, then what ended it.
    fn end(&mut self, mailbox: Mailbox<'a>, by: Option<Listed<'a>>) -> Option<Listed<'a>> {
        if mailbox.is_empty() && !mailbox.broken {
            return by;
        }
        self.queued = by;
        Some(Listed::Mailbox(mailbox))
    }
}

impl<'a> Iterator for Addresses<'a> {
    type Item = Listed<'a>;

    fn next(&mut self) -> Option<Listed<'a>> {
        if let Some(queued) = self.queued.take() {
            return Some(queued);
        }
        let mut mailbox = Mailbox::default();
        // White space or a comment precedes the next token.
        let mut apart = false;
        // The first word after `>`.
        let mut behind = None;
        loop {
            let rest = self.lexer.rest;
            let Some(token) = self.lexer.token() else { break };
            match token {
                Token::Blank => apart = true,
                Token::Comment(comment) => {
                    mailbox.add_comment(comment);
                    apart = true;
                }
                Token::Word(octets) => {
                    if mailbox.place == Place::After {
                        behind.get_or_insert(rest);
                    }
                    mailbox.add_word(Word { octets, apart: std::mem::take(&mut apart) });
                }
                // A missing comma: what follows `>` belongs to the next mailbox.
                Token::Sign(b'<') if mailbox.place == Place::After => {
                    (mailbox.broken, self.plain) = (true, false);
                    self.lexer.rest = behind.unwrap_or(rest);
                    return Some(Listed::Mailbox(mailbox));
                }
                Token::Sign(b'<') => {
                    mailbox.broken |= mailbox.place == Place::Inside;
                    (mailbox.place, apart) = (Place::Inside, false);
                }
                Token::Sign(b'>') => {
                    mailbox.broken |= mailbox.place != Place::Inside;
                    if mailbox.place == Place::Inside {
                        mailbox.place = Place::After;
                    }
                }
                Token::Sign(sign @ (b',' | b':'))
                    if mailbox.is_in_route() || sign == b':' && mailbox.is_in_scheme() =>
                {
                    (mailbox.broken, self.plain) = (true, false);
                    mailbox.add_word(Word { octets: rest.get(..1).unwrap_or_default(), apart: false });
                }
                Token::Sign(b':') if mailbox.place == Place::Before => {
                    (self.in_group, self.plain) = (true, false);
                    return Some(Listed::GroupStart(mailbox.name_of_group()));
                }
                Token::Sign(b':') => (mailbox.broken, self.plain) = (true, false),
                Token::Sign(sign) => {
                    self.plain = false;
                    mailbox.broken |= mailbox.place == Place::Inside;
                    let ends_group = sign == b';' && std::mem::take(&mut self.in_group);
                    let found = self.end(std::mem::take(&mut mailbox), ends_group.then_some(Listed::GroupEnd));
                    if found.is_some() {
                        return found;
                    }
                    (apart, behind) = (false, None);
                }
                Token::Broken => (mailbox.broken, self.plain) = (true, false),
            }
        }
        let end = std::mem::take(&mut self.in_group).then_some(Listed::GroupEnd);
        self.end(mailbox, end)
    }
}

#[cfg(test)]
mod tests;
