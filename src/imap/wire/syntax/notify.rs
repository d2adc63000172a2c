//! NOTIFY, and the sets of mailboxes that it shares with ESEARCH: RFC 5465, RFC 6237, RFC 7377.

use super::super::parser::{Parser, Read};
use super::super::values::Mailbox;
use super::fetch::{self, Item};

/// NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notify {
    /// No notifications any more.
    None,
    Set {
        /// STATUS responses for the mailboxes are sent at once.
        with_status: bool,
        groups: Vec<EventGroup>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventGroup {
    pub mailboxes: Mailboxes,
    /// Empty for NONE.
    pub events: Vec<Event>,
}

/// A set of mailboxes. Lists are not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailboxes {
    /// Delayed: no EXPUNGE before the client's next command.
    Selected {
        is_delayed: bool,
    },
    Inboxes,
    Personal,
    Subscribed,
    /// These, and all below them.
    Subtree(Vec<Mailbox>),
    /// These, and those one level below them.
    SubtreeOne(Vec<Mailbox>),
    Named(Vec<Mailbox>),
}

/// What a client is notified of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// With items to fetch of the new messages.
    MessageNew(Vec<Item>),
    MessageExpunge,
    FlagChange,
    MailboxName,
    SubscriptionChange,
    MailboxMetadataChange,
    ServerMetadataChange,
    /// Refused with BADEVENT.
    Unknown(String),
}

/// The arguments of NOTIFY.
pub fn notify(parser: &mut Parser<'_>) -> Read<Notify> {
    parser.space()?;
    if parser.eat_word("NONE") {
        return Ok(Notify::None);
    }
    if !parser.eat_word("SET") {
        return Err(parser.expected("SET or NONE"));
    }
    let with_status = parser.eat_space_and_word("STATUS");
    let mut groups = Vec::new();
    while groups.is_empty() || !parser.is_at_end() {
        parser.space()?;
        groups.push(event_group(parser)?);
    }
    Ok(Notify::Set { with_status, groups })
}

fn event_group(parser: &mut Parser<'_>) -> Read<EventGroup> {
    parser.octet(b'(')?;
    let mailboxes = mailboxes(parser)?;
    parser.space()?;
    let events = if parser.eat_word("NONE") { Vec::new() } else { parser.list(event)? };
    parser.octet(b')')?;
    Ok(EventGroup { mailboxes, events })
}

/// `filter-mailboxes`
pub fn mailboxes(parser: &mut Parser<'_>) -> Read<Mailboxes> {
    let name = parser.name("a set of mailboxes")?;
    Ok(match name.as_str() {
        "SELECTED" => Mailboxes::Selected { is_delayed: false },
        "SELECTED-DELAYED" => Mailboxes::Selected { is_delayed: true },
        "INBOXES" => Mailboxes::Inboxes,
        "PERSONAL" => Mailboxes::Personal,
        "SUBSCRIBED" => Mailboxes::Subscribed,
        "SUBTREE" => Mailboxes::Subtree(one_or_more(parser)?),
        "SUBTREE-ONE" => Mailboxes::SubtreeOne(one_or_more(parser)?),
        "MAILBOXES" => Mailboxes::Named(one_or_more(parser)?),
        _ => return Err(parser.unknown("set of mailboxes", name.as_bytes())),
    })
}

fn one_or_more(parser: &mut Parser<'_>) -> Read<Vec<Mailbox>> {
    parser.space()?;
    match parser.peek() {
        Some(b'(') => parser.list(|parser| parser.mailbox()),
        _ => Ok(vec![parser.mailbox()?]),
    }
}

fn event(parser: &mut Parser<'_>) -> Read<Event> {
    let name = parser.atom("an event")?;
    Ok(match name.to_ascii_uppercase().as_str() {
        "MESSAGENEW" => Event::MessageNew(match parser.eat_space_before(b'(') {
            true => parser.list(fetch::item)?,
            false => Vec::new(),
        }),
        "MESSAGEEXPUNGE" => Event::MessageExpunge,
        "FLAGCHANGE" => Event::FlagChange,
        "MAILBOXNAME" => Event::MailboxName,
        "SUBSCRIPTIONCHANGE" => Event::SubscriptionChange,
        "MAILBOXMETADATACHANGE" => Event::MailboxMetadataChange,
        "SERVERMETADATACHANGE" => Event::ServerMetadataChange,
        _ => Event::Unknown(name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    fn of(text: &str) -> Result<Notify, String> {
        read(text, false, notify).map_err(|error| error.to_string())
    }

    #[test]
    fn notifications_are_read() {
        assert_eq!(of(" none"), Ok(Notify::None));
        let text =
            " SET STATUS (selected MessageNew (Uid Body.Peek[Header.Fields (To)]) MessageExpunge) (inboxes NONE)";
        assert!(of(text).is_err());
        let text =
            " set status (selected (MessageNew (Uid Body.Peek[Header.Fields (To)]) MessageExpunge Foo)) (inboxes NONE)";
        let Ok(Notify::Set { with_status: true, groups }) = of(text) else { panic!() };
        assert!(matches!(&groups[0].events[..], [Event::MessageNew(items), Event::MessageExpunge, Event::Unknown(_)]
            if items.len() == 2));
        assert_eq!(groups[1], EventGroup { mailboxes: Mailboxes::Inboxes, events: Vec::new() });
        let text = " SET (subtree Lists (MessageNew FlagChange)) (mailboxes (a \"b c\") (MessageNew))";
        let Ok(Notify::Set { with_status: false, groups }) = of(text) else { panic!() };
        assert_eq!(groups[1].mailboxes, Mailboxes::Named(vec![Mailbox(b"a".to_vec()), Mailbox(b"b c".to_vec())]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "expected a space at octet 1"),
            (" FOO", "expected SET or NONE at octet 2"),
            (" SET", "expected a space after SET"),
            (" SET (foo NONE)", "unknown set of mailboxes \"FOO\""),
            (" SET (personal ())", "expected an event at octet 17"),
            (" SET (personal NONE) ", "expected \"(\" at octet 22"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
    }
}
