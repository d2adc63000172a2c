//! Access keys from the shared credentials file of the AWS CLI and SDKs.

use crate::secret::Secret;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use std::path::PathBuf;

pub(crate) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
}

impl Keys {
    /// moto accepts any keys.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Self {
        Self { id: "test".into(), secret: Secret::new("test"), session_token: None }
    }
}

/// The keys of `AWS_PROFILE` in `AWS_SHARED_CREDENTIALS_FILE` or `~/.aws/credentials`; `None` if the environment has keys, or the
/// file has none.
pub(super) fn of_file_for(builder: &AmazonS3Builder) -> Option<Keys> {
    if builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some() {
        return None;
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")))?;
    let text = std::fs::read_to_string(&path).ok()?;
    parse(&text, variable("AWS_PROFILE").as_deref().unwrap_or("default"))
}

/// <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>
fn parse(text: &str, profile: &str) -> Option<Keys> {
    let (mut id, mut secret, mut session_token) = (None, None, None);
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = name.trim() == profile;
        } else if is_ours && let Some((key, value)) = line.split_once('=') {
            let value = value.trim().to_owned();
            match key.trim() {
                "aws_access_key_id" => id = Some(value),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => session_token = Some(Secret::new(value)),
                _ => {}
            }
        }
    }
    Some(Keys { id: id?, secret: secret?, session_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_profile_are_parsed() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n[ other ]\naws_access_key_id=C\n\
                    aws_secret_access_key = D\naws_session_token = E\nregion = x\n[half]\naws_access_key_id = F\n";
        let keys = |profile| {
            parse(text, profile)
                .map(|k| (k.id, k.secret.reveal().to_owned(), k.session_token.map(|t| t.reveal().to_owned())))
        };
        assert_eq!(keys("default"), Some(("A".into(), "B=".into(), None)));
        assert_eq!(keys("other"), Some(("C".into(), "D".into(), Some("E".into()))));
        assert_eq!(keys("half"), None);
        assert_eq!(keys("none"), None);
    }
}
