//! The records and the faults of the simulated DNS.

use super::{Given, ROWS};
use crate::web::controls::select;
use crate::web::layout::csrf;
use crate::web::parts::{Field, below, described_by, faults_of, page_of, pages, refused};
use crate::web::session::Session;
use maud::{Markup, html};
use serde::Deserialize;

/// Faults of name servers, and what they are called.
const FAULTS: [(&str, &str); 4] =
    [("servfail", "SERVFAIL"), ("refused", "REFUSED"), ("timeout", "no answer"), ("missing", "no such record")];

#[derive(Debug, Deserialize)]
pub(super) struct RecordSet {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    name: String,
    /// `None`: all of them, and the resolver.
    server: Option<u8>,
    fault: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Faults {
    data: Vec<Fault>,
    /// How many name servers a zone has.
    servers: u8,
}

pub(super) fn dns_section(session: &Session, records: &[RecordSet], given: Given<'_>) -> Markup {
    let name = Field { value: given.text("name", ""), is_required: true, ..Field::new("name", "Name") };
    let (rows, next) = page_of(session, "dns", records, ROWS);
    let kinds = ["TXT", "CNAME", "MX", "A", "AAAA", "NS", "PTR"].map(|kind| (kind, kind));
    let wrong = faults_of(given.refusal(), "values");
    let hint = "One in each line; an MX is like 10 mx.example.org. Without a value the record set is removed.";
    html! {
        section .stack aria-labelledby="dns" {
            h2 id="dns" { "DNS records" }
            form .card method="post" action="/sandbox/internet/records" {
                (csrf(session))
                div .inline { (name.show(given.refusal())) (select("type", "Type", &kinds, given.text("type", "TXT"))) }
                div .field {
                    label for="values" { "Values" }
                    textarea id="values" name="values" aria-describedby=[described_by("values", hint, &wrong)]
                        aria-invalid=[(!wrong.is_empty()).then_some("true")] { "\n" (given.text("values", "")) }
                    (below("values", "Values", hint, &wrong))
                }
                (refused(given.refusal(), &["name", "values"]))
                div .actions { button type="submit" { "Set" } }
            }
            @if !records.is_empty() {
                div .table { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Type" } th scope="col" { "Values" } th scope="col" { "Change" } } }
                    tbody { @for set in rows { tr {
                        th scope="row" { code { (set.name) } }
                        td data-label="Type" { (set.kind) }
                        td { @for value in &set.values { div { code { (value) } } } }
                        td { form method="post" action="/sandbox/internet/records" {
                            (csrf(session))
                            input type="hidden" name="name" value=(set.name);
                            input type="hidden" name="type" value=(set.kind);
                            button .small .danger type="submit" aria-label={"Remove the " (set.kind) " records of " (set.name)} { "Remove" }
                        } }
                    } } }
                } }
                (pages(session, "dns", next.as_deref()))
            }
        }
    }
}

pub(super) fn fault_section(session: &Session, faults: &Faults, given: Given<'_>) -> Markup {
    let hint = "The name and everything below it.";
    // The API calls it `name`, which another form of the page has.
    let wrong = faults_of(given.refusal(), "name");
    let (rows, next) = page_of(session, "faults", &faults.data, ROWS);
    let numbers: Vec<(String, String)> =
        (1..=faults.servers).map(|number| (number.to_string(), format!("name server {number}"))).collect();
    let servers = numbers.iter().map(|(number, shown)| (number.as_str(), shown.as_str()));
    let servers: Vec<(&str, &str)> = std::iter::once(("", "all, and the resolver")).chain(servers).collect();
    html! {
        section .stack aria-labelledby="faults" {
            h2 id="faults" { "Faults of name servers" }
            form .card .inline method="post" action="/sandbox/internet/faults" {
                (csrf(session))
                div .field {
                    label for="fault-name" { "Name" }
                    input id="fault-name" name="fault-name" value=(given.text("fault-name", "")) required autocomplete="off" spellcheck="false"
                        autocapitalize="none" aria-describedby=[described_by("fault-name", hint, &wrong)]
                        aria-invalid=[(!wrong.is_empty()).then_some("true")];
                    (below("fault-name", "Name", hint, &wrong))
                }
                (select("server", "At", &servers, given.text("server", "")))
                (select("fault", "Answer", &FAULTS, given.text("fault", "servfail")))
                button type="submit" { "Break" }
            }
            (refused(given.refusal(), &["name"]))
            @if !faults.data.is_empty() {
                div .table { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "At" } th scope="col" { "Answer" } th scope="col" { "Change" } } }
                    tbody { @for one in rows { tr {
                        @let number = one.server.map(|number| number.to_string()).unwrap_or_default();
                        @let at = servers.iter().find(|(value, _)| *value == number).map_or("", |(_, shown)| shown);
                        th scope="row" { code { (one.name) } }
                        td data-label="At" { (at) }
                        td data-label="Answer" { (FAULTS.iter().find(|(fault, _)| *fault == one.fault).map_or(one.fault.as_str(), |(_, shown)| shown)) }
                        td { form method="post" action="/sandbox/internet/faults" {
                            (csrf(session))
                            input type="hidden" name="fault-name" value=(one.name);
                            input type="hidden" name="server" value=(number);
                            input type="hidden" name="fault" value="none";
                            button .small .quiet type="submit" aria-label={"Remove the fault of " (one.name) " at " (at)} { "Remove" }
                        } }
                    } } }
                } }
                (pages(session, "faults", next.as_deref()))
            }
        }
    }
}
