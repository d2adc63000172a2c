//! Limits of one transaction: it takes some ten milliseconds, so that others can write between two of them.

/// Messages changed in one transaction.
pub const BATCH: usize = 500;
/// A transaction ends with the removed message that reaches this size in total.
const BATCH_OCTETS: i64 = 32 * 1024 * 1024;

/// The number of messages, of these sizes in this order, to remove in one transaction; 0 only if there are none.
pub fn fitting(sizes: impl Iterator<Item = i64>) -> usize {
    let (mut count, mut octets) = (0, 0_i64);
    for size in sizes.take(BATCH) {
        count += 1;
        octets = octets.saturating_add(size);
        if octets >= BATCH_OCTETS {
            break;
        }
    }
    count
}
