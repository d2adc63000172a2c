//! The sealing key, which encrypts private keys before they are stored. Invariant: a copy of the database alone cannot
//! sign. AES-256-GCM (NIST SP 800-38D) with a random nonce; the token is associated data, so a sealed key moved to
//! another row cannot be opened.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The environment variable that replaces the key file: 32 octets in base64.
const VARIABLE: &str = "INBOXLAYER_SECRET_KEY";
const FILE: &str = "secret.key";
/// The same for the new key during a change.
const NEXT_VARIABLE: &str = "INBOXLAYER_NEXT_SECRET_KEY";
const NEXT_FILE: &str = "secret.key.next";
const KEY_LEN: usize = 32;
/// The first octet of sealed data: its format version.
const VERSION: u8 = 1;

/// Why the sealing key is unavailable, or cannot open a key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or created.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file or variable has other content.
    #[error("{0} does not hold a key of 32 octets")]
    NotAKey(String),
    /// Sealed under another key or for another token, or modified.
    #[error(
        "cannot open what the store has sealed: secret.key in data_dir, or INBOXLAYER_SECRET_KEY, is not the sealing key of this store. All daemons of a store need the same one: copy secret.key from a daemon that starts, or from the backup"
    )]
    DoesNotOpen,
    /// The store has sealed keys, and there is no sealing key.
    #[error(
        "the sealing key of this store is not here: copy secret.key from another daemon of the store, or from the backup, into data_dir, or set INBOXLAYER_SECRET_KEY"
    )]
    Missing,
    /// The current key is in the environment, the new one is missing.
    #[error(
        "the sealing key comes from INBOXLAYER_SECRET_KEY: give the new one as INBOXLAYER_NEXT_SECRET_KEY, 32 octets in base64"
    )]
    NoNextKey,
    /// The system's random number generator or the cipher failed.
    #[error("sealing failed")]
    Cipher,
}

/// Seals and opens private keys; clones share the key.
#[derive(Clone)]
pub(super) struct Seal(Arc<LessSafeKey>);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(***)")
    }
}

impl Seal {
    /// The key from the environment, or else from the data directory, where it is created if missing.
    pub(super) fn open(data_dir: &Path) -> Result<Self, SealError> {
        match from_variable(VARIABLE)? {
            Some(seal) => Ok(seal),
            None => Self::from_file(&data_dir.join(FILE)),
        }
    }

    /// The same; `None` if there is none.
    pub(super) fn present(data_dir: &Path) -> Result<Option<Self>, SealError> {
        let (path, of_variable) = (data_dir.join(FILE), from_variable(VARIABLE)?);
        match of_variable.is_some() || path.try_exists().map_err(|source| SealError::Io { path, source })? {
            true => Self::open(data_dir).map(Some),
            false => Ok(None),
        }
    }

    /// The new key for a change: from the environment or a file, like the current one; the same again after an
    /// interruption.
    pub(super) fn next(data_dir: &Path) -> Result<Self, SealError> {
        match (from_variable(VARIABLE)?, from_variable(NEXT_VARIABLE)?) {
            (Some(_), Some(next)) => Ok(next),
            (Some(_), None) => Err(SealError::NoNextKey),
            (None, _) => Self::from_file(&data_dir.join(NEXT_FILE)),
        }
    }

    /// The new key of a change interrupted after everything was sealed, before its file was renamed.
    pub(super) fn left_over(data_dir: &Path) -> Result<Option<Self>, SealError> {
        let path = data_dir.join(NEXT_FILE);
        match from_variable(VARIABLE)?.is_none() && path.exists() {
            true => Self::from_file(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Replaces the current key's file with the new one, if there is one.
    pub(super) fn adopt_next(data_dir: &Path) -> Result<(), SealError> {
        let (next, path) = (data_dir.join(NEXT_FILE), data_dir.join(FILE));
        match std::fs::rename(&next, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| sync(data_dir)).map_err(|source| SealError::Io { path, source }),
        }
    }

    fn from_base64(variable: &str, text: &str) -> Result<Self, SealError> {
        let bad = || SealError::NotAKey(variable.into());
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| bad())?);
        Self::from_bytes(&bytes).ok_or_else(bad)
    }

    fn from_file(path: &Path) -> Result<Self, SealError> {
        let io = |source| SealError::Io { path: path.to_owned(), source };
        if !path.try_exists().map_err(io)? {
            make_key_file(path)?;
        }
        let bytes = Zeroizing::new(std::fs::read(path).map_err(io)?);
        Self::from_bytes(&bytes).ok_or_else(|| SealError::NotAKey(path.display().to_string()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(Arc::new(LessSafeKey::new(key))))
    }

    /// Encrypts `plain` for `token`.
    pub(super) fn seal(&self, token: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        let mut work = Zeroizing::new(plain.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(token), &mut work)
            .map_err(|_| SealError::Cipher)?;
        Ok([&[VERSION], nonce.as_slice(), &work, tag.as_ref()].concat())
    }

    /// Decrypts the output of [`Seal::seal`] for the same token.
    pub(super) fn open_sealed(&self, token: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::DoesNotOpen)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::DoesNotOpen)?;
        let mut work = Zeroizing::new(rest.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(token), &mut work)
            .map_err(|_| SealError::DoesNotOpen)?
            .len();
        work.truncate(length);
        Ok(work)
    }
}

fn from_variable(name: &str) -> Result<Option<Seal>, SealError> {
    match std::env::var(name) {
        Ok(text) => Seal::from_base64(name, &Zeroizing::new(text)).map(Some),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(SealError::NotAKey(name.into())),
    }
}

/// Creates the file atomically and never overwrites one: losing a key loses every sealed key.
fn make_key_file(path: &Path) -> Result<(), SealError> {
    let io = |source| SealError::Io { path: path.to_owned(), source };
    let mut key = Zeroizing::new([0; KEY_LEN]);
    SystemRandom::new().fill(key.as_mut_slice()).map_err(|_| SealError::Cipher)?;
    let draft = path.with_extension("draft");
    // Left by an interrupted start; the store's lock excludes other daemons.
    let _ = std::fs::remove_file(&draft);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
    file.write_all(key.as_slice()).and_then(|()| file.sync_all()).map_err(io)?;
    // A hard link fails if the name exists; a rename would overwrite it.
    std::fs::hard_link(&draft, path).map_err(io)?;
    std::fs::remove_file(&draft).map_err(io)?;
    match path.parent() {
        Some(dir) => sync(dir).map_err(io),
        None => Ok(()),
    }
}

fn sync(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_file_is_private_and_persistent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let sealed = Seal::from_file(&path).unwrap().seal("t1", b"private").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(*Seal::from_file(&path).unwrap().open_sealed("t1", &sealed).unwrap(), b"private");
    }

    #[test]
    fn another_key_another_token_or_modified_data_cannot_be_opened() {
        let seal = Seal::from_bytes(&[7; 32]).unwrap();
        let sealed = seal.seal("t1", b"private").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"private"));
        assert!(Seal::from_bytes(&[8; 32]).unwrap().open_sealed("t1", &sealed).is_err());
        assert!(seal.open_sealed("t2", &sealed).is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(seal.open_sealed("t1", &changed).is_err(), "octet {i}");
            assert!(seal.open_sealed("t1", &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn an_invalid_key_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, [1; 31]).unwrap();
        assert!(matches!(Seal::from_file(&path), Err(SealError::NotAKey(_))));
        for bad in ["", "AAAA", "not base64!"] {
            assert!(matches!(Seal::from_base64(VARIABLE, bad), Err(SealError::NotAKey(_))), "{bad:?}");
        }
        assert!(Seal::from_base64(VARIABLE, &STANDARD.encode([1; 32])).is_ok());
    }
}
