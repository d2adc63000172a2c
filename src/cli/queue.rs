//! `inboxlayer queue …`: mail that has not been delivered yet.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/queue";

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List queued mail with the last reply.
    #[command(after_help = "Example:\n  inboxlayer queue list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show one message: each recipient with its attempts and the last reply.
    #[command(after_help = "Example:\n  inboxlayer queue show sub_…")]
    Show {
        /// The id from the SMTP reply or the API.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Retry a message now.
    #[command(after_help = "Example:\n  inboxlayer queue retry sub_…")]
    Retry {
        /// The id.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Remove a message without a bounce.
    #[command(after_help = "Example:\n  inboxlayer queue drop sub_…")]
    Drop {
        /// The id.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
}

pub(super) async fn run(command: QueueCommand) -> Result<ExitCode, Failure> {
    match command {
        QueueCommand::List { rest } => {
            let waiting = Rest::new(&rest)?.list(PATH).await?;
            if rest.json {
                print_json(&Value::Array(waiting));
            } else if waiting.is_empty() {
                println!("the queue is empty");
            } else {
                print!("{}", table(&waiting));
            }
        }
        QueueCommand::Show { id, rest } => print_json(&Rest::new(&rest)?.get(&path(&id)).await?),
        QueueCommand::Retry { id, rest } => {
            Rest::new(&rest)?.post(&format!("{}/retry", path(&id)), json!({})).await?;
            println!("{id} is being retried; see `inboxlayer queue show {id}`");
        }
        QueueCommand::Drop { id, rest } => {
            Rest::new(&rest)?.delete(&path(&id)).await?;
            println!("{id} is removed from the queue");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("{PATH}/{}", encoded(id))
}

/// One line per recipient.
fn table(waiting: &[Value]) -> String {
    let mut table = Table::new(&["id", "from", "to", "tries", "next try", "last reply"]);
    for message in waiting {
        let deliveries = message.get("deliveries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for delivery in deliveries {
            table.row(vec![
                cell(message, "id"),
                cell(message, "mail_from"),
                cell(delivery, "rcpt_to"),
                cell(delivery, "attempts"),
                cell(delivery, "next_attempt_at"),
                cell(delivery, "last_reply"),
            ]);
        }
    }
    table.render(super::table::colour())
}
