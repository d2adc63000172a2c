//! The limits of streams.

use super::Scene;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

/// Opens a stream of an account's events, and reads the head of the answer.
fn open(http: SocketAddr, token: &str) -> (BufReader<TcpStream>, String) {
    let mut connection = TcpStream::connect(http).unwrap();
    write!(
        connection,
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let (mut reader, mut head) = (BufReader::new(connection), String::new());
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    (reader, head.to_ascii_lowercase())
}

#[test]
fn streams_of_an_account_and_of_the_daemon() {
    let scene = Scene::with("streams = 3\nstreams_per_account = 2");
    let (http, token) = (scene.daemon.http, scene.token.clone());
    let opened = |token: &str| {
        let (reader, head) = open(http, token);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        reader
    };
    let refused = |token: &str| {
        let (_, head) = open(http, token);
        assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: "), "{head}");
    };
    let first = opened(&token);
    let _second = opened(&token);
    refused(&token);
    let (_, _, other) = scene.daemon.account("second");
    let _third = opened(&other);
    let (_, _, another) = scene.daemon.account("third");
    refused(&another);
    // One that ends makes room.
    drop(first);
    for _ in 0..200 {
        let (_, head) = open(http, &another);
        if head.starts_with("http/1.1 200") {
            scene.ends_with(0);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the place of a stream that was closed is not free");
}
