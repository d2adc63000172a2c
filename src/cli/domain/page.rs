//! One domain for people: its status, its verdict, its records, and what to mend.

use crate::cli::table::{Table, cell, painted, wrapped};
use serde_json::Value;

/// One domain for people: its status, its verdict, its records, and what to mend.
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
    let mut table = Table::new(&["for", "type", "name", "value", "status"]);
    for record in records {
        let priority = cell(record, "priority");
        let value =
            if priority.is_empty() { cell(record, "value") } else { format!("{priority} {}", cell(record, "value")) };
        let required = record.get("required").and_then(Value::as_bool) == Some(true);
        let purpose = cell(record, "purpose");
        table.row(vec![
            if required { format!("{purpose} *") } else { purpose },
            cell(record, "type"),
            cell(record, "name"),
            value,
            cell(record, "status"),
        ]);
    }
    text.push_str(&table.render(colour));
    text.push_str("* required\n");
    for record in records {
        let Some(error) = record.get("error").filter(|e| e.is_object()) else { continue };
        let what = format!("{} {}: {}", cell(record, "type"), cell(record, "name"), cell(error, "message"));
        text.push('\n');
        push(&mut text, wrapped(&what, width, ""));
        for (label, value) in [
            ("found", cell(record, "observed")),
            ("fix", cell(error, "fix")),
            ("visible by", cell(error, "expected_visible_at")),
        ] {
            if !value.is_empty() {
                push(&mut text, wrapped(&format!("{label}: {value}"), width, "  "));
            }
        }
    }
    text
}

fn push(text: &mut String, lines: Vec<String>) {
    lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_shows_each_record_and_how_to_mend_it() {
        let domain = json!({"domain": "acme.com", "verified_status": "pending", "verdict": "One record is missing.",
            "next_check_at": "2026-11-24T05:31:07.042Z", "degraded_since": null,
            "records": [
                {"purpose": "mx", "type": "MX", "name": "acme.com", "value": "smtp.inboxlayer.dev", "priority": 10,
                 "required": false, "status": "valid", "observed": ["10 smtp.inboxlayer.dev"], "error": null},
                {"purpose": "dkim", "type": "CNAME", "name": "t._domainkey.acme.com", "value": "t.dkim.amazonses.com",
                 "priority": null, "required": true, "status": "mismatch", "observed": ["x.example"],
                 "error": {"code": "c", "message": "It leads elsewhere.", "fix": "Change its value."}}]});
        let expected = "\
acme.com  pending
One record is missing.
  next check    2026-11-24T05:31:07.042Z

FOR     TYPE   NAME                   VALUE                   STATUS
mx      MX     acme.com               10 smtp.inboxlayer.dev  valid
dkim *  CNAME  t._domainkey.acme.com  t.dkim.amazonses.com    mismatch
* required

CNAME t._domainkey.acme.com: It leads elsewhere.
  found: x.example
  fix: Change its value.
";
        assert_eq!(page(&domain, false, usize::MAX), expected);
    }
}
