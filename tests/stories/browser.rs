//! The web page in a browser: Debian's Chromium, driven by the scripts in `browser/`.

use crate::clients::run;
use crate::daemon::Daemon;
use std::path::Path;
use std::process::Command;

/// Runs a script of `browser/` against a fresh sandbox.
fn story(name: &str) {
    story_with(name, "100000");
}

/// With this limit of failed log-ins.
fn story_with(name: &str, failed_logins: &str) {
    let daemon = Daemon::start_in(&[("INBOXLAYER_LIMITS__FAILED_LOGINS", failed_logins)]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/typescript");
    assert!(packages.join("node_modules/playwright-core").exists(), "npm packages are missing: run tests/run");
    // Modules are looked for in the folders above a script.
    let folder = tempfile::tempdir_in(&packages).unwrap();
    for file in ["support", name] {
        let file = format!("{file}.mjs");
        std::fs::copy(root.join("tests/stories/browser").join(&file), folder.path().join(&file)).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(folder.path().join(format!("{name}.mjs"))).arg(daemon.ready_file());
    command.arg(root.join("target/screenshots"));
    assert_eq!(run(command, b"").succeeded().stdout, "done\n");
}

#[test]
fn the_first_page_is_small_and_needs_nothing_else() {
    story("first_page");
}

#[test]
fn forms_come_from_the_sessions_own_pages_and_sessions_end() {
    story("sessions");
}

#[test]
fn wrong_passwords_are_limited_and_the_cookie_is_one_of_this_host() {
    story_with("throttled", "3");
}

#[test]
fn mail_from_strangers_does_nothing() {
    story("untrusted_mail");
}

#[test]
fn another_account_sees_nothing_by_pages_and_forms() {
    story("strangers");
}

#[test]
fn an_owner_works_without_scripts() {
    story("without_scripts");
}

#[test]
fn an_owner_works_by_clicks_and_keys() {
    story("workflow");
}

#[test]
fn pages_fit_all_widths_and_are_accessible() {
    story("other_pages");
}

#[test]
fn pages_in_other_states_fit_and_are_accessible() {
    story("states");
}

#[test]
fn pages_are_live_and_keys_files_and_focus_work() {
    story("immediate");
}
