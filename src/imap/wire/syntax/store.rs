//! STORE: RFC 9051 §6.4.6, UNCHANGEDSINCE (RFC 7162 §3.1.3).

use super::super::parser::{Parser, Read};
use super::super::values::{Flag, SequenceSet};

/// STORE and UID STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub set: SequenceSet,
    pub unchanged_since: Option<u64>,
    pub change: Change,
    /// The client does not want the new flags.
    pub is_silent: bool,
    pub flags: Vec<Flag>,
    pub by_uid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Replace,
    Add,
    Remove,
}

/// The arguments of STORE.
pub fn store(parser: &mut Parser<'_>, by_uid: bool) -> Read<Store> {
    parser.space()?;
    let set = parser.sequence_set()?;
    parser.space()?;
    let mut unchanged_since = None;
    if parser.peek() == Some(b'(') {
        parser.list(|parser| {
            let name = parser.name("a STORE modifier")?;
            if name != "UNCHANGEDSINCE" {
                return Err(parser.unknown("STORE modifier", name.as_bytes()));
            }
            parser.space()?;
            unchanged_since = Some(parser.number64("a mod-sequence")?);
            Ok(())
        })?;
        parser.space()?;
    }
    let change = if parser.eat(b'+') {
        Change::Add
    } else if parser.eat(b'-') {
        Change::Remove
    } else {
        Change::Replace
    };
    let name = parser.name("FLAGS or FLAGS.SILENT")?;
    let is_silent = match name.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(parser.unknown("STORE item", name.as_bytes())),
    };
    parser.space()?;
    Ok(Store { set, unchanged_since, change, is_silent, flags: flags(parser)?, by_uid })
}

/// In parentheses, or with spaces between.
fn flags(parser: &mut Parser<'_>) -> Read<Vec<Flag>> {
    if parser.peek() == Some(b'(') {
        return parser.list_or_empty(|parser| parser.flag());
    }
    let mut flags = vec![parser.flag()?];
    while parser.eat(b' ') {
        flags.push(parser.flag()?);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    fn of(text: &str) -> Result<Store, String> {
        read(text, false, |parser| store(parser, false)).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_of_flags_are_read() {
        let change = |text| of(text).map(|store| (store.change, store.is_silent, store.flags.len())).unwrap();
        assert_eq!(change(" 2:4 +FLAGS (\\Deleted)"), (Change::Add, false, 1));
        assert_eq!(change(" 1 -flags.silent \\Seen $x"), (Change::Remove, true, 2));
        assert_eq!(change(" $ FLAGS ()"), (Change::Replace, false, 0));
        let text = " 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted)";
        assert_eq!(of(text).unwrap().unchanged_since, Some(320162338));
        for (text, expected) in [
            (" 1 FOO (\\Seen)", "unknown STORE item \"FOO\""),
            (" 1 +FLAGS", "expected a space after +FLAGS"),
            (" 1 + FLAGS x", "expected FLAGS or FLAGS.SILENT after +"),
            (" 1 (FOO 1) FLAGS x", "unknown STORE modifier \"FOO\""),
            (" 1 FLAGS (\\Seen", "expected a space or \")\" after \\Seen"),
            (" 1 FLAGS ", "expected a flag after FLAGS"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
    }
}
