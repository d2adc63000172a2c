//! A knot process: an authoritative server with the zones of a test, signed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One knot.
pub struct Knot {
    pub address: SocketAddr,
    pub zones: BTreeMap<String, String>,
    pub signed: BTreeSet<String>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Knot {
    pub fn new(folder: &Path, address: SocketAddr) -> Self {
        let folder = folder.join(format!("knot-{}", address.ip().to_string().replace(':', "_")));
        for part in ["run", "db", "zones"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        Self { address, folder, zones: BTreeMap::new(), signed: BTreeSet::new(), child: None }
    }

    fn write(&self) {
        let folder = self.folder.display();
        let mut text = format!(
            "server:\n  rundir: {folder}/run\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\nlog:\n- target: stderr\n  any: info\n\
             database:\n  storage: {folder}/db\n\
             policy:\n- id: signed\n  single-type-signing: on\n\
             template:\n- id: default\n  storage: {folder}/zones\n  zonefile-sync: -1\n  \
             zonefile-load: difference-no-serial\n  journal-content: all\n  serial-policy: unixtime\nzone:\n",
            self.address.ip(),
            self.address.port()
        );
        for (zone, records) in &self.zones {
            let file = format!("{}zone", if zone == "." { "root." } else { zone });
            std::fs::write(self.folder.join("zones").join(&file), records).unwrap();
            writeln!(text, "- domain: {zone}\n  file: {file}").unwrap();
            if self.signed.contains(zone) {
                text += "  dnssec-signing: on\n  dnssec-policy: signed\n";
            }
        }
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.join("knot.conf")
    }

    pub fn start(&mut self) {
        self.write();
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let mut command = Command::new("knotd");
        command.arg("-c").arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("knotd: {e}; tests/run installs it")));
        until("knotd takes commands", &self.folder.join("log"), || self.control(&["status"]).is_some());
    }

    /// The process, if it was started.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn control(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("knotc").arg("-c").arg(self.config()).arg("-b").args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Serves a zone, or its new content.
    pub fn serve(&mut self, zone: &str, records: String) {
        let zone = format!("{}.", zone.trim_end_matches('.'));
        self.zones.insert(zone.clone(), records);
        self.write();
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        // The second command waits until the zone is loaded and signed.
        for command in [&["reload"][..], &["zone-reload", &zone]] {
            assert!(self.control(command).is_some(), "knot does not {command:?}:\n{}", log());
        }
    }

    /// The digest of the key that signs a zone, as its parent publishes it.
    pub fn ds(&self, zone: &str) -> String {
        let output = Command::new("keymgr").arg("-c").arg(self.config()).args([zone, "ds"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        line.split_once(" DS ").expect("a DS record").1.to_owned()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Ends a server; its addresses are free then.
pub fn end(server: &mut Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Waits; shows the log if that takes too long.
pub fn until(what: &str, log: &Path, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not yet\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
