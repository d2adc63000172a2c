//! `inboxlayer inbox import`: mail of a Maildir, of mbox files, or of a folder of either, into an inbox.
//!
//! Invariant: what cannot be read is named and left out, and everything else is imported.

use super::maildir::{self, Keywords, is_maildir};
use super::mbox::Reader;
use super::message::{LARGEST, Message};
use super::progress::Progress;
use super::upload::{ToMailbox, Upload};
use crate::cli::failure::Failure;
use crate::cli::rest::{Rest, RestArgs};
use crate::cli::table::cell;
use crate::clock::Timestamp;
use crate::store::mailboxes::{DELIMITER, INBOX};
use clap::Args;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Folders below one another at most.
const DEPTH: usize = 50;
/// Octets of an mbox read at a time.
const BUFFER: usize = 256 * 1024;

const AFTER_HELP: &str = "\
Flags and dates are imported with the messages. Mailboxes that are missing are created. What is there already is left as it
is, so that a run that was cut off can be repeated. Exit code 4: some messages could not be imported, and were named.

Examples:
  inboxlayer inbox import support ~/Maildir
  inboxlayer inbox import support old.mbox --mailbox Archive/old
  inboxlayer inbox import support ~/Mail --mailbox Imported";

/// Import a Maildir, mbox files, or a folder of them.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct ImportArgs {
    /// Its name or id.
    inbox: String,
    /// A Maildir (with its Maildir++ folders), an mbox file, or a folder with Maildirs and mbox files in it.
    path: PathBuf,
    /// The mailbox to import into: an mbox or a Maildir becomes it, folders become mailboxes below it. Default: INBOX for a
    /// Maildir, and the names of files and folders.
    #[arg(long, value_name = "MAILBOX")]
    mailbox: Option<String>,
    #[command(flatten)]
    rest: RestArgs,
}

/// Where messages of a mailbox are.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Maildir(PathBuf),
    Mbox(PathBuf),
}

/// The sources below a path with their mailboxes, and what is none.
#[derive(Debug, Default)]
struct Found {
    sources: Vec<(String, Source)>,
    left_out: Vec<(PathBuf, String)>,
}

impl Found {
    /// `above` is the name of the mailbox above, empty for none.
    fn walk(&mut self, folder: &Path, above: &str, depth: usize) {
        let is_maildir = is_maildir(folder);
        if is_maildir {
            let name = if above.is_empty() { INBOX } else { above };
            self.sources.push((name.to_owned(), Source::Maildir(folder.to_owned())));
        }
        let mut entries: Vec<PathBuf> =
            match fs::read_dir(folder).and_then(|list| list.map(|e| Ok(e?.path())).collect()) {
                Ok(entries) => entries,
                Err(error) => return self.left_out.push((folder.to_owned(), error.to_string())),
            };
        entries.sort();
        for path in entries {
            let Some(name) = path.file_name().and_then(OsStr::to_str) else {
                self.left_out.push((path, "its name is not UTF-8".to_owned()));
                continue;
            };
            if path.is_dir() {
                if let Some(mailbox) = maildir::mailbox_of(name) {
                    if is_maildir && self::is_maildir(&path) {
                        self.sources.push((below(above, &mailbox), Source::Maildir(path)));
                    }
                } else if !(is_maildir && matches!(name, "cur" | "new" | "tmp")) {
                    let level = below(above, &maildir::level_of(name.strip_suffix(".sbd").unwrap_or(name)));
                    match depth < DEPTH {
                        true => self.walk(&path, &level, depth + 1),
                        false => self.left_out.push((path, "it is too deep below other folders".to_owned())),
                    }
                }
            } else if !is_maildir && !name.starts_with('.') && !is_index(name) {
                self.sources.push((below(above, &mailbox_of_file(&path)), Source::Mbox(path)));
            }
        }
    }

    fn at(path: &Path, mailbox: Option<&str>) -> Result<Self, Failure> {
        let mut found = Self::default();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => found.walk(path, mailbox.unwrap_or_default(), 0),
            Ok(_) => {
                let mailbox = mailbox.map_or_else(|| mailbox_of_file(path), str::to_owned);
                found.sources.push((mailbox, Source::Mbox(path.to_owned())));
            }
            Err(error) => {
                return Err(Failure::usage(format!("{}: {error}", path.display()), "give a Maildir or an mbox"));
            }
        }
        if found.sources.is_empty() && found.left_out.is_empty() {
            let what = format!("{} has no Maildir and no mbox file in it", path.display());
            return Err(Failure::usage(what, "a Maildir has folders cur and new"));
        }
        Ok(found)
    }
}

fn below(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}{DELIMITER}{name}") }
}

/// The name of a file without `.mbox`.
fn mailbox_of_file(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    maildir::level_of(name.strip_suffix(".mbox").unwrap_or(&name))
}

/// Files that mail programs keep beside mbox files.
fn is_index(name: &str) -> bool {
    name.ends_with(".msf") || name == "subscriptions" || name.starts_with("dovecot")
}

pub(super) async fn run(args: ImportArgs) -> Result<ExitCode, Failure> {
    let found = Found::at(&args.path, args.mailbox.as_deref())?;
    let rest = Rest::for_transfers(&args.rest)?;
    let inbox = cell(&super::find(&rest, &args.inbox).await?, "id");
    let mut progress = Progress::new("imported", args.rest.json);
    let mut upload = Upload::new(&rest, &inbox, &mut progress);
    for (path, reason) in &found.left_out {
        upload.leave_out(&path.display().to_string(), reason);
    }
    for (mailbox, source) in &found.sources {
        match source {
            Source::Maildir(folder) => import_maildir(&mut upload, mailbox, folder).await?,
            Source::Mbox(file) => import_mbox(&mut upload, mailbox, file).await?,
        }
    }
    Ok(progress.finish())
}

async fn import_maildir(upload: &mut Upload<'_>, mailbox: &str, folder: &Path) -> Result<(), Failure> {
    let listed = Keywords::read(folder).and_then(|keywords| Ok((keywords, maildir::entries(folder)?)));
    let (keywords, entries) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            upload.leave_out(&folder.display().to_string(), &error.to_string());
            return Ok(());
        }
    };
    let mut to = upload.open(mailbox, u64::try_from(entries.len()).ok()).await?;
    for maildir::Entry { modified, path } in entries {
        let label = path.display().to_string();
        let received_at = Timestamp::from_millis(modified.saturating_mul(1000));
        let (path, read) = read_message(folder, path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = read.map_err(|error| error.to_string());
        let read = read.and_then(|raw| Message::new(&raw, keywords.flags_of(&name), received_at));
        take(&mut to, label, read).await?;
    }
    to.close().await
}

/// The octets of a message, and its path now.
fn read_message(folder: &Path, path: PathBuf) -> (PathBuf, io::Result<Vec<u8>>) {
    match read_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match maildir::moved(folder, &path) {
            Ok(Some(now)) => {
                let read = read_file(&now);
                (now, read)
            }
            _ => (path, Err(error)),
        },
        read => (path, read),
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut raw)?;
    if raw.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} octets")));
    }
    Ok(raw)
}

async fn import_mbox(upload: &mut Upload<'_>, mailbox: &str, path: &Path) -> Result<(), Failure> {
    let file = path.display().to_string();
    let opened = File::open(path).and_then(|file| Reader::new(BufReader::with_capacity(BUFFER, file)));
    let mut reader = match opened {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            upload.leave_out(&file, "it is not an mbox file: it does not begin with a `From ` line");
            return Ok(());
        }
        Err(error) => {
            upload.leave_out(&file, &error.to_string());
            return Ok(());
        }
    };
    let mut to = upload.open(mailbox, None).await?;
    for number in 1_u64.. {
        let label = || format!("{file}, message {number}");
        match reader.next() {
            Ok(None) => break,
            Ok(Some(stored)) => {
                if let Some(read) = stored.message() {
                    take(&mut to, label(), read).await?;
                }
            }
            Err(error) => {
                to.leave_out(&label(), &format!("{error}; nor can what follows be read"));
                break;
            }
        }
    }
    to.close().await
}

async fn take(to: &mut ToMailbox<'_, '_>, label: String, read: Result<Message, String>) -> Result<(), Failure> {
    match read {
        Ok(message) => to.add(label, message).await,
        Err(reason) => {
            to.leave_out(&label, &reason);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_become_mailboxes() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in
            ["m/cur", "m/new", "m/tmp", "m/.Sent/cur", "m/.Sent/new", "m/.A.B/cur", "m/.A.B/new", "m/.empty", "f/x.sbd"]
        {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["m/dovecot-uidlist", "f/old.mbox", "f/x", "f/x.msf", "f/x.sbd/y", "f/.z"] {
            fs::write(at(file), "").unwrap();
        }
        let found = |path: &str, mailbox: Option<&str>| -> Vec<(String, bool)> {
            let found = Found::at(&at(path), mailbox).unwrap();
            assert!(found.left_out.is_empty(), "{found:?}");
            found.sources.into_iter().map(|(name, source)| (name, matches!(source, Source::Mbox(_)))).collect()
        };
        let wanted =
            |list: &[(&str, bool)]| list.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect::<Vec<_>>();
        assert_eq!(found("m", None), wanted(&[("INBOX", false), ("A/B", false), ("Sent", false)]));
        assert_eq!(found("m", Some("Old")), wanted(&[("Old", false), ("Old/A/B", false), ("Old/Sent", false)]));
        assert_eq!(found("f", None), wanted(&[("old", true), ("x", true), ("x/y", true)]));
        assert_eq!(found("f/old.mbox", None), wanted(&[("old", true)]));
        assert_eq!(found("f/old.mbox", Some("New")), wanted(&[("New", true)]));
        assert_eq!(Found::at(&at("m/.empty"), None).unwrap_err().code, 2);
        assert_eq!(Found::at(&at("nowhere"), None).unwrap_err().code, 2);
    }
}
