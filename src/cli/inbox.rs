//! `inboxlayer inbox …`: inboxes and their aliases.

mod export;
mod fetch;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/moved_mail.rs"]
pub(crate) mod fuzz;
mod import;
mod maildir;
mod mbox;
mod message;
mod progress;
mod upload;

use super::domain::find as find_domain;
use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/inboxes";

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// Create an inbox: an address at the platform domain and at each custom domain of the account.
    #[command(after_help = "Example:\n  inboxlayer inbox create acme-support")]
    Create {
        /// Its name, the part before the @.
        name: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List all inboxes of the account.
    #[command(after_help = "Example:\n  inboxlayer inbox list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show one inbox.
    #[command(after_help = "Example:\n  inboxlayer inbox show support")]
    Show {
        /// Its name or id.
        inbox: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show the address that mail sent now would leave under, why, and its expected SPF, DKIM and DMARC results.
    #[command(
        after_help = "Examples:\n  inboxlayer inbox identity support\n  inboxlayer inbox identity support --login support@acme.com"
    )]
    Identity {
        /// Its name or id.
        inbox: String,
        /// The log-in address; default: the platform address.
        #[arg(long, value_name = "ADDRESS")]
        login: Option<String>,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Change an inbox.
    #[command(
        after_help = "Examples:\n  inboxlayer inbox set support --save-sent false\n  inboxlayer inbox set support --default-domain acme.com"
    )]
    Set {
        /// Its name or id.
        inbox: String,
        /// The custom domain that mail leaves under after a log-in with the platform address; `none`: the account's
        /// default.
        #[arg(long, value_name = "DOMAIN")]
        default_domain: Option<String>,
        /// File a copy of each sent message in Sent.
        #[arg(long, value_name = "BOOL")]
        save_sent: Option<bool>,
        /// Days after which messages are removed from Trash, 0 for never, or `default`.
        #[arg(long, value_name = "DAYS")]
        trash_days: Option<String>,
        /// The same for Junk.
        #[arg(long, value_name = "DAYS")]
        junk_days: Option<String>,
        /// Take no mail, send none, and end sessions, until it is false again.
        #[arg(long, value_name = "BOOL")]
        disabled: Option<bool>,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Delete an inbox with all its messages. Its name stays with the account.
    #[command(after_help = "Example:\n  inboxlayer inbox delete support")]
    Delete {
        /// Its name or id.
        inbox: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Add an alias at a custom domain to an inbox.
    #[command(after_help = "Example:\n  inboxlayer inbox alias acme-support help@acme.com")]
    Alias {
        /// Its name or id.
        inbox: String,
        /// The address.
        address: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List the aliases of an inbox.
    #[command(after_help = "Example:\n  inboxlayer inbox aliases acme-support")]
    Aliases {
        /// Its name or id.
        inbox: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Delete an alias.
    #[command(after_help = "Example:\n  inboxlayer inbox unalias acme-support help@acme.com")]
    Unalias {
        /// Its name or id.
        inbox: String,
        /// The address.
        address: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Fetch(fetch::FetchArgs),
}

pub(super) async fn run(command: InboxCommand) -> Result<ExitCode, Failure> {
    match command {
        InboxCommand::Import(args) => return import::run(args).await,
        InboxCommand::Export(args) => return export::run(args).await,
        InboxCommand::Fetch(args) => return fetch::run(args).await,
        InboxCommand::Create { name, rest } => {
            let made = Rest::new(&rest)?.create(PATH, json!({"name": name})).await?;
            if rest.json {
                print_json(&made);
            } else {
                println!("{}  {}", cell(&made, "id"), cell(&made, "email_address"));
            }
        }
        InboxCommand::List { rest } => {
            let inboxes = Rest::new(&rest)?.list(PATH).await?;
            table(inboxes, &["name", "email_address", "id"], &rest);
        }
        InboxCommand::Show { inbox, rest } => print_json(&find(&Rest::new(&rest)?, &inbox).await?),
        InboxCommand::Identity { inbox, login, rest } => {
            let client = Rest::new(&rest)?;
            let query = login.map(|login| format!("?login={}", encoded(&login))).unwrap_or_default();
            let path = format!("{}/sending_identity{query}", path_of(&client, &inbox).await?);
            let identity = client.get(&path).await?;
            if rest.json { print_json(&identity) } else { print!("{}", prospect(&identity)) }
        }
        InboxCommand::Set { inbox, default_domain, save_sent, trash_days, junk_days, disabled, rest } => {
            let client = Rest::new(&rest)?;
            let mut body = Map::new();
            if let Some(domain) = default_domain {
                let id = if domain == "none" {
                    Value::Null
                } else {
                    cell(&find_domain(&client, &domain).await?, "id").into()
                };
                body.insert("default_domain_id".into(), id);
            }
            for (field, value) in [("save_sent", save_sent), ("is_disabled", disabled)] {
                if let Some(value) = value {
                    body.insert(field.into(), value.into());
                }
            }
            for (field, days) in [("trash_days", trash_days), ("junk_days", junk_days)] {
                match days.as_deref() {
                    None => {}
                    Some("default") => drop(body.insert(field.into(), Value::Null)),
                    Some(text) => {
                        let days: u16 = text.parse().map_err(|_| {
                            Failure::usage(format!("{text} is not a number of days"), "give 30, 0 or default")
                        })?;
                        body.insert(field.into(), days.into());
                    }
                }
            }
            if body.is_empty() {
                let options = "give --default-domain, --save-sent, --disabled, --trash-days or --junk-days";
                return Err(Failure::usage("nothing to change", options));
            }
            print_json(&client.patch(&path_of(&client, &inbox).await?, Value::Object(body)).await?);
        }
        InboxCommand::Delete { inbox, rest } => {
            let client = Rest::new(&rest)?;
            client.delete(&path_of(&client, &inbox).await?).await?;
            println!("{inbox} and its messages are deleted");
        }
        InboxCommand::Alias { inbox, address, rest } => {
            let client = Rest::new(&rest)?;
            let path = format!("{}/aliases", path_of(&client, &inbox).await?);
            let made = client.post(&path, json!({"address": address})).await?;
            if rest.json {
                print_json(&made);
            } else {
                println!("{}  {}", cell(&made, "id"), cell(&made, "address"));
            }
        }
        InboxCommand::Aliases { inbox, rest } => {
            let client = Rest::new(&rest)?;
            let aliases = client.list_all(&format!("{}/aliases", path_of(&client, &inbox).await?)).await?;
            table(aliases, &["address", "id"], &rest);
        }
        InboxCommand::Unalias { inbox, address, rest } => {
            let client = Rest::new(&rest)?;
            let path = format!("{}/aliases", path_of(&client, &inbox).await?);
            let aliases = client.list_all(&path).await?;
            let Some(found) = aliases.iter().find(|a| cell(a, "address").eq_ignore_ascii_case(&address)) else {
                return Err(Failure::new(
                    format!("{inbox} has no alias {address}"),
                    format!("see `inboxlayer inbox aliases {inbox}`"),
                ));
            };
            client.delete(&format!("{path}/{}", encoded(&cell(found, "id")))).await?;
            println!("{address} is deleted");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: Vec<Value>, fields: &[&str], rest: &RestArgs) {
    if rest.json {
        print_json(&Value::Array(rows));
        return;
    }
    let mut table = Table::new(fields);
    for row in &rows {
        table.row(fields.iter().map(|field| cell(row, field)).collect());
    }
    table.print();
}

async fn find(client: &Rest, name: &str) -> Result<Value, Failure> {
    if name.starts_with("inb_") {
        return client.get(&format!("{PATH}/{}", encoded(name))).await;
    }
    let all = client.list(PATH).await?;
    all.into_iter().find(|i| cell(i, "name").eq_ignore_ascii_case(name)).ok_or_else(|| {
        Failure::new(
            format!("this account has no inbox {name}"),
            format!("create it with `inboxlayer inbox create {name}`, or see `inboxlayer inbox list`"),
        )
    })
}

async fn path_of(client: &Rest, name: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", encoded(&cell(&find(client, name).await?, "id"))))
}

/// The dry run as text.
fn prospect(identity: &Value) -> String {
    let mut text = format!("{}\n{}\n", cell(identity, "from"), cell(identity, "explanation"));
    for name in ["spf", "dkim", "dmarc"] {
        let Some(mechanism) = identity.get(name) else { continue };
        let aligned =
            if mechanism.get("aligned").and_then(Value::as_bool) == Some(true) { "aligned" } else { "not aligned" };
        let passes = match mechanism.get("passes").and_then(Value::as_bool) {
            Some(true) => "passes",
            Some(false) => "does not pass",
            None => "not evaluated",
        };
        let domain = cell(mechanism, "domain");
        text.push_str(&format!("  {:<6} {domain}: {aligned}, {passes}\n", name.to_uppercase()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dry_run_lists_each_mechanism() {
        let identity = json!({"from": "a@acme.com", "explanation": "Because.",
            "spf": {"domain": "acme.com", "aligned": true, "passes": false},
            "dkim": {"domain": "acme.com", "aligned": true, "passes": true},
            "dmarc": {"domain": "acme.com", "aligned": true, "passes": null}});
        let expected = "a@acme.com\nBecause.\n  SPF    acme.com: aligned, does not pass\n  DKIM   acme.com: aligned, passes\n  DMARC  acme.com: aligned, not evaluated\n";
        assert_eq!(prospect(&identity), expected);
    }
}
