//! mbox files (RFC 4155), read and written: `From ` lines, the quoting of lines that look like one, and flags in header fields.
//!
//! Read are mboxrd and mboxo, in which a line of a message that begins with `From ` has a `>` before it; written is mboxrd, which alone can
//! be read back without doubt. Flags are in Status, X-Status and X-Keywords, and in X-Mozilla-Status where Thunderbird has written it;
//! these fields are the file's and not the message's.

use super::message::{LARGEST, Message, date_of};
use crate::clock::Timestamp;
use crate::message::date::date;
use crate::message::fields::{Header, ReadLimits, header_end};
use crate::message::line_ends_as_crlf;
use std::io::{self, BufRead, Read, Write};

/// Fields of the file.
const NOTES: [&str; 9] = [
    "Status",
    "X-Status",
    "X-Keywords",
    "X-UID",
    "X-IMAP",
    "X-IMAPbase",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
];
const STATUS: [(u8, &str); 1] = [(b'R', "\\Seen")];
const X_STATUS: [(u8, &str); 4] = [(b'A', "\\Answered"), (b'F', "\\Flagged"), (b'T', "\\Draft"), (b'D', "\\Deleted")];
const MOZILLA: [(u32, &str); 5] =
    [(1, "\\Seen"), (2, "\\Answered"), (4, "\\Flagged"), (8, "\\Deleted"), (0x1000, "$Forwarded")];

/// A message as it is in the file, without its `From ` line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The time of its `From ` line.
    at: Timestamp,
    /// Line ends are those of the file.
    octets: Vec<u8>,
    /// Longer than [`LARGEST`]: `octets` is its beginning.
    is_cut: bool,
}

pub(super) struct Reader<R> {
    file: R,
    line: Vec<u8>,
    /// The time of the `From ` line that was read last.
    next: Option<Timestamp>,
}

impl<R: BufRead> Reader<R> {
    /// `None` if the file is not an mbox. An empty one has no messages.
    pub(super) fn new(file: R) -> io::Result<Option<Self>> {
        let mut reader = Self { file, line: Vec::new(), next: None };
        while reader.read_line()? {
            if !is_empty(&reader.line) {
                reader.next = from_line(&reader.line);
                return Ok(reader.next.is_some().then_some(reader));
            }
        }
        Ok(Some(reader))
    }

    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
        Ok(self.file.by_ref().take(limit).read_until(b'\n', &mut self.line)? > 0)
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Stored>> {
        let Some(at) = self.next.take() else { return Ok(None) };
        let mut stored = Stored { at, octets: Vec::new(), is_cut: false };
        // The empty line before a `From ` line is not the message's, nor is the one at the end.
        let mut empty: Option<Vec<u8>> = None;
        while self.read_line()? {
            if empty.is_some() {
                self.next = from_line(&self.line);
                if self.next.is_some() {
                    return Ok(Some(stored.ended(empty)));
                }
            }
            if let Some(line) = empty.take() {
                stored.push(&line);
            }
            match is_empty(&self.line) {
                true => empty = Some(self.line.clone()),
                false => stored.push(unquoted(&self.line)),
            }
        }
        Ok(Some(stored.ended(empty)))
    }
}

impl Stored {
    fn push(&mut self, line: &[u8]) {
        if self.octets.len().saturating_add(line.len()) > LARGEST {
            self.is_cut = true;
        } else if !self.is_cut {
            self.octets.extend_from_slice(line);
        }
    }

    /// With the empty line that follows it, where that ends its header.
    fn ended(mut self, empty: Option<Vec<u8>>) -> Self {
        let is_ended = self.octets == b"\n" || self.octets.ends_with(b"\n\n") || self.octets.ends_with(b"\n\r\n");
        if let Some(line) = empty.filter(|_| !is_ended && header_end(&self.octets) == self.octets.len()) {
            self.push(&line);
        }
        self
    }

    /// `None` for the first message of some files, with the notes of a mail server.
    pub(super) fn message(self) -> Option<Result<Message, String>> {
        if self.is_cut {
            return Some(Err(format!("it is larger than {LARGEST} octets")));
        }
        // First, since a bare CR may be what ends a field.
        let octets = line_ends_as_crlf(&self.octets);
        let (block, body) = octets.split_at_checked(header_end(&octets)).unwrap_or((&octets, b""));
        let header = Header::read(block, &ReadLimits::default());
        if header.find("X-IMAP").is_some() {
            return None;
        }
        let raw = [&without_notes(block, &header), body].concat();
        // Some programs write no time of their own.
        let at = if self.at.millis() == 0 { date_of(&raw).unwrap_or(self.at) } else { self.at };
        Some(Message::new(&raw, flags(&header), at))
    }
}

/// A header block without the fields of the file.
fn without_notes(block: &[u8], header: &Header<'_>) -> Vec<u8> {
    let is_note = |name: &[u8]| NOTES.iter().any(|note| name.eq_ignore_ascii_case(note.as_bytes()));
    let fields = header.fields();
    let kept = fields.iter().filter(|field| !is_note(field.name)).flat_map(|field| field.whole);
    let fields_end = fields.iter().map(|field| field.whole.len()).sum::<usize>();
    kept.chain(block.get(fields_end..).unwrap_or_default()).copied().collect()
}

fn flags(header: &Header<'_>) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    let has = |name: &str, code: u8| header.find(name).is_some_and(|value| value.contains(&code));
    let by_code = STATUS.map(|of| ("Status", of)).into_iter().chain(X_STATUS.map(|of| ("X-Status", of)));
    flags.extend(by_code.filter(|(field, (code, _))| has(field, *code)).map(|(_, (_, flag))| flag.to_owned()));
    let mozilla = header.find("X-Mozilla-Status").map(String::from_utf8_lossy);
    if let Some(bits) = mozilla.and_then(|text| u32::from_str_radix(text.trim(), 16).ok()) {
        flags.extend(MOZILLA.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, flag)| (*flag).to_owned()));
    }
    for name in ["X-Keywords", "X-Mozilla-Keys"] {
        let text = String::from_utf8_lossy(header.find(name).unwrap_or_default()).into_owned();
        flags.extend(text.split_ascii_whitespace().map(str::to_owned));
    }
    flags
}

/// The time of a line `From sender Thu Jan  1 00:00:00 1970`.
fn from_line(line: &[u8]) -> Option<Timestamp> {
    let text = String::from_utf8_lossy(line.strip_prefix(b"From ")?);
    let (_, time) = text.trim().split_once(' ')?;
    let has_clock = time.split(' ').any(|word| word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit()));
    let found = date(time.as_bytes()).filter(|_| has_clock)?;
    Some(Timestamp::from_millis(found.seconds().saturating_mul(1000)))
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// True for `From `, and for that after any number of `>`.
fn looks_like_from(line: &[u8]) -> bool {
    let start = line.iter().take_while(|octet| **octet == b'>').count();
    line.get(start..).unwrap_or_default().starts_with(b"From ")
}

fn unquoted(line: &[u8]) -> &[u8] {
    line.strip_prefix(b">").filter(|_| looks_like_from(line)).unwrap_or(line)
}

/// Writes a message whose lines end in CRLF. Lines of the file end in LF.
pub(super) fn write(
    file: &mut impl Write,
    sender: Option<&str>,
    received_at: Timestamp,
    flags: &[&str],
    raw: &[u8],
) -> io::Result<()> {
    let sender = sender.filter(|sender| !sender.is_empty() && !sender.contains(char::is_whitespace));
    let time = received_at.to_jiff().strftime("%a %b %e %H:%M:%S %Y");
    writeln!(file, "From {} {time}", sender.unwrap_or("MAILER-DAEMON"))?;
    let (block, body) = raw.split_at_checked(header_end(raw)).unwrap_or((raw, b""));
    let header = Header::read(block, &ReadLimits::default());
    let block = without_notes(block, &header);
    let (fields, _) = block.split_at_checked(fields_end(&block)).unwrap_or((&block, b""));
    lines(file, fields)?;
    write!(file, "{}", notes(flags))?;
    file.write_all(b"\n")?;
    lines(file, body)?;
    file.write_all(b"\n")
}

/// The end of a header block without its empty line.
fn fields_end(block: &[u8]) -> usize {
    let empty = if block == b"\r\n" || block.ends_with(b"\n\r\n") { 2 } else { 0 };
    block.len().saturating_sub(empty)
}

/// The fields of the file that say these flags.
fn notes(flags: &[&str]) -> String {
    let has = |flag: &str| flags.iter().any(|name| name.eq_ignore_ascii_case(flag));
    let codes = |of: &[(u8, &str)]| -> String {
        of.iter().filter(|(_, flag)| has(flag)).map(|(code, _)| char::from(*code)).collect()
    };
    // `O`: it is not new to the mailbox.
    let mut text = format!("Status: {}O\n", codes(&STATUS));
    let status = codes(&X_STATUS);
    if !status.is_empty() {
        text.push_str(&format!("X-Status: {status}\n"));
    }
    let keywords: Vec<&str> = flags.iter().copied().filter(|flag| !flag.starts_with('\\')).collect();
    if !keywords.is_empty() {
        text.push_str(&format!("X-Keywords: {}\n", keywords.join(" ")));
    }
    text
}

/// Writes lines in CRLF as lines in LF, with `>` before those that look like a `From ` line. The last line is ended.
fn lines(file: &mut impl Write, text: &[u8]) -> io::Result<()> {
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if looks_like_from(line) {
            file.write_all(b">")?;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        file.write_all(line.strip_suffix(b"\r").unwrap_or(line))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Vec<Message> {
        let mut reader = Reader::new(text).unwrap().unwrap();
        let mut found = Vec::new();
        while let Some(stored) = reader.next().unwrap() {
            found.extend(stored.message().map(Result::unwrap));
        }
        found
    }

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn messages_begin_at_from_lines_after_empty_lines() {
        let text = "\nFrom a@x Thu Jan  1 00:01:00 1970\nSubject: 1\nStatus: RO\nX-Status: AF\n\nFrom here it is text\n\
                    >From me\n>>From you\n\nFrom there at no time\n\n\
                    From - Thu Jan  1 00:02:00 1970\nX-Mozilla-Status: 0003\nX-Mozilla-Keys: $label1 work   \nSubject: 2\n\nx\n\n\
                    From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nX-IMAP: 1 2\n\nDON'T DELETE\n\n\
                    From c Thu Jan  1 00:00:00 1970 +0000\nDate: Thu, 1 Jan 1970 00:03:00 +0000\n\n";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let found = read(text.as_bytes());
            let shown: Vec<(i64, Vec<&str>, &str)> = found
                .iter()
                .map(|m| {
                    let flags = m.flags.iter().map(String::as_str).collect();
                    (m.received_at.seconds(), flags, std::str::from_utf8(&m.raw).unwrap())
                })
                .collect();
            let first =
                "Subject: 1\r\n\r\nFrom here it is text\r\nFrom me\r\n>From you\r\n\r\nFrom there at no time\r\n";
            let wanted = vec![
                (60, vec!["\\Seen", "\\Answered", "\\Flagged"], first),
                (120, vec!["\\Seen", "\\Answered", "$label1", "work"], "Subject: 2\r\n\r\nx\r\n"),
                (180, vec![], "Date: Thu, 1 Jan 1970 00:03:00 +0000\r\n\r\n"),
            ];
            assert_eq!(shown, wanted);
        }
        assert!(Reader::new(&b"Subject: x\n\n"[..]).unwrap().is_none());
        assert_eq!(Reader::new(&b""[..]).unwrap().unwrap().next().unwrap(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            messages in prop::collection::vec(("([A-Z]{1,5}: [a-z]{0,9}\r\n){1,3}", "((>{0,3}From |x|)[a-z ]{0,9}\r\n){0,6}", 1..1_000_000_i64, 0..64_usize), 0..5)
        ) {
            let all = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "work"];
            let mut file = Vec::new();
            let mut wanted = Vec::new();
            for (header, body, at, bits) in messages {
                let raw = format!("{header}\r\n{body}").into_bytes();
                let flags: Vec<&str> = (0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| all[bit]).collect();
                write(&mut file, Some("a@x"), seconds(at), &flags, &raw).unwrap();
                wanted.push(Message::new(&raw, flags.iter().map(|f| (*f).to_owned()).collect(), seconds(at)).unwrap());
            }
            prop_assert_eq!(read(&file), wanted);
        }
    }
}
