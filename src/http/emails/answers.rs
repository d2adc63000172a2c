//! `POST …/emails/{id}/reply` and `…/forward`: what the message answers is taken from it.
//!
//! Invariant: an answer names the message that it answers, so that it is in its thread wherever it is read; it goes to addresses of the
//! message only where the request names none. A reply to a program, a list or the inbox itself is refused unless it is forced, at once or
//! begun as a draft: two programs that answer each other, or one that answers itself, do not end.

use super::find;
use crate::address::Address;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::compose::{Attachment, Content, Mailbox};
use crate::http::document::requests::{DraftKind, ForwardInput, ReplyInput};
use crate::http::fields::{Fields, JsonBody};
use crate::http::problem::Problem;
use crate::http::send::{Addressed, JSON_FACTOR, Options, Sent, parts_request, submit};
use crate::http::{Context, HttpContext, Id};
use crate::id::{InboxId, MessageId};
use crate::message::automatic::{Automatic, automatic};
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::text::{attachment, content, escaped, message_ids};
use crate::message::words::decoded_words;
use crate::message::{ANSWERS, addresses, answers};
use crate::reading::Readable;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::StoredMessage;
use crate::store::email_changes::EmailChange;
use crate::store::inboxes::Inbox;
use crate::store::messages::{Flags, MessageSummary};
use crate::store::routing::Route;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

/// Ids of References: the first one, and the newest.
const REFERENCES: usize = 20;
/// Memory for an answer, as a multiple of the message and the request.
const FACTOR: usize = 4;
/// Attachments of a message that are forwarded at most.
const ATTACHMENTS: usize = 1000;
/// How Thunderbird and others mark a message that was forwarded.
const FORWARDED: &str = "$Forwarded";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reply,
    Forward,
}

/// What an answer takes from the message.
#[derive(Debug, Default)]
struct Original {
    from: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    subject: String,
    /// As it is in the message.
    date: String,
    message_id: Option<String>,
    automatic: Option<Automatic>,
    references: Vec<String>,
    text: String,
    html: Option<String>,
    attachments: Vec<Attachment>,
}

impl Original {
    fn read(message: &StoredMessage, has_null_reverse_path: bool, readable: Readable, kind: Kind) -> Self {
        let header = Header::read(&message.header, &readable.limits);
        let tree = Tree::parse(&message.header, &message.body, &readable.limits);
        let shown = content(&tree, usize::MAX);
        let mailboxes = |name| {
            let read = |one: addresses::Mailbox<'_>| {
                one.address().map(|address| Mailbox { name: one.display_name(), address })
            };
            addresses::mailboxes(&header, name).filter_map(read).collect()
        };
        let text = |name| header.find(name).map(decoded_words).unwrap_or_default().trim().to_owned();
        let ids = |name| header.find(name).map(message_ids).unwrap_or_default();
        let references = match ids("References") {
            known if known.is_empty() => ids("In-Reply-To"),
            known => known,
        };
        let attached = if kind == Kind::Forward { shown.attachments.len().min(ATTACHMENTS) } else { 0 };
        let attachments = (1..=attached).filter_map(|number| attachment(&tree, number)).map(|(part, octets)| {
            Attachment::of_stored(part.filename, &part.content_type, part.content_id, octets.into_owned())
        });
        Self {
            from: mailboxes("From"),
            reply_to: mailboxes("Reply-To"),
            to: mailboxes("To"),
            cc: mailboxes("Cc"),
            subject: text("Subject"),
            date: text("Date"),
            message_id: ids("Message-ID").into_iter().next(),
            automatic: automatic(&header, has_null_reverse_path),
            references,
            text: shown.as_text(),
            attachments: attachments.collect(),
            html: shown.html,
        }
    }

    /// In-Reply-To and References (RFC 5322 §3.6.4).
    fn headers(&self) -> Vec<(String, String)> {
        let Some(own) = &self.message_id else { return Vec::new() };
        let is_id = |id: &&String| !id.is_empty() && id.len() <= 500 && id.bytes().all(|b| b.is_ascii_graphic());
        let known: Vec<&String> = self.references.iter().filter(is_id).collect();
        let newest = known.iter().skip(known.len().saturating_sub(REFERENCES).max(1));
        let all = known.first().into_iter().chain(newest).copied().chain([own].into_iter().filter(is_id));
        let references: Vec<String> = all.map(|id| format!("<{id}>")).collect();
        match references.last() {
            Some(last) if is_id(&own) => {
                vec![("In-Reply-To".to_owned(), last.clone()), ("References".to_owned(), references.join(" "))]
            }
            _ => Vec::new(),
        }
    }

    /// The message below what was written, as mail programs do it.
    fn quoted(&self, kind: Kind, written: &mut Content) {
        let who = self.from.first().map_or_else(|| "somebody".to_owned(), shown);
        let list = |all: &[Mailbox]| all.iter().map(shown).collect::<Vec<_>>().join(", ");
        let (intro, quote) = match kind {
            Kind::Reply => {
                let when = if self.date.is_empty() { String::new() } else { format!("On {}, ", self.date) };
                (format!("{when}{who} wrote:"), self.text.lines().map(|line| format!("> {line}\n")).collect::<String>())
            }
            Kind::Forward => {
                let mut intro = format!("---------- Forwarded message ----------\nFrom: {who}\nDate: {}\n", self.date);
                intro.push_str(&format!("Subject: {}\nTo: {}", self.subject, list(&self.to)));
                if !self.cc.is_empty() {
                    intro.push_str(&format!("\nCc: {}", list(&self.cc)));
                }
                (intro, format!("\n{}", self.text))
            }
        };
        if written.text.is_none() && written.html.is_none() {
            written.text = Some(String::new());
            written.html = self.html.as_ref().map(|_| String::new());
        }
        if let Some(text) = &mut written.text {
            let gap = if text.is_empty() { "" } else { "\n\n" };
            *text = format!("{}{gap}{intro}\n{quote}", text.trim_end());
        }
        if let Some(html) = &mut written.html {
            let own = || format!("<div style=\"white-space: pre-wrap\">{}</div>", escaped(&self.text));
            let (intro, original) = (escaped(&intro).replace('\n', "<br>"), self.html.clone().unwrap_or_else(own));
            let (before, after) = match kind {
                Kind::Reply => (
                    "<blockquote class=\"gmail_quote\" style=\"margin:0 0 0 .8ex;border-left:1px solid #ccc;padding-left:1ex\">",
                    "</blockquote>",
                ),
                Kind::Forward => ("<br>", ""),
            };
            html.push_str(&format!("<br><div class=\"gmail_quote\"><div>{intro}</div>{before}{original}{after}</div>"));
        }
    }
}

fn shown(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.address),
        None => mailbox.address.to_string(),
    }
}

/// The subject of an answer, with its prefix once.
fn subject(original: &str, kind: Kind) -> String {
    let (prefix, known): (_, &[&str]) = if kind == Kind::Reply { ("Re", &["re:"]) } else { ("Fwd", &["fwd:", "fw:"]) };
    let lower = original.to_lowercase();
    let line: String = original.chars().filter(|c| !c.is_control()).take(500).collect();
    if known.iter().any(|known| lower.starts_with(known)) { line } else { format!("{prefix}: {line}") }
}

/// Replies to an email
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/reply", tag = "Sending", params(("id" = MessageId, Path)),
    request_body = ReplyInput, responses((status = 201, body = Sent), (status = 409), (status = 507))
)]
pub(in crate::http) async fn reply(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    answer(&caller, &context, &id, body, Kind::Reply).await
}

/// Forwards an email with its attachments
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/forward", tag = "Sending", params(("id" = MessageId, Path)),
    request_body = ForwardInput, responses((status = 201, body = Sent), (status = 507))
)]
pub(in crate::http) async fn forward(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    answer(&caller, &context, &id, body, Kind::Forward).await
}

async fn answer(
    caller: &Caller,
    context: &HttpContext,
    id: &str,
    body: JsonBody,
    kind: Kind,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let (inbox, message) = find(caller, context, id).await?;
    let limits = &context.config.limits;
    let body = body.octets(&caller.spool, limits.message_size.saturating_mul(JSON_FACTOR)).await?;
    let mut work = caller.spool.claim();
    let size = usize::try_from(message.size).unwrap_or(usize::MAX).saturating_add(body.len());
    work.wait_to_grow(size.saturating_mul(FACTOR), PATIENCE).await.map_err(no_room)?;
    let mut fields = Fields::parse(&body)?.unwrapped("email");
    let options = Options::read(&mut fields);
    let [reply_all, force] =
        ["reply_all", "force"].map(|name| kind == Kind::Reply && fields.flag(name).unwrap_or(false));
    if fields.text("inbox_id").is_some_and(|named| named != inbox.id.as_str()) {
        fields.fault("inbox_id", "must be the inbox of the email");
    }
    let (mut addressed, mut written) = (Addressed::read(&mut fields), Content::read(&mut fields));
    if kind == Kind::Reply && !written.has_body() {
        fields.fault("text_body", "is required, or html_body, or attachments");
    }
    fields.finish()?;
    let mut original = read(caller, context, &inbox, &message, size, kind).await?;
    if kind == Kind::Reply {
        address(context, &inbox, &message, &original, reply_all, &mut addressed).await?;
    }
    written.subject.get_or_insert_with(|| subject(&original.subject, kind));
    let is_set = |written: &Content, name: &str| written.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let own = original.headers().into_iter().filter(|(name, _)| !is_set(&written, name)).collect::<Vec<_>>();
    written.headers.extend(own);
    written.attachments.append(&mut original.attachments);
    original.quoted(kind, &mut written);
    let request = parts_request(addressed, written, options, limits)?;
    if kind == Kind::Reply && !force {
        check_reply(context, &inbox, original.automatic.as_ref(), &request.rcpt_to).await?;
    }
    let of = inbox.id.clone();
    let sent = submit(caller, context, inbox, request).await?;
    mark(caller, context, &of, &message.id, kind).await;
    Ok(sent)
}

/// Marks an email as answered or forwarded. The answer is sent: the mark is not worth an error.
async fn mark(caller: &Caller, context: &HttpContext, inbox: &InboxId, email: &MessageId, kind: Kind) {
    let change = match kind {
        Kind::Reply => EmailChange { set: Flags::ANSWERED, ..EmailChange::default() },
        Kind::Forward => EmailChange { add: vec![FORWARDED.to_owned()], ..EmailChange::default() },
    };
    if let Err(error) = caller.mailboxes(context).change_email(inbox, email, change).await {
        tracing::info!(listener = "http", %error, %email, "an answered email could not be marked");
    }
}

/// Marks what a draft that was sent has answered, which its header names. A draft may have been written by anybody: it can mark an email
/// of its own inbox alone.
pub(in crate::http) async fn mark_answered(caller: &Caller, context: &HttpContext, inbox: &InboxId, header: &[u8]) {
    let Some((kind, id)) = answers(header).and_then(|value| value.split_once(' ')) else { return };
    let kind = match kind {
        "reply" => Kind::Reply,
        "forward" => Kind::Forward,
        _ => return,
    };
    if let Ok(id) = id.trim().parse() {
        mark(caller, context, inbox, &id, kind).await;
    }
}

/// The recipients and the content that a draft begins with: nothing is written above what it quotes.
pub(in crate::http) async fn begun(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    message: &MessageSummary,
    kind: DraftKind,
    force: bool,
) -> Result<(Addressed, Content), Problem> {
    let answer = if kind == DraftKind::Forward { Kind::Forward } else { Kind::Reply };
    let mut work = caller.spool.claim();
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    work.wait_to_grow(size.saturating_mul(FACTOR), PATIENCE).await.map_err(no_room)?;
    let mut original = read(caller, context, inbox, message, size, answer).await?;
    let mut addressed = Addressed::default();
    if answer == Kind::Reply {
        address(context, inbox, message, &original, kind == DraftKind::ReplyAll, &mut addressed).await?;
        if !force {
            let to: Vec<Address> = addressed.to.iter().chain(&addressed.cc).map(|to| to.address.clone()).collect();
            check_reply(context, inbox, original.automatic.as_ref(), &to).await?;
        }
    }
    let mut headers = original.headers();
    headers.push((
        ANSWERS.to_owned(),
        format!("{} {}", if answer == Kind::Forward { "forward" } else { "reply" }, message.id),
    ));
    let mut written = Content {
        subject: Some(subject(&original.subject, answer)),
        headers,
        attachments: std::mem::take(&mut original.attachments),
        text: Some(String::new()),
        // A reply is written as text.
        html: original.html.as_ref().filter(|_| answer == Kind::Forward).map(|_| String::new()),
        ..Content::default()
    };
    original.quoted(answer, &mut written);
    Ok((addressed, written))
}

async fn read(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    message: &MessageSummary,
    size: usize,
    kind: Kind,
) -> Result<Original, Problem> {
    let raw = caller.store(context).message_raw(&inbox.id, &message.id).await?.ok_or_else(Problem::not_found)?;
    let (owner, content) = (Owner::Account(inbox.account.clone()), message.content);
    let has_null_reverse_path = message.mail_from.is_empty() && !message.rcpt_to.is_empty();
    let read = context.reading.read(&owner, size, move |reader, budget| {
        budget.check()?;
        let readable = reader.begin(content);
        Ok(Original::read(&raw, has_null_reverse_path, readable, kind))
    });
    Ok(read.await?)
}

/// Recipients of a reply that names none: who wrote the message, or whom the inbox wrote to; with `reply_all` the others too.
async fn address(
    context: &HttpContext,
    inbox: &Inbox,
    message: &MessageSummary,
    original: &Original,
    reply_all: bool,
    addressed: &mut Addressed,
) -> Result<(), Problem> {
    if !addressed.to.is_empty() {
        return Ok(());
    }
    let was_sent = !message.mail_from.is_empty() && message.rcpt_to.is_empty();
    let to = match (was_sent, original.reply_to.as_slice()) {
        (true, _) => &original.to,
        (false, []) => &original.from,
        (false, _) => &original.reply_to,
    };
    addressed.to = to.clone();
    if !reply_all {
        return Ok(());
    }
    let others = if was_sent { original.cc.clone() } else { [original.to.as_slice(), &original.cc].concat() };
    let limit = context.config.limits.recipients;
    for other in others.into_iter().take(limit) {
        let known = addressed.to.iter().chain(&addressed.cc).chain(&addressed.bcc);
        if known.into_iter().any(|known| known.address == other.address) {
            continue;
        }
        if !is_own(context, inbox, &other.address).await? {
            addressed.cc.push(other);
        }
    }
    Ok(())
}

async fn is_own(context: &HttpContext, inbox: &Inbox, address: &Address) -> Result<bool, Problem> {
    let route = context.store.route(&context.config.platform.domain, address, context.clock.now()).await?;
    Ok(matches!(&route, Route::Inbox(recipient) if *recipient.inbox() == inbox.id))
}

/// Refuses a reply that may be answered without end: to what a program or a list sent, or to the inbox itself.
async fn check_reply(
    context: &HttpContext,
    inbox: &Inbox,
    automatic: Option<&Automatic>,
    rcpt_to: &[Address],
) -> Result<(), Problem> {
    if let Some(why) = automatic {
        return Err(reply_refused("automatic_email", format!("The email is not to be answered by a program: {why}.")));
    }
    for address in rcpt_to {
        if is_own(context, inbox, address).await? {
            return Err(reply_refused("reply_to_self", format!("{address} is an address of the inbox that replies.")));
        }
    }
    Ok(())
}

/// 409.
fn reply_refused(code: &'static str, detail: String) -> Problem {
    let fix = "Do not reply; or send the request again with force: true, if the reply cannot be answered in turn without end.";
    Problem::new(StatusCode::CONFLICT, code, "The reply may start a mail loop", detail, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;
    use crate::message::fields::header_end;

    fn original(raw: &str, kind: Kind) -> Original {
        let raw = raw.replace('\n', "\r\n").into_bytes();
        let (header, body) = raw.split_at(header_end(&raw));
        let stored = StoredMessage { header: header.to_vec(), body: body.to_vec() };
        Original::read(&stored, false, Readable { limits: ReadLimits::default(), is_set_aside: false }, kind)
    }

    #[test]
    fn an_answer_names_what_it_answers_and_quotes_it() {
        let many: String = (0..40).map(|n| format!(" <{n}@x>")).collect();
        let raw = format!(
            "From: Ann <ann@x.org>\nDate: Tue, 24 Nov 2026 05:31:07 +0000\nSubject: Lunch\nMessage-ID: <own@x>\nReferences:{many}\nTo: us@y.org\n\none\ntwo\n"
        );
        let headers = original(&raw, Kind::Reply).headers();
        assert_eq!(headers[0], ("In-Reply-To".to_owned(), "<own@x>".to_owned()));
        assert!(headers[1].1.starts_with("<0@x> <20@x> ") && headers[1].1.ends_with(" <39@x> <own@x>"), "{headers:?}");
        assert!(original("Subject: x\n\nx\n", Kind::Reply).headers().is_empty());

        let mut written =
            Content { text: Some("Yes.\n".into()), html: Some("<p>Yes.</p>".into()), ..Content::default() };
        original(&raw, Kind::Reply).quoted(Kind::Reply, &mut written);
        let intro = "On Tue, 24 Nov 2026 05:31:07 +0000, Ann <ann@x.org> wrote:";
        assert_eq!(written.text.unwrap(), format!("Yes.\n\n{intro}\n> one\n> two\n"));
        let html = written.html.unwrap();
        assert!(
            html.starts_with("<p>Yes.</p>")
                && html.contains("Ann &lt;ann@x.org&gt; wrote:")
                && html.contains("<blockquote"),
            "{html}"
        );

        let mut empty = Content::default();
        original(&raw, Kind::Forward).quoted(Kind::Forward, &mut empty);
        let text = empty.text.unwrap();
        assert!(text.starts_with("---------- Forwarded message ----------\nFrom: Ann <ann@x.org>\n"), "{text}");
        assert!(text.ends_with("Subject: Lunch\nTo: us@y.org\n\none\r\ntwo\r\n") && empty.html.is_none(), "{text:?}");
    }

    #[test]
    fn a_subject_gets_its_prefix_once() {
        assert_eq!(subject("Lunch", Kind::Reply), "Re: Lunch");
        assert_eq!(subject("RE: Lunch", Kind::Reply), "RE: Lunch");
        assert_eq!(subject("Re: Lunch", Kind::Forward), "Fwd: Re: Lunch");
        assert_eq!(subject("FW: Lunch", Kind::Forward), "FW: Lunch");
    }
}
