//! Keys: made in the background, sealed, and there again after a restart.

use super::making::{KEY_PATIENCE, Making};
use super::seal::{Seal, SealError};
use super::signer::{Platform, Signer};
use crate::clock::Clock;
use crate::config::{Config, Provider};
use crate::id::{AccountId, DomainId};
use crate::store::rotation::FreshKey;
use crate::store::{Store, StoreError};
use crate::verification::rotation::Plan;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_auth::dkim::generate::DkimKeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::RsaKeyPair;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// RFC 8301 §3.2: signers use at least 2048.
const BITS: usize = 2048;
/// Octets of a token, as many as Amazon's have.
const TOKEN_LEN: usize = 32;
/// Before a key that could not be stored is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// RFC 5280 §4.1.2.7: what makes a SubjectPublicKeyInfo of the RSAPublicKey of 2048 bits that follows it. Verifiers
/// expect this form in `p=`, whatever RFC 6376 §3.6.1 says.
const SPKI_PREFIX: [u8; 24] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x01, 0x0f, 0x00,
];
/// The length that prefix speaks of.
const PUBLIC_LEN: usize = 270;

/// Why the keys could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealing key is missing, wrong, or not the one the store's keys were sealed under.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No key pair could be made.
    #[error("making a signing key failed: {0}")]
    Generate(String),
}

/// The keys; clones share them.
#[derive(Clone, Debug)]
pub struct Keys {
    store: Store,
    seal: Seal,
    clock: Clock,
    plan: Plan,
    signer: Signer,
    platform_record: Arc<(String, String)>,
    /// One key pair at a time: making one takes a core for a while.
    permit: Arc<Semaphore>,
    making: Making,
}

impl Keys {
    /// Opens the sealing key, makes the platform's own key if there is none, and begins to make what other keys are
    /// missing.
    pub async fn open(store: Store, data_dir: &Path, config: &Config, clock: Clock) -> Result<Self, KeysError> {
        let seal = open_seal(&store, data_dir).await?;
        let selector = config.dkim.platform_selector.clone();
        let (sealed, public) = match (store.dkim_sealed(&selector, 0).await?, store.dkim_public(&selector).await?) {
            (Some(sealed), Some(public)) => (sealed, public),
            _ => {
                let (sealed, public) = make(seal.clone(), selector.clone()).await?;
                store.dkim_put(selector.clone(), None, sealed.clone(), public.clone(), clock.now()).await?;
                (sealed, public)
            }
        };
        seal.open_sealed(&selector, &sealed)?;
        // Elsewhere signed mail gets no signature here: what relays it may change fields that one would cover.
        let signs = config.dkim.provider == Provider::Local;
        let name = format!("{selector}._domainkey.{}", config.platform.domain);
        let platform = Platform { domain: config.platform.domain.clone(), selector };
        let (dkim, spans) = (&config.dkim, |span: crate::config::HumanDuration| span.0);
        let plan = Plan {
            rotate_every: dkim.rotate_every.map(spans),
            publish_before: dkim.publish_before.0,
            retire_after: dkim.retire_after.0,
        };
        let keys = Self {
            signer: Signer::new(store.clone(), seal.clone(), platform, clock.clone(), plan, signs),
            store,
            seal,
            clock,
            plan,
            platform_record: Arc::new((name, public)),
            permit: Arc::new(Semaphore::new(1)),
            making: Making::new(KEY_PATIENCE),
        };
        if !signs {
            return Ok(keys);
        }
        let missing = keys.store.dkim_missing().await?;
        if !missing.is_empty() {
            tracing::info!(domains = missing.len(), "making signing keys that are missing");
        }
        for (account, domain) in missing {
            keys.provision(&account, domain);
        }
        Ok(keys)
    }

    /// Seals every private key of a store that no daemon uses under a fresh sealing key, which takes the place of the
    /// present one. How many. Cut off, it was done or it was not: it can be run again, and the next start finds its way.
    pub async fn reseal(store: &Store, data_dir: &Path) -> Result<usize, KeysError> {
        let (present, next) = match open_seal(store, data_dir).await {
            Ok(present) => (present, Seal::next(data_dir)?),
            // With both in the environment, a change that was cut off when all was done has left nothing else to see.
            Err(KeysError::Seal(SealError::DoesNotOpen)) => {
                let next = Seal::next(data_dir)?;
                (next.clone(), next)
            }
            Err(error) => return Err(error),
        };
        let count = store
            .dkim_reseal(move |token, sealed| {
                Ok::<_, KeysError>(next.seal(token, &present.open_sealed(token, sealed)?)?)
            })
            .await?;
        Seal::adopt_next(data_dir)?;
        Ok(count)
    }

    /// Three fresh tokens for a claim.
    pub fn tokens(&self) -> Result<[String; 3], KeysError> {
        Ok([token()?, token()?, token()?])
    }

    /// Starts making the keys that a claim lacks. Call it when the claim is stored; a crash before the keys are there is
    /// made up for at the next start.
    pub fn provision(&self, account: &AccountId, domain: DomainId) {
        if self.making.begin(account, domain) {
            tokio::spawn(self.clone().make_missing(account.clone()));
        }
    }

    /// Waits for a claim's keys while they are being made, for a time. Whether it has them now.
    pub async fn made(&self, domain: &DomainId) -> bool {
        self.making.made(domain).await
    }

    /// Name and text of the TXT record that the platform domain needs for its own signatures.
    pub fn platform_record(&self) -> (String, String) {
        (*self.platform_record).clone()
    }

    /// What signs with these keys.
    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// The spans of time in a key's life.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// A fresh key for a token, in place of its key of generation `replaces`. False when that one may not go (any more).
    pub async fn renew(&self, domain: &DomainId, token: &str, replaces: u32) -> Result<bool, KeysError> {
        // The semaphore is never closed.
        let _turn = self.permit.acquire().await.map_err(|e| KeysError::Generate(e.to_string()))?;
        let (sealed, public) = make(self.seal.clone(), token.to_owned()).await?;
        let fresh = FreshKey { token: token.to_owned(), replaces, sealed, public };
        Ok(self.store.key_replace(domain, fresh, self.plan, self.clock.now()).await?)
    }

    /// Makes the keys that an account's claims miss, one of each claim in turn, until none is missing.
    async fn make_missing(self, account: AccountId) {
        while let Some(domain) = self.making.next(&account) {
            match self.make_next(&domain).await {
                Ok(true) => self.making.again(&account, domain),
                Ok(false) => self.making.end(&domain),
                Err(KeysError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    tracing::error!(%domain, %error, "a signing key could not be made; trying again");
                    self.making.again(&account, domain);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Makes and stores the first key that a claim misses. False when it misses none or is gone.
    async fn make_next(&self, domain: &DomainId) -> Result<bool, KeysError> {
        // First come, first served; an account comes once, whatever it waits for. The semaphore is never closed.
        let _turn = self.permit.acquire().await.map_err(|e| KeysError::Generate(e.to_string()))?;
        let Some(token) = self.store.dkim_next_missing(domain).await? else { return Ok(false) };
        let (sealed, public) = make(self.seal.clone(), token.clone()).await?;
        self.store.dkim_put(token, Some(domain.clone()), sealed, public, self.clock.now()).await?;
        self.signer.tell_key_made();
        Ok(true)
    }
}

/// The sealing key, which opens what the store holds: a wrong one shows here, before anything listens.
async fn open_seal(store: &Store, data_dir: &Path) -> Result<Seal, KeysError> {
    let seal = Seal::open(data_dir)?;
    let Some((token, sealed)) = store.dkim_sample().await? else { return Ok(seal) };
    match seal.open_sealed(&token, &sealed) {
        Ok(_) => Ok(seal),
        Err(wrong) => match Seal::left_over(data_dir)?.filter(|next| next.open_sealed(&token, &sealed).is_ok()) {
            Some(next) => {
                Seal::adopt_next(data_dir)?;
                tracing::info!("the change of the sealing key, which had been cut off, is complete");
                Ok(next)
            }
            None => Err(wrong.into()),
        },
    }
}

/// A token of lower-case letters and digits, each as likely as the others.
pub(super) fn token() -> Result<String, KeysError> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = SystemRandom::new();
    let mut token = String::with_capacity(TOKEN_LEN);
    while token.len() < TOKEN_LEN {
        let mut bytes = [0; TOKEN_LEN];
        random.fill(&mut bytes).map_err(|_| KeysError::Generate("no random numbers".into()))?;
        // 252 is a multiple of 36: what lies above would favour the first letters.
        let fair = bytes.iter().filter(|b| **b < 252).filter_map(|b| ALPHABET.get(usize::from(*b) % ALPHABET.len()));
        token.extend(fair.take(TOKEN_LEN - token.len()).map(|b| char::from(*b)));
    }
    Ok(token)
}

/// A new key pair off the async threads: the private key sealed for `token`, and the TXT record.
async fn make(seal: Seal, token: String) -> Result<(Vec<u8>, String), KeysError> {
    tokio::task::spawn_blocking(move || {
        let pair = DkimKeyPair::generate_rsa(BITS).map_err(|e| KeysError::Generate(e.to_string()))?;
        let (private, public) = pair.into_inner();
        let private = Zeroizing::new(private);
        // What does not sign must not be published.
        RsaKeyPair::from_der(&private).map_err(|e| KeysError::Generate(e.to_string()))?;
        if public.len() != PUBLIC_LEN {
            return Err(KeysError::Generate("a public key of unexpected size".into()));
        }
        let spki = STANDARD.encode([SPKI_PREFIX.as_slice(), &public].concat());
        Ok((seal.seal(&token, &private)?, format!("v=DKIM1; k=rsa; p={spki}")))
    })
    .await
    .map_err(|e| KeysError::Generate(e.to_string()))?
}
