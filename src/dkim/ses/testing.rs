//! The service connected to a fake Amazon SES.

pub(crate) mod fake;

pub(crate) use fake::{FakeSes, Fault, identity};

use super::client::Client;
use super::{PATIENCE, Ses};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::store::Store;
use std::time::Duration;

impl FakeSes {
    pub(crate) async fn service(&self, store: &Store, clock: &Clock) -> Ses {
        self.service_with(store, clock, PATIENCE).await
    }

    pub(crate) async fn service_with(&self, store: &Store, clock: &Clock, time_limit: Duration) -> Ses {
        service(&self.endpoint, store, clock, time_limit).await
    }
}

pub(super) async fn service(endpoint: &str, store: &Store, clock: &Clock, time_limit: Duration) -> Ses {
    let ses = config::Ses { region: Some("eu-west-1".into()), endpoint: Some(endpoint.into()) };
    let mut config = Config { ses, ..Config::default() };
    config.dkim.zone = "dkim.amazonses.com".parse().unwrap();
    let client = Client::for_tests(&config, time_limit).await;
    Ses::with(client, &config, store.clone(), clock.clone(), time_limit)
}
