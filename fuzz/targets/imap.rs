//! IMAP: commands as they come over a connection, and what is shown of a message.

use super::content::binary::{decoded, decoded_size};
use super::content::envelope::{ADDRESSES, write_envelope};
use super::content::section::section;
use super::content::structure::write_structure;
use super::names;
use super::wire::command::{Body, read};
use super::wire::differential;
use super::wire::frame::Frame;
use super::wire::parser::Mode;
use super::wire::stream::Stream;
use super::wire::syntax::fetch::{Item, Path};
use super::wire::syntax::search_keys::{LEVELS, SearchKey};
use super::wire::values::Mailbox;
use super::wire::writer::Writer;
use super::wire::{Input, Limits, Wire};
use crate::message::ReadLimits;
use crate::message::downgrade::downgraded;
use crate::message::fields::{Field, Header, header_end};
use crate::message::mime::{Kind, Part, Tree};
use bytes::Bytes;
use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::core::NString;
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::response::{Data, Response};
use std::num::NonZeroU32;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { command: 512, message: Some(1024) };
const MODE: Mode = Mode { is_authenticated: true, utf8: false };
const MESSAGE: &[u8] = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b--\r\n";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// A client that sends this and no more: the same commands however it is cut into reads, each within the limits, and no more
/// of them than lines.
pub fn commands(input: &[u8]) {
    let whole = RUNTIME.with(|runtime| runtime.block_on(received(input, input.len().max(1))));
    let size = input.first().map_or(1, |octet| usize::from(*octet) + 1);
    let cut = RUNTIME.with(|runtime| runtime.block_on(received(input, size)));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "in reads of {size} octets");
    assert!(whole.len() <= input.iter().filter(|b| **b == b'\n').count() + 1, "{} commands", whole.len());
    for input in whole {
        if let (Input::Command(command, _), messages) = input {
            assert!(messages.iter().all(|message| message.len() <= 1024), "a message over the limit");
            understood(&command.body);
        }
    }
}

/// What is received, and the messages in it.
async fn received(input: &[u8], size: usize) -> Vec<(Input, Vec<Bytes>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let mut wire = Wire::new(Stream::Plain(server), LIMITS, crate::fuzz::client_spool());
    let sent = async {
        for piece in input.chunks(size) {
            // A server that has hung up need not be told the rest.
            if client.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let read = async {
        let mut all = Vec::new();
        while let Ok(mut input) = wire.command(MODE).await {
            let is_last = matches!(input, Input::Lost(_) | Input::End);
            let mut messages = Vec::new();
            if let Input::Command(_, spooled) = &mut input {
                for message in std::mem::take(spooled) {
                    messages.push(message.into_bytes().await.unwrap());
                }
            }
            all.push((input, messages));
            if is_last {
                break;
            }
        }
        drop(wire);
        all
    };
    tokio::join!(sent, read).1
}

/// What a command leads to before the store is asked.
fn understood(body: &Body) {
    match body {
        Body::Select(select) => drop(name(&select.mailbox)),
        Body::Create(create) => drop(name(&create.mailbox)),
        Body::Append(append) => drop(name(&append.mailbox)),
        Body::List(list) => {
            for pattern in list.patterns.iter().filter_map(|one| names::Pattern::read(&list.reference, one, false)) {
                let _ = pattern.matches("INBOX") || pattern.matches("a/b/c");
            }
        }
        Body::Fetch(fetch) => {
            let (header, body) = MESSAGE.split_at(header_end(MESSAGE));
            let limits = ReadLimits::default();
            let tree = Tree::parse(header, body, &limits);
            for item in &fetch.items {
                if let Item::Binary { path: Some(path), .. } | Item::BinarySize { path: Some(path) } = item {
                    assert!(decoded_size(&tree, path).is_ok_and(|size| size <= body.len()));
                }
                let Item::Section { section: wanted, .. } = item else { continue };
                if let Some(octets) = section(header, (body, body.len()), Some(&tree), wanted, &limits) {
                    assert!(octets.pieces(header, body).concat().len() <= MESSAGE.len() + 2);
                }
            }
        }
        _ => {}
    }
}

/// The name of a mailbox as it is stored.
fn name(mailbox: &Mailbox) -> Option<String> {
    let name = names::read(mailbox, false)?;
    let written = Mailbox(names::write(&name, false).into_owned().into_bytes());
    assert_eq!(names::read(&written, false).as_ref(), Some(&name), "a name with two spellings");
    assert!(!name.chars().any(char::is_control) && names::parents(&name).count() < 50, "{name:?}");
    assert!(name.split('/').all(|level| !level.is_empty()), "{name:?}");
    Some(name)
}

/// Mailbox names in modified UTF-7, one of them as a pattern too: one spelling for each name, and a name without wildcards
/// is a pattern for itself alone.
pub fn mailbox_names(input: &[u8]) {
    let mut mailboxes = input.split(|b| *b == b'\n').take(20).map(|line| Mailbox(line.to_vec()));
    let Some(first) = mailboxes.next() else { return };
    let own_name = name(&first);
    let names: Vec<_> = mailboxes.filter_map(|mailbox| name(&mailbox)).collect();
    let text = String::from_utf8_lossy(&first.0).into_owned();
    let Some(pattern) = names::Pattern::read(&Mailbox(Vec::new()), &first.0, false) else { return };
    let found: Vec<_> = names.iter().filter(|name| pattern.matches(name)).collect();
    if let Some(own_name) = own_name.filter(|_| !text.contains(['*', '%']) && !text.ends_with('/')) {
        assert!(pattern.matches(&own_name), "{text:?} does not match itself");
        assert!(found.iter().all(|name| **name == own_name), "{text:?} matches {found:?}");
    }
}

/// A command: what the codec reads of it as well is the same.
pub fn imap_parsers(input: &[u8]) {
    assert_eq!(differential::compare(input), Ok(()));
}

/// The keys of a SEARCH: the same as the codec reads, but for how ORs are nested, and no walk of them goes deep.
pub fn search_keys(input: &[u8]) {
    let line = [b"a SEARCH ", input, b"\r\n"].concat();
    assert_eq!(differential::compare(&line), Ok(()));
    let Some(frame) = Frame::of(&line) else { return };
    let Ok(command) = read(&frame, MODE) else { return };
    let Body::Search(search) = command.body else { return };
    assert!(depth(&search.key) <= LEVELS, "{} levels", depth(&search.key));
}

fn depth(key: &SearchKey) -> usize {
    1 + match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().map(depth).max().unwrap_or(0),
        SearchKey::Not(key) => depth(key),
        _ => 0,
    }
}

/// A mailbox as ENVELOPE shows it.
pub(crate) struct Enveloped {
    pub name: Option<Vec<u8>>,
    pub local: Vec<u8>,
    pub host: Vec<u8>,
}

/// The Subject and the mailboxes of From, To and Cc as ENVELOPE shows them.
pub(crate) fn enveloped(header: &[u8]) -> (Option<Vec<u8>>, [Vec<Enveloped>; 3]) {
    let octets = |text: &NString<'_>| text.0.as_ref().map(|text| text.as_ref().to_vec());
    let mut written = b"* 1 FETCH (ENVELOPE ".to_vec();
    let header = Header::read(header, &ReadLimits::default());
    write_envelope(&mut Writer::new(&mut written, false), &header, &mut { ADDRESSES });
    written.extend_from_slice(b")\r\n");
    let Ok(([], Response::Data(Data::Fetch { items, .. }))) = ResponseCodec::new().decode(&written) else {
        panic!("no ENVELOPE: {}", String::from_utf8_lossy(&written))
    };
    let MessageDataItem::Envelope(envelope) = items.as_ref().first().unwrap() else { panic!("{items:?}") };
    let lists = [&envelope.from, &envelope.to, &envelope.cc].map(|list| {
        let mailboxes = list.iter().filter_map(|one| {
            Some(Enveloped { name: octets(&one.name), local: octets(&one.mailbox)?, host: octets(&one.host)? })
        });
        mailboxes.collect()
    });
    (octets(&envelope.subject), lists)
}

/// The structure of a message: parts inside their parents, as many and as deep as the limits allow; what is shown of them is
/// in proportion to the message.
pub fn mime(input: &[u8]) {
    let (header, body) = input.split_at(header_end(input));
    let limits = ReadLimits::default();
    let fields = Header::read(header, &limits);
    let together: usize = fields.fields().iter().map(|field| field.whole.len()).sum();
    assert!(together <= header.len() && header.len() - together <= 2, "the fields are not the header");
    let tree = Tree::parse(header, body, &limits);
    let mut parts = 0;
    inside(&tree.root, &tree.root, 0, &mut parts);
    assert!(parts <= 1 + limits.parts + limits.nesting, "{parts} parts");
    decoded_parts(&tree);
    in_ascii(header);
    for extended in [false, true] {
        let mut shown = b"* 1 FETCH (BODYSTRUCTURE ".to_vec();
        write_structure(&mut Writer::new(&mut shown, false), &tree, extended);
        shown.extend_from_slice(b" ENVELOPE ");
        write_envelope(&mut Writer::new(&mut shown, false), &fields, &mut { ADDRESSES });
        shown.extend_from_slice(b")\r\n");
        // The codec reads eight levels.
        if parts < 8 {
            assert!(matches!(ResponseCodec::new().decode(&shown), Ok(([], _))), "{}", String::from_utf8_lossy(&shown));
        }
        let shown = shown.len();
        assert!(shown <= 128 * input.len() + 1024 * parts + 1024, "{shown} octets of {}", input.len());
    }
}

/// Parts without their transfer encoding: no larger than they are stored, and as large as they are said to be.
fn decoded_parts(tree: &Tree<'_>) {
    for path in [&[1][..], &[2], &[1, 1], &[2, 1]] {
        let path: Path = path.iter().filter_map(|number| NonZeroU32::new(*number)).collect();
        let Ok(octets) = decoded(tree, &path) else { continue };
        let size = octets.map_or(0, |octets| octets.pieces(tree.header, tree.body).concat().len());
        assert!(size <= tree.body.len(), "{size} octets decoded");
        assert_eq!(decoded_size(tree, &path), Ok(size));
    }
}

/// A header block for clients that take no UTF-8: as many fields, no UTF-8 in them but ASCII, in proportion to the block.
fn in_ascii(header: &[u8]) {
    let limits = ReadLimits::default();
    let Some(ascii) = downgraded(header, &limits) else { return };
    let [before, after] = [header, &ascii].map(|block| Header::read(block, &limits).fields().len());
    assert_eq!(before, after, "{}", String::from_utf8_lossy(&ascii));
    let is_utf8 = |octets: &[u8]| !octets.is_ascii() && std::str::from_utf8(octets).is_ok();
    let has_name = |field: &Field<'_>| !field.name.is_empty() && field.name.is_ascii();
    let ascii_fields = Header::read(&ascii, &limits);
    assert!(!ascii_fields.fields().iter().any(|field| has_name(field) && is_utf8(field.value)));
    assert!(ascii.len() <= 32 * header.len() + 1024, "{} octets of {}", ascii.len(), header.len());
}

fn inside(part: &Part, parent: &Part, depth: usize, parts: &mut usize) {
    *parts += 1;
    assert!(depth <= 20, "a part at depth {depth}");
    let Part { header, body, .. } = part;
    assert!(header.start <= header.end && header.end <= body.start.max(header.end) && body.start <= body.end);
    if depth > 0 {
        assert!(parent.body.start <= header.start && body.end <= parent.body.end, "a part reaches out of its parent");
    }
    match &part.kind {
        Kind::Leaf => {}
        Kind::Message(inner) => inside(inner, part, depth + 1, parts),
        Kind::Multipart(children) => {
            assert!(!children.is_empty(), "the grammar wants a part");
            let mut end = part.body.start;
            for child in children {
                assert!(child.header.start >= end, "parts overlap");
                end = child.body.end;
                inside(child, part, depth + 1, parts);
            }
        }
    }
}
