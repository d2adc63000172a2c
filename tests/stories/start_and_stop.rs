//! Starting and stopping: errors are reported before anything runs, the service manager is notified, open sessions are closed,
//! and a new certificate needs no restart.

use crate::clients::run;
use crate::rude::Rude;
use crate::serve::{Serve, certificate};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inboxlayer");
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay that these stories do not use.
fn unknown() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9).into()
}

#[test]
fn a_wrong_configuration_starts_nothing_and_names_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("wrong.toml"), folder.path().join("data"));
    let text = format!("data_dir = \"{}\"\n\n[http]\nlisten = \"127.0.0.1:0\"\nport = 80\n", data.display());
    std::fs::write(&file, text).unwrap();
    for verb in
        [["serve", "--config"].as_slice(), &["config", "check", "--config"], &["token", "create", "--operator", "-c"]]
    {
        let mut command = Command::new(PROGRAM);
        command.args(verb).arg(&file);
        let outcome = run(command, b"");
        assert_eq!(outcome.code, 2, "{outcome:?}");
        let says = format!(
            "error: {}:5: unknown field `port`, expected one of `listen`, `tls`, `cors_origins`\n  fix: ",
            file.display()
        );
        assert!(outcome.stderr.starts_with(&says), "{outcome:?}");
    }
    assert!(!data.exists());
}

#[test]
fn the_sandbox_names_a_wrong_setting() {
    for (argument, says) in [
        ("limits.recipients=many", "--set limits.recipients: invalid type"),
        ("limits.recipents=1", "--set limits.recipents: unknown field `recipents`"),
        ("http.listen=127.0.0.1:80", "http.listen: the sandbox sets this key itself"),
        ("limits.recipients", "write section.key=value"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["sandbox", "--port-base", "0", "--set", argument]);
        let outcome = run(command, b"");
        assert!(outcome.code == 2 && outcome.stderr.contains(says), "{outcome:?}");
    }
    let mut command = Command::new(PROGRAM);
    command.args(["sandbox", "--port-base", "0"]).env("INBOXLAYER_LIMITS__RECIPIENTS", "many");
    let outcome = run(command, b"");
    assert!(outcome.code == 2 && outcome.stderr.contains("INBOXLAYER_LIMITS__RECIPIENTS: invalid type"), "{outcome:?}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let serve = Serve::start(unknown(), "");
    let mut command = Command::new(PROGRAM);
    let other = tempfile::tempdir().unwrap();
    command.args(["serve", "--config"]).arg(serve.config()).env("INBOXLAYER_DATA_DIR", other.path());
    let outcome = run(command, b"");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("http.listen: cannot listen at ") && outcome.stderr.contains("\n  fix: "),
        "{outcome:?}"
    );
    // The same data twice is refused as well.
    let mut command = Command::new(PROGRAM);
    command.args(["token", "create", "--operator", "--config"]).arg(serve.config());
    let outcome = run(command, b"");
    assert!(outcome.code == 1 && outcome.stderr.contains("is in use") && outcome.stdout.is_empty(), "{outcome:?}");
}

#[test]
fn open_sessions_are_closed_and_the_exit_code_is_success() {
    let mut serve = Serve::start(unknown(), "");
    let stream = TcpStream::connect(serve.mx).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("220 "));
    assert!(serve.terminate(), "{}", serve.log());
    assert!(lines.next().unwrap().unwrap().starts_with("421 "));
    assert!(lines.next().is_none());
    assert!(serve.log().contains("stopped"), "{}", serve.log());
    // What it leaves opens clean.
    serve.launch();
    serve.api().get("/healthz").expect(200);
}

#[test]
fn the_service_manager_is_notified_of_start_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let word = || {
        let mut octets = [0; 64];
        let length = socket.recv(&mut octets).expect("a word");
        std::str::from_utf8(&octets[..length]).unwrap().trim_end().to_owned()
    };
    let mut child = Command::new(PROGRAM)
        .args(["sandbox", "--port-base", "0", "--data-dir"])
        .arg(folder.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!([word(), word(), word()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let stopping = std::iter::repeat_with(word).find(|word| word != "WATCHDOG=1");
    assert_eq!(stopping.as_deref(), Some("STOPPING=1"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_new_certificate_is_taken_in_use_without_a_restart_and_a_broken_one_is_not() {
    let serve = Serve::start(unknown(), "");
    let folder = serve.ca().parent().unwrap().to_owned();
    let shown = || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &serve.submissions.to_string()]);
        run(command, b"").stdout
    };
    let pem = || std::fs::read_to_string(serve.ca()).unwrap().replace("\r\n", "\n").trim().to_owned();
    let wait_for = |done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "{}", serve.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let first = pem();
    assert!(shown().contains(&first), "{}", shown());
    let mut open = Rude::secure(serve.submissions, &serve.ca());
    open.reply("220 ");

    certificate(&folder);
    let second = pem();
    wait_for(&|| shown().contains(&second));
    // Who is there already stays.
    open.say("NOOP", "250");

    // A key that is none, and one of another certificate: the old pair stays, and the log says why.
    for key in ["no key".to_owned(), other_key()] {
        let refused = || serve.log().matches("cannot load the new certificate").count();
        let before = refused();
        std::fs::write(folder.join("key.pem"), key).unwrap();
        wait_for(&|| refused() > before);
        assert!(shown().contains(&second), "{}", serve.log());
    }
    certificate(&folder);
    wait_for(&|| shown().contains(&pem()));
}

/// A private key without a certificate here.
fn other_key() -> String {
    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    std::fs::read_to_string(other.path().join("key.pem")).unwrap()
}
