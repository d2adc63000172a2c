//! Passwords of users: argon2id (RFC 9106) with the parameters that OWASP recommends, in the pool for heavy work.
//!
//! Invariant: checking a password costs the same whether there is a hash to compare with or not.

use super::token::{NoRandomness, Token, hash_of};
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::resources::work::{WorkError, WorkPool};
use crate::secret::Secret;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;

/// Octets that one computation takes.
pub const MEMORY: usize = Params::DEFAULT_M_COST as usize * 1024;
/// Characters of a password that is generated: 119 bits.
const GENERATED: usize = 20;
/// Octets of a salt.
const SALT: usize = 16;

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("argon2: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Computes hashes. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Passwords {
    pool: WorkPool,
    /// Of this process, so that what is noted of a password cannot be used to guess it.
    key: Arc<Secret>,
}

impl Passwords {
    pub fn new(pool: WorkPool) -> Self {
        // Without randomness no log-in succeeds: tokens cannot be made.
        let key = Token::generate().map_or_else(|_| Secret::new(""), |token| token.secret().clone());
        Self { pool, key: Arc::new(key) }
    }

    /// A new password.
    pub fn generate() -> Result<Secret, NoRandomness> {
        let token = Token::generate()?;
        let random = token.secret().reveal().trim_start_matches(super::token::PREFIX);
        Ok(Secret::new(random.chars().take(GENERATED).collect::<String>()))
    }

    /// The hash of a password, with salt and parameters. `memory` is held for [`MEMORY`] octets.
    pub async fn hash(&self, owner: &Owner, memory: Claim, password: Secret) -> Result<Secret, HashError> {
        let mut salt = [0_u8; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
        let salt = SaltString::encode_b64(&salt).map_err(HashError::Hash)?;
        let hash = self.pool.run(owner, usize::MAX, move |_| {
            let _memory = memory;
            Ok(Argon2::default().hash_password(password.reveal().as_bytes(), &salt).map(|hash| hash.to_string()))
        });
        hash.await?.map(Secret::new).map_err(HashError::Hash)
    }

    /// Whether it is the password of this hash. `memory` is held for [`MEMORY`] octets.
    pub async fn is_right(
        &self,
        owner: &Owner,
        memory: Claim,
        password: Secret,
        hash: Option<Secret>,
    ) -> Result<bool, WorkError> {
        let check = move || {
            let _memory = memory;
            let octets = password.reveal().as_bytes();
            match hash.as_ref().map(|hash| PasswordHash::new(hash.reveal())) {
                Some(Ok(hash)) => Argon2::default().verify_password(octets, &hash).is_ok(),
                None | Some(Err(_)) => {
                    let _ = Argon2::default().hash_password_into(octets, &[0; SALT], &mut [0; 32]);
                    false
                }
            }
        };
        self.pool.run(owner, usize::MAX, move |_| Ok(check())).await
    }

    /// What a password is known by to the throttle of log-ins, in this process.
    pub(super) fn fingerprint(&self, password: &Secret) -> [u8; 32] {
        hash_of(&format!("{}{}", self.key.reveal(), password.reveal()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::resources::spool::Spool;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &Limits::default()).unwrap().client([192, 0, 2, 1].into());
        let passwords = Passwords::new(WorkPool::default());
        let secret = |text: &str| Secret::new(text);
        let hash = async || passwords.hash(&Owner::System, spool.claim(), secret("correct horse")).await.unwrap();
        let (first, second) = (hash().await, hash().await);
        assert!(first.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", first.reveal());
        assert_ne!(first, second);
        for (password, hash, right) in [
            ("correct horse", Some(first.clone()), true),
            ("correct horse", Some(second), true),
            ("correct horse ", Some(first), false),
            ("correct horse", Some(secret("no hash")), false),
            ("correct horse", None, false),
        ] {
            let found = passwords.is_right(&Owner::System, spool.claim(), secret(password), hash.clone()).await;
            assert_eq!(found.unwrap(), right, "{password}");
        }
        let (one, other) = (Passwords::generate().unwrap(), Passwords::generate().unwrap());
        assert!(one.reveal().len() == GENERATED && one != other);
    }
}
