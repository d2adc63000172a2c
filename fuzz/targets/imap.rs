//! IMAP: commands as they come over a connection, and what is shown of a message.

use super::content::envelope::{ADDRESSES, envelope};
use super::content::section::section;
use super::content::structure::structure;
use super::names;
use super::stream::Stream;
use super::wire::{Input, Limits, Wire};
use crate::message::ReadLimits;
use crate::message::fields::{Header, header_end};
use crate::message::mime::{Kind, Part, Tree};
use imap_codec::ResponseCodec;
use imap_codec::encode::Encoder;
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItem, MessageDataItemName};
use imap_codec::imap_types::response::{Data, Response};
use std::num::NonZeroU32;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { command: 512, message: Some(1024) };
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
        match input {
            Input::Command(command, message) => {
                assert!(message.is_none_or(|message| message.len() <= 1024), "a message over the limit");
                understood(&command);
            }
            // A literal's octets may come with the line around them.
            Input::Unreadable(_, octets) => assert!(octets.len() <= 2 * 512 + 64, "{} octets are kept", octets.len()),
            Input::Refused(..) | Input::Lost(_) | Input::End => {}
        }
    }
}

async fn received(input: &[u8], size: usize) -> Vec<Input> {
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
        while let Ok(input) = wire.command().await {
            let last = matches!(input, Input::Lost(_) | Input::End);
            all.push(input);
            if last {
                break;
            }
        }
        drop(wire);
        all
    };
    tokio::join!(sent, read).1
}

/// What a command leads to before the store is asked.
fn understood(command: &Command<'_>) {
    match &command.body {
        CommandBody::Create { mailbox } | CommandBody::Select { mailbox, .. } | CommandBody::Append { mailbox, .. } => {
            if let Some(name) = names::read(mailbox) {
                assert_eq!(names::read(&names::write(&name)).as_ref(), Some(&name), "a name with two spellings");
                assert!(!name.chars().any(char::is_control) && names::parents(&name).count() < 50, "{name:?}");
            }
        }
        CommandBody::List { reference, mailbox_wildcard } => {
            if let Some(pattern) = names::Pattern::read(reference, mailbox_wildcard) {
                let _ = pattern.matches("INBOX") || pattern.matches("a/b/c");
            }
        }
        CommandBody::Fetch {
            macro_or_item_names: MacroOrMessageDataItemNames::MessageDataItemNames(items), ..
        } => {
            let (header, body) = MESSAGE.split_at(header_end(MESSAGE));
            let limits = ReadLimits::default();
            let tree = Tree::parse(header, body, &limits);
            for item in items {
                let MessageDataItemName::BodyExt { section: wanted, .. } = item else { continue };
                if let Some(octets) = section(header, (body, body.len()), Some(&tree), wanted.as_ref(), &limits) {
                    assert!(octets.pieces(header, body).concat().len() <= MESSAGE.len() + 2);
                }
            }
        }
        _ => {}
    }
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
    for extended in [false, true] {
        let items = vec![
            MessageDataItem::Body(structure(&tree, extended)),
            MessageDataItem::Envelope(envelope(&fields, &mut { ADDRESSES })),
        ];
        let data = Data::Fetch { seq: NonZeroU32::MIN, items: items.try_into().unwrap() };
        let shown = ResponseCodec::new().encode(&Response::Data(data)).dump().len();
        assert!(shown <= 128 * input.len() + 1024 * parts + 1024, "{shown} octets of {}", input.len());
    }
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
