//! Where the words of a search are: excerpts of what is shown of a message, with the places of the words.

use super::fields::Header;
use super::mime::Tree;
use super::searched::{lower, lower_character, searched_field};
use super::text::content;
use super::words::decoded_words;
use serde::Serialize;

/// Characters of an excerpt before its first hit, and in all, but for a longer word.
const BEFORE: usize = 60;
const LENGTH: usize = 200;
/// Excerpts of a message, and hits of one, at most.
const EXCERPTS: usize = 5;
const HITS: usize = 20;
/// Octets of a text that are looked at.
const TEXT: usize = 2 * 1024 * 1024;

/// Part of a text that has words of the search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Highlight {
    pub field: HighlightedField,
    /// Spaces are in the place of line ends.
    pub text: String,
    pub hits: Vec<Hit>,
}

/// What the text is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HighlightedField {
    Subject,
    From,
    To,
    Cc,
    TextBody,
    /// The file name of an attachment.
    Filename,
    /// Another field of the header, with its name.
    Header,
}

/// A word's place, in characters of the excerpt: the first one, and the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Hit {
    pub start: usize,
    pub end: usize,
}

/// The excerpts of a message that have one of the words, which are in lower case; with no tree, those of its header. None where the
/// words are in raw HTML or in the header of a part alone.
pub(crate) fn highlights(header: &Header<'_>, tree: Option<&Tree<'_>>, words: &[&str]) -> Vec<Highlight> {
    let mut found = Vec::new();
    let mut look = |field, text: &str| {
        if found.len() < EXCERPTS {
            found.extend(excerpt(text, words).map(|(text, hits)| Highlight { field, text, hits }));
        }
    };
    let shown = [
        ("subject", HighlightedField::Subject),
        ("from", HighlightedField::From),
        ("to", HighlightedField::To),
        ("cc", HighlightedField::Cc),
    ];
    for (name, field) in shown {
        header.all(name).take(1).for_each(|one| look(field, decoded_words(one.value).trim()));
    }
    if let Some(content) = tree.map(|tree| content(tree, TEXT)) {
        look(HighlightedField::TextBody, &content.as_text());
        for name in content.attachments.iter().filter_map(|attachment| attachment.filename.as_deref()) {
            look(HighlightedField::Filename, name);
        }
    }
    if found.is_empty() {
        let has = |field: &&super::fields::Field<'_>| {
            let text = searched_field(field);
            words.iter().any(|word| text.contains(word))
        };
        if let Some(field) = header.fields().iter().find(has) {
            let text = format!("{}: {}", String::from_utf8_lossy(field.name), decoded_words(field.value));
            found.extend(excerpt(&text, words).map(|(text, hits)| Highlight {
                field: HighlightedField::Header,
                text,
                hits,
            }));
        }
    }
    found
}

/// The part of a text around its first hit.
fn excerpt(text: &str, words: &[&str]) -> Option<(String, Vec<Hit>)> {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    let folded = lower(text.to_owned());
    let (first, word) = words.iter().filter_map(|word| Some((folded.find(word)?, *word))).min()?;
    let first = character_at(text, first);
    let start = first.saturating_sub(BEFORE);
    let length = LENGTH.max(first - start + word.chars().count());
    let part: Vec<char> = text.chars().skip(start).take(length).collect();
    let hits = hits(&part, &words);
    let text = part.into_iter().map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect();
    (!hits.is_empty()).then_some((text, hits))
}

/// The number of the character which this octet of the text in lower case is of.
fn character_at(text: &str, octet: usize) -> usize {
    let mut octets = 0;
    let is_before = |character: &char| {
        octets += lower_character(*character).map(char::len_utf8).sum::<usize>();
        octets <= octet
    };
    text.chars().take_while(is_before).count()
}

/// The places of words, in order; those that overlap or touch as one.
fn hits(part: &[char], words: &[&str]) -> Vec<Hit> {
    let (mut folded, mut of_octet) = (String::new(), Vec::new());
    for (at, character) in part.iter().enumerate() {
        folded.extend(lower_character(*character));
        of_octet.resize(folded.len(), at);
    }
    let character = |octet: usize| of_octet.get(octet).copied().unwrap_or(part.len());
    let all = words.iter().flat_map(|word| folded.match_indices(word).take(HITS));
    let mut all: Vec<Hit> = all
        .map(|(at, word)| Hit { start: character(at), end: character((at + word.len()).saturating_sub(1)) + 1 })
        .collect();
    all.sort_unstable_by_key(|hit| (hit.start, hit.end));
    let mut hits: Vec<Hit> = Vec::new();
    for hit in all {
        match hits.last_mut() {
            Some(last) if hit.start <= last.end => last.end = last.end.max(hit.end),
            _ => hits.push(hit),
        }
    }
    hits.truncate(HITS);
    hits
}

#[cfg(test)]
mod tests {
    use super::super::fields::{ReadLimits, header_end};
    use super::*;

    /// The hits in brackets.
    fn marked(text: &str, words: &[&str]) -> Option<String> {
        let (text, hits) = excerpt(text, words)?;
        let characters: Vec<char> = text.chars().collect();
        let (mut marked, mut at) = (String::new(), 0);
        for Hit { start, end } in hits {
            marked.extend(&characters[at..start]);
            marked.push('[');
            marked.extend(&characters[start..end]);
            marked.push(']');
            at = end;
        }
        marked.extend(&characters[at..]);
        Some(marked)
    }

    #[test]
    fn hits_are_at_the_characters_as_they_are_shown() {
        for (text, words, wanted) in [
            ("Lunch at noon, lunch\r\nat one", &["lunch"][..], Some("[Lunch] at noon, [lunch]  at one")),
            (
                "GRÜẞE aus İstanbul und ΟΔΟΣ",
                &["i\u{307}stan", "οδοσ", "grü"],
                Some("[GRÜ]ẞE aus [İstan]bul und [ΟΔΟΣ]"),
            ),
            ("banana", &["ana", "nan"], Some("b[anan]a")),
            ("aaaa", &["aa"], Some("[aaaa]")),
            ("x", &["y", ""], None),
            ("日本語のメール", &["メー"], Some("日本語の[メー]ル")),
        ] {
            assert_eq!(marked(text, words).as_deref(), wanted, "{text}");
        }
        let long = format!("{}needle{}", "é".repeat(5000), "ö".repeat(5000));
        let (text, hits) = excerpt(&long, &["needle"]).unwrap();
        assert_eq!((text.chars().count(), hits), (LENGTH, vec![Hit { start: BEFORE, end: BEFORE + 6 }]));
        let word = "w".repeat(500);
        assert_eq!(excerpt(&format!("a {word}"), &[&word]).unwrap().1, [Hit { start: 2, end: 502 }]);
    }

    #[test]
    fn excerpts_are_of_what_is_shown() {
        let raw = b"From: =?utf-8?q?Andr=C3=A9?= <a@x.org>\r\nSubject: Lunch\r\nX-Ticket: Lunch-77\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>Mit Gr\xfc\xdfen, <b>Andr\xe9</b></p>";
        let (block, body) = raw.split_at(header_end(raw));
        let limits = ReadLimits::default();
        let (tree, header) = (Tree::parse(block, body, &limits), Header::read(block, &limits));
        let fields =
            |words: &[&str]| highlights(&header, Some(&tree), words).iter().map(|h| h.field).collect::<Vec<_>>();
        assert_eq!(fields(&["andré"]), [HighlightedField::From, HighlightedField::TextBody]);
        assert_eq!(fields(&["lunch"]), [HighlightedField::Subject]);
        assert_eq!(fields(&["lunch-77"]), [HighlightedField::Header]);
        assert_eq!(fields(&["<b>"]), []);
    }
}
