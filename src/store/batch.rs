//! How much one transaction changes: some ten milliseconds' worth, so that others write between two of them.

/// Messages changed in one transaction.
pub const BATCH: usize = 500;
/// Octets of messages removed in one transaction, but for a message that alone has more.
const OCTETS: i64 = 32 * 1024 * 1024;

/// How many messages of these sizes, in this order, are removed in one transaction: at least one, where there is any.
pub fn fitting(sizes: impl Iterator<Item = i64>) -> usize {
    let (mut count, mut octets) = (0, 0_i64);
    for size in sizes.take(BATCH) {
        count += 1;
        octets = octets.saturating_add(size);
        if octets >= OCTETS {
            break;
        }
    }
    count
}
