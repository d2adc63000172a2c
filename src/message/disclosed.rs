//! Finds words of a known form, such as API tokens, wherever a message shows them to its recipients: as they are written, and in its
//! decoded fields, file names and parts, attachments included. Invariant: each part is decoded at most twice; the number of words is
//! bounded. What is inside a file's own encoding (an archive, base64 in a text) is not looked at.

use super::decode::transfer_decoded;
use super::fields::ReadLimits;
use super::mime::{Kind, Part, Tree};
use super::parameters::transfer_encoding;
use super::text::{filename, text_of};
use super::words::decoded_words;
use memchr::memmem::Finder;
use std::borrow::Cow;

/// The form of a word.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub prefix: &'static str,
    /// Octets, the prefix included.
    pub length: usize,
    /// Of a word with the prefix and the length.
    pub is_valid: fn(&str) -> bool,
}

/// At most `limit` different valid words of the forms, whose prefixes differ.
pub fn disclosed(header: &[u8], body: &[u8], limits: &ReadLimits, forms: &[Form], limit: usize) -> Vec<String> {
    let forms = forms.iter().map(|form| (*form, Finder::new(form.prefix.as_bytes()))).collect();
    let mut search = Search { forms, limit, found: Vec::new() };
    search.look_at(header);
    search.look_at(body);
    let tree = Tree::parse(header, body, limits);
    search.look_at_part(&tree, &tree.root);
    search.found
}

struct Search<'a> {
    forms: Vec<(Form, Finder<'a>)>,
    limit: usize,
    found: Vec<String>,
}

impl Search<'_> {
    fn look_at(&mut self, octets: &[u8]) {
        for (form, finder) in &self.forms {
            for start in finder.find_iter(octets) {
                if self.found.len() >= self.limit {
                    return;
                }
                let word = octets.get(start..start + form.length).and_then(|word| std::str::from_utf8(word).ok());
                let is_new = |word: &&str| (form.is_valid)(word) && !self.found.iter().any(|known| known == word);
                if let Some(word) = word.filter(is_new) {
                    self.found.push(word.to_owned());
                }
            }
        }
    }

    fn look_at_part(&mut self, tree: &Tree<'_>, part: &Part) {
        let header = tree.fields_of(part);
        for field in header.fields().iter().filter(|field| memchr::memmem::find(field.value, b"=?").is_some()) {
            self.look_at(decoded_words(field.value).as_bytes());
        }
        if let Some(name) = filename(part, &header) {
            self.look_at(name.as_bytes());
        }
        let encoding = header.find("Content-Transfer-Encoding").and_then(transfer_encoding);
        if let Cow::Owned(octets) = transfer_decoded(encoding.as_deref(), tree.body_of(part)) {
            self.look_at(&octets);
        }
        match &part.kind {
            Kind::Multipart(parts) => parts.iter().for_each(|part| self.look_at_part(tree, part)),
            Kind::Message(inner) => self.look_at_part(tree, inner),
            Kind::Leaf if part.content_type.kind == b"text" && !is_ascii_based(part) => {
                self.look_at(text_of(tree, part, &header).as_bytes());
            }
            Kind::Leaf => {}
        }
    }
}

/// True if ASCII letters are their own octets in the charset of a text.
fn is_ascii_based(part: &Part) -> bool {
    let charset = part.content_type.parameter("charset").unwrap_or_default().to_ascii_lowercase();
    let known =
        ["us-ascii", "ascii", "utf-8", "utf8", "iso-8859-", "windows-125", "koi8-", "gb", "big5", "euc-", "shift_jis"];
    charset.is_empty() || known.iter().any(|known| charset.starts_with(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::fields::header_end;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const WORD: &str = "key_Abc123Xyz9";
    const FORM: Form = Form {
        prefix: "key_",
        length: 14,
        is_valid: |word| word.strip_prefix("key_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric())),
    };
    const OTHER: Form = Form { prefix: "other_", length: 9, is_valid: |word| word.ends_with('=') };

    fn found(raw: &str) -> Vec<String> {
        let raw = raw.replace('\n', "\r\n").into_bytes();
        let (header, body) = raw.split_at(header_end(&raw));
        disclosed(header, body, &ReadLimits::default(), &[FORM, OTHER], 3)
    }

    #[test]
    fn a_word_is_found_wherever_a_recipient_can_read_it() {
        let base64 = |text: &str| STANDARD.encode(text);
        let utf16 = STANDARD.encode(WORD.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        let (wide, quoted) = (base64(&format!("a file with {WORD}\0\x01")), WORD.replace('A', "=41"));
        let part = |fields: &str, body: &str| {
            format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{fields}\n\n{body}\n--b--\n")
        };
        for raw in [
            format!("Subject: {WORD}\n\nx\n"),
            format!("Subject: =?utf-8?b?{}?= =?utf-8?b?{}?=\n\nx\n", base64(&WORD[..6]), base64(&WORD[6..])),
            format!("X-Note: my {WORD}.\n\nx\n"),
            format!("Subject: x\n\nHere it is: {WORD}ABC\n"),
            format!("Content-Transfer-Encoding: quoted-printable\n\n{quoted} and key_=\nx\n"),
            format!("Content-Transfer-Encoding: base64\n\n{}\n", base64(WORD)),
            part("Content-Type: application/zip\nContent-Transfer-Encoding: base64", &wide),
            part(&format!("Content-Type: image/png; name*=utf-8''{}.png", WORD.replace('A', "%41")), "x"),
            part("Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64", &utf16),
            part(
                "Content-Type: message/rfc822",
                &format!("Subject: =?utf-8?q?{}?=\n\ninner", quoted.replace('_', "=5F")),
            ),
            part("Content-Type: message/rfc822", &format!("Content-Transfer-Encoding: base64\n\n{}", base64(WORD))),
            part(
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64",
                &base64(&format!("Subject: x\n\n{WORD}")),
            ),
        ] {
            assert_eq!(found(&raw), [WORD], "{raw}");
        }
    }

    #[test]
    fn other_words_are_not_found_and_the_number_is_bounded() {
        for raw in
            ["Subject: key_\n\nkey_Abc key_Abc123-yz9 key_key_key_key_ KEY_Abc123Xyz9\n", "Subject: x\n\nkey_Abc123Xyz"]
        {
            assert_eq!(found(raw), Vec::<String>::new());
        }
        let many: String = (0..50).map(|n| format!("key_Abc123Xy{n:02} ")).collect();
        assert_eq!(found(&format!("Subject: x\n\n{many}{many}\n")).len(), 3);
        let both = format!("Subject: other_x/=\n\n{WORD} other_xyz {WORD}\n");
        assert_eq!(found(&both), ["other_x/=", WORD]);
    }
}
