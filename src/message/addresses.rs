//! The one reader of address lists: From, To and their like. RFC 5322 §3.4, §4.4 (obsolete forms).
//!
//! Invariant: reading is linear, never fails and never goes deep. Whatever stands where a mailbox may is one: it is shown
//! as far as it can be read, and it has an [`Address`] only where it is well-formed. So what decides who may send is read
//! from what is shown, and what is not well-formed is no one's.

mod lexer;
mod mailbox;

pub(crate) use mailbox::Mailbox;
pub(super) use mailbox::unescaped;

use self::lexer::{Lexer, Token};
use self::mailbox::{Place, Word};
use super::fields::Header;
use super::headers::Fields;
use crate::address::Address;

/// What is shown of one field: a stranger's header must not become a thousand times its size.
pub(crate) const LISTED: usize = 1000;

/// One thing in a list. A group is its name, its members, and its end.
#[derive(Debug)]
pub(crate) enum Listed<'a> {
    Mailbox(Mailbox<'a>),
    GroupStart(Vec<u8>),
    GroupEnd,
}

/// What is shown of the fields of a name, in order: lists that stand in several fields are one (RFC 5322 §4.5.3).
pub(crate) fn listed<'a>(header: &Header<'a>, name: &str) -> impl Iterator<Item = Listed<'a>> {
    let all = header.all(name).flat_map(|field| Addresses::of(field.value));
    all.filter(|listed| !matches!(listed, Listed::Mailbox(mailbox) if mailbox.is_empty())).take(LISTED)
}

/// The mailboxes among them, members of groups too.
pub(crate) fn mailboxes<'a>(header: &Header<'a>, name: &str) -> impl Iterator<Item = Mailbox<'a>> {
    listed(header, name).filter_map(Listed::mailbox)
}

/// The addresses in all fields of a name in a header block: `None` for what is no address.
pub fn addresses_of<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = Option<Address>> {
    let named = Fields::new(header).filter(move |field| field.is(name));
    named.flat_map(|field| Addresses::of(field.value)).filter_map(Listed::mailbox).map(|mailbox| mailbox.address())
}

/// The mailboxes of a text that is no header field, or the first `limit` of them: `None` unless these are addresses. A name
/// before `<` may have signs in it there that would need quotes in a field.
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

/// The first word of a structured value, comments aside: an atom, or a quoted string with its quotes.
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

/// Reads a field's value, with or without its folding.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    lexer: Lexer<'a>,
    /// What ended the mailbox that was given back last.
    queued: Option<Listed<'a>>,
    in_group: bool,
    /// Nothing but mailboxes was seen so far: no comma, group, or stray sign.
    pub plain: bool,
}

impl<'a> Addresses<'a> {
    pub fn of(value: &'a [u8]) -> Self {
        Self { lexer: Lexer::of(value), queued: None, in_group: false, plain: true }
    }

    /// Gives back a mailbox, if there is one, and then what ended it.
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
        // A blank or comment stands before what comes next.
        let mut apart = false;
        // The first word behind `>`.
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
                // A comma is missing: what stands behind `>` is the next one's.
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
                Token::Sign(b',' | b':') if mailbox.is_in_route() => {
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
