//! Damage to the stored form of a body.

use super::format::{BodyInfo, FRAME, encode, hash_of};
use bytes::Bytes;

/// The input is a body with damage to come: two octets for its size and kind, then where the damage goes and what it is. What
/// is read is the body, or an error; and any octets at all are read as a stored form without a panic.
pub fn damaged(input: &[u8]) {
    let (head, damage) = input.split_at(input.len().min(8));
    let number = |at: usize| head.get(at).copied().map_or(0, usize::from);
    let size = (number(0) * 1031 + number(1) * 3) % (2 * FRAME + 5);
    let body: Bytes = match number(2) % 3 {
        0 => (0..size).map(|at| b"the same text again and again\r\n"[at % 31]).collect(),
        1 => (0..size).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect(),
        _ => damage.iter().copied().cycle().take(if damage.is_empty() { 0 } else { size }).collect(),
    };
    let encoded = encode(&body);
    let whole: Vec<u8> = encoded.pieces.concat();
    let mut stored = whole.clone();
    for change in damage.chunks(4) {
        let at = change.iter().take(3).fold(0, |at, octet| at * 256 + usize::from(*octet));
        let last = stored.len().saturating_sub(1);
        match change.last() {
            Some(octet) if octet % 8 == 7 => stored.truncate(at % (last + 2)),
            Some(octet) => {
                if let Some(place) = stored.get_mut(at % (last + 1)) {
                    *place ^= octet;
                }
            }
            None => {}
        }
    }
    let start = number(3) * size / 256;
    let range = start..start + number(4) * 997;
    let size = body.len();
    let expected = &body[range.start.min(size)..range.end.min(size)];
    let claims = [encoded.info, BodyInfo { stored_size: stored.len(), ..encoded.info }];
    for info in claims {
        if let Some(read) = read(&info, &stored, range.clone()) {
            assert_eq!(read, expected);
        }
    }
    assert_eq!(read(&encoded.info, &whole, range).unwrap(), expected);

    // Octets that nobody encoded, under a size that somebody claims.
    let claimed = BodyInfo { size: number(5) * 4096 + number(6), stored_size: input.len(), ..encoded.info };
    if let Some(read) = read(&claimed, input, 0..claimed.size) {
        assert_eq!(hash_of(&read), claimed.hash);
    }
}

fn read(info: &BodyInfo, stored: &[u8], range: std::ops::Range<usize>) -> Option<Vec<u8>> {
    let index = info.index(stored.get(info.index_range().ok()?)?).ok()?;
    let needed = index.stored_range(range.clone());
    index.decode(range, stored.get(needed)?).ok()
}
