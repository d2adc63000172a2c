//! The requests checked by moto, and by AWS's own description of its API for calls that moto lacks.

use super::super::testing::service;
use super::*;

/// moto parses requests as AWS does. Its responses lack tokens and have a time format that AWS does not use, so no
/// claim can use them: what it stored is read without the SDK.
#[tokio::test]
async fn moto_understands_our_requests() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/moto_server");
    let mut moto = tokio::process::Command::new(program)
        .args(["-H", "127.0.0.1", "-p", "0"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}; `tests/run` installs it"));
    let mut lines = BufReader::new(moto.stderr.take().unwrap()).lines();
    let endpoint = loop {
        let line = lines.next_line().await.unwrap().expect("moto_server says where it runs");
        if let Some((_, address)) = line.split_once("Running on ") {
            break address.trim().to_owned();
        }
    };
    // It must not block on unread output.
    tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let found = async || -> serde_json::Value {
        let url = format!("{endpoint}/v2/email/identities/acme.test");
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKIDTEST/20261124/eu-west-1/ses/aws4_request, SignedHeaders=host, Signature=0";
        let answer = reqwest::Client::new().get(url).header("authorization", signed).send().await.unwrap();
        answer.json().await.unwrap()
    };

    let world = world().await;
    let client =
        service(&endpoint, &world.store, &world.clock, Duration::from_secs(60)).await.identities.client.clone();
    assert_eq!(client.get(&acme(), "mark").await, Err(SesError::NotFound));
    // The identity is created, although the response differs from AWS's.
    assert!(matches!(client.create(&acme(), "mark").await, Err(SesError::Failed(_) | SesError::Unusable(_))));
    let made = found().await;
    assert_eq!(
        (&made["IdentityType"], &made["Tags"]),
        (&json!("DOMAIN"), &json!([{"Key": "inboxlayer", "Value": "mark"}]))
    );
    assert_eq!(made["DkimAttributes"]["NextSigningKeyLength"], "RSA_2048_BIT");
    assert_eq!(made["DkimAttributes"]["SigningAttributesOrigin"], "AWS_SES");
    assert_eq!(client.delete(&acme()).await, Ok(()));
    assert_eq!(found().await["message"], "acme.test");
    assert_eq!(client.delete(&acme()).await, Ok(()));
}

/// The API description is part of AWS's botocore.
#[tokio::test]
async fn calls_that_moto_lacks_match_awss_description() {
    let world = world().await;
    world.fake.put("acme.test", identity(["a1", "b2", "c3"], &json!([])));
    let client = &world.ses.identities.client;
    client.look_anew(&acme()).await.unwrap();
    client.sign(&acme()).await.unwrap();
    client.set_mail_from(&acme(), Some(&"bounce.acme.test".parse().unwrap())).await.unwrap();
    client.set_mail_from(&acme(), None).await.unwrap();
    let program = r#"
import botocore.session, botocore.validate, json, sys
model = botocore.session.get_session().get_service_model("sesv2")
for name in sys.argv[1:]:
    operation = model.operation_model(name)
    body = json.loads(sys.stdin.readline())
    report = botocore.validate.ParamValidator().validate(dict(body, EmailIdentity="acme.test"), operation.input_shape)
    unknown = set(body) - set(operation.input_shape.members)
    values = [v for k, v in body.items() if getattr(operation.input_shape.members.get(k), "enum", None)]
    known = [v for k, v in body.items() if v in getattr(operation.input_shape.members.get(k), "enum", [])]
    if report.has_errors() or unknown or values != known:
        sys.exit(f"{name}: {report.generate_report()} {unknown} {values}")
    print(operation.http["method"], operation.http["requestUri"].replace("{EmailIdentity}", "acme.test"))
"#;
    let calls = world.fake.calls();
    let bodies: String = calls.iter().map(|call| format!("{}\n", call.body)).collect();
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    let names = [
        "PutEmailIdentityDkimSigningAttributes",
        "PutEmailIdentityDkimAttributes",
        "PutEmailIdentityMailFromAttributes",
        "PutEmailIdentityMailFromAttributes",
    ];
    let mut described = tokio::process::Command::new(python)
        .args(["-c", program])
        .args(names)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{python}: {e}; `tests/run` makes it"));
    use tokio::io::AsyncWriteExt;
    described.stdin.take().unwrap().write_all(bodies.as_bytes()).await.unwrap();
    let output = described.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}\n{bodies}");
    let described = String::from_utf8(output.stdout).unwrap();
    let verbs: Vec<&str> = calls.iter().map(|call| call.verb.as_str()).collect();
    assert_eq!(verbs, described.lines().collect::<Vec<_>>());
}
