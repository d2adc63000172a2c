//! Permissions of tokens, for all protocols.
//!
//! Invariant: a token without a list has all permissions within its scope.

use std::str::FromStr;

bitflags::bitflags! {
    /// The permissions of a token, or those that a request requires.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Permissions: u16 {
        const INBOXES_READ = 1;
        const INBOXES_WRITE = 1 << 1;
        /// Reading emails, drafts, labels and threads; IMAP log-in.
        const MESSAGES_READ = 1 << 2;
        /// Labelling, moving, deleting and storing emails.
        const MESSAGES_WRITE = 1 << 3;
        /// Sending emails, and the queue; SMTP log-in.
        const MESSAGES_SEND = 1 << 4;
        const DRAFTS_WRITE = 1 << 5;
        const DOMAINS_READ = 1 << 6;
        const DOMAINS_WRITE = 1 << 7;
        const WEBHOOKS_WRITE = 1 << 8;
        /// Reading and changing tokens.
        const TOKENS_WRITE = 1 << 9;
        const WEBHOOKS_READ = 1 << 10;
    }
}

/// The names in JSON and in the store.
const WORDS: [(Permissions, &str); 11] = [
    (Permissions::INBOXES_READ, "inboxes:read"),
    (Permissions::INBOXES_WRITE, "inboxes:write"),
    (Permissions::MESSAGES_READ, "messages:read"),
    (Permissions::MESSAGES_WRITE, "messages:write"),
    (Permissions::MESSAGES_SEND, "messages:send"),
    (Permissions::DRAFTS_WRITE, "drafts:write"),
    (Permissions::DOMAINS_READ, "domains:read"),
    (Permissions::DOMAINS_WRITE, "domains:write"),
    (Permissions::WEBHOOKS_READ, "webhooks:read"),
    (Permissions::WEBHOOKS_WRITE, "webhooks:write"),
    (Permissions::TOKENS_WRITE, "tokens:write"),
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a permission; valid ones are {}", all_words())]
pub struct UnknownPermission;

fn all_words() -> String {
    WORDS.map(|(_, word)| word).join(", ")
}

impl Permissions {
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().filter(move |(one, _)| self.contains(*one)).map(|(_, word)| word)
    }
}

/// Parses the name of one permission.
impl FromStr for Permissions {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        WORDS.iter().find(|(_, word)| *word == text).map(|(one, _)| *one).ok_or(UnknownPermission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_a_name() {
        let read = |words: &str| words.split(' ').map(|word| word.parse().unwrap()).collect::<Permissions>();
        let all: Vec<_> = Permissions::all().words().collect();
        assert_eq!(all.len(), Permissions::all().bits().count_ones() as usize);
        assert_eq!(read(&all.join(" ")), Permissions::all());
        assert_eq!(read("domains:read messages:send"), Permissions::DOMAINS_READ | Permissions::MESSAGES_SEND);
        assert!("messages".parse::<Permissions>().unwrap_err().to_string().contains("messages:read, "));
    }
}
