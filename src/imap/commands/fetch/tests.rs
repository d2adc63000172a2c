//! What is read together.

use super::*;
use crate::id::ContentId;
use crate::store::open_mailbox::MessageFlags;

fn message(header: usize, body: usize, body_size: usize) -> Fetched {
    let flags = MessageFlags { uid: 1, flags: Flags::default(), keywords: "".into() };
    let (header, body) = (vec![b'x'; header], vec![b'x'; body]);
    let internal_date = Timestamp::from_millis(0);
    Fetched {
        flags,
        modseq: 1,
        internal_date,
        saved_at: None,
        content: ContentId::new(1),
        size: 0,
        header,
        body,
        body_size,
        is_damaged: false,
    }
}

#[test]
fn small_work_is_done_together_and_what_is_large_or_not_in_memory_by_itself() {
    let messages = [(INLINE / 2, 0, 0), (INLINE / 2, 0, 0), (1, 0, 0), (1, INLINE, INLINE), (1, 0, 9), (1, 0, 0)];
    let messages: Vec<_> = messages.into_iter().map(|(header, body, size)| message(header, body, size)).collect();
    let counts = |parsed: usize, in_pieces: bool| {
        let (mut rest, mut counts) = (messages.as_slice(), Vec::new());
        while !rest.is_empty() {
            counts.push(read_together(rest, parsed, in_pieces));
            rest = &rest[counts[counts.len() - 1]..];
        }
        counts
    };
    assert_eq!(counts(0, false), [4, 1, 1]);
    assert_eq!(counts(1, false), [2, 1, 1, 1, 1]);
    assert_eq!(counts(5, false), [1, 1, 1, 1, 1, 1]);
    assert_eq!(counts(1, true), [1; 6]);
}
