//! The stored form of a body.
//!
//! A body is split into frames of [`FRAME`] octets; the last one may be shorter. Each is compressed separately (zstd), so that a
//! range is read from the frames that it overlaps. An index and a trailer follow the frames:
//!
//! ```text
//! stored  = frame* index trailer
//! index   = (stored length of the frame: 4 octets, its chaining value: 32 octets)*    empty if there is one frame
//! trailer = length of the body: 8 octets, "ILB1"                                      numbers are little-endian
//! ```
//!
//! A frame whose stored length equals its length is not compressed. Unless compression saves an eighth of the first frame, no
//! frame is compressed: an attachment that is already compressed costs one attempt.
//!
//! Frames are subtrees of BLAKE3's hash tree: their chaining values merge into the hash of the body. So the index is verified
//! against the body's hash, and a frame against the index; a range is verified as strictly as the whole body, without further
//! checksums.

use crate::id::BodyHash;
use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::Bytes;
use std::cell::RefCell;
use std::ops::Range;
use zstd::bulk::{Compressor, Decompressor};

/// Octets of a frame before compression. A power of two of at least 1024, so that a frame is a BLAKE3 subtree.
pub(crate) const FRAME: usize = 128 * 1024;
/// A shorter body is not compressed: that would not save a database page.
const MIN_COMPRESSED: usize = 4096;
/// The fastest level: on text it compresses about a tenth worse than the default level, at twice its speed.
const LEVEL: i32 = 1;
const ENTRY: usize = 4 + 32;
const TRAILER: usize = 8 + MAGIC.len();
const MAGIC: &[u8] = b"ILB1";

/// The stored octets of a body do not match its hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body {hash} is damaged: {fault}")]
pub struct DamagedBody {
    pub hash: BodyHash,
    pub fault: &'static str,
}

/// The metadata of a stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyInfo {
    pub hash: BodyHash,
    /// Octets of the body.
    pub size: usize,
    /// Octets of its stored form.
    pub stored_size: usize,
}

/// A body in its stored form, in consecutive pieces. Uncompressed frames share the memory of the body.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub info: BodyInfo,
    pub pieces: Vec<Bytes>,
}

/// Converts a body to its stored form.
pub(crate) fn encode(body: &Bytes) -> Encoded {
    let mut compresses = body.len() >= MIN_COMPRESSED;
    let mut pieces = Vec::with_capacity(frame_count(body.len()) + 1);
    let mut index = Vec::new();
    let mut values = Vec::new();
    for range in frames(body.len()) {
        let frame = body.slice(range.clone());
        let limit = if range.start == 0 { frame.len() / 8 * 7 } else { frame.len().saturating_sub(1) };
        let compressed = if compresses { compress(&frame, limit) } else { None };
        compresses &= range.start > 0 || compressed.is_some();
        if body.len() > FRAME {
            let value = chaining_value(range.start, &frame);
            let stored = compressed.as_ref().map_or(frame.len(), Bytes::len);
            index.extend_from_slice(&u32::try_from(stored).unwrap_or(u32::MAX).to_le_bytes());
            index.extend_from_slice(&value);
            values.push(value);
        }
        pieces.push(compressed.unwrap_or(frame));
    }
    index.extend_from_slice(&(body.len() as u64).to_le_bytes());
    index.extend_from_slice(MAGIC);
    pieces.push(index.into());
    let hash = if values.is_empty() { hash_of(body) } else { merged(&values) };
    let stored_size = pieces.iter().map(Bytes::len).sum();
    Encoded { info: BodyInfo { hash, size: body.len(), stored_size }, pieces }
}

pub(crate) fn hash_of(body: &[u8]) -> BodyHash {
    BodyHash::new(blake3::hash(body).into())
}

fn frame_count(size: usize) -> usize {
    size.div_ceil(FRAME).max(1)
}

/// The ranges of a body's frames. An empty body has one, empty frame.
fn frames(size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..frame_count(size)).map(move |number| {
        let start = number.saturating_mul(FRAME);
        start..start.saturating_add(FRAME).min(size)
    })
}

/// The chaining value of the frame at `start`, in a body of more than one frame.
fn chaining_value(start: usize, frame: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(start as u64).update(frame).finalize_non_root()
}

/// The hash of a body of more than one frame.
fn merged(values: &[ChainingValue]) -> BodyHash {
    let (left, right) = values.split_at(left_len(values.len()));
    BodyHash::new(merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).into())
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The size of the left subtree: the largest power of two below `count`.
fn left_len(count: usize) -> usize {
    count.next_power_of_two() / 2
}

impl BodyInfo {
    /// The range of the index and the trailer in the stored form.
    pub fn index_range(&self) -> Result<Range<usize>, DamagedBody> {
        let entries = if self.size > FRAME { frame_count(self.size).saturating_mul(ENTRY) } else { 0 };
        match self.stored_size.checked_sub(entries.saturating_add(TRAILER)) {
            Some(start) => Ok(start..self.stored_size),
            None => Err(self.damaged("shorter than its index")),
        }
    }

    /// Decodes and verifies the index from the octets at [`Self::index_range`].
    pub fn index(&self, octets: &[u8]) -> Result<Index, DamagedBody> {
        let range = self.index_range()?;
        if octets.len() != range.len() {
            return Err(self.damaged("truncated index"));
        }
        let (entries, trailer) = octets.split_at(octets.len() - TRAILER);
        if trailer.get(..8) != Some(&(self.size as u64).to_le_bytes()) || trailer.get(8..) != Some(MAGIC) {
            return Err(self.damaged("invalid trailer"));
        }
        if entries.is_empty() {
            return Ok(Index { info: *self, frames: vec![Frame { stored: 0..range.start, value: None }] });
        }
        let (mut frames, mut values) = (Vec::with_capacity(frame_count(self.size)), Vec::new());
        let mut start = 0_usize;
        for entry in entries.chunks_exact(ENTRY) {
            let (length, value) = entry.split_at(4);
            let length = length.try_into().map_or(u32::MAX, u32::from_le_bytes);
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let value = ChainingValue::try_from(value).map_err(|_| self.damaged("truncated index"))?;
            frames.push(Frame { stored: start..end, value: Some(value) });
            values.push(value);
            start = end;
        }
        if merged(&values) != self.hash {
            return Err(self.damaged("the index does not match the hash"));
        }
        // The hash does not cover the lengths.
        if start != range.start {
            return Err(self.damaged("the frame lengths in the index do not match the stored size"));
        }
        Ok(Index { info: *self, frames })
    }

    fn damaged(&self, fault: &'static str) -> DamagedBody {
        DamagedBody { hash: self.hash, fault }
    }
}

struct Frame {
    /// Its range in the stored form.
    stored: Range<usize>,
    /// `None` for a body of one frame, which is verified against the body's hash.
    value: Option<ChainingValue>,
}

/// The verified index of a body's frames.
pub(crate) struct Index {
    info: BodyInfo,
    frames: Vec<Frame>,
}

impl Index {
    #[cfg(feature = "cluster")]
    pub fn stored_size(&self) -> usize {
        self.info.stored_size
    }

    /// The memory of the index, in octets.
    #[cfg(feature = "cluster")]
    pub fn memory(&self) -> usize {
        self.frames.len().saturating_mul(size_of::<Frame>())
    }

    /// The range of the stored form that [`Self::decode`] needs for `range` of the body.
    pub fn stored_range(&self, range: Range<usize>) -> Range<usize> {
        let overlapping = self.overlapping(&range);
        match (overlapping.first(), overlapping.last()) {
            (Some((_, first)), Some((_, last))) => first.stored.start..last.stored.end,
            _ => 0..0,
        }
    }

    /// Decodes and verifies `range` of the body, clipped to it, from the octets at [`Self::stored_range`]. Allocates memory for
    /// the range and one frame.
    pub fn decode(&self, range: Range<usize>, stored: &[u8]) -> Result<Vec<u8>, DamagedBody> {
        let range = range.start.min(self.info.size)..range.end.min(self.info.size);
        let begin = self.stored_range(range.clone()).start;
        let mut octets = Vec::with_capacity(range.len());
        let mut scratch = Vec::new();
        for (of_body, frame) in self.overlapping(&range) {
            let cut = frame.stored.start.saturating_sub(begin)..frame.stored.end.saturating_sub(begin);
            let stored = stored.get(cut).ok_or_else(|| self.info.damaged("truncated"))?;
            let plain = if stored.len() == of_body.len() {
                stored
            } else {
                decompress(stored, &mut scratch, of_body.len())
                    .ok_or_else(|| self.info.damaged("a frame cannot be decompressed"))?;
                &scratch
            };
            let matches = match &frame.value {
                Some(value) => chaining_value(of_body.start, plain) == *value,
                None => hash_of(plain) == self.info.hash,
            };
            if !matches {
                return Err(self.info.damaged("a frame does not match its hash"));
            }
            let wanted = range.start.max(of_body.start)..range.end.min(of_body.end);
            let wanted = wanted.start - of_body.start..wanted.end - of_body.start;
            octets.extend_from_slice(plain.get(wanted).unwrap_or_default());
        }
        Ok(octets)
    }

    /// The frames that overlap `range`, each with its range in the body.
    fn overlapping(&self, range: &Range<usize>) -> Vec<(Range<usize>, &Frame)> {
        if range.is_empty() {
            // The frame of an empty body is verified too.
            return if self.info.size == 0 { self.frames.iter().map(|f| (0..0, f)).collect() } else { Vec::new() };
        }
        let (first, end) = (range.start / FRAME, range.end.div_ceil(FRAME));
        let all = frames(self.info.size).zip(&self.frames);
        all.skip(first).take(end.saturating_sub(first)).collect()
    }
}

thread_local! {
    // Reused by each thread: creating one takes longer than compressing a small body.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `None` if the result would exceed `limit` octets.
fn compress(frame: &[u8], limit: usize) -> Option<Bytes> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL).ok()?),
        };
        let mut out = Vec::with_capacity(limit);
        // Fails if the result does not fit into `out`.
        compressor.compress_to_buffer(frame, &mut out).ok().filter(|_| out.len() <= limit)?;
        out.shrink_to_fit();
        Some(out.into())
    })
}

/// Replaces the contents of `out`. `None` unless the result has exactly `size` octets, which also bounds the output.
fn decompress(stored: &[u8], out: &mut Vec<u8>, size: usize) -> Option<()> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().ok()?),
        };
        out.clear();
        out.reserve_exact(size);
        let written = decompressor.decompress_to_buffer(stored, out).ok()?;
        (written == size && out.len() == size).then_some(())
    })
}

#[cfg(test)]
mod tests;
