//! The password for the SMTP relay of Amazon SES, derived from a secret access key:
//! <https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html#smtp-credentials-convert>

use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The version of the algorithm, the first octet of its output.
const VERSION: u8 = 0x04;

/// The password for a region. The user name is the access key id.
pub(super) fn of(secret_access_key: &str, region: &str) -> Secret {
    let mut key = format!("AWS4{secret_access_key}").into_bytes();
    for message in ["11111111", region, "ses", "aws4_request", "SendRawEmail"] {
        let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes());
        key = signed.as_ref().to_vec();
    }
    Secret::new(STANDARD.encode([&[VERSION], key.as_slice()].concat()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_match_those_of_awss_own_program() {
        for (key, region, password) in [
            ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
            ("another+secret+key", "eu-central-1", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"),
        ] {
            assert_eq!(super::of(key, region).reveal(), password);
        }
    }
}
