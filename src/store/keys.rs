//! DKIM keys: the sealed private half, and the public half as its TXT record.

use super::{Store, StoreError};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::DomainId;
use rusqlite::{Connection, OptionalExtension, params};

/// One of a claim's three selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The token: the selector's name.
    pub token: String,
    /// Its CNAME was right when last seen.
    pub published: bool,
    /// Its key has been made.
    pub has_key: bool,
}

/// What the records of a claim are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToPublish {
    /// The name claimed.
    pub domain: DomainName,
    /// Its three tokens.
    pub tokens: [String; 3],
    /// The secret asked for at `_inboxlayer.`, where one is.
    pub ownership: Option<String>,
}

impl Store {
    /// What the owner of a claim has to publish, whosever it is.
    pub async fn claim_to_publish(&self, domain: &DomainId) -> Result<Option<ClaimToPublish>, StoreError> {
        let id = domain.clone();
        self.read(move |connection| {
            let sql = "SELECT name, dkim_tokens, ownership_secret FROM custom_domain WHERE id = ?1";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
            let Some((domain, tokens, ownership)) = connection.prepare_cached(sql)?.query_row([id], row).optional()?
            else {
                return Ok(None);
            };
            let tokens: Vec<String> = tokens.split_ascii_whitespace().map(str::to_owned).collect();
            let tokens = tokens.try_into().map_err(|_| StoreError::Corrupt("a claim without three tokens".into()))?;
            Ok(Some(ClaimToPublish { domain, tokens, ownership }))
        })
        .await
    }

    /// The TXT record of a token's public key.
    pub async fn dkim_public(&self, token: &str) -> Result<Option<String>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT public FROM dkim_key WHERE token = ?1";
            Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// The tokens of all claims with the TXT records of their public keys: what the zone holds.
    pub async fn dkim_zone(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT token, public FROM dkim_key WHERE domain_id IS NOT NULL ORDER BY token";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The sealed private key of a token.
    pub async fn dkim_sealed(&self, token: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT sealed FROM dkim_key WHERE token = ?1";
            Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// Keeps a new key. The first one of a token stays; for a domain that is gone nothing is kept.
    pub async fn dkim_put(
        &self,
        token: String,
        domain: Option<DomainId>,
        sealed: Vec<u8>,
        public: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            let sql = "INSERT INTO dkim_key (token, domain_id, sealed, public, created_at) SELECT ?1, ?2, ?3, ?4, ?5
                       WHERE ?2 IS NULL OR EXISTS (SELECT 1 FROM custom_domain WHERE id = ?2)
                       ON CONFLICT (token) DO NOTHING";
            connection.prepare_cached(sql)?.execute(params![token, domain, sealed, public, now])?;
            Ok(())
        })
        .await
    }

    /// Every token that waits for its key.
    pub async fn dkim_missing(&self) -> Result<Vec<(DomainId, String)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT d.id, d.dkim_tokens FROM custom_domain d
                       WHERE (SELECT count(*) FROM dkim_key k WHERE k.domain_id = d.id) < 3 ORDER BY d.id";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, DomainId>(0)?, row.get::<_, String>(1)?)))?;
            let mut missing = Vec::new();
            for row in rows {
                let (domain, tokens) = row?;
                for token in tokens.split_ascii_whitespace() {
                    if !has_key(connection, token)? {
                        missing.push((domain.clone(), token.to_owned()));
                    }
                }
            }
            Ok(missing)
        })
        .await
    }

    /// The selectors of a claim, in the order of its tokens; empty when the claim is gone. The DKIM records of a claim
    /// stand at the positions of its tokens.
    pub async fn dkim_selectors(&self, domain: &DomainId) -> Result<Vec<Selector>, StoreError> {
        let domain = domain.clone();
        self.read(move |connection| {
            let sql = "SELECT dkim_tokens FROM custom_domain WHERE id = ?1";
            let tokens: Option<String> =
                connection.prepare_cached(sql)?.query_row([&domain], |row| row.get(0)).optional()?;
            let sql = "SELECT EXISTS (SELECT 1 FROM domain_record
                       WHERE domain_id = ?1 AND position = ?2 AND status = 'valid')";
            let mut published = connection.prepare_cached(sql)?;
            (0_i64..)
                .zip(tokens.unwrap_or_default().split_ascii_whitespace())
                .map(|(position, token)| {
                    Ok(Selector {
                        token: token.to_owned(),
                        published: published.query_row(params![domain, position], |row| row.get(0))?,
                        has_key: has_key(connection, token)?,
                    })
                })
                .collect()
        })
        .await
    }
}

fn has_key(connection: &Connection, token: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dkim_key WHERE token = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0))?)
}
