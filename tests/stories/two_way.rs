//! Mail clients read, star, move, delete and append; REST shows what they have done, and they what is done over REST.
//! imaplib has a story of several sessions besides, `imap_clients`; Thunderbird is in `synchronised`.

use crate::clients::python;
use crate::daemon::Daemon;
use serde_json::json;

/// Classes of `python/two_way_clients.py`.
const CLIENTS: [&str; 9] =
    ["AioImap", "Curl", "ImapClient", "ImapFlow", "ImapLib", "ImapTools", "Mbsync", "NeoMutt", "OfflineImap"];

/// The daemon, by the name in its certificate, which some clients do not find by address.
const HOST: &str = "localhost";

/// An inbox of its own for a client: its address and its id.
fn inbox(daemon: &Daemon, client: &str) -> (String, String) {
    let made = daemon.api().post("/api/v1/inboxes", json!({"name": client.to_lowercase()})).expect(201);
    (made.at("/email_address").to_owned(), made.at("/id").to_owned())
}

#[test]
fn clients_and_rest_see_what_the_other_does() {
    let daemon = Daemon::start();
    let (_, port) = daemon.address("imaps");
    let (ca, token, http) = (daemon.ready("ca"), daemon.ready("token"), daemon.ready("http"));
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/target/typescript/node_modules");
    std::thread::scope(|scope| {
        for client in CLIENTS {
            let (port, daemon) = (&port, &daemon);
            scope.spawn(move || {
                let (user, id) = inbox(daemon, client);
                let mut arguments = vec![client, HOST, port, ca, &user, token, http, &id];
                arguments.extend((client == "ImapFlow").then_some(modules));
                let outcome = python("two_way.py", &arguments, b"");
                assert_eq!(outcome.code, 0, "{client}: {}", outcome.stderr);
            });
        }
    });
}

#[test]
fn getmail_fetches_each_message_once() {
    let daemon = Daemon::start();
    let (_, port) = daemon.address("imaps");
    let (user, id) = inbox(&daemon, "getmail");
    let arguments = [HOST, &port, daemon.ready("ca"), &user, daemon.ready("token"), daemon.ready("http"), &id];
    python("getmail.py", &arguments, b"").succeeded();
}
