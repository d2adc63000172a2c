//! Untagged responses with data about mailboxes and the server. RFC 9051 §7.2, §7.3, §7.4.1; RFC 2342, RFC 2971, RFC 4731,
//! RFC 5161, RFC 7162.

use super::capability::{Phase, capabilities};
use super::values::PartialRange;
use super::writer::Writer;
use crate::store::uid_ranges::UidRanges;

/// The value of an item of a STATUS response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusValue {
    Number(u64),
    ObjectId(String),
}

impl<T: Into<u64>> From<T> for StatusValue {
    fn from(number: T) -> Self {
        Self::Number(number.into())
    }
}

/// What an ESEARCH response answers.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub tag: &'a str,
    /// The name of a mailbox as it goes over the wire, and its UIDVALIDITY: of the answers to ESEARCH.
    pub mailbox: Option<(&'a str, u32)>,
    pub by_uid: bool,
}

/// What an ESEARCH response says. `None` is left out, as is an empty `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchResults<'a> {
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub count: Option<u32>,
    /// In the order of the result.
    pub all: &'a [u32],
    pub partial: Option<(PartialRange, &'a [u32])>,
    /// The highest mod-sequence of the messages, where the search names one.
    pub modseq: Option<u64>,
}

impl Writer<'_> {
    /// `* CAPABILITY`
    pub fn capability(&mut self, phase: Phase) {
        self.raw("* CAPABILITY ").joined(capabilities(phase), |writer, name| {
            writer.raw(name);
        });
        self.end();
    }

    /// `* ENABLED`
    pub fn enabled<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        self.raw("* ENABLED");
        for name in names {
            self.raw(" ").raw(name);
        }
        self.end();
    }

    /// `* ID`: the name only, no version.
    pub fn id(&mut self) {
        self.raw("* ID (\"name\" \"Inboxlayer\")").end();
    }

    /// `* NAMESPACE`: personal only.
    pub fn namespace(&mut self, delimiter: char) {
        self.raw("* NAMESPACE ((\"\" ").delimiter(delimiter).raw(")) NIL NIL").end();
    }

    fn delimiter(&mut self, delimiter: char) -> &mut Self {
        self.string(delimiter.encode_utf8(&mut [0; 4]).as_bytes())
    }

    /// `* LIST`, or `* LSUB`. The name is as it goes over the wire.
    pub fn list<'n>(
        &mut self,
        response: &str,
        attributes: impl IntoIterator<Item = &'n str>,
        delimiter: char,
        name: &str,
    ) {
        self.list_with_child_info(response, attributes, delimiter, name, &[]);
    }

    /// The same with the selection options that mailboxes below it meet (RFC 5258 §4).
    pub fn list_with_child_info<'n>(
        &mut self,
        response: &str,
        attributes: impl IntoIterator<Item = &'n str>,
        delimiter: char,
        name: &str,
        child_info: &[&str],
    ) {
        self.raw("* ").raw(response).raw(" ").atoms(attributes).raw(" ");
        self.delimiter(delimiter).raw(" ").astring(name.as_bytes());
        if !child_info.is_empty() {
            self.raw(" (\"CHILDINFO\" (").joined(child_info, |writer, option| {
                writer.string(option.as_bytes());
            });
            self.raw("))");
        }
        self.end();
    }

    /// `* LIST` of a mailbox that was renamed (RFC 5465 §5.4).
    pub fn list_renamed<'n>(
        &mut self,
        attributes: impl IntoIterator<Item = &'n str>,
        delimiter: char,
        name: &str,
        old_name: &str,
    ) {
        self.raw("* LIST ").atoms(attributes).raw(" ").delimiter(delimiter).raw(" ").astring(name.as_bytes());
        self.raw(" (\"OLDNAME\" (").string(old_name.as_bytes()).raw("))").end();
    }

    /// `* METADATA` of entries that have changed, without values (RFC 5464 §4.4.2).
    pub fn metadata_changed<'n>(&mut self, mailbox: &str, entries: impl IntoIterator<Item = &'n str>) {
        self.raw("* METADATA ").string(mailbox.as_bytes()).raw(" ");
        self.joined(entries, |writer, entry| {
            writer.astring(entry.as_bytes());
        });
        self.end();
    }

    /// `* LIST` without attributes, and with the name that the client has used for it (RFC 9051 §6.3.9.7).
    pub fn listed(&mut self, delimiter: char, name: &str, old: Option<&[u8]>) {
        self.raw("* LIST () ").delimiter(delimiter).raw(" ").astring(name.as_bytes());
        if let Some(old) = old {
            self.raw(" (\"OLDNAME\" (").string(old).raw("))");
        }
        self.end();
    }

    /// `* STATUS`
    pub fn status<'n>(&mut self, name: &str, items: impl IntoIterator<Item = (&'n str, StatusValue)>) {
        self.raw("* STATUS ").astring(name.as_bytes()).raw(" (");
        self.joined(items, |writer, (item, value)| {
            writer.raw(item).raw(" ");
            match value {
                StatusValue::Number(number) => writer.number(number),
                StatusValue::ObjectId(id) => writer.raw("(").raw(id).raw(")"),
            };
        });
        self.raw(")").end();
    }

    /// `* QUOTA`: resources with their use and limit (RFC 9208 §5.1).
    pub fn quota<'n>(&mut self, root: &str, resources: impl IntoIterator<Item = (&'n str, u64, u64)>) {
        self.raw("* QUOTA ").string(root.as_bytes()).raw(" (");
        self.joined(resources, |writer, (resource, used, limit)| {
            writer.raw(resource).raw(" ").number(used).raw(" ").number(limit);
        });
        self.raw(")").end();
    }

    /// `* QUOTAROOT`
    pub fn quota_root(&mut self, mailbox: &str, root: &str) {
        self.raw("* QUOTAROOT ").astring(mailbox.as_bytes()).raw(" ").string(root.as_bytes()).end();
    }

    /// `* METADATA`: entries with their values; NIL for one without (RFC 5464 §4.4).
    pub fn metadata<'n>(&mut self, mailbox: &str, entries: impl IntoIterator<Item = (&'n str, Option<&'n [u8]>)>) {
        self.raw("* METADATA ").string(mailbox.as_bytes()).raw(" (");
        self.joined(entries, |writer, (entry, value)| {
            writer.astring(entry.as_bytes()).raw(" ");
            match value {
                Some(value) if value.contains(&0) => writer.raw("~").literal(value.len()).raw(value),
                value => writer.nstring(value),
            };
        });
        self.raw(")").end();
    }

    /// `* FLAGS`
    pub fn flags<'n>(&mut self, flags: impl IntoIterator<Item = &'n str>) {
        self.raw("* FLAGS ").atoms(flags).end();
    }

    /// `* n EXISTS`, RECENT, EXPUNGE
    pub fn counted(&mut self, number: u32, response: &str) {
        self.raw("* ").number(number).raw(" ").raw(response).end();
    }

    /// `* VANISHED`: UIDs of expunged messages; with `earlier`, of messages that have no sequence number (RFC 7162 §3.2.10).
    pub fn vanished(&mut self, uids: &UidRanges, earlier: bool) {
        self.raw(if earlier { "* VANISHED (EARLIER) " } else { "* VANISHED " }).ranges(uids.iter()).end();
    }

    /// `* SEARCH`, with the highest mod-sequence of a result that is not empty (RFC 7162 §3.1.6).
    pub fn search(&mut self, numbers: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.found("* SEARCH", numbers, modseq);
    }

    /// `* SORT`, with the same (RFC 5256 §4)
    pub fn sort(&mut self, numbers: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.found("* SORT", numbers, modseq);
    }

    fn found(&mut self, response: &str, numbers: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.raw(response);
        for number in numbers {
            self.raw(" ").number(number);
        }
        if let Some(modseq) = modseq {
            self.raw(" (MODSEQ ").number(modseq).raw(")");
        }
        self.end();
    }

    /// `* ESEARCH`: RFC 4731 §3.1, RFC 7377 §2.1, RFC 9394 §3.1.
    pub fn esearch(&mut self, answered: Answered<'_>, results: &SearchResults<'_>) {
        self.raw("* ESEARCH (TAG ").string(answered.tag.as_bytes());
        if let Some((name, uid_validity)) = answered.mailbox {
            self.raw(" MAILBOX ").astring(name.as_bytes()).raw(" UIDVALIDITY ").number(uid_validity);
        }
        self.raw(if answered.by_uid { ") UID" } else { ")" });
        let SearchResults { min, max, count, all, partial, modseq } = *results;
        for (name, number) in [("MIN", min), ("MAX", max), ("COUNT", count)] {
            if let Some(number) = number {
                self.raw(" ").raw(name).raw(" ").number(number);
            }
        }
        if !all.is_empty() {
            self.raw(" ALL ").set(all.iter().copied());
        }
        if let Some((range, part)) = partial {
            let (sign, a, b) = match range {
                PartialRange::FromFirst(a, b) => ("", a, b),
                PartialRange::FromLast(a, b) => ("-", a, b),
            };
            self.raw(" PARTIAL (").raw(sign).number(a.get()).raw(":").raw(sign).number(b.get()).raw(" ");
            match part {
                [] => self.raw("NIL"),
                part => self.set(part.iter().copied()),
            };
            self.raw(")");
        }
        if let Some(modseq) = modseq {
            self.raw(" MODSEQ ").number(modseq);
        }
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::ResponseCodec;
    use imap_codec::encode::Encoder;
    use imap_codec::imap_types::core::{IString, QuotedChar};
    use imap_codec::imap_types::extensions::enable::CapabilityEnable;
    use imap_codec::imap_types::extensions::namespace::Namespace;
    use imap_codec::imap_types::flag::{Flag, FlagNameAttribute};
    use imap_codec::imap_types::mailbox::Mailbox;
    use imap_codec::imap_types::response::{Capability, Data, Response};
    use imap_codec::imap_types::status::StatusDataItem;
    use proptest::prelude::*;

    /// What is written, and what the codec writes.
    fn both(write: impl FnOnce(&mut Writer<'_>), data: Data<'_>) -> [String; 2] {
        let mut output = Vec::new();
        write(&mut Writer::new(&mut output, false));
        let theirs = ResponseCodec::new().encode(&Response::Data(data)).dump();
        [output, theirs].map(|octets| String::from_utf8_lossy(&octets).into_owned())
    }

    fn same(write: impl FnOnce(&mut Writer<'_>), data: Data<'_>) {
        let [ours, theirs] = both(write, data);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn data_are_as_the_codec_writes_them() {
        for phase in [Phase::Plaintext, Phase::NotAuthenticated, Phase::Authenticated] {
            let list: Vec<_> = capabilities(phase).map(|name| Capability::try_from(name).unwrap()).collect();
            let [ours, theirs] = both(|writer| writer.capability(phase), Data::Capability(list.try_into().unwrap()));
            // RFC 3501 spells it IMAP4rev1.
            assert_eq!(ours, theirs.replace("IMAP4REV1", "IMAP4rev1"));
        }
        let pair = ("name".try_into().unwrap(), "Inboxlayer".try_into().unwrap());
        same(|writer| writer.id(), Data::Id { parameters: Some(vec![pair]) });
        let personal = vec![Namespace::new(IString::try_from("").unwrap(), QuotedChar::try_from('/').ok())];
        same(|writer| writer.namespace('/'), Data::Namespace { personal, other: vec![], shared: vec![] });
        let capabilities = vec![CapabilityEnable::try_from("UTF8=ACCEPT").unwrap()];
        same(|writer| writer.enabled(["UTF8=ACCEPT"]), Data::Enabled { capabilities });
        same(|writer| writer.enabled([]), Data::Enabled { capabilities: vec![] });
        same(|writer| writer.counted(3, "EXISTS"), Data::Exists(3));
        same(|writer| writer.counted(0, "RECENT"), Data::Recent(0));
        same(|writer| writer.counted(7, "EXPUNGE"), Data::expunge(7).unwrap());
        same(|writer| writer.search([], None), Data::Search(vec![], None));
        let numbers = [1, 20, u32::MAX];
        let theirs = numbers.iter().map(|number| (*number).try_into().unwrap()).collect();
        same(|writer| writer.search(numbers, None), Data::Search(theirs, None));
        let [ours, _] = both(|writer| writer.search([2, 5], Some(917162500)), Data::Exists(1));
        assert_eq!(ours, "* SEARCH 2 5 (MODSEQ 917162500)\r\n");
        let [ours, _] = both(|writer| writer.vanished(&[41, 43, 44].into_iter().collect(), true), Data::Exists(1));
        assert_eq!(ours, "* VANISHED (EARLIER) 41,43:44\r\n");
        let [ours, _] = both(|writer| writer.vanished(&UidRanges::up_to(u32::MAX), false), Data::Exists(1));
        assert_eq!(ours, "* VANISHED 1:4294967295\r\n");
        let flags = ["\\Seen", "$Label1", "a-b"];
        let theirs = flags.map(|flag| Flag::try_from(flag).unwrap()).to_vec();
        same(|writer| writer.flags(flags), Data::Flags(theirs));
    }

    #[test]
    fn results_of_searches_are_as_in_their_rfcs() {
        use std::num::NonZeroU32;
        let written = |answered: Answered<'_>, results: SearchResults<'_>| {
            let mut output = Vec::new();
            Writer::new(&mut output, false).esearch(answered, &results);
            String::from_utf8(output).unwrap()
        };
        let none = SearchResults::default();
        let answered = Answered { tag: "A282", mailbox: None, by_uid: false };
        let by_uid = Answered { by_uid: true, ..answered };
        let some = SearchResults { min: Some(2), count: Some(3), ..none };
        assert_eq!(written(answered, some), "* ESEARCH (TAG \"A282\") MIN 2 COUNT 3\r\n");
        assert_eq!(written(by_uid, none), "* ESEARCH (TAG \"A282\") UID\r\n");
        let all = SearchResults { max: Some(9), all: &[2, 10, 11], ..none };
        assert_eq!(written(by_uid, all), "* ESEARCH (TAG \"A282\") UID MAX 9 ALL 2,10:11\r\n");
        let mailbox = Answered { tag: "t", mailbox: Some(("a b", 1)), by_uid: true };
        let expected = "* ESEARCH (TAG \"t\" MAILBOX \"a b\" UIDVALIDITY 1) UID COUNT 0\r\n";
        assert_eq!(written(mailbox, SearchResults { count: Some(0), ..none }), expected);
        let modseq = SearchResults { all: &[1, 2, 3, 5], modseq: Some(1236), ..none };
        assert_eq!(written(answered, modseq), "* ESEARCH (TAG \"A282\") ALL 1:3,5 MODSEQ 1236\r\n");
        let (one, hundred) = (NonZeroU32::MIN, NonZeroU32::new(100).unwrap());
        let partial = |range, part| written(by_uid, SearchResults { partial: Some((range, part)), ..none });
        let start = "* ESEARCH (TAG \"A282\") UID PARTIAL";
        assert_eq!(partial(PartialRange::FromLast(one, hundred), &[]), format!("{start} (-1:-100 NIL)\r\n"));
        assert_eq!(partial(PartialRange::FromFirst(one, hundred), &[5, 6]), format!("{start} (1:100 5:6)\r\n"));
    }

    proptest! {
        #[test]
        fn names_of_mailboxes_are_as_the_codec_writes_them(name in "[ -~]{0,20}") {
            // The codec writes an atom, which some clients take for no string.
            prop_assume!(!name.eq_ignore_ascii_case("NIL") && !name.eq_ignore_ascii_case("INBOX"));
            let mailbox = || Mailbox::try_from(name.clone()).unwrap();
            let delimiter = QuotedChar::try_from('/').ok();
            let items = vec![FlagNameAttribute::Noselect];
            same(|w| w.list("LIST", ["\\Noselect"], '/', &name), Data::List { items, delimiter, mailbox: mailbox() });
            same(|w| w.list("LSUB", [], '/', &name), Data::Lsub { items: vec![], delimiter, mailbox: mailbox() });
            let items = vec![StatusDataItem::Messages(3), StatusDataItem::Unseen(0)];
            let items = Data::Status { mailbox: mailbox(), items: items.into() };
            same(|w| w.status(&name, [("MESSAGES", 3_u32.into()), ("UNSEEN", 0_u32.into())]), items);
        }
    }
}
