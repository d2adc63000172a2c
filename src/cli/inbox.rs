//! `inboxlayer inbox …`: inboxes and their aliases.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/inboxes";

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// Make an inbox: an address at the platform's domain, and at each of the account's custom domains.
    #[command(after_help = "Example:\n  inboxlayer inbox create support")]
    Create {
        /// Its name, the part before the @.
        name: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// All inboxes of the account.
    #[command(after_help = "Example:\n  inboxlayer inbox list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// One inbox.
    #[command(after_help = "Example:\n  inboxlayer inbox show support")]
    Show {
        /// Its name or id.
        inbox: String,
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
    /// Give an inbox one more address at a custom domain.
    #[command(after_help = "Example:\n  inboxlayer inbox alias acme-support help@acme.com")]
    Alias {
        /// Its name or id.
        inbox: String,
        /// The address.
        address: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// The aliases of an inbox.
    #[command(after_help = "Example:\n  inboxlayer inbox aliases acme-support")]
    Aliases {
        /// Its name or id.
        inbox: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Take an alias away.
    #[command(after_help = "Example:\n  inboxlayer inbox unalias acme-support help@acme.com")]
    Unalias {
        /// Its name or id.
        inbox: String,
        /// The address.
        address: String,
        #[command(flatten)]
        rest: RestArgs,
    },
}

pub(super) async fn run(command: InboxCommand) -> Result<ExitCode, Failure> {
    match command {
        InboxCommand::Create { name, rest } => {
            let made = Rest::new(&rest)?.create(PATH, json!({"name": name})).await?;
            if rest.json {
                print_json(&made);
            } else {
                println!("{}  {}", cell(&made, "id"), cell(&made, "address"));
            }
        }
        InboxCommand::List { rest } => {
            let inboxes = Rest::new(&rest)?.list(PATH).await?;
            table(inboxes, &["name", "address", "id"], &rest);
        }
        InboxCommand::Show { inbox, rest } => print_json(&find(&Rest::new(&rest)?, &inbox).await?),
        InboxCommand::Delete { inbox, rest } => {
            let client = Rest::new(&rest)?;
            client.delete(&path_of(&client, &inbox).await?).await?;
            println!("{inbox} is deleted, with its messages");
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
            println!("{address} leads nowhere now");
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
            format!("make it with `inboxlayer inbox create {name}`, or see `inboxlayer inbox list`"),
        )
    })
}

async fn path_of(client: &Rest, name: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", encoded(&cell(&find(client, name).await?, "id"))))
}
