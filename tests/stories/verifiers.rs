//! Foreign verifiers of DKIM signatures, which query a real DNS server: dkimpy, and OpenDKIM with libunbound.

use crate::clients::{python, run};
use serde_json::Value;
use std::process::Command;

/// The signatures of a message according to dkimpy: the domain of each, and `true` or the error.
#[track_caller]
pub fn dkimpy((host, port): &(String, String), raw: &str) -> Vec<(String, Value)> {
    let found = python("dkim_verify.py", &[host, port], raw.as_bytes()).succeeded().json();
    let one = |s: &Value| (s["domain"].as_str().unwrap().to_owned(), s["valid"].clone());
    found.as_array().unwrap().iter().map(one).collect()
}

/// OpenDKIM's result for a message with one signature.
#[track_caller]
pub fn opendkim((host, port): &(String, String), raw: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let forward = format!("forward-zone:\n  name: \".\"\n  forward-addr: {host}@{port}\n");
    // libunbound answers NXDOMAIN for names under test (RFC 6761) unless configured otherwise.
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
    // Its exit code is always 0.
    let failed = output.contains(" failed: ") || output.contains("dkim=fail");
    if output.contains("dkim=pass ") && output.contains(" succeeded") && !failed { Ok(()) } else { Err(output) }
}
