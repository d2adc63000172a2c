//! `inboxlayer access …`: allow and block lists.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/access_entries";

#[derive(Debug, Subcommand)]
pub(super) enum AccessCommand {
    /// Allow mail from a sender, or to a recipient, where a wider entry blocks it.
    #[command(
        after_help = "Examples:\n  inboxlayer access allow partner.example\n  inboxlayer access allow --inbox inb_… ann@example.org"
    )]
    Allow(EntryArgs),
    /// Block mail from a sender, or to a recipient. Blocked mail that comes in is filed in Junk with the label `blocked`.
    #[command(
        after_help = "Examples:\n  inboxlayer access block spam.example\n  inboxlayer access block --inbox inb_… '*'\n  inboxlayer access block --sending '*'       (then allow the recipients)"
    )]
    Block(EntryArgs),
    /// List the entries.
    #[command(after_help = "Example:\n  inboxlayer access list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Remove an entry.
    #[command(after_help = "Example:\n  inboxlayer access remove ace_…")]
    Remove {
        /// Its id.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct EntryArgs {
    /// An address, a domain with those below it, or * for all addresses.
    pattern: String,
    /// Only for this inbox, by id.
    #[arg(long)]
    inbox: Option<String>,
    /// For recipients of mail that is sent, instead of senders of mail that comes in.
    #[arg(long)]
    sending: bool,
    #[command(flatten)]
    rest: RestArgs,
}

pub(super) async fn run(command: AccessCommand) -> Result<ExitCode, Failure> {
    match command {
        AccessCommand::Allow(entry) => add(entry, "allow").await?,
        AccessCommand::Block(entry) => add(entry, "block").await?,
        AccessCommand::List { rest } => {
            let entries = Rest::new(&rest)?.list_all(PATH).await?;
            if rest.json {
                print_json(&Value::Array(entries));
                return Ok(ExitCode::SUCCESS);
            }
            let fields = ["direction", "action", "pattern", "inbox_id", "id"];
            let mut table = Table::new(&fields);
            for entry in &entries {
                table.row(fields.iter().map(|field| cell(entry, field)).collect());
            }
            table.print();
        }
        AccessCommand::Remove { id, rest } => {
            Rest::new(&rest)?.delete(&format!("{PATH}/{}", encoded(&id))).await?;
            println!("{id} is removed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(EntryArgs { pattern, inbox, sending, rest }: EntryArgs, action: &str) -> Result<(), Failure> {
    let direction = if sending { "send" } else { "receive" };
    let entry = json!({"direction": direction, "action": action, "pattern": pattern, "inbox_id": inbox});
    let made = Rest::new(&rest)?.create(PATH, entry).await?;
    if rest.json {
        print_json(&made);
    } else {
        println!("{}  {direction} {action} {}", cell(&made, "id"), cell(&made, "pattern"));
    }
    Ok(())
}
