//! The rules are held to `fixtures/extraction`: to what they reach of the half that was seen while they were written, and to counts on
//! the other, whose contents no one who writes rules looks at.

use super::*;
use crate::message::fields::{ReadLimits, header_end};
use crate::message::mime::Tree;
use crate::message::text::content;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a message came out.
#[derive(Debug, Default)]
struct Outcome {
    /// Names of what is not as expected.
    wrong: Vec<&'static str>,
    is_text_lost: bool,
    is_code_wrong: bool,
    detail: String,
}

fn folder(half: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/extraction").join(half)
}

fn extracted(raw: &[u8]) -> Extraction {
    let (header, body) = raw.split_at(header_end(raw));
    let limits = ReadLimits::default();
    let tree = Tree::parse(header, body, &limits);
    extract(&tree.fields_of(&tree.root), &content(&tree, 2 * 1024 * 1024))
}

/// As `fixtures/extraction/README.md` compares texts.
fn normal(text: &str) -> String {
    let is_passed = |c: char| c.is_whitespace() || "\u{200b}\u{200c}\u{34f}>*_-•·|".contains(c);
    text.chars().filter(|c| !is_passed(*c)).collect()
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn outcome(raw: &[u8], expected: &Value) -> Outcome {
    let found = extracted(raw);
    let mut outcome = Outcome::default();
    if let Some(text) = expected["extracted_text"].as_str()
        && normal(text) != normal(&found.text)
    {
        outcome.wrong.push("text");
    }
    let shown = normal(&found.text);
    let keep = expected["must_keep"].as_array().unwrap();
    outcome.is_text_lost = keep.iter().any(|phrase| !shown.contains(&normal(phrase.as_str().unwrap())));
    if outcome.is_text_lost {
        outcome.wrong.push("lost");
    }
    let codes: Vec<&str> = found.codes.iter().map(|code| code.code.as_str()).collect();
    let wanted: Vec<&str> = expected["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    outcome.is_code_wrong = codes.iter().any(|code| !wanted.contains(code));
    if codes != wanted {
        outcome.wrong.push("codes");
    }
    if let Some(links) = expected["links"].as_array() {
        let wanted = links.iter().map(|link| {
            let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
            (text("url"), spaced(&text("text")), link["confirmation"].as_bool().unwrap())
        });
        let found = found.links.iter().map(|link| (link.url.clone(), spaced(&link.text), link.confirmation));
        if !wanted.eq(found) {
            outcome.wrong.push("links");
        }
    }
    outcome.detail = format!("{found:#?}");
    outcome
}

/// The messages of a half by name.
fn outcomes(half: &str) -> BTreeMap<String, Outcome> {
    let files = std::fs::read_dir(folder(half)).unwrap().map(|file| file.unwrap().path());
    let messages = files.filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
    let of = |path: PathBuf| {
        let expected = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let outcome = outcome(&std::fs::read(&path).unwrap(), &serde_json::from_str(&expected).unwrap());
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), outcome)
    };
    messages.map(of).collect()
}

/// `r-gmail-web-de-01` is of `r-gmail-web`.
fn client(name: &str) -> String {
    name.rsplitn(3, '-').last().unwrap().to_owned()
}

/// Counts by program and sort of notification: right ones of all.
fn table(outcomes: &BTreeMap<String, Outcome>) -> String {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, outcome) in outcomes {
        let (right, all) = counts.entry(client(name)).or_default();
        *right += usize::from(outcome.wrong.is_empty());
        *all += 1;
    }
    counts.iter().map(|(client, (right, all))| format!("{client} {right}/{all}")).collect::<Vec<_>>().join(", ")
}

fn right(outcomes: &BTreeMap<String, Outcome>) -> usize {
    outcomes.values().filter(|outcome| outcome.wrong.is_empty()).count()
}

#[test]
fn what_was_seen_comes_out_as_expected() {
    let outcomes = outcomes("seen");
    println!("{} of {} right: {}", right(&outcomes), outcomes.len(), table(&outcomes));
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| !outcome.wrong.is_empty()) {
        println!("{name}: {:?}\n{}", outcome.wrong, outcome.detail);
    }
    assert!(outcomes.values().all(|outcome| !outcome.is_text_lost), "text was lost");
    assert!(outcomes.values().all(|outcome| !outcome.is_code_wrong), "a code is wrong");
    assert!(outcomes.len() > 100 && right(&outcomes) * 100 >= outcomes.len() * 97);
}

/// Prints counts alone.
#[test]
fn what_was_held_out_comes_out_right_nine_times_in_ten() {
    let outcomes = outcomes("held_out");
    let count = |is: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| is(outcome)).count();
    let lost = count(|outcome| outcome.is_text_lost);
    let codes = count(|outcome| outcome.is_code_wrong);
    let of = |what: &'static str| outcomes.values().filter(|outcome| outcome.wrong.contains(&what)).count();
    println!("{} of {} right: {}", right(&outcomes), outcomes.len(), table(&outcomes));
    for (what, is) in [("text lost", "lost"), ("text", "text"), ("codes", "codes"), ("links", "links")] {
        let of = outcomes.iter().filter(|(_, outcome)| outcome.wrong.contains(&is));
        println!("{what}: {:?}", of.map(|(name, _)| client(name)).collect::<Vec<_>>());
    }
    println!(
        "text lost: {lost}; wrong code: {codes}; not as expected: text {}, codes {}, links {}",
        of("text"),
        of("codes"),
        of("links")
    );
    assert!(lost == 0 && codes == 0, "{lost} messages with text lost, {codes} with a wrong code");
    assert!(outcomes.len() > 100 && right(&outcomes) * 10 >= outcomes.len() * 9);
}
