//! What `inbox import` and `inbox fetch` read: mbox files, and responses of other IMAP servers.

use super::fetch;
use super::mbox;
use crate::clock::Timestamp;

/// An mbox file: a message that was read, written and read again is the same.
pub fn mbox(input: &[u8]) {
    let Some(mut reader) = mbox::Reader::new(input).unwrap() else { return };
    let mut octets = 0;
    while let Some(stored) = reader.next().unwrap() {
        let Some(Ok(message)) = stored.message() else { continue };
        octets += message.raw.iter().filter(|octet| **octet != b'\r').count();
        // What no line ends, and a time of which nothing is known, are written otherwise.
        let is_whole = message.raw.ends_with(b"\r\n") && message.received_at.millis() != 0;
        let years = -62_000_000_000_000..253_000_000_000_000;
        // Of fields beyond a limit the file's own are not distinguished from the message's.
        let lines = message.raw.iter().filter(|octet| **octet == b'\n').count();
        if !is_whole || lines > 5000 || !years.contains(&message.received_at.millis()) {
            continue;
        }
        let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
        let mut file = Vec::new();
        mbox::write(&mut file, None, message.received_at, &flags, &message.raw).unwrap();
        let mut again = mbox::Reader::new(file.as_slice()).unwrap().unwrap();
        let read = again.next().unwrap().unwrap().message().unwrap().unwrap();
        let written = String::from_utf8_lossy(&file).into_owned();
        assert!(again.next().unwrap().is_none(), "two messages: {written:?}");
        // The empty line that ends the header is written where there is none.
        let is_header_alone = read.raw.strip_suffix(b"\r\n") == Some(&message.raw);
        assert!(read.raw == message.raw || is_header_alone, "{written:?}");
        assert_eq!(read.received_at, Timestamp::from_millis(message.received_at.seconds() * 1000), "{written:?}");
    }
    // A file may lack the empty line of each header.
    assert!(octets <= 2 * input.len());
}

/// Responses of another server: what is read of them is in them.
pub fn imap_responses(input: &[u8]) {
    fetch::fuzz(input);
}
