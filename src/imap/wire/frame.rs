//! One command as it comes: its lines and literals, apart from what they mean.
//!
//! Invariant: octets of a literal are never taken for a line; no more than the limit is kept, and the end of the command
//! is found all the same. RFC 3501 §2.2.1, §4.3; RFC 7888 (`{n+}`), RFC 3516 §4.1 (`~{n}`).

use memchr::memchr;

/// What of a command over its limit is kept, to find the literal announced at the end of a line.
const TAIL: usize = 64;
/// The longest tag that is kept of a command over its limit.
const TAG: usize = 256;

/// The tag of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(Box<str>);

impl Tag {
    /// The octets before the first space or end of line, where they are a tag.
    fn read(octets: &[u8]) -> Option<Self> {
        let end = octets.iter().position(|octet| matches!(octet, b' ' | b'\r' | b'\n'))?;
        let tag = octets.get(..end).filter(|tag| !tag.is_empty() && tag.iter().all(|octet| is_tag_char(*octet)))?;
        std::str::from_utf8(tag).ok().map(|tag| Self(tag.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_tag_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

/// A literal of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Where its announcement begins, the `~` of `~{n}` included.
    pub at: usize,
    /// Where its octets begin.
    pub start: usize,
    /// Where they end; `start` if they were spooled.
    pub end: usize,
    /// `~{n}`: it may hold NUL.
    pub is_binary: bool,
    /// Its index among the spooled messages, if it is one.
    pub message: Option<usize>,
}

/// The announcement of a literal at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Octets.
    pub length: usize,
    /// The client waits for a continuation request.
    pub is_sync: bool,
    /// It is the content of a message, which can be spooled: see [`is_message`].
    pub is_message: bool,
    at: usize,
    is_binary: bool,
}

/// What the octets taken so far lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More octets are needed.
    More,
    /// A literal follows: [`Frame::keep`] it, [`Frame::spool`] it or [`Frame::skip`] it.
    Announced(Announcement),
    /// A literal follows whose length cannot be read: where the next command begins cannot be known.
    UnreadableLiteral,
    /// The command is complete.
    Complete,
}

/// A command as far as it has come.
#[derive(Debug)]
pub struct Frame {
    /// All its octets but those of messages that were spooled; its last [`TAIL`] octets once it is over the limit.
    octets: Vec<u8>,
    literals: Vec<Literal>,
    limit: usize,
    /// The tag of a command over the limit.
    tag: Option<Tag>,
    /// Octets so far, kept or not.
    taken: usize,
    /// Octets of a kept literal that are still to come.
    literal_left: usize,
    /// Where in `octets` the line begins that is at hand, or the rest of it behind a literal.
    line_at: usize,
    is_over: bool,
    has_bare_line_feed: bool,
    messages: usize,
}

impl Frame {
    /// Nothing yet. Of a command of more than `limit` octets, only the tag is kept.
    pub fn new(limit: usize) -> Self {
        Self {
            octets: Vec::new(),
            literals: Vec::new(),
            limit,
            tag: None,
            taken: 0,
            literal_left: 0,
            line_at: 0,
            is_over: false,
            has_bare_line_feed: false,
            messages: 0,
        }
    }

    /// The frame of one whole command, with the messages in its literals left out; `None` if it is not one.
    #[cfg(any(test, fuzzing))]
    pub fn of(command: &[u8]) -> Option<Self> {
        let mut frame = Self::new(1 << 20);
        let mut rest = command;
        loop {
            let (count, step) = frame.take(rest);
            rest = rest.get(count..)?;
            match step {
                Step::More if rest.is_empty() => return None,
                Step::More => {}
                Step::Announced(literal) if literal.is_message => {
                    frame.spool(literal);
                    rest = rest.get(literal.length..)?;
                }
                Step::Announced(literal) => frame.keep(literal),
                Step::UnreadableLiteral => return None,
                Step::Complete => return rest.is_empty().then_some(frame),
            }
        }
    }

    /// Takes octets, no further than the end of the line or literal; how many, and what follows.
    pub fn take(&mut self, input: &[u8]) -> (usize, Step) {
        if self.literal_left > 0 {
            let count = self.literal_left.min(input.len());
            self.literal_left = self.literal_left.saturating_sub(count);
            self.taken = self.taken.saturating_add(count);
            self.push(input.get(..count).unwrap_or_default());
            if self.literal_left == 0 {
                self.line_at = self.octets.len();
            }
            return (count, Step::More);
        }
        let (count, is_end) = memchr(b'\n', input).map_or((input.len(), false), |at| (at.saturating_add(1), true));
        self.taken = self.taken.saturating_add(count);
        self.push(input.get(..count).unwrap_or_default());
        (count, if is_end { self.line_ended() } else { Step::More })
    }

    /// How many octets of a kept literal are still to come.
    pub fn literal_left(&self) -> usize {
        self.literal_left
    }

    fn push(&mut self, octets: &[u8]) {
        if !self.is_over && self.octets.len().saturating_add(octets.len()) > self.limit {
            let start: Vec<u8> = self.octets.iter().chain(octets).take(TAG).copied().collect();
            self.tag = Tag::read(&start);
            self.is_over = true;
            self.literals = Vec::new();
        }
        if !self.is_over {
            return self.octets.extend_from_slice(octets);
        }
        let before = self.octets.len();
        let end = octets.get(octets.len().saturating_sub(TAIL)..).unwrap_or_default();
        self.octets.extend_from_slice(end);
        let removed = self.octets.len().saturating_sub(TAIL);
        self.octets.drain(..removed);
        self.line_at = self.line_at.saturating_sub(removed);
        if before > TAIL {
            self.octets.shrink_to_fit();
        }
    }

    fn line_ended(&mut self) -> Step {
        let line = self.octets.get(self.line_at..).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (line, is_crlf) = line.strip_suffix(b"\r").map_or((line, false), |line| (line, true));
        self.has_bare_line_feed |= !is_crlf;
        let Some(line) = line.strip_suffix(b"}") else { return Step::Complete };
        let (line, is_sync) = line.strip_suffix(b"+").map_or((line, true), |line| (line, false));
        let digits = line.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
        let (line, digits) = line.split_at(line.len().saturating_sub(digits));
        let Some(line) = line.strip_suffix(b"{") else { return Step::Complete };
        let (line, is_binary) = line.strip_suffix(b"~").map_or((line, false), |line| (line, true));
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok());
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return Step::UnreadableLiteral;
        };
        let at = self.line_at.saturating_add(line.len());
        let is_message = !self.is_over && is_message(self.octets.get(..at).unwrap_or_default());
        Step::Announced(Announcement { length, is_sync, is_message, at, is_binary })
    }

    /// The literal's octets follow and are kept.
    pub fn keep(&mut self, literal: Announcement) {
        let start = self.octets.len();
        self.literal_left = literal.length;
        self.line_at = start;
        let end = start.saturating_add(literal.length);
        if !self.is_over && end <= self.limit {
            self.literals.push(Literal { at: literal.at, start, end, is_binary: literal.is_binary, message: None });
        }
    }

    /// The literal's octets are spooled: they are not passed to [`Frame::take`].
    pub fn spool(&mut self, literal: Announcement) {
        let start = self.octets.len();
        self.line_at = start;
        let message = Some(self.messages);
        self.messages = self.messages.saturating_add(1);
        self.literals.push(Literal { at: literal.at, start, end: start, is_binary: literal.is_binary, message });
    }

    /// All octets of the command but those of spooled messages; its last few if it is over the limit.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// In the order of their positions.
    pub fn literals(&self) -> &[Literal] {
        &self.literals
    }

    /// Memory that is in use, in octets.
    pub fn memory(&self) -> usize {
        let literals = self.literals.capacity().saturating_mul(size_of::<Literal>());
        self.octets.capacity().saturating_add(literals)
    }

    /// Octets that may still be kept.
    pub fn left(&self) -> usize {
        if self.is_over { 0 } else { self.limit.saturating_sub(self.octets.len()) }
    }

    /// Octets so far, kept or not, without those of spooled messages.
    pub fn taken(&self) -> usize {
        self.taken
    }

    pub fn tag(&self) -> Option<Tag> {
        if self.is_over { self.tag.clone() } else { Tag::read(&self.octets) }
    }

    /// Whether it is longer than the limit, so that it was not kept.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether one of its lines ends in a bare LF.
    pub fn has_bare_line_feed(&self) -> bool {
        self.has_bare_line_feed
    }
}

/// Whether the literal that follows these octets of a command is the content of a message: in APPEND and REPLACE, each that is
/// neither the mailbox's name nor a URL of CATENATE (RFC 4469).
fn is_message(command: &[u8]) -> bool {
    let Some(arguments) = from_mailbox(command) else { return false };
    let last = arguments.len().checked_sub(5).and_then(|at| arguments.get(at..));
    let is_url = matches!(last, Some([b' ' | b'(', word @ .., b' ']) if word.eq_ignore_ascii_case(b"URL"));
    !arguments.is_empty() && !is_url
}

/// The arguments of an APPEND or REPLACE from the mailbox's name on.
fn from_mailbox(command: &[u8]) -> Option<&[u8]> {
    let after_word = |octets| {
        let at = memchr(b' ', octets)?;
        Some((octets.get(..at)?, octets.get(at.checked_add(1)?..)?))
    };
    let is = |word: &[u8], name: &[u8]| word.eq_ignore_ascii_case(name);
    let (_tag, rest) = after_word(command)?;
    match after_word(rest)? {
        (name, rest) if is(name, b"APPEND") => Some(rest),
        (name, rest) if is(name, b"REPLACE") => Some(after_word(rest)?.1),
        (name, rest) if is(name, b"UID") => match after_word(rest)? {
            (name, rest) if is(name, b"REPLACE") => Some(after_word(rest)?.1),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The frame of a whole command, cut into reads of `size` octets; messages are skipped.
    fn framed(command: &[u8], size: usize, limit: usize) -> (Frame, Vec<Announcement>) {
        let mut frame = Frame::new(limit);
        let (mut rest, mut announced) = (command, Vec::new());
        while !rest.is_empty() {
            let (count, step) = frame.take(&rest[..rest.len().min(size)]);
            rest = &rest[count..];
            match step {
                Step::More => {}
                Step::Announced(literal) => {
                    announced.push(literal);
                    if literal.is_message {
                        frame.spool(literal);
                        rest = &rest[literal.length..];
                    } else {
                        frame.keep(literal);
                    }
                }
                Step::UnreadableLiteral => panic!(),
                Step::Complete => assert!(rest.is_empty()),
            }
        }
        (frame, announced)
    }

    #[test]
    fn lines_and_literals_are_told_apart_however_they_are_cut() {
        let command = b"a LOGIN {3}\r\nx\ny {2+}\r\n\r\n\r\n";
        for size in [1, 2, 3, 100] {
            let (frame, announced) = framed(command, size, 100);
            assert_eq!(frame.octets(), command);
            let texts: Vec<_> = frame.literals().iter().map(|l| &frame.octets()[l.start..l.end]).collect();
            assert_eq!(texts, [&b"x\ny"[..], b"\r\n"]);
            assert_eq!(announced.iter().map(|one| one.is_sync).collect::<Vec<_>>(), [true, false]);
            assert!(!frame.is_over() && !frame.has_bare_line_feed());
            assert_eq!(frame.tag().unwrap().as_str(), "a");
        }
        // What a literal ends with announces none.
        assert_eq!(framed(b"a LOGIN {3}\r\n{5}\r\n", 2, 100).1.len(), 1);
        assert!(framed(b"a NOOP\n", 9, 100).0.has_bare_line_feed());
        for none in [&b"a {1x}\r\n"[..], b"a {-1}\r\n", b"a 1}\r\n", b"a \"{1}\"\r\n"] {
            assert!(framed(none, 9, 100).1.is_empty());
        }
        let (_, step) = Frame::new(100).take(b"a LOGIN {99999999999}\r\n");
        assert_eq!(step, Step::UnreadableLiteral);
    }

    #[test]
    fn of_a_command_over_the_limit_the_tag_and_the_announcements_are_known() {
        let command =
            [b"tag LOGIN ", &[b'x'; 5000][..], b" {300+}\r\n", &[b'\n'; 297], b"{7} {5}\r\nab{1}\r\n"].concat();
        for size in [1, 7, 5010, 10_000] {
            let (frame, announced) = framed(&command, size, 1000);
            assert_eq!(announced.iter().map(|one| one.length).collect::<Vec<_>>(), [300, 5]);
            assert!(frame.is_over() && frame.octets().len() <= 2 * TAIL && frame.literals().is_empty());
            assert_eq!(frame.tag().unwrap().as_str(), "tag", "{size}");
            assert_eq!(frame.taken(), command.len());
        }
    }

    #[test]
    fn messages_are_told_from_other_literals() {
        for (command, expected) in [
            ("a APPEND INBOX {1}\r\n", true),
            ("a append INBOX (\\Seen) ~{1}\r\n", true),
            ("a APPEND \"a b\" (\\Seen) \"01-Jan-2020 00:00:00 +0000\" {1}\r\n", true),
            ("a APPEND {1}\r\n", false),
            ("a APPEND URL {1}\r\n", true),
            ("a APPEND INBOX UTF8 (~{1}\r\n", true),
            ("a APPEND INBOX CATENATE (TEXT {1}\r\n", true),
            ("a APPEND INBOX CATENATE (URL {1}\r\n", false),
            ("a APPEND INBOX CATENATE (TEXT \"x\" URL {1}\r\n", false),
            ("a REPLACE 1 INBOX {1}\r\n", true),
            ("a REPLACE 1 {1}\r\n", false),
            ("a UID REPLACE 1 {1}\r\n", false),
            ("a UID REPLACE 1 INBOX {1}\r\n", true),
            ("a UID APPEND INBOX {1}\r\n", false),
            ("a LOGIN {1}\r\n", false),
            ("{1}\r\n", false),
        ] {
            let Step::Announced(literal) = Frame::new(1000).take(command.as_bytes()).1 else { panic!("{command}") };
            assert_eq!(literal.is_message, expected, "{command}");
        }
        let (frame, _) = framed(b"a APPEND {5}\r\nINBOX {3}\r\nabc {3}\r\ndef\r\n", 100, 100);
        let messages: Vec<_> = frame.literals().iter().map(|literal| literal.message).collect();
        assert_eq!(messages, [None, Some(0), Some(1)]);
        assert_eq!(frame.octets(), b"a APPEND {5}\r\nINBOX {3}\r\n {3}\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_kept(pieces in proptest::collection::vec("[a-z]{0,40}|\\{[0-9]{1,2}\\+?\\}\r\n|\n|[a-c]{90}", 1..20)) {
            let mut frame = Frame::new(100);
            for piece in pieces {
                let mut rest = piece.as_bytes();
                while !rest.is_empty() {
                    let (count, step) = frame.take(rest);
                    prop_assert!(count > 0 && frame.octets().len() <= 100);
                    rest = &rest[count..];
                    match step {
                        Step::Announced(literal) => frame.keep(literal),
                        Step::Complete => frame = Frame::new(100),
                        Step::More | Step::UnreadableLiteral => {}
                    }
                }
            }
        }
    }
}
