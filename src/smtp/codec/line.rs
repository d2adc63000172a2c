//! Splits input into command lines.
//!
//! Invariant: a line ends with CRLF. One that ends with a bare LF, or is over the limit of its command, is refused as a whole,
//! so that client and server agree about which reply belongs to which command.
//! RFC 5321 §2.3.8, §4.5.3.1.4 (512 octets); RFC 4954 §4 (12288 for AUTH, and what MAIL may have beside), RFC 3461
//! §4.1 to §4.4.

use bytes::BytesMut;

/// Octets of a command line, its CRLF included.
const COMMAND: usize = 512;
/// Plus the parameters SIZE (26 octets), BODY (17), AUTH (500), RET and ENVID (126).
const MAIL: usize = COMMAND + 26 + 17 + 500 + 126;
/// Plus the parameters NOTIFY and ORCPT.
const RCPT: usize = COMMAND + 536;
/// AUTH, and the lines of its exchange.
const SASL: usize = 12_288;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its CRLF.
    Text(Vec<u8>),
    /// All of it has been skipped.
    TooLong,
    BareLineFeed,
}

#[derive(Debug, Default)]
pub struct Lines {
    /// The rest of a line that is too long follows.
    skipping: bool,
}

impl Lines {
    /// Removes the next whole line from the buffer. `in_exchange`: it belongs to an AUTH exchange.
    pub fn next(&mut self, buffer: &mut BytesMut, in_exchange: bool) -> Option<Line> {
        let limit = if in_exchange { SASL } else { limit_of(buffer) };
        let Some(end) = memchr::memchr(b'\n', buffer) else {
            if self.skipping || buffer.len() >= limit {
                self.skipping = true;
                buffer.clear();
            }
            return None;
        };
        let line = buffer.split_to(end + 1);
        if std::mem::take(&mut self.skipping) || line.len() > limit {
            return Some(Line::TooLong);
        }
        Some(line.strip_suffix(b"\r\n").map_or(Line::BareLineFeed, |text| Line::Text(text.to_vec())))
    }
}

fn limit_of(line: &[u8]) -> usize {
    let begins = |verb: &[u8]| line.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb));
    if begins(b"AUTH ") {
        SASL
    } else if begins(b"MAIL ") {
        MAIL
    } else if begins(b"RCPT ") {
        RCPT
    } else {
        COMMAND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], cut: usize) -> Vec<Line> {
        let (mut lines, mut buffer, mut found) = (Lines::default(), BytesMut::new(), Vec::new());
        for piece in input.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some(line) = lines.next(&mut buffer, false) {
                found.push(line);
            }
            assert!(buffer.len() <= SASL);
        }
        found
    }

    #[test]
    fn a_refused_line_is_one_line_and_the_next_is_read() {
        let text = |t: &str| Line::Text(t.as_bytes().to_vec());
        let long = "x".repeat(511);
        let input = format!("NOOP\r\nRSET\nEHLO {long}\r\nQUIT\r\nAUTH {long}\r\nmail {long}\r\n{long}{long}\n\r\n");
        for cut in [1, 2, 7, 100, 5000] {
            assert_eq!(
                all(input.as_bytes(), cut),
                [
                    text("NOOP"),
                    Line::BareLineFeed,
                    Line::TooLong,
                    text("QUIT"),
                    text(&format!("AUTH {long}")),
                    text(&format!("mail {long}")),
                    Line::TooLong,
                    text("")
                ],
                "cut in {cut}"
            );
        }
    }

    #[test]
    fn the_limit_includes_crlf() {
        let fits = format!("{}\r\n", "x".repeat(510));
        let over = format!("{}\r\n", "x".repeat(511));
        assert_eq!(all(fits.as_bytes(), 600), [Line::Text(vec![b'x'; 510])]);
        assert_eq!(all(over.as_bytes(), 600), [Line::TooLong]);
        assert_eq!(all(over.as_bytes(), 1), [Line::TooLong]);
    }
}
