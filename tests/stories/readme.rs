//! The README's shell commands work as it says.

use crate::clients::run;
use crate::daemon::Daemon;
use std::path::Path;
use std::process::Command;

#[test]
fn the_ten_lines_of_the_readme_work_when_pasted() {
    let daemon = Daemon::start();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = readme.split("```sh\n").nth(2).unwrap().split("```").next().unwrap();
    assert!(block.lines().count() <= 10 && block.starts_with("ready()"), "{block}");
    // As pasted, except for the paths of the ready file and the program.
    let program = Path::new(env!("CARGO_BIN_EXE_inboxlayer")).parent().unwrap();
    let script = block
        .replace("target/sandbox.json", daemon.ready_file().to_str().unwrap())
        .replace("$PWD/target/debug", program.to_str().unwrap());
    let mut command = Command::new("bash");
    command.arg("-eu");
    let outcome = run(command, script.as_bytes()).succeeded();
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    // No fault of ours is shown: the domain is verified and has its keys.
    assert!(outcome.stdout.contains("acme.test is verified: it sends and receives here."), "{outcome:?}");
    assert!(!outcome.stdout.contains("no key"), "{outcome:?}");
    let platform = daemon.ready("inbox");
    let custom = format!("{}@acme.test", platform.split('@').next().unwrap());
    for (subject, from) in [("while pending", platform), ("once verified", &*custom)] {
        let line = outcome.stdout.lines().find(|line| line.contains(&format!("\"subject\":\"{subject}\"")));
        let line = line.unwrap_or_else(|| panic!("{subject}: {}", outcome.stdout));
        assert!(line.contains(&format!("\"mail_from\":\"{from}\"")), "{line}");
    }
}

#[test]
fn the_record_of_the_readme_is_explained_as_it_says() {
    let daemon = Daemon::start();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once("## When a record is wrong").unwrap();
    let block = |language: &str| {
        section.split_once(&format!("```{language}\n")).and_then(|(_, after)| after.split_once("```")).unwrap().0
    };
    let program = Path::new(env!("CARGO_BIN_EXE_inboxlayer")).parent().unwrap();
    let mut command = Command::new("bash");
    command
        .env("INBOXLAYER_URL", daemon.ready("http"))
        .env("INBOXLAYER_TOKEN", daemon.ready("token"))
        .env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    let outcome = run(command, block("sh").as_bytes());
    assert!(outcome.stdout.contains(block("text")), "{outcome:?}");
}
