//! The daemon as an operator runs it with Amazon SES: `serve` with `provider = "ses"`, a fake SES with its API and its relay, real
//! name servers; and failures of SES.
//!
//! There is no `[queue.relay]`: mail goes to the region's relay, with credentials derived from the access key. Its name resolves to
//! a loopback address here, and its port is 587, which needs root unless the system allows it to everyone.

#[path = "../../../src/dkim/ses/testing/fake.rs"]
#[expect(dead_code, reason = "the library's tests use the rest of it")]
mod fake;
mod relay;

use crate::clients::{Outcome, python, run};
use crate::faults::dns::{Dns, Paths, Zone};
use crate::faults::world::Guard;
use crate::rest::{Answer, Rest};
use crate::serve::Serve;
use fake::{FakeSes, Fault, identity};
use relay::{Relay, Taken};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const DOMAINS: &str = "/api/v1/custom_domains";
const FRIEND: &str = "friend@outside.test";
const REGION: &str = "eu-central-1";
/// The password that AWS's own program derives from the key for the region: <https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html>
const KEY: (&str, &str) = ("AKIDTEST", "another+secret+key");
const PASSWORD: &str = "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh";

struct Story {
    serve: Serve,
    /// Dropped before the DNS.
    _guard: Guard,
    dns: Dns,
    ses: FakeSes,
    relay: Relay,
    inbox: String,
    token: String,
    /// Runs the fake SES.
    _runtime: tokio::runtime::Runtime,
}

impl Story {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut dns = Dns::start(&folder, Paths::Plain);
        let relay_name = format!("email-smtp.{REGION}.amazonaws.com");
        let relay_at = dns.host(25);
        let relay = Relay::start((relay_at, 587).into(), &relay_name, KEY.0, PASSWORD);
        std::fs::write(folder.join("relay.pem"), &relay.pem).unwrap();
        let zone = Zone::default().with(&relay_name, "A", &relay_at.to_string());
        dns.serve("amazonaws.com", &[Dns::ELSEWHERE], &zone);
        dns.delegate("amazonaws.com", &[Dns::ELSEWHERE], None);

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ses = runtime.block_on(FakeSes::start());
        // The platform domain's identity, created by the operator.
        ses.put("inboxlayer.dev", identity(["p1", "p2", "p3"], &json!([])));
        ses.says("inboxlayer.dev", "SUCCESS", true);
        relay.verify("inboxlayer.dev");

        let resolvers = format!("resolvers = [\"{}\"]\nallow_networks = [\"127.0.0.0/8\"]", dns.resolver());
        let queue = format!("extra_roots = \"{}\"", folder.join("relay.pem").display());
        let more = format!(
            "[platform]\nallow_special_use = [\"test\"]\n[dkim]\nprovider = \"ses\"\nzone = \"dkim.amazonses.com\"\n\
             [ses]\nregion = \"{REGION}\"\nendpoint = \"{}\"\n[verification]\nfirst_pause = \"1h\"\nlongest_pause = \"1h\"\n",
            ses.endpoint
        );
        let environment = [("AWS_ACCESS_KEY_ID", KEY.0), ("AWS_SECRET_ACCESS_KEY", KEY.1)];
        let serve = Serve::start_in(&environment, &resolvers, &queue, &more);
        let guard = Guard::new(&dns.processes(), &[&folder]);
        let (_, inbox, token) = serve.account("desk");
        Self { serve, _guard: guard, dns, ses, relay, inbox, token, _runtime: runtime }
    }

    fn api(&self) -> Rest {
        Rest::new(&format!("http://{}", self.serve.http), &self.token)
    }

    fn cli(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
        let url = format!("http://{}", self.serve.http);
        command.args(arguments).env("INBOXLAYER_URL", url).env("INBOXLAYER_TOKEN", &self.token);
        run(command, b"")
    }

    /// Waits until the relay has accepted the message with this subject.
    #[track_caller]
    fn taken(&self, subject: &str) -> Taken {
        let found = || self.relay.taken().into_iter().find(|mail| mail.field("Subject") == Some(subject));
        eventually(&format!("{subject} is taken by the relay"), || found().is_some());
        found().unwrap()
    }

    /// Sends a message over the API; returns its response.
    fn send(&self, subject: &str) -> Answer {
        let body = json!({"from": "desk@acme.test", "to": FRIEND, "subject": subject, "text_body": "Hello."});
        self.api().post(&format!("/api/v1/emails/send?inbox_id={}", self.inbox), body).expect(201)
    }

    /// Sends a message over SMTP; returns the reply.
    fn submit(&self, subject: &str) -> Value {
        let (ca, port) = (self.serve.ca().display().to_string(), self.serve.submission.port().to_string());
        let user = "desk@acme.test";
        let message = format!("From: Desk <{user}>\r\nTo: {FRIEND}\r\nSubject: {subject}\r\n\r\nHello.\r\n");
        let arguments = ["127.0.0.1", &port, "starttls", &ca, user, &self.token, user, FRIEND];
        python("send.py", &arguments, message.as_bytes()).succeeded().json()
    }

    /// Checks as soon as allowed; returns the domain afterwards.
    fn verify(&self, id: &str) -> Value {
        let began = Instant::now();
        loop {
            let path = format!("{DOMAINS}/{id}/verify");
            let answer = self.api().call(Method::POST, &path, None, &[("Prefer", "wait=30")]);
            if answer.status == 200 {
                return answer.body;
            }
            assert!(answer.status == 429 && began.elapsed() < Duration::from_secs(60), "{}", answer.text);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn sending_identity(&self) -> Value {
        let path = format!("/api/v1/inboxes/{}/sending_identity?login=desk@acme.test", self.inbox);
        self.api().get(&path).expect(200).body
    }

    /// Publishes all records of the claim, and Amazon's keys.
    fn publish(&mut self, domain: &Value) {
        let mut zone = Zone::default();
        let mut amazons = Zone::default().with_text("amazonses.com", "v=spf1 ip4:192.0.2.0/24 -all");
        for record in domain["records"].as_array().unwrap() {
            let text = |field: &str| record[field].as_str().unwrap().to_owned();
            zone = match record["type"].as_str().unwrap() {
                "TXT" => zone.with_text(&text("name"), &text("value")),
                "MX" => zone.with(&text("name"), "MX", &format!("{} {}.", record["priority"], text("value"))),
                kind => zone.with(&text("name"), kind, &format!("{}.", text("value"))),
            };
            if record["purpose"] == "dkim" {
                amazons = amazons.with_text(&text("value"), "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC");
            }
        }
        self.dns.serve("amazonses.com", &[Dns::ELSEWHERE], &amazons);
        self.dns.delegate("amazonses.com", &[Dns::ELSEWHERE], None);
        self.dns.serve("acme.test", &[Dns::FIRST, Dns::SECOND], &zone);
        self.dns.delegate("acme.test", &[Dns::FIRST, Dns::SECOND], None);
    }
}

#[track_caller]
fn eventually(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(90), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn of<'a>(domain: &'a Value, purpose: &str) -> Vec<&'a Value> {
    domain["records"].as_array().unwrap().iter().filter(|record| record["purpose"] == purpose).collect()
}

#[track_caller]
fn awaited(records: &[&Value]) {
    for record in records {
        let (status, code) = (&record["status"], &record["error"]["code"]);
        assert_eq!((status, code), (&json!("unknown"), &json!("awaiting_provider")), "{record:#}");
    }
}

/// All kinds of SES errors: nothing is claimed, and the client may retry.
fn refused_for_now(story: &Story) {
    for fault in [
        Fault::Error(429, "TooManyRequestsException"),
        Fault::Error(500, "InternalFailure"),
        Fault::Error(503, "ServiceUnavailable"),
        Fault::Error(403, "AccessDeniedException"),
        Fault::Silence,
    ] {
        story.ses.fault(fault);
        let refused = story.api().post(DOMAINS, json!({"domain": "acme.test"})).expect(503);
        assert!(refused.headers.contains_key("retry-after"), "{fault:?}: {refused:?}");
        assert_eq!(story.api().get(DOMAINS).expect(200).body, json!([]), "{fault:?}");
    }
    // An identity whose response was lost is adopted on retry.
    story.ses.fault(Fault::LostAnswer);
    story.api().post(DOMAINS, json!({"domain": "acme.test"})).expect(503);
    assert_eq!(story.ses.names(), ["acme.test", "inboxlayer.dev"]);
    story.ses.fault(None);
}

/// The keys are at SES; requests for them are 409.
fn keys_are_at_ses(story: &Story, id: &str) {
    let rotate = story.api().post(&format!("{DOMAINS}/{id}/rotate_key"), json!({})).expect(409);
    assert_eq!(rotate.at("/code"), "keys_at_provider");
    assert_eq!(story.api().get(&format!("{DOMAINS}/{id}/dkim_keys")).expect(409).at("/code"), "keys_at_provider");
    for verb in ["rotate-key", "keys"] {
        let output = story.cli(&["domain", verb, "acme.test"]);
        assert_eq!(output.code, 1, "{output:?}");
        let (what, fix) = ("error: Amazon SES signs mail with its own keys", "fix: No action is needed");
        assert!(output.stderr.contains(what) && output.stderr.contains(fix), "{output:?}");
    }
}

/// The return path is set at SES, and used once SES has found its record.
fn a_return_path(story: &mut Story, id: &str) {
    let path = format!("{DOMAINS}/{id}");
    let set = story.api().call(Method::PATCH, &path, Some(json!({"return_path": "bounce"})), &[]).expect(200).body;
    let records = of(&set, "return_path");
    let host = format!("feedback-smtp.{REGION}.amazonses.com");
    assert_eq!((&records[0]["value"], &records[0]["priority"]), (&json!(host), &json!(10)));
    assert_eq!(records[1]["value"], "v=spf1 include:amazonses.com ~all");
    eventually("SES has the MAIL FROM domain", || story.ses.mail_from("acme.test").is_some());
    assert_eq!(story.ses.mail_from("acme.test").as_deref(), Some("bounce.acme.test"));
    story.publish(&set);
    awaited(&of(&story.verify(id), "return_path"));
    let spf = &story.sending_identity()["spf"];
    assert_eq!((&spf["domain"], &spf["aligned"]), (&json!(format!("{REGION}.amazonses.com")), &json!(false)));

    story.ses.says_of_mail_from("acme.test", "SUCCESS");
    let used = story.verify(id);
    assert!(of(&used, "return_path").iter().all(|record| record["status"] == "valid"), "{used:#}");
    let spf = &story.sending_identity()["spf"];
    assert_eq!((&spf["domain"], &spf["aligned"]), (&json!("bounce.acme.test"), &json!(true)));
    assert_eq!(spf["passes"], json!(true));
    story.send("with a return path");
    assert_eq!(story.taken("with a return path").mail_from, "desk@acme.test");
}

#[test]
fn from_the_claim_to_its_end_with_an_amazon_ses_that_fails_now_and_then() {
    let mut story = Story::start();
    refused_for_now(&story);
    let made = story.api().post(DOMAINS, json!({"domain": "acme.test"})).expect(201);
    let (id, domain) = (made.at("/id").to_owned(), made.body.clone());
    let tokens = domain["dkim_tokens"].as_array().unwrap();
    assert_eq!(json!(tokens), story.ses.get("acme.test")["DkimAttributes"]["Tokens"]);
    for (record, token) in of(&domain, "dkim").iter().zip(tokens) {
        assert_eq!(record["value"], json!(format!("{}.dkim.amazonses.com", token.as_str().unwrap())));
    }
    let status = |domain: &Value| domain["verified_status"].as_str().unwrap().to_owned();
    assert_eq!(status(&domain), "pending");

    // Mail leaves under the platform domain, unsigned by us.
    let sent = story.send("while pending");
    assert_eq!((sent.at("/from"), sent.at("/fallback/reason")), ("desk@inboxlayer.dev", "pending"));
    let mail = story.taken("while pending");
    assert_eq!((&*mail.mail_from, mail.field("From")), ("desk@inboxlayer.dev", Some("<desk@inboxlayer.dev>")));
    assert_eq!(mail.field("Inboxlayer-Fallback"), Some("from=desk@acme.test; reason=pending"));
    assert_eq!(mail.field("DKIM-Signature"), None);

    // The records are published; SES has not seen them, then does not answer, then confirms them.
    story.publish(&domain);
    let waiting = story.verify(&id);
    assert_eq!(status(&waiting), "pending");
    awaited(&of(&waiting, "dkim"));
    story.ses.says("acme.test", "SUCCESS", true);
    story.relay.verify("acme.test");
    story.ses.fault(Fault::Silence);
    let silent = story.verify(&id);
    assert_eq!(status(&silent), "pending");
    awaited(&of(&silent, "dkim"));
    story.ses.fault(None);
    let verified = story.verify(&id);
    assert_eq!(status(&verified), "verified", "{verified:#}");
    assert!(verified["verdict"].as_str().unwrap().starts_with("All is well"), "{}", verified["verdict"]);
    keys_are_at_ses(&story, &id);

    // Now mail leaves under the domain, also while SES's API fails.
    story.ses.fault(Fault::Error(503, "ServiceUnavailable"));
    let reply = story.submit("once verified");
    assert_eq!(reply["code"], 250, "{reply}");
    let mail = story.taken("once verified");
    assert_eq!((&*mail.mail_from, mail.field("From")), ("desk@acme.test", Some("Desk <desk@acme.test>")));
    assert_eq!((mail.field("Inboxlayer-Fallback"), mail.field("DKIM-Signature")), (None, None));
    story.ses.fault(None);
    a_return_path(&mut story, &id);

    // The last claim and the daemon end while SES fails: the leftover identity is deleted after the next start.
    story.ses.fault(Fault::Error(500, "InternalFailure"));
    assert_eq!(story.api().delete(&format!("{DOMAINS}/{id}")).status, 204);
    story.serve.kill();
    assert_eq!(story.ses.names(), ["acme.test", "inboxlayer.dev"]);
    story.ses.fault(None);
    story.serve.launch();
    eventually("the identity is deleted", || story.ses.names() == ["inboxlayer.dev"]);
    // The operator's own identity is never deleted.
    let deleted: Vec<_> = story.ses.verbs().into_iter().filter(|verb| verb.starts_with("DELETE")).collect();
    assert_eq!(deleted, ["DELETE /v2/email/identities/acme.test"]);
    assert!(!story.serve.log().contains("Amazon SES does not send for inboxlayer.dev"), "{}", story.serve.log());
}

#[test]
fn without_credentials_for_the_relay_nothing_starts_and_it_is_said_why() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("inboxlayer.toml"), folder.path().join("data"));
    let off =
        "[smtp]\nmx = \"off\"\nsubmission = \"off\"\nsubmissions = \"off\"\n[imap]\nimap = \"off\"\nimaps = \"off\"\n";
    let text = format!(
        "data_dir = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{off}[dkim]\nprovider = \"ses\"\nzone = \
         \"dkim.amazonses.com\"\n[ses]\nregion = \"{REGION}\"\n",
        data.display()
    );
    std::fs::write(&file, text).unwrap();
    // No credentials at all; then those of a role, which the relay does not accept.
    let role =
        [("AWS_ACCESS_KEY_ID", KEY.0), ("AWS_SECRET_ACCESS_KEY", KEY.1), ("AWS_SESSION_TOKEN", "token")].as_slice();
    for (environment, why) in
        [([].as_slice(), ""), (role, ": temporary credentials cannot log in at the relay: give [queue.relay]")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
        command.args(["serve", "--config"]).arg(&file).env_clear().envs(environment.iter().copied());
        command.env("HOME", folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        let outcome = run(command, b"");
        assert_eq!(outcome.code, 1, "{outcome:?}");
        let output = format!("[dkim] provider: Amazon SES refuses our credentials{why}");
        assert!(outcome.stderr.contains(&output), "{outcome:?}");
    }
}
