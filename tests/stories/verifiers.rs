//! Verifiers of DKIM signatures that no one here wrote, each asking a real DNS server: dkimpy, and OpenDKIM with libunbound.

use crate::clients::{python, run};
use serde_json::Value;
use std::process::Command;

/// The signatures of a message, by dkimpy: the domain of each, and `true` or what is wrong.
#[track_caller]
pub fn dkimpy((host, port): &(String, String), raw: &str) -> Vec<(String, Value)> {
    let found = python("dkim_verify.py", &[host, port], raw.as_bytes()).succeeded().json();
    let one = |s: &Value| (s["domain"].as_str().unwrap().to_owned(), s["valid"].clone());
    found.as_array().unwrap().iter().map(one).collect()
}

/// What OpenDKIM says of a message with one signature.
#[track_caller]
pub fn opendkim((host, port): &(String, String), raw: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let forward = format!("forward-zone:\n  name: \".\"\n  forward-addr: {host}@{port}\n");
    // libunbound knows that names under test are nowhere (RFC 6761); here they are somewhere.
    let server = "server:\n  do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n";
    let resolver = file("unbound.conf", &format!("{server}{forward}"));
    let socket = folder.path().join("socket");
    let settings =
        format!("Mode v\nBackground no\nSocket local:{}\nResolverConfiguration {resolver}\n", socket.display());
    let (settings, message) = (file("opendkim.conf", &settings), file("message.eml", raw));
    let mut command = Command::new("opendkim");
    command.args(["-x", &settings, "-v", "-v", "-t", &message]);
    let output = run(command, b"");
    let output = format!("{}{}", output.stdout, output.stderr);
    // It leaves with 0 either way.
    let failed = output.contains(" failed: ") || output.contains("dkim=fail");
    if output.contains("dkim=pass ") && output.contains(" succeeded") && !failed { Ok(()) } else { Err(output) }
}
