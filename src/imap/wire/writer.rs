//! Responses to octets: the syntax of RFC 9051 §9, which is that of RFC 3501 but for UTF-8.
//!
//! Invariant: whatever a text holds, it is one string to the client; NUL, which no string can hold, is left out.

use crate::clock::Timestamp;
use std::io::Write;
use std::ops::{Range, RangeInclusive};

/// Writes to the output of a connection, or to a buffer that becomes part of it.
#[derive(Debug)]
pub struct Writer<'a> {
    output: &'a mut Vec<u8>,
    /// The client takes UTF-8 in quoted strings and in mailbox names (RFC 6855, RFC 9051).
    utf8: bool,
}

impl<'a> Writer<'a> {
    pub fn new(output: &'a mut Vec<u8>, utf8: bool) -> Self {
        Self { output, utf8 }
    }

    /// Whether the client takes UTF-8 in quoted strings.
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// Octets written so far, those from before included.
    pub fn position(&self) -> usize {
        self.output.len()
    }

    /// Writes again what was written between two positions.
    pub fn repeat(&mut self, written: Range<usize>) {
        let end = written.end.min(self.output.len());
        self.output.extend_from_within(written.start.min(end)..end);
    }

    /// Octets that are in the syntax of a response already.
    pub fn raw(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.output.extend_from_slice(octets.as_ref());
        self
    }

    /// The end of a response.
    pub fn end(&mut self) {
        self.raw("\r\n");
    }

    pub fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        let number = number.into();
        if number >= 10 {
            self.number(number / 10);
        }
        let digit = u8::try_from(number % 10).unwrap_or_default();
        self.output.push(b'0' + digit);
        self
    }

    /// A quoted string where that is possible, else a literal.
    pub fn string(&mut self, text: &[u8]) -> &mut Self {
        if memchr::memchr(0, text).is_some() {
            let text: Vec<u8> = text.iter().copied().filter(|octet| *octet != 0).collect();
            return self.string(&text);
        }
        let takes_charset = text.is_ascii() || self.utf8 && std::str::from_utf8(text).is_ok();
        if !takes_charset || memchr::memchr2(b'\r', b'\n', text).is_some() {
            return self.literal(text.len()).raw(text);
        }
        self.output.push(b'"');
        let mut rest = text;
        while let Some((before, after)) =
            memchr::memchr2(b'"', b'\\', rest).and_then(|special| rest.split_at_checked(special))
        {
            let (special, after) = after.split_at_checked(1).unwrap_or_default();
            self.raw(before).raw("\\").raw(special);
            rest = after;
        }
        self.raw(rest).raw("\"")
    }

    /// The announcement of a literal, whose octets follow.
    pub fn literal(&mut self, length: usize) -> &mut Self {
        self.raw("{").number(octets(length)).raw("}\r\n")
    }

    pub fn nstring(&mut self, text: Option<impl AsRef<[u8]>>) -> &mut Self {
        match text {
            Some(text) => self.string(text.as_ref()),
            None => self.raw("NIL"),
        }
    }

    /// An atom where that is possible, else a string. `NIL` is no atom here.
    pub fn astring(&mut self, text: &[u8]) -> &mut Self {
        let is_special = |octet: &u8| matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\');
        let is_atom = text.iter().all(|octet| octet.is_ascii_graphic() && !is_special(octet));
        if is_atom && !text.is_empty() && !text.eq_ignore_ascii_case(b"NIL") {
            self.raw(text)
        } else {
            self.string(text)
        }
    }

    /// Items with a space between them.
    pub fn joined<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) -> &mut Self {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.output.push(b' ');
            }
            write(self, item);
        }
        self
    }

    /// Atoms in parentheses: flags, attributes.
    pub fn atoms<T: AsRef<[u8]>>(&mut self, atoms: impl IntoIterator<Item = T>) -> &mut Self {
        self.raw("(").joined(atoms, |writer, atom| {
            writer.raw(atom);
        });
        self.raw(")")
    }

    /// Ascending numbers as a sequence-set, runs of them as ranges.
    pub fn set(&mut self, numbers: impl IntoIterator<Item = u32>) -> &mut Self {
        let mut numbers = numbers.into_iter().peekable();
        self.ranges(std::iter::from_fn(|| {
            let first = numbers.next()?;
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            Some(first..=last)
        }))
    }

    /// A sequence-set of these ranges.
    pub fn ranges(&mut self, ranges: impl IntoIterator<Item = RangeInclusive<u32>>) -> &mut Self {
        let mut is_first = true;
        for range in ranges {
            if !std::mem::take(&mut is_first) {
                self.raw(",");
            }
            self.number(*range.start());
            if range.end() > range.start() {
                self.raw(":").number(*range.end());
            }
        }
        self
    }

    /// A `date-time`, in UTC.
    pub fn date_time(&mut self, date: Timestamp) -> &mut Self {
        // Writing to a Vec cannot fail.
        let _ = write!(self.output, "\"{}\"", date.to_jiff().strftime("%d-%b-%Y %H:%M:%S +0000"));
        self
    }
}

fn octets(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::ResponseCodec;
    use imap_codec::decode::Decoder;
    use imap_codec::imap_types::core::{AString, IString, NString};
    use imap_codec::imap_types::fetch::MessageDataItem;
    use imap_codec::imap_types::response::{Data, Response};
    use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};
    use proptest::prelude::*;

    fn written(utf8: bool, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut output = Vec::new();
        write(&mut Writer::new(&mut output, utf8));
        output
    }

    fn shown(utf8: bool, write: impl FnOnce(&mut Writer<'_>)) -> String {
        String::from_utf8(written(utf8, write)).unwrap()
    }

    /// A string as the codec reads it.
    fn read(string: &[u8]) -> Vec<u8> {
        let response = [b"* 1 FETCH (RFC822 ", string, b")\r\n"].concat();
        let Ok(([], Response::Data(Data::Fetch { items, .. }))) = ResponseCodec::new().decode(&response) else {
            panic!("{}", String::from_utf8_lossy(&response))
        };
        match items.into_inner().remove(0) {
            MessageDataItem::Rfc822(NString(Some(text))) => text.into_inner().into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn strings_are_quoted_where_that_is_possible() {
        let string = |text: &[u8], utf8| {
            shown(utf8, |writer| {
                writer.string(text);
            })
        };
        for (text, ascii, utf8) in [
            ("", "\"\"", "\"\""),
            ("a\"b\\", "\"a\\\"b\\\\\"", "\"a\\\"b\\\\\""),
            ("a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"),
            ("a\0b", "\"ab\"", "\"ab\""),
            ("grün", "{5}\r\ngrün", "\"grün\""),
        ] {
            assert_eq!(string(text.as_bytes(), false), ascii, "{text:?}");
            assert_eq!(string(text.as_bytes(), true), utf8, "{text:?}");
        }
        let latin = written(true, |writer| {
            writer.string(b"gr\xfcn");
        });
        assert_eq!(latin, b"{4}\r\ngr\xfcn");
        assert_eq!(
            shown(false, |writer| {
                writer.nstring(None::<&[u8]>);
            }),
            "NIL"
        );
    }

    #[test]
    fn names_are_atoms_where_that_is_possible() {
        let astring = |text: &str| {
            shown(false, |writer| {
                writer.astring(text.as_bytes());
            })
        };
        for (text, expected) in
            [("INBOX", "INBOX"), ("a]b", "a]b"), ("", "\"\""), ("nil", "\"nil\""), ("a b", "\"a b\""), ("a%", "\"a%\"")]
        {
            assert_eq!(astring(text), expected);
        }
    }

    #[test]
    fn numbers_sets_and_dates() {
        let set = |numbers: &[u32]| {
            shown(false, |writer| {
                writer.set(numbers.iter().copied());
            })
        };
        assert_eq!(set(&[1, 2, 3, 5, 7, 8, u32::MAX]), "1:3,5,7:8,4294967295");
        assert_eq!(set(&[]), "");
        assert_eq!(
            shown(false, |w| {
                w.number(0_u32).raw(" ").number(u64::MAX);
            }),
            "0 18446744073709551615"
        );
        let date = Timestamp::from_millis(1_795_325_467_000);
        assert_eq!(
            shown(false, |w| {
                w.date_time(date);
            }),
            "\"22-Nov-2026 05:31:07 +0000\""
        );
    }

    proptest! {
        #[test]
        fn every_string_is_read_as_it_is(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let string = written(false, |writer| { writer.string(&text); });
            let without_nul: Vec<u8> = text.iter().copied().filter(|octet| *octet != 0).collect();
            prop_assert_eq!(read(&string), without_nul.clone());
            // As the codec writes it.
            let theirs = NString(Some(IString::try_from(without_nul).unwrap()));
            let data = Data::fetch(1, vec![MessageDataItem::Rfc822(theirs)]).unwrap();
            use imap_codec::encode::Encoder;
            let theirs = ResponseCodec::new().encode(&Response::Data(data)).dump();
            prop_assert_eq!([&b"* 1 FETCH (RFC822 "[..], &string, b")\r\n"].concat(), theirs);
        }

        #[test]
        fn every_name_is_read_as_it_is(text in "[ -~]{0,20}") {
            let name = shown(false, |writer| { writer.astring(text.as_bytes()); });
            if !name.starts_with('"') {
                prop_assert!(AString::try_from(name.as_str()).is_ok());
                prop_assert_eq!(name, text);
            } else {
                prop_assert_eq!(read(name.as_bytes()), text.into_bytes());
            }
        }

        #[test]
        fn every_set_is_read_as_it_is(numbers in proptest::collection::btree_set(1_u32..60, 1..40)) {
            let set = shown(false, |writer| { writer.set(numbers.iter().copied()); });
            let set: SequenceSet = set.parse().unwrap();
            let mut read = Vec::new();
            for sequence in set.0.as_ref() {
                match sequence {
                    Sequence::Single(SeqOrUid::Value(one)) => read.push(one.get()),
                    Sequence::Range(SeqOrUid::Value(first), SeqOrUid::Value(last)) => {
                        read.extend(first.get()..=last.get());
                    }
                    other => panic!("{other:?}"),
                }
            }
            prop_assert_eq!(read, numbers.into_iter().collect::<Vec<_>>());
        }
    }
}
