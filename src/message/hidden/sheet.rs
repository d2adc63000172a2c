//! The style sheets of a page: rules by the element, class and id of what they end in. CSS Syntax 3, Selectors 4.
//!
//! Invariant: the cost of an element does not grow with the number or length of rules, beyond [`SIMILAR`] of [`NAMES`] for each of its
//! classes. Rules within other
//! conditions than `@media screen` do not hold; those of them that show something are remembered.

use super::colour::Colour;
use super::style::Style;
use std::collections::{HashMap, HashSet};

/// Rules that are read.
const RULES: usize = 2000;
/// Selectors of a rule.
const SELECTORS: usize = 50;
/// Rules with the same key that have further conditions.
const SIMILAR: usize = 8;
/// Classes of an element.
const CLASSES: usize = 12;
/// Different names in one part of a selector; one with more is not understood.
const NAMES: usize = 4;
/// Octets of a condition or a list of selectors that are read.
const HEAD: usize = 4096;

#[derive(Debug, Default)]
pub(in crate::message) struct Sheet {
    /// By `#id`, `.class` or `element`, in the order of the page.
    rules: HashMap<String, Vec<Rule>>,
    /// Keys of what a media query shows.
    shown_elsewhere: HashSet<String>,
    count: usize,
}

#[derive(Debug, Default)]
struct Rule {
    /// What else an element needs.
    others: Vec<String>,
    styles: [Style; 2],
}

/// What the rules say about an element.
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub ordinary: Style,
    pub important: Style,
    /// A media query shows it.
    pub is_shown_elsewhere: bool,
}

impl Sheet {
    /// Adds a `<style>` element.
    pub fn add(&mut self, css: &str) {
        self.block(css, Some(true), 0);
    }

    /// Reads rules. `holds` says whether their condition does; `None`: it is not about the screen.
    fn block(&mut self, css: &str, holds: Option<bool>, depth: usize) {
        let mut rest = css;
        while self.count < RULES {
            rest = rest.trim_start();
            if let Some(comment) = rest.strip_prefix("/*") {
                rest = comment.split_once("*/").map_or("", |(_, after)| after);
                continue;
            }
            // Old pages put their rules in a comment of HTML.
            if let Some(inner) = rest.strip_prefix("<!--").or_else(|| rest.strip_prefix("-->")) {
                rest = inner;
                continue;
            }
            let Some(at) = rest.find(['{', ';', '}']) else { return };
            let (head, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            let (mark, after) = after.split_at_checked(1).unwrap_or(("", ""));
            if mark != "{" {
                rest = after;
                continue;
            }
            self.count += 1;
            let (inner, after) = split_block(after);
            let head = head.get(..head.floor_char_boundary(HEAD)).unwrap_or_default().trim().to_ascii_lowercase();
            match head.strip_prefix('@') {
                Some(condition) if depth == 0 => {
                    if let Some(media) = condition.strip_prefix("media") {
                        self.block(inner, media_holds(media), depth + 1);
                    }
                }
                Some(_) => {}
                None => self.rule(&head, inner, holds),
            }
            rest = after;
        }
    }

    fn rule(&mut self, selectors: &str, declarations: &str, holds: Option<bool>) {
        let styles = Style::read(declarations);
        let [ordinary, important] = &styles;
        for selector in selectors.split(',').take(SELECTORS) {
            let Some((mut keys, is_complex)) = keys(selector) else { continue };
            let Some(key) = keys.pop() else { continue };
            match holds {
                Some(true) => {}
                Some(false) if ordinary.shows() || important.shows() => {
                    self.shown_elsewhere.insert(key);
                    continue;
                }
                _ => continue,
            }
            let styles = if is_complex { styles.clone().map(|style| uncertain(style, &key)) } else { styles.clone() };
            let known = self.rules.entry(key).or_default();
            if let Some(rule) = known.iter_mut().find(|rule| rule.others == keys) {
                rule.styles.iter_mut().zip(&styles).for_each(|(to, from)| to.merge(from));
            } else if known.len() < SIMILAR {
                known.push(Rule { others: keys, styles });
            }
        }
    }

    /// What holds for an element with these attributes.
    pub(super) fn matched(&self, element: &str, classes: &str, id: &str) -> Matched {
        let mut matched = Matched::default();
        if self.rules.is_empty() && self.shown_elsewhere.is_empty() {
            return matched;
        }
        let mut keys = vec![element.to_ascii_lowercase()];
        keys.extend(
            classes.split_ascii_whitespace().take(CLASSES).map(|class| format!(".{}", class.to_ascii_lowercase())),
        );
        if !id.is_empty() {
            keys.push(format!("#{}", id.to_ascii_lowercase()));
        }
        for key in &keys {
            matched.is_shown_elsewhere |= self.shown_elsewhere.contains(key);
            for rule in self.rules.get(key).into_iter().flatten() {
                if rule.others.iter().all(|other| keys.contains(other)) {
                    let [ordinary, important] = &rule.styles;
                    matched.ordinary.merge(ordinary);
                    matched.important.merge(important);
                }
            }
        }
        matched
    }
}

/// What follows `{` up to its `}`, and the rest.
fn split_block(text: &str) -> (&str, &str) {
    let mut depth = 1_usize;
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        }
    }
    (text, "")
}

/// Whether rules of a media query hold on a screen of any size; `None` if they are for something else.
fn media_holds(query: &str) -> Option<bool> {
    let query = query.trim();
    if query.contains('(') {
        return (!query.contains("prefers-color-scheme") && !query.starts_with("print")).then_some(false);
    }
    let mut media = query.split(',').map(|one| one.trim().trim_start_matches("only "));
    media.any(|one| matches!(one, "" | "all" | "screen")).then_some(true)
}

/// The last part of a selector as keys, the most special at the end, and whether it has further parts. `None` if it is not understood.
fn keys(selector: &str) -> Option<(Vec<String>, bool)> {
    let selector = selector.trim();
    if selector.contains([':', '[', '\\', '/']) {
        return None;
    }
    let mut parts =
        selector.rsplit(|c: char| c.is_whitespace() || matches!(c, '>' | '+' | '~')).filter(|part| !part.is_empty());
    let last = parts.next()?;
    let (mut element, mut classes, mut id) = (None, Vec::new(), None);
    let mut rest = last;
    while let Some(first) = rest.chars().next() {
        let start = usize::from(matches!(first, '.' | '#'));
        let end = rest.get(start..)?.find(['.', '#']).map_or(rest.len(), |end| start + end);
        let (one, after) = rest.split_at_checked(end)?;
        match first {
            '.' => classes.push(one.to_owned()),
            '#' => id = Some(one.to_owned()),
            _ => element = Some(one.to_owned()).filter(|element| element != "*"),
        }
        rest = after;
    }
    // A class may be repeated to outweigh other rules.
    let mut all: Vec<String> = Vec::new();
    for name in element.into_iter().chain(classes).chain(id) {
        if all.contains(&name) {
            continue;
        }
        if all.len() == NAMES {
            return None;
        }
        all.push(name);
    }
    Some((all, parts.next().is_some()))
}

/// A rule that holds in some places only: its colours are not known elsewhere, and it hides what it names by class or id.
fn uncertain(style: Style, key: &str) -> Style {
    let unknown = |colour: Option<Colour>| colour.map(|_| Colour::Unknown);
    let is_special = key.starts_with(['.', '#']);
    let colours = Style { colour: unknown(style.colour), background: unknown(style.background), ..Style::default() };
    if is_special { Style { colour: colours.colour, background: colours.background, ..style } } else { colours }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(css: &str, classes: &str) -> bool {
        let mut sheet = Sheet::default();
        sheet.add(css);
        sheet.matched("p", classes, "").ordinary.is_not_displayed == Some(true)
    }

    #[test]
    fn a_selector_of_many_names_is_not_compared_with_each_element() {
        assert!(hides("p.a.b.c{display:none}", "a b c"));
        assert!(!hides("p.a.b.c{display:none}", "a b"));
        assert!(!hides("p.a.b.c.d{display:none}", "a b c d"));
        // Repeated names count once.
        assert!(hides(&format!("{}{{display:none}}", ".a".repeat(1000)), "a"));
        let mut sheet = Sheet::default();
        (1..20).for_each(|times| sheet.add(&format!("{}{{color:red}}", ".a".repeat(times))));
        assert_eq!(sheet.rules.values().map(Vec::len).collect::<Vec<_>>(), [1]);
    }
}
