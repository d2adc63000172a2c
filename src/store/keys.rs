//! DKIM keys: the sealed private half, and the public half as its TXT record.
//!
//! Invariant: the zone is one view of the schema, whether it is served or printed; a public half stays in it while mail
//! that its private half signed is under way, also when the claim is gone (RFC 6376 §6.1.2).

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::DomainId;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// All keys that customers' CNAMEs lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOfKeys {
    /// The last change of any key.
    pub changed_at: Timestamp,
    /// The tokens with the TXT records of their keys.
    pub keys: Vec<(String, String)>,
}

impl Store {
    /// The TXT record that the zone holds for a token.
    pub async fn dkim_in_zone(&self, token: &str) -> Result<Option<String>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT public FROM dkim_zone WHERE token = ?1";
            Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// Lets public halves go whose claim went so long ago; for those that came since, the time
    /// begins.
    pub async fn dkim_let_go(&self, now: Timestamp, retire_after: Duration) -> Result<(), StoreError> {
        self.write(move |connection| {
            let sql = "UPDATE dkim_kept SET until = ?1 WHERE until IS NULL";
            connection.prepare_cached(sql)?.execute([now.after(retire_after)])?;
            connection.prepare_cached("DELETE FROM dkim_kept WHERE until <= ?1")?.execute([now])?;
            Ok(())
        })
        .await
    }

    /// The TXT record of a token's public key, the platform's included.
    pub async fn dkim_public(&self, token: &str) -> Result<Option<String>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT public FROM dkim_key WHERE token = ?1";
            Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// The tokens of all claims with the TXT records of their public keys: what the zone holds.
    pub async fn dkim_zone(&self) -> Result<ZoneOfKeys, StoreError> {
        self.read(|connection| {
            let sql = "SELECT token, public, 0 FROM dkim_zone ORDER BY token";
            let mut statement = connection.prepare_cached(sql)?;
            let mut zone = ZoneOfKeys { changed_at: Timestamp::from_millis(0), keys: Vec::new() };
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                zone.keys.push((row.get(0)?, row.get(1)?));
                zone.changed_at = zone.changed_at.max(row.get(2)?);
            }
            Ok(zone)
        })
        .await
    }

    /// The sealed private key of a token, the one of this generation.
    pub async fn dkim_sealed(&self, token: &str, generation: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT sealed FROM dkim_key WHERE token = ?1 AND generation = ?2";
            let key = params![token, generation];
            Ok(connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?)
        })
        .await
    }

    /// Any token with its sealed key.
    pub async fn dkim_sample(&self) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT token, sealed FROM dkim_key LIMIT 1";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })
        .await
    }

    /// Puts what `seal` makes of each sealed key, and its token, in its place: all or none. How many.
    pub async fn dkim_reseal<E, F>(&self, seal: F) -> Result<usize, E>
    where
        E: From<StoreError> + Send + 'static,
        F: Fn(&str, &[u8]) -> Result<Vec<u8>, E> + Send + 'static,
    {
        self.write(move |connection| {
            let tokens = all_tokens(connection)?;
            for token in &tokens {
                let sealed = sealed(connection, token)?;
                put_sealed(connection, token, &seal(token, &sealed)?)?;
            }
            Ok(tokens.len())
        })
        .await
    }

    /// Keeps the first key of a token. Another one stays; for a domain that is gone nothing is kept. The first key of a
    /// domain signs, and the rotation hears of each.
    pub async fn dkim_put(
        &self,
        token: String,
        domain: Option<DomainId>,
        sealed: Vec<u8>,
        public: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            let sql = "INSERT INTO dkim_key (token, domain_id, role, role_since, sealed, public, created_at)
                       SELECT ?1, ?2, iif(EXISTS (SELECT 1 FROM dkim_key WHERE domain_id = ?2 AND role = 'signing'),
                                          'ready', 'signing'), ?5, ?3, ?4, ?5
                       WHERE ?2 IS NULL OR EXISTS (SELECT 1 FROM custom_domain WHERE id = ?2)
                       ON CONFLICT (token) DO NOTHING";
            let kept = connection.prepare_cached(sql)?.execute(params![token, domain, sealed, public, now])?;
            if let (Some(domain), 1..) = (domain, kept) {
                let sql = "INSERT INTO dkim_rotation VALUES (?1, ?2)
                           ON CONFLICT (domain_id) DO UPDATE SET due_at = min(due_at, excluded.due_at)";
                connection.prepare_cached(sql)?.execute(params![domain, now])?;
            }
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
}

fn all_tokens(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT token FROM dkim_key ORDER BY token")?;
    let tokens = statement.query_map([], |row| row.get(0))?;
    Ok(tokens.collect::<Result<_, _>>()?)
}

fn sealed(connection: &Connection, token: &str) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT sealed FROM dkim_key WHERE token = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0))?)
}

fn put_sealed(connection: &Connection, token: &str, sealed: &[u8]) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_key SET sealed = ?2 WHERE token = ?1";
    connection.prepare_cached(sql)?.execute(params![token, sealed])?;
    Ok(())
}

fn has_key(connection: &Connection, token: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dkim_key WHERE token = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([token], |row| row.get(0))?)
}
