//! Lists what can be clicked, and tells what a message was sent for from the rest.

use super::html::Page;
use super::lines::Lines;
use super::urls::{READ, is_link, next_url};
use super::words::{lower_in_place, phrases};
use serde::Serialize;
use std::collections::HashMap;

/// Links of a message.
pub(super) const LIMIT: usize = 200;
/// Octets of the words before a link that are looked at.
const BEFORE: usize = 400;

/// A link of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EmailLink)]
pub(crate) struct Link {
    /// As written; `http` or `https`.
    pub url: String,
    /// What is shown for it; the URL where nothing is.
    pub text: String,
    /// It does what the message was sent for: verify an address, sign in, accept an invitation.
    pub confirmation: bool,
}

/// What the subject says that the mail is for.
#[derive(Clone, Copy)]
struct Purpose {
    signs_in: bool,
    confirms: bool,
    sets_password: bool,
}

/// A link with the words around it.
pub(super) struct Found {
    url: String,
    text: String,
    /// The sentence before it, in lower case.
    before: String,
    /// The rest of its sentence.
    after: String,
}

/// The links of a page.
pub(super) fn of_page(page: &Page) -> Vec<Found> {
    let lines = &page.lines.lines;
    let line = |at: usize| lines.get(at).map(|line| line.text.as_str()).unwrap_or_default();
    let found = page.links.iter().map(|link| {
        let own = line(link.line);
        let mut before = last_sentence(own.get(..link.start.min(own.len())).unwrap_or_default());
        if !before.chars().any(char::is_alphanumeric) {
            let above = lines.get(..link.line).unwrap_or_default().iter().rev().take(4).find(|line| !line.is_blank());
            before = above.map(|line| last_sentence(&line.text)).unwrap_or_default();
        }
        let after = first_sentence(own.get(link.end.min(own.len())..).unwrap_or_default());
        let text = if link.text.is_empty() { link.url.clone() } else { link.text.clone() };
        Found { url: link.url.clone(), text, before, after }
    });
    found.collect()
}

/// The URLs in plain text.
pub(super) fn of_text(lines: &Lines) -> Vec<Found> {
    let mut text = String::new();
    for line in &lines.lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text.push_str(&lines.rest);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(range) = next_url(&text, from) {
        from = range.end.max(from + 1);
        let Some(written) = text.get(range.clone()) else { continue };
        let url: String = written.split_whitespace().collect();
        if !is_link(&url) {
            continue;
        }
        let head =
            text.get(text.ceil_char_boundary(range.start.saturating_sub(BEFORE))..range.start).unwrap_or_default();
        let tail =
            text.get(range.end..text.floor_char_boundary((range.end + BEFORE).min(text.len()))).unwrap_or_default();
        let line = head.rsplit('\n').next().unwrap_or_default();
        let before = if line.chars().any(char::is_alphanumeric) {
            last_sentence(&head.replace('\n', " "))
        } else {
            let above = head.trim_end_matches(|c: char| !c.is_alphanumeric() && !":.!?。：".contains(c));
            last_sentence(above.rsplit("\n\n").next().unwrap_or_default())
        };
        let after = first_sentence(tail.lines().next().unwrap_or_default());
        found.push(Found { url: url.clone(), text: url, before, after });
        if found.len() >= READ {
            break;
        }
    }
    found
}

fn last_sentence(text: &str) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(BEFORE));
    let text = text.get(start..).unwrap_or_default().trim_end();
    let body = text.trim_end_matches(['.', '!', '?', '。', '！', '？']);
    let ends = [". ", "! ", "? ", "。", "！", "？"].iter().filter_map(|end| body.rfind(end).map(|at| at + end.len()));
    lower_in_place(text.get(ends.max().unwrap_or(0)..).unwrap_or_default())
}

fn first_sentence(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(BEFORE)).unwrap_or_default();
    let end = [". ", "! ", "? ", "。", "！", "？"].iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    lower_in_place(text.get(..end).unwrap_or_default())
}

/// Each URL once, with the text of its first appearance; confirmations first.
pub(super) fn in_order(subject: &str, found: Vec<Found>) -> Vec<Link> {
    let is_for_signing_in = |text: &str| phrases("sign-in-mail").are_in(text);
    let subject = lower_in_place(subject);
    let purpose = Purpose {
        signs_in: is_for_signing_in(&subject),
        confirms: phrases("confirm").are_in(&subject),
        sets_password: phrases("password").are_in(&subject),
    };
    let mut links: Vec<Link> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for link in found {
        let purpose = Purpose { signs_in: purpose.signs_in || is_for_signing_in(&link.before), ..purpose };
        let confirmation = link.is_confirmation(purpose);
        match places.get(&link.url).and_then(|at| links.get_mut(*at)) {
            Some(other) => other.confirmation |= confirmation,
            None => {
                places.insert(link.url.clone(), links.len());
                links.push(Link { url: link.url, text: link.text, confirmation });
            }
        }
    }
    // The order within both groups stays.
    links.sort_by_key(|link| !link.confirmation);
    links.truncate(LIMIT);
    links
}

impl Found {
    fn is_confirmation(&self, mail: Purpose) -> bool {
        let text = lower_in_place(&self.text);
        let words = text.trim_matches(|c: char| !c.is_alphanumeric());
        let is_bare = self.text == self.url || is_link(&self.text) || phrases("here").has(words);
        let (url_says, url_denies) = self.url_words();
        if url_denies || phrases("not-me").are_in(&self.before) || phrases("not-me").are_in(&self.after) {
            return false;
        }
        if is_bare {
            let asks = phrases("confirm").are_in(&self.before)
                || (mail.sets_password && phrases("password").are_in(&self.before))
                || ((mail.signs_in || mail.confirms) && self.has_token());
            return (url_says || asks) && !phrases("no-before").are_in(&self.before);
        }
        if phrases("no-confirm").are_in(&text) || phrases("no").begin(&text).is_some() {
            return false;
        }
        let is_for_password = mail.sets_password && phrases("password").are_in(&text);
        if phrases("confirm").are_in(&text) || is_for_password {
            return true;
        }
        phrases("sign-in").are_in(&text) && ((mail.signs_in || mail.confirms) && self.has_token() || url_says)
    }

    /// Whether its path or query says that it confirms, and that it does not.
    fn url_words(&self) -> (bool, bool) {
        let rest = self.url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let path = rest.split_once(['/', '?']).map(|(_, path)| path.to_lowercase()).unwrap_or_default();
        let has = |purpose: &str| {
            let mut words = path.split(['/', '?', '&', '=', '.', '#', ';']).take(100);
            words.any(|word| phrases(purpose).has(word))
        };
        (has("url-confirm"), has("url-no-confirm"))
    }

    /// Its path or query has something that is no word.
    fn has_token(&self) -> bool {
        let rest = self.url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let path = rest.split_once('/').map(|(_, path)| path).unwrap_or_default();
        path.contains('=') || path.split('/').any(|word| word.len() >= 4 && word.chars().any(|c| c.is_ascii_digit()))
    }
}
