//! What ENVELOPE and BODYSTRUCTURE are made of in the types of imap-codec: its encoder writes what ours does.

use super::envelope::ADDRESSES;
use super::structure::shown_parameters;
use crate::message::addresses::{self, Listed};
use crate::message::fields::{Header, unfold};
use crate::message::mime::{ContentType, Kind, Part, Tree};
use crate::message::parameters::{self, transfer_encoding};
use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::body::{
    BasicFields, Body, BodyStructure, Disposition, Language, Location, MultiPartExtensionData, SinglePartExtensionData,
    SpecificFields,
};
use imap_codec::imap_types::core::{IString, NString, Vec1};
use imap_codec::imap_types::envelope::{Address, Envelope};
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::response::{Data, Response};
use proptest::prelude::*;

type Parameters = Vec<(IString<'static>, IString<'static>)>;

/// Whether the codec reads a FETCH response with this item to its end.
pub fn is_fetch(item: &[u8]) -> bool {
    items(item).is_some()
}

/// Levels of parts: the codec reads eight.
pub fn levels(part: &Part) -> usize {
    let below = match &part.kind {
        Kind::Leaf => 0,
        Kind::Message(inner) => levels(inner),
        Kind::Multipart(parts) => parts.iter().map(levels).max().unwrap_or(0),
    };
    1 + below
}

fn items(item: &[u8]) -> Option<Vec<MessageDataItem<'static>>> {
    let response = [b"* 1 FETCH (", item, b")\r\n"].concat();
    match ResponseCodec::new().decode(&response) {
        Ok(([], Response::Data(Data::Fetch { items, .. }))) => Some(items.into_static().into_inner()),
        _ => None,
    }
}

/// An envelope as the codec reads it.
pub fn read_envelope(written: &[u8]) -> Envelope<'static> {
    match items(&[b"ENVELOPE ", written].concat()).map(|mut items| items.remove(0)) {
        Some(MessageDataItem::Envelope(envelope)) => envelope,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(written)),
    }
}

fn encoded(item: MessageDataItem<'static>, label: &[u8]) -> Vec<u8> {
    let response = ResponseCodec::new().encode(&Response::Data(Data::fetch(1, vec![item]).unwrap())).dump();
    let inner = response.strip_prefix(b"* 1 FETCH (").and_then(|rest| rest.strip_suffix(b")\r\n")).unwrap();
    inner.strip_prefix(label).unwrap().to_vec()
}

pub fn encoded_envelope(envelope: Envelope<'static>) -> Vec<u8> {
    encoded(MessageDataItem::Envelope(envelope), b"ENVELOPE ")
}

pub fn encoded_structure(structure: BodyStructure<'static>) -> Vec<u8> {
    encoded(MessageDataItem::BodyStructure(structure), b"BODYSTRUCTURE ")
}

/// Header blocks: ordinary fields and strange ones.
pub fn header() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "Date",
        "Subject",
        "From",
        "Sender",
        "Reply-To",
        "To",
        "Cc",
        "Bcc",
        "In-Reply-To",
        "Message-ID",
        "X",
    ]);
    let value = prop_oneof![
        Just("a <b@c>, \"d\\\"\" <e@f> (g), h@i".to_owned()),
        Just("team: a@b, <@x,@y:c@d>;".to_owned()),
        Just("\"grün\" <ü@ö>,,undisclosed:;".to_owned()),
        "[a-z<>@,:;()\"\\\\ \0ü=?]{0,30}",
        "\\PC{0,20}",
    ];
    let field = (name, value, any::<bool>()).prop_map(|(name, value, folded)| {
        let value = if folded { value.replacen(' ', "\r\n\t", 1) } else { value };
        format!("{name}: {value}\r\n").into_bytes()
    });
    let odd = proptest::collection::vec(any::<u8>(), 0..20);
    let fields = proptest::collection::vec(prop_oneof![9 => field, 1 => odd], 0..9);
    fields.prop_map(|fields| [fields.concat(), b"\r\n".to_vec()].concat())
}

/// Messages of parts, some in one another, with ordinary and strange fields.
pub fn message() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "Content-Type: text/plain; charset=utf-8; name*0*=utf-8''%C3; name*1=\"a\\\"b\"\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/alternative; boundary=\"c\"\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: image/png; name=grün.png\r\n",
        "Content-Type: multipart/mixed\r\n",
        "Content-Transfer-Encoding: base64 (x)\r\n",
        "Content-Disposition: attachment; filename=\"a b\"\r\n",
        "Content-Disposition: ; filename=x\r\n",
        "Content-ID: <a@b>\r\n",
        "Content-Description: grün\r\n",
        "Content-MD5: Q2hlY2s=\r\n",
        "Content-Language: de, en ,\r\n",
        "Content-Location: http://a/b\r\n",
        "From: a <b@c>\r\n",
        "Subject: in\r\n",
        "\r\n",
        "text\r\n",
        "--b\r\n",
        "--c\r\n",
        "--b--\r\n",
        "\0\r\n",
    ]);
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.concat().into_bytes())
}

fn field(header: &Header<'_>, name: &str) -> Option<Vec<u8>> {
    header.find(name).map(|value| unfold(value).into_owned())
}

/// A text as a string of the protocol: quoted where that is possible, a literal where not.
fn istring(mut text: Vec<u8>) -> IString<'static> {
    text.retain(|octet| *octet != 0);
    IString::try_from(text).unwrap()
}

/// The same, where NIL would be possible.
fn nstring(text: Option<Vec<u8>>) -> NString<'static> {
    NString(text.map(istring))
}

/// The envelope of a header block. `addresses_left` is what may still be shown of [`ADDRESSES`].
pub fn envelope(header: &Header<'_>, addresses_left: &mut usize) -> Envelope<'static> {
    let text = |name| nstring(field(header, name));
    let mut list = |name| listed(header, name, addresses_left);
    let from = list("From");
    // RFC 3501: a server takes From for Sender and Reply-To that are missing or empty.
    let or_from = |list: Vec<Address<'static>>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date: text("Date"),
        subject: text("Subject"),
        sender: or_from(list("Sender")),
        reply_to: or_from(list("Reply-To")),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
        from,
    }
}

/// The addresses of the fields of a name. A group is its name, its members, and an end (RFC 3501: NIL hosts mark both).
fn listed(header: &Header<'_>, name: &str, addresses_left: &mut usize) -> Vec<Address<'static>> {
    let nil = || NString(None);
    let show = |listed| match listed {
        Listed::Mailbox(mailbox) => {
            let (local, host) = mailbox.local_and_host();
            Address {
                name: nstring(mailbox.name()),
                adl: nstring(mailbox.route()),
                mailbox: nstring(Some(local)),
                host: nstring(Some(host)),
            }
        }
        Listed::GroupStart(name) => Address { name: nil(), adl: nil(), mailbox: nstring(Some(name)), host: nil() },
        Listed::GroupEnd => Address { name: nil(), adl: nil(), mailbox: nil(), host: nil() },
    };
    let shown: Vec<_> = addresses::listed(header, name).take(*addresses_left).map(show).collect();
    *addresses_left -= shown.len();
    shown
}

/// The structure of a message; `extended` for BODYSTRUCTURE, not for BODY.
pub fn structure(tree: &Tree<'_>, extended: bool) -> BodyStructure<'static> {
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
                md5: nstring(field(header, "Content-MD5")),
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
    let ContentType { kind, subtype, .. } = &part.content_type;
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
            parameter_list: parameters(&shown_parameters(&part.content_type)),
            id: nstring(field(header, "Content-ID")),
            description: nstring(field(header, "Content-Description")),
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
    let language = parameters::languages(header).into_iter().map(istring).collect();
    Disposition {
        disposition,
        tail: Some(Language {
            language,
            tail: Some(Location { location: nstring(field(header, "Content-Location")), extensions: Vec::new() }),
        }),
    }
}
