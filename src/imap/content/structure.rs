//! BODY and BODYSTRUCTURE. RFC 3501 §7.4.2.

use super::envelope::{ADDRESSES, envelope, istring, nstring};
use crate::message::fields::{Header, unfold};
use crate::message::mime::{ContentType, Kind, Part, Tree};
use crate::message::parameters::transfer_encoding;
use crate::message::{octets_read, parameters};
use imap_codec::imap_types::body::{
    BasicFields, Body, BodyStructure, Disposition, Language, Location, MultiPartExtensionData, SinglePartExtensionData,
    SpecificFields,
};
use imap_codec::imap_types::core::{IString, Vec1};

type Parameters = Vec<(IString<'static>, IString<'static>)>;

/// Languages of one part.
const LANGUAGES: usize = 100;

/// The structure of a message; `extended` for BODYSTRUCTURE, not for BODY.
pub(in crate::imap) fn structure(tree: &Tree<'_>, extended: bool) -> BodyStructure<'static> {
    of_part(tree, &tree.root, extended, &mut { ADDRESSES })
}

fn of_part(tree: &Tree<'_>, part: &Part, extended: bool, addresses_left: &mut usize) -> BodyStructure<'static> {
    let header = &tree.fields_of(part);
    let mut bodies = Vec::new();
    if let Kind::Multipart(parts) = &part.kind {
        bodies.extend(parts.iter().map(|part| of_part(tree, part, extended, addresses_left)));
    }
    match Vec1::try_from(bodies) {
        Ok(bodies) => BodyStructure::Multi {
            bodies,
            subtype: istring(part.content_type.subtype.clone()),
            extension_data: extended.then(|| MultiPartExtensionData {
                parameter_list: parameters(&part.content_type.parameters),
                tail: Some(disposition(header)),
            }),
        },
        Err(_) => BodyStructure::Single {
            body: single(tree, part, header, extended, addresses_left),
            extension_data: extended.then(|| SinglePartExtensionData {
                md5: nstring(header.find("Content-MD5").map(unfold)),
                tail: Some(disposition(header)),
            }),
        },
    }
}

fn single(
    tree: &Tree<'_>,
    part: &Part,
    header: &Header<'_>,
    extended: bool,
    addresses_left: &mut usize,
) -> Body<'static> {
    let bytes = tree.body_of(part);
    let ContentType { kind, subtype, parameters: given } = &part.content_type;
    octets_read::count(bytes.len());
    let number_of_lines = size(memchr::memchr_iter(b'\n', bytes).count());
    let specific = match &part.kind {
        Kind::Message(inner) => SpecificFields::Message {
            envelope: Box::new(envelope(&tree.fields_of(inner), addresses_left)),
            body_structure: Box::new(of_part(tree, inner, extended, addresses_left)),
            number_of_lines,
        },
        _ if kind == b"text" => SpecificFields::Text { subtype: istring(subtype.clone()), number_of_lines },
        // Nested too deeply to parse: as octets, since the grammar needs the parsed content of these two.
        _ if kind == b"multipart" || part.content_type.is("message", "rfc822") => SpecificFields::Basic {
            r#type: istring(b"application".to_vec()),
            subtype: istring(b"octet-stream".to_vec()),
        },
        _ => SpecificFields::Basic { r#type: istring(kind.clone()), subtype: istring(subtype.clone()) },
    };
    let encoding = header.find("Content-Transfer-Encoding").and_then(transfer_encoding);
    Body {
        basic: BasicFields {
            parameter_list: parameters(given),
            id: nstring(header.find("Content-ID").map(unfold)),
            description: nstring(header.find("Content-Description").map(unfold)),
            content_transfer_encoding: istring(encoding.unwrap_or_else(|| b"7bit".to_vec())),
            size: size(bytes.len()),
        },
        specific,
    }
}

fn size(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn parameters(given: &[(Vec<u8>, Vec<u8>)]) -> Parameters {
    given.iter().map(|(name, value)| (istring(name.clone()), istring(value.clone()))).collect()
}

fn disposition(header: &Header<'_>) -> Disposition<'static> {
    let disposition = parameters::disposition(header).map(|(word, given)| (istring(word), parameters(&given)));
    let language = header.find("Content-Language").map(unfold).unwrap_or_default();
    let language = language.split(|octet| *octet == b',').map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty());
    Disposition {
        disposition,
        tail: Some(Language {
            language: language.take(LANGUAGES).map(|tag| istring(tag.to_vec())).collect(),
            tail: Some(Location {
                location: nstring(header.find("Content-Location").map(unfold)),
                extensions: Vec::new(),
            }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;
    use imap_codec::ResponseCodec;
    use imap_codec::encode::Encoder;
    use imap_codec::imap_types::fetch::MessageDataItem;
    use imap_codec::imap_types::response::{Data, Response};

    fn shown(header: &str, body: &str, extended: bool) -> String {
        let tree = Tree::parse(header.as_bytes(), body.as_bytes(), &ReadLimits::default());
        let item = MessageDataItem::Body(structure(&tree, extended));
        let data = Data::fetch(1, vec![item]).unwrap();
        String::from_utf8(ResponseCodec::new().encode(&Response::Data(data)).dump()).unwrap()
    }

    #[test]
    fn structures_are_as_in_rfc_3501() {
        assert_eq!(
            shown("Subject: x\r\n\r\n", "a\r\nb\r\n", false),
            "* 1 FETCH (BODY (\"TEXT\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 2))\r\n"
        );
        let header = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let body = "--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b\r\nContent-Type: image/PNG; name=\"a\\\"b\"\r\nContent-Disposition: attachment; filename=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n";
        assert_eq!(
            shown(header, body, true),
            "* 1 FETCH (BODY ((\"TEXT\" \"html\" NIL NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL)(\"image\" \"png\" (\"name\" \"a\\\"b\") NIL NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"a.png\")) NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL))\r\n"
        );
        let message = shown("Content-Type: message/rfc822\r\n\r\n", "Subject: in\r\n\r\nhi\r\n", false);
        assert!(message.contains("(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"TEXT\" \"plain\""), "{message}");
    }
}
