//! The stored form of a body: its hash, compressed frames, ranges and damage.

use super::*;
use proptest::prelude::*;

fn joined(encoded: &Encoded) -> Vec<u8> {
    encoded.pieces.concat()
}

/// Reads the index, then the frames of the range.
fn read(info: &BodyInfo, stored: &[u8], range: Range<usize>) -> Result<Vec<u8>, DamagedBody> {
    let index = info.index(stored.get(info.index_range()?).unwrap_or_default())?;
    let needed = index.stored_range(range.clone());
    index.decode(range, stored.get(needed).unwrap_or_default())
}

/// Kind 0: compressible text; 1: incompressible octets; 2: text, then incompressible octets.
fn body(size: usize, kind: u8) -> Bytes {
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let octet = |at: usize| match kind {
        0 => b"All work and no play makes Jack a dull boy.\r\n"[at % 45],
        1 => noise(),
        _ if at < FRAME => b"text before what does not compress\r\n"[at % 36],
        _ => noise(),
    };
    (0..size).map(octet).collect()
}

#[test]
fn the_hash_of_a_body_is_its_blake3_hash_at_every_size() {
    let edges =
        [0, 1, 1023, 1024, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 2 * FRAME + 1, 3 * FRAME, 5 * FRAME + 7, 9 * FRAME];
    for size in edges {
        for kind in 0..3 {
            let body = body(size, kind);
            let encoded = encode(&body);
            assert_eq!(encoded.info.hash, hash_of(&body), "{size} octets of kind {kind}");
            let stored = joined(&encoded);
            assert_eq!((encoded.info.size, encoded.info.stored_size), (size, stored.len()));
            assert_eq!(read(&encoded.info, &stored, 0..size).as_deref(), Ok(body.as_ref()));
        }
    }
}

#[test]
fn text_is_compressed_and_incompressible_frames_share_the_memory_of_the_body() {
    let text = encode(&body(3 * FRAME, 0));
    assert!(text.info.stored_size < FRAME, "{}", text.info.stored_size);

    let noise = body(3 * FRAME, 1);
    let plain = encode(&noise);
    assert_eq!(plain.info.stored_size, 3 * FRAME + 3 * ENTRY + TRAILER);
    let frames = &plain.pieces[..3];
    assert!(frames.iter().zip(noise.chunks(FRAME)).all(|(piece, frame)| piece.as_ptr() == frame.as_ptr()));

    // A later frame that does not shrink is stored uncompressed.
    let mixed = encode(&body(3 * FRAME, 2));
    assert!(mixed.pieces[0].len() < FRAME / 8);
    assert_eq!((mixed.pieces[1].len(), mixed.pieces[2].len()), (FRAME, FRAME));

    assert_eq!(encode(&body(1000, 0)).info.stored_size, 1000 + TRAILER);
}

#[test]
fn a_range_needs_only_the_frames_that_it_overlaps_and_the_index() {
    let body = body(10 * FRAME, 1);
    let encoded = encode(&body);
    let stored = joined(&encoded);
    let index = encoded.info.index(&stored[encoded.info.index_range().unwrap()]).unwrap();
    assert_eq!(index.stored_range(FRAME..2 * FRAME), FRAME..2 * FRAME);
    assert_eq!(index.stored_range(FRAME - 1..FRAME + 1), 0..2 * FRAME);
    assert_eq!(index.stored_range(7 * FRAME + 5..7 * FRAME + 6), 7 * FRAME..8 * FRAME);
    assert_eq!(index.stored_range(5..5), 0..0);
    assert_eq!(index.stored_range(10 * FRAME..11 * FRAME), 0..0);
}

#[test]
fn damaged_octets_are_an_error_with_the_hash_of_the_body() {
    for (size, kind) in [(0, 0), (700, 1), (5000, 0), (3 * FRAME + 9, 0), (3 * FRAME + 9, 1)] {
        let body = body(size, kind);
        let encoded = encode(&body);
        let stored = joined(&encoded);
        // Every octet of the index, and some of the frames.
        let index = encoded.info.index_range().unwrap();
        for at in (0..index.start).step_by(997).chain(index) {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x40;
            let refused = read(&encoded.info, &damaged, 0..size).expect_err("the damage is detected");
            assert_eq!(refused.hash, encoded.info.hash, "{at}");
        }
        for cut in [0, 1, TRAILER, stored.len() / 2, stored.len() - 1] {
            let info = BodyInfo { stored_size: cut, ..encoded.info };
            if cut < stored.len() {
                assert!(read(&info, &stored[..cut], 0..size).is_err(), "cut to {cut}");
                assert!(read(&encoded.info, &stored[..cut], 0..size).is_err(), "cut to {cut}");
            }
        }
        let other = BodyInfo { hash: hash_of(b"another"), ..encoded.info };
        assert_eq!(read(&other, &stored, 0..size).unwrap_err().hash, other.hash);
    }
}

#[test]
fn damage_outside_a_range_does_not_affect_it() {
    let body = body(4 * FRAME, 1);
    let encoded = encode(&body);
    let mut stored = joined(&encoded);
    stored[10] ^= 1;
    assert!(read(&encoded.info, &stored, 0..5).is_err());
    assert_eq!(read(&encoded.info, &stored, FRAME..FRAME + 5).unwrap(), body[FRAME..FRAME + 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_of_a_generated_body_is_read_back(size in 0..6 * FRAME, kind in 0..3_u8, start in 0..7 * FRAME, length in 0..3 * FRAME) {
        let body = body(size, kind);
        let encoded = encode(&body);
        let expected = &body[start.min(size)..(start + length).min(size)];
        prop_assert_eq!(read(&encoded.info, &joined(&encoded), start..start + length).unwrap(), expected);
    }

    #[test]
    fn any_octets_are_read_back(body in proptest::collection::vec(any::<u8>(), 0..3000), start in 0..3000_usize, length in 0..3000_usize) {
        let body = Bytes::from(body);
        let encoded = encode(&body);
        prop_assert_eq!(encoded.info.hash, hash_of(&body));
        let expected = &body[start.min(body.len())..(start + length).min(body.len())];
        prop_assert_eq!(read(&encoded.info, &joined(&encoded), start..start + length).unwrap(), expected);
    }
}
