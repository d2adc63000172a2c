//! Names of objects.

#[cfg(any(test, feature = "cluster"))]
use crate::id::BodyHash;
use std::fmt;

/// The name of an object, below the prefix: `<first two hex digits of the hash>/<hash>.<ULID of the put>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

impl ObjectName {
    /// A new, unique name.
    #[cfg(any(test, feature = "cluster"))]
    pub fn new(hash: &BodyHash) -> Self {
        let hash = hash.to_string();
        let folder = hash.get(..2).unwrap_or_default();
        Self(format!("{folder}/{hash}.{}", ulid::Ulid::new().to_string().to_ascii_lowercase()))
    }

    /// `None` for a name that this program does not generate.
    pub fn parse(text: &str) -> Option<Self> {
        let (folder, file) = text.split_once('/')?;
        let (hash, put) = file.split_once('.')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_put = put.len() == 26 && put.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        (is_hash && is_put && hash.starts_with(folder) && folder.len() == 2).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_only_generated_names_parse() {
        let hash = BodyHash::new([0xab; 32]);
        let (one, two) = (ObjectName::new(&hash), ObjectName::new(&hash));
        assert_ne!(one, two);
        assert!(one.as_str().starts_with("ab/abab"), "{one}");
        assert_eq!(ObjectName::parse(one.as_str()), Some(one.clone()));
        for bad in [
            "",
            "ab/x.y",
            &one.as_str()[1..],
            &format!("{one}#1"),
            &one.as_str().replace("ab/", "cd/"),
            "../etc/passwd",
        ] {
            assert_eq!(ObjectName::parse(bad), None, "{bad}");
        }
    }
}
