//! Layers of modules, file lengths, what each module is for, which RFCs it cites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers of `src/lib.rs`, from the bottom. A module may use those of its own layer and below; servers, not one another.
const LAYERS: [&[&str]; 6] = [
    &["clock", "id", "address", "envelope", "secret"],
    &["verification", "identity", "message", "access"],
    &[
        "config",
        "store",
        "events",
        "dns",
        "auth",
        "dkim",
        "net",
        "resources",
        "rates",
        "jobs",
        "smtp_client",
        "in_process",
    ],
    &[
        "mailbox",
        "registry",
        "rotation",
        "verifier",
        "submission",
        "inbound",
        "queue",
        "reading",
        "search",
        "views",
        "public_events",
        "webhooks",
    ],
    &["smtp", "imap", "http", "mcp", "web"],
    &["app", "sandbox", "cli", "lib", "main"],
];
const SERVERS: usize = 4;
const LONGEST_FILE: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, as paths relative to the repository.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && !path.components().any(|c| c.as_os_str() == "__pycache__") {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    found.sort();
    found
}

pub fn rust_files() -> Vec<(PathBuf, String)> {
    let paths = ["src", "tests", "benches"].into_iter().filter(|f| root().join(f).exists()).flat_map(files);
    paths.filter(|p| p.extension().is_some_and(|e| e == "rs")).map(|p| (p.clone(), read(&p))).collect()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floor_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The first segment of a path below `src/`, without `.rs`.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    Some(inside.iter().next()?.to_str()?.trim_end_matches(".rs").to_owned())
}

/// Program text without its tests and comments.
fn program(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules named by `crate::x` and by `use crate::{x, y::z}`.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let (mut depth, mut start) = (0, true);
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        found.insert(word(&group[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.insert(word(after));
        }
    }
    found
}

#[test]
fn imports_only_go_down_and_servers_keep_to_themselves() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let Some(module) = module_of(&path) else { continue };
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let Some(layer) = floor_of(&module) else {
            wrong.push(format!("{}: {module} is on no layer: put it on one, in src/lib.rs and here", path.display()));
            continue;
        };
        for import in imports(&program(&text)) {
            let Some(below) = floor_of(&import) else { continue };
            if below > layer || (layer == SERVERS && below == SERVERS && import != module) {
                wrong.push(format!("{}: {module} (layer {layer}) uses {import} (layer {below})", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the store's verbs are that change mailboxes.
const MAILBOX_VERBS: [&str; 7] =
    ["append.rs", "deliver.rs", "email_changes.rs", "mailbox_changes.rs", "mailbox_tree.rs", "parts.rs", "transfer.rs"];

/// Those of the queue and of inboxes do more, and change mailboxes too.
const OTHER_VERBS: [(&str, &str); 3] =
    [("queue/mod.rs", "submission_accept"), ("queue/attempts.rs", "delivery_settle"), ("inboxes.rs", "inbox_delete")];

#[test]
fn only_the_mailbox_service_changes_mailboxes() {
    let verbs_in = |file: &str| {
        let text = program(&read(&Path::new("src/store").join(file)));
        let names = text.split(" async fn ").skip(1);
        names.map(|after| after.split(['(', '<']).next().unwrap_or_default().to_owned()).collect::<BTreeSet<_>>()
    };
    let mut verbs: BTreeSet<String> = MAILBOX_VERBS.into_iter().flat_map(verbs_in).collect();
    assert!(verbs.contains("messages_append"), "{verbs:?}");
    for (file, verb) in OTHER_VERBS {
        assert!(verbs_in(file).contains(verb), "{file} has no {verb}");
        verbs.insert(verb.to_owned());
    }
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let may = ["store", "mailbox"].map(|module| Some(module.to_owned())).contains(&module_of(&path));
        if is_test(&path) || may || !path.starts_with("src") {
            continue;
        }
        let text = program(&text);
        let used = verbs.iter().filter(|verb| text.contains(&format!(".{verb}(")));
        wrong.extend(
            used.map(|verb| format!("{}: calls the store's {verb}: the service `mailbox` has it", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What changes rows of a table, and where: other rows follow from them, which the file keeps in the same transaction.
const ROWS: [(&str, &[&str], &str); 14] = [
    ("INSERT INTO message ", &[], "message_rows.rs"),
    ("UPDATE message ", &[], "message_rows.rs"),
    ("DELETE FROM message ", &[], "message_rows.rs"),
    ("INSERT INTO delivery ", &[], "queue/rows.rs"),
    ("UPDATE delivery ", &[], "queue/rows.rs"),
    ("DELETE FROM delivery ", &[], "queue/rows.rs"),
    ("INSERT INTO custom_domain ", &[], "claim_rows.rs"),
    (
        "UPDATE custom_domain ",
        &["status =", "return_path =", "next_check_at =", "asked_at =", "lease_until ="],
        "claim_rows.rs",
    ),
    ("DELETE FROM custom_domain ", &[], "claim_rows.rs"),
    ("INTO dkim_rotation ", &[], "rotation.rs"),
    ("UPDATE dkim_rotation ", &[], "rotation.rs"),
    ("UPDATE dkim_key ", &["public ="], "keys.rs"),
    ("INSERT INTO webhook_delivery ", &[], "webhooks/feed.rs"),
    ("UPDATE webhook_delivery ", &[], "webhooks/deliveries.rs"),
];

#[test]
fn one_file_changes_the_rows_that_others_follow_from() {
    let mut wrong = Vec::new();
    for (statement, columns, file) in ROWS {
        let mut found = false;
        for (path, text) in rust_files() {
            // The last explains statements, and runs none.
            let is_other = ["store/testing.rs", "checks/plans.rs"].iter().any(|other| path.ends_with(other));
            if is_test(&path) || !path.starts_with("src") || is_other {
                continue;
            }
            for after in program(&text).split(statement).skip(1) {
                let set = after.split("WHERE").next().unwrap_or_default();
                if columns.is_empty() || columns.iter().any(|column| set.contains(column)) {
                    found |= path.ends_with(file);
                    if !path.ends_with(Path::new("src/store").join(file)) {
                        wrong.push(format!("{}: {statement}: only store/{file} does that", path.display()));
                    }
                }
            }
        }
        assert!(found, "store/{file} has no {statement}: it has moved, and this test with it");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages_have_one_reader() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let is_test = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("tests.rs"));
        if path.starts_with("src")
            && !path.starts_with("src/message")
            && !is_test
            && program(&text).contains("mail_parser")
        {
            wrong.push(format!("{}: reads messages by mail-parser, not by crate::message", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folders of `src` with modules in them.
fn module_folders() -> BTreeSet<PathBuf> {
    let folders = rust_files().into_iter().filter_map(|(path, _)| path.parent().map(Path::to_owned));
    folders.filter(|folder| folder.starts_with("src") && !is_test(folder)).collect()
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part.to_str().is_some_and(|part| part.contains("test")))
}

/// What a module's files import of its siblings in the folder: `super::x`, `super::super::x` from below, `crate::folder::x`.
fn sibling_imports(folder: &Path, names: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> =
        names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    let from_above: String = folder.iter().skip(1).map(|part| format!("{}::", part.to_str().unwrap())).collect();
    let from_above = format!("crate::{from_above}");
    for path in files(folder.to_str().unwrap()) {
        let inside = path.strip_prefix(folder).unwrap();
        let name = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if !names.contains(&name) || is_test(inside) {
            continue;
        }
        let text = program(&read(&path));
        let depth = inside.iter().count() - usize::from(inside.ends_with("mod.rs"));
        let from_below = format!("use {}", "super::".repeat(depth));
        for after in text.split(&from_below).skip(1).chain(text.split(&from_above).skip(1)) {
            let after = after.split(';').next().unwrap_or_default();
            let imported = match after.strip_prefix('{') {
                Some(group) => imports(&format!("crate::{{{group}")),
                None => imports(&format!("crate::{after}")),
            };
            found.entry(name.clone()).or_default().extend(imported.into_iter().filter(|other| names.contains(other)));
        }
    }
    found
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let (mut folders, mut wrong) = (0, Vec::new());
    // Not yet the store's.
    for folder in module_folders().into_iter().filter(|folder| !folder.starts_with("src/store")) {
        let entries = std::fs::read_dir(root().join(&folder)).unwrap();
        let entries = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: BTreeSet<String> = entries
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .filter(|name| !["mod", "lib", "main"].contains(&name.as_str()))
            .collect();
        let mut left = sibling_imports(&folder, &names);
        folders += usize::from(left.values().any(|imported| !imported.is_empty()));
        for (name, imported) in &mut left {
            imported.remove(name);
        }
        // What imports nothing that is left is in no circle.
        while let Some(name) = left.iter().find(|(_, imported)| imported.is_empty()).map(|(name, _)| name.clone()) {
            left.remove(&name);
            for imported in left.values_mut() {
                imported.remove(&name);
            }
        }
        if !left.is_empty() {
            wrong.push(format!("{}: modules import one another in a circle: {left:?}", folder.display()));
        }
    }
    assert!(folders > 20 && wrong.is_empty(), "{folders} folders with imports\n{}", wrong.join("\n"));
}

#[test]
fn the_import_reader_reads_groups() {
    let text =
        "use crate::store::{Store, StoreError};\nuse crate::{address::Address, id::{A, B}, clock};\ncrate::net::x()";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["address", "clock", "id", "net", "store"]);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines: split it by what it is about", path.display()));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: does not begin with //! and what it is for", path.display()));
        }
        if text.contains("todo!(") || text.contains("unimplemented!(") {
            // This file names them.
            if path != Path::new("tests/stories/tidy.rs") {
                wrong.push(format!("{}: has a stub", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_of_promises_leads_to_functions() {
    let page = read(Path::new("docs/architecture.md"));
    let (_, map) = page.split_once("## Where a promise is kept").unwrap();
    let (map, _) = map.split_once("\n## ").unwrap();
    let (mut rows, mut wrong) = (0, Vec::new());
    for row in map.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`")) {
        let [.., file, function, _] = row.split(" |").collect::<Vec<_>>()[..] else { panic!("{row}") };
        let [file, function] = [file, function].map(|cell| cell.trim_matches([' ', '`']));
        let path = root().join("src").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if !["(", "<"].iter().any(|after| program(&text).contains(&format!("fn {function}{after}"))) {
            wrong.push(format!("{file} has no function {function}: {row}"));
        }
        rows += 1;
    }
    assert!(rows > 20 && wrong.is_empty(), "{rows} rows\n{}", wrong.join("\n"));
}

#[test]
fn every_rfc_that_the_code_cites_is_listed() {
    let list = read(Path::new("docs/rfc.md"));
    let mut unlisted: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in rust_files() {
        for after in text.split("RFC ").skip(1) {
            let number: String = after.chars().take_while(char::is_ascii_digit).collect();
            if !number.is_empty() && !list.contains(&format!("| {number} |")) {
                unlisted.entry(number).or_insert_with(|| path.clone());
            }
        }
    }
    assert!(unlisted.is_empty(), "docs/rfc.md does not list these, cited here: {unlisted:?}");
}

#[test]
fn there_is_one_tls_provider_in_every_build() {
    let lock = read(Path::new("Cargo.lock"));
    let has = |name: &str| lock.contains(&format!("\nname = \"{name}\"\n"));
    assert!(has("ring") && has("rustls") && has("aws-sdk-sesv2"));
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "boring", "s2n-tls"] {
        assert!(!has(other), "{other} is a TLS provider beside ring");
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let folders = ["src", "tests", "docs", "config", "fixtures", "benches", ".ci"];
    let mut paths: Vec<PathBuf> = folders.into_iter().filter(|f| root().join(f).exists()).flat_map(files).collect();
    paths.extend(["README.md", "Cargo.toml"].map(PathBuf::from));
    let forbidden = ["work", "root", "home"].map(|name| format!("/{name}/"));
    let mut wrong = Vec::new();
    for path in paths {
        // Messages in fixtures need not be UTF-8.
        let text = String::from_utf8_lossy(&std::fs::read(root().join(&path)).unwrap()).into_owned();
        for name in &forbidden {
            if text.contains(name.as_str()) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_leads_only_to_what_is_there() {
    for page in ["README.md", "docs/verification.md", "docs/architecture.md", "docs/rfc.md", "docs/CHANGELOG.md"] {
        let text = read(Path::new(page));
        let folder = Path::new(page).parent().unwrap();
        for after in text.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(root().join(folder).join(target).exists(), "{page} leads to {target}, which is not there");
        }
    }
}
