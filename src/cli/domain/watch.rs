//! `domain verify --watch`: polls a domain until its records are valid. Invariant: on a terminal one table is redrawn
//! in place, never taller or wider than the terminal; elsewhere only changes are printed, one line each.

use super::visible::{now, visible};
use crate::cli::failure::Failure;
use crate::cli::rest::Rest;
use crate::cli::table::{cell, colour, wrapped};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Pause between polls.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between requested checks; the daemon allows one in ten seconds.
const ASK_EVERY: Duration = Duration::from_secs(15);
/// Consecutive failed polls before giving up; a restarting daemon is waited for.
const FAILURES: u32 = 15;
/// Default terminal size.
const SIZE: (usize, usize) = (80, 24);

/// Watches until the domain is verified or has failed, or the timeout has passed. Returns its last state.
pub(super) async fn watch(client: &Rest, path: &str, timeout: Option<Duration>, quiet: bool) -> Result<Value, Failure> {
    let began = Instant::now();
    let mut now = client.get(path).await?;
    let before = now.clone();
    let mut screen = Screen::new(quiet);
    let (mut last_request, mut failures) = (None::<Instant>, 0);
    loop {
        screen.show(&now, began.elapsed());
        let over = timeout.is_some_and(|timeout| began.elapsed() >= timeout);
        if settled(&now, &before) || over {
            return Ok(now);
        }
        let looked = if last_request.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            let first = last_request.is_none();
            last_request = Some(Instant::now());
            match client.post_and_wait(&format!("{path}/verify"), if first { 5 } else { 0 }).await {
                Ok(domain) => Ok(domain),
                // Another client has just requested a check; its result will do.
                Err(_) => client.get(path).await,
            }
        } else {
            tokio::time::sleep(PAUSE).await;
            client.get(path).await
        };
        match looked {
            Ok(domain) => {
                failures = 0;
                now = domain;
            }
            Err(failure) => {
                failures += 1;
                if failures >= FAILURES {
                    return Err(failure);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// True if it is verified or has failed by a check that settled since the start; an older result is checked again
/// first.
fn settled(now: &Value, before: &Value) -> bool {
    cell(now, "verified_status") != "pending" && cell(now, "last_checked_at") != cell(before, "last_checked_at")
}

struct Screen {
    quiet: bool,
    terminal: bool,
    colour: bool,
    /// Lines of the current frame.
    drawn: usize,
    before: Option<Value>,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stdout().is_terminal(), colour: colour(), drawn: 0, before: None }
    }

    fn show(&mut self, domain: &Value, elapsed: Duration) {
        if self.quiet {
            return;
        }
        let mut text = String::new();
        if self.terminal {
            let size = terminal_size::terminal_size()
                .map_or(SIZE, |(w, h)| (usize::from(w.0).max(20), usize::from(h.0).max(4)));
            if self.drawn > 0 {
                // Move to the first line of the frame and clear everything below.
                text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
            }
            let lines = frame(domain, elapsed, size, self.colour);
            self.drawn = lines.len();
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        } else {
            changes(self.before.as_ref(), domain).iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        self.before = Some(domain.clone());
        // If the terminal is gone, only the outcome counts.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn records(domain: &Value) -> &[Value] {
    domain.get("records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// One frame, fitted to the terminal.
fn frame(domain: &Value, elapsed: Duration, (width, height): (usize, usize), colour: bool) -> Vec<String> {
    let (all, status) = (records(domain), cell(domain, "verified_status"));
    let valid = all.iter().filter(|record| cell(record, "status") == "valid").count();
    let head = format!(
        "{}  {status}  {valid} of {} records valid, watching for {} s",
        cell(domain, "domain"),
        all.len(),
        elapsed.as_secs()
    );
    let widest = |field: &str| all.iter().map(|r| cell(r, field).chars().count()).max().unwrap_or(0);
    let (kind, host) = (widest("type"), widest("host_label"));
    let mut lines = vec![painted(&clipped(&head, width), &status, colour), String::new()];
    for record in all {
        let status = cell(record, "status");
        let mark = match status.as_str() {
            "valid" => '\u{2713}',
            "missing" | "mismatch" => '\u{2717}',
            _ => '?',
        };
        let required = if record.get("required").and_then(Value::as_bool) == Some(true) { "*" } else { " " };
        let line = format!(
            "  {mark} {status:<11} {:<11}{required} {:<kind$} {:<host$} {}",
            cell(record, "purpose"),
            cell(record, "type"),
            cell(record, "host_label"),
            cell(record, "value")
        );
        lines.push(painted(clipped(&line, width).trim_end(), &status, colour));
    }
    lines.push(String::new());
    let faults: Vec<&Value> = all.iter().filter(|record| record.get("error").is_some_and(Value::is_object)).collect();
    for (position, record) in faults.iter().enumerate() {
        let Some(error) = record.get("error") else { continue };
        let mut text = wrapped(&format!("{}: {}", cell(error, "code"), cell(error, "message")), width, "  ");
        text.extend(wrapped(&format!("fix: {}", cell(error, "fix")), width, "    "));
        text.extend(visible(error, now(domain)).into_iter().flat_map(|visible| wrapped(&visible, width, "    ")));
        // The last line is for the cursor, the one before it for the note about omitted lines.
        if lines.len() + text.len() + 2 > height {
            let left = faults.len() - position;
            lines.push(clipped(
                &format!("  \u{2026} {left} more: inboxlayer domain show {}", cell(domain, "domain")),
                width,
            ));
            break;
        }
        lines.extend(text);
    }
    lines.truncate(height.saturating_sub(1));
    lines
}

/// What has changed since `before`; everything if there is none.
fn changes(before: Option<&Value>, now: &Value) -> Vec<String> {
    let (name, status) = (cell(now, "domain"), cell(now, "verified_status"));
    let mut lines = Vec::new();
    for (position, record) in records(now).iter().enumerate() {
        let (old, new) = (before.and_then(|before| records(before).get(position)).map(state), state(record));
        let what = format!("{} {}", cell(record, "type"), cell(record, "name"));
        match old {
            Some(old) if old == new => continue,
            Some(old) => lines.push(format!("{what}: {old} -> {new}")),
            None => lines.push(format!("{what}: {new}")),
        }
        let visible = record.get("error").and_then(|error| visible(error, super::visible::now(now)));
        lines.extend(visible.map(|visible| format!("  {visible}")));
    }
    match before.map(|before| cell(before, "verified_status")) {
        Some(old) if old == status => {}
        Some(old) => lines.push(format!("{name}: {old} -> {status}")),
        None => lines.push(format!("{name}: {status}")),
    }
    lines
}

/// A record's status, with the error code if there is one.
fn state(record: &Value) -> String {
    let status = cell(record, "status");
    let code = record.get("error").map(|error| cell(error, "code")).filter(|code| !code.is_empty() && *code != status);
    code.map_or(status.clone(), |code| format!("{status} ({code})"))
}

/// Cut to the width minus one, since some terminals wrap at the last column.
fn clipped(line: &str, width: usize) -> String {
    line.chars().take(width.saturating_sub(1)).collect()
}

/// A line in the colour of its status.
fn painted(line: &str, status: &str, colour: bool) -> String {
    let code = match status {
        "valid" | "verified" => "32",
        "missing" | "mismatch" | "failed" => "31",
        _ => "33",
    };
    if colour { format!("\x1b[{code}m{line}\x1b[0m") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn domain(status: &str, dkim: &str, fix: &str) -> Value {
        let error = json!({"code": dkim, "message": "it is not there", "fix": fix});
        let error = if dkim == "valid" { Value::Null } else { error };
        json!({"domain": "acme.com", "verified_status": status, "records": [
            {"purpose": "dkim", "type": "CNAME", "name": "t._domainkey.acme.com", "host_label": "t._domainkey",
             "value": "t.dkim.amazonses.com", "required": true, "status": dkim, "error": error},
            {"purpose": "mx", "type": "MX", "name": "acme.com", "host_label": "@", "value": "smtp.inboxlayer.dev",
             "required": false, "status": "valid", "error": null}]})
    }

    #[test]
    fn the_watch_ends_with_a_check_that_settled_since_it_began() {
        let domain = |status: &str, checked: Value| json!({"verified_status": status, "last_checked_at": checked});
        let before = domain("verified", json!("2126-11-24T13:53:10Z"));
        assert!(!settled(&before, &before), "the requested check is still running");
        assert!(settled(&domain("verified", json!("2126-11-24T13:53:31Z")), &before));
        assert!(!settled(&domain("pending", json!("2126-11-24T13:53:31Z")), &before));
        assert!(settled(&domain("failed", json!("2126-11-24T13:53:31Z")), &domain("pending", json!(null))));
    }

    #[test]
    fn a_frame_shows_every_record_and_how_to_fix_it() {
        let lines = frame(&domain("pending", "missing", "Create it."), Duration::from_secs(3), (80, 24), false);
        assert_eq!(
            lines,
            [
                "acme.com  pending  1 of 2 records valid, watching for 3 s",
                "",
                "  \u{2717} missing     dkim       * CNAME t._domainkey t.dkim.amazonses.com",
                "  \u{2713} valid       mx           MX    @            smtp.inboxlayer.dev",
                "",
                "  missing: it is not there",
                "    fix: Create it.",
            ]
        );
        let green = frame(&domain("verified", "valid", ""), Duration::ZERO, (80, 24), true);
        assert!(
            green[0].starts_with("\x1b[32macme.com")
                && green[2].starts_with("\x1b[32m")
                && green[2].ends_with("\x1b[0m")
        );
    }

    #[test]
    fn a_frame_always_fits() {
        let long = domain("pending", "missing", &"type this word by word ".repeat(40));
        for size in [(20, 4), (40, 10), (80, 24), (200, 60)] {
            let lines = frame(&long, Duration::from_secs(1), size, false);
            assert!(lines.len() < size.1, "{size:?}: {lines:?}");
            assert!(lines.iter().all(|line| line.chars().count() < size.0), "{size:?}: {lines:?}");
        }
        let small = frame(&long, Duration::ZERO, (80, 9), false).join("\n");
        assert!(small.contains("1 more: inboxlayer domain show acme.com"), "{small}");
    }

    #[test]
    fn a_cached_record_shows_when_it_expires() {
        let mut cached = domain("verified", "valid", "");
        cached["last_checked_at"] = json!("2126-11-24T13:53:10Z");
        cached["records"][0]["error"] = json!({"code": "still_cached", "message": "a resolver remembers", "fix": "Wait.",
            "expected_visible_at": "2126-11-24T14:05:00Z"});
        let lines = frame(&cached, Duration::ZERO, (80, 24), false);
        let fault =
            ["  still_cached: a resolver remembers", "    fix: Wait.", "    visible by 14:05 UTC, in 12 minutes"];
        assert_eq!(lines[5..], fault);
        let reported = changes(Some(&domain("verified", "valid", "")), &cached);
        let line = "CNAME t._domainkey.acme.com: valid -> valid (still_cached)";
        assert_eq!(reported, [line, "  visible by 14:05 UTC, in 12 minutes"]);
    }

    #[test]
    fn published_text_does_not_move_the_cursor() {
        let evil = "\u{1b}[2J\r\n\u{9b}2J\u{202e}".repeat(5000);
        let mut domain = domain("pending", "mismatch", &evil);
        domain["records"][0]["error"]["message"] = json!(evil);
        domain["records"][0]["value"] = json!(evil);
        for lines in [frame(&domain, Duration::ZERO, (80, 24), false), changes(None, &domain)] {
            assert!(
                lines.iter().flat_map(|line| line.chars()).all(|c| !c.is_control() && c != '\u{202e}'),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn without_a_terminal_only_changes_are_printed() {
        let (before, after) = (domain("pending", "missing", "x"), domain("verified", "valid", ""));
        assert_eq!(
            changes(None, &before),
            ["CNAME t._domainkey.acme.com: missing", "MX acme.com: valid", "acme.com: pending"]
        );
        assert!(changes(Some(&before), &before).is_empty());
        assert_eq!(
            changes(Some(&before), &after),
            ["CNAME t._domainkey.acme.com: missing -> valid", "acme.com: pending -> verified"]
        );
    }
}
