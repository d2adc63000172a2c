//! Bodies in an object store: a folder or an S3 bucket.
//!
//! Invariant: each put has a new object name, so that a put or a delete that arrives late cannot affect a later put. The octets
//! are verified against the body's hash when they are read.

mod cache;
pub(crate) mod credentials;

use super::MAX_INLINE;
use super::format::{BodyInfo, DamagedBody, Encoded, FRAME, Index};
use super::name::ObjectName;
use crate::config::{Bodies as Config, BodyStore};
use bytes::Bytes;
use cache::Cache;
use credentials::Keys;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Retries per request.
const RETRIES: usize = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// All of these are temporary errors to a client.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("{request} failed in the object store: {source}")]
    Failed {
        /// The request and the object.
        request: String,
        source: object_store::Error,
    },
    #[error("object {0}, which contains a body, is missing from the object store")]
    Missing(ObjectName),
    #[error("object {name}: {damage}")]
    Damaged { name: ObjectName, damage: DamagedBody },
}

impl ObjectError {
    /// True if one object is damaged or missing, and others can be read.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Damaged { .. })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Refused(#[from] object_store::Error),
}

/// A folder or bucket. Clones share the cache.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Prefix in the bucket; empty for a folder.
    prefix: Path,
    cache: Arc<Cache>,
    /// The folder, from which files of interrupted puts are removed.
    folder: Option<PathBuf>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.prefix)
    }
}

impl Objects {
    /// Opens the object store of `[bodies] store`; `None` if bodies are in the database. Sends no request to a bucket.
    pub fn open(config: &Config) -> Result<Option<Self>, OpenError> {
        Self::open_with(config, None)
    }

    /// The same, with `keys` instead of those from the environment.
    pub fn open_with(config: &Config, keys: Option<Keys>) -> Result<Option<Self>, OpenError> {
        let cache = Arc::new(Cache::new(config.cache));
        match &config.store {
            BodyStore::Database => Ok(None),
            BodyStore::Folder(path) => {
                let io = |source| OpenError::Io { path: path.clone(), source };
                crate::store::make_private_dir(path).map_err(io)?;
                let store = Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true));
                Ok(Some(Self { store, prefix: Path::default(), cache, folder: Some(path.clone()) }))
            }
            BodyStore::Bucket { bucket, prefix } => {
                let store = Arc::new(bucket_of(config, bucket, keys)?);
                Ok(Some(Self { store, prefix: Path::from(prefix.as_str()), cache, folder: None }))
            }
        }
    }

    fn path(&self, name: &ObjectName) -> Path {
        self.prefix.parts().chain(Path::from(name.as_str()).parts()).collect()
    }

    /// Stores a body under a new name. On success the object is durable. After an error the object may exist; the sweep deletes
    /// it.
    pub async fn put(&self, name: &ObjectName, body: &Encoded) -> Result<(), ObjectError> {
        let payload: PutPayload = body.pieces.iter().cloned().collect();
        let done = self.store.put(&self.path(name), payload).await;
        done.map_err(|source| ObjectError::Failed { request: format!("PUT of {name}"), source })?;
        Ok(())
    }

    /// Reads and verifies a range of a body, clipped to it. Fetches only the frames that overlap it and are not cached.
    pub async fn read(&self, name: &ObjectName, info: &BodyInfo, range: Range<usize>) -> Result<Vec<u8>, ObjectError> {
        let range = range.start.min(info.size)..range.end.min(info.size);
        let frames = range.start / FRAME..range.end.div_ceil(FRAME).max(range.start / FRAME);
        let cached: Vec<Option<Bytes>> = frames.clone().map(|number| self.cache.frame(&info.hash, number)).collect();
        let missing = match cached.iter().position(Option::is_none) {
            None => 0..0,
            Some(first) => {
                let last = cached.iter().rposition(Option::is_none).unwrap_or(first);
                frames.start + first..frames.start + last + 1
            }
        };
        let fetched = self.fetch(name, info, missing.clone()).await?;
        let mut octets = Vec::with_capacity(range.len());
        for (number, cached) in frames.zip(cached) {
            let start = number * FRAME;
            let frame = match cached {
                Some(frame) => frame,
                None => {
                    let at = (number - missing.start) * FRAME;
                    let frame = fetched.slice(at..at.saturating_add(FRAME).min(fetched.len()));
                    self.cache.put_frame(&info.hash, number, frame.clone());
                    frame
                }
            };
            let wanted = range.start.max(start) - start..range.end.min(start + FRAME) - start;
            octets.extend_from_slice(frame.get(wanted).unwrap_or_default());
        }
        Ok(octets)
    }

    /// Fetches and verifies complete frames.
    async fn fetch(&self, name: &ObjectName, info: &BodyInfo, frames: Range<usize>) -> Result<Bytes, ObjectError> {
        if frames.is_empty() {
            return Ok(Bytes::new());
        }
        let damaged = |damage| ObjectError::Damaged { name: name.clone(), damage };
        let range = frames.start * FRAME..frames.end.saturating_mul(FRAME).min(info.size);
        // A body of one frame is fetched with its index.
        let (index, stored) = if info.size <= FRAME {
            let stored = self.get(name, 0..info.stored_size).await?;
            let at = info.index_range().map_err(damaged)?;
            let index = info.index(stored.get(at).unwrap_or_default()).map_err(damaged)?;
            let frame = index.stored_range(range.clone());
            (Arc::new(index), stored.slice(frame.start..frame.end.min(stored.len())))
        } else {
            let index = self.index(name, info).await?;
            let stored = self.get(name, index.stored_range(range.clone())).await?;
            (index, stored)
        };
        let decoded = if range.len() > MAX_INLINE {
            let decoded = tokio::task::spawn_blocking(move || index.decode(range, &stored)).await;
            decoded
                .map_err(|source| ObjectError::Failed { request: format!("decoding {name}"), source: source.into() })?
        } else {
            index.decode(range, &stored)
        };
        Ok(decoded.map_err(damaged)?.into())
    }

    async fn index(&self, name: &ObjectName, info: &BodyInfo) -> Result<Arc<Index>, ObjectError> {
        if let Some(index) = self.cache.index(&info.hash, info.stored_size) {
            return Ok(index);
        }
        let damaged = |damage| ObjectError::Damaged { name: name.clone(), damage };
        let octets = self.get(name, info.index_range().map_err(damaged)?).await?;
        let index = Arc::new(info.index(&octets).map_err(damaged)?);
        self.cache.put_index(&info.hash, Arc::clone(&index));
        Ok(index)
    }

    async fn get(&self, name: &ObjectName, range: Range<usize>) -> Result<Bytes, ObjectError> {
        let done = self.store.get_range(&self.path(name), range.start as u64..range.end as u64).await;
        done.map_err(|source| match source {
            object_store::Error::NotFound { .. } => ObjectError::Missing(name.clone()),
            source => ObjectError::Failed { request: format!("GET of {name}"), source },
        })
    }

    /// Deletes an object. Succeeds if it does not exist.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(ObjectError::Failed { request: format!("DELETE of {name}"), source }),
        }
    }

    /// Calls `each` with the names of objects written before `time`, in batches of up to `count`. The clock of the object store
    /// may be off by minutes, so `time` should be hours ago.
    pub async fn older_than<E, F>(
        &self,
        time: SystemTime,
        count: usize,
        mut each: impl FnMut(Vec<ObjectName>) -> F,
    ) -> Result<(), E>
    where
        E: From<ObjectError>,
        F: Future<Output = Result<(), E>>,
    {
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let found = self.store.list(prefix).try_filter_map(|object| async move {
            let mut parts = object.location.prefix_match(&self.prefix).into_iter().flatten();
            let text = match (parts.next(), parts.next(), parts.next()) {
                (Some(folder), Some(file), None) => format!("{}/{}", folder.as_ref(), file.as_ref()),
                _ => return Ok(None),
            };
            Ok(ObjectName::parse(&text).filter(|_| SystemTime::from(object.last_modified) < time))
        });
        let mut pages = found.try_chunks(count).boxed();
        while let Some(page) = pages.next().await {
            match page {
                Ok(names) => each(names).await?,
                Err(error) => {
                    let failed = ObjectError::Failed { request: "listing the objects".to_owned(), source: error.1 };
                    return Err(failed.into());
                }
            }
        }
        Ok(())
    }

    /// Removes the files of puts that were interrupted before `time` from a folder. A bucket has none.
    pub fn remove_unfinished(&self, time: SystemTime) -> std::io::Result<usize> {
        let mut removed = 0;
        let Some(folder) = &self.folder else { return Ok(0) };
        for part in std::fs::read_dir(folder)? {
            let part = part?;
            if !part.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(part.path())? {
                let file = file?;
                // The object_store crate names an incomplete file `<name>#<number>`.
                let is_unfinished = file.file_name().to_str().is_some_and(|name| name.contains('#'));
                if is_unfinished && file.metadata()?.modified()? < time {
                    std::fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn bucket_of(
    config: &Config,
    bucket: &str,
    keys: Option<Keys>,
) -> Result<impl ObjectStore + use<>, object_store::Error> {
    // AWS_ACCESS_KEY_ID and related variables, web identity, container and instance roles.
    let mut builder = AmazonS3Builder::from_env();
    if let Some(keys) = keys.or_else(|| credentials::of_file_for(&builder)) {
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret.reveal());
        if let Some(token) = keys.session_token {
            builder = builder.with_token(token.reveal());
        }
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        // `S3Endpoint` takes precedence over `Endpoint`, which the environment may set.
        builder = builder.with_endpoint(endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let is_http = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let timeout = config.timeout.0;
    let options = ClientOptions::new()
        .with_allow_http(is_http)
        .with_connect_timeout(timeout.min(Duration::from_secs(10)))
        .with_timeout(timeout);
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_BACKOFF, max_backoff: MAX_BACKOFF, base: 2.0 },
        max_retries: RETRIES,
        // No retry starts after this time.
        retry_timeout: timeout.saturating_mul(2),
    };
    builder
        .with_bucket_name(bucket)
        // The server rejects an object that was changed or truncated in transit.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(options)
        .with_retry(retry)
        .build()
}

#[cfg(test)]
mod tests;
