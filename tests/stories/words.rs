//! Plain words: names that were given up do not come back, and prose keeps to the terms of the field.

use super::tidy::{files, read, rust_files};
use std::path::PathBuf;

/// Identifiers that were replaced by terms of the field.
const OLD_NAMES: &str = "Door Letter Writing guest Clear Impatient Metered Patience Said SesSaid Sight Effort Leash \
    Politeness Voice Parcel Turned Courier Stuffing Marks View obey Lent bell most asked Placed Turns \
    Seat NotStored Asked Manner said told letter letters manner nobody patience wished placed stands room rooms Room";

/// Words that prose does without: there is a plainer one.
const ODD_WORDS: &str = "door doors told stands nobody whoever hears wished manner";

/// Splits Rust into code and prose (comments and literals); what belongs to the other is blank in each.
fn split(text: &str) -> (String, String) {
    let (mut code, mut prose) = (String::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code.chars().next_back().unwrap_or(' ');
        let raw = rest.trim_start_matches('b').strip_prefix('r').map(|r| r.chars().take_while(|c| *c == '#').count());
        let raw = raw.filter(|hashes| {
            let quote = rest.trim_start_matches('b').get(1 + hashes..).is_some_and(|r| r.starts_with('"'));
            quote && !before.is_alphanumeric() && before != '_'
        });
        let length = if rest.starts_with("//") {
            rest.find('\n')
        } else if let Some(hashes) = raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = rest.find('"').unwrap_or_default() + 1;
            rest[start..].find(&end).map(|at| start + at + end.len())
        } else if first == '"' {
            closing(rest, '"')
        } else if first == '\'' {
            let escaped = rest[1..].starts_with('\\');
            let is_char = escaped || rest.chars().nth(2) == Some('\'');
            if is_char { closing(rest, '\'') } else { Some(0) }
        } else {
            Some(0)
        };
        let length = length.unwrap_or(rest.len());
        let (literal, after) = rest.split_at(length);
        prose.push_str(literal);
        code.extend(literal.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = after;
        if length == 0 {
            code.push(first);
            prose.push(if first == '\n' { first } else { ' ' });
            rest = &after[first.len_utf8()..];
        }
    }
    (code, prose)
}

/// Where a literal ends that begins with this quote.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// The lines of a text that have one of the words, with the word.
fn lines_with<'a>(text: &'a str, words: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines().enumerate().flat_map(move |(number, line)| {
        let in_line = line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '-' | '"' | '=')));
        let plain = in_line.map(|word| word.trim_end_matches(['.', '-']).trim_matches('-'));
        plain.filter(|word| words.split(' ').any(|w| w == *word)).map(move |word| (number + 1, word))
    })
}

#[test]
fn names_and_prose_use_the_terms_of_the_field() {
    let mut wrong = Vec::new();
    let mut note = |path: &PathBuf, text: &str, words: &str| {
        wrong.extend(lines_with(text, words).map(|(line, word)| format!("{}:{line}: {word}", path.display())));
    };
    // This file lists them.
    for (path, text) in rust_files().into_iter().filter(|(path, _)| !path.ends_with("words.rs")) {
        let (code, prose) = split(&text);
        note(&path, &code.replace(['.', '"', '-', '='], " "), OLD_NAMES);
        note(&path, &prose.to_lowercase(), ODD_WORDS);
    }
    let pages = ["README.md", "config/inboxlayer.toml", "Cargo.toml"].map(PathBuf::from);
    let is_text = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "png");
    for path in files("docs").into_iter().filter(is_text).chain(pages) {
        note(&path, &read(&path).to_lowercase(), ODD_WORDS);
    }
    assert!(wrong.is_empty(), "{} words to replace:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn code_is_separated_from_prose() {
    let text = "let a = \"most // x\"; // told 'b\nlet c: &'a u8 = b'\\''; r#\"door \" x\"# y";
    let (code, prose) = split(text);
    assert_eq!(
        code.split_whitespace().collect::<Vec<_>>(),
        ["let", "a", "=", ";", "let", "c:", "&'a", "u8", "=", "b", ";", "y"]
    );
    assert_eq!(lines_with(&prose.replace('"', " "), "most told door").count(), 3);
}
