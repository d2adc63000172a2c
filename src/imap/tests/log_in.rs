//! Logging in: bearer tokens, and what is said at log-in.

use super::*;
use crate::id::DomainId;
use crate::store::params;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn oauth_bearer(user: &str, token: &str) -> String {
    STANDARD.encode(format!("n,a={user},\x01host=localhost\x01port=993\x01auth=Bearer {token}\x01\x01"))
}

fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"))
}

#[tokio::test]
async fn an_api_token_logs_in_as_a_bearer_token() {
    let world = World::new().await;
    let (user, token) = ("anna@inboxlayer.dev", world.token.reveal());
    for (mechanism, response) in [("OAUTHBEARER", oauth_bearer(user, token)), ("XOAUTH2", xoauth2(user, token))] {
        let mut client = world.not_authenticated().await;
        assert!(client.ok("CAPABILITY").await[0].contains(&format!(" AUTH={mechanism}")));
        let answer = client.ask(&format!("AUTHENTICATE {mechanism} {response}")).await;
        assert!(answer[0].contains("OK [CAPABILITY"), "{answer:?}");

        let mut client = world.not_authenticated().await;
        client.send(format!("a AUTHENTICATE {mechanism}\r\n")).await;
        assert_eq!(client.line().await, "+ ");
        client.send(format!("{response}\r\n")).await;
        assert!(client.line().await.starts_with("a OK [CAPABILITY"));
        client.ok("SELECT INBOX").await;
    }
}

#[tokio::test]
async fn a_wrong_bearer_token_is_refused_with_an_error_message() {
    let world = World::new().await;
    let user = "anna@inboxlayer.dev";
    for (mechanism, response, answer, status) in [
        ("OAUTHBEARER", oauth_bearer(user, "wrong"), "AQ==", "invalid_token"),
        ("XOAUTH2", xoauth2(user, "wrong"), "", "401"),
    ] {
        let mut client = world.not_authenticated().await;
        client.send(format!("a AUTHENTICATE {mechanism} {response}\r\n")).await;
        let challenge = client.line().await;
        let error = STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap();
        let error: serde_json::Value = serde_json::from_slice(&error).unwrap();
        assert_eq!(error["status"], status);
        client.send(format!("{answer}\r\n")).await;
        assert!(client.line().await.starts_with("a NO [AUTHENTICATIONFAILED] "));
        // Another attempt works.
        let token = world.token.reveal();
        client.ok(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(user, token))).await;

        let mut client = world.not_authenticated().await;
        let malformed = STANDARD.encode("user=a");
        assert!(client.ask(&format!("AUTHENTICATE {mechanism} {malformed}")).await[0].contains(" BAD "));
    }
}

#[tokio::test]
async fn who_logs_in_at_a_domain_that_is_not_verified_is_told_what_happens_to_mail() {
    let world = World::new().await;
    let (id, account) = (DomainId::new(), world.account.clone());
    let row = id.clone();
    let insert = world.store.write(move |c| {
        let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, created_at, updated_at)
                   VALUES (?1, ?2, 'acme.test', 'pending', 'a b c', 0, 0)";
        c.execute(sql, params![row, account])?;
        Ok::<_, StoreError>(())
    });
    insert.await.unwrap();
    let login = |address: &str| format!("LOGIN {address} {}", world.token.reveal());
    let alert = "* OK [ALERT] the domain acme.test is not verified: mail you send";
    for (on_unverified, status, expected) in [
        ("fallback", "pending", Some("leaves as anna@")),
        ("hold", "pending", Some("is held until it is")),
        ("hold", "failed", Some("is refused")),
        ("reject", "pending", Some("is refused")),
        ("reject", "verified", None),
    ] {
        let id = id.clone();
        let change = world.store.write(move |c| {
            let sql = "UPDATE custom_domain SET on_unverified = ?2, status = ?3 WHERE id = ?1";
            c.execute(sql, params![id, on_unverified, status])?;
            Ok::<_, StoreError>(())
        });
        change.await.unwrap();
        let mut client = world.not_authenticated().await;
        let alerts = client.ok(&login("anna@acme.test")).await;
        match expected {
            Some(expected) => {
                assert!(alerts.len() == 1 && alerts[0].starts_with(&format!("{alert} {expected}")), "{alerts:?}")
            }
            None => assert!(alerts.is_empty(), "{alerts:?}"),
        }
        // Once.
        assert_eq!(client.ok("NOOP").await, [""; 0]);
        let mut client = world.not_authenticated().await;
        assert_eq!(client.ok(&login("anna@inboxlayer.dev")).await, [""; 0]);
    }
}
