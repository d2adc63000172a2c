//! Whether a message is a reply or a forward, and whose.

use super::words::phrases;

/// What the header says of a message.
#[derive(Clone, Debug)]
pub(super) struct Reply<'a> {
    /// It answers a message.
    pub is_reply: bool,
    pub is_forward: bool,
    /// The name in From.
    pub author: Option<&'a str>,
}

impl<'a> Reply<'a> {
    pub fn new(subject: &str, author: Option<&'a str>, answers: bool) -> Self {
        let prefix =
            subject.split_once([':', '：']).map(|(prefix, _)| prefix.trim().to_lowercase()).unwrap_or_default();
        // `Re[2]`, `AW(3)`
        let word = prefix.split(['[', '(']).next().unwrap_or_default();
        let is_forward = phrases("fwd").has(word);
        Self { is_reply: answers || phrases("re").has(word), is_forward, author }
    }
}
