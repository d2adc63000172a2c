//! Plays the dialogues of `fixtures/smtp`.
//!
//! A line is `C: text` (sent with CRLF), `C> text` (sent as it is), `S: start` (one line of a reply begins so), `TLS` (the
//! client's handshake), `END` (the server has closed) or `# remark`. The first is `SERVER: submission|submissions|mx`. Lines
//! of the client that follow one another leave in one write. In `C` lines `\r`, `\n`, `\0`, `\\`, `\xff` are octets,
//! `{1000*x}` is a repeated text, `{plain:user}` the PLAIN response with the good token, `{base64:text}` and `{token}`
//! what they say.

use super::{Client, Listener, World, base64};
use std::path::Path;

#[tokio::test]
async fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smtp");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        play(&name).await;
    }
}

async fn play(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let world = World::new().await;
    let (mut client, mut pending) = (None, Vec::new());
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(server) = line.strip_prefix("SERVER: ") {
            client = Some(world.connect(listener(server)).await);
            continue;
        }
        let client: &mut Client = client.as_mut().expect("SERVER comes first");
        if let Some(replies) = line.strip_prefix("C:") {
            pending.extend(octets(&world, replies.strip_prefix(' ').unwrap_or(replies)));
            pending.extend_from_slice(b"\r\n");
            continue;
        }
        if let Some(replies) = line.strip_prefix("C> ") {
            pending.extend(octets(&world, replies));
            continue;
        }
        if !pending.is_empty() {
            client.send(&std::mem::take(&mut pending)).await;
        }
        match line {
            "TLS" => client.start_tls().await,
            "END" => assert_eq!(client.line().await, None, "{place}"),
            _ => {
                let start = line.strip_prefix("S: ").unwrap_or_else(|| panic!("{place}: {line:?}"));
                let reply = client.line().await.unwrap_or_else(|| panic!("{place}: the server closed"));
                assert!(reply.starts_with(start), "{place}: {reply:?}");
            }
        }
    }
    assert!(pending.is_empty(), "{}: the last word is the client's", file.display());
}

fn listener(server: &str) -> Listener {
    match server {
        "submission" => Listener::Submission,
        "submissions" => Listener::Submissions,
        "mx" => Listener::Mx,
        other => panic!("no server {other:?}"),
    }
}

fn octets(world: &World, text: &str) -> Vec<u8> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, tail) = after.split_once('}').expect("a closing brace");
        filled.push_str(before);
        match inner.split_once([':', '*']) {
            Some(("plain", user)) => filled.push_str(&world.plain(user)),
            Some(("base64", text)) => filled.push_str(&base64(&String::from_utf8(unescape(text)).unwrap())),
            Some((count, text)) => filled.push_str(&text.repeat(count.parse().unwrap())),
            None if inner == "token" => filled.push_str(world.token.reveal()),
            None => filled.push_str(&base64(world.token.reveal())),
        }
        rest = tail;
    }
    filled.push_str(rest);
    unescape(&filled)
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut octets, mut input) = (Vec::new(), text.bytes());
    while let Some(octet) = input.next() {
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        octets.push(match input.next().unwrap() {
            b'r' => b'\r',
            b'n' => b'\n',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = [input.next().unwrap(), input.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("no escape {}", char::from(other)),
        });
    }
    octets
}
