//! CHANGEDSINCE and VANISHED. RFC 7162 §3.1.4.1, §3.2.6.

use crate::id::InboxId;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::imap::wire::values::SequenceSet;
use crate::store::uid_ranges::UidRanges;
use crate::store::{Store, StoreError};

/// Those of the messages that have changed after a mod-sequence. With VANISHED, sends which UIDs of `set` were expunged after it.
pub(super) async fn since(
    (store, inbox): (&Store, &InboxId),
    wire: &mut Wire,
    selected: &SelectedMailbox,
    (set, uids): (&SequenceSet, Vec<u32>),
    (since, vanished): (i64, bool),
) -> Result<Vec<u32>, StoreError> {
    if vanished {
        let within = selected.uid_ranges(set);
        let vanished = store.messages_vanished(inbox, selected.mailbox, within, since).await?;
        // Those that still have a sequence number are reported by VANISHED without EARLIER.
        let vanished = vanished.without(selected.uids());
        if !vanished.is_empty() {
            wire.writer().vanished(&vanished, true);
        }
    }
    let within: UidRanges = uids.iter().copied().collect();
    let (changed, _) = store.messages_changed(inbox, selected.mailbox, within, since).await?;
    Ok(changed.uids.into_iter().filter(|uid| uids.binary_search(uid).is_ok()).collect())
}
