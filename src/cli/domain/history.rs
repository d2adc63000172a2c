//! `domain checks` and `domain events`: the history of a domain, oldest first, like a log.

use crate::cli::failure::Failure;
use crate::cli::rest::{Rest, RestArgs, print_json};
use crate::cli::table::{Table, cell};
use serde_json::Value;

/// Prints stored checks: time, status afterwards, faults.
pub(super) async fn checks(client: &Rest, path: &str, rest: &RestArgs) -> Result<(), Failure> {
    let checks = client.list_all(&format!("{path}/checks")).await?;
    if rest.json {
        print_json(&Value::Array(checks));
        return Ok(());
    }
    if checks.is_empty() {
        println!("no check has been made yet");
        return Ok(());
    }
    let mut table = Table::new(&["checked_at", "status", "valid", "not valid"]);
    for check in checks.iter().rev() {
        let records = check.get("records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (valid, others): (Vec<&Value>, Vec<&Value>) = records.iter().partition(|r| cell(r, "status") == "valid");
        let fault = |record: &&Value| {
            let code = record.pointer("/error/code").and_then(Value::as_str).unwrap_or("unknown");
            format!("{} {}: {code}", cell(record, "type"), cell(record, "host_label"))
        };
        table.row(vec![
            cell(check, "checked_at"),
            cell(check, "verified_status"),
            format!("{} of {}", valid.len(), records.len()),
            others.iter().map(fault).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.print();
    Ok(())
}

/// Prints status changes with causes and evidence.
pub(super) async fn events(client: &Rest, path: &str, rest: &RestArgs) -> Result<(), Failure> {
    let events = client.list_all(&format!("{path}/events")).await?;
    if rest.json {
        print_json(&Value::Array(events));
        return Ok(());
    }
    for event in events.iter().rev() {
        print!("{}", paragraph(event));
    }
    Ok(())
}

fn paragraph(event: &Value) -> String {
    let from = cell(event, "from");
    let change = if from.is_empty() { cell(event, "to") } else { format!("{from} -> {}", cell(event, "to")) };
    let mut text = format!("{}  {change}: {}\n", cell(event, "at"), cell(event, "message"));
    for record in event.get("records").and_then(Value::as_array).into_iter().flatten() {
        let found = Some(cell(record, "found")).filter(|found| !found.is_empty()).unwrap_or_else(|| "nothing".into());
        let server = Some(cell(record, "server")).filter(|s| !s.is_empty()).map(|s| format!(" (at {s})"));
        text.push_str(&format!(
            "    {}: expected {}, found {found}{}\n",
            cell(record, "record"),
            cell(record, "expected"),
            server.unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_shows_expected_and_found_values() {
        let event = json!({"at": "2026-11-24T05:31:07Z", "from": "verified", "to": "failed", "message": "The time was over.",
            "records": [{"record": "t.acme.com CNAME", "expected": "t.example", "found": [], "server": "192.0.2.1:53"}]});
        assert_eq!(
            paragraph(&event),
            "2026-11-24T05:31:07Z  verified -> failed: The time was over.\n    t.acme.com CNAME: expected t.example, found nothing (at 192.0.2.1:53)\n"
        );
        let created =
            json!({"at": "x", "from": null, "to": "pending", "message": "The domain was claimed.", "records": []});
        assert_eq!(paragraph(&created), "x  pending: The domain was claimed.\n");
    }
}
