//! `inboxlayer domain …`: custom domains.

mod history;
mod page;
mod visible;
mod watch;

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell, colour, width};
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PATH: &str = "/api/v1/custom_domains";
/// Maximum seconds the daemon waits for a check in one request.
const LONGEST_WAIT: u64 = 30;
/// The exit code while a domain is not verified.
const NOT_VERIFIED: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum DomainCommand {
    /// Claim a domain and print the records to publish.
    #[command(after_help = "Example:\n  inboxlayer domain add acme.com")]
    Add {
        /// Its name.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List all custom domains of the account.
    #[command(after_help = "Example:\n  inboxlayer domain list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show the records of a domain, each with its status and how to fix it.
    #[command(after_help = "Example:\n  inboxlayer domain show acme.com")]
    Show {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Check a domain's records now.
    #[command(
        after_help = "Examples:\n  inboxlayer domain verify acme.com\n  inboxlayer domain verify acme.com --wait=600\n  inboxlayer domain verify acme.com --watch\n\nExit code 3: not verified (yet). With --watch 0: verified; 1: failed, or the timeout has passed."
    )]
    Verify {
        /// Its name or id.
        domain: String,
        /// Wait until it is verified, at most this many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
        wait: Option<u64>,
        /// Watch until it is verified or has failed, checking repeatedly and updating a table.
        #[arg(long, conflicts_with = "wait")]
        watch: bool,
        /// Watch for at most this many seconds.
        #[arg(long, value_name = "SECONDS", requires = "watch")]
        timeout: Option<u64>,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List recent checks of a domain with the faults they found.
    #[command(after_help = "Example:\n  inboxlayer domain checks acme.com")]
    Checks {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List the status changes of a domain with their causes.
    #[command(after_help = "Example:\n  inboxlayer domain events acme.com")]
    Events {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Print the records of a domain as a zone file, for import at your DNS provider.
    #[command(after_help = "Example:\n  inboxlayer domain zone-file acme.com > acme.com.zone")]
    ZoneFile {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Change the settings of a domain.
    #[command(
        after_help = "Examples:\n  inboxlayer domain set acme.com --default true\n  inboxlayer domain set acme.com --catch-all inb_…\n  inboxlayer domain set acme.com --catch-all none\n  inboxlayer domain set acme.com --return-path bounce"
    )]
    Set {
        /// Its name or id.
        domain: String,
        /// Make this the default sender domain of the account's inboxes.
        #[arg(long, value_name = "BOOL")]
        default: Option<bool>,
        /// The id of the inbox that receives mail for unknown addresses; `none` for no inbox.
        #[arg(long, value_name = "INBOX")]
        catch_all: Option<String>,
        /// What happens to mail from this domain while it is not verified.
        #[arg(long, value_enum)]
        on_unverified: Option<OnUnverifiedArg>,
        /// The label of a subdomain for bounces, with its own records; `none` for no such subdomain.
        #[arg(long, value_name = "LABEL")]
        return_path: Option<String>,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Delete a domain, with immediate effect on sending, receiving and open sessions. Messages stay in their inboxes.
    #[command(after_help = "Example:\n  inboxlayer domain delete acme.com")]
    Delete {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show the three DKIM keys of a domain: which one signs, which is ready, which retires.
    #[command(after_help = "Example:\n  inboxlayer domain keys acme.com")]
    Keys {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Sign with the next DKIM key of a domain. Its DNS records stay as they are.
    #[command(after_help = "Example:\n  inboxlayer domain rotate-key acme.com")]
    RotateKey {
        /// Its name or id.
        domain: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Print the zone with the DKIM keys, for your own name server. Needs an operator token; not needed with `[dkim]
    /// listen`.
    #[command(after_help = "Example:\n  inboxlayer domain zone > dkim.zone")]
    Zone {
        #[command(flatten)]
        rest: RestArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnUnverifiedArg {
    /// Mail leaves under the platform domain.
    Fallback,
    /// Mail is rejected.
    Reject,
    /// Mail is held while the domain is pending, and leaves once it is verified.
    Hold,
}

pub(super) async fn run(command: DomainCommand) -> Result<ExitCode, Failure> {
    match command {
        DomainCommand::Add { domain, rest } => {
            let made = Rest::new(&rest)?.create(PATH, json!({"domain": domain})).await?;
            show(&made, &rest);
            if !rest.json {
                println!("\nPublish these, then:  inboxlayer domain verify {} --wait", cell(&made, "domain"));
            }
        }
        DomainCommand::List { rest } => list(&rest).await?,
        DomainCommand::Show { domain, rest } => {
            let found = find(&Rest::new(&rest)?, &domain).await?;
            show(&found, &rest);
        }
        DomainCommand::Verify { domain, watch: true, timeout, rest, .. } => {
            return watched(&domain, timeout, &rest).await;
        }
        DomainCommand::Verify { domain, wait, rest, .. } => return verify(&domain, wait, &rest).await,
        DomainCommand::Checks { domain, rest } => {
            let client = Rest::new(&rest)?;
            history::checks(&client, &path_of(&client, &domain).await?, &rest).await?;
        }
        DomainCommand::Events { domain, rest } => {
            let client = Rest::new(&rest)?;
            history::events(&client, &path_of(&client, &domain).await?, &rest).await?;
        }
        DomainCommand::ZoneFile { domain, rest } => {
            let client = Rest::new(&rest)?;
            let file = client.get_text(&format!("{}/zone_file", path_of(&client, &domain).await?)).await?;
            if rest.json { print_json(&Value::String(file)) } else { print!("{file}") }
        }
        DomainCommand::Set { domain, default, catch_all, on_unverified, return_path, rest } => {
            let mut body = Map::new();
            if let Some(default) = default {
                body.insert("is_default".into(), default.into());
            }
            if let Some(inbox) = catch_all {
                body.insert("catch_all_inbox_id".into(), if inbox == "none" { Value::Null } else { inbox.into() });
            }
            if let Some(word) = on_unverified.and_then(|w| w.to_possible_value()) {
                body.insert("on_unverified".into(), word.get_name().into());
            }
            if let Some(label) = return_path {
                body.insert("return_path".into(), if label == "none" { Value::Null } else { label.into() });
            }
            if body.is_empty() {
                return Err(Failure::usage(
                    "nothing to change",
                    "give --default, --catch-all, --on-unverified or --return-path",
                ));
            }
            let client = Rest::new(&rest)?;
            let path = path_of(&client, &domain).await?;
            show(&client.patch(&path, Value::Object(body)).await?, &rest);
        }
        DomainCommand::Delete { domain, rest } => {
            let client = Rest::new(&rest)?;
            client.delete(&path_of(&client, &domain).await?).await?;
            println!(
                "{domain} is deleted. Remove its MX record from your DNS, and our include from your SPF record; \
                 remove the DKIM records in a week, when the mail signed with them has arrived"
            );
        }
        DomainCommand::Keys { domain, rest } => {
            let client = Rest::new(&rest)?;
            let path = path_of(&client, &domain).await?;
            show_keys(&client.get(&format!("{path}/dkim_keys")).await?, &rest);
        }
        DomainCommand::RotateKey { domain, rest } => {
            let client = Rest::new(&rest)?;
            let path = path_of(&client, &domain).await?;
            show_keys(&client.post(&format!("{path}/rotate_key"), json!({})).await?, &rest);
        }
        DomainCommand::Zone { rest } => {
            let zone = Rest::new(&rest)?.get("/api/v1/dkim_zone").await?;
            if rest.json {
                print_json(&zone);
            } else {
                print!("{}", zone.get("zone_file").and_then(Value::as_str).unwrap_or_default());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(rest: &RestArgs) -> Result<(), Failure> {
    let domains = Rest::new(rest)?.list(PATH).await?;
    if rest.json {
        print_json(&Value::Array(domains));
        return Ok(());
    }
    if domains.is_empty() {
        println!("no custom domains yet; add one with `inboxlayer domain add acme.com`");
        return Ok(());
    }
    let mut table = Table::new(&["domain", "status", "sends", "receives", "id"]);
    for domain in &domains {
        let can = |what: &str| yes_no(domain.pointer(&format!("/capabilities/{what}")));
        table.row(vec![
            cell(domain, "domain"),
            cell(domain, "verified_status"),
            can("sending"),
            can("receiving"),
            cell(domain, "id"),
        ]);
    }
    table.print();
    Ok(())
}

async fn verify(domain: &str, wait: Option<u64>, rest: &RestArgs) -> Result<ExitCode, Failure> {
    let client = Rest::new(rest)?;
    let path = path_of(&client, domain).await?;
    let verify = format!("{path}/verify");
    let Some(seconds) = wait else {
        let answer = client.post_and_wait(&verify, 0).await?;
        show(&answer, rest);
        return Ok(code_of(&answer));
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut now = client.post_and_wait(&verify, seconds.min(LONGEST_WAIT)).await?;
    // The daemon keeps checking by itself; polling is cheap.
    while cell(&now, "verified_status") == "pending" && Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        now = client.get(&path).await?;
    }
    show(&now, rest);
    Ok(code_of(&now))
}

async fn watched(domain: &str, timeout: Option<u64>, rest: &RestArgs) -> Result<ExitCode, Failure> {
    let client = Rest::new(rest)?;
    let path = path_of(&client, domain).await?;
    let end = watch::watch(&client, &path, timeout.map(Duration::from_secs), rest.json).await?;
    if rest.json {
        print_json(&end);
    }
    let name = cell(&end, "domain");
    match cell(&end, "verified_status").as_str() {
        "verified" => Ok(ExitCode::SUCCESS),
        "failed" => Err(Failure::new(
            format!("{name} has failed"),
            format!("fix what `inboxlayer domain show {name}` lists, then verify again"),
        )),
        _ => Err(Failure::new(
            format!("{name} is not verified yet"),
            "keep watching, or stop: the daemon keeps checking by itself",
        )),
    }
}

fn code_of(domain: &Value) -> ExitCode {
    if cell(domain, "verified_status") == "verified" { ExitCode::SUCCESS } else { ExitCode::from(NOT_VERIFIED) }
}

/// Finds a domain by id or by name, in any spelling the daemon accepts.
pub(super) async fn find(client: &Rest, name: &str) -> Result<Value, Failure> {
    if name.starts_with("dom_") {
        return client.get(&format!("{PATH}/{}", encoded(name))).await;
    }
    let canonical = crate::address::DomainName::parse(name)
        .map_err(|e| Failure::usage(format!("{name}: {e}"), "give a domain name like acme.com, or its id"))?;
    let all = client.list(PATH).await?;
    all.into_iter().find(|d| cell(d, "domain") == canonical.as_str()).ok_or_else(|| {
        Failure::new(
            format!("this account has no custom domain {canonical}"),
            format!("add it with `inboxlayer domain add {canonical}`, or see `inboxlayer domain list`"),
        )
    })
}

async fn path_of(client: &Rest, name: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", encoded(&cell(&find(client, name).await?, "id"))))
}

fn show(domain: &Value, rest: &RestArgs) {
    if rest.json {
        print_json(domain);
    } else {
        print!("{}", page::page(domain, colour(), width()));
    }
}

fn show_keys(keys: &Value, rest: &RestArgs) {
    if rest.json {
        print_json(keys);
        return;
    }
    let mut table = Table::new(&["token", "role", "since", "seen_at", "cname"]);
    for key in keys.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        table.row(["token", "role", "since", "seen_at", "cname"].map(|field| cell(key, field)).to_vec());
    }
    table.print();
}

fn yes_no(value: Option<&Value>) -> String {
    if value.and_then(Value::as_bool) == Some(true) { "yes" } else { "no" }.to_owned()
}
