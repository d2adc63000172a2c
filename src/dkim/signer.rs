//! Signs by identity. Invariant: `d=` is the identity's domain, so that it is aligned with From for DMARC; a custom
//! domain signs with its current key ([`crate::verification::rotation`]) or, if that key's CNAME is broken, with
//! another. RFC 6376 §3.5 (the field), §3.7 (the hashes).

use super::canonical::{self, BodyForm};
use super::seal::Seal;
use crate::address::DomainName;
use crate::clock::{Clock, Timestamp};
use crate::id::AccountId;
use crate::identity::SendIdentity;
use crate::resources::Owner;
use crate::resources::work::{INLINE, WorkPool};
use crate::store::{Store, StoreError};
use crate::verification::rotation::{self, Plan};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Parsed keys kept in memory, some 2 KiB each.
const CACHED_KEYS: usize = 1024;
/// Maximum octets of a line before folding.
const LINE: usize = 74;

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is still being generated; temporary.
    #[error("no signing key is ready for {0}")]
    NoKey(String),
    /// The key or the message is unusable.
    #[error("signing failed: {0}")]
    Crypto(String),
}

/// The platform domain and its selector.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) domain: DomainName,
    pub(super) selector: String,
}

#[derive(Clone)]
pub struct Signer {
    store: Store,
    seal: Seal,
    platform: Arc<Platform>,
    clock: Clock,
    plan: Plan,
    cache: Arc<Mutex<Cache>>,
    /// The pool for large messages.
    work: WorkPool,
    /// The owner that work is charged to.
    owner: Owner,
    /// False if another provider signs.
    signs: bool,
    // Notified when a key has been generated.
    made: watch::Sender<()>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("platform", &self.platform).finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(store: Store, seal: Seal, platform: Platform, clock: Clock, plan: Plan, signs: bool) -> Self {
        let (platform, made) = (Arc::new(platform), watch::Sender::new(()));
        let (work, owner) = (WorkPool::default(), Owner::System);
        Self { store, seal, platform, clock, plan, cache: Arc::default(), work, owner, signs, made }
    }

    /// With large messages processed in this pool.
    pub fn in_pool(self, work: WorkPool) -> Self {
        Self { work, ..self }
    }

    /// With work charged to an account.
    pub fn for_account(&self, account: &AccountId) -> Self {
        Self { owner: Owner::Account(account.clone()), ..self.clone() }
    }

    /// Runs work on `octets` of a message: in the pool, shared by account, if they are many.
    pub(crate) async fn run<T>(&self, octets: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, SignError>
    where
        T: Send + 'static,
    {
        let done = self.work.run(&self.owner, octets, move |_| Ok(work())).await;
        done.map_err(|error| SignError::Crypto(error.to_string()))
    }

    /// The `DKIM-Signature` field for a message with its CRLF, to be put before the header block. `header` ends with the
    /// empty line. Empty if another provider signs. Runs off the async threads.
    pub async fn sign(&self, identity: &SendIdentity, header: &[u8], body: &[u8]) -> Result<Vec<u8>, SignError> {
        if !self.signs {
            return Ok(Vec::new());
        }
        let (domain, chosen) = self.choose(identity).await?;
        let key = self.key(&chosen, &domain).await?;
        let selector = chosen.selector;
        let octets = header.len().saturating_add(body.len());
        let (header, body) = (header.to_vec(), body.to_vec());
        let make = move || {
            let (names, fields) = canonical::fields(&header);
            field(&key, &domain, &selector, &names, fields, &body, Timestamp::real())
        };
        if octets > INLINE {
            return self.run(octets, make).await?;
        }
        // The signature itself takes a millisecond.
        tokio::task::spawn_blocking(make).await.map_err(|e| SignError::Crypto(e.to_string()))?
    }

    /// Changes whenever a key has been generated.
    pub fn key_made(&self) -> watch::Receiver<()> {
        self.made.subscribe()
    }

    pub(super) fn tell_key_made(&self) {
        self.made.send_replace(());
    }

    async fn choose(&self, identity: &SendIdentity) -> Result<(DomainName, Chosen), SignError> {
        let domain = match identity {
            SendIdentity::Platform { .. } => {
                let chosen = Chosen { selector: self.platform.selector.clone(), generation: 0 };
                return Ok((self.platform.domain.clone(), chosen));
            }
            SendIdentity::Custom { domain, .. } => domain,
        };
        let no_key = || SignError::NoKey(domain.name().to_string());
        let now = self.clock.now();
        let mut ring = self.store.key_ring(domain.id()).await?.ok_or_else(no_key)?;
        // The roles change before another key signs: a key in use is never replaced.
        if rotation::stand_in(&ring.trio(), &self.plan, now).is_some()
            && self.store.rotation_stand_in(domain.id(), self.plan, now).await?
        {
            tracing::warn!(domain = %domain.name(), "the CNAME of the signing key is broken, signing with another key");
            ring = self.store.key_ring(domain.id()).await?.ok_or_else(no_key)?;
        }
        let row = ring.signing().ok_or_else(no_key)?;
        Ok((domain.name().clone(), Chosen { selector: row.token.clone(), generation: row.generation }))
    }

    async fn key(&self, chosen: &Chosen, domain: &DomainName) -> Result<Arc<RsaKeyPair>, SignError> {
        if let Some(key) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(chosen) {
            return Ok(key);
        }
        let sealed = self.store.dkim_sealed(&chosen.selector, chosen.generation).await?;
        let sealed = sealed.ok_or_else(|| SignError::NoKey(domain.to_string()))?;
        let (seal, token) = (self.seal.clone(), chosen.selector.clone());
        let key = tokio::task::spawn_blocking(move || {
            let private = seal.open_sealed(&token, &sealed).map_err(|e| SignError::Crypto(e.to_string()))?;
            RsaKeyPair::from_der(&private).map(Arc::new).map_err(|e| SignError::Crypto(e.to_string()))
        })
        .await
        .map_err(|e| SignError::Crypto(e.to_string()))??;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(chosen, &key);
        Ok(key)
    }
}

/// A selector, and the generation of its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Chosen {
    selector: String,
    generation: u32,
}

/// Keys in order of insertion; the oldest is evicted first. A key still in use is simply read again.
#[derive(Default)]
struct Cache {
    keys: HashMap<Chosen, Arc<RsaKeyPair>>,
    order: VecDeque<Chosen>,
}

impl Cache {
    fn get(&self, chosen: &Chosen) -> Option<Arc<RsaKeyPair>> {
        self.keys.get(chosen).cloned()
    }

    fn put(&mut self, chosen: &Chosen, key: &Arc<RsaKeyPair>) {
        if self.keys.insert(chosen.clone(), Arc::clone(key)).is_none() {
            self.order.push_back(chosen.clone());
        }
        while self.order.len() > CACHED_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

/// The complete field: hashes the body, then signs the canonical fields and the field itself with an empty `b=`.
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

/// The names separated by colons, folded after a colon.
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
