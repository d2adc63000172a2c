//! `inboxlayer inbox export`: the mailboxes of an inbox as a Maildir or as mbox files.
//!
//! Invariant: a file has its final name once it is whole, so that a run that was cut off is continued by the next. Mail that was deleted
//! since is not removed from the target.

mod maildir;
mod mbox;

use super::progress::{Counts, Progress};
use crate::cli::failure::Failure;
use crate::cli::rest::{Refused, Rest, RestArgs, encoded};
use crate::cli::table::cell;
use crate::clock::Timestamp;
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Messages that are read at once.
const AT_ONCE: usize = 4;
/// How often a message is asked for that the daemon does not give.
const ATTEMPTS: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
A Maildir gets a Maildir++ folder for each mailbox, and INBOX is the Maildir itself; in other formats the path is a folder with a file
for each mailbox. Flags, keywords and dates are exported with the messages. A run that was cut off can be repeated: it goes on where it was.
Exit code 4: something could not be exported, and was named.

Examples:
  inboxlayer inbox export support ~/support
  inboxlayer inbox export support ~/support --format mbox --mailbox Archive";

/// Export mailboxes as a Maildir or as mbox files.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct ExportArgs {
    /// Its name or id.
    inbox: String,
    /// The folder to write, which is made where it is missing.
    path: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Maildir)]
    format: Format,
    /// Only this mailbox.
    #[arg(long, value_name = "MAILBOX")]
    mailbox: Option<String>,
    #[command(flatten)]
    rest: RestArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Maildir++, the layout of Dovecot and Courier.
    Maildir,
    /// mboxrd.
    Mbox,
}

/// An email in a list of the API.
struct Listed {
    id: String,
    flags: Vec<String>,
    received_at: Timestamp,
    /// Octets, with lines that end in CRLF.
    size: u64,
    mail_from: Option<String>,
}

impl Listed {
    fn read(email: &Value) -> Option<Self> {
        let flags = email.get("flags")?.as_array()?.iter();
        Some(Self {
            id: email.get("id")?.as_str()?.to_owned(),
            flags: flags.filter_map(Value::as_str).map(str::to_owned).collect(),
            received_at: email.get("received_at")?.as_str()?.parse().ok()?,
            size: email.get("size")?.as_u64()?,
            mail_from: email.get("mail_from").and_then(Value::as_str).map(str::to_owned),
        })
    }

    fn flags(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }
}

/// Where the messages of a mailbox are written.
enum Target {
    Maildir(maildir::Folder),
    Mbox(mbox::File),
}

impl Target {
    fn has(&self, email: &Listed) -> bool {
        match self {
            Self::Maildir(folder) => folder.has(email),
            Self::Mbox(file) => file.has(email),
        }
    }

    fn put(&mut self, email: &Listed, raw: &[u8]) -> io::Result<()> {
        match self {
            Self::Maildir(folder) => folder.put(email, raw),
            Self::Mbox(file) => file.put(email, raw),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Maildir(folder) => folder.finish(),
            Self::Mbox(file) => file.finish(),
        }
    }
}

pub(super) async fn run(args: ExportArgs) -> Result<ExitCode, Failure> {
    let rest = Rest::for_transfers(&args.rest)?;
    let inbox = cell(&super::find(&rest, &args.inbox).await?, "id");
    let listed = rest.get(&format!("/api/v1/inboxes/{}/mailboxes", encoded(&inbox))).await?;
    let rows = listed.get("data").and_then(Value::as_array).into_iter().flatten();
    let names = rows.filter_map(|row| row.get("name").and_then(Value::as_str).map(str::to_owned));
    let wanted = args.mailbox.as_deref().map(crate::store::mailboxes::with_inbox_in_capitals);
    let names: Vec<String> = names.filter(|name| wanted.as_ref().is_none_or(|wanted| wanted == name)).collect();
    if let (Some(wanted), true) = (&wanted, names.is_empty()) {
        return Err(Failure::new(
            format!("{} has no mailbox {wanted}", args.inbox),
            "leave out --mailbox to export all",
        ));
    }
    let progress = Progress::new("exported", args.rest.json);
    let mut export = Export { rest, inbox, args, progress };
    for name in names {
        export.mailbox(&name).await?;
    }
    Ok(export.progress.finish())
}

struct Export {
    rest: Rest,
    inbox: String,
    args: ExportArgs,
    progress: Progress,
}

impl Export {
    async fn mailbox(&mut self, name: &str) -> Result<(), Failure> {
        let mut emails = Vec::new();
        let list = format!("/api/v1/emails?inbox={}&mailbox={}&per_page=100", encoded(&self.inbox), encoded(name));
        self.rest.each_row(list, |row| emails.extend(Listed::read(&row))).await?;
        emails.sort_by(|a, b| (a.received_at, &a.id).cmp(&(b.received_at, &b.id)));
        let mut counts = Counts::default();
        let opened = match self.args.format {
            Format::Maildir => maildir::Folder::open(&self.args.path, name, &emails).map(|(folder, rest)| {
                for keyword in rest {
                    let what = format!("{name}: the keyword {keyword}");
                    self.progress.leave_out(&what, "a folder of a Maildir has 26 keywords at most");
                }
                Target::Maildir(folder)
            }),
            Format::Mbox => mbox::File::open(&self.args.path, name).map(Target::Mbox),
        };
        let mut target = match opened {
            Ok(target) => target,
            Err(error) if is_about_name(&error) => {
                counts.left_out = u64::try_from(emails.len()).unwrap_or(u64::MAX);
                self.progress.leave_out(name, &error.to_string());
                self.progress.mailbox_done(name, counts);
                return Ok(());
            }
            Err(error) => return Err(self.cannot_write(&error)),
        };
        let total = u64::try_from(emails.len()).ok();
        let (there, missing): (Vec<_>, Vec<_>) = emails.into_iter().partition(|email| target.has(email));
        counts.existing = u64::try_from(there.len()).unwrap_or(u64::MAX);
        drop(there);
        let rest = &self.rest;
        let mut read = stream::iter(missing)
            .map(|email| async move {
                let raw = raw(rest, &email.id).await;
                (email, raw)
            })
            .buffered(AT_ONCE);
        while let Some((email, raw)) = read.next().await {
            match raw? {
                Ok(raw) => {
                    target.put(&email, &raw).map_err(|error| cannot_write(&self.args, &error))?;
                    counts.copied += 1;
                }
                // It was deleted after it was listed.
                Err(refused) if refused.status == StatusCode::NOT_FOUND => {}
                Err(refused) => {
                    counts.left_out += 1;
                    self.progress.leave_out(&format!("{name}: {}", email.id), &refused.failure.what);
                }
            }
            self.progress.at(name, counts, total);
        }
        drop(read);
        target.finish().map_err(|error| self.cannot_write(&error))?;
        self.progress.mailbox_done(name, counts);
        Ok(())
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        cannot_write(&self.args, error)
    }
}

fn cannot_write(args: &ExportArgs, error: &io::Error) -> Failure {
    let what = format!("cannot write to {}: {error}", args.path.display());
    Failure::new(what, "run it again when this is solved: it goes on where it was")
}

/// True if the file system takes no file of this name, or has another one there.
fn is_about_name(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | InvalidFilename | IsADirectory | NotADirectory)
}

/// The octets of a message. The inner result is the refusal of this one.
async fn raw(rest: &Rest, id: &str) -> Result<Result<Vec<u8>, Refused>, Failure> {
    let path = format!("/api/v1/emails/{}/raw", encoded(id));
    let mut attempts = 1;
    loop {
        match rest.get_octets(&path).await? {
            Err(Refused { status, retry_after, .. })
                if attempts < ATTEMPTS && (status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS) =>
            {
                attempts += 1;
                tokio::time::sleep(retry_after.unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE)).await;
            }
            answered => return Ok(answered),
        }
    }
}
