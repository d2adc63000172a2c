//! A client that disconnects or sends ahead while a command runs.

use crate::config::Config;
use crate::imap::wire::parser::Mode;
use crate::imap::wire::stream::Stream;
use crate::imap::wire::{Input, Limits, Wire};
use crate::resources::spool::Spool;
use std::net::Ipv4Addr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

async fn connected() -> (TcpStream, Wire, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), &Config::default().limits).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let limits = Limits { command: 1000, message: None };
    (client, Wire::new(Stream::Plain(server), limits, spool.client(Ipv4Addr::LOCALHOST.into())), dir)
}

#[tokio::test]
async fn work_ends_when_its_client_disconnects() {
    for sent in [0, 100, 50_000] {
        let (mut client, mut wire, _dir) = connected().await;
        let endless = tokio::spawn(async move { wire.watch(std::future::pending::<()>()).await });
        client.write_all(&vec![b'x'; sent]).await.unwrap();
        drop(client);
        assert!(endless.await.unwrap().is_err(), "after {sent} octets");
    }
}

#[tokio::test]
async fn input_during_work_is_the_next_command() {
    let (mut client, mut wire, _dir) = connected().await;
    client.write_all(b"a NOOP\r\n").await.unwrap();
    let (done, is_done) = tokio::sync::oneshot::channel();
    let wait = async {
        let result = wire.watch(is_done).await;
        (result, wire)
    };
    let work = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        done.send(7).unwrap();
    };
    let ((result, mut wire), ()) = tokio::join!(wait, work);
    assert_eq!(result.unwrap(), Ok(7));
    let next = wire.command(Mode::default()).await.unwrap();
    assert!(matches!(&next, Input::Command(command, _) if command.tag.as_str() == "a"), "{next:?}");
}
