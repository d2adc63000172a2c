//! Secrets of webhook subscriptions, and what a delivery is signed with.
//!
//! Two schemes sign the same body: `X-Signature` is the hexadecimal HMAC-SHA256 of the body, keyed with the secret as it is shown;
//! `webhook-id`, `webhook-timestamp` and `webhook-signature` are those of Standard Webhooks 1.0.0, keyed with the octets that
//! the secret encodes. RFC 2104.

use crate::clock::Timestamp;
use crate::message::disclosed::Form;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Of every secret.
const PREFIX: &str = "whsec_";
/// Octets of a new secret; Standard Webhooks asks for 24 to 64.
const LENGTH: usize = 32;
/// What a secret looks like.
pub const FORM: Form = Form {
    prefix: PREFIX,
    length: PREFIX.len() + LENGTH.div_ceil(3) * 4,
    is_valid: |word| WebhookSecret::parse(word).is_ok(),
};

/// `whsec_` and base64.
#[derive(Clone, Debug)]
pub struct WebhookSecret(Secret);

#[derive(Debug, thiserror::Error)]
#[error("the system's source of random numbers failed")]
pub struct NoRandomness;

#[derive(Debug, thiserror::Error)]
#[error("not the secret of a webhook subscription")]
pub struct NotASecret;

/// Header fields of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub id: String,
    pub timestamp: String,
    /// Separated by spaces, that of the current secret first.
    pub signatures: String,
    pub x_signature: String,
}

impl WebhookSecret {
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut octets = Zeroizing::new([0; LENGTH]);
        SystemRandom::new().fill(octets.as_mut_slice()).map_err(|_| NoRandomness)?;
        Ok(Self(Secret::new(format!("{PREFIX}{}", STANDARD.encode(octets.as_slice())))))
    }

    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        STANDARD.decode(encoded).map_err(|_| NotASecret)?;
        Ok(Self(Secret::new(text)))
    }

    /// As it is shown.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    fn octets(&self) -> Zeroizing<Vec<u8>> {
        let encoded = self.reveal().strip_prefix(PREFIX).unwrap_or_default();
        // Only texts that can be decoded are made.
        Zeroizing::new(STANDARD.decode(encoded).unwrap_or_default())
    }
}

/// Signs a body with the current secret, and with the previous one while it is valid.
pub fn sign(id: &str, at: Timestamp, body: &[u8], current: &WebhookSecret, previous: Option<&WebhookSecret>) -> Signed {
    let timestamp = at.seconds().to_string();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let signature = |secret: &WebhookSecret| format!("v1,{}", STANDARD.encode(hmac_of(&secret.octets(), &content)));
    let signatures: Vec<String> = std::iter::once(current).chain(previous).map(signature).collect();
    let x_signature = hmac_of(current.reveal().as_bytes(), body);
    let x_signature = x_signature.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    Signed { id: id.to_owned(), timestamp, signatures: signatures.join(" "), x_signature }
}

fn hmac_of(key: &[u8], content: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_standard_webhooks_has_its_signature() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_millis(1_614_265_330_000);
        let signed = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#, &secret, None);
        assert_eq!(signed.signatures, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signed.timestamp, "1614265330");
    }

    #[test]
    fn the_plain_signature_is_keyed_with_the_secret_as_it_is_shown() {
        // Computed with Python's hmac module.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign("evt_1", Timestamp::from_millis(0), b"body", &secret, None);
        assert_eq!(signed.x_signature, "87b7bcdd672d056b7380c5ae3ffd9cffbd91c8c28a318f8e754373a544999bb5");
    }

    #[test]
    fn both_secrets_sign_during_a_rotation_and_the_new_one_is_first() {
        let (new, old) = (WebhookSecret::generate().unwrap(), WebhookSecret::generate().unwrap());
        let at = Timestamp::real();
        let both = sign("evt_1", at, b"{}", &new, Some(&old));
        let alone = |secret| sign("evt_1", at, b"{}", secret, None);
        assert_eq!(both.signatures, format!("{} {}", alone(&new).signatures, alone(&old).signatures));
        assert_eq!(both.x_signature, alone(&new).x_signature);
        assert_ne!(new.reveal(), old.reveal());
        assert!(!format!("{new:?}").contains(new.reveal()));
    }

    #[test]
    fn other_texts_are_not_secrets() {
        for text in ["", "whsec", "whsec_*", "sk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(WebhookSecret::parse(text).is_err(), "{text}");
        }
    }
}
