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
        let First { token, operator_token, inbox, inbox_id, .. } = first;
        let (ca, data_dir) = (ca.display(), data_dir.display());
        let name = inbox.split('@').next().unwrap_or_default();
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

Paste this into another terminal, step by step:

  export API={http}/api/v1 SANDBOX={http}/sandbox CA={ca}
  export INBOXLAYER_URL={http} INBOXLAYER_TOKEN={token}
  auth() {{ curl -sS -H "Authorization: Bearer $INBOXLAYER_TOKEN" "$@"; echo; }}
  mail() {{ printf 'From: {name}@acme.test\r\nTo: ann@example.org\r\nSubject: %s\r\n\r\nHello!\r\n' "$1" | curl -sS --ssl-reqd --cacert "$CA" --url smtp://{submission} --user {name}@acme.test:$INBOXLAYER_TOKEN --mail-from {name}@acme.test --mail-rcpt ann@example.org -T -; }}

  # 1. A domain of your own: it is pending, and shows the records to publish.
  DOMAIN=$(auth --json '{{"domain": "acme.test"}}' $API/custom_domains | tee /dev/stderr | grep -o 'dom_[0-9a-z]*' | head -1)

  # 2. Send under it, and look at what arrived in the outside world: for now it comes from {inbox}.
  mail before; sleep 1; curl -sS $SANDBOX/mail; echo

  # 3. Publish the records, here with one call in the play DNS, and verify.
  curl -sS -X POST $SANDBOX/domains/$DOMAIN/publish; echo
  auth -X POST -H 'Prefer: wait=30' $API/custom_domains/$DOMAIN/verify

  # 4. Send again, the same way: now it comes from {name}@acme.test, signed with acme.test's key.
  mail after; sleep 1; curl -sS $SANDBOX/mail; echo

  # 5. Somebody answers; read it over the API, or over IMAP with the same name and password.
  curl -sS --json '{{"mail_from": "ann@example.org", "rcpt_to": "{name}@acme.test", "raw": "From: ann@example.org\nSubject: re\n\nHi!\n"}}' $SANDBOX/inbound; echo
  auth $API/inboxes/{inbox_id}/messages

Ctrl-C ends it.
"
        )
    }
}
