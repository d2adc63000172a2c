//! The sandbox's own certificate authority, for clients that verify certificates. Invariant: the authority is created
//! once per data directory, so that a trusted `ca.pem` stays valid; the server certificate is created at every start.
//! RFC 5280 §4.2.1 (extensions).

use super::SandboxError;
use crate::address::DomainName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// The authority's certificate, to be trusted by clients.
    pub(super) ca: PathBuf,
    /// The server certificate.
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
}

impl Certificates {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), certificate: dir.join("server.pem"), private_key: dir.join("server.key") }
    }

    /// Creates what is missing: the authority, and a server certificate for loopback and the platform's names.
    pub(super) fn make(&self, platform: &DomainName, hostname: &DomainName) -> Result<(), SandboxError> {
        let ca_key_file = self.ca.with_extension("key");
        let (key, params) = (KeyPair::generate()?, authority());
        if !(self.ca.exists() && ca_key_file.exists()) {
            write_private(&ca_key_file, key.serialize_pem().as_bytes())?;
            write_private(&self.ca, params.self_signed(&key)?.pem().as_bytes())?;
        }
        let ca_key = std::fs::read_to_string(&ca_key_file).map_err(|e| SandboxError::File(ca_key_file, e))?;
        let issuer = Issuer::from_params(&params, KeyPair::from_pem(&ca_key)?);
        let names = ["localhost", "127.0.0.1", "::1", hostname.as_str(), platform.as_str()].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name = named(hostname.as_str());
        valid_for(&mut server, 1);
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate()?;
        write_private(&self.private_key, server_key.serialize_pem().as_bytes())?;
        write_private(&self.certificate, server.signed_by(&server_key, &issuer)?.pem().as_bytes())
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Inboxlayer sandbox");
    valid_for(&mut params, 10);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

/// Valid from the start of last year, so that clients with slow clocks accept it.
fn valid_for(params: &mut CertificateParams, years: i32) {
    let year = i32::from(crate::clock::Timestamp::real().to_jiff().to_zoned(jiff::tz::TimeZone::UTC).year());
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + years, 12, 31);
}

/// Writes atomically, readable by this user only.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SandboxError> {
    let draft = path.with_file_name(format!("{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
    file.and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|e| SandboxError::File(path.to_owned(), e))
}
