//! What the sandbox tells once everything listens: a file for programs, a page for people.

use super::SandboxError;
use super::certificates::write_private;
use super::state::First;
use crate::app::Addresses;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything one needs to use it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Ready {
    http: String,
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
    pub(super) fn new(bound: &Addresses, dns: SocketAddr, ca: PathBuf, data_dir: PathBuf, first: First) -> Self {
        let shown = |address: Option<SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        Self {
            http: format!("http://{}", shown(bound.http)),
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

    /// Writes the file, whole or not at all, for this user alone: it holds tokens.
    pub(super) fn write(&self, path: &Path) -> Result<(), SandboxError> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| SandboxError::File(path.to_owned(), e.into()))?;
        write_private(path, &json)
    }

    /// The page.
    pub(super) fn page(&self) -> String {
        let Self { http, submission, submissions, mx, imap, imaps, dns, ca, data_dir, first } = self;
        let First { token, operator_token, inbox, .. } = first;
        let (ca, data_dir) = (ca.display(), data_dir.display());
        let custom = inbox.split('@').next().unwrap_or_default();
        format!(
            "\
The sandbox is up: the whole daemon, and an internet to play with. Nothing leaves this machine.

  REST         {http}/api/v1
  submission   {submission} (STARTTLS)   {submissions} (TLS)
  IMAP         {imap} (STARTTLS)   {imaps} (TLS)
  MX           {mx}
  DNS          {dns}
  CA           {ca}
  data         {data_dir}

  inbox            {inbox}
  API token        {token}   (also the password over SMTP and IMAP)
  operator token   {operator_token}

Paste this into another terminal:

  export API={http}/api/v1 SANDBOX={http}/sandbox
  export INBOXLAYER_URL={http} INBOXLAYER_TOKEN={token}

  # 1. A domain of your own. It is pending, and shows the records to publish.
  DOMAIN=$(curl -s --oauth2-bearer $INBOXLAYER_TOKEN --json '{{\"domain\": \"acme.test\"}}' $API/custom_domains | tee /dev/stderr | grep -o 'dom_[0-9a-z]*' | head -1)

  # 2. Send under it. It leaves as {inbox} for now.
  printf 'From: {custom}@acme.test\\r\\nTo: ann@example.org\\r\\nSubject: first\\r\\n\\r\\nHello!\\r\\n' > hello.eml
  curl -s --ssl-reqd --cacert {ca} --url smtp://{submission} --user {custom}@acme.test:$INBOXLAYER_TOKEN --mail-from {custom}@acme.test --mail-rcpt ann@example.org -T hello.eml

  # 3. Publish its records in the play DNS, as you would at your DNS provider, and verify.
  curl -s -X POST $SANDBOX/domains/$DOMAIN/publish
  curl -s -X POST --oauth2-bearer $INBOXLAYER_TOKEN -H 'Prefer: wait=30' $API/custom_domains/$DOMAIN/verify

  # 4. Send again: now it leaves as {custom}@acme.test. See what arrived in the outside world.
  curl -s --ssl-reqd --cacert {ca} --url smtp://{submission} --user {custom}@acme.test:$INBOXLAYER_TOKEN --mail-from {custom}@acme.test --mail-rcpt ann@example.org -T hello.eml
  curl -s $SANDBOX/mail

Ctrl-C ends it.
"
        )
    }
}
