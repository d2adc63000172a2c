//! Log-ins of users, with an email and a password.

use super::login::{Authenticator, LoginError};
use super::passwords::Passwords;
use super::throttle::Attempt;
use super::token::hash_of;
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::secret::Secret;
use crate::store::StoreError;
use crate::store::users::User;
use std::net::IpAddr;

impl Authenticator {
    /// The user who may log in with this. Every refusal is the same after the same work. `memory` is held while the password
    /// is checked.
    pub async fn user(
        &self,
        passwords: &Passwords,
        peer: IpAddr,
        memory: Claim,
        (email, password): (&str, &Secret),
    ) -> Result<User, LoginError> {
        let email = email.trim().to_lowercase();
        let attempt = Attempt::new(peer, passwords.fingerprint(password), Some(hash_of(&email)));
        self.throttle(&attempt).await?;
        let owner = Owner::Network(network_of(peer));
        let found = self.store_for(peer).user_by_email(&email).await?;
        let hash = found.as_ref().map(|user| user.password.clone());
        let is_right = passwords.is_right(&owner, memory, password.clone(), hash).await;
        let is_right = is_right.map_err(|error| StoreError::Aborted(error.to_string()))?;
        match found.filter(|user| is_right && user.disabled_at.is_none()) {
            Some(user) => {
                self.note_success(&attempt).await;
                Ok(user)
            }
            None => Err(self.refuse(&attempt, "password").await),
        }
    }
}
