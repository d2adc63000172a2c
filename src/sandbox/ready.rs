//! What the sandbox reports once every listener is up: a file for programs, a page for people.

use super::SandboxError;
use super::certificates::write_private;
use super::state::First;
use crate::app::Addresses;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything needed to use the sandbox.
#[derive(Debug, serde::Serialize)]
pub(super) struct Ready {
    http: String,
    /// The web page, signed in as the first user; once.
    sign_in: String,
    submission: String,
    submissions: String,
    mx: String,
    imap: String,
    imaps: String,
    dns: String,
    ca: PathBuf,
    data_dir: PathBuf,
    #[serde(flatten)]
    first: First,
}

impl Ready {
    pub(super) fn new(
        bound: &Addresses,
        sign_in: &str,
        dns: SocketAddr,
        ca: PathBuf,
        data_dir: PathBuf,
        first: First,
    ) -> Self {
        let shown = |address: Option<SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        Self {
            http: format!("http://{}", shown(bound.http)),
            sign_in: format!("http://{}{sign_in}", shown(bound.http)),
            submission: shown(bound.submission),
            submissions: shown(bound.submissions),
            mx: shown(bound.mx),
            imap: shown(bound.imap),
            imaps: shown(bound.imaps),
            dns: dns.to_string(),
            ca,
            data_dir,
            first,
        }
    }

    /// Writes the file atomically, readable by this user only, since it contains tokens.
    pub(super) fn write(&self, path: &Path) -> Result<(), SandboxError> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| SandboxError::File(path.to_owned(), e.into()))?;
        write_private(path, &json)
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        let name = self.first.inbox.split('@').next().unwrap_or_default();
        let (ca, data_dir) = (self.ca.display().to_string(), self.data_dir.display().to_string());
        [
            ("@http@", self.http.as_str()),
            ("@sign_in@", &self.sign_in),
            ("@submission@", &self.submission),
            ("@submissions@", &self.submissions),
            ("@mx@", &self.mx),
            ("@imap@", &self.imap),
            ("@imaps@", &self.imaps),
            ("@dns@", &self.dns),
            ("@ca@", &ca),
            ("@data_dir@", &data_dir),
            ("@token@", &self.first.token),
            ("@operator_token@", &self.first.operator_token),
            ("@user@", &self.first.user),
            ("@password@", &self.first.password),
            ("@inbox@", &self.first.inbox),
            ("@inbox_id@", &self.first.inbox_id),
            ("@name@", name),
        ]
        .into_iter()
        .fold(include_str!("page.txt").to_owned(), |page, (place, text)| page.replace(place, text))
    }
}
