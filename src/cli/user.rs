//! `inboxlayer user …`: users of an account, who log in with an email and a password.

use super::failure::Failure;
use super::rest::{Rest, RestArgs, encoded, print_json};
use super::table::{Table, cell};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::ExitCode;

const PATH: &str = "/api/v1/users";
/// Maximum octets read of a password.
const PASSWORD: u64 = 8 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create a user of an account, with a password that is printed once. Needs an operator token.
    #[command(
        after_help = "Examples:\n  inboxlayer user create ann@example.org --account acc_…\n  pass show ann | inboxlayer user create ann@example.org --account acc_… --password-stdin"
    )]
    Create {
        /// The email to log in with.
        email: String,
        #[arg(long, default_value = "")]
        first_name: String,
        #[arg(long, default_value = "")]
        last_name: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// List users.
    #[command(after_help = "Example:\n  inboxlayer user list")]
    List {
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Disable a user, and revoke the tokens of their log-ins.
    #[command(after_help = "Example:\n  inboxlayer user disable ann@example.org")]
    Disable {
        /// The email or id.
        user: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Let a disabled user log in again.
    #[command(after_help = "Example:\n  inboxlayer user enable ann@example.org")]
    Enable {
        /// The email or id.
        user: String,
        #[command(flatten)]
        rest: RestArgs,
    },
    /// Set a new password, which is printed once, and revoke the tokens of the user's log-ins.
    #[command(after_help = "Example:\n  inboxlayer user password ann@example.org")]
    Password {
        /// The email or id.
        user: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        rest: RestArgs,
    },
}

pub(super) async fn run(command: UserCommand) -> Result<ExitCode, Failure> {
    match command {
        UserCommand::Create { email, first_name, last_name, password_stdin, rest } => {
            let mut body = password(password_stdin)?;
            body.extend([
                ("email".to_owned(), email.into()),
                ("first_name".to_owned(), first_name.into()),
                ("last_name".to_owned(), last_name.into()),
            ]);
            let made = Rest::new(&rest)?.create(PATH, Value::Object(body)).await?;
            print_user(&made, &rest);
        }
        UserCommand::List { rest } => {
            let users = Rest::new(&rest)?.list(PATH).await?;
            if rest.json {
                print_json(&Value::Array(users));
            } else {
                let mut table = Table::new(&["user_id", "email", "account", "disabled_at"]);
                for user in &users {
                    table
                        .row(["user_id", "email", "account_id", "disabled_at"].map(|field| cell(user, field)).to_vec());
                }
                table.print();
            }
        }
        UserCommand::Disable { user, rest } => set_disabled(&user, true, &rest).await?,
        UserCommand::Enable { user, rest } => set_disabled(&user, false, &rest).await?,
        UserCommand::Password { user, password_stdin, rest } => {
            let body = Value::Object(password(password_stdin)?);
            let client = Rest::new(&rest)?;
            let path = format!("{}/password", path_of(&client, &user).await?);
            print_user(&client.post(&path, body).await?, &rest);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_disabled(user: &str, disabled: bool, rest: &RestArgs) -> Result<(), Failure> {
    let client = Rest::new(rest)?;
    let changed = client.patch(&path_of(&client, user).await?, json!({"disabled": disabled})).await?;
    if rest.json {
        print_json(&changed);
    } else {
        println!("{} {}", cell(&changed, "email"), if disabled { "is disabled" } else { "may log in" });
    }
    Ok(())
}

/// `password`, if it is to be read.
fn password(from_stdin: bool) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    if from_stdin {
        let mut text = String::new();
        let read = std::io::stdin().take(PASSWORD).read_to_string(&mut text);
        read.map_err(|error| Failure::usage(format!("standard input: {error}"), "pipe the password, in UTF-8"))?;
        body.insert("password".to_owned(), text.trim_end_matches(['\r', '\n']).into());
    }
    Ok(body)
}

fn print_user(user: &Value, rest: &RestArgs) {
    if rest.json {
        print_json(user);
        return;
    }
    println!("{}  {}", cell(user, "user_id"), cell(user, "email"));
    if user.get("password").is_some() {
        println!("password: {}", cell(user, "password"));
        eprintln!("the password is shown only once");
    }
}

async fn path_of(client: &Rest, user: &str) -> Result<String, Failure> {
    if user.starts_with("usr_") {
        return Ok(format!("{PATH}/{}", encoded(user)));
    }
    let all = client.list(PATH).await?;
    let found = all.iter().find(|one| cell(one, "email").eq_ignore_ascii_case(user));
    let found = found.ok_or_else(|| Failure::new(format!("there is no user {user}"), "see `inboxlayer user list`"))?;
    Ok(format!("{PATH}/{}", encoded(&cell(found, "user_id"))))
}
