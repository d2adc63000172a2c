//! Chooses the signing provider.

use super::StartError;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dkim::{Keys, Provider};
use crate::store::Store;

/// The configured provider, and its relay if it has one. Tokens never change for the life of a claim, so the start
/// fails if claims in the store have another provider's.
pub(super) async fn choose(
    config: &mut Config,
    keys: &Keys,
    store: &Store,
    clock: &Clock,
) -> Result<Provider, StartError> {
    let (of_ses, of_local) = store.claims_by_provider().await?;
    let (others, other) = match config.dkim.provider {
        config::Provider::Local => (of_ses, "ses"),
        config::Provider::Ses => (of_local, "local"),
    };
    if others > 0 {
        return Err(StartError::Provider(format!(
            "{others} custom domains have their tokens from \"{other}\", which cannot change while they live: write \"{other}\", or delete them first"
        )));
    }
    match config.dkim.provider {
        config::Provider::Local => Ok(keys.clone().into()),
        #[cfg(feature = "ses")]
        config::Provider::Ses => {
            let ses = crate::dkim::ses::Ses::open(config, store.clone(), clock.clone()).await;
            if config.queue.relay.is_none() {
                let relay = ses.relay(config).await.map_err(|error| StartError::Provider(error.to_string()))?;
                config.queue.relay = Some(relay);
            }
            Ok(Provider::Ses(ses))
        }
        // The check of the configuration says how to build it.
        #[cfg(not(feature = "ses"))]
        config::Provider::Ses => {
            let _ = clock;
            Err(StartError::Provider("\"ses\" is not in this build".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::domains::NewDomain;
    use crate::store::names::NameLimits;
    use crate::store::ownership::Ownership;
    use crate::store::testing::store_with_account;
    use crate::verification::status::{Policy, State};
    use std::time::Duration;

    #[tokio::test]
    async fn a_store_whose_claims_have_another_providers_tokens_stops_the_start() {
        let (dir, store, account) = store_with_account().await;
        let (mut config, clock) = (Config::default(), Clock::manual());
        let keys = Keys::open(store.clone(), dir.path(), &config, clock.clone()).await.unwrap();
        let hour = Duration::from_secs(3600);
        let policy = Policy { window: hour, grace: hour, recheck: hour, first_pause: hour, longest_pause: hour };
        let new = NewDomain {
            account,
            name: "acme.com".parse().unwrap(),
            tokens: ["a", "b", "c"].map(String::from),
            ownership: Ownership::ByTokens,
            state: State::created(clock.now(), &policy),
            client_id: None,
        };
        let row = store.domain_create(new, NameLimits::new(9, 9), clock.now()).await.unwrap();
        assert!(choose(&mut config, &keys, &store, &clock).await.is_ok());
        config.dkim.provider = config::Provider::Ses;
        let refused = choose(&mut config, &keys, &store, &clock).await.unwrap_err().to_string();
        assert!(refused.contains("1 custom domains have their tokens from \"local\""), "{refused}");

        store
            .ses_intend(&row.name, "mark".into(), (crate::id::RunnerId::new(), clock.now()), clock.now())
            .await
            .unwrap();
        config.dkim.provider = config::Provider::Local;
        let refused = choose(&mut config, &keys, &store, &clock).await.unwrap_err().to_string();
        assert!(refused.contains("from \"ses\""), "{refused}");
    }
}
