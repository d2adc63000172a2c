//! How much of unfinished messages a door keeps in memory.
//!
//! Invariant: what all connections of a door hold of messages under way is bounded, however many clients begin a large one
//! and never end it. A small message always finds room, so that a crowd of those keeps no ordinary mail out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets that every message may have without asking.
const FREE: usize = 256 * 1024;
/// Messages of the largest size that may be under way at once.
const LARGE: usize = 16;

/// What is left of a door's room.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Room {
    /// Room for messages of at most this size.
    pub(super) fn for_messages_of(size: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(size.saturating_mul(LARGE))))
    }

    /// A share of it for one message.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { room: Arc::clone(self), taken: 0 }
    }
}

/// One message's share; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    taken: usize,
}

impl Share {
    /// True when a message of this many octets may be kept.
    pub(super) fn grow(&mut self, to: usize) -> bool {
        let more = to.saturating_sub(FREE).saturating_sub(self.taken);
        let left = &self.room.0;
        let granted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more)).is_ok();
        if granted {
            self.taken += more;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_share_the_room_and_small_ones_need_none() {
        let room = Room::for_messages_of(FREE + 1000);
        let all = (FREE + 1000) * LARGE;
        let mut first = room.share();
        assert!(first.grow(FREE + 10) && first.grow(FREE + all));
        let mut second = room.share();
        assert!(second.grow(FREE) && !second.grow(FREE + 1));
        drop(first);
        assert!(second.grow(FREE + 1));
    }
}
