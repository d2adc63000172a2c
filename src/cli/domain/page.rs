//! Shows one domain: its status, verdict, records, and what to fix. Invariant: names and values to publish are printed
//! complete and on one line, for copying; if their table is wider than the terminal, each record has its own lines.

use super::visible::{now, visible};
use crate::cli::table::{Table, cell, painted, wrapped};
use serde_json::Value;

pub(super) fn page(domain: &Value, colour: bool, width: usize) -> String {
    let paint = |text: String| if colour { painted(&text) } else { text };
    let mut text = format!("{}  {}\n", cell(domain, "domain"), paint(cell(domain, "verified_status")));
    let verdict = cell(domain, "verdict");
    push(&mut text, wrapped(&verdict, width, ""));
    for warning in domain.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        push(&mut text, wrapped(&format!("warning: {}", cell(warning, "message")), width, "  "));
    }
    for (field, label) in [
        ("degraded_since", "faulty since"),
        ("last_checked_at", "last checked"),
        ("next_check_at", "next check"),
        ("window_ends_at", "window ends"),
    ] {
        let value = cell(domain, field);
        if !value.is_empty() {
            text.push_str(&format!("  {label:<13} {value}\n"));
        }
    }
    text.push('\n');
    let records = domain.get("records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let table = table(records);
    if table.width() < width {
        text.push_str(&table.render(colour));
    } else {
        records.iter().for_each(|record| text.push_str(&lines(record, paint)));
    }
    text.push_str("* required\n");
    for record in records {
        let Some(error) = record.get("error").filter(|e| e.is_object()) else { continue };
        text.push('\n');
        push(&mut text, wrapped(&heading(record, error), width, ""));
        push(&mut text, wrapped(&cell(error, "message"), width, "  "));
        for (label, value) in [("found", cell(record, "observed")), ("fix", cell(error, "fix"))] {
            if !value.is_empty() {
                push(&mut text, wrapped(&format!("{label}: {value}"), width, "  "));
            }
        }
        if let Some(visible) = visible(error, now(domain)) {
            push(&mut text, wrapped(&visible, width, "  "));
        }
    }
    text
}

/// The record, and the error code that the documentation explains.
fn heading(record: &Value, error: &Value) -> String {
    let warning = if cell(record, "status") == "valid" { " (a warning)" } else { "" };
    format!("{} {}: {}{warning}", cell(record, "type"), cell(record, "name"), cell(error, "code"))
}

fn table(records: &[Value]) -> Table {
    let mut table = Table::new(&["for", "type", "name", "value", "status"]);
    for record in records {
        let row =
            vec![purpose(record), cell(record, "type"), cell(record, "name"), value(record), cell(record, "status")];
        table.row(row);
    }
    table
}

/// The record in three lines.
fn lines(record: &Value, paint: impl Fn(String) -> String) -> String {
    let (purpose, kind, status) = (purpose(record), cell(record, "type"), paint(cell(record, "status")));
    format!("{purpose:<8} {kind:<5}  {status}\n  name   {}\n  value  {}\n", cell(record, "name"), value(record))
}

fn purpose(record: &Value) -> String {
    let required = record.get("required").and_then(Value::as_bool) == Some(true);
    format!("{}{}", cell(record, "purpose"), if required { " *" } else { "" })
}

fn value(record: &Value) -> String {
    let priority = cell(record, "priority");
    if priority.is_empty() { cell(record, "value") } else { format!("{priority} {}", cell(record, "value")) }
}

fn push(text: &mut String, lines: Vec<String>) {
    lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn domain() -> Value {
        json!({"domain": "acme.com", "verified_status": "pending", "verdict": "One record is missing.",
            "last_checked_at": "2126-11-24T13:53:10.042Z", "next_check_at": "2126-11-24T14:31:07.042Z", "degraded_since": null,
            "records": [
                {"purpose": "mx", "type": "MX", "name": "acme.com", "value": "smtp.inboxlayer.dev", "priority": 10,
                 "required": false, "status": "valid", "observed": ["10 smtp.inboxlayer.dev"],
                 "error": {"code": "still_cached", "message": "A resolver still has what was there before.", "fix": "Nothing to do.",
                           "expected_visible_at": "2126-11-24T14:05:00Z"}},
                {"purpose": "dkim", "type": "CNAME", "name": "t._domainkey.acme.com", "value": "t.dkim.amazonses.com",
                 "priority": null, "required": true, "status": "mismatch", "observed": ["x.example"],
                 "error": {"code": "wrong_value", "message": "It leads elsewhere.", "fix": "Change its value."}}]})
    }

    const FAULTS: &str = "\
* required

MX acme.com: still_cached (a warning)
  A resolver still has what was there before.
  found: 10 smtp.inboxlayer.dev
  fix: Nothing to do.
  visible by 14:05 UTC, in 12 minutes

CNAME t._domainkey.acme.com: wrong_value
  It leads elsewhere.
  found: x.example
  fix: Change its value.
";

    const HEAD: &str = "\
acme.com  pending
One record is missing.
  last checked  2126-11-24T13:53:10.042Z
  next check    2126-11-24T14:31:07.042Z

";

    #[test]
    fn the_page_shows_each_record_and_how_to_fix_it() {
        let table = "\
FOR     TYPE   NAME                   VALUE                   STATUS
mx      MX     acme.com               10 smtp.inboxlayer.dev  valid
dkim *  CNAME  t._domainkey.acme.com  t.dkim.amazonses.com    mismatch
";
        for width in [80, 120, usize::MAX] {
            assert_eq!(page(&domain(), false, width), format!("{HEAD}{table}{FAULTS}"), "{width}");
        }
    }

    #[test]
    fn if_the_table_does_not_fit_each_record_has_its_own_lines() {
        let lines = "\
mx       MX     valid
  name   acme.com
  value  10 smtp.inboxlayer.dev
dkim *   CNAME  mismatch
  name   t._domainkey.acme.com
  value  t.dkim.amazonses.com
";
        assert_eq!(page(&domain(), false, 60), format!("{HEAD}{lines}{FAULTS}"));
    }

    #[test]
    fn a_page_with_real_names_fits_into_80_and_120_columns() {
        let mut domain = domain();
        let token = "zcoef25ipx12m9y1pe6ir09pisoxfqlm";
        domain["records"][1]["name"] = json!(format!("{token}._domainkey.acme.com"));
        domain["records"][1]["value"] = json!(format!("{token}.dkim.amazonses.com"));
        let fix = format!(
            "Change the value of the CNAME record at {token}._domainkey.acme.com to {token}.dkim.amazonses.com."
        );
        domain["records"][1]["error"]["fix"] = json!(fix);
        for width in [80, 120] {
            let shown = page(&domain, false, width);
            assert!(shown.lines().all(|line| line.chars().count() < width), "{shown}");
            assert!(shown.contains(&format!("\n  value  {token}.dkim.amazonses.com\n")), "{shown}");
        }
        assert!(page(&domain, false, 160).contains("\nFOR "));
    }

    #[test]
    fn published_text_stays_within_its_line() {
        let mut domain = domain();
        let evil = "v=spf1\u{1b}[2J\n\u{9b}31m\u{202e}\u{2067}\u{200f}";
        domain["records"][1]["observed"] = json!([evil, "x".repeat(65_000)]);
        domain["records"][1]["error"]["message"] = json!(format!("it is {evil}, not ours"));
        let shown = page(&domain, false, 80);
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c) || c == '\u{2026}'), "{shown:?}");
        assert!(shown.contains("it is v=spf1\\u{1b}[2J\\n\\u{9b}31m\\u{202e}"), "{shown}");
        assert!(shown.lines().count() < 40, "{shown}");
    }
}
