//! Signing by identity.
//!
//! Invariant: `d=` is the identity's domain, so that DMARC sees it aligned with From; and a custom domain signs with a
//! selector whose CNAME was right when last seen, as long as there is one.
//!
//! RFC 6376 §3.5 (the field), §3.7 (what is hashed).

use super::canonical::{self, BodyForm};
use super::seal::Seal;
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::identity::SendIdentity;
use crate::store::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Parsed keys kept in memory: some 2 KiB each.
const CACHED_KEYS: usize = 1024;
/// How long a key that is being made is waited for.
const KEY_PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a line before it is folded.
const LINE: usize = 74;

/// Signing was not possible.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no key yet (it is being made): temporary.
    #[error("no signing key is ready for {0}")]
    NoKey(String),
    /// The key or the message could not be used.
    #[error("signing failed: {0}")]
    Crypto(String),
}

/// The platform's domain, and the selector it signs with.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) domain: DomainName,
    pub(super) selector: String,
}

/// Signs mail by identity; clones share parsed keys.
#[derive(Clone)]
pub struct Signer {
    store: Store,
    seal: Seal,
    platform: Arc<Platform>,
    cache: Arc<Mutex<Cache>>,
    // Some key has been made.
    made: watch::Sender<()>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("platform", &self.platform).finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(store: Store, seal: Seal, platform: Platform) -> Self {
        Self { store, seal, platform: Arc::new(platform), cache: Arc::default(), made: watch::Sender::new(()) }
    }

    /// The `DKIM-Signature` field for a message, with its CRLF, to stand before the header block. `header` ends with the
    /// empty line. Runs off the async threads.
    pub async fn sign(&self, identity: &SendIdentity, header: &[u8], body: &[u8]) -> Result<Vec<u8>, SignError> {
        let (domain, selector) = self.choose_and_wait(identity).await?;
        let key = self.key(&selector, &domain).await?;
        // The header is hashed as its signed fields alone, which are made here; the body may be large.
        let (names, fields) = canonical::fields(header);
        let body = body.to_vec();
        tokio::task::spawn_blocking(move || field(&key, &domain, &selector, &names, fields, &body, Timestamp::real()))
            .await
            .map_err(|e| SignError::Crypto(e.to_string()))?
    }

    /// Says that a key has been made, to those who wait for one.
    pub(super) fn key_made(&self) {
        self.made.send_replace(());
    }

    /// The domain and the selector to sign with. A domain can be verified faster than its first key is made: that key
    /// is waited for, rather than telling the client to come again.
    async fn choose_and_wait(&self, identity: &SendIdentity) -> Result<(DomainName, String), SignError> {
        let mut made = self.made.subscribe();
        let end = Instant::now() + KEY_PATIENCE;
        loop {
            match self.choose(identity).await {
                Err(SignError::NoKey(domain)) => {
                    if !matches!(timeout_at(end, made.changed()).await, Ok(Ok(()))) {
                        return Err(SignError::NoKey(domain));
                    }
                }
                chosen => return chosen,
            }
        }
    }

    async fn choose(&self, identity: &SendIdentity) -> Result<(DomainName, String), SignError> {
        match identity {
            SendIdentity::Platform { .. } => Ok((self.platform.domain.clone(), self.platform.selector.clone())),
            SendIdentity::Custom { domain, .. } => {
                let selectors = self.store.dkim_selectors(domain.id()).await?;
                // A claim whose records were never seen has none published: then any key that is there.
                let published = selectors.iter().any(|s| s.published);
                let chosen = selectors.into_iter().find(|s| s.has_key && (s.published || !published));
                let chosen = chosen.ok_or_else(|| SignError::NoKey(domain.name().to_string()))?;
                Ok((domain.name().clone(), chosen.token))
            }
        }
    }

    async fn key(&self, selector: &str, domain: &DomainName) -> Result<Arc<RsaKeyPair>, SignError> {
        if let Some(key) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(selector) {
            return Ok(key);
        }
        let sealed = self.store.dkim_sealed(selector).await?.ok_or_else(|| SignError::NoKey(domain.to_string()))?;
        let (seal, token) = (self.seal.clone(), selector.to_owned());
        let key = tokio::task::spawn_blocking(move || {
            let private = seal.open_sealed(&token, &sealed).map_err(|e| SignError::Crypto(e.to_string()))?;
            RsaKeyPair::from_der(&private).map(Arc::new).map_err(|e| SignError::Crypto(e.to_string()))
        })
        .await
        .map_err(|e| SignError::Crypto(e.to_string()))??;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(selector, &key);
        Ok(key)
    }
}

/// Keys in the order they came; the oldest leaves first. A key in use comes back at the price of one read.
#[derive(Default)]
struct Cache {
    keys: HashMap<String, Arc<RsaKeyPair>>,
    order: VecDeque<String>,
}

impl Cache {
    fn get(&self, selector: &str) -> Option<Arc<RsaKeyPair>> {
        self.keys.get(selector).cloned()
    }

    fn put(&mut self, selector: &str, key: &Arc<RsaKeyPair>) {
        if self.keys.insert(selector.to_owned(), Arc::clone(key)).is_none() {
            self.order.push_back(selector.to_owned());
        }
        while self.order.len() > CACHED_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

/// The whole field: hashes the body, signs the canonical fields and the field itself with an empty `b=`.
fn field(
    key: &RsaKeyPair,
    domain: &DomainName,
    selector: &str,
    names: &[&str],
    mut fields: Vec<u8>,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<u8>, SignError> {
    let form = BodyForm::of(body);
    let mut hash = Context::new(&SHA256);
    form.feed(body, |piece| hash.update(piece));
    let body_hash = STANDARD.encode(hash.finish());

    let mut value = format!(
        " v=1; a=rsa-sha256; c=relaxed/{};\r\n\td={domain};\r\n\ts={selector}; t={};\r\n\th=",
        form.name(),
        now.seconds()
    );
    push_names(&mut value, names);
    value.push_str(&format!(";\r\n\tbh={body_hash};\r\n\tb="));

    canonical::relaxed_field(b"DKIM-Signature", value.as_bytes(), &mut fields);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &fields, &mut signature)
        .map_err(|e| SignError::Crypto(e.to_string()))?;

    let mut field = format!("DKIM-Signature:{value}").into_bytes();
    for (i, chunk) in STANDARD.encode(signature).as_bytes().chunks(LINE - 4).enumerate() {
        if i > 0 {
            field.extend_from_slice(b"\r\n\t");
        }
        field.extend_from_slice(chunk);
    }
    field.extend_from_slice(b"\r\n");
    Ok(field)
}

/// The names with colons between, folded after a colon.
fn push_names(value: &mut String, names: &[&str]) {
    let mut column = 10;
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            value.push(':');
            column += 1;
            if column + name.len() > LINE {
                value.push_str("\r\n\t");
                column = 8;
            }
        }
        value.push_str(name);
        column += name.len();
    }
}

#[cfg(test)]
mod tests;
