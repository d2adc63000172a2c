//! Tokens of an address list. RFC 5322 §3.2.

/// Longer than any address literal.
const LONGEST_LITERAL: usize = 64;

pub(super) enum Token<'a> {
    /// White space and line ends.
    Blank,
    Comment(&'a [u8]),
    Word(&'a [u8]),
    /// One of `< > , ; :`.
    Sign(u8),
    /// Invalid anywhere: a control character, a stray parenthesis, an unclosed quote or comment.
    Broken,
}

/// Splits a value into tokens, folded or unfolded.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub rest: &'a [u8],
    /// A quoted string or comment is unclosed: from here on quotes and parentheses are skipped.
    is_open: bool,
}

impl<'a> Lexer<'a> {
    pub fn of(value: &'a [u8]) -> Self {
        Self { rest: value, is_open: false }
    }

    pub fn token(&mut self) -> Option<Token<'a>> {
        let (first, after) = self.rest.split_first()?;
        let (token, length) = match first {
            b' ' | b'\t' | b'\r' | b'\n' => (Token::Blank, 1),
            b'(' | b'"' if self.is_open => (Token::Broken, 1),
            b'(' => match comment_length(after) {
                Some(length) => (Token::Comment(after.get(..length - 1).unwrap_or_default()), length + 1),
                None => self.open(),
            },
            b'"' => match quoted_length(after) {
                Some(length) => (Token::Word(self.rest.get(..=length).unwrap_or_default()), length + 1),
                None => self.open(),
            },
            b'<' | b'>' | b',' | b';' | b':' => (Token::Sign(*first), 1),
            b if ends_word(*b) => (Token::Broken, 1),
            _ => {
                let length = word_length(self.rest);
                (Token::Word(self.rest.get(..length).unwrap_or_default()), length)
            }
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(token)
    }

    /// Skips the quote or parenthesis, and all later ones.
    fn open(&mut self) -> (Token<'a>, usize) {
        self.is_open = true;
        (Token::Broken, 1)
    }
}

fn ends_word(b: u8) -> bool {
    b <= b' ' || b == 0x7f || b"\"(),:;<>".contains(&b)
}

/// The length of an atom, including the colons of an address literal: `a@[IPv6:::1]`.
fn word_length(rest: &[u8]) -> usize {
    let mut length = 0;
    while rest.get(length).is_some_and(|b| !ends_word(*b)) {
        let literal = rest.get(length..).filter(|rest| rest.starts_with(b"@[")).unwrap_or_default();
        let end = literal.iter().take(LONGEST_LITERAL).position(|b| *b == b']' || (*b != b':' && ends_word(*b)));
        length += match end {
            Some(end) if literal.get(end) == Some(&b']') => end + 1,
            _ => 1,
        };
    }
    length
}

/// The length of a comment after its opening parenthesis, with the closing one.
fn comment_length(after: &[u8]) -> Option<usize> {
    let mut depth = 1_usize;
    let mut escaped = false;
    let closed = after.iter().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    closed.map(|at| at + 1)
}

/// The length of a quoted string after its opening quote, with the closing one; `None` if it contains a control
/// character.
fn quoted_length(after: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let stop = after.iter().position(|b| match b {
        b'\t' | b'\r' | b'\n' => false,
        0..=31 | 0x7f => true,
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        b => *b == b'"',
    })?;
    (after.get(stop) == Some(&b'"')).then_some(stop + 1)
}
