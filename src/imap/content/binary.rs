//! BINARY[…] and BINARY.SIZE[…]: a part without its transfer encoding. RFC 3516 §4.2, RFC 9051 §6.4.5.

use super::section::{Octets, part_at};
use crate::imap::wire::syntax::fetch::Path;
use crate::message::decode::{is_identity, is_known, transfer_decoded};
use crate::message::mime::{Kind, Tree};
use crate::message::octets_read;
use crate::message::parameters::transfer_encoding;
use std::borrow::Cow;

/// The transfer encoding of a part is none that can be decoded: `NO [UNKNOWN-CTE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::imap) struct UnknownEncoding;

/// A part decoded; `None` if there is no such part. A multipart is never encoded (RFC 2045 §6.4).
pub(in crate::imap) fn decoded(tree: &Tree<'_>, path: &Path) -> Result<Option<Octets>, UnknownEncoding> {
    let Some(part) = part_at(&tree.root, path) else { return Ok(None) };
    let stored = || Octets::Stored { header: 0..0, body: part.body.clone() };
    if matches!(part.kind, Kind::Multipart(_)) {
        return Ok(Some(stored()));
    }
    let encoding = tree.fields_of(part).find("Content-Transfer-Encoding").and_then(transfer_encoding);
    let encoding = encoding.as_deref();
    if is_identity(encoding) {
        return Ok(Some(stored()));
    }
    if !is_known(encoding) {
        return Err(UnknownEncoding);
    }
    let body = tree.body_of(part);
    octets_read::count(body.len());
    Ok(Some(match transfer_decoded(encoding, body) {
        Cow::Owned(octets) => Octets::Made(octets),
        Cow::Borrowed(_) => stored(),
    }))
}

/// How many octets a part has, decoded; none if there is no such part.
pub(in crate::imap) fn decoded_size(tree: &Tree<'_>, path: &Path) -> Result<usize, UnknownEncoding> {
    Ok(match decoded(tree, path)? {
        Some(Octets::Stored { header, body }) => header.len().saturating_add(body.len()),
        Some(Octets::Made(octets)) => octets.len(),
        None => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;
    use std::num::NonZeroU32;

    const HEADER: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: x-zip\r\n\r\n";
    const BODY: &[u8] = b"--b\r\nContent-Transfer-Encoding: Base64\r\n\r\nAAEC\r\n--b\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nabc\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\na=41\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=41\r\n--b\r\n\r\nplain\r\n--b--\r\n";

    fn get(path: &[u32]) -> Result<Option<Vec<u8>>, UnknownEncoding> {
        let tree = Tree::parse(HEADER, BODY, &ReadLimits::default());
        let path: Path = path.iter().filter_map(|number| NonZeroU32::new(*number)).collect();
        let octets = decoded(&tree, &path)?.map(|octets| octets.pieces(HEADER, BODY).concat());
        assert_eq!(decoded_size(&tree, &path)?, octets.as_ref().map_or(0, Vec::len));
        Ok(octets)
    }

    #[test]
    fn parts_are_decoded_and_what_cannot_be_is_named() {
        assert_eq!(get(&[1]), Ok(Some(b"\0\x01\x02".to_vec())));
        assert_eq!(get(&[2]), Err(UnknownEncoding));
        assert_eq!(get(&[3]), Ok(Some(b"a=41".to_vec())));
        assert_eq!(get(&[4]), Ok(Some(b"aA".to_vec())));
        assert_eq!(get(&[5]), Ok(Some(b"plain".to_vec())));
        assert_eq!(get(&[6]), Ok(None));
        // The whole body of a multipart, whatever encoding it claims to have.
        let tree = Tree::parse(HEADER, BODY, &ReadLimits::default());
        assert_eq!(decoded(&tree, &vec![]), Ok(Some(Octets::Stored { header: 0..0, body: 0..BODY.len() })));
    }
}
