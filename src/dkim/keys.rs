//! DKIM keys: generated in the background, sealed, and kept across restarts.

use super::links::Links;
use super::making::{KEY_PATIENCE, Making};
use super::seal::{Seal, SealError};
use super::secrets::Secrets;
use super::signer::{Platform, Signer};
use crate::clock::Clock;
use crate::config::{Config, Provider};
use crate::id::{AccountId, DomainId};
use crate::store::keys::SEALING_CHECK;
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
/// Octets of a token, as at Amazon.
const TOKEN_LEN: usize = 32;
/// Pause before retrying a key that could not be stored.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Between looks for keys that are missing, because the daemon that was to generate them has ended.
const MISSING_PAUSE: Duration = Duration::from_secs(300);
/// RFC 5280 §4.1.2.7: the SubjectPublicKeyInfo prefix before an RSAPublicKey of 2048 bits. Verifiers expect this form
/// in `p=`, despite RFC 6376 §3.6.1.
const SPKI_PREFIX: [u8; 24] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x01, 0x0f, 0x00,
];
/// The length given in the prefix.
const PUBLIC_LEN: usize = 270;

/// Why the keys could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealing key is missing or wrong.
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("cannot generate a signing key: {0}")]
    Generate(String),
}

#[derive(Clone, Debug)]
pub struct Keys {
    store: Store,
    seal: Seal,
    clock: Clock,
    plan: Plan,
    signer: Signer,
    platform_record: Arc<(String, String)>,
    /// One key pair at a time, since generating one occupies a core.
    permit: Arc<Semaphore>,
    making: Making,
}

impl Keys {
    /// Opens the sealing key, generates the platform's own key if it is missing, and starts generating other missing
    /// keys.
    pub async fn open(store: Store, data_dir: &Path, config: &Config, clock: Clock) -> Result<Self, KeysError> {
        let seal = open_seal(&store, data_dir).await?;
        let selector = config.dkim.platform_selector.clone();
        let (sealed, public) = match store.dkim_first(&selector).await? {
            Some(key) => key,
            None => {
                let (sealed, public) = make(seal.clone(), selector.clone()).await?;
                store.dkim_put(selector.clone(), None, sealed, public, clock.now()).await?;
                // Another daemon may have been first.
                let missing = || StoreError::NoRow("the platform's key".into());
                store.dkim_first(&selector).await?.ok_or_else(missing)?
            }
        };
        seal.open_sealed(&selector, &sealed)?;
        // Mail signed elsewhere gets no signature here, since a relay may change fields that it would cover.
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
        if signs {
            keys.make_all_missing().await?;
        }
        Ok(keys)
    }

    /// Links sealed with the same key.
    pub fn links(&self) -> Links {
        Links::new(self.seal.clone())
    }

    /// Seals other secrets with the same key.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.seal.clone())
    }

    /// Starts generating what is missing for any claim.
    async fn make_all_missing(&self) -> Result<(), StoreError> {
        let missing = self.store.dkim_missing().await?;
        if !missing.is_empty() {
            tracing::info!(domains = missing.len(), "generating missing signing keys");
        }
        for (account, domain) in missing {
            self.provision(&account, domain);
        }
        Ok(())
    }

    /// From time to time generates what another daemon has not, because it ended. Two that generate a key for one token do no harm: the
    /// first is kept.
    pub async fn keep_making(&self) {
        loop {
            tokio::time::sleep(MISSING_PAUSE).await;
            match self.make_all_missing().await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "cannot read which domains miss signing keys; trying again in five minutes")
                }
            }
        }
    }

    /// Re-encrypts every private key under a fresh sealing key, which replaces the current one; returns their number.
    /// The store must not be in use. If interrupted, it took effect or not: it can be run again, and the next start
    /// recovers.
    pub async fn reseal(store: &Store, data_dir: &Path) -> Result<usize, KeysError> {
        let (present, next) = match open_seal(store, data_dir).await {
            Ok(present) => (present, Seal::next(data_dir)?),
            // With both keys in the environment, a completed change that was interrupted leaves no other trace.
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

    /// Starts generating the missing keys of a stored claim. After a crash the next start resumes.
    pub fn provision(&self, account: &AccountId, domain: DomainId) {
        if self.making.begin(account, domain) {
            tokio::spawn(self.clone().make_missing(account.clone()));
        }
    }

    /// Waits for a limited time until a claim has its keys; returns whether it does.
    pub async fn made(&self, domain: &DomainId) -> bool {
        self.making.made(domain).await
    }

    /// Name and text of the platform domain's TXT record.
    pub fn platform_record(&self) -> (String, String) {
        (*self.platform_record).clone()
    }

    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// The periods of a key's life.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Generates a key for a token to replace its key of generation `replaces`. False if that one may not be replaced
    /// (any more).
    pub async fn renew(&self, domain: &DomainId, token: &str, replaces: u32) -> Result<bool, KeysError> {
        // The semaphore is never closed.
        let _turn = self.permit.acquire().await.map_err(|e| KeysError::Generate(e.to_string()))?;
        let (sealed, public) = make(self.seal.clone(), token.to_owned()).await?;
        let fresh = FreshKey { token: token.to_owned(), replaces, sealed, public };
        Ok(self.store.key_replace(domain, fresh, self.plan, self.clock.now()).await?)
    }

    /// Generates the missing keys of an account's claims, in turn, until none is missing.
    async fn make_missing(self, account: AccountId) {
        while let Some(domain) = self.making.next(&account) {
            match self.make_next(&domain).await {
                Ok(true) => self.making.again(&account, domain),
                Ok(false) => self.making.end(&domain),
                Err(KeysError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    tracing::error!(%domain, %error, "cannot generate a signing key; trying again");
                    self.making.again(&account, domain);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Generates and stores the first missing key of a claim. False if none is missing or the claim is gone.
    async fn make_next(&self, domain: &DomainId) -> Result<bool, KeysError> {
        // First come, first served; each account waits in the queue once. The semaphore is never closed.
        let _turn = self.permit.acquire().await.map_err(|e| KeysError::Generate(e.to_string()))?;
        let Some(token) = self.store.dkim_next_missing(domain).await? else { return Ok(false) };
        let (sealed, public) = make(self.seal.clone(), token.clone()).await?;
        self.store.dkim_put(token, Some(domain.clone()), sealed, public, self.clock.now()).await?;
        self.signer.tell_key_made();
        Ok(true)
    }
}

/// Opens the sealing key and checks it against the store before any listener is up. The first daemon of a store makes the key,
/// where none is given; all others must have the same.
async fn open_seal(store: &Store, data_dir: &Path) -> Result<Seal, KeysError> {
    let check = store.sealing_check().await?.map(|sealed| (SEALING_CHECK.to_owned(), sealed));
    let known = match check {
        Some(check) => Some(check),
        // The store is empty, or was made by a version without the check.
        None => store.dkim_sample().await?,
    };
    let seal = match known {
        None => Seal::open(data_dir)?,
        Some((name, sealed)) => {
            let seal = Seal::present(data_dir)?.ok_or(SealError::Missing)?;
            match seal.open_sealed(&name, &sealed) {
                Ok(_) => seal,
                Err(wrong) => after_a_change(data_dir, &name, &sealed)?.ok_or(wrong)?,
            }
        }
    };
    let kept = store.sealing_check_keep(seal.seal(SEALING_CHECK, SEALING_CHECK.as_bytes())?).await?;
    seal.open_sealed(SEALING_CHECK, &kept)?;
    Ok(seal)
}

/// The new key of a change that was interrupted after everything was sealed: it becomes the key.
fn after_a_change(data_dir: &Path, name: &str, sealed: &[u8]) -> Result<Option<Seal>, SealError> {
    let next = Seal::left_over(data_dir)?.filter(|next| next.open_sealed(name, sealed).is_ok());
    if next.is_some() {
        Seal::adopt_next(data_dir)?;
        tracing::info!("completed an interrupted change of the sealing key");
    }
    Ok(next)
}

/// A token of lower-case letters and digits, uniformly distributed.
pub(super) fn token() -> Result<String, KeysError> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = SystemRandom::new();
    let mut token = String::with_capacity(TOKEN_LEN);
    while token.len() < TOKEN_LEN {
        let mut bytes = [0; TOKEN_LEN];
        random.fill(&mut bytes).map_err(|_| KeysError::Generate("no random numbers".into()))?;
        // 252 is a multiple of 36: values above it would make some characters more likely.
        let fair = bytes.iter().filter(|b| **b < 252).filter_map(|b| ALPHABET.get(usize::from(*b) % ALPHABET.len()));
        token.extend(fair.take(TOKEN_LEN - token.len()).map(|b| char::from(*b)));
    }
    Ok(token)
}

/// Generates a key pair off the async threads: the private key sealed for `token`, and the TXT record.
async fn make(seal: Seal, token: String) -> Result<(Vec<u8>, String), KeysError> {
    tokio::task::spawn_blocking(move || {
        let pair = DkimKeyPair::generate_rsa(BITS).map_err(|e| KeysError::Generate(e.to_string()))?;
        let (private, public) = pair.into_inner();
        let private = Zeroizing::new(private);
        // A key that cannot sign must not be published.
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
