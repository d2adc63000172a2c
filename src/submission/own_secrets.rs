//! Secrets of the account in a message that is submitted: API tokens, and secrets of webhook subscriptions.
//!
//! Invariant: every word that has the form of a secret is compared, or the message is refused: a secret cannot be hidden behind many
//! words that look like one.

use super::{Refusal, Submission, temporary};
use crate::auth::token;
use crate::id::{AccountId, TokenId, WebhookId};
use crate::message::ReadLimits;
use crate::message::disclosed::disclosed;
use crate::secret::Secret;
use crate::store::webhooks::sealing_context;
use crate::webhooks::signature;

/// Words of one message that are compared, at most.
const WORDS: usize = 100;

/// A secret that gives access to the account.
#[derive(Debug, thiserror::Error)]
pub enum OwnSecret {
    #[error("the API token {0}, which gives access to this account")]
    Token(TokenId),
    #[error("an operator's API token, which gives access to this account")]
    OperatorToken,
    #[error("the secret of the webhook subscription {0}, which signs its deliveries")]
    Webhook(WebhookId),
    /// Not all of them are compared.
    #[error("{WORDS} or more words that look like API tokens or webhook secrets")]
    TooMany,
}

/// The words of a message that look like secrets.
#[derive(Debug)]
pub(super) struct Words(Vec<Secret>);

impl Words {
    pub(super) fn of(header: &[u8], body: &[u8], limits: &ReadLimits) -> Self {
        let words = disclosed(header, body, limits, &[token::FORM, signature::FORM], WORDS);
        Self(words.into_iter().map(Secret::new).collect())
    }
}

impl Submission {
    /// Refuses a message with one of the account's secrets.
    pub(super) async fn check_words(&self, account: &AccountId, Words(words): Words) -> Result<(), Refusal> {
        if words.len() >= WORDS {
            return Err(Refusal::HoldsSecret(OwnSecret::TooMany));
        }
        let of = |prefix: &'static str| words.iter().filter(move |word| word.reveal().starts_with(prefix));
        let store = self.store.for_account(account);
        let tokens: Vec<[u8; 32]> = of(token::FORM.prefix).map(|word| token::hash_of(word.reveal())).collect();
        if !tokens.is_empty()
            && let Some(token) = store.token_that_opens(account, tokens, self.clock.now()).await?
        {
            let is_of_account = token.scope.account().is_some();
            let found = if is_of_account { OwnSecret::Token(token.id) } else { OwnSecret::OperatorToken };
            return Err(Refusal::HoldsSecret(found));
        }
        if of(signature::FORM.prefix).next().is_none() {
            return Ok(());
        }
        for (id, sealed) in store.webhook_secrets_of(account, self.clock.now()).await? {
            for sealed in [Some(sealed.current), sealed.previous].into_iter().flatten() {
                let secret = self.secrets.open(&sealing_context(&id), &sealed).map_err(temporary)?;
                if of(signature::FORM.prefix).any(|word| word.reveal() == secret.reveal()) {
                    return Err(Refusal::HoldsSecret(OwnSecret::Webhook(id)));
                }
            }
        }
        Ok(())
    }
}
