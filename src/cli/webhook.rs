//! `inboxlayer webhook …`: endpoints that events are sent to.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/webhook_subscriptions";

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Subscribe an endpoint to events. Its secret is printed once and cannot be shown again.
    #[command(
        after_help = "Example:\n  inboxlayer webhook create https://app.example.com/webhooks --event email.received --event email.bounced"
    )]
    Create {
        /// The URL that events are sent to.
        #[arg(value_name = "URL")]
        endpoint: String,
        /// A type of events; may be repeated.
        #[arg(long = "event", value_name = "TYPE", required = true)]
        events: Vec<String>,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List the subscriptions.
    #[command(after_help = "Example:\n  inboxlayer webhook list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Show a subscription.
    #[command(after_help = "Example:\n  inboxlayer webhook show whk_…")]
    Show(One),
    /// Delete a subscription; what waits for its endpoint is not sent.
    #[command(after_help = "Example:\n  inboxlayer webhook delete whk_…")]
    Delete(One),
    /// Send a test event now, and print what the endpoint answers.
    #[command(after_help = "Example:\n  inboxlayer webhook test whk_…")]
    Test(One),
    /// List what was sent, the newest first, with the last attempt of each.
    #[command(after_help = "Example:\n  inboxlayer webhook deliveries whk_…")]
    Deliveries(One),
    /// Send a delivery again, or all since a time.
    #[command(
        after_help = "Examples:\n  inboxlayer webhook redeliver whk_… whd_…\n  inboxlayer webhook redeliver whk_… --since 2026-11-29T12:00:00Z",
        group = ArgGroup::new("which").required(true).args(["delivery", "since"])
    )]
    Redeliver {
        /// The id of the subscription.
        id: String,
        /// The id of a delivery.
        delivery: Option<String>,
        /// All of events from this time on (RFC 3339).
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        #[command(flatten)]
        rest: RestArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The id of the subscription.
    id: String,
    #[command(flatten)]
    rest: RestArgs,
}

impl One {
    fn path(&self, below: &str) -> String {
        format!("{PATH}/{}{below}", encoded(&self.id))
    }
}

pub(super) async fn run(command: WebhookCommand) -> Result<ExitCode, Failure> {
    match command {
        WebhookCommand::Create { endpoint, events, rest } => {
            let made = Rest::new(&rest)?.create(PATH, json!({"url": endpoint, "events": events})).await?;
            if rest.json {
                print_json(&made);
            } else {
                println!("{}", cell(&made, "secret"));
                eprintln!(
                    "{}: its secret is shown only once; verify the signature of each request with it",
                    cell(&made, "id")
                );
            }
        }
        WebhookCommand::List { rest } => {
            let found = Rest::new(&rest)?.list(PATH).await?;
            show_all(&rest, found, &["id", "active", "url", "failing_since", "disabled_reason"]);
        }
        WebhookCommand::Show(one) => print_json(&Rest::new(&one.rest)?.get(&one.path("")).await?),
        WebhookCommand::Delete(one) => {
            Rest::new(&one.rest)?.delete(&one.path("")).await?;
            println!("{} is deleted", one.id);
        }
        WebhookCommand::Test(one) => return test(&one).await,
        WebhookCommand::Deliveries(one) => {
            let mut found = Rest::new(&one.rest)?.list_all(&one.path("/deliveries")).await?;
            if !one.rest.json {
                found.iter_mut().for_each(add_last_attempt);
            }
            let fields = ["id", "event_type", "sequence", "state", "status", "error", "next_attempt_at"];
            show_all(&one.rest, found, &fields);
        }
        WebhookCommand::Redeliver { id, delivery, since, rest } => {
            let body = match delivery {
                Some(delivery) => json!({"delivery_id": delivery}),
                None => json!({"since": since}),
            };
            let path = format!("{PATH}/{}/redeliver", encoded(&id));
            let made = Rest::new(&rest)?.post(&path, body).await?;
            match rest.json {
                true => print_json(&made),
                false => println!("{} are sent again", cell(&made, "count")),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(one: &One) -> Result<ExitCode, Failure> {
    let tested = Rest::new(&one.rest)?.post(&one.path("/test"), json!({})).await?;
    let is_success = tested.get("success").and_then(Value::as_bool).unwrap_or_default();
    if one.rest.json {
        print_json(&tested);
    } else if is_success {
        println!("the endpoint has answered {} after {} ms", cell(&tested, "status"), cell(&tested, "duration_ms"));
    } else {
        let answer = ["status", "error"].map(|field| cell(&tested, field)).join(" ");
        return Err(Failure::new(
            format!("the endpoint has not accepted the event: {}", answer.trim()),
            "it must answer with a status from 200 to 299 within 15 seconds",
        ));
    }
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For the table: the last attempt in columns.
fn add_last_attempt(delivery: &mut Value) {
    let last = delivery.get("attempts").and_then(Value::as_array).and_then(|attempts| attempts.last()).cloned();
    for field in ["status", "error"] {
        let value = last.as_ref().and_then(|last| last.get(field)).cloned().unwrap_or_default();
        if let Some(delivery) = delivery.as_object_mut() {
            delivery.insert(field.to_owned(), value);
        }
    }
}

fn show_all(rest: &RestArgs, found: Vec<Value>, fields: &[&str]) {
    if rest.json {
        return print_json(&Value::Array(found));
    }
    let mut table = Table::new(fields);
    for one in &found {
        table.row(fields.iter().map(|field| cell(one, field)).collect());
    }
    table.print();
}
