//! `inboxlayer queue …`: mail that has not been delivered yet.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use crate::config::HumanDuration;
use clap::{Args, Subcommand};
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
    /// Retry now: a message, or all deliveries that match and have been attempted before.
    #[command(
        after_help = "Examples:\n  inboxlayer queue retry sub_…\n  inboxlayer queue retry --domain example.org --dry-run"
    )]
    Retry(Selected),
    /// Attempt nothing of what matches until it is released. Needs an operator token.
    #[command(
        after_help = "Examples:\n  inboxlayer queue hold sub_…\n  inboxlayer queue hold --inbox inb_… --older-than 2h"
    )]
    Hold(Selected),
    /// Release what is on hold. Needs an operator token.
    #[command(after_help = "Examples:\n  inboxlayer queue release sub_…\n  inboxlayer queue release --all")]
    Release(Selected),
    /// Remove without a bounce: a message, or all deliveries that match.
    #[command(
        after_help = "Examples:\n  inboxlayer queue drop sub_…\n  inboxlayer queue drop --status deferred --error 'mailbox full'"
    )]
    Drop(Selected),
}

/// One message, or the deliveries that match all that is given.
#[derive(Debug, Args)]
pub(super) struct Selected {
    /// The id of a message.
    id: Option<String>,
    /// The sender's inbox, by id.
    #[arg(long)]
    inbox: Option<String>,
    /// The domain of the recipient.
    #[arg(long)]
    domain: Option<String>,
    /// queued, deferred or held.
    #[arg(long)]
    status: Option<String>,
    /// Accepted longer ago: 90s, 10m, 72h, 5d.
    #[arg(long, value_name = "TIME")]
    older_than: Option<HumanDuration>,
    /// A part of the last reply.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Everything in the queue.
    #[arg(long)]
    all: bool,
    /// Only count what matches.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    rest: RestArgs,
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
        QueueCommand::Retry(selected) => act("retry", "due now", selected).await?,
        QueueCommand::Hold(selected) => act("hold", "on hold", selected).await?,
        QueueCommand::Release(selected) => act("release", "released", selected).await?,
        QueueCommand::Drop(selected) => act("drop", "removed from the queue", selected).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the request until nothing is left to go over, and says how far it is.
async fn act(action: &str, done: &str, selected: Selected) -> Result<(), Failure> {
    let Selected { id, inbox, domain, status, older_than, error, all, dry_run, rest } = selected;
    if !all
        && id.is_none()
        && [&inbox, &domain, &status, &error].iter().all(|one| one.is_none())
        && older_than.is_none()
    {
        return Err(Failure::usage(
            "nothing is selected",
            "give the id of a message, --inbox, --domain, --status, --older-than or --error; --all is the whole queue",
        ));
    }
    let mut body = json!({
        "action": action, "id": id, "inbox_id": inbox, "domain": domain, "status": status,
        "older_than": older_than.map(|age| age.0.as_secs()), "error": error, "all": all, "dry_run": dry_run,
    });
    let (client, mut matched) = (Rest::new(&rest)?, 0);
    loop {
        let answer = client.create(&format!("{PATH}/actions"), body.clone()).await?;
        matched += answer.get("matched").and_then(Value::as_u64).unwrap_or_default();
        match answer.pointer("/meta/next_cursor").and_then(Value::as_str) {
            Some(cursor) => {
                eprintln!("{matched} so far");
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("cursor".to_owned(), cursor.into());
                }
            }
            None => break,
        }
    }
    if let (Some(id), 0) = (&id, matched) {
        return Err(Failure::new(
            format!("nothing of {id} can be changed by {action}"),
            format!("see `inboxlayer queue show {id}`"),
        ));
    }
    if rest.json {
        print_json(&json!({"action": action, "matched": matched, "dry_run": dry_run}));
    } else {
        println!("deliveries {}: {matched}", if dry_run { "that match" } else { done });
    }
    Ok(())
}

fn path(id: &str) -> String {
    format!("{PATH}/{}", encoded(id))
}

fn next_try(delivery: &Value) -> String {
    if delivery.get("on_hold") == Some(&Value::Bool(true)) {
        return "on hold".to_owned();
    }
    cell(delivery, "next_attempt_at")
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
                next_try(delivery),
                cell(delivery, "last_reply"),
            ]);
        }
    }
    table.render(super::table::colour())
}
