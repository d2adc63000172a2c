//! ENVELOPE: the header's chief fields, addresses taken apart. RFC 3501 §7.4.2, RFC 5322 §3.4.
//!
//! Invariant: texts are as they stand in the header, unfolded and unquoted but not decoded (encoded words stay).

use super::fields::{Token, find, tokens, unfold};
use imap_codec::imap_types::core::{IString, NString};
use imap_codec::imap_types::envelope::{Address, Envelope};

/// Addresses of one field that are shown: a stranger's header must not become a thousand times its size.
const ADDRESSES: usize = 1000;

/// A text as a string of the protocol: quoted where that is possible, a literal where not.
pub(super) fn istring(mut text: Vec<u8>) -> IString<'static> {
    text.retain(|octet| *octet != 0);
    IString::try_from(text).unwrap_or_else(|_| IString::from(imap_codec::imap_types::core::Quoted::unvalidated("")))
}

/// The same, where NIL would be possible.
pub(super) fn nstring(text: Option<Vec<u8>>) -> NString<'static> {
    NString(text.map(istring))
}

/// The envelope of a header block.
pub(in crate::imap) fn envelope(header: &[u8]) -> Envelope<'static> {
    let text = |name| nstring(find(header, name).map(unfold));
    let list = |name| find(header, name).map(addresses).unwrap_or_default();
    let from = list("From");
    // RFC 3501: a server takes From for Sender and Reply-To that are missing or empty.
    let or_from = |list: Vec<Address<'static>>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date: text("Date"),
        subject: text("Subject"),
        sender: or_from(list("Sender")),
        reply_to: or_from(list("Reply-To")),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
        from,
    }
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

    fn finish(mut self) -> Address<'static> {
        // After `>` nothing belongs to the address.
        let (local, host) = match self.local.take() {
            Some(local) => (local, self.joined(b"")),
            None => (self.joined(b" "), Vec::new()),
        };
        let name = self.name.filter(|name| !name.is_empty()).or(self.comment);
        Address {
            name: nstring(name),
            adl: nstring(self.route),
            mailbox: nstring(Some(local)),
            host: nstring(Some(host)),
        }
    }
}

/// The addresses of a field. A group is its name, its members, and an end (RFC 3501: NIL hosts mark both).
fn addresses(value: &[u8]) -> Vec<Address<'static>> {
    let marker =
        |name| Address { name: NString(None), adl: NString(None), mailbox: nstring(name), host: NString(None) };
    let mut list = Vec::new();
    let mut pending = Pending::default();
    let mut in_group = false;
    for token in tokens(value, b"<>@,;:") {
        if list.len() >= ADDRESSES {
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
                list.push(marker(Some(pending.joined(b" "))));
                pending = Pending::default();
                in_group = true;
            }
            Token::Special(b',' | b';') => {
                let done = std::mem::take(&mut pending);
                if done.has_something() {
                    list.push(done.finish());
                }
                if token == Token::Special(b';') && std::mem::take(&mut in_group) {
                    list.push(marker(None));
                }
            }
            Token::Special(_) => {}
        }
    }
    if pending.has_something() {
        list.push(pending.finish());
    }
    if in_group {
        list.push(marker(None));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Vec<String> {
        let show = |text: &NString<'_>| match text.clone().into_option() {
            Some(text) => String::from_utf8(text.into_owned()).unwrap(),
            None => "NIL".into(),
        };
        let address = |a: &Address<'_>| [&a.name, &a.adl, &a.mailbox, &a.host].map(show).join("|");
        addresses(value.as_bytes()).iter().map(address).collect()
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(read("a@b"), ["NIL|NIL|a|b"]);
        assert_eq!(read("\"Doe, J.\" <j.doe@b>, c@d (Cee)"), ["Doe, J.|NIL|j.doe|b", "Cee|NIL|c|d"]);
        assert_eq!(read("=?utf-8?q?J=C3=BC?= X <\"a b\"@c>"), ["=?utf-8?q?J=C3=BC?= X|NIL|a b|c"]);
        assert_eq!(read("<@r1,@r2:a@b>"), ["NIL|@r1,@r2|a|b"]);
        assert_eq!(read("team: a@b, c@d;"), ["NIL|NIL|team|NIL", "NIL|NIL|a|b", "NIL|NIL|c|d", "NIL|NIL|NIL|NIL"]);
        assert_eq!(read("undisclosed recipients:;"), ["NIL|NIL|undisclosed recipients|NIL", "NIL|NIL|NIL|NIL"]);
        assert_eq!(read("nobody"), ["NIL|NIL|nobody|"]);
        assert_eq!(read("<>"), ["NIL|NIL||"]);
        assert!(read(" , ,").is_empty());
        assert_eq!(read(&"a@b,".repeat(1_000_000)).len(), ADDRESSES);
    }
}
