//! `inboxlayer inbox fetch`: copies the mailboxes of another IMAP server into an inbox, with flags, keywords and dates.
//!
//! Invariant: nothing is changed on the other server: mailboxes are opened by EXAMINE and messages read by BODY.PEEK. Each message is
//! fetched once; [`state`] says how far each mailbox is. RFC 3501, RFC 6154, RFC 2342.

mod client;
mod names;
mod response;
mod state;
mod url;

use super::message::{LARGEST, Message};
use super::progress::Progress;
use super::upload::{ToMailbox, Upload};
use crate::cli::failure::Failure;
use crate::cli::rest::{Rest, RestArgs, encoded};
use crate::cli::table::cell;
use crate::clock::Timestamp;
use crate::message::date::date;
use crate::net::client_tls::ClientTls;
use crate::secret::Secret;
use clap::Args;
use client::{Client, Next, Refused, Server, quoted};
use names::{Namespaces, Remote};
use response::{Value, parse};
use serde_json::Value as Json;
use state::{Fetched, State};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use url::Url;

/// Messages, and octets of them, that one command asks for and one transaction stores.
const MESSAGES: usize = 200;
const OCTETS: usize = 4 * 1024 * 1024;
const PASSWORD: &str = "INBOXLAYER_FETCH_PASSWORD";
const SYSTEM: [&str; 5] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];

const AFTER_HELP: &str = "\
The password is read from a file, or from INBOXLAYER_FETCH_PASSWORD. Nothing is changed on the other server. A run can be repeated: it
fetches what is new, and goes on where one was cut off. Mailboxes for sent mail, drafts, junk, trash and archive are recognized where the
server says which they are; all others keep their names. Exit code 4: some messages could not be fetched, and were named.

Examples:
  inboxlayer inbox fetch support imaps://support@mail.example.org/ --password-file ~/password
  inboxlayer inbox fetch support imap://ann@10.0.0.5:143/Archive --password-file ~/password --ca ca.pem";

/// Copy the mailboxes of another IMAP server.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct FetchArgs {
    /// Its name or id.
    inbox: String,
    /// `imaps://user@host:port/`, or `imap://…` for STARTTLS. A path names the only mailbox to copy.
    source: String,
    /// The file with the password on the other server.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Certificate authorities to trust beside the system's, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    rest: RestArgs,
}

fn password(file: Option<&Path>) -> Result<Secret, Failure> {
    let Some(file) = file else {
        let given = std::env::var(PASSWORD).map(Secret::new);
        return given
            .map_err(|_| Failure::usage("no password given", format!("give --password-file, or set {PASSWORD}")));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display()), "check --password-file"))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

pub(super) async fn run(args: FetchArgs) -> Result<ExitCode, Failure> {
    let source = Url::parse(&args.source)?;
    let password = password(args.password_file.as_deref())?;
    let tls = ClientTls::new(args.ca.as_deref())
        .map_err(|error| Failure::usage(error.to_string(), "check --ca and the system's certificates"))?;
    let rest = Rest::for_transfers(&args.rest)?;
    let inbox = cell(&super::find(&rest, &args.inbox).await?, "id");
    let ours = our_mailboxes(&rest, &inbox).await?;
    let Url { implicit_tls, user, host, port, mailbox } = &source;
    let mut client = Client::connect(&Server { host, port: *port, implicit_tls: *implicit_tls, tls: &tls }).await?;
    client.log_in(user, &password).await?;
    let (namespaces, remotes) = list(&mut client).await?;
    let remotes: Vec<Remote> = match mailbox {
        None => remotes.into_iter().filter(|remote| remote.is_wanted(&namespaces)).collect(),
        Some(wanted) => remotes.into_iter().filter(|remote| remote.shown == *wanted).collect(),
    };
    if let (Some(wanted), true) = (mailbox, remotes.is_empty()) {
        return Err(Failure::new(format!("{host} has no mailbox {wanted}"), "leave it out of the URL to copy all"));
    }
    let mut progress = Progress::new("fetched", args.rest.json);
    let state = State::load(&[host, &port.to_string(), user, &inbox])?;
    let mut fetch = Fetch { client, upload: Upload::new(&rest, &inbox, &mut progress), state };
    for remote in &remotes {
        if remote.is_view() && mailbox.is_none() {
            eprintln!("not copied: {}: its messages are in other mailboxes, with the flag \\Flagged", remote.shown);
            continue;
        }
        match remote.local(&namespaces, &ours) {
            Some(local) => fetch.mailbox(remote, &local).await?,
            None => fetch.upload.leave_out(&remote.shown, "no mailbox can have this name"),
        }
    }
    fetch.client.log_out().await;
    Ok(progress.finish())
}

/// Labels and names of the standard mailboxes of the inbox.
async fn our_mailboxes(rest: &Rest, inbox: &str) -> Result<Vec<(String, String)>, Failure> {
    let listed = rest.get(&format!("/api/v1/inboxes/{}/mailboxes", encoded(inbox))).await?;
    let text = |row: &Json, field: &str| row.get(field).and_then(Json::as_str).map(str::to_owned);
    let rows = listed.get("data").and_then(Json::as_array).into_iter().flatten();
    Ok(rows.filter_map(|row| Some((text(row, "label")?, text(row, "name")?))).collect())
}

async fn list(client: &mut Client) -> Result<(Namespaces, Vec<Remote>), Failure> {
    let (mut namespaces, mut remotes) = (Namespaces::default(), Vec::new());
    if client.has("NAMESPACE") {
        let read = client.command("NAMESPACE", |values| {
            if values.first().is_some_and(|word| word.is("NAMESPACE")) {
                namespaces = Namespaces::read(values.get(1..).unwrap_or_default());
            }
        });
        // Without it all mailboxes are the user's own.
        let _ = read.await?;
    }
    // Others send special uses without being asked, or not at all.
    let asks = client.has("SPECIAL-USE") && client.has("LIST-EXTENDED");
    let command = if asks { "LIST \"\" \"*\" RETURN (SPECIAL-USE)" } else { "LIST \"\" \"*\"" };
    let listed = client.command(command, |values| {
        if values.first().is_some_and(|word| word.is("LIST")) {
            remotes.extend(Remote::read(values.get(1..).unwrap_or_default()));
        }
    });
    listed.await?.map_err(|Refused(text)| Failure::new(format!("the server lists no mailboxes: {text}"), ""))?;
    remotes.sort_by(|a, b| a.name.cmp(&b.name));
    remotes.dedup_by(|a, b| a.name == b.name);
    Ok((namespaces, remotes))
}

/// A message without its octets.
struct Summary {
    uid: u32,
    flags: Vec<String>,
    received_at: Option<Timestamp>,
    size: usize,
}

impl Summary {
    /// Of the items of a FETCH; `None` if it is about something else.
    fn read(items: &[Value<'_>]) -> Option<Self> {
        let flags = item(items, "FLAGS")?.list().iter().filter_map(|value| Some(value.text()?.into_owned()));
        let found = item(items, "INTERNALDATE").and_then(|value| date(value.octets()?));
        Some(Self {
            uid: item(items, "UID")?.number()?,
            flags: flags.filter_map(|flag| known_flag(&flag)).collect(),
            received_at: found.map(|date| Timestamp::from_millis(date.seconds().saturating_mul(1000))),
            size: item(items, "RFC822.SIZE")?.number()?,
        })
    }
}

/// A flag that a message can have here: one of the five of the system, or a keyword.
fn known_flag(flag: &str) -> Option<String> {
    let is_known = !flag.starts_with('\\') || SYSTEM.iter().any(|known| known.eq_ignore_ascii_case(flag));
    is_known.then(|| flag.to_owned())
}

/// The value after an item's name.
fn item<'a, 'b>(items: &'a [Value<'b>], name: &str) -> Option<&'a Value<'b>> {
    items.chunks_exact(2).find_map(|pair| match pair {
        [item, value] if item.is(name) => Some(value),
        _ => None,
    })
}

/// The items of an untagged FETCH, of the values after the asterisk.
fn fetched<'a, 'b>(values: &'a [Value<'b>]) -> &'a [Value<'b>] {
    match values {
        [_, word, items, ..] if word.is("FETCH") => items.list(),
        _ => &[],
    }
}

struct Fetch<'a> {
    client: Client,
    upload: Upload<'a>,
    state: State,
}

impl Fetch<'_> {
    async fn mailbox(&mut self, remote: &Remote, local: &str) -> Result<(), Failure> {
        let Some(name) = quoted(&remote.name) else {
            self.upload.leave_out(&remote.shown, "its name is not encoded in ASCII");
            return Ok(());
        };
        let (mut uid_validity, mut exists) = (None, 0_u32);
        let command = format!("EXAMINE {name}");
        let opened = self.client.command(&command, |values| match values {
            [Value::Atom(code), ..] | [_, Value::Atom(code), ..] if code.starts_with(b"[UIDVALIDITY ") => {
                uid_validity = uid_validity_of(code);
            }
            [count, word, ..] if word.is("EXISTS") => exists = count.number().unwrap_or(0),
            _ => {}
        });
        if let Err(Refused(text)) = opened.await? {
            self.upload.leave_out(&remote.shown, &text);
            return Ok(());
        }
        let Some(uid_validity) = uid_validity else {
            self.upload.leave_out(&remote.shown, "the server gives no UIDVALIDITY");
            return Ok(());
        };
        let known = self.state.of(&remote.name, uid_validity);
        let is_known = known.is_some();
        let mut done = known.unwrap_or(Fetched { uid_validity, ..Fetched::default() });
        let summaries = if exists == 0 { Vec::new() } else { self.summaries(remote, &done).await? };
        if is_known && summaries.is_empty() {
            self.upload.nothing_new(local);
            return Ok(());
        }
        let Self { client, upload, state } = self;
        let mut to = upload.open(local, u64::try_from(summaries.len()).ok()).await?;
        let mut rest = summaries.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at_checked(chunk_length(rest)).unwrap_or((rest, &[]));
            let left_out = copy(client, &mut to, &remote.shown, chunk).await?;
            let is_in_chunk = |uid: &u32| chunk.iter().any(|summary| summary.uid == *uid);
            done.left_out.retain(|uid| !is_in_chunk(uid));
            done.left_out.extend(left_out);
            done.last_uid = chunk.iter().map(|summary| summary.uid).fold(done.last_uid, u32::max);
            state.set(&remote.name, done.clone())?;
            rest = after;
        }
        state.set(&remote.name, done)?;
        to.close().await
    }

    /// What is not fetched yet, by UID.
    async fn summaries(&mut self, remote: &Remote, done: &Fetched) -> Result<Vec<Summary>, Failure> {
        let first = done.last_uid.saturating_add(1);
        let mut set: String = done.left_out.iter().map(|uid| format!("{uid},")).collect();
        set.push_str(&format!("{first}:*"));
        let mut found: Vec<Summary> = Vec::new();
        let command = format!("UID FETCH {set} (UID FLAGS INTERNALDATE RFC822.SIZE)");
        let listed = self.client.command(&command, |values| found.extend(Summary::read(fetched(values))));
        if let Err(Refused(text)) = listed.await? {
            self.upload.leave_out(&remote.shown, &text);
        }
        // `9:*` is the last message also where its UID is lower.
        found.retain(|summary| summary.uid >= first || done.left_out.contains(&summary.uid));
        found.sort_unstable_by_key(|summary| summary.uid);
        found.dedup_by_key(|summary| summary.uid);
        Ok(found)
    }
}

fn uid_validity_of(code: &[u8]) -> Option<u32> {
    let digits = code.strip_prefix(b"[UIDVALIDITY ")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// How many of the messages are fetched together: at least one.
fn chunk_length(summaries: &[Summary]) -> usize {
    let mut octets = 0_usize;
    let fitting = summaries.iter().take(MESSAGES).take_while(|summary| {
        octets = octets.saturating_add(summary.size);
        octets <= OCTETS
    });
    fitting.count().max(1)
}

/// Copies messages. Returns the UIDs of those that were left out.
async fn copy(
    client: &mut Client,
    to: &mut ToMailbox<'_, '_>,
    shown: &str,
    chunk: &[Summary],
) -> Result<Vec<u32>, Failure> {
    let label = |uid: u32| format!("{shown}, UID {uid}");
    let mut missing: HashMap<u32, &Summary> = HashMap::new();
    for summary in chunk {
        match summary.size <= LARGEST {
            true => drop(missing.insert(summary.uid, summary)),
            false => to.leave_out(&label(summary.uid), &format!("it is larger than {LARGEST} octets")),
        }
    }
    let mut requests: Vec<Vec<u32>> =
        vec![chunk.iter().map(|s| s.uid).filter(|uid| missing.contains_key(uid)).collect()];
    while let Some(mut uids) = requests.pop() {
        uids.retain(|uid| missing.contains_key(uid));
        if uids.is_empty() {
            continue;
        }
        let set = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let tag = client.begin(&format!("UID FETCH {set} (UID BODY.PEEK[])")).await?;
        let ended = loop {
            match client.next(&tag).await? {
                Next::Ended(how) => break how,
                Next::Untagged(octets) => {
                    let values = parse(&octets);
                    let items = fetched(values.get(1..).unwrap_or_default());
                    let Some(body) = item(items, "BODY[]") else { continue };
                    let uid = item(items, "UID").and_then(Value::number);
                    let Some(Summary { uid, flags, received_at, .. }) = uid.and_then(|uid: u32| missing.remove(&uid))
                    else {
                        continue;
                    };
                    let received_at = received_at.unwrap_or_else(Timestamp::real);
                    let raw = body.octets().ok_or_else(|| "the server does not give it".to_owned());
                    match raw.and_then(|raw| Message::new(raw, flags.clone(), received_at)) {
                        Ok(message) => to.add(label(*uid), message).await?,
                        Err(reason) => to.leave_out(&label(*uid), &reason),
                    }
                }
            }
        };
        if let Err(Refused(text)) = ended {
            match uids.as_slice() {
                [uid] if missing.contains_key(uid) => to.leave_out(&label(*uid), &text),
                [_] => {}
                several => requests.extend(several.iter().rev().map(|uid| vec![*uid])),
            }
        }
    }
    to.flush().await?;
    let labels = to.take_left_out();
    Ok(chunk.iter().map(|summary| summary.uid).filter(|uid| labels.contains(&label(*uid))).collect())
}

/// Reads a response as each command does.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(input: &[u8]) {
    fn octets(value: &Value<'_>) -> usize {
        value.octets().map_or(0, <[u8]>::len) + value.list().iter().map(octets).sum::<usize>()
    }
    let values = parse(input);
    assert!(values.iter().map(octets).sum::<usize>() <= input.len());
    assert!(response::literal_of(input).is_none() || input.ends_with(b"\n"));
    let rest = values.get(1..).unwrap_or_default();
    let namespaces = Namespaces::read(rest);
    if let Some(local) = Remote::read(rest).and_then(|remote| remote.local(&namespaces, &[])) {
        assert_eq!(crate::store::mailboxes::canonical_name(&local), Some(local));
    }
    for values in [values.as_slice(), rest] {
        Summary::read(fetched(values));
        assert!(item(fetched(values), "BODY[]").is_none_or(|body| octets(body) <= input.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read_in_any_order_of_items() {
        let line = b"* 3 FETCH (RFC822.SIZE 44 INTERNALDATE \" 1-Jan-1970 01:01:00 +0100\" FLAGS (\\Seen \\Recent \\X $a) UID 9)\r\n";
        let values = parse(line);
        let Summary { uid, flags, received_at, size } = Summary::read(fetched(values.get(1..).unwrap())).unwrap();
        assert_eq!((uid, size, received_at), (9, 44, Some(Timestamp::from_millis(60_000))));
        assert_eq!(flags, ["\\Seen", "$a"]);
        for other in ["* 3 FETCH (FLAGS ())\r\n", "* 3 EXISTS\r\n", "* FETCH\r\n"] {
            assert!(Summary::read(fetched(parse(other.as_bytes()).get(1..).unwrap())).is_none(), "{other}");
        }
        assert_eq!(uid_validity_of(b"[UIDVALIDITY 12]"), Some(12));
    }

    #[test]
    fn a_large_message_is_fetched_alone() {
        let of = |size| Summary { uid: 1, flags: vec![], received_at: None, size };
        let length = |sizes: &[usize]| chunk_length(&sizes.iter().map(|size| of(*size)).collect::<Vec<_>>());
        assert_eq!(length(&[1; 300]), MESSAGES);
        assert_eq!((length(&[OCTETS + 1, 1]), length(&[1, OCTETS]), length(&[1, 1, OCTETS])), (1, 1, 2));
    }
}
