//! LIST, LSUB, CREATE: RFC 9051 §6.3.4, §6.3.9; RFC 5258 (LIST-EXTENDED), RFC 5819 (LIST-STATUS), RFC 6154 (SPECIAL-USE,
//! CREATE-SPECIAL-USE), RFC 9590 (LIST-METADATA).

use super::super::parser::{Parser, Read, is_atom_char};
use super::super::values::Mailbox;
use super::metadata;
use super::select::{StatusItem, status_item};

/// LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub selection: Selection,
    pub reference: Mailbox,
    /// Not empty.
    pub patterns: Vec<Vec<u8>>,
    pub returned: Returned,
    /// It has options or several patterns (RFC 5258 §3).
    pub is_extended: bool,
}

/// Which mailboxes are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub subscribed: bool,
    pub remote: bool,
    /// With another option that selects only.
    pub recursive_match: bool,
    pub special_use: bool,
}

/// What is returned of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    /// Items of a STATUS response.
    pub status: Vec<StatusItem>,
    /// Names of metadata entries.
    pub metadata: Vec<Vec<u8>>,
}

/// CREATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    pub mailbox: Mailbox,
    /// Special uses, as they were sent, without the backslash.
    pub uses: Vec<String>,
}

/// The arguments of LIST.
pub fn list(parser: &mut Parser<'_>) -> Read<List> {
    parser.space()?;
    let has_selection = parser.peek() == Some(b'(');
    let mut selection = Selection::default();
    if has_selection {
        parser.list_or_empty(|parser| selection_option(parser, &mut selection))?;
        parser.space()?;
    }
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err(parser.error("RECURSIVEMATCH needs another selection option, such as SUBSCRIBED"));
    }
    let reference = parser.mailbox()?;
    parser.space()?;
    let has_many = parser.peek() == Some(b'(');
    let patterns = if has_many { parser.list(|parser| parser.pattern())? } else { vec![parser.pattern()?] };
    let mut returned = Returned::default();
    let has_return = !parser.is_at_end();
    if has_return {
        if !parser.eat_space_and_word("RETURN") {
            return Err(parser.expected("RETURN or the end of the command"));
        }
        parser.space()?;
        parser.list_or_empty(|parser| return_option(parser, &mut returned))?;
    }
    let is_extended = has_selection || has_many || has_return;
    Ok(List { selection, reference, patterns, returned, is_extended })
}

fn selection_option(parser: &mut Parser<'_>, selection: &mut Selection) -> Read<()> {
    let name = parser.name("a selection option")?;
    match name.as_str() {
        "SUBSCRIBED" => selection.subscribed = true,
        "REMOTE" => selection.remote = true,
        "RECURSIVEMATCH" => selection.recursive_match = true,
        "SPECIAL-USE" => selection.special_use = true,
        _ => return Err(parser.unknown("selection option", name.as_bytes())),
    }
    Ok(())
}

fn return_option(parser: &mut Parser<'_>, returned: &mut Returned) -> Read<()> {
    let name = parser.name("a RETURN option")?;
    match name.as_str() {
        "SUBSCRIBED" => returned.subscribed = true,
        "CHILDREN" => returned.children = true,
        "SPECIAL-USE" => returned.special_use = true,
        "STATUS" => {
            parser.space()?;
            returned.status = parser.list(status_item)?;
        }
        "METADATA" => {
            parser.space()?;
            returned.metadata = metadata::entries(parser)?;
        }
        _ => return Err(parser.unknown("RETURN option", name.as_bytes())),
    }
    Ok(())
}

/// The reference and the pattern of LSUB.
pub fn lsub(parser: &mut Parser<'_>) -> Read<(Mailbox, Vec<u8>)> {
    let reference = parser.space_and_mailbox()?;
    parser.space()?;
    Ok((reference, parser.pattern()?))
}

/// The arguments of CREATE.
pub fn create(parser: &mut Parser<'_>) -> Read<Create> {
    let mailbox = parser.space_and_mailbox()?;
    let mut uses = Vec::new();
    if !parser.is_at_end() {
        parser.space()?;
        parser.list(|parser| {
            let name = parser.name("a parameter")?;
            if name != "USE" {
                return Err(parser.unknown("parameter of CREATE", name.as_bytes()));
            }
            parser.space()?;
            uses = parser.list_or_empty(special_use)?;
            Ok(())
        })?;
    }
    Ok(Create { mailbox, uses })
}

fn special_use(parser: &mut Parser<'_>) -> Read<String> {
    if !parser.eat(b'\\') {
        return Err(parser.expected("a special use such as \\Sent"));
    }
    parser.one_or_more(is_atom_char, "a special use").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    fn of(text: &str) -> Result<List, String> {
        read(text, false, list).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_read() {
        let plain = of(" \"\" %").unwrap();
        assert_eq!((plain.patterns, plain.is_extended), (vec![b"%".to_vec()], false));
        assert_eq!(of(" \"\" \"\"").unwrap().patterns, [b""]);
        assert_eq!(of(" a/ {2}\r\n*x").unwrap().patterns, [b"*x"]);
        let extended = of(" (SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" Drafts/% \"Sent/*\")").unwrap();
        assert!(extended.is_extended && extended.selection.recursive_match && extended.patterns.len() == 3);
        let text =
            " () \"\" % RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES SIZE) METADATA (\"/shared/x\"))";
        let returned = of(text).unwrap().returned;
        assert!(returned.subscribed && returned.children && returned.special_use);
        assert_eq!((returned.status.len(), returned.metadata.len()), (2, 1));
        assert!(of(" \"\" % RETURN ()").unwrap().is_extended);
        for (text, expected) in [
            (" (FOO) \"\" %", "unknown selection option \"FOO\""),
            (" (RECURSIVEMATCH REMOTE) \"\" %", "RECURSIVEMATCH needs another selection option, such as SUBSCRIBED"),
            (" \"\" % RETURN (MYRIGHTS)", "unknown RETURN option \"MYRIGHTS\""),
            (" \"\" ()", "expected a mailbox pattern at octet 6"),
            (" \"\" % FOO", "expected RETURN or the end of the command after %"),
            (" \"\"", "expected a space at octet 4"),
        ] {
            assert_eq!(of(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(read(" \"\" *", false, lsub).unwrap().1, b"*");
    }

    #[test]
    fn special_uses_of_create_are_read() {
        let of = |text| read(text, false, create).map_err(|error| error.to_string());
        assert!(of(" x").unwrap().uses.is_empty());
        assert_eq!(of(" x (USE (\\Drafts \\Sent))").unwrap().uses, ["Drafts", "Sent"]);
        assert_eq!(of(" x (FOO (\\Sent))"), Err("unknown parameter of CREATE \"FOO\"".to_owned()));
        assert_eq!(of(" x (USE (Sent))"), Err("expected a special use such as \\Sent at octet 10".to_owned()));
    }
}
