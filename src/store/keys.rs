//! DKIM keys: the sealed private key, and the public key as a TXT record.
//!
//! Invariant: the zone is the view `dkim_zone`, whether it is served or printed. A public key stays in the zone while mail signed
//! with the private key may be in transit, also after the claim was deleted (RFC 6376 §6.1.2).

use super::rotation::{self, FreshKey};
use super::{Store, StoreError, Transaction, queue, webhooks};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId};
use crate::store::engine::params;
use std::time::Duration;

/// The keys that the CNAME records of domains point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOfKeys {
    /// Increases with every change.
    pub serial: u32,
    /// Tokens with the TXT records of their public keys.
    pub keys: Vec<(String, String)>,
}

/// The context of the sealed check value, used instead of a token. No token has a space.
pub(crate) const SEALING_CHECK: &str = "sealing check";

impl Store {
    /// The TXT record of a token in the zone.
    pub async fn dkim_in_zone(&self, token: &str) -> Result<Option<String>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT public FROM dkim_zone WHERE token = ?1";
            connection.query_opt(sql, params![token], |row| row.get(0))
        })
        .await
    }

    /// Removes the public keys of claims that were deleted `retire_after` ago. For those deleted since the last call, the time
    /// starts now.
    pub async fn dkim_remove_retired(&self, now: Timestamp, retire_after: Duration) -> Result<(), StoreError> {
        let due = "SELECT 1 FROM dkim_kept WHERE coalesce(until, 0) <= ?1";
        if !self.read(move |connection| connection.exists(due, params![now])).await? {
            return Ok(());
        }
        self.write(move |connection| {
            let sql = "UPDATE dkim_kept SET until = ?1 WHERE until IS NULL";
            connection.execute(sql, params![now.after(retire_after)])?;
            match connection.execute("DELETE FROM dkim_kept WHERE until <= ?1", params![now])? {
                0 => Ok(()),
                _ => zone_changed(connection),
            }
        })
        .await
    }

    /// The TXT record of a token's public key; also of the platform's, which is not in the zone.
    pub async fn dkim_public(&self, token: &str) -> Result<Option<String>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT public FROM dkim_key WHERE token = ?1";
            connection.query_opt(sql, params![token], |row| row.get(0))
        })
        .await
    }

    pub async fn dkim_zone(&self) -> Result<ZoneOfKeys, StoreError> {
        self.read(|connection| {
            // Read in one snapshot, so that the serial matches the keys.
            let serial = serial(connection)?;
            let sql = "SELECT token, public FROM dkim_zone ORDER BY token";
            let keys = connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(ZoneOfKeys { serial, keys })
        })
        .await
    }

    pub async fn dkim_serial(&self) -> Result<u32, StoreError> {
        self.read(serial).await
    }

    /// The sealed private key of a token, if it is of this generation.
    pub async fn dkim_sealed(&self, token: &str, generation: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT sealed FROM dkim_key WHERE token = ?1 AND generation = ?2";
            let key = params![token, generation];
            connection.query_opt(sql, key, |row| row.get(0))
        })
        .await
    }

    /// The sealed private key and the TXT record of a token, if it is still the first generation.
    pub async fn dkim_first(&self, token: &str) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let token = token.to_owned();
        self.read(move |connection| {
            let sql = "SELECT sealed, public FROM dkim_key WHERE token = ?1 AND generation = 0";
            connection.query_opt(sql, params![token], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// A sealed value that only the store's sealing key opens; `None` before the first [`Store::sealing_check_keep`].
    pub async fn sealing_check(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| connection.query_opt("SELECT sealed FROM sealing_check", params![], |row| row.get(0)))
            .await
    }

    /// Stores the sealed check value, unless there is one. Returns the stored one, which may be another daemon's.
    pub async fn sealing_check_keep(&self, sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.write(move |connection| {
            let sql = "INSERT INTO sealing_check (id, sealed) VALUES (1, ?1) ON CONFLICT (id) DO NOTHING";
            connection.execute(sql, params![sealed])?;
            connection.query_row("SELECT sealed FROM sealing_check", params![], |row| row.get(0))
        })
        .await
    }

    /// An arbitrary token with its sealed key.
    pub async fn dkim_sample(&self) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT token, sealed FROM dkim_key LIMIT 1";
            connection.query_opt(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// Replaces each sealed key by the result of `seal` for its token, the check value by that for [`SEALING_CHECK`], and the secrets of
    /// webhooks by those for their subscriptions, in one transaction. Returns the number of keys and of subscriptions.
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
            let check = "SELECT sealed FROM sealing_check";
            if let Some(sealed) = connection.query_opt(check, params![], |row| row.get::<Vec<u8>>(0))? {
                let sql = "UPDATE sealing_check SET sealed = ?1";
                connection.execute(sql, params![seal(SEALING_CHECK, &sealed)?])?;
            }
            Ok(tokens.len() + webhooks::reseal(connection, &seal)?)
        })
        .await
    }

    /// Stores the first key of a token, unless the token has a key or the domain was deleted. The first key of a domain becomes
    /// the signing key. Each new key updates the rotation.
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
                       SELECT ?1, ?2, CASE WHEN EXISTS (SELECT 1 FROM dkim_key WHERE domain_id = ?2 AND role = 'signing')
                                     THEN 'ready' ELSE 'signing' END, ?5, ?3, ?4, ?5
                       WHERE CAST(?2 AS TEXT) IS NULL OR EXISTS (SELECT 1 FROM custom_domain WHERE id = ?2)
                       ON CONFLICT (token) DO NOTHING";
            let inserted = connection.execute(sql, params![token, domain, sealed, public, now])?;
            if let (Some(domain), 1..) = (&domain, inserted) {
                zone_changed(connection)?;
                rotation::begin(connection, domain, now)?;
                queue::wake_unsigned(connection, domain, now)?;
            }
            Ok(())
        })
        .await
    }

    /// All claims with tokens without keys.
    pub async fn dkim_missing(&self) -> Result<Vec<(AccountId, DomainId)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT d.account_id, d.id FROM custom_domain d
                       WHERE (SELECT count(*) FROM dkim_key k WHERE k.domain_id = d.id) < 3 ORDER BY d.id";
            connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// The first token of a claim without a key. `None` if all have keys, or the claim was deleted.
    pub async fn dkim_next_missing(&self, domain: &DomainId) -> Result<Option<String>, StoreError> {
        let domain = domain.clone();
        self.read(move |connection| {
            let sql = "SELECT dkim_tokens FROM custom_domain WHERE id = ?1";
            let tokens: Option<String> = connection.query_opt(sql, params![domain], |row| row.get(0))?;
            for token in tokens.unwrap_or_default().split_ascii_whitespace() {
                if !has_key(connection, token)? {
                    return Ok(Some(token.to_owned()));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// Increases the serial of the zone: to the current time in seconds, or by one if that is higher.
fn zone_changed(connection: &Transaction<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_serial SET serial = CASE WHEN serial < ?1 THEN ?1 ELSE serial + 1 END";
    connection.execute(sql, params![Timestamp::real().seconds()])?;
    Ok(())
}

/// Removes the keys of a claim. If it was ever verified, the public keys stay in the zone, since signed mail may be in transit.
pub(super) fn remove(connection: &Transaction<'_>, domain: &DomainId, was_verified: bool) -> Result<(), StoreError> {
    if was_verified {
        let sql = "INSERT INTO dkim_kept (token, public) SELECT token, public FROM dkim_key WHERE domain_id = ?1
                   ON CONFLICT (token) DO UPDATE SET public = excluded.public, until = NULL";
        connection.execute(sql, params![domain])?;
    }
    let removed = connection.execute("DELETE FROM dkim_key WHERE domain_id = ?1", params![domain])?;
    if removed > 0 && !was_verified { zone_changed(connection) } else { Ok(()) }
}

/// Replaces the key of a token.
pub(super) fn replace(connection: &Transaction<'_>, fresh: &FreshKey, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_key SET generation = generation + 1, role = 'ready', role_since = ?4,
                   seen_at = NULL, sealed = ?2, public = ?3, created_at = ?4 WHERE token = ?1";
    connection.execute(sql, params![fresh.token, fresh.sealed, fresh.public, now])?;
    zone_changed(connection)
}

fn serial(connection: &Transaction<'_>) -> Result<u32, StoreError> {
    let serial: i64 = connection.query_row("SELECT serial FROM dkim_serial", params![], |row| row.get(0))?;
    // Serial number arithmetic (RFC 1982 §3.1).
    u32::try_from(serial % (1 << 32)).map_err(|_| StoreError::Corrupt("invalid serial of the DKIM zone".into()))
}

fn all_tokens(connection: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    connection.query("SELECT token FROM dkim_key ORDER BY token", params![], |row| row.get(0))
}

fn sealed(connection: &Transaction<'_>, token: &str) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT sealed FROM dkim_key WHERE token = ?1";
    connection.query_row(sql, params![token], |row| row.get(0))
}

fn put_sealed(connection: &Transaction<'_>, token: &str, sealed: &[u8]) -> Result<(), StoreError> {
    let sql = "UPDATE dkim_key SET sealed = ?2 WHERE token = ?1";
    connection.execute(sql, params![token, sealed])?;
    Ok(())
}

fn has_key(connection: &Transaction<'_>, token: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dkim_key WHERE token = ?1)";
    connection.query_row(sql, params![token], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{account, claim};
    use crate::verification::rotation::Plan;

    #[tokio::test]
    async fn every_change_of_the_zone_increases_its_serial() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (id, now, week) = (DomainId::new(), Timestamp::real(), Duration::from_secs(7 * 24 * 3600));
        let owner = account(&store).await;
        claim(&store, &owner, &id, "t1 t2 t3").await;
        let mut before = (store.dkim_serial().await.unwrap(), Vec::new());
        let mut assert_changed = async |changed: bool, what: &str| {
            let zone = store.dkim_zone().await.unwrap();
            assert_eq!(store.dkim_serial().await.unwrap(), zone.serial);
            assert_eq!((zone.serial > before.0, zone.keys != before.1), (changed, changed), "{what}");
            before = (zone.serial, zone.keys);
        };
        for token in ["t1", "t2", "t3"] {
            store.dkim_put(token.into(), Some(id.clone()), vec![], "v=DKIM1; p=old".into(), now).await.unwrap();
            assert_changed(true, token).await;
        }
        store.dkim_put("t1".into(), Some(id.clone()), vec![], "v=DKIM1; p=again".into(), now).await.unwrap();
        store.dkim_put("inboxlayer".into(), None, vec![], "v=DKIM1; p=platform".into(), now).await.unwrap();
        store.dkim_reseal(|_, sealed| Ok::<_, StoreError>(sealed.to_vec())).await.unwrap();
        assert_changed(false, "changes outside the zone").await;

        let plan = Plan { rotate_every: None, publish_before: Duration::ZERO, retire_after: Duration::ZERO };
        store.write(|c| c.execute("UPDATE dkim_key SET seen_at = 0", params![])).await.unwrap();
        crate::store::testing::dkim_records(&store, &id, ["valid"; 3]).await;
        store.rotation_now(&id, plan, now).await.unwrap().unwrap().unwrap();
        assert_changed(false, "another signing key").await;
        let (sealed, public) = (vec![], "v=DKIM1; p=new".into());
        let fresh = FreshKey { token: "t1".into(), replaces: 0, sealed, public };
        assert!(store.key_replace(&id, fresh, plan, now).await.unwrap());
        assert_changed(true, "a new key").await;

        // Deleting the claim keeps the zone until the public keys are removed.
        assert!(store.domain_delete(&owner, &id, now).await.unwrap());
        assert_changed(false, "the public keys stay").await;
        store.dkim_remove_retired(now, week).await.unwrap();
        let serial = store.dkim_serial().await.unwrap();
        store.dkim_remove_retired(now.after(week), week).await.unwrap();
        assert!(store.dkim_serial().await.unwrap() > serial);
        assert_eq!(store.dkim_zone().await.unwrap().keys, []);
        assert_changed(true, "the public keys are removed").await;
    }
}
