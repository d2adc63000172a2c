//! Which mailbox here a mailbox of another server is copied to.
//!
//! A special use goes before the name (RFC 6154): what is `\Sent` there goes to Sent here, whatever it is called. A prefix that all of a
//! user's mailboxes have there (`INBOX.`, RFC 2342) is left out.

use super::response::Value;
use crate::imap::from_utf7;
use crate::store::mailboxes::{DELIMITER, canonical_name};

/// Special uses as attributes of LIST, and as labels of the API.
const USES: [(&str, &str); 5] =
    [("\\Archive", "archive"), ("\\Drafts", "drafts"), ("\\Junk", "junk"), ("\\Sent", "sent"), ("\\Trash", "trash")];

/// What NAMESPACE says: the prefix of the user's own mailboxes, and those of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    own: String,
    others: Vec<String>,
}

impl Namespaces {
    /// Of the values of an untagged NAMESPACE after the word.
    pub(super) fn read(values: &[Value<'_>]) -> Self {
        let prefixes = |of: &Value<'_>| -> Vec<String> {
            let texts = of.list().iter().filter_map(|namespace| Some(namespace.list().first()?.text()?.into_owned()));
            texts.collect()
        };
        let own = values.first().map(prefixes).unwrap_or_default();
        let others = values.iter().skip(1).flat_map(prefixes).filter(|prefix| !prefix.is_empty()).collect();
        Self { own: own.into_iter().next().unwrap_or_default(), others }
    }
}

/// A mailbox of the other server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// As it is on the wire.
    pub(super) name: String,
    /// As people read it.
    pub(super) shown: String,
    attributes: Vec<String>,
    delimiter: Option<char>,
}

impl Remote {
    /// Of the values of an untagged LIST after the word.
    pub(super) fn read(values: &[Value<'_>]) -> Option<Self> {
        let [attributes, delimiter, name, ..] = values else { return None };
        // A mailbox may be called NIL.
        let name = match name {
            Value::Atom(atom) => String::from_utf8_lossy(atom).into_owned(),
            other => other.text()?.into_owned(),
        };
        Some(Self {
            shown: from_utf7(name.as_bytes()).unwrap_or_else(|| name.clone()),
            name,
            attributes: attributes.list().iter().filter_map(|value| Some(value.text()?.into_owned())).collect(),
            delimiter: delimiter.text().and_then(|text| text.chars().next()),
        })
    }

    fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|known| known.eq_ignore_ascii_case(attribute))
    }

    /// True if it has messages, and they are the user's own.
    pub(super) fn is_wanted(&self, namespaces: &Namespaces) -> bool {
        let is_of_others = namespaces.others.iter().any(|prefix| self.name.starts_with(prefix.as_str()));
        !self.has("\\Noselect") && !self.has("\\NonExistent") && !is_of_others
    }

    /// True if its messages are those of other mailboxes that have the flag `\Flagged` (RFC 6154 §2).
    pub(super) fn is_view(&self) -> bool {
        self.has("\\Flagged")
    }

    /// The mailbox here; `None` if none can have its name. `ours` are labels and names of the mailboxes of the inbox.
    pub(super) fn local(&self, namespaces: &Namespaces, ours: &[(String, String)]) -> Option<String> {
        let special_use = USES.iter().find(|(attribute, _)| self.has(attribute)).map(|(_, label)| *label);
        if let Some((_, name)) = ours.iter().find(|(label, _)| special_use == Some(label.as_str())) {
            return Some(name.clone());
        }
        let name = self.shown.strip_prefix(namespaces.own.as_str()).filter(|rest| !rest.is_empty());
        let name = name.unwrap_or(&self.shown);
        let plain = |level: &str| -> String {
            let is_bad = |c: char| c.is_control() || matches!(c, '%' | '*' | DELIMITER | '\u{2028}' | '\u{2029}');
            level.chars().map(|c| if is_bad(c) { '_' } else { c }).collect()
        };
        let levels: Vec<String> = match self.delimiter {
            Some(delimiter) => name.split(delimiter).filter(|level| !level.is_empty()).map(plain).collect(),
            None => vec![plain(name)],
        };
        canonical_name(&levels.join(&DELIMITER.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::parse;
    use super::*;

    fn remote(line: &str) -> Remote {
        Remote::read(parse(line.as_bytes()).get(2..).unwrap()).unwrap()
    }

    #[test]
    fn mailboxes_go_to_those_of_the_same_use_or_name() {
        let ours = [("sent".to_owned(), "Sent".to_owned()), ("trash".to_owned(), "Bin".to_owned())];
        let values = parse(b"* NAMESPACE ((\"INBOX.\" \".\")) ((\"~\" \".\")) ((\"\" \"/\")(\"#shared.\" \".\"))\r\n");
        let dotted = Namespaces::read(values.get(2..).unwrap());
        assert_eq!(
            dotted,
            Namespaces { own: "INBOX.".to_owned(), others: vec!["~".to_owned(), "#shared.".to_owned()] }
        );
        let none = Namespaces::default();
        for (line, namespaces, local) in [
            ("* LIST (\\HasNoChildren) \".\" INBOX", &dotted, Some("INBOX")),
            ("* LIST () \".\" INBOX.Work.2020", &dotted, Some("Work/2020")),
            ("* LIST (\\sent) \"/\" \"Gesendet\"", &none, Some("Sent")),
            ("* LIST (\\Trash) \"/\" \"[Gmail]/Bin\"", &none, Some("Bin")),
            ("* LIST (\\Junk) \"/\" \"Spam\"", &none, Some("Spam")),
            ("* LIST () \".\" \"a/b.Entw&APw-rfe\"", &none, Some("a_b/Entwürfe")),
            ("* LIST () NIL \"50%\"", &none, Some("50_")),
            ("* LIST () \"/\" NIL", &none, Some("NIL")),
            ("* LIST () \"/\" \"//\"", &none, None),
        ] {
            assert_eq!(remote(line).local(namespaces, &ours).as_deref(), local, "{line}");
            assert!(remote(line).is_wanted(namespaces) && !remote(line).is_view(), "{line}");
        }
        assert!(!remote("* LIST (\\Noselect) \"/\" \"[Gmail]\"").is_wanted(&none));
        assert!(!remote("* LIST () \".\" \"#shared.a\"").is_wanted(&dotted));
        assert!(remote("* LIST (\\Flagged) \"/\" \"[Gmail]/Starred\"").is_view());
    }
}
