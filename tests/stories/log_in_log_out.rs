//! Clients that log in, log out and close without waiting for a response: no place among the store's readers is lost or used
//! twice, so no other client is refused anything.

use crate::cancelled_clients::tenants;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use std::sync::{Arc, Weak};

const CLIENTS: usize = 12;
/// Log-ins of each client.
const ROUNDS: usize = 300;
const HONEST: &str = "honest@inboxlayer.dev";

#[test]
fn clients_that_log_in_and_close_at_once_do_not_affect_others() {
    let relay = Relay::start();
    let limits = "[limits]\nconnections_per_address = 1000\nconnections_per_network = 1000\n\
                  mx_messages_per_hour = 1000000\nmx_recipients_per_hour = 1000000\n";
    let daemon = Serve::start(relay.address, limits);
    let config = tenants(&daemon, &["honest", "hasty"]);
    let (honest, hasty) = (config["honest"]["token"].as_str().unwrap(), config["hasty"]["token"].as_str().unwrap());

    // The others work until the last of these clients has ended, even by a failed assertion.
    let going = Arc::new(());
    let others: Weak<()> = Arc::downgrade(&going);
    let (mut statuses, mut taken, mut lists) = (0, 0, 0);
    std::thread::scope(|scope| {
        let status: Vec<_> = (0..4).map(|_| scope.spawn(|| status(&daemon, honest, &others))).collect();
        let mail = scope.spawn(|| hand_in(&daemon, &others));
        let list = scope.spawn(|| list(&daemon, &config["honest"]["inbox"], honest, &others));
        for _ in 0..CLIENTS {
            let going = Arc::clone(&going);
            let daemon = &daemon;
            scope.spawn(move || {
                (0..ROUNDS).for_each(|round| log_in_and_out(daemon, hasty, round % 4 == 0));
                drop(going);
            });
        }
        drop(going);
        statuses = status.into_iter().map(|thread| thread.join().unwrap()).sum();
        taken = mail.join().unwrap();
        lists = list.join().unwrap();
    });

    println!("{statuses} STATUS, {taken} messages and {lists} lists beside {} log-ins", CLIENTS * ROUNDS);
    assert!(statuses > 0 && taken > 0 && lists > 0);
    let mut user = Rude::secure(daemon.imaps, &daemon.ca());
    user.line();
    user.ask(&format!("LOGIN {HONEST} {honest}"), "OK");
    assert_eq!(user.ask("STATUS INBOX (MESSAGES)", "OK")[0], format!("* STATUS INBOX (MESSAGES {taken})"));
    let log = daemon.log();
    assert!(!log.contains("the store is closed"), "{log}");
    let problems = daemon.problems();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Sends both commands in one write, then closes the connection at once or reads the responses.
fn log_in_and_out(daemon: &Serve, token: &str, is_read: bool) {
    let mut client = Rude::secure(daemon.imaps, &daemon.ca());
    client.send(format!("a LOGIN hasty@inboxlayer.dev {token}\r\nz LOGOUT\r\n"));
    if is_read {
        client.answer("a", "a OK");
    } else {
        client.hang_up();
    }
}

/// Each of these functions returns how many requests were served.
fn status(daemon: &Serve, token: &str, others: &Weak<()>) -> usize {
    let mut count = 0;
    while others.strong_count() > 0 {
        let mut user = Rude::secure(daemon.imaps, &daemon.ca());
        user.line();
        user.ask(&format!("LOGIN {HONEST} {token}"), "x OK");
        for _ in 0..20 {
            user.ask("STATUS INBOX (MESSAGES)", "x OK");
            count += 1;
        }
    }
    count
}

fn hand_in(daemon: &Serve, others: &Weak<()>) -> usize {
    let mut count = 0;
    while others.strong_count() > 0 {
        let mut sender = Rude::connect(daemon.mx);
        sender.reply("220");
        sender.say("EHLO outside.example", "250");
        sender.envelope(HONEST);
        sender.send("From: a@outside.example\r\nSubject: meanwhile\r\n\r\n.\r\n");
        sender.reply("250");
        sender.say("QUIT", "221");
        count += 1;
    }
    count
}

fn list(daemon: &Serve, inbox: &serde_json::Value, token: &str, others: &Weak<()>) -> usize {
    let api = crate::rest::Rest::new(&format!("http://{}", daemon.http), token);
    let path = format!("/api/v1/emails?inbox={}&per_page=5", inbox.as_str().unwrap());
    let mut count = 0;
    while others.strong_count() > 0 {
        assert!(rows(&api.get(&path).expect(200).body).len() <= 5);
        count += 1;
    }
    count
}
