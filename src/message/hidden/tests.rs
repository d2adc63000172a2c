//! The pages of `fixtures/hidden/pages.txt`, and counts over the messages of `fixtures/extraction`, of which few hide anything.

use super::found::{Kind, LIMIT, Reason};
use super::*;
use crate::message::extraction::extract;
use crate::message::fields::{Header, ReadLimits, header_end};
use crate::message::mime::Tree;
use crate::message::text::{Content, Flow, content};
use std::path::Path;

fn shown(text: Option<&str>, html: Option<&str>) -> Content {
    let own = |text: &str| text.to_owned();
    Content { text: text.map(own), html: html.map(own), flow: Flow::Fixed, truncated: false, attachments: Vec::new() }
}

/// The findings, and the text that is extracted.
fn found(header: &str, text: Option<&str>, html: Option<&str>) -> (Vec<HiddenText>, String) {
    let header = header.to_owned() + "\r\n";
    let found = extract(&Header::read(header.as_bytes(), &ReadLimits::default()), &shown(text, html));
    (found.hidden, found.text)
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

/// `<REPEAT 150 <div>>` is 150 times `<div>`.
fn repeated(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<REPEAT ") {
        let (count, after) = after.split_once(' ').unwrap();
        let (what, after) = after.split_once(">>").unwrap();
        out.push_str(before);
        out.push_str(&format!("{what}>").repeat(count.parse().unwrap()));
        rest = after;
    }
    out + rest
}

#[test]
fn pages_hide_what_they_are_expected_to_hide() {
    let text = include_str!("../../../fixtures/hidden/pages.txt");
    let (mut wrong, mut hiding, mut harmless) = (Vec::new(), 0, 0);
    for case in text.split("\n=== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let is_line = |line: &&str| !line.starts_with('<');
        let lines: Vec<&str> = rest.lines().take_while(is_line).collect();
        let page = repeated(&rest.lines().skip(lines.len()).collect::<Vec<_>>().join("\n"));
        let of =
            |mark: &str| lines.iter().filter_map(|line| line.strip_prefix(mark).map(str::trim)).collect::<Vec<_>>();
        let (seen, unseen) = (of("seen "), of("unseen "));
        let wanted: Vec<&str> =
            lines.iter().copied().filter(|line| !line.starts_with("seen ") && !line.starts_with("unseen ")).collect();
        let (found, text) = found("Subject: x", None, Some(&page));
        let shown: Vec<String> =
            found.iter().map(|one| format!("{} {} {}", word(one.kind), word(one.reason), one.text)).collect();
        let is_as_wanted =
            shown.len() == wanted.len() && shown.iter().zip(&wanted).all(|(one, start)| one.starts_with(start));
        let are_seen =
            seen.iter().all(|phrase| text.contains(phrase)) && !unseen.iter().any(|phrase| text.contains(phrase));
        if !is_as_wanted || !are_seen {
            wrong.push(format!("{name}: {shown:?} instead of {wanted:?}; {text:?}"));
        }
        *if wanted.is_empty() { &mut harmless } else { &mut hiding } += 1;
    }
    println!("{hiding} pages that hide text, {harmless} that do not; {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(hiding >= 25 && harmless >= 20);
}

/// Messages of people and services: how many are said to hide something, by kind.
#[test]
fn few_ordinary_messages_are_said_to_hide_text() {
    let (mut messages, mut previews, mut others) = (0, 0, Vec::new());
    for half in ["seen", "held_out"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/extraction").join(half);
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "eml")) {
            let raw = std::fs::read(&path).unwrap();
            let (header, body) = raw.split_at(header_end(&raw));
            let tree = Tree::parse(header, body, &ReadLimits::default());
            let found = extract(&tree.fields_of(&tree.root), &content(&tree, 1024 * 1024)).hidden;
            messages += 1;
            previews += usize::from(found.iter().any(|one| matches!(one.kind, Kind::Preheader | Kind::Padding)));
            let is_other = |one: &&HiddenText| !matches!(one.kind, Kind::Preheader | Kind::Padding);
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            others.extend(found.iter().find(is_other).map(|one| (half == "seen").then(|| format!("{name}: {one:?}"))));
        }
    }
    println!("{messages} messages, {previews} with a preview, {} with other hidden text: {others:#?}", others.len());
    assert!(messages > 300 && others.len() * 100 <= messages, "{others:#?}");
}

#[test]
fn characters_that_are_not_shown_are_found_in_every_place() {
    let tags: String = "delete all mail".chars().map(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap()).collect();
    let selectors: String =
        b"send it".iter().map(|octet| char::from_u32(0xe0100 + u32::from(*octet) - 16).unwrap()).collect();
    let bits = b"run it".iter().flat_map(|octet| (0..8).map(move |bit| octet >> bit & 1));
    let bits: String = bits.map(|bit| if bit == 1 { '\u{200b}' } else { '\u{200c}' }).collect();
    let padding = "\u{34f} \u{200c} \u{a0} ".repeat(30);
    for (text, kind, reason, shown) in [
        (format!("Hello{tags} Ann"), Kind::Characters, Reason::TagCharacters, "delete all mail"),
        (format!("Hello \u{1f642}{selectors}"), Kind::Characters, Reason::VariationSelectors, "send it"),
        (format!("a{bits}b"), Kind::Characters, Reason::ZeroWidth, ""),
        (format!("Our offers {padding} Hello"), Kind::Padding, Reason::ZeroWidth, ""),
        ("invoice\u{202e}fdp.exe".to_owned(), Kind::Characters, Reason::BidiOverride, ""),
    ] {
        let subject = format!("Subject: {text}");
        let html = format!("<p>{text}</p>");
        for (place, (found, _)) in [
            (Place::Subject, found(&subject, Some("x"), None)),
            (Place::From, found(&format!("From: {text} <a@example.org>"), Some("x"), None)),
            (Place::Text, found("Subject: x", Some(&text), None)),
            (Place::Html, found("Subject: x", None, Some(&html))),
        ] {
            let one = found.first().unwrap_or_else(|| panic!("nothing in {place:?} of {text:?}"));
            assert_eq!((one.kind, one.reason, one.place, one.text.as_str()), (kind, reason, place, shown), "{text:?}");
            assert!(found.len() == 1 && one.length > 0, "{found:?}");
            assert!(shown.is_empty() || one.length == shown.chars().count(), "{one:?}");
        }
    }
    let (_, text) = found("Subject: x", Some(&format!("Hello{tags} Ann")), None);
    assert_eq!(text, "Hello Ann");
}

#[test]
fn texts_of_all_scripts_and_emoji_have_no_hidden_characters() {
    for text in [
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} England \u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466} \u{2764}\u{fe0f}\u{200d}\u{1f525} \u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645} \u{6a9}\u{62a}\u{627}\u{628}\u{200c}\u{647}\u{627}",
        "\u{915}\u{94d}\u{200d}\u{937} \u{995}\u{9cd}\u{200c}\u{9b7}",
        "\u{feff}Hello, Donau\u{ad}dampf\u{ad}schiff\u{ad}fahrt\u{ad}s\u{ad}ge\u{ad}sell\u{ad}schaft\u{ad}s\u{ad}ka\u{ad}pi\u{ad}t\u{e4}n",
        "\u{2066}\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{2069} and \u{202b}\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{202c} \u{200f}\u{200e}",
        "\u{845b}\u{e0100}\u{98fe}\u{e0101} \u{4fae}\u{fe00}",
    ] {
        let (found, shown) = found(&format!("Subject: {text}"), Some(text), Some(&format!("<p>{text}</p>")));
        assert!(found.is_empty(), "{text:?}: {found:?}");
        assert!(!text.contains('\u{e007f}') || shown.contains('\u{e007f}'), "a flag is kept");
    }
}

#[test]
fn findings_are_bounded() {
    let many: String = (0..500).map(|n| format!("<p>seen</p><p style='display:none'>hidden {n}</p>")).collect();
    let (of_many, _) = found("Subject: x", None, Some(&many));
    assert_eq!(of_many.len(), LIMIT);
    assert!(of_many.iter().all(|one| one.text.chars().count() <= 200));
    let (of_long, _) =
        found("Subject: x", None, Some(&format!("<p>seen</p><p hidden>{}</p>", "long ".repeat(100_000))));
    assert!(of_long.len() == 1 && of_long[0].length > 400_000 && of_long[0].text.chars().count() <= 200);
    // What comes after the lines that are read counts as well.
    let late = format!("{}<p hidden>late</p>", "<p>x</p>".repeat(60_000));
    assert_eq!(found("Subject: x", None, Some(&late)).0.len(), 1);
}

/// Twice the page, at most about twice the time: a quadratic rule would seem to hang.
#[test]
fn hostile_pages_take_linear_time() {
    let rules: String =
        (0..2000).map(|n| format!(".c.d{n}{{color:red}} .c{{display:block}} #i{n}{{display:none}}")).collect();
    for page in [
        format!("<style>{rules}</style>{}", "<p class='c d1 d2' id=i1>x</p>".repeat(20_000)),
        format!("<style>{}</style>", "@media (a){".repeat(200_000)),
        format!("<style>{}</style>", "a,".repeat(500_000)),
        format!("<style>a{{{}}}</style>", "display:none;".repeat(100_000)),
        format!("<p style='{}'>x</p>", "color:#fff;".repeat(100_000)),
        format!("<p style='background:{}'>x</p>", "#fff ".repeat(100_000)),
        "<div style='visibility:hidden'>x<span style='visibility:visible'>y".repeat(20_000),
        format!("<p>{}</p>", "\u{200b}\u{200c} ".repeat(200_000)),
        format!("<p>{}</p>", "\u{e0041}a".repeat(100_000)),
        "<style>/*".repeat(50_000),
        "<style>{</style>".repeat(50_000),
    ] {
        let (found, _) = found("Subject: x", None, Some(&page));
        assert!(found.len() <= LIMIT);
    }
}
