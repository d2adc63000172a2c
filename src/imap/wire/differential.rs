//! The codec as an oracle: where it and our parser both read a command, they read the same.

use super::command::{Body, Transfer, read};
use super::differences::{is_beyond_codec, only_one_reads};
use super::frame::Frame;
use super::parser::Mode;
use super::syntax::append::{Append, Content, NewMessage, Spooled};
use super::syntax::fetch::{Fetch, Item, Modifiers, Path, Section};
use super::syntax::list::{Create, List, Returned as ListReturned, Selection};
use super::syntax::quota::SetQuota;
use super::syntax::search::{Algorithm, Returned, Search, Sort, SortKey, Thread};
use super::syntax::search_keys::{DateOf, EntryKind, ModSeqEntry, Order, SearchKey};
use super::syntax::select::{QResync, Select, Status, StatusItem};
use super::syntax::store::{Change, Store};
use super::values::{Flag, Mailbox, MessageNumber, NumberRanges, SequenceSet};
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::command::{CommandBody as C, FetchModifier, SelectParameter, StoreModifier};
use imap_codec::imap_types::core::{AString, Charset, Vec1};
use imap_codec::imap_types::datetime::NaiveDate;
use imap_codec::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_codec::imap_types::extensions::condstore_qresync::{AttributeFlag, EntryTypeReq};
use imap_codec::imap_types::extensions::sort::{SortCriterion, SortKey as S};
use imap_codec::imap_types::extensions::thread::ThreadingAlgorithm;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName as N, Part, Section as Their};
use imap_codec::imap_types::flag::{Flag as F, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox as M};
use imap_codec::imap_types::search::SearchKey as K;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet as Set};
use imap_codec::imap_types::status::StatusDataItemName as I;
use jiff::Timestamp;
use jiff::civil::Date;

/// Reads a whole command with both parsers, and compares what they read. What only one of them reads has to be in
/// [`differences`](super::differences); an error says what is not.
pub fn compare(command: &[u8]) -> Result<(), String> {
    // Input with a bare LF is refused before it is parsed; the codec ends lines with it.
    let Some(frame) = Frame::of(command).filter(|frame| !frame.has_bare_line_feed()) else { return Ok(()) };
    let ours = ours(&frame);
    let theirs = match CommandCodec::new().decode(command) {
        Ok(([], command)) => Some(command),
        _ => None,
    };
    let shown = String::from_utf8_lossy(command);
    match (ours, theirs) {
        (Ok((tag, ours)), Some(theirs)) => {
            let their_tag = theirs.tag.inner().to_owned();
            let theirs = as_ours(theirs.body.into_static()).map(sorted);
            match tag == their_tag && Some(&ours) == theirs.as_ref() {
                true => Ok(()),
                false => Err(format!("{shown:?} is {ours:?}, for the codec {theirs:?}")),
            }
        }
        (Err(_), None) => Ok(()),
        (_, _) if only_one_reads(command).is_some() => Ok(()),
        (Ok((_, ours)), None) if is_beyond_codec(&ours) => Ok(()),
        (Err(error), Some(theirs)) => {
            Err(format!("we refuse {shown:?}: {error}, for the codec it is {:?}", theirs.body))
        }
        (Ok((_, ours)), None) => Err(format!("the codec refuses {shown:?}: {ours:?}")),
    }
}

fn ours(frame: &Frame) -> Result<(String, Body), String> {
    let done = read(frame, Mode { is_authenticated: true, utf8: false });
    match done {
        Ok(command) => Ok((command.tag.as_str().to_owned(), sorted(command.body))),
        Err(unreadable) => Err(unreadable.error.to_string()),
    }
}

fn octets(text: AString<'_>) -> Vec<u8> {
    text.as_ref().to_vec()
}

fn mailbox(mailbox: M<'_>) -> Mailbox {
    Mailbox(match mailbox {
        M::Inbox => b"INBOX".to_vec(),
        M::Other(other) => other.as_ref().to_vec(),
    })
}

/// The spelling of INBOX is lost in the codec.
fn without_case(mailbox: Mailbox) -> Mailbox {
    if mailbox.0.eq_ignore_ascii_case(b"INBOX") { Mailbox(b"INBOX".to_vec()) } else { mailbox }
}

fn set(set: Set) -> SequenceSet {
    let number = |number| match number {
        SeqOrUid::Value(value) => MessageNumber::Value(value),
        SeqOrUid::Asterisk => MessageNumber::Last,
    };
    let range = |range| match range {
        Sequence::Single(one) => (number(one), number(one)),
        Sequence::Range(first, last) => (number(first), number(last)),
    };
    SequenceSet::Ranges(set.0.into_inner().into_iter().map(range).collect())
}

fn numbers(set: Set) -> Option<NumberRanges> {
    let SequenceSet::Ranges(ranges) = self::set(set) else { return None };
    let range = |range| match range {
        (MessageNumber::Value(first), MessageNumber::Value(last)) => Some((first, last)),
        _ => None,
    };
    ranges.into_iter().map(range).collect()
}

fn flag(flag: F<'_>) -> Flag {
    match flag {
        F::Answered => Flag::Answered,
        F::Deleted => Flag::Deleted,
        F::Draft => Flag::Draft,
        F::Flagged => Flag::Flagged,
        F::Seen => Flag::Seen,
        F::Extension(_) => Flag::OtherSystem(flag.to_string().trim_start_matches('\\').to_owned()),
        F::Keyword(keyword) => Flag::Keyword(keyword.inner().to_owned()),
    }
}

fn path(part: Part) -> Path {
    part.0.into_inner()
}

fn section(section: Option<Their<'_>>) -> Section {
    let names = |names: Vec1<AString<'_>>| names.into_inner().into_iter().map(octets).collect();
    match section {
        None => Section::Whole,
        Some(Their::Part(part)) => Section::Part(path(part)),
        Some(Their::Header(part)) => Section::Header(part.map(path)),
        Some(Their::HeaderFields(part, fields)) => Section::Fields(part.map(path), names(fields)),
        Some(Their::HeaderFieldsNot(part, fields)) => Section::FieldsNot(part.map(path), names(fields)),
        Some(Their::Text(part)) => Section::Text(part.map(path)),
        Some(Their::Mime(part)) => Section::Mime(path(part)),
    }
}

fn item(name: N<'_>) -> Item {
    let path = |path: Path| (!path.is_empty()).then_some(path);
    match name {
        N::Body => Item::Body,
        N::BodyExt { section: wanted, partial, peek } => Item::Section { section: section(wanted), partial, peek },
        N::BodyStructure => Item::BodyStructure,
        N::Envelope => Item::Envelope,
        N::Flags => Item::Flags,
        N::InternalDate => Item::InternalDate,
        N::Rfc822 => Item::Rfc822 { peek: false },
        N::Rfc822Header => Item::Rfc822Header,
        N::Rfc822Size => Item::Rfc822Size,
        N::Rfc822Text => Item::Rfc822Text { peek: false },
        N::Uid => Item::Uid,
        N::Binary { section, partial, peek } => Item::Binary { path: path(section), partial, peek },
        N::BinarySize { section } => Item::BinarySize { path: path(section) },
        N::ModSeq => Item::ModSeq,
    }
}

fn date(date: NaiveDate) -> Date {
    date.as_ref().to_string().parse().unwrap()
}

fn all_of(keys: Vec1<K<'_>>) -> SearchKey {
    let mut keys: Vec<_> = keys.into_inner().into_iter().map(key).collect();
    if keys.len() == 1 { keys.remove(0) } else { SearchKey::And(keys) }
}

fn key(key: K<'_>) -> SearchKey {
    use SearchKey as O;
    let not = |key| O::Not(Box::new(key));
    let field = |name: &str, text| O::Header(name.as_bytes().to_vec(), octets(text));
    let arrived = |order, on| O::Date(DateOf::Arrival, order, date(on));
    let sent = |order, on| O::Date(DateOf::Sent, order, date(on));
    let keyword = |name: &str| O::Has(Flag::Keyword(name.to_owned()));
    match key {
        K::And(keys) => all_of(keys),
        K::SequenceSet(messages) => O::Sequence(set(messages)),
        K::All => O::All,
        K::Answered => O::Has(Flag::Answered),
        K::Bcc(text) => field("BCC", text),
        K::Before(on) => arrived(Order::Before, on),
        K::Body(text) => O::Body(octets(text)),
        K::Cc(text) => field("CC", text),
        K::Deleted => O::Has(Flag::Deleted),
        K::Draft => O::Has(Flag::Draft),
        K::Flagged => O::Has(Flag::Flagged),
        K::From(text) => field("FROM", text),
        K::Header(name, text) => O::Header(octets(name), octets(text)),
        K::Keyword(name) => keyword(name.inner()),
        K::Larger(size) => O::Larger(size.into()),
        K::New => O::New,
        K::Not(key) => not(self::key(*key)),
        K::Old => O::Old,
        K::On(on) => arrived(Order::On, on),
        K::Or(left, right) => O::Or(vec![self::key(*left), self::key(*right)]),
        K::Recent => O::Recent,
        K::Seen => O::Has(Flag::Seen),
        K::SentBefore(on) => sent(Order::Before, on),
        K::SentOn(on) => sent(Order::On, on),
        K::SentSince(on) => sent(Order::Since, on),
        K::Since(on) => arrived(Order::Since, on),
        K::Smaller(size) => O::Smaller(size.into()),
        K::Subject(text) => O::Subject(octets(text)),
        K::Text(text) => O::Text(octets(text)),
        K::To(text) => field("TO", text),
        K::Uid(messages) => O::Uid(set(messages)),
        K::Unanswered => not(O::Has(Flag::Answered)),
        K::Undeleted => not(O::Has(Flag::Deleted)),
        K::Undraft => not(O::Has(Flag::Draft)),
        K::Unflagged => not(O::Has(Flag::Flagged)),
        K::Unkeyword(name) => not(keyword(name.inner())),
        K::Unseen => not(O::Has(Flag::Seen)),
        K::ModSequence { entry, modseq } => O::ModSeq(entry.map(mod_seq_entry), modseq),
    }
}

fn mod_seq_entry((flag, kind): (AttributeFlag<'_>, EntryTypeReq)) -> ModSeqEntry {
    let kind = match kind {
        EntryTypeReq::Private => EntryKind::Private,
        EntryTypeReq::Shared => EntryKind::Shared,
        EntryTypeReq::All => EntryKind::All,
    };
    let flag = flag.to_string().replace("\\\\", "\\").to_ascii_lowercase();
    ModSeqEntry { name: format!("/flags/{flag}").into_bytes(), kind }
}

fn sort_key(criterion: SortCriterion) -> (SortKey, bool) {
    let key = match criterion.key {
        S::Arrival => SortKey::Arrival,
        S::Cc => SortKey::Cc,
        S::Date => SortKey::Date,
        S::From => SortKey::From,
        S::Size => SortKey::Size,
        S::Subject => SortKey::Subject,
        S::To => SortKey::To,
        S::DisplayFrom => SortKey::DisplayFrom,
        S::DisplayTo => SortKey::DisplayTo,
    };
    (key, criterion.reverse)
}

fn status_item(item: &I) -> StatusItem {
    match item {
        I::Messages => StatusItem::Messages,
        I::Recent => StatusItem::Recent,
        I::UidNext => StatusItem::UidNext,
        I::UidValidity => StatusItem::UidValidity,
        I::Unseen => StatusItem::Unseen,
        I::Deleted => StatusItem::Deleted,
        I::DeletedStorage => StatusItem::DeletedStorage,
        I::HighestModSeq => StatusItem::HighestModSeq,
    }
}

fn charset(charset: Charset<'_>) -> String {
    charset.as_ref().to_owned()
}

fn pattern(pattern: ListMailbox<'_>) -> Vec<u8> {
    match pattern {
        ListMailbox::Token(token) => token.as_ref().to_vec(),
        ListMailbox::String(string) => string.as_ref().to_vec(),
    }
}

fn select(name: M<'_>, read_only: bool, parameters: Vec<SelectParameter>) -> Option<Select> {
    let mut select = Select { mailbox: mailbox(name), read_only, condstore: false, qresync: None };
    for parameter in parameters {
        match parameter {
            SelectParameter::CondStore => select.condstore = true,
            SelectParameter::QResync { uid_validity, mod_sequence_value, known_uids, seq_match_data } => {
                let matches = match seq_match_data {
                    Some((sequence, uids)) => Some((numbers(sequence)?, numbers(uids)?)),
                    None => None,
                };
                let known_uids = match known_uids {
                    Some(known) => Some(numbers(known)?),
                    None => None,
                };
                let mod_sequence = mod_sequence_value.get();
                select.qresync = Some(QResync { uid_validity, mod_sequence, known_uids, matches });
            }
        }
    }
    Some(select)
}

/// What the codec has read, as our parser would have read it; `None` if it cannot be said.
fn as_ours(body: C<'_>) -> Option<Body> {
    Some(match body {
        C::Capability => Body::Capability,
        C::Noop => Body::Noop,
        C::Logout => Body::Logout,
        C::Id { .. } => Body::Id,
        C::Select { mailbox, parameters } => Body::Select(select(mailbox, false, parameters)?),
        C::Examine { mailbox, parameters } => Body::Select(select(mailbox, true, parameters)?),
        C::Create { mailbox: name } => Body::Create(Create { mailbox: mailbox(name), uses: Vec::new() }),
        C::Delete { mailbox: name } => Body::Delete(mailbox(name)),
        C::Rename { from, to } => Body::Rename { from: mailbox(from), to: mailbox(to) },
        C::Subscribe { mailbox: name } => Body::Subscribe(mailbox(name)),
        C::Unsubscribe { mailbox: name } => Body::Unsubscribe(mailbox(name)),
        C::List { reference, mailbox_wildcard } => Body::List(List {
            selection: Selection::default(),
            reference: mailbox(reference),
            patterns: vec![pattern(mailbox_wildcard)],
            returned: ListReturned::default(),
            is_extended: false,
        }),
        C::Lsub { reference, mailbox_wildcard } => {
            Body::Lsub { reference: mailbox(reference), pattern: pattern(mailbox_wildcard) }
        }
        C::Namespace => Body::Namespace,
        C::Status { mailbox: name, item_names } => {
            Body::Status(Status { mailbox: mailbox(name), items: item_names.iter().map(status_item).collect() })
        }
        C::Append { mailbox: name, flags, date, message } => {
            let is_binary = matches!(message, LiteralOrLiteral8::Literal8(_));
            let date = date.map(|date| Timestamp::from_second(date.as_ref().timestamp()).unwrap());
            let content = Content::Literal(Spooled { index: 0, is_binary });
            let message = NewMessage { flags: flags.into_iter().map(flag).collect(), date, content };
            Body::Append(Append { mailbox: mailbox(name), messages: vec![message] })
        }
        C::Idle => Body::Idle,
        C::Enable { capabilities } => {
            let names = capabilities.into_inner().into_iter();
            Body::Enable(names.map(|name| name.to_string().to_ascii_uppercase()).collect())
        }
        C::Compress { algorithm } => Body::Compress(algorithm.to_string().to_ascii_uppercase()),
        C::GetQuota { root } => Body::GetQuota { root: octets(root) },
        C::GetQuotaRoot { mailbox: name } => Body::GetQuotaRoot(mailbox(name)),
        C::SetQuota { root, quotas } => {
            let limits = quotas.iter().map(|quota| (quota.resource.to_string().to_ascii_uppercase(), quota.limit));
            Body::SetQuota(SetQuota { root: octets(root), limits: limits.collect() })
        }
        body => return of_selected(body),
    })
}

fn of_selected(body: C<'_>) -> Option<Body> {
    Some(match body {
        C::Check => Body::Check,
        C::Close => Body::Close,
        C::Unselect => Body::Unselect,
        C::Expunge => Body::Expunge(None),
        C::ExpungeUid { sequence_set } => Body::Expunge(Some(set(sequence_set))),
        C::Search { charset, criteria, uid: by_uid } => {
            let charset = charset.map(self::charset);
            Body::Search(Search { returned: Returned::Old, charset, key: all_of(criteria), by_uid })
        }
        C::Sort { sort_criteria, charset, search_criteria, uid: by_uid } => Body::Sort(Sort {
            returned: Returned::Old,
            by: sort_criteria.into_inner().into_iter().map(sort_key).collect(),
            charset: self::charset(charset),
            key: all_of(search_criteria),
            by_uid,
        }),
        C::Thread { algorithm, charset, search_criteria, uid: by_uid } => {
            let algorithm = match algorithm {
                ThreadingAlgorithm::OrderedSubject => Algorithm::OrderedSubject,
                ThreadingAlgorithm::References => Algorithm::References,
                ThreadingAlgorithm::Other(_) => return None,
            };
            Body::Thread(Thread { algorithm, charset: self::charset(charset), key: all_of(search_criteria), by_uid })
        }
        C::Fetch { sequence_set, macro_or_item_names, uid: by_uid, modifiers } => {
            let items = match macro_or_item_names {
                MacroOrMessageDataItemNames::Macro(name) => name.expand().into_iter().map(item).collect(),
                MacroOrMessageDataItemNames::MessageDataItemNames(names) => names.into_iter().map(item).collect(),
            };
            let mut read = Modifiers::default();
            for modifier in modifiers {
                match modifier {
                    FetchModifier::ChangedSince(since) => read.changed_since = Some(since.get()),
                    FetchModifier::Vanished => read.vanished = true,
                }
            }
            Body::Fetch(Fetch { set: set(sequence_set), items, modifiers: read, by_uid })
        }
        C::Store { sequence_set, kind, response, flags, uid: by_uid, modifiers } => Body::Store(Store {
            set: set(sequence_set),
            unchanged_since: modifiers.into_iter().last().map(|StoreModifier::UnchangedSince(since)| since),
            change: match kind {
                StoreType::Replace => Change::Replace,
                StoreType::Add => Change::Add,
                StoreType::Remove => Change::Remove,
            },
            is_silent: response == StoreResponse::Silent,
            flags: flags.into_iter().map(flag).collect(),
            by_uid,
        }),
        C::Copy { sequence_set, mailbox: name, uid: by_uid } => {
            Body::Copy(Transfer { set: set(sequence_set), mailbox: mailbox(name), by_uid })
        }
        C::Move { sequence_set, mailbox: name, uid: by_uid } => {
            Body::Move(Transfer { set: set(sequence_set), mailbox: mailbox(name), by_uid })
        }
        _ => return None,
    })
}

/// The normal form: nested keys of one kind as one list in order, and INBOX in capitals.
fn sorted(body: Body) -> Body {
    match body {
        Body::Search(search) => Body::Search(Search { key: sorted_key(search.key), ..search }),
        Body::Sort(sort) => Body::Sort(Sort { key: sorted_key(sort.key), ..sort }),
        Body::Thread(thread) => Body::Thread(Thread { key: sorted_key(thread.key), ..thread }),
        Body::Select(select) => Body::Select(Select { mailbox: without_case(select.mailbox), ..select }),
        Body::Create(create) => Body::Create(Create { mailbox: without_case(create.mailbox), ..create }),
        Body::Delete(name) => Body::Delete(without_case(name)),
        Body::Rename { from, to } => Body::Rename { from: without_case(from), to: without_case(to) },
        Body::Subscribe(name) => Body::Subscribe(without_case(name)),
        Body::Unsubscribe(name) => Body::Unsubscribe(without_case(name)),
        Body::GetQuotaRoot(name) => Body::GetQuotaRoot(without_case(name)),
        Body::List(list) => Body::List(List { reference: without_case(list.reference), ..list }),
        Body::Lsub { reference, pattern } => Body::Lsub { reference: without_case(reference), pattern },
        Body::Status(status) => Body::Status(Status { mailbox: without_case(status.mailbox), ..status }),
        Body::Append(append) => Body::Append(Append { mailbox: without_case(append.mailbox), ..append }),
        Body::Copy(copy) => Body::Copy(Transfer { mailbox: without_case(copy.mailbox), ..copy }),
        Body::Move(copy) => Body::Move(Transfer { mailbox: without_case(copy.mailbox), ..copy }),
        body => body,
    }
}

fn sorted_key(key: SearchKey) -> SearchKey {
    let in_order = |mut keys: Vec<SearchKey>| {
        keys.sort_by_cached_key(|key| format!("{key:?}"));
        keys
    };
    let flat = |keys: Vec<SearchKey>, inner: fn(SearchKey) -> Result<Vec<SearchKey>, SearchKey>| {
        keys.into_iter().map(sorted_key).flat_map(|key| inner(key).unwrap_or_else(|key| vec![key])).collect()
    };
    match key {
        SearchKey::And(keys) => SearchKey::And(in_order(flat(keys, |key| match key {
            SearchKey::And(keys) => Ok(keys),
            key => Err(key),
        }))),
        SearchKey::Or(keys) => SearchKey::Or(in_order(flat(keys, |key| match key {
            SearchKey::Or(keys) => Ok(keys),
            key => Err(key),
        }))),
        SearchKey::Not(key) => match sorted_key(*key) {
            SearchKey::Not(key) => *key,
            key => SearchKey::Not(Box::new(key)),
        },
        SearchKey::ModSeq(Some(entry), value) => {
            let name = entry.name.to_ascii_lowercase();
            SearchKey::ModSeq(Some(ModSeqEntry { name, ..entry }), value)
        }
        key => key,
    }
}
