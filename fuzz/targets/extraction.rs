//! The reply, codes and links of a message.

use super::{Content, codes, extract, links};
use crate::message::fields::{Header, ReadLimits, header_end};
use crate::message::mime::Tree;
use crate::message::text::content;

/// What is found is bounded and of its kind; some text is left where there is some; a message that quotes nothing and is
/// extracted again stays as it is.
pub fn extraction(input: &[u8]) {
    let (header, body) = input.split_at(header_end(input));
    let tree = Tree::parse(header, body, &ReadLimits::default());
    let shown = content(&tree, 1024 * 1024);
    let found = extract(&tree.fields_of(&tree.root), &shown);
    assert!(found.codes.len() <= codes::LIMIT && found.links.len() <= links::LIMIT);
    for code in &found.codes {
        let length = code.code.chars().count();
        assert!((4..=40).contains(&length) && !code.code.contains(char::is_whitespace), "{code:?}");
        assert!(!code.context.is_empty() && code.context.len() <= 256, "{code:?}");
    }
    let mut urls: Vec<_> = found.links.iter().map(|link| link.url.as_str()).collect();
    assert!(urls.iter().all(|url| url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))), "{urls:?}");
    assert!(!found.links.iter().any(|link| link.text.is_empty()), "{:?}", found.links);
    urls.sort_unstable();
    assert!(urls.windows(2).all(|two| two[0] != two[1]), "twice: {urls:?}");
    assert!(found.links.is_sorted_by_key(|link| !link.confirmation));
    if let (Some(text), None) = (&shown.text, &shown.html) {
        assert!(text.trim().is_empty() || !found.text.trim().is_empty(), "all of {text:?} was cut");
    }
    let of_own = Header::read(b"", &ReadLimits::default());
    let text = "No one is quoted here.\n\nNot even once, in two paragraphs.";
    let plain = Content {
        text: Some(text.to_owned()),
        html: None,
        flow: shown.flow,
        truncated: false,
        attachments: Vec::new(),
    };
    assert_eq!(extract(&of_own, &plain).text, text);
}
