//! Foreign clients: Python's smtplib and imaplib, swaks, curl, dkimpy. `tests/run` installs them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How a client ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The outcome, which must be a success.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {}\n{}", self.stdout, self.stderr))
    }
}

/// A script of `tests/stories/python`, run to its end.
pub fn python(script: &str, arguments: &[&str], input: &[u8]) -> Outcome {
    let mut command = python_command(script);
    command.args(arguments);
    run(command, input)
}

/// A script of `tests/stories/python`, with the packages of `tests/requirements.txt`, to be run.
pub fn python_command(script: &str) -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/python/bin/python3");
    assert!(interpreter.exists(), "{} is missing: run tests/run, which makes it", interpreter.display());
    let mut command = Command::new(interpreter);
    command.arg("-B").arg(root.join("tests/stories/python").join(script));
    command
}

/// `swaks`.
pub fn swaks(arguments: &[&str]) -> Outcome {
    let mut command = Command::new("swaks");
    command.args(arguments);
    run(command, b"")
}

/// `curl`, showing only errors.
pub fn curl(arguments: &[&str]) -> Outcome {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]).args(arguments);
    run(command, b"")
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8]) -> Outcome {
    // Ignores the machine's proxy settings for loopback.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; tests/run installs what is missing"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // In a separate thread: a client that writes before it has read everything must not block.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the client ends");
    writer.join().expect("the writer ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
