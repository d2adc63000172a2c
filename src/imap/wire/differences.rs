//! Commands that either our parser or the codec reads, and why the other does not.

use super::command::Body;
use super::syntax::append::{Content, NewMessage};
use super::syntax::fetch::Item;
use super::syntax::search::{Returned, Search, Sort};
use super::syntax::search_keys::{DateOf, SearchKey};
use super::syntax::select::StatusItem;

/// Why one parser may refuse a command that the other reads.
pub fn only_one_reads(command: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(command).to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let depth = text.matches("OR ").count() + text.matches("NOT ").count() + text.matches('(').count();
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    Some(match () {
        () if depth > 8 => "the codec reads eight levels",
        () if digits > Some(9) => "the codec has sizes of 32 bits, and mod-sequences of 64",
        () if has(&["LOGIN ", "AUTHENTICATE ", "STARTTLS"]) => "not allowed after log-in",
        () if has(&["THREAD ", "COMPRESS "]) => "we refuse unknown threading algorithms, the codec those of COMPRESS",
        () if has(&["VANISHED"]) => "the codec takes it without CHANGEDSINCE",
        () if has(&["QRESYNC"]) => "the codec takes `*` in known UIDs, and no mod-sequence 0",
        () if has(&["CHANGEDSINCE"]) => "the codec takes no mod-sequence 0",
        () if has(&["()"]) => "the codec takes FETCH and STATUS of nothing",
        () if has(&["$"]) => "the codec has no `$`",
        () if command.contains(&0) => "the codec refuses NUL in a literal, we in the message of an APPEND",
        () => return None,
    })
}

/// Whether a command has syntax of an extension that the codec does not know.
pub fn is_beyond_codec(body: &Body) -> bool {
    let is_new_item = |item: &Item| {
        matches!(item, Item::EmailId | Item::ThreadId | Item::SaveDate | Item::Preview { .. })
            || matches!(item, Item::BinarySize { path: None })
    };
    let is_new_status =
        |item: &StatusItem| matches!(item, StatusItem::Size | StatusItem::AppendLimit | StatusItem::MailboxId);
    match body {
        Body::Create(create) => !create.uses.is_empty(),
        Body::List(list) => list.is_extended,
        Body::Status(status) => status.items.iter().any(is_new_status),
        Body::Append(append) => {
            let is_one = |message: &NewMessage| matches!(message.content, Content::Literal(_));
            append.messages.len() > 1 || !append.messages.iter().all(is_one)
        }
        Body::Fetch(fetch) => fetch.items.iter().any(is_new_item) || fetch.modifiers.partial.is_some(),
        Body::Search(Search { returned, key, .. }) | Body::Sort(Sort { returned, key, .. }) => {
            *returned != Returned::Old || is_new_key(key)
        }
        Body::GetMetadata(_) | Body::SetMetadata(_) | Body::Notify(_) | Body::MultiSearch(_) | Body::Replace(_) => true,
        _ => false,
    }
}

fn is_new_key(key: &SearchKey) -> bool {
    use SearchKey as O;
    match key {
        O::And(keys) | O::Or(keys) => keys.iter().any(is_new_key),
        O::Not(key) => is_new_key(key),
        O::Date(DateOf::Saved, ..) | O::Older(_) | O::Younger(_) => true,
        O::EmailId(_) | O::ThreadId(_) | O::SaveDateSupported => true,
        _ => false,
    }
}
