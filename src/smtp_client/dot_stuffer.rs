//! Dot stuffing: a dot at the start of a line is doubled. Invariant: a server that follows the RFC gets the original
//! message back; no server, however lenient, sees an early end of data. RFC 5321 §4.5.2, §2.3.8 (bare CR and LF).

/// The transparency procedure, over the parts of a message.
#[derive(Debug)]
pub(super) struct DotStuffer {
    last: [u8; 2],
}

impl Default for DotStuffer {
    fn default() -> Self {
        // The first line starts like any other.
        Self { last: *b"\r\n" }
    }
}

impl DotStuffer {
    /// Encodes the next part of the message.
    pub fn push(&mut self, part: &[u8], out: &mut Vec<u8>) {
        for octet in part {
            // Also after a bare LF: the message should have none, but a lenient server would see a line end.
            if *octet == b'.' && matches!(self.last, [_, b'\n' | b'\r']) {
                out.push(b'.');
            }
            out.push(*octet);
            self.last = [self.last[1], *octet];
        }
    }

    /// The end of data, preceded by a line end if the message lacks one.
    pub fn end(&self) -> &'static [u8] {
        if self.last == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(parts: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::default(), Vec::new());
        for part in parts {
            stuffer.push(part, &mut out);
        }
        out.extend_from_slice(stuffer.end());
        out
    }

    #[test]
    fn a_leading_dot_is_stuffed_and_no_second_line_end_is_added() {
        assert_eq!(stuffed(&[b".\r\nMAIL FROM:<x>\r\n"]), b"..\r\nMAIL FROM:<x>\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r\n"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"a"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[]), b".\r\n");
    }

    proptest! {
        /// A server that follows the RFC gets the message back, however it was split.
        #[test]
        fn what_was_stuffed_reads_back(lines in proptest::collection::vec("[.a]{0,3}", 0..8), cut in 0usize..40) {
            let message: Vec<u8> = lines.iter().flat_map(|l| [l.as_bytes(), b"\r\n"].concat()).collect();
            let (one, two) = message.split_at(cut.min(message.len()));
            let wire = stuffed(&[one, two]);
            let mut read = Vec::new();
            let mut rest = &wire[..];
            loop {
                let end = rest.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
                let (line, after) = rest.split_at(end);
                rest = after;
                if line == b".\r\n" { break; }
                read.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read, message);
        }

        /// No bare CR or LF causes an early end of data at a server that accepts either as a line end.
        #[test]
        fn nothing_ends_the_data_early(message in proptest::collection::vec(proptest::sample::select(b".\r\na".to_vec()), 0..24)) {
            let wire = stuffed(&[&message]);
            for end in [&b"\r\n.\r\n"[..], b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r\r\n"] {
                let early = wire.windows(end.len()).position(|w| w == end).is_some_and(|at| at + end.len() < wire.len());
                prop_assert!(!early, "{:?} in {:?}", end, String::from_utf8_lossy(&wire));
            }
        }
    }
}
