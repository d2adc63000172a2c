//! Repairs an SPF record that cannot be parsed, term by term, by guessing its owner's intent.
//!
//! Invariant: every resulting term can be parsed; no term that can be parsed is lost; terms whose intent cannot be guessed are omitted
//! and listed. The work is bounded by [`STEPS`].

use super::record::{Kind, read_term};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Maximum terms processed, including guesses: a record of 4096 octets has at most some 2000 terms.
const STEPS: usize = 6000;
/// The mechanisms and modifiers whose misspelt names are guessed; shorter names are too similar to others.
const NAMES: [&str; 7] = ["include", "redirect", "exists", "ip4", "ip6", "all", "ptr"];

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Records that can be parsed; several if one text had several.
    pub records: Vec<String>,
    /// Terms that cannot be parsed or guessed.
    pub left_out: Vec<String>,
}

/// True for a text meant to be an SPF record that receivers ignore: its version is misspelt, or white space
/// comes before it.
pub fn is_meant(text: &str) -> bool {
    !super::is_spf(text) && after_version(text.trim_start()).is_some()
}

/// True for terms like `include=x`, which are ignored as unknown modifiers: a colon was meant.
pub fn is_misspelt(term: &str) -> bool {
    colon_meant(term).is_some()
}

/// The record as it was probably meant.
pub fn repair(record: &str) -> Repaired {
    let plain = plain(record);
    let mut repairing = Repairing::new(after_version(plain.trim_start()).unwrap_or(&plain));
    for _ in 0..STEPS {
        let Some(word) = repairing.words.pop_front() else { break };
        repairing.word(word);
    }
    let rest = repairing.words.drain(..).map(|word| word.written);
    repairing.left_out.extend(rest);
    repairing.done()
}

/// A word to be parsed.
struct Word {
    /// As written in the record.
    written: String,
    /// The current guess.
    meant: String,
}

#[derive(Default)]
struct Repairing {
    words: VecDeque<Word>,
    terms: Vec<String>,
    /// Misspelt terms are put last, since receivers have ignored them so far.
    late: Vec<String>,
    records: Vec<String>,
    left_out: Vec<String>,
}

impl Repairing {
    fn new(text: &str) -> Self {
        let word = |word: &str| Word { written: word.to_owned(), meant: word.to_owned() };
        Self { words: text.split_ascii_whitespace().map(word).collect(), ..Self::default() }
    }

    fn word(&mut self, Word { written, meant }: Word) {
        if super::is_spf(&meant) {
            return self.next_record();
        }
        // A space after the colon has separated the value.
        if meant.ends_with([':', '='])
            && let Some(whole) = self.words.front().map(|next| format!("{meant}{}", next.meant))
            && read_term(&whole).is_ok()
        {
            self.words.pop_front();
            return self.words.push_front(Word { written: whole.clone(), meant: whole });
        }
        // By the grammar, a URL would be a valid name.
        let read = if meant.contains("://") { Err((String::new(), None)) } else { read_term(&meant) };
        match read {
            Ok(Kind::Unknown) if is_misspelt(&meant) => self.late.extend(colon_meant(&meant)),
            // RFC 7208 §6 allows only one. Another one was meant to count, too, as in a separate record.
            Ok(Kind::Redirect(_)) if self.terms.iter().any(|term| is_redirect(term)) => {
                self.next_record();
                self.terms.push(meant);
            }
            Ok(_) => self.terms.push(meant),
            Err((_, guessed)) => match guessed.or_else(|| guess(&meant)) {
                Some(guessed) => {
                    for meant in guessed.split_ascii_whitespace().rev() {
                        self.words.push_front(Word { written: written.clone(), meant: meant.to_owned() });
                    }
                }
                None => self.left_out.push(written),
            },
        }
    }

    fn next_record(&mut self) {
        let terms: Vec<String> = self.terms.drain(..).chain(self.late.drain(..)).collect();
        if !terms.is_empty() {
            self.records.push(format!("v=spf1 {}", terms.join(" ")));
        }
    }

    fn done(mut self) -> Repaired {
        self.next_record();
        self.left_out.dedup();
        Repaired { records: self.records, left_out: self.left_out }
    }
}

fn is_redirect(term: &str) -> bool {
    term.get(.."redirect=".len()).is_some_and(|begins| begins.eq_ignore_ascii_case("redirect="))
}

/// Replaces typographic hyphens, tildes, quotation marks and spaces of word processors and web pages.
fn plain(text: &str) -> String {
    let character = |c: char| match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{2dc}' | '\u{223c}' | '\u{ff5e}' => Some('~'),
        '"' | '\u{201c}' | '\u{201d}' | '\u{200b}'..='\u{200d}' | '\u{feff}' => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    };
    text.chars().filter_map(character).collect()
}

/// The text after the version, also misspelt: `v=spf1`, `v=spf`, `spf1`, `v:spf1` or `v=spf2`, followed by a space, comma or
/// semicolon, or the end.
fn after_version(text: &str) -> Option<&str> {
    let eat = |text: &mut &str, word: &str| -> bool {
        let begins = text.get(..word.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(word));
        if begins {
            *text = text.get(word.len()..).unwrap_or_default().trim_start();
        }
        begins
    };
    let mut rest = text;
    let versioned = eat(&mut rest, "v") && (eat(&mut rest, "=") || eat(&mut rest, ":"));
    if !versioned {
        rest = text;
    }
    let name = rest.get(..3)?;
    let behind = rest.get(3..)?;
    let numbered = behind.strip_prefix(['1', '2']);
    let behind = numbered.unwrap_or(behind);
    let ends = behind.is_empty() || behind.starts_with([' ', '\t', ',', ';', '\u{a0}']);
    (name.eq_ignore_ascii_case("spf") && ends && (versioned || numbered.is_some())).then_some(behind)
}

/// The term with a colon instead of `=`, if that makes it a mechanism.
fn colon_meant(term: &str) -> Option<String> {
    let (name, value) = term.split_once('=')?;
    let name = name.trim_start_matches(['+', '-', '~', '?']);
    let known = ["include", "a", "mx", "ptr", "ip4", "ip6", "exists"];
    let meant = term.replacen('=', ":", 1);
    let reads = !value.is_empty() && read_term(&meant).is_ok();
    (reads && known.iter().any(|mechanism| mechanism.eq_ignore_ascii_case(name))).then_some(meant)
}

/// One step towards the intent of a term that cannot be parsed: one or several terms, separated by spaces.
fn guess(term: &str) -> Option<String> {
    if term.contains([',', ';']) {
        return Some(term.replace([',', ';'], " "));
    }
    if let Some(meant) = colon_meant(term) {
        return Some(meant);
    }
    let bare = term.trim_start_matches(['+', '-', '~', '?']);
    let sign = term.strip_suffix(bare).unwrap_or_default();
    // An `all` without a qualifier authorises everybody, which is never assumed to be intended.
    let is_all = |name: &str| name.eq_ignore_ascii_case("all") && sign.is_empty();
    let end = bare.find([':', '=', '/']).unwrap_or(bare.len());
    let (name, argument) = bare.split_at_checked(end)?;
    let value = argument.strip_prefix(':').or_else(|| argument.strip_prefix('='));
    let meant = value.and_then(|value| value_meant(&name.to_ascii_lowercase(), value));
    let trimmed = bare.trim_start_matches(['(', '\'', '<']).trim_end_matches(['.', '/', ':', '=', ')', '\'', '>']);
    if trimmed.len() < bare.len() && !trimmed.is_empty() && !is_all(trimmed) && !term.contains("://") {
        return Some(format!("{sign}{trimmed}"));
    }
    if let Some(meant) = meant {
        return Some(format!("{sign}{meant}"));
    }
    let near = |known: &&&str| strsim::osa_distance(&name.to_ascii_lowercase(), known) <= known.len() / 3;
    let meant = NAMES.iter().find(near).filter(|known| **known != name && !is_all(known))?;
    Some(format!("{sign}{meant}{argument}"))
}

/// A mechanism or modifier with the intended value.
fn value_meant(name: &str, value: &str) -> Option<String> {
    if name == "redirect" || name == "exp" {
        // These need `=`.
        let host = host_of(value).unwrap_or(value);
        return Some(format!("{name}={host}")).filter(|meant| read_term(meant).is_ok());
    }
    if let Some(host) = host_of(value) {
        return Some(format!("{name}:{host}"));
    }
    let address = value.trim_matches(['[', ']']);
    let (host, length) = address.split_once('/').unwrap_or((address, ""));
    if host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        let kind = if host.contains(':') { "ip6" } else { "ip4" };
        let mask = length.parse::<Ipv4Addr>().ok().and_then(prefix_of);
        let length = mask.or_else(|| length.parse::<u8>().ok()).map(|length| format!("/{length}")).unwrap_or_default();
        return Some(format!("{kind}:{host}{length}")).filter(|meant| *meant != format!("{name}:{value}"));
    }
    if !name.starts_with("ip") {
        return None;
    }
    if let Some((host, port)) = address.split_once(':')
        && host.parse::<Ipv4Addr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        return Some(format!("ip4:{host}"));
    }
    if let Some(network) = wildcard_network(address) {
        return Some(network);
    }
    Some(format!("a:{address}")).filter(|meant| address.contains(char::is_alphabetic) && read_term(meant).is_ok())
}

/// The host of a URL or of an e-mail address.
fn host_of(value: &str) -> Option<&str> {
    let (_, behind) = value.split_once("://").or_else(|| value.split_once('@'))?;
    behind.split(['/', ':']).next().filter(|host| !host.is_empty())
}

/// The prefix length of a netmask.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    u8::try_from(bits.leading_ones()).ok().filter(|_| bits.leading_ones() + bits.trailing_zeros() == 32)
}

/// `192.0.2.*`
fn wildcard_network(address: &str) -> Option<String> {
    let numbers = address.trim_end_matches(".*");
    let stars = (address.len() - numbers.len()) / 2;
    let known = numbers.split('.').count();
    if stars == 0 || stars + known != 4 {
        return None;
    }
    Some(format!("ip4:{numbers}{}/{}", ".0".repeat(stars), 8 * known)).filter(|meant| read_term(meant).is_ok())
}
