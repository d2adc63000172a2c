//! Delivery reports: a text part for people, a delivery status for programs, and the header of the message, or the message.
//!
//! Invariant: a report is 7-bit with lines of at most 998 octets, but for a message that it returns, whatever the remote server's reply
//! and the message contain. RFC 3461 §6, RFC 3464 (delivery status), RFC 6522 (multipart/report), RFC 3834 §5 (Auto-Submitted),
//! RFC 2045 §6.7 (quoted-printable).

use super::headers::Fields;
use super::received::host_text;
use crate::address::{Address, DomainName};
use crate::clock::Timestamp;
use crate::envelope::{EnhancedCode, OriginalRecipient, Xtext};

/// Maximum octets shown of a reply.
const LONGEST_DIAGNOSTIC: usize = 2000;
/// Maximum octets of the returned header block.
const LONGEST_HEADER: usize = 65_536;
/// Where text is wrapped.
const LINE: usize = 76;
/// Maximum octets of a line without its CRLF (RFC 5321 §4.5.3.1.6).
const LONGEST_LINE: usize = 998;
/// A longer word is split.
const LONGEST_WORD: usize = 900;
/// Indentation of the first and the following lines: of prose, and of text under an address.
const PROSE: [&str; 2] = ["", ""];
const UNDER: [&str; 2] = ["    ", "    "];

/// What became of the recipients of a report (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Failed,
    /// Attempts go on until this time, real time.
    Delayed {
        until: Timestamp,
    },
    /// In the mailbox.
    Delivered,
    /// Accepted by a server that does not report deliveries.
    Relayed,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed { .. } => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered",
            Self::Delayed { .. } => "Your message has not been delivered yet",
            Self::Delivered => "Your message was delivered",
            Self::Relayed => "Your message was passed on",
        }
    }

    /// What became of the message, before the addresses.
    fn happened(self) -> &'static str {
        match self {
            Self::Failed => "could not be delivered to",
            Self::Delayed { .. } => "has not been delivered yet to",
            Self::Delivered => "was delivered to",
            Self::Relayed => "was accepted by the mail server of",
        }
    }
}

/// One recipient of a report.
#[derive(Debug)]
pub struct ReportedRecipient<'a> {
    pub address: &'a Address,
    /// As the sender named it (RFC 3461 §4.2).
    pub original: Option<&'a OriginalRecipient>,
    /// `Status:`; of a failure 5.x.x, or 4.4.7 if it has expired.
    pub status: EnhancedCode,
    /// `Diagnostic-Code:`
    pub diagnostic: Diagnostic<'a>,
    /// `Remote-MTA: dns; …`.
    pub remote_mta: Option<&'a str>,
    /// Real time.
    pub last_attempt: Timestamp,
}

/// What a report returns of the message.
#[derive(Clone, Copy, Debug)]
pub enum Returned<'a> {
    /// The header block, as text/rfc822-headers.
    Header(&'a [u8]),
    /// All of it, as message/rfc822.
    Message { header: &'a [u8], body: &'a [u8] },
}

impl<'a> Returned<'a> {
    fn header(self) -> &'a [u8] {
        match self {
            Self::Header(header) | Self::Message { header, .. } => header,
        }
    }
}

/// What is said of a recipient, by source (RFC 3464 §2.3.6).
#[derive(Clone, Copy, Debug)]
pub enum Diagnostic<'a> {
    /// An SMTP server's reply: of type `smtp`.
    Smtp(&'a str),
    /// Our own text: of type `X-Inboxlayer`.
    Local(&'a str),
}

/// A report.
#[derive(Debug)]
pub struct Report<'a> {
    pub action: Action,
    /// The sender of the message.
    pub to: &'a Address,
    /// Our name: From is `mailer-daemon@` the platform's domain.
    pub platform: &'a DomainName,
    /// `Reporting-MTA: dns; …`.
    pub hostname: &'a DomainName,
    /// The id of the message.
    pub queue_id: &'a str,
    /// ENVID.
    pub envelope_id: Option<&'a Xtext>,
    /// When it was accepted.
    pub arrived_at: Timestamp,
    /// At least one.
    pub recipients: &'a [ReportedRecipient<'a>],
    pub returned: Returned<'a>,
    /// Real time.
    pub now: Timestamp,
    /// Unique local part for its Message-ID.
    pub message_id: &'a str,
}

/// The whole message: multipart/report with its three parts, in CRLF lines.
pub fn report(with: &Report<'_>) -> Vec<u8> {
    let boundary = boundary(with.message_id);
    let mut out = head(with, &boundary);
    out += &format!("--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
    out += &words(with);
    out += &format!("\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n");
    out += &status(with);
    let mut out = out.into_bytes();
    match with.returned {
        Returned::Header(header) => out.extend_from_slice(returned_header(&boundary, header).as_bytes()),
        Returned::Message { header, body } => {
            let is_8bit = !header.is_ascii() || !body.is_ascii();
            let encoding = if is_8bit { "Content-Transfer-Encoding: 8bit\r\n" } else { "" };
            let head = format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n{encoding}\r\n");
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(header);
            out.extend_from_slice(body);
        }
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn returned_header(boundary: &str, header: &[u8]) -> String {
    let mut out = format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n");
    let header = original(header);
    if travels_as_is(header) {
        out += "\r\n";
        out += &String::from_utf8_lossy(header);
    } else {
        out += "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
        quoted_printable(&mut out, header);
    }
    out
}

/// The boundary. Its `=_` cannot occur in quoted-printable text; in the other parts no line begins with two hyphens.
fn boundary(message_id: &str) -> String {
    let unique: String = message_id.chars().filter(char::is_ascii_alphanumeric).take(56).collect();
    format!("=_report_{unique}")
}

fn head(with: &Report<'_>, boundary: &str) -> String {
    let mut head = format!(
        "From: Mail Delivery System <mailer-daemon@{platform}>\r\n\
         To: <{to}>\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: <{id}@{platform}>\r\n\
         Auto-Submitted: auto-replied\r\n",
        platform = with.platform,
        to = with.to,
        subject = with.action.subject(),
        date = with.now.to_rfc5322(),
        id = with.message_id,
    );
    if let Some(id) = original_message_id(with.returned.header()) {
        head += &format!("In-Reply-To: {id}\r\nReferences: {id}\r\n");
    }
    head + &format!(
        "MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\
         \tboundary=\"{boundary}\"\r\n\
         \r\n\
         This is a delivery report in MIME format.\r\n\
         \r\n"
    )
}

/// The message's id, if it can be repeated safely: it puts the report into the same thread.
fn original_message_id(header: &[u8]) -> Option<&str> {
    let field = Fields::new(header).find(|field| field.is("Message-ID"))?;
    let id = std::str::from_utf8(field.value).ok()?.trim();
    let inner = id.strip_prefix('<')?.strip_suffix('>')?;
    let safe = !inner.is_empty()
        && inner.len() <= 400
        && inner.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'('));
    safe.then_some(id)
}

/// The part for people.
fn words(with: &Report<'_>) -> String {
    let hostname = with.hostname;
    let mut out = format!("This is the mail system at host {hostname}.\r\n\r\n");
    let count = with.recipients.len();
    let whom = if count == 1 { "this address".to_owned() } else { format!("these {count} addresses") };
    let happened = with.action.happened();
    wrap(&mut out, PROSE, &format!("Your message of {} {happened} {whom}:", with.arrived_at.to_rfc5322()));
    for recipient in with.recipients {
        out += &format!("\r\n  {}\r\n", recipient.address);
        let (happened, next) = match (recipient.status, recipient.diagnostic) {
            (EnhancedCode(5, 7, 1), Diagnostic::Local(_)) => UNVERIFIED,
            (status, _) => explain(status),
        };
        match with.action {
            Action::Failed => {
                wrap(&mut out, UNDER, &format!("What happened: {happened}"));
                wrap(&mut out, UNDER, &format!("What to do: {next}"));
            }
            Action::Delayed { .. } => wrap(&mut out, UNDER, &format!("What happened: {happened}")),
            Action::Delivered | Action::Relayed => {}
        }
        let (source, text) = match (recipient.diagnostic, recipient.remote_mta) {
            (Diagnostic::Smtp(reply), Some(mta)) => (format!("The server {} said", host_text(mta)), reply),
            (Diagnostic::Smtp(reply), None) => ("The server said".to_owned(), reply),
            (Diagnostic::Local(text), Some(mta)) => (format!("At the server {}", host_text(mta)), text),
            (Diagnostic::Local(text), None) => ("Reason".to_owned(), text),
        };
        if with.action != Action::Delivered {
            wrap(&mut out, UNDER, &format!("{source}: {}", plain(text)));
        }
    }
    out += "\r\n";
    let attached = match with.returned {
        Returned::Header(_) => "The header of your message is attached",
        Returned::Message { .. } => "Your message is attached",
    };
    let next = match with.action {
        Action::Failed => format!("No further attempts will be made for {whom}. "),
        Action::Delayed { until } => format!(
            "You need not do anything: it is tried again until {}, and you get a report if that fails. ",
            until.to_rfc5322()
        ),
        Action::Delivered => String::new(),
        Action::Relayed => "That server does not report whether it has delivered a message. ".to_owned(),
    };
    wrap(&mut out, PROSE, &format!("{next}{attached}; its queue id was {}.", with.queue_id));
    out
}

/// 5.7.1 of our own: the domain's `on_unverified` is `reject` or `hold`.
const UNVERIFIED: (&str, &str) = (
    "The message was not sent: the domain of its sender is not verified.",
    "Publish the domain's records, verify it, and send the message again.",
);

/// The meaning of an enhanced status code (RFC 3463, RFC 7505, RFC 7372), and the sender's remedy.
fn explain(status: EnhancedCode) -> (&'static str, &'static str) {
    let EnhancedCode(_, subject, detail) = status;
    match (subject, detail) {
        (1, 2) => (
            "The domain of this address does not exist, or has no mail server.",
            "Check the part after the @ for typing errors.",
        ),
        (1, 10) => ("The domain of this address does not accept mail.", "Ask the recipient for another address."),
        (1, 7 | 8) => (
            "The recipient's server does not accept the address you sent from.",
            "Check the domain of your sender address, and the records it needs.",
        ),
        (1, _) => (
            "The recipient's server does not know this address.",
            "Check it for typing errors, or ask the recipient for the correct one.",
        ),
        (2, 1) => ("The mailbox exists but does not accept mail now.", "Contact the recipient in another way."),
        (2, 2) => (
            "The recipient's mailbox is full.",
            "Send the message again later, or ask the recipient to delete some mail.",
        ),
        (2 | 3, 3 | 4) => (
            "The message is larger than the recipient's server allows.",
            "Send it again with smaller attachments, or with a link to them.",
        ),
        (4, 6) => (
            "The message was caught in a mail loop.",
            "Tell the recipient's postmaster: the mail routing of that domain is misconfigured.",
        ),
        (4, 7) => (
            "All attempts have failed, and the message has expired.",
            "Send the message again later. If that fails too, the recipient's server has a problem.",
        ),
        (4, _) => (
            "The recipient's server could not be reached.",
            "Check the part after the @, and send the message again later.",
        ),
        (6, 3 | 7) => (
            "The message has 8-bit characters, which the recipient's server does not support.",
            "Send it again with a program that encodes them (quoted-printable or base64).",
        ),
        (6, _) => (
            "The recipient's server does not accept the format of the message.",
            "Send it again as plain text, without unusual attachments.",
        ),
        (7, 20..=27) => (
            "The recipient's server could not verify that the message is from your domain.",
            "Check the records of your sending domain (DKIM, SPF and DMARC).",
        ),
        (7, _) => (
            "The recipient's server refused the message by its policy.",
            "Read its reply below; if it is about spam or reputation, contact the recipient in another way, and check the \
             records of your sending domain.",
        ),
        _ => (
            "The recipient's server refused the message.",
            "Read its reply below; the postmaster of that domain can explain it.",
        ),
    }
}

/// The part for programs (RFC 3464 §2).
fn status(with: &Report<'_>) -> String {
    let mut out = format!(
        "Reporting-MTA: dns; {}\r\nX-Inboxlayer-Queue-ID: {}\r\nArrival-Date: {}\r\n",
        with.hostname,
        with.queue_id,
        with.arrived_at.to_rfc5322()
    );
    if let Some(id) = with.envelope_id {
        out += &format!("Original-Envelope-Id: {}\r\n", id.decoded());
    }
    for recipient in with.recipients {
        out += "\r\n";
        if let Some(OriginalRecipient { kind, address }) = recipient.original {
            out += &format!("Original-Recipient: {kind}; {}\r\n", address.decoded());
        }
        out += &format!(
            "Final-Recipient: rfc822; {}\r\nAction: {}\r\nStatus: {}\r\n",
            recipient.address,
            with.action.as_str(),
            recipient.status
        );
        if let Some(mta) = recipient.remote_mta {
            out += &format!("Remote-MTA: dns; {}\r\n", host_text(mta));
        }
        let (kind, text) = match recipient.diagnostic {
            Diagnostic::Smtp(reply) => ("smtp", reply),
            Diagnostic::Local(text) => ("X-Inboxlayer", text),
        };
        wrap(&mut out, ["", " "], &format!("Diagnostic-Code: {kind}; {}", plain(text)));
        out += &format!("Last-Attempt-Date: {}\r\n", recipient.last_attempt.to_rfc5322());
        if let Action::Delayed { until } = with.action {
            out += &format!("Will-Retry-Until: {}\r\n", until.to_rfc5322());
        }
    }
    out
}

/// A remote server's text as printable ASCII on one line, of at most [`LONGEST_DIAGNOSTIC`] octets.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST_DIAGNOSTIC));
    for word in text.split(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()).filter(|word| !word.is_empty()) {
        let left = LONGEST_DIAGNOSTIC.saturating_sub(shown.len());
        if left == 0 {
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.extend(word.chars().take(left).map(|c| if c.is_ascii_graphic() { c } else { '?' }));
    }
    if shown.is_empty() { "no reason was given".to_owned() } else { shown }
}

/// Writes ASCII text in lines: the first begins with `first`, the others with `next`. An oversized word is split.
fn wrap(out: &mut String, [first, next]: [&str; 2], text: &str) {
    out.push_str(first);
    let (mut column, mut empty) = (first.len(), true);
    for word in text.split(' ') {
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_checked(LONGEST_WORD).unwrap_or((rest, ""));
            if !empty && column + piece.len() >= LINE {
                out.push_str("\r\n");
                out.push_str(next);
                (column, empty) = (next.len(), true);
            }
            if !empty {
                out.push(' ');
                column += 1;
            }
            out.push_str(piece);
            (column, empty) = (column + piece.len(), false);
            rest = after;
        }
    }
    out.push_str("\r\n");
}

/// The header block without the empty line, truncated at a field.
fn original(header: &[u8]) -> &[u8] {
    let mut length = 0;
    for field in Fields::new(header) {
        if length + field.raw.len() > LONGEST_HEADER {
            break;
        }
        length += field.raw.len();
    }
    header.get(..length).unwrap_or_default()
}

/// True if the block needs no encoding: ASCII in CRLF lines of allowed length, none of which looks like a delimiter.
fn travels_as_is(header: &[u8]) -> bool {
    header.split_inclusive(|b| *b == b'\n').all(|line| {
        line.strip_suffix(b"\r\n").is_some_and(|text| {
            text.len() <= LONGEST_LINE
                && !text.starts_with(b"--")
                && text.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'))
        })
    })
}

/// Writes text in quoted-printable. A hyphen that begins a line is encoded too, so that no line looks like a delimiter.
fn quoted_printable(out: &mut String, text: &[u8]) {
    for line in text.split_inclusive(|b| *b == b'\n') {
        let ended = line.strip_suffix(b"\r\n");
        let text = ended.unwrap_or(line);
        let mut column = 0;
        for (at, b) in text.iter().enumerate() {
            let last = at + 1 == text.len();
            let as_is = match b {
                b' ' | b'\t' => !last,
                b'-' => column != 0,
                b => b.is_ascii_graphic() && *b != b'=',
            };
            if column + if as_is { 1 } else { 3 } >= LINE {
                out.push_str("=\r\n");
                column = 0;
            }
            if as_is && !(column == 0 && *b == b'-') {
                out.push(char::from(*b));
                column += 1;
            } else {
                out.push_str(&format!("={b:02X}"));
                column += 3;
            }
        }
        if ended.is_some() {
            out.push_str("\r\n");
        }
    }
}
