//! Crowds of silent or busy connections from many networks: other clients are still served.

use super::Scene;
use crate::rude::Rude;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// How a client talks to one of the listeners.
struct Listener {
    address: SocketAddr,
    tls: bool,
    /// The server's greeting; empty over HTTP.
    greeting: &'static str,
    ask: &'static str,
    answer: &'static str,
}

fn listeners(scene: &Scene) -> [Listener; 6] {
    let smtp = |address, tls| Listener { address, tls, greeting: "220 ", ask: "NOOP\r\n", answer: "250 " };
    let imap = |address, tls| Listener { address, tls, greeting: "* OK", ask: "x NOOP\r\n", answer: "x OK" };
    let ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let http = Listener { address: scene.daemon.http, tls: false, greeting: "", ask, answer: "HTTP/1.1 200 " };
    let daemon = &scene.daemon;
    [
        smtp(daemon.mx, false),
        smtp(daemon.submission, false),
        smtp(daemon.submissions, true),
        imap(daemon.imap, false),
        imap(daemon.imaps, true),
        http,
    ]
}

/// Another connection of the crowd, from one of eight networks.
fn silent(n: u8, address: SocketAddr) -> Rude {
    Rude::connect_from(Ipv4Addr::new(127, 1, n % 8, 1 + n / 8), address)
}

/// A client alone in its network, after the greeting.
fn newcomer(n: u8, listener: &Listener, scene: &Scene) -> Option<Rude> {
    let mut client = Rude::connect_from(Ipv4Addr::new(127, 2, n, 1), listener.address);
    if listener.tls {
        client.start_tls(&scene.daemon.ca());
    }
    let greeted = listener.greeting.is_empty() || client.line()?.starts_with(listener.greeting);
    greeted.then_some(client)
}

fn is_served(client: &mut Rude, listener: &Listener) -> bool {
    client.send(listener.ask);
    let served = client.line().is_some_and(|line| line.starts_with(listener.answer));
    // The rest of an HTTP response.
    while served && listener.greeting.is_empty() && client.line().is_some_and(|line| !line.is_empty()) {}
    served
}

#[test]
fn a_crowd_of_silent_connections_does_not_block_others() {
    let scene = Scene::with("connections = 40\nconnections_per_network = 10");
    for listener in listeners(&scene) {
        let mut crowd: Vec<Rude> = (0..80).map(|n| silent(n, listener.address)).collect();
        let mut served = Vec::new();
        for n in 0..20 {
            served.extend(newcomer(n, &listener, &scene));
            // The crowd reconnects again and again.
            crowd.extend((0..4).map(|m| silent(80 + 4 * n + m, listener.address)));
        }
        let to_their_end = served.iter_mut().filter_map(|client| is_served(client, &listener).then_some(())).count();
        assert_eq!((served.len(), to_their_end), (20, 20), "{:?}", listener.ask);
    }
    scene.ends_with(0);
}

#[test]
fn a_network_over_its_share_is_refused_with_the_reason() {
    let scene = Scene::with("connections_per_network = 3");
    let client = |network, host| Rude::connect_from(Ipv4Addr::new(127, 1, network, host), scene.daemon.mx);
    let mut taken: Vec<Rude> = (1..=3).map(|host| client(0, host)).collect();
    taken.iter_mut().for_each(|client| drop(client.reply("220 ")));
    client(0, 4).reply("421 4.7.0");
    client(1, 1).reply("220 ");
    taken.iter_mut().for_each(|client| drop(client.say("NOOP", "250")));
    scene.logged(&["refused: too many connections", "mx"]);
    scene.ends_with(0);
}

#[test]
fn under_load_idle_clients_time_out_early_unless_logged_in() {
    let scene = Scene::with("connections = 8\nidle_timeout_under_load = \"1s\"");
    let mut mx: Vec<Rude> = (0..7).map(|n| silent(n, scene.daemon.mx)).collect();
    let mut imaps: Vec<Rude> = (0..6).map(|n| silent(n, scene.daemon.imap)).collect();
    mx.iter_mut().for_each(|client| drop(client.reply("220 ")));
    imaps.iter_mut().for_each(|client| assert!(client.line().unwrap().starts_with("* OK")));
    let mut sender = scene.sender();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // Seven of eight places are taken, all by connections that have been idle for too long when the next client connects.
    silent(7, scene.daemon.mx).say("NOOP", "220 ");
    mx.iter_mut().for_each(|client| drop(client.reply("421 4.3.2")));
    let mut seventh = silent(6, scene.daemon.imap);
    assert!(seventh.line().unwrap().starts_with("* OK"));
    let mut eighth = silent(7, scene.daemon.imap);
    assert!(eighth.line().unwrap().starts_with("* OK"));
    for client in &mut imaps {
        assert!(client.line().unwrap().starts_with("* BYE [UNAVAILABLE]"));
    }
    // No load: no connection is closed.
    sender.say("NOOP", "250");
    scene.ends_with(0);
}

/// Messages of the mailbox that the crowd queries.
const MESSAGES: usize = 1 << 15;
/// Connections of the crowd's account, and of the other account.
const CROWD: usize = 16;
const OTHERS: usize = 4;

/// Each of the crowd's connections sends this number of commands in one write, while another account repeats STATUS until the crowd
/// has its responses. Returns how many commands of each were answered.
fn answered(scene: &Scene, other: &str, command: &str, times: usize) -> (usize, usize) {
    let mut crowd: Vec<Rude> = (0..CROWD).map(|_| scene.user()).collect();
    let going = Arc::new(());
    let is_going = Arc::downgrade(&going);
    std::thread::scope(|threads| {
        let others: Vec<_> = (0..OTHERS)
            .map(|_| {
                let mut client = scene.anonymous();
                client.ask(&format!("LOGIN other {other}"), "OK");
                let is_going = is_going.clone();
                threads.spawn(move || {
                    let mut count = 0;
                    while is_going.strong_count() > 0 {
                        client.ask("STATUS INBOX (MESSAGES UNSEEN)", "OK");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for client in &mut crowd {
            let going = Arc::clone(&going);
            threads.spawn(move || {
                client.send(format!("x {command}\r\n").repeat(times));
                (0..times).for_each(|_| drop(client.answer("x", "OK")));
                drop(going);
            });
        }
        drop(going);
        (CROWD * times, others.into_iter().map(|other| other.join().unwrap()).sum())
    })
}

#[test]
fn sixteen_connections_that_ask_about_a_huge_mailbox_leave_another_account_its_turns() {
    let scene = Scene::with("");
    let (_, _, other) = scene.daemon.account("other");
    let mut user = scene.user();
    user.ask("APPEND INBOX {6+}\r\nA: b\r\n", "OK");
    user.ask("SELECT INBOX", "OK");
    for _ in 0..MESSAGES.ilog2() {
        user.ask("COPY 1:* INBOX", "OK");
        user.ask("NOOP", "OK");
    }
    assert!(user.ask("STATUS INBOX (MESSAGES)", "OK").concat().contains(&format!("MESSAGES {MESSAGES}")));
    // It costs no more than for an empty mailbox: a connection of the other account gets at least half of a crowd connection's
    // share.
    let (crowd, others) = answered(&scene, &other, "STATUS INBOX (MESSAGES UNSEEN)", 40);
    println!("STATUS: {crowd} for the crowd, {others} for the other account");
    assert!(others * CROWD * 2 >= crowd * OTHERS, "{others} beside {crowd}");
    // This costs a pass over the mailbox. Accounts take turns: the other one is served as often as the crowd, though four times as
    // many commands of the crowd wait.
    let (crowd, others) = answered(&scene, &other, "EXAMINE INBOX", 5);
    println!("EXAMINE: {crowd} for the crowd; STATUS: {others} for the other account");
    assert!(others >= crowd, "{others} beside {crowd}");
    assert!(scene.daemon.log().lines().all(|line| !line.contains("UNAVAILABLE")));
}
