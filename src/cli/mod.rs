//! The command line: one file per noun. `serve` and `sandbox` run the daemon; all other commands use its REST API.
//!
//! Invariant: an error is two lines, what is wrong and what to do; a secret is printed only when it is created. Exit codes:
//! 0 done, 1 refused or failed, 2 wrong usage or configuration, 3 the domain is not verified (`domain verify --wait`).
//! 4 done but for what was named (`inbox import`). `domain verify --watch` exits with 1 if the domain has failed or the time is over.

mod access;
mod account;
mod config;
mod domain;
mod failure;
mod inbox;
mod logging;
mod mcp;
mod printable;
mod queue;
mod read_message;
mod rest;
mod sandbox;
mod seal;
mod serve;
mod store;
mod table;
mod token;
mod user;
mod webhook;

#[cfg(any(test, fuzzing))]
pub(crate) use inbox::fuzz;

use clap::{Args, Parser, Subcommand};
use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Try it, without any set-up:
  inboxlayer sandbox

Run it for real:
  inboxlayer config check --config /etc/inboxlayer/inboxlayer.toml
  inboxlayer token create --operator --config /etc/inboxlayer/inboxlayer.toml
  inboxlayer serve --config /etc/inboxlayer/inboxlayer.toml

Then, with that token in INBOXLAYER_TOKEN:
  inboxlayer account create acme
  inboxlayer token create --account acc_…
and with the account's token:
  inboxlayer inbox create acme-support
  inboxlayer domain add acme.com
  inboxlayer domain verify acme.com --watch";

/// Mailboxes on your own domain, over REST, SMTP and IMAP, in one daemon.
#[derive(Debug, Parser)]
#[command(name = "inboxlayer", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(serve::ServeArgs),
    /// Run the whole daemon on loopback with a simulated internet: no set-up, no real mail.
    Sandbox(sandbox::SandboxArgs),
    /// Check the configuration without starting anything.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Accounts (tenants). Needs an operator's token.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// API tokens: for REST, and the password over SMTP and IMAP.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Users: people who log in with an email and a password.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Inboxes and their aliases.
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// Allow and block lists: whose mail comes in, and to whom mail is sent.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Custom domains: the records to publish, and whether they are valid.
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Webhooks: endpoints that events are sent to.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Tools for agents: the daemon's MCP server over standard input and output.
    Mcp(mcp::McpArgs),
    /// Mail that has not been delivered yet.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// The key that seals the DKIM keys.
    #[command(subcommand)]
    Seal(seal::SealCommand),
    /// The database.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Reads a message from standard input, for the daemon's start after an abort.
    #[command(
        hide = true,
        name = crate::app::suspects::COMMAND,
        after_help = "Example:\n  inboxlayer read-message 20 2000 1048576 10000 < message.eml"
    )]
    ReadMessage(read_message::ReadMessageArgs),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file; default: none. INBOXLAYER_SECTION__KEY variables override it and the defaults.
    #[arg(long, short, env = "INBOXLAYER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<crate::config::Config, Failure> {
        Ok(crate::config::Config::load(self.config.as_deref(), environment())?)
    }

    fn load_for_serve(&self) -> Result<crate::config::Config, Failure> {
        Ok(crate::config::Config::load_for_serve(self.config.as_deref(), environment())?)
    }
}

/// The environment, without variables that are not UTF-8.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, too; they go to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Sandbox(args) => sandbox::run(args),
        Command::Config(command) => config::run(&command),
        Command::Account(command) => small_runtime()?.block_on(account::run(command)),
        Command::Token(command) => small_runtime()?.block_on(token::run(command)),
        Command::User(command) => small_runtime()?.block_on(user::run(command)),
        Command::Access(command) => small_runtime()?.block_on(access::run(command)),
        Command::Inbox(command) => small_runtime()?.block_on(inbox::run(command)),
        Command::Domain(command) => small_runtime()?.block_on(domain::run(command)),
        Command::Webhook(command) => small_runtime()?.block_on(webhook::run(command)),
        Command::Mcp(args) => mcp::run(&args),
        Command::Queue(command) => small_runtime()?.block_on(queue::run(command)),
        Command::Seal(command) => small_runtime()?.block_on(seal::run(command)),
        Command::Store(command) => small_runtime()?.block_on(store::run(command)),
        Command::ReadMessage(args) => read_message::run(&args),
    }
}

/// Enough for one request after another.
fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// What the daemon runs in.
fn full_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_teaches_by_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path}{}", command.get_name());
            if command.has_subcommands() {
                for sub in command.get_subcommands() {
                    walk(sub, &format!("{path} "));
                }
            } else {
                let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(example.contains(&path), "{path}: its after_help shows no `{path} …`");
            }
        }
        walk(&Cli::command(), "");
    }
}
