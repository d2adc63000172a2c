//! The dry run of sending: which From, why, and what a receiver would make of it.

use crate::config::{Config, Provider};
use crate::http::router;
use crate::http::testing::World;
use crate::store::checks::Report;
use crate::store::domains::DomainRow;
use crate::store::ses::{MailFrom, SesReply};
use crate::verification::judge::{CheckedRecord, Evidence, RecordStatus};
use crate::verification::status::Policy;
use crate::verifier::Rules;
use serde_json::{Value, json};

/// Records a check of a domain that found these statuses, by position.
async fn checked(world: &World, domain: &str, statuses: [RecordStatus; 6], observed: &str) {
    let (id, account) = (domain.parse().unwrap(), &world.ours.account);
    let row: DomainRow = world.context.store.domain_get(account, &id).await.unwrap().unwrap();
    let rules = Rules::of(&world.context.config);
    let one = |(expected, status)| CheckedRecord {
        expected,
        evidence: Evidence { status, observed: vec![observed.to_owned()], ..Evidence::default() },
    };
    let report = Report { domain: id, records: rules.expected(&row).into_iter().zip(statuses).map(one).collect() };
    let policy: Policy = rules.policy;
    crate::store::testing::record_check(&world.context.store, report, policy, world.context.clock.now()).await;
}

#[tokio::test]
async fn the_dry_run_says_what_would_leave_and_what_its_receiver_would_make_of_it() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "hello"})).await.text("id");
    let path = format!("/api/v1/inboxes/{inbox}/sending_identity");
    let ask = async |query: &str| -> Value {
        let answer = world.get(token, &format!("{path}{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    };
    let brief = |json: &Value| {
        let text = |field: &str| json[field].as_str().unwrap().to_owned();
        (text("from"), text("reason"), json["fallback"]["reason"].clone())
    };
    let platform = ask("").await;
    assert_eq!(brief(&platform), ("hello@inboxlayer.dev".into(), "platform".into(), json!(null)));
    assert_eq!((&platform["login"], &platform["custom_domain_id"]), (&json!("hello@inboxlayer.dev"), &json!(null)));
    assert_eq!(platform["dkim"]["domain"], "inboxlayer.dev");
    assert_eq!((&platform["dmarc"]["aligned"], &platform["dmarc"]["passes"]), (&json!(true), &json!(null)));

    let made = world.post(token, "/api/v1/custom_domains", json!({"domain": "acme.com"})).await;
    let domain = made.text("id");
    let of_domain = format!("/api/v1/custom_domains/{domain}");
    let pending = ask("?login=hello%2Btag@Acme.com").await;
    let expected = ("hello@inboxlayer.dev".into(), "login_domain_pending".into(), json!("pending"));
    assert_eq!((brief(&pending), &pending["fallback"]["from"]), (expected, &json!("hello+tag@acme.com")));
    assert_eq!(pending["fallback"]["on_unverified"], "fallback");
    assert!(pending["explanation"].as_str().unwrap().contains("acme.com is pending"), "{pending}");
    for (setting, consequence) in
        [("hold", "mail is held until it is verified"), ("reject", "mail is rejected"), ("fallback", "mail leaves as")]
    {
        world.patch(token, &of_domain, json!({"on_unverified": setting})).await;
        let visible = ask("?login=hello@acme.com").await;
        assert!(visible["explanation"].as_str().unwrap().contains(consequence), "{visible}");
    }

    use RecordStatus::{Missing, Valid};
    checked(&world, &domain, [Valid, Valid, Valid, Valid, Missing, Valid], "v=DMARC1; p=reject; adkim=s").await;
    let verified = ask("?login=hello%2Btag@acme.com").await;
    assert_eq!(brief(&verified), ("hello+tag@acme.com".into(), "login_domain_verified".into(), json!(null)));
    assert_eq!(verified["custom_domain_id"], json!(domain));
    let spf = json!({"domain": "acme.com", "mode": "relaxed", "aligned": true, "record": "missing", "passes": false});
    let dkim = json!({"domain": "acme.com", "mode": "strict", "aligned": true, "record": "valid", "passes": true});
    let dmarc = json!({"domain": "acme.com", "policy": "reject", "aligned": true, "passes": true});
    assert_eq!((&verified["spf"], &verified["dkim"], &verified["dmarc"]), (&spf, &dkim, &dmarc));

    world.patch(token, &of_domain, json!({"is_default": true})).await;
    assert_eq!(brief(&ask("?login=hello").await).0, "hello@acme.com");
    assert_eq!(brief(&ask("").await).1, "default_domain_verified");
    // What is said is what is done.
    let message = json!({"to": ["a@elsewhere.org"], "text_body": "x"});
    assert_eq!(
        world.post(token, &format!("/api/v1/emails/send?inbox_id={inbox}"), message).await.text("from"),
        "hello@acme.com"
    );

    for (query, field) in [
        ("login=other@acme.com", "login"),
        ("login=hello@nobody.org", "login"),
        ("login=@", "login"),
        ("user=x", "user"),
    ] {
        let wrong = world.get(token, &format!("{path}?{query}")).await;
        assert_eq!((wrong.status, wrong.fields()), (422, vec![field.to_owned()]), "{query}");
    }
}

#[tokio::test]
async fn no_more_is_promised_than_receivers_will_find() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "hello"})).await.text("id");
    let domain = world.post(token, "/api/v1/custom_domains", json!({"domain": "acme.com"})).await.text("id");
    let ask = async || -> Value {
        let path = format!("/api/v1/inboxes/{inbox}/sending_identity?login=hello@acme.com");
        world.get(token, &path).await.json()
    };
    use RecordStatus::{Mismatch, Missing, Valid};
    // The first key signs once all three exist; until then the selector is unknown.
    let keys = format!("/api/v1/custom_domains/{domain}/dkim_keys");
    while !world.get(token, &keys).await.json()["data"].as_array().unwrap().iter().all(|key| key["role"].is_string()) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let shown = world.get(token, &keys).await.json();
    let signs = shown["data"].as_array().unwrap().iter().position(|key| key["role"] == "signing").unwrap();
    let with = |own: RecordStatus, others: RecordStatus, dmarc: RecordStatus| {
        let mut all = [others, others, others, Valid, Valid, dmarc];
        all[signs] = own;
        all
    };
    // Two DMARC records, of which receivers use none.
    checked(&world, &domain, [Valid, Valid, Valid, Valid, Valid, Mismatch], "v=DMARC1; p=reject; adkim=s").await;
    let reply = ask().await;
    assert_eq!((&reply["dmarc"]["policy"], &reply["dkim"]["mode"]), (&json!(null), &json!("relaxed")));
    assert_eq!(reply["dkim"]["passes"], true);
    // The CNAME of the signing key is wrong, and no other key can take over; or one can.
    for (own, others, passes) in
        [(Missing, Missing, json!(false)), (Missing, Valid, json!(true)), (Valid, Missing, json!(true))]
    {
        checked(&world, &domain, with(own, others, Valid), "v=DMARC1; p=reject").await;
        assert_eq!(
            (&ask().await["dkim"]["passes"], &reply["from"]),
            (&passes, &json!("hello@acme.com")),
            "{own} {others}"
        );
    }
    // Right, but there is no key behind it.
    keyless(&world, &domain, signs).await;
    assert_eq!(ask().await["dkim"]["passes"], false);
}

/// Records a check that found all records valid, and no key behind one.
async fn keyless(world: &World, domain: &str, position: usize) {
    let error = json!({"code": "target_without_key", "message": "m", "fix": "f", "step": ""}).to_string();
    let ring = world.context.store.key_ring(&domain.parse().unwrap()).await.unwrap().unwrap();
    let (id, name) = (domain.to_owned(), format!("{}._domainkey.acme.com", ring.tokens[position]));
    checked(world, domain, [RecordStatus::Valid; 6], "v=DMARC1; p=reject").await;
    let write = world.context.store.write(move |c| {
        let sql = "UPDATE domain_record SET error = ?3 WHERE domain_id = ?1 AND name = ?2";
        c.execute(sql, crate::store::params![id, name, error])
    });
    assert_eq!(write.await.unwrap(), 1);
}

#[tokio::test]
async fn where_amazon_ses_sends_the_envelope_sender_is_its_own_or_at_the_return_path_it_uses() {
    let mut config = Config::default();
    config.dkim.provider = Provider::Ses;
    config.ses.region = Some("eu-west-1".into());
    let world = World::serving_with(config, router).await;
    let (token, store, now) = (&world.ours.token, &world.context.store, world.context.clock.now());
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "hello"})).await.text("id");
    let domain = world.post(token, "/api/v1/custom_domains", json!({"domain": "acme.com"})).await.text("id");
    let name = "acme.com".parse().unwrap();
    let row = store.ses_intend(&name, "mark".into(), (crate::id::RunnerId::new(), now), now).await.unwrap().unwrap();
    use RecordStatus::Valid;
    checked(&world, &domain, [Valid; 6], "v=DMARC1; p=reject").await;
    let ask = async || -> Value {
        let path = format!("/api/v1/inboxes/{inbox}/sending_identity?login=hello@acme.com");
        world.get(token, &path).await.json()
    };
    let says = async |in_use: bool| {
        let mail_from = Some(MailFrom { domain: "bounce.acme.com".parse().unwrap(), in_use, given_up: false });
        let tokens = row.claimed_tokens.clone().unwrap();
        let reply =
            SesReply { is_ours: true, tokens, dkim_status: "SUCCESS".into(), signs: true, sending: true, mail_from };
        store
            .ses_record_reply(&name, (crate::id::RunnerId::new(), crate::clock::Timestamp::real()), reply)
            .await
            .unwrap();
    };

    // SPF speaks for a domain of Amazon's, so that DMARC rests on DKIM alone. Bounces are forwarded to From.
    says(false).await;
    let theirs = ask().await;
    let spf = json!({"domain": "eu-west-1.amazonses.com", "mode": "relaxed", "aligned": false, "record": null, "passes": null});
    assert_eq!((&theirs["spf"], &theirs["mail_from"]), (&spf, &json!("hello@acme.com")));
    assert_eq!((&theirs["dkim"]["aligned"], &theirs["dmarc"]["passes"]), (&json!(true), &json!(true)));
    says(true).await;
    let ours = ask().await;
    assert_eq!((&ours["spf"]["domain"], &ours["spf"]["aligned"]), (&json!("bounce.acme.com"), &json!(true)));
    assert_eq!(ours["mail_from"], "hello@acme.com");
}
