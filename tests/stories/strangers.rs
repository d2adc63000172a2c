//! Text from strangers is shown and logged escaped: it cannot move the cursor or end a line.

use crate::clients::{python_command, run};
use crate::daemon::Daemon;
use serde_json::{Value, json};

const DOMAINS: &str = "/api/v1/custom_domains";
/// Escape sequences in seven and eight bits, a line end with a forged log line, right-to-left marks, invisible characters.
const EVIL: &str = "\u{1b}[2J\u{9b}2J\r\n2026-11-24T00:00:00Z ERROR forged: all is lost\t\u{202e}\u{2067}\u{200f}\u{200b}\u{2028}\u{7f}";

fn is_harmless(c: char) -> bool {
    c == '\n' || !(c.is_control() || EVIL.contains(c) && !c.is_ascii())
}

#[test]
fn what_a_stranger_publishes_reaches_neither_the_terminal_nor_the_log_as_it_is() {
    let daemon = Daemon::start();
    let (api, token) = (daemon.api(), daemon.ready("token"));
    let made = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).body;
    let dkim = made["records"][0]["name"].as_str().unwrap();
    let long = format!("v=DMARC1; p={EVIL}{}", "x".repeat(3000));
    for (name, text) in
        [(dkim, EVIL), ("acme.test", &*format!("v=spf1 include:{EVIL} -all")), ("_dmarc.acme.test", &long)]
    {
        let set = json!({"name": name, "type": "TXT", "values": [text, format!("other {EVIL}")], "ttl": 5});
        api.put("/sandbox/dns/records", set).expect(200);
    }
    assert_eq!(daemon.cli(token, &["domain", "verify", "acme.test", "--wait=1"]).code, 3);
    api.poll(&format!("{DOMAINS}/{}", made["id"].as_str().unwrap()), |shown| shown.body["last_checked_at"].is_string());
    let shown = daemon.cli(token, &["domain", "show", "acme.test"]).succeeded().stdout;
    assert!(shown.contains(r"\u{1b}[2J\u{9b}2J\r\n2026-11-24T00:00:00Z ERROR forged"), "{shown}");
    for command in ["show", "checks", "events", "zone-file"] {
        for more in [&[][..], &["--json"]] {
            let shown = daemon.cli(token, &[&["domain", command, "acme.test"][..], more].concat()).succeeded().stdout;
            assert!(shown.chars().all(is_harmless), "{command} {more:?}: {shown:?}");
            assert!(!shown.lines().any(|line| line.starts_with("2026-11-24T00:00:00Z")), "{command}: {shown}");
            assert!(
                command == "checks" || more.contains(&"--json") || shown.len() < 20_000,
                "{command}: {}",
                shown.len()
            );
        }
    }
    // JSON has the complete text in JSON escapes.
    let shown = daemon.cli(token, &["domain", "show", "acme.test", "--json"]).succeeded().json();
    let records = shown["records"].as_array().unwrap().iter();
    let observed: Vec<&Value> = records.flat_map(|record| record["observed"].as_array().unwrap()).collect();
    assert!(observed.contains(&&json!(long)), "{observed:?}");

    // In a terminal, the screen is intact.
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in
        [(&["show", "acme.test"][..], 0), (&["verify", "acme.test", "--watch", "--timeout", "1"], 1)]
    {
        let mut command = python_command("terminal.py");
        command.args(["80", "50"]).arg(folder.path().join("log"));
        command.args([env!("CARGO_BIN_EXE_inboxlayer"), "domain"]).args(arguments);
        command.env("INBOXLAYER_URL", daemon.ready("http")).env("INBOXLAYER_TOKEN", token);
        command.env("NO_COLOR", "1").env("TERM", "xterm");
        let seen = run(command, b"").succeeded().json();
        let (screen, written) = (&seen["screens"][0], seen["written"].as_str().unwrap());
        assert_eq!(seen["code"], code, "{seen}");
        assert!(screen.as_str().unwrap().starts_with("acme.test  pending"), "{seen}");
        // The terminal adds carriage returns, and `--watch` moves up to redraw its table.
        let written = written.replace("\r\n", "\n");
        let written: String = written
            .split("\u{1b}[")
            .enumerate()
            .map(|(at, part)| match at {
                0 => part.to_owned(),
                _ => part.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['A', 'J']).to_owned(),
            })
            .collect();
        assert!(written.chars().all(is_harmless), "{written:?}");
    }
    let log = daemon.log();
    assert!(log.lines().all(|line| line.chars().all(is_harmless)), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("2026-11-24T00:00:00Z")), "{log}");
}
