//! The records of a domain as a table: what to publish, what was found where, and how to fix it.

use super::model::{Evidence, Fault, Record};
use crate::web::docs::links;
use crate::web::parts::{copyable_at, status, time};
use maud::{Markup, html};

/// What a purpose is called.
pub(super) fn purpose(word: &str) -> &str {
    match word {
        "dkim" => "DKIM",
        "mx" => "MX",
        "spf" => "SPF",
        "dmarc" => "DMARC",
        "ownership" => "Ownership",
        "return_path" => "Return path",
        other => other,
    }
}

/// With `provider`, the values are as they are entered there.
pub(super) fn table(records: &[Record], provider: Option<&str>) -> Markup {
    html! {
        div .table .records {
            table {
                caption .visually-hidden { "DNS records to publish, and what the last check found" }
                thead {
                    tr {
                        th scope="col" { "Record" }
                        th scope="col" { "Host" }
                        th scope="col" { "Value" }
                        th scope="col" { "Status" }
                    }
                }
                @for record in records { (row(record, provider)) }
            }
        }
    }
}

fn row(record: &Record, provider: Option<&str>) -> Markup {
    let name = purpose(&record.purpose);
    let what = format!("of the {name} {} record {}", record.record_type, record.name);
    let (host, value, priority) = match &record.entry {
        Some(entry) => (entry.host.as_str(), entry.value.as_str(), entry.priority),
        None => (record.name.as_str(), record.value.as_str(), record.priority),
    };
    // The part is replaced while the page is open.
    let of = |part: &str, value: &str, what: &str| copyable_at(Some(&format!("{part}-{}", key(record))), value, what);
    let is_as_written = host == record.name && value == record.value;
    html! {
        tbody .record data-status=(record.status) {
            tr {
                th scope="row" {
                    a href=(links::purpose(&record.purpose)) { (name) }
                    " " code { (record.record_type) }
                    p .hint { @if record.required { "Required" } @else { "Advice" } }
                }
                td {
                    div .entry {
                        span .hint { "Host to enter" }
                        @if host.is_empty() { em { "leave empty" } } @else { (of("host", host, &format!("host {what}"))) }
                    }
                    @if host != record.name {
                        div .entry { span .hint { "Full name" } (of("name", &record.name, &format!("full name {what}"))) }
                    }
                }
                td {
                    @if let Some(priority) = priority {
                        div .entry { span .hint { "Priority" } (of("priority", &priority.to_string(), &format!("priority {what}"))) }
                    }
                    div .entry {
                        span .hint {
                            @match provider.filter(|_| !is_as_written && value != record.value) {
                                Some(provider) => { "Value as " (provider) " wants it" }
                                None => "Value",
                            }
                        }
                        (of("value", value, &format!("value {what}")))
                    }
                }
                td data-label="Status" {
                    (status(&record.status))
                    p { a .hint href=(links::status(&record.status)) { "What it means" } }
                }
            }
            @if record.error.is_some() || !record.evidence.is_empty() {
                tr .finding { td colspan="4" { (finding(record, "")) } }
            }
        }
    }
}

/// A part of ids that no other record of the domain has.
fn key(record: &Record) -> String {
    format!("{}-{}-{}", record.purpose, record.record_type, record.name)
}

/// What was found, what is wrong, how to fix it. Ids begin with `prefix`, which is another one for each check of a page.
pub(super) fn finding(record: &Record, prefix: &str) -> Markup {
    let is_warning = record.status == "valid" || !record.required;
    html! {
        div .finding-parts {
            @if let Some(fault) = &record.error { (fault_of(record, fault, (prefix, is_warning))) }
            @if !record.evidence.is_empty() {
                details id={(prefix) "found-" (key(record))} {
                    summary { "What was found" @if !record.observed.is_empty() { ": " (observed(record)) } }
                    (evidence(&record.evidence))
                }
            }
        }
    }
}

fn observed(record: &Record) -> Markup {
    html! {
        @for (at, value) in record.observed.iter().take(3).enumerate() { @if at > 0 { ", " } code { bdi { (value) } } }
        @if record.observed.len() > 3 { " and " (record.observed.len() - 3) " more" }
        @if let Some(name) = &record.observed_name { " at " code { bdi { (name) } } }
    }
}

fn fault_of(record: &Record, fault: &Fault, (prefix, is_warning): (&str, bool)) -> Markup {
    let instruction = match &fault.fix_value {
        Some(value) => fault.fix.strip_suffix(value.as_str()).unwrap_or(&fault.fix),
        None => &fault.fix,
    };
    html! {
        div class={"notice " @if is_warning { "warn" } @else { "error" }} {
            p { strong { "Found: " } bdi { (sentence(&fault.message)) } "." }
            @if !fault.fix.is_empty() {
                p { strong { "Fix: " } bdi { (instruction) } }
                @if let Some(value) = &fault.fix_value {
                    @let what = format!("the value that fixes the {} record {}", record.record_type, record.name);
                    p { (copyable_at(Some(&format!("{prefix}fix-{}", key(record))), value, &what)) }
                }
            }
            @if let Some(at) = &fault.expected_visible_at { p { "Caches keep the old answer until " (time(at)) "." } }
            p { a href=(links::code(&fault.code)) { "About " code { (fault.code) } } }
        }
    }
}

fn evidence(all: &[Evidence]) -> Markup {
    html! {
        div .scroll role="group" aria-label="Answers of the servers" tabindex="0" {
            table .evidence {
                thead { tr { th scope="col" { "Server" } th scope="col" { "Answer" } th scope="col" { "Time to live" } } }
                tbody {
                    @for one in all {
                        tr {
                            th scope="row" {
                                @match (&one.name, &one.server) {
                                    (Some(name), Some(server)) => { bdi { (name) } " (" (server) ")" }
                                    (None, Some(server)) => (server),
                                    (Some(name), None) => bdi { (name) },
                                    (None, None) => "no server",
                                }
                                span .hint { @if one.authoritative { " name server" } @else { " resolver" } }
                            }
                            td { @match &one.value { Some(value) => code { bdi { (value) } }, None => (one.answer) } }
                            td { @if let Some(ttl) = one.ttl { (ttl) " s" } }
                        }
                    }
                }
            }
        }
    }
}

/// With a capital letter, unless it begins with a name.
pub(super) fn sentence(text: &str) -> String {
    let is_name = text.split_whitespace().next().is_some_and(|word| word.contains('.'));
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !is_name => first.to_uppercase().chain(characters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_a_capital_letter_unless_a_name_is_first() {
        assert_eq!(sentence("there is no record"), "There is no record");
        assert_eq!(sentence("acme.test has its mailboxes"), "acme.test has its mailboxes");
        assert_eq!(sentence(""), "");
    }

    fn record(fault: serde_json::Value) -> Record {
        serde_json::from_value(serde_json::json!({
            "purpose": "spf", "type": "TXT", "name": "acme.test", "value": "v=spf1 ~all", "priority": null, "required": false,
            "entry": {"host": "", "value": "\"v=spf1 ~all\"", "priority": null}, "status": "mismatch",
            "observed": ["<script>alert(1)</script>"], "evidence": [{"value": "<b>", "server": "192.0.2.1:53", "ttl": 5, "ad": false,
            "authoritative": true, "answer": "found"}], "error": fault,
        }))
        .unwrap()
    }

    #[test]
    fn the_value_of_a_fix_is_shown_once_and_can_be_copied() {
        let fault = serde_json::json!({"code": "spf_syntax", "message": "<i> is there", "fix": "Change it to: v=spf1 ~all", "fix_value": "v=spf1 ~all"});
        let html = table(&[record(fault)], Some("Amazon Route 53")).into_string();
        assert!(html.contains("<bdi>Change it to: </bdi>") && html.contains("data-copy=\"v=spf1 ~all\""), "{html}");
        assert!(html.contains("leave empty") && html.contains("Value as Amazon Route 53 wants it"), "{html}");
        assert!(!html.contains("<script>") && !html.contains("<i>") && !html.contains("<b>"), "{html}");
        assert!(
            html.contains("/docs/verification#codes-spf_syntax") && html.contains("/docs/verification#the-records-spf"),
            "{html}"
        );
    }
}
