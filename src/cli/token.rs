//! `inboxlayer token …`: API tokens. Only an operator token is created directly in the store, since there has to be a
//! first one.

use super::ConfigArgs;
use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use crate::auth::token::Token;
use crate::clock::Timestamp;
use crate::resources::disk::FreeDisk;
use crate::store::Store;
use crate::store::tokens::{NewToken, Scope};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const PATH: &str = "/api/v1/tokens";

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token. It is printed once and cannot be shown again.
    #[command(
        after_help = "Examples:\n  inboxlayer token create --name laptop\n  inboxlayer token create --inbox inb_… --expires 90d\n  inboxlayer token create --account acc_…            (with an operator token)\n  inboxlayer token create --operator --config /etc/inboxlayer/inboxlayer.toml   (daemon stopped)"
    )]
    Create(CreateArgs),
    /// List the account's tokens, without their secrets.
    #[command(after_help = "Example:\n  inboxlayer token list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Revoke a token at once, and end its sessions.
    #[command(after_help = "Example:\n  inboxlayer token revoke tok_…")]
    Revoke {
        /// Its id.
        id: String,
        #[command(flatten)]
        rest: RestArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// A name for it.
    #[arg(long, default_value = "command line")]
    name: String,
    /// Create an operator token in the store of a stopped daemon; needs no other token.
    #[arg(long, conflicts_with_all = ["account", "inbox", "permission", "expires"])]
    operator: bool,
    /// Only for this inbox, by id; may be repeated.
    #[arg(long, value_name = "INBOX")]
    inbox: Vec<String>,
    /// Only what this permits, such as messages:read; may be repeated.
    #[arg(long, value_name = "PERMISSION")]
    permission: Vec<String>,
    /// Lifetime: 12h, 90d.
    #[arg(long, value_name = "SPAN")]
    expires: Option<crate::config::HumanDuration>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    rest: RestArgs,
}

pub(super) async fn run(command: TokenCommand) -> Result<ExitCode, Failure> {
    match command {
        TokenCommand::Create(args) if args.operator => create_operator(&args).await?,
        TokenCommand::Create(args) => create(&args).await?,
        TokenCommand::List { rest } => {
            let tokens = Rest::new(&rest)?.list(PATH).await?;
            if rest.json {
                print_json(&Value::Array(tokens));
            } else {
                let fields = ["id", "name", "scope", "expires_at", "last_used_at", "revoked_at"];
                let mut table = Table::new(&fields);
                for token in &tokens {
                    table.row(fields.iter().map(|f| cell(token, f)).collect());
                }
                table.print();
            }
        }
        TokenCommand::Revoke { id, rest } => {
            Rest::new(&rest)?.delete(&format!("{PATH}/{}", encoded(&id))).await?;
            println!("{id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("name".into(), json!(args.name));
    if !args.inbox.is_empty() {
        body.insert("inbox_ids".into(), json!(args.inbox));
    }
    if !args.permission.is_empty() {
        body.insert("permissions".into(), json!(args.permission));
    }
    if let Some(span) = args.expires {
        body.insert("expires_at".into(), json!(Timestamp::real().after(span.0)));
    }
    let made = Rest::new(&args.rest)?.create(PATH, Value::Object(body)).await?;
    if args.rest.json {
        print_json(&made);
    } else {
        println!("{}", cell(&made, "token"));
        eprintln!(
            "{}: shown only once; use it as the Bearer token over HTTP and as the password over SMTP and IMAP",
            cell(&made, "id")
        );
    }
    Ok(())
}

async fn create_operator(args: &CreateArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let store = Store::from_config(&config, FreeDisk::new(&config.data_dir.0, 0)).map_err(|error| {
        let fix = match error.is_in_use() {
            true => "stop the daemon first, or use an existing operator token: only the first is created this way",
            false => "give the daemon's configuration with --config, and run this as the daemon's user",
        };
        Failure::new(error.to_string(), fix)
    })?;
    let token = Token::generate().map_err(|error| Failure::new(error.to_string(), ""))?;
    let new = NewToken::new(args.name.clone(), Scope::Operator, token.hash());
    let made = store
        .token_create(new, config.limits.tokens, Timestamp::real())
        .await
        .map_err(|e| Failure::new(e.to_string(), "try again"))?;
    store.close().await;
    if args.rest.json {
        print_json(&json!({"id": made.id, "name": made.name, "scope": "operator", "token": token.secret().reveal()}));
    } else {
        println!("{}", token.secret().reveal());
        eprintln!("{}: an operator token, shown only once: it has access to every account", made.id);
    }
    Ok(())
}
