//! `inboxlayer account …`: tenants. Operators only.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/accounts";

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Create an account.
    #[command(after_help = "Example:\n  inboxlayer account create acme")]
    Create {
        /// A name for it.
        name: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List all accounts.
    #[command(after_help = "Example:\n  inboxlayer account list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show one account.
    #[command(after_help = "Example:\n  inboxlayer account show acc_…")]
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
}

pub(super) async fn run(command: AccountCommand) -> Result<ExitCode, Failure> {
    match command {
        AccountCommand::Create { name, rest } => {
            let made = Rest::new(&rest)?.post(PATH, json!({"name": name})).await?;
            if rest.json {
                print_json(&made);
            } else {
                let id = cell(&made, "account_id");
                println!("{id}  {}\n\nIts first token:  inboxlayer token create --account {id}", cell(&made, "name"));
            }
        }
        AccountCommand::List { rest } => {
            let accounts = Rest::new(&rest)?.list_all(PATH).await?;
            if rest.json {
                print_json(&Value::Array(accounts));
            } else {
                let mut table = Table::new(&["id", "name", "created"]);
                for account in &accounts {
                    table.row(["account_id", "name", "created_at"].map(|f| cell(account, f)).to_vec());
                }
                table.print();
            }
        }
        AccountCommand::Show { id, rest } => {
            print_json(&Rest::new(&rest)?.get(&format!("{PATH}/{}", encoded(&id))).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
