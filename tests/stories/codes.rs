//! The table of codes in `docs/verification.md` is complete, and each row links to the test that causes its fault.

use inboxlayer::verification::judge::Code;
use std::collections::BTreeMap;
use std::path::Path;
use strum::VariantArray;

/// By code: the name and the file of its test.
fn rows() -> BTreeMap<String, (String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verification.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut rows = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let code = row.split('`').nth(1).unwrap().to_owned();
        let (_, link) = row.rsplit_once("[`").unwrap_or_else(|| panic!("{code} has no test"));
        let (name, rest) = link.split_once("`](../").unwrap_or_else(|| panic!("{code} has no link to its test"));
        let file = rest.split(')').next().unwrap();
        assert!(rows.insert(code.clone(), (name.to_owned(), file.to_owned())).is_none(), "{code} has two rows");
    }
    rows
}

#[test]
fn every_code_has_a_row_and_every_row_a_code() {
    let rows = rows();
    let codes: Vec<String> = Code::VARIANTS.iter().map(Code::to_string).collect();
    for code in &codes {
        assert!(rows.contains_key(code), "docs/verification.md has no row for {code}");
    }
    for code in rows.keys() {
        assert!(codes.contains(code), "docs/verification.md has a row for {code}, which does not exist");
    }
}

#[test]
fn every_row_leads_to_a_test_that_is_there_and_names_the_code() {
    for (code, (name, file)) in rows() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("the row of {code}: {file}: {e}"));
        let start =
            text.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("the row of {code}: no {name} in {file}"));
        let body = text[start..].split("\n}\n").next().unwrap_or_default();
        let variant: String = code.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let named = body.contains(&code) || body.contains(&format!("Code::{variant}"));
        assert!(named, "the row of {code}: {name} in {file} does not mention it");
    }
}
