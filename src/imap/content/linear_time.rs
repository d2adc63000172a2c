//! Reading takes time in proportion to a message, whatever its shape: of a message of twice the size, at most twice as many
//! octets are looked at.

use super::envelope::{ADDRESSES, write_envelope};
use super::section::section;
use super::structure::write_structure;
use crate::imap::wire::syntax::fetch::Section;
use crate::imap::wire::writer::Writer;
use crate::message::ReadLimits;
use crate::message::fields::{Header, header_end};
use crate::message::mime::Tree;
use crate::message::octets_read::during;
use crate::message::searched::searched_texts;
use crate::message::text::content;

/// What does not grow with a message: what is over a limit of reading may be looked at more often than what is below it.
const CONSTANT: usize = 200_000;
/// How often an octet is looked at for each level of nesting: by the tree, REST, SEARCH, ENVELOPE, BODY and BODYSTRUCTURE.
const PASSES: usize = 8;

type Shape = fn(usize) -> String;

/// Messages that are hard to read, by the number of repetitions of an element.
const SHAPES: &[(&str, Shape)] = &[
    ("messages in messages", |n| "Content-Type: message/rfc822\r\n\r\n".repeat(n)),
    ("multiparts in multiparts", |n| {
        (0..n).map(|at| format!("Content-Type: multipart/mixed; boundary=b{at:05}\r\n\r\n--b{at:05}\r\n")).collect()
    }),
    ("multiparts with one delimiter", |n| "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(n)),
    ("digests", |n| "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(n)),
    ("nearly delimiters, twenty deep", |n| {
        let open = |at| format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n");
        (0..20).map(open).collect::<String>() + &"--b0x\r\n".repeat(n)
    }),
    ("parts", |n| mixed("--b\r\n\r\nx\r\n", n)),
    ("empty parts", |n| mixed("--b\r\n", n)),
    ("messages as parts", |n| mixed("--b\r\nContent-Type: message/rfc822\r\n\r\nTo: a@b\r\n\r\n", n)),
    ("attachments", |n| mixed("--b\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?a?=\"\r\n\r\nx\r\n", n)),
    ("parts with many fields", |n| format!("{}{}", mixed("--b\r\n", 50), "a: b\r\n".repeat(n))),
    ("fields", |n| "a: b\r\n".repeat(n)),
    ("fields of one name", |n| "Content-Type: text/plain\r\nTo: a@b\r\n".repeat(n)),
    ("folded fields", |n| format!("To: {}", "a@b,\r\n ".repeat(n))),
    ("groups", |n| format!("To: {}", "g:;".repeat(n))),
    ("comments", |n| format!("From: {} a@b\r\n", "(".repeat(n))),
    ("open angles", |n| format!("From: {} a@b\r\n", "<".repeat(n))),
    ("quotes", |n| format!("From: {} a@b\r\n", "\"\\".repeat(n))),
    ("encoded words", |n| format!("Subject: {}\r\n", "=?utf-8?q?a?= ".repeat(n))),
    ("open encoded words", |n| format!("Subject: {}\r\n", "=?utf-8?q?".repeat(n))),
    ("parameters", |n| format!("Content-Type: text/plain; {}\r\n", "charset*0*=b;".repeat(n))),
    ("message ids", |n| format!("References: {}\r\n", "<a@b> ".repeat(n))),
    ("lines", |n| format!("\r\n{}", "\r\n".repeat(n))),
    ("no line end", |n| "x".repeat(n)),
];

fn mixed(part: &str, n: usize) -> String {
    format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", part.repeat(n))
}

/// Octets that all who read the structure and the texts of a message look at.
fn read(message: &str, limits: &ReadLimits) -> usize {
    during(|| {
        let (header, body) = message.as_bytes().split_at(header_end(message.as_bytes()));
        let tree = Tree::parse(header, body, limits);
        let _ = (content(&tree, usize::MAX), searched_texts(&tree));
        let mut output = Vec::new();
        let mut writer = Writer::new(&mut output, false);
        write_envelope(&mut writer, &Header::read(header, limits), &mut { ADDRESSES });
        write_structure(&mut writer, &tree, false);
        write_structure(&mut writer, &tree, true);
    })
}

#[test]
fn twice_the_message_is_at_most_twice_the_work() {
    let limits = &ReadLimits::default();
    for (name, shape) in SHAPES {
        // Below the limits of reading, about them, and above.
        for n in [700, 6000, 24_000] {
            let (one, two) = (shape(n), shape(2 * n));
            let (of_one, of_two) = (read(&one, limits), read(&two, limits));
            assert!(of_one >= one.len().min(1000), "{n} {name}: {of_one} octets of {} are counted", one.len());
            assert!(
                of_two <= 2 * of_one + CONSTANT,
                "{n} {name}: {of_one} octets are looked at, of twice that {of_two}"
            );
            let bound = PASSES * (limits.nesting + 1) * two.len() + CONSTANT;
            assert!(of_two <= bound, "{n} {name}: {of_two} octets are looked at of {}", two.len());
        }
    }
}

#[test]
fn without_the_limit_of_nesting_it_would_be_more() {
    let (_, nested) = SHAPES.iter().find(|(name, _)| *name == "multiparts in multiparts").unwrap();
    let unlimited = ReadLimits { nesting: 1000, ..ReadLimits::default() };
    let [of_one, of_two] = [100, 200].map(|levels| read(&nested(levels), &unlimited));
    assert!(of_two > 2 * of_one + CONSTANT, "{of_one} octets are looked at, of twice that {of_two}");
}

#[test]
fn twice_the_names_of_fields_are_a_step_more_for_each_field() {
    let read = |names: usize, fields: usize| {
        let header = "zz: x\r\n".repeat(fields) + "\r\n";
        let names = (0..names).map(|n| format!("x{n}").into_bytes()).collect();
        let wanted = Section::Fields(None, names);
        during(|| {
            let found = section(header.as_bytes(), (b"", 0), None, &wanted, &ReadLimits::default());
            assert!(found.is_some());
        })
    };
    let (fields, constant) = (5000, 1000);
    let of_one = read(20_000, fields);
    assert!(read(40_000, fields) <= of_one + 10 * fields + constant);
    assert!(read(20_000, 2 * fields) <= 2 * of_one + constant);
}
