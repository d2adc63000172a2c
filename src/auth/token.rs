//! API tokens: `ilt_`, 32 random base-62 digits (190 bits), and a checksum of 6.
//!
//! The prefix and the checksum let secret scanners find a leaked token without asking us; the length stays under the 60
//! characters that mail clients cap passwords at. Invariant: a token is shown once, when it is made; what is stored and
//! looked up is its SHA-256, which needs no salt since 190 bits cannot be guessed.

use crate::message::disclosed::Form;
use crate::secret::Secret;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Lets secret scanners recognise a token.
pub const PREFIX: &str = "ilt_";
const RANDOM: usize = 32;
const CHECKSUM: usize = 6;
/// What a token looks like.
pub const FORM: Form =
    Form { prefix: PREFIX, length: PREFIX.len() + RANDOM + CHECKSUM, is_valid: |word| Token::parse(word).is_some() };
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Secret);

/// The system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system's source of random numbers failed")]
pub struct NoRandomness;

impl Token {
    /// A new random token.
    pub fn generate() -> Result<Self, NoRandomness> {
        let source = SystemRandom::new();
        let mut text = String::from(PREFIX);
        while text.len() < PREFIX.len() + RANDOM {
            let mut bytes = [0_u8; RANDOM];
            source.fill(&mut bytes).map_err(|_| NoRandomness)?;
            // Bytes from 248 (4 × 62) on are left out: all digits are equally likely.
            let digits = bytes.iter().filter(|b| **b < 248).filter_map(|b| digit(u32::from(*b)));
            text.extend(digits.take(PREFIX.len() + RANDOM - text.len()));
        }
        let sum = checksum(&text);
        text.push_str(&sum);
        Ok(Self(Secret::new(text)))
    }

    /// `None`: not well-formed, or a wrong checksum. Does not check whether the token exists.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == PREFIX.len() + RANDOM + CHECKSUM
            && text.strip_prefix(PREFIX).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()));
        let (body, sum) = text.split_at_checked(PREFIX.len() + RANDOM).filter(|_| well_formed)?;
        (checksum(body) == sum).then(|| Self(Secret::new(text)))
    }

    /// The text of the token.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What is stored instead of the token.
    pub fn hash(&self) -> [u8; 32] {
        hash_of(self.0.reveal())
    }
}

/// The hash for the look-up of any text, so that a refusal costs the same work whether it is a token or not.
pub fn hash_of(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

fn digit(value: u32) -> Option<char> {
    DIGITS.get(value as usize % DIGITS.len()).map(|b| char::from(*b))
}

/// The first 32 bits of the SHA-256 in six base-62 digits, the smallest first.
fn checksum(text: &str) -> String {
    let mut value = hash_of(text).iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    let mut out = String::with_capacity(CHECKSUM);
    for _ in 0..CHECKSUM {
        out.extend(digit(value % 62));
        value /= 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_changed_one_does_not() {
        let token = Token::generate().unwrap();
        let text = token.secret().reveal();
        assert!(text.len() < 60 && text.starts_with("ilt_") && text.bytes().all(|b| matches!(b, b'!'..=b'~')));
        assert_eq!(Token::parse(text), Some(token.clone()));
        assert_eq!(token.hash(), hash_of(text));
        assert_ne!(Token::generate().unwrap(), token);
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(Token::parse(&String::from_utf8(bytes).unwrap()), None, "changed at {at}");
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for bad in ["", "ilt_", "é", "ilt_ééééééééééééééééééé", &"a".repeat(42), &"ilt_".repeat(5000)]
        {
            assert_eq!(Token::parse(bad), None);
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        let token = Token::generate().unwrap();
        assert!(!format!("{token:?}").contains(token.secret().reveal()));
    }
}
