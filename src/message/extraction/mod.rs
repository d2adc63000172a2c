//! What is extracted of a message for programs: the reply without what it quotes, one-time codes, links.
//!
//! Invariant: these are rules over the text that is shown. What they are not sure of is left whole. Work is linear in
//! the shown text, and what is found is bounded: at most [`codes::LIMIT`] codes and [`links::LIMIT`] links. A text of
//! more than [`lines::LIMIT`] lines is not cut.
//!
//! | module | does |
//! | --- | --- |
//! | `words`, `words.txt` | the words that programs and services use, by language |
//! | `lines` | plain text as lines with their depth of quoting |
//! | `html`, `layout` | the same of HTML, its links, and what it hides |
//! | `reply` | what the header says |
//! | `quotes` | finds what is quoted, and what only looks like it |
//! | `introductions` | "On … wrote:" and blocks of "From: … Sent: …" |
//! | `signatures` | finds signatures, disclaimers and footers of lists |
//! | `codes`, `candidates` | finds one-time codes |
//! | `links`, `urls` | lists links, confirmations first |

mod candidates;
mod codes;
mod html;
mod introductions;
mod layout;
mod lines;
mod links;
mod quotes;
mod reply;
mod signatures;
mod urls;
mod words;

pub(crate) use codes::Code;
pub(crate) use links::Link;

use self::lines::{Line, Lines};
use self::reply::Reply;
use super::addresses;
use super::fields::Header;
use super::hidden::{Characters, Findings, HiddenText, Place, without_tags};
use super::text::Content;
use super::words::{decoded_words, is_control, without_controls};
use crate::message::html_text::html_to_text;

/// What was extracted of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extraction {
    /// The reply without quotes and signature, or the whole text. Lines end in LF; a quote that stays is marked by `>`.
    pub text: String,
    /// In order of appearance, each once.
    pub codes: Vec<Code>,
    /// Confirmations first, then the others, each group in order of appearance; each URL once.
    pub links: Vec<Link>,
    /// What a reader does not see. Of it, what is in HTML is not in `text`, nor are tag characters.
    pub hidden: Vec<HiddenText>,
}

/// Extracts from a message: its own header and its content as displayed.
pub(crate) fn extract(header: &Header<'_>, content: &Content) -> Extraction {
    let subject = header.find("Subject").map(decoded_words).unwrap_or_default();
    let author = addresses::mailboxes(header, "From").next().and_then(|mailbox| mailbox.display_name());
    let mut findings = Findings::default();
    Characters::read(Place::Subject, &subject, &mut findings);
    Characters::read(Place::From, author.as_deref().unwrap_or_default(), &mut findings);
    Characters::read(Place::Text, content.text.as_deref().unwrap_or_default(), &mut findings);
    for name in content.attachments.iter().filter_map(|attachment| attachment.filename.as_deref()) {
        Characters::read(Place::Filename, name, &mut findings);
    }
    let answers = ["In-Reply-To", "References"].iter().any(|name| header.find(name).is_some());
    let reply = Reply::new(&subject, author.as_deref(), answers);

    let mut page = content.html.as_deref().map(html::read);
    let of_page = page.as_mut().map(|page| std::mem::take(&mut page.hidden)).unwrap_or_default();
    let plain = content.text.as_deref().map(|text| lines::of_text(text, content.flow));
    let empty = Lines::default();
    let shown = match (&page, &plain) {
        (Some(page), Some(plain)) => {
            if page.lines.has_quotes() {
                &page.lines
            } else {
                plain
            }
        }
        (Some(page), None) => &page.lines,
        (None, Some(plain)) => plain,
        (None, None) => &empty,
    };
    let kept = quotes::kept(shown, &reply);
    let mut codes = codes::find(&subject, &kept);
    if let (true, Some(page)) = (codes.is_empty(), &page) {
        codes = codes::find(&subject, &quotes::kept(&page.lines, &reply));
    }
    let found = match (&page, &plain) {
        (Some(page), _) => links::of_page(page),
        (None, Some(plain)) => links::of_text(plain),
        (None, None) => Vec::new(),
    };
    let whole = || content.text.clone().or_else(|| content.html.as_deref().map(html_to_text)).unwrap_or_default();
    let mut text = if shown.is_cut { whole() } else { text_of(&kept) };
    if text.trim().is_empty() && !of_page.is_empty() {
        // All of it is hidden.
        text = whole();
    }
    let text = Some(without_tags(text.clone())).filter(|rest| !rest.trim().is_empty()).unwrap_or(text);
    let mut hidden = findings.into_list();
    hidden.extend(of_page.into_list());
    let codes = codes.into_iter().map(|code| Code { context: without_controls(code.context), ..code });
    let links = links::in_order(&subject, found).into_iter().filter(|link| !link.url.contains(is_control));
    let links = links.map(|link| Link { text: without_controls(link.text), ..link });
    Extraction { text, codes: codes.collect(), links: links.collect(), hidden }
}

fn text_of(lines: &[&Line]) -> String {
    let mut text = String::with_capacity(lines.iter().map(|line| line.text.len() + 3).sum());
    for line in lines {
        let marks = ">".repeat(line.depth.min(lines::DEEPEST));
        text.push_str(&marks);
        if !marks.is_empty() && !line.text.is_empty() {
            text.push(' ');
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    let end = text.trim_end().len();
    text.truncate(end);
    let start = text.len() - text.trim_start_matches('\n').len();
    text.split_off(start)
}

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod corpus_tests;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/targets/extraction.rs"]
pub(crate) mod fuzz;
