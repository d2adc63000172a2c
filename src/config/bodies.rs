//! `[bodies]`: where the bodies of messages are kept.

use super::HumanDuration;
use serde::Deserialize;
use std::path::PathBuf;
use std::str::FromStr;

/// `[bodies]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bodies {
    /// Where they are kept.
    pub store: BodyStore,
    /// Where the bucket's API is, instead of Amazon's for the region. Plain HTTP is allowed where this says `http://`.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// A request to the object store may take so long; it is tried again for twice as long.
    pub timeout: HumanDuration,
    /// Octets of memory for what was read of an object store lately.
    pub cache: usize,
    /// An object that no message needs any more is kept so long.
    pub grace: HumanDuration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            store: BodyStore::Database,
            endpoint: None,
            region: None,
            timeout: HumanDuration::seconds(30),
            cache: 64 * 1024 * 1024,
            grace: HumanDuration::hours(3 * 24),
        }
    }
}

/// `database`, `file:///folder` or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyStore {
    /// In the database.
    Database,
    /// Files in a folder.
    Folder(PathBuf),
    /// Objects in a bucket that speaks S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What object names begin with, without slashes around it; may be empty.
        prefix: String,
    },
}

impl FromStr for BodyStore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("{text:?} is no place for bodies: write \"database\", \"file:///folder\" or \"s3://bucket/prefix\"")
        };
        if text == "database" {
            return Ok(Self::Database);
        }
        match text.split_once("://").ok_or_else(bad)? {
            ("file", path) if path.starts_with('/') && path.len() > 1 => Ok(Self::Folder(path.into())),
            ("s3", rest) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                // S3's rule for names of buckets, without its finer points.
                let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                let is_plain = |b: u8| is_name(b) || b == b'/';
                if bucket.is_empty() || !bucket.bytes().all(is_name) || !prefix.bytes().all(is_plain) {
                    return Err(bad());
                }
                Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
            }
            _ => Err(bad()),
        }
    }
}

impl<'de> Deserialize<'de> for BodyStore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Bodies {
    /// What does not go together: key and message.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let is_bucket = matches!(self.store, BodyStore::Bucket { .. });
        let is_url = |text: &String| text.starts_with("https://") || text.starts_with("http://");
        [
            (
                self.store != BodyStore::Database && !cfg!(feature = "cluster"),
                "bodies.store",
                "an object store is not in this build: build with `cargo build --release --features cluster`, or write \"database\"",
            ),
            (
                !is_bucket && (self.endpoint.is_some() || self.region.is_some()),
                "bodies.store",
                "must be \"s3://bucket\" where endpoint or region is set",
            ),
            (
                self.endpoint.as_ref().is_some_and(|text| !is_url(text)),
                "bodies.endpoint",
                "must begin with https://, or with http:// for a server nearby",
            ),
            (self.timeout.0.is_zero(), "bodies.timeout", "must not be 0"),
            (
                self.grace.0.as_secs() < 3600,
                "bodies.grace",
                "must be at least \"1h\": who reads a message that was just deleted still finds its body",
            ),
        ]
        .into_iter()
        .filter_map(|(bad, key, message)| bad.then_some((key, message)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_for_bodies() {
        let bucket =
            |bucket: &str, prefix: &str| Ok(BodyStore::Bucket { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!("database".parse(), Ok(BodyStore::Database));
        assert_eq!("file:///srv/bodies".parse(), Ok(BodyStore::Folder("/srv/bodies".into())));
        assert_eq!("s3://mail".parse(), bucket("mail", ""));
        assert_eq!("s3://mail/".parse(), bucket("mail", ""));
        assert_eq!("s3://mail/a/b/".parse(), bucket("mail", "a/b"));
        for bad in
            ["", "Database", "file://srv", "file:///", "s3://", "s3:///x", "s3://a b", "s3://a/b c", "gs://a", "/srv"]
        {
            let refused = bad.parse::<BodyStore>().unwrap_err();
            assert!(refused.contains("s3://bucket/prefix"), "{refused}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let keys = |bodies: &Bodies| bodies.problems().iter().map(|(key, _)| *key).collect::<Vec<_>>();
        let mut bodies = Bodies::default();
        assert_eq!(keys(&bodies), [""; 0]);
        bodies.region = Some("eu-west-1".into());
        assert_eq!(keys(&bodies), ["bodies.store"]);
        bodies.store = "s3://mail".parse().unwrap();
        assert_eq!(keys(&bodies).is_empty(), cfg!(feature = "cluster"));
        bodies.endpoint = Some("ftp://x".into());
        bodies.timeout = HumanDuration::seconds(0);
        bodies.grace = HumanDuration::seconds(3599);
        let found = keys(&bodies);
        assert!(found.ends_with(&["bodies.endpoint", "bodies.timeout", "bodies.grace"]), "{found:?}");
    }
}
