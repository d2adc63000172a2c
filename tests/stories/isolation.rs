//! One account cannot see another: REST, SMTP and IMAP answer as for what does not exist.

use crate::clients::python;
use crate::daemon::Daemon;
use reqwest::Method;
use serde_json::{Value, json};

/// A second account's token.
pub fn second_account(daemon: &Daemon) -> String {
    let operator = daemon.api_as(daemon.ready("operator_token"));
    let account = operator.post("/api/v1/accounts", json!({"name": "other"})).expect(201);
    let body = json!({"name": "other", "account_id": account.at("/account_id")});
    operator.post("/api/v1/tokens", body).expect(201).at("/token").to_owned()
}

#[test]
fn what_another_account_owns_does_not_exist() {
    let daemon = Daemon::start();
    let (ours, inbox) = (daemon.api(), daemon.ready("inbox_id").to_owned());
    let theirs = daemon.api_as(&second_account(&daemon));

    let domain = ours.post("/api/v1/custom_domains", json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let alias =
        ours.post(&format!("/api/v1/inboxes/{inbox}/aliases"), json!({"address": "help@acme.test"})).expect(201);
    let raw = "From: friend@outside.test\r\nSubject: private\r\n\r\nSecret.\r\n";
    let inbound = json!({"mail_from": "friend@outside.test", "rcpt_to": daemon.ready("inbox"), "raw": raw});
    ours.post("/sandbox/inbound", inbound).expect(200);
    let messages = ours.get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    let (message, thread) = (messages.at("/data/0/id").to_owned(), messages.at("/data/0/thread_id").to_owned());
    let draft = json!({"inbox_id": inbox, "subject": "private"});
    let draft = ours.post("/api/v1/drafts", draft).expect(201).at("/id").to_owned();
    let label = ours.post("/api/v1/mailbox_labels", json!({"name": "private"})).expect(201).at("/id").to_owned();
    let entry = json!({"direction": "receive", "action": "block", "pattern": "spam.example"});
    let entry = ours.post("/api/v1/access_entries", entry).expect(201).at("/id").to_owned();
    let token = ours.post("/api/v1/tokens", json!({"name": "second"})).expect(201).at("/id").to_owned();
    // No server answers for this domain, so the message stays in the queue.
    ours.post("/sandbox/dns/faults", json!({"name": "silent.test", "fault": "servfail"})).expect(204);
    let waits = json!({"to": "x@silent.test", "subject": "waits", "text_body": "Hello."});
    let sent = ours.post(&format!("/api/v1/emails/send?inbox_id={inbox}"), waits).expect(201).at("/id").to_owned();

    let to_send = json!({"to": "x@outside.test", "subject": "s", "text_body": "t"});
    let walk: Vec<(Method, String, Option<Value>)> = vec![
        (Method::GET, format!("/api/v1/custom_domains/{domain}"), None),
        (Method::PATCH, format!("/api/v1/custom_domains/{domain}"), Some(json!({"is_default": true}))),
        (Method::POST, format!("/api/v1/custom_domains/{domain}/verify"), None),
        (Method::DELETE, format!("/api/v1/custom_domains/{domain}"), None),
        (Method::GET, format!("/api/v1/inboxes/{inbox}"), None),
        (Method::PATCH, format!("/api/v1/inboxes/{inbox}"), Some(json!({"default_domain_id": null}))),
        (Method::GET, format!("/api/v1/inboxes/{inbox}/aliases"), None),
        (Method::POST, format!("/api/v1/inboxes/{inbox}/aliases"), Some(json!({"address": "x@acme.test"}))),
        (Method::DELETE, format!("/api/v1/inboxes/{inbox}/aliases/{}", alias.at("/id")), None),
        (Method::GET, format!("/api/v1/emails?inbox={inbox}"), None),
        (Method::POST, format!("/api/v1/emails/send?inbox_id={inbox}"), Some(to_send)),
        (Method::GET, format!("/api/v1/emails/{message}"), None),
        (Method::GET, format!("/api/v1/emails/{message}/raw"), None),
        (Method::GET, format!("/api/v1/emails/{message}/attachments/1"), None),
        (Method::PATCH, format!("/api/v1/emails/{message}"), Some(json!({"add_labels": ["theirs"]}))),
        (Method::PATCH, format!("/api/v1/emails/{message}/actions"), Some(json!({"move_to": "trash"}))),
        (Method::POST, format!("/api/v1/emails/{message}/restore"), None),
        (Method::POST, format!("/api/v1/emails/{message}/reply"), Some(json!({"text_body": "x"}))),
        (Method::POST, format!("/api/v1/emails/{message}/forward"), Some(json!({"to": "x@outside.test"}))),
        (Method::DELETE, format!("/api/v1/emails/{message}"), None),
        (Method::GET, format!("/api/v1/emails/search?q=secret&inbox={inbox}"), None),
        (Method::GET, format!("/api/v1/email_threads/{thread}"), None),
        (Method::GET, format!("/api/v1/inboxes/{inbox}/drafts"), None),
        (Method::GET, format!("/api/v1/drafts/{draft}"), None),
        (Method::PATCH, format!("/api/v1/drafts/{draft}"), Some(json!({"subject": "theirs"}))),
        (Method::POST, format!("/api/v1/drafts/{draft}/send"), None),
        (Method::DELETE, format!("/api/v1/drafts/{draft}"), None),
        (Method::PATCH, format!("/api/v1/mailbox_labels/{label}"), Some(json!({"name": "theirs"}))),
        (Method::DELETE, format!("/api/v1/mailbox_labels/{label}"), None),
        (Method::DELETE, format!("/api/v1/access_entries/{entry}"), None),
        (Method::DELETE, format!("/api/v1/inboxes/{inbox}"), None),
        (Method::GET, format!("/api/v1/tokens/{token}"), None),
        (Method::DELETE, format!("/api/v1/tokens/{token}"), None),
        (Method::GET, format!("/api/v1/accounts/{}", daemon.ready("account_id")), None),
        (Method::GET, format!("/api/v1/queue/{sent}"), None),
        (Method::POST, format!("/api/v1/queue/{sent}/retry"), None),
        (Method::DELETE, format!("/api/v1/queue/{sent}"), None),
    ];
    for (method, path, body) in walk {
        // The same path with unknown ids: their last 26 characters are replaced.
        let nowhere: String = path
            .split('/')
            .map(|part| match part.rsplit_once('_') {
                Some((prefix, ulid)) if ulid.len() == 26 => format!("{prefix}_{}", "0".repeat(26)),
                _ => part.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("/");
        let foreign = theirs.call(method.clone(), &path, body.clone(), &[]);
        let unknown = theirs.call(method.clone(), &nowhere, body, &[]);
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.text);
        assert_eq!((foreign.status, foreign.text), (unknown.status, unknown.text), "{method} {path}");
    }
    for list in ["custom_domains", "inboxes", "queue"] {
        let all = theirs.get(&format!("/api/v1/{list}")).expect(200);
        assert!(crate::serve::rows(&all.body).is_empty(), "{list}: {}", all.text);
    }
    // The other account can claim the same name, and does not learn that it is claimed.
    let claim = theirs.post("/api/v1/custom_domains", json!({"domain": "acme.test"})).expect(201);
    assert_eq!(claim.at("/verified_status"), "pending");
    assert_eq!(claim.headers["location"], format!("/api/v1/custom_domains/{}", claim.at("/id")));
    // Nothing was changed.
    ours.get(&format!("/api/v1/custom_domains/{domain}")).expect(200);
    ours.get(&format!("/api/v1/emails/{message}")).expect(200);
    ours.get(&format!("/api/v1/queue/{sent}")).expect(200);
}

#[test]
fn logging_in_as_another_accounts_address_fails_like_an_unknown_one() {
    let daemon = Daemon::start();
    daemon.api().post("/api/v1/custom_domains", json!({"domain": "acme.test"})).expect(201);
    let token = second_account(&daemon);
    let platform = daemon.ready("inbox");
    let (local, domain) = platform.split_once('@').unwrap();
    let users = [platform.to_owned(), format!("{local}@acme.test"), format!("nobody-at-all@{domain}")];

    let (host, port) = daemon.address("submissions");
    let smtp = users.clone().map(|user| {
        let arguments = [&host, &port, "tls", daemon.ready("ca"), &user, &token, &user, "x@outside.test"];
        python("send.py", &arguments, b"Subject: x\r\n\r\nx\r\n").succeeded().json()
    });
    assert!(smtp.iter().all(|reply| *reply == smtp[0]) && smtp[0]["code"] == 535, "{smtp:?}");

    let (host, port) = daemon.address("imaps");
    let imap = users.map(|user| {
        let arguments = [&host, &port, "tls", daemon.ready("ca"), &user, &token, "x"];
        python("read.py", &arguments, b"").succeeded().json()
    });
    assert!(imap.iter().all(|reply| *reply == imap[0]) && imap[0].get("refused").is_some(), "{imap:?}");
}
