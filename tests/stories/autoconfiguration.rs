//! Mail clients find their settings: what Thunderbird, Outlook and Apple's clients ask for is parsed by others' XML and property list
//! readers, and names the ports that really listen.

use crate::clients::python;
use crate::daemon::Daemon;

#[test]
fn mail_clients_find_the_ports_that_listen() {
    let daemon = Daemon::start();
    let (base, sign_in) = (daemon.ready("http"), daemon.ready("sign_in"));
    let address = daemon.ready("inbox");
    let arguments = [base, sign_in, daemon.ready("inbox_id"), address];
    let outcome = python("autoconfiguration.py", &arguments, b"").succeeded();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let port = |listener: &str| daemon.address(listener).1;
    let host = "smtp.inboxlayer.dev";
    let all = [("imaps", 0), ("imap", 0), ("submissions", 1), ("submission", 1)];
    let mut expected = Vec::new();
    for (client, protocols, securities, user) in [
        ("thunderbird", ["imap", "smtp"], ["SSL", "STARTTLS"], "%EMAILADDRESS%"),
        ("outlook", ["IMAP", "SMTP"], ["SSL", "TLS"], address),
    ] {
        for _ in 0..2 {
            for (listener, protocol) in all {
                let (protocol, security) = (protocols[protocol], securities[usize::from(!listener.ends_with('s'))]);
                expected.push(format!("{client} {protocol} {host} {} {security} {user}", port(listener)));
            }
        }
    }
    // Thunderbird's columns: protocol, host, port, security, user; Apple's clients get the best of each.
    expected.push(format!("apple imap {host} {} SSL {address}", port("imaps")));
    expected.push(format!("apple smtp {host} {} SSL {address}", port("submissions")));
    assert_eq!(lines, expected);
}
