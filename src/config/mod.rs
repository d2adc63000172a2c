//! The configuration: one TOML file, environment overrides, checked as a whole before anything starts.
//!
//! Invariant: a [`Config`] from [`Config::load`] is complete and consistent; an unknown key or an invalid value is an error that names
//! its line. The keys are here, their defaults in `defaults`, reading in `load`, and consistency checks in `check`.
//! `config/inboxlayer.toml` documents every key; a test keeps it equal to the defaults.

mod bodies;
mod check;
mod defaults;
mod duration;
mod limits;
mod load;
mod retention;
mod webhooks;

pub use bodies::{Bodies, BodyStore};
pub use check::Problem;
pub use duration::HumanDuration;
pub use limits::Limits;
pub use load::{ConfigError, Setting};
pub use retention::Retention;
pub use webhooks::Webhooks;

use crate::address::DomainName;
use crate::net::ranges::{AllowedNetworks, Networks};
use crate::secret::Secret;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The whole configuration. Each key has a default, so an empty file is valid.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Holds the store, keys and locks.
    pub data_dir: DataDir,
    /// Load balancers, as CIDR, that are trusted to name their clients' addresses.
    pub trusted_proxies: Networks,
    /// After SIGTERM `/readyz` is 503 for so long before the listeners close.
    pub drain: HumanDuration,
    /// The database.
    pub store: Store,
    /// Our names.
    pub platform: Platform,
    /// Certificates for SMTP, IMAP and optionally HTTP.
    pub tls: Tls,
    /// The REST API.
    pub http: Http,
    /// MX and submission.
    pub smtp: Smtp,
    /// IMAP.
    pub imap: Imap,
    /// The resolvers.
    pub dns: Dns,
    /// The records that customers publish.
    pub records: Records,
    /// The signing provider, the keys and their zone.
    pub dkim: Dkim,
    /// Amazon SES as the signing provider.
    pub ses: Ses,
    /// Periods of verification.
    pub verification: Verification,
    /// Outbound mail.
    pub queue: Queue,
    pub bodies: Bodies,
    pub webhooks: Webhooks,
    pub retention: Retention,
    /// Limits by account and address.
    pub limits: Limits,
    pub log: Log,
}

/// `[platform]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// Every inbox has the address `name@` this domain.
    pub domain: DomainName,
    /// The name of this host in greetings, EHLO, Received and Message-ID; its MX name.
    pub hostname: DomainName,
    /// Special-use top-level domains (RFC 6761) under which names may be claimed; the sandbox sets `["test"]`.
    pub allow_special_use: Vec<String>,
    /// Write the client's address into the Received field of submitted mail.
    pub received_shows_client: bool,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// What runs the database.
    pub engine: Engine,
    /// Of PostgreSQL: `postgres://user:password@host/database`.
    pub url: Option<Secret>,
    /// How connections to PostgreSQL are encrypted.
    pub tls: StoreTls,
    /// Trust these roots beside the system's: PEM.
    pub extra_roots: Option<PathBuf>,
    /// Connections to PostgreSQL that read: as many reads run at once.
    pub read_connections: usize,
    /// Connections that write.
    pub write_connections: usize,
    /// How long events are kept for those that read the log.
    pub event_retention: HumanDuration,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A file in the data directory.
    Sqlite,
    /// A server that several daemons share.
    Postgres,
}

/// Encryption of connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreTls {
    /// TLS with a certificate that is valid for the host; none over a Unix socket.
    Require,
    Disable,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the chain, leaf first. Read again when it changes.
    pub certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub private_key: Option<PathBuf>,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: SocketAddr,
    /// Use TLS with the certificate of `[tls]`. If off, put a proxy in front, or stay on loopback.
    pub tls: bool,
    /// Origins whose pages may call the API (CORS); `*`: all.
    pub cors_origins: Vec<String>,
}

/// `[smtp]`. A listener that is `None` (written `"off"`) does not run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Port 25: mail from outside.
    #[serde(deserialize_with = "listener")]
    pub mx: Option<SocketAddr>,
    /// Port 587: submission with STARTTLS.
    #[serde(deserialize_with = "listener")]
    pub submission: Option<SocketAddr>,
    /// Port 465: submission with implicit TLS (RFC 8314).
    #[serde(deserialize_with = "listener")]
    pub submissions: Option<SocketAddr>,
    /// Networks, as CIDR, whose mail with a From at the platform's domain is accepted at the MX.
    pub trusted_relays: Networks,
}

/// `[imap]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imap {
    /// Port 143, with STARTTLS.
    #[serde(deserialize_with = "listener")]
    pub imap: Option<SocketAddr>,
    /// Port 993, implicit TLS.
    #[serde(deserialize_with = "listener")]
    pub imaps: Option<SocketAddr>,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Recursive resolvers; if empty, those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// The port of name servers found by delegation: 53, except in tests and the sandbox.
    pub authoritative_port: u16,
    /// Name servers outside the public ranges that may be queried, as CIDR: `["127.0.0.0/8"]`.
    pub allow_networks: AllowedNetworks,
    /// Timeout of a query.
    pub timeout: HumanDuration,
}

/// `[records]`: the records that customers publish.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// Target of the MX record.
    pub mx_host: DomainName,
    pub mx_priority: u16,
    /// The TXT record at the domain.
    pub spf: String,
    /// The TXT record at `_dmarc.`
    pub dmarc: String,
    /// Records required for `verified`: `dkim` always, and any of `mx`, `spf`, `dmarc`.
    pub required: Vec<Required>,
}

/// A group of records that verification can require.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Required {
    /// All three DKIM CNAMEs.
    Dkim,
    /// The MX record.
    Mx,
    /// The SPF record.
    Spf,
    /// The DMARC record.
    Dmarc,
}

/// `[dkim]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dkim {
    /// Issues tokens and signs with their keys.
    pub provider: Provider,
    /// Customers' CNAMEs point at `<token>.<zone>`.
    pub zone: DomainName,
    /// The address where the daemon serves that zone, UDP and TCP. `None`: print it with `inboxlayer domain zone` and publish it yourself.
    #[serde(deserialize_with = "listener")]
    pub listen: Option<SocketAddr>,
    /// The name of the server in the zone's NS and SOA records.
    pub name_server: DomainName,
    /// Its addresses, served with the zone if its name is inside it.
    pub name_server_addresses: Vec<IpAddr>,
    /// The platform domain's selector.
    pub platform_selector: String,
    /// How long each of a domain's three keys signs. `None`: until a rotation is requested.
    #[serde(deserialize_with = "duration::or_off")]
    pub rotate_every: Option<HumanDuration>,
    /// How long a new key behind a used token must be in the DNS before it signs.
    pub publish_before: HumanDuration,
    /// How long a key that has signed stays in the DNS.
    pub retire_after: HumanDuration,
}

/// A signing provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// This daemon, with its own keys and zone.
    Local,
    /// Amazon SES, which has the keys and signs relayed mail.
    Ses,
}

/// `[ses]`. Credentials come from the same places as for AWS's own tools: the environment, `~/.aws`, the host's role.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ses {
    /// AWS's name of the region.
    pub region: Option<String>,
    /// Another URL of the API, for tests.
    pub endpoint: Option<String>,
}

impl Ses {
    /// The region's mail host for bounces to a MAIL FROM domain.
    pub fn feedback_host(&self) -> Option<DomainName> {
        DomainName::parse(&format!("feedback-smtp.{}.amazonses.com", self.region.as_deref()?)).ok()
    }

    /// The envelope sender's domain for domains without a MAIL FROM domain.
    pub fn mail_from(&self) -> Option<DomainName> {
        match self.region.as_deref()? {
            // The oldest region.
            "us-east-1" => DomainName::parse("amazonses.com").ok(),
            region => DomainName::parse(&format!("{region}.amazonses.com")).ok(),
        }
    }
}

/// `[verification]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verification {
    /// How long a claim may stay pending.
    pub window: HumanDuration,
    /// How long the faults of a verified domain must last before it fails.
    pub grace: HumanDuration,
    /// How often a verified domain is checked again.
    pub recheck: HumanDuration,
    /// The first pause between checks of a pending domain; it doubles.
    pub first_pause: HumanDuration,
    /// The longest pause.
    pub longest_pause: HumanDuration,
    /// Concurrent checks, over all domains.
    pub concurrency: usize,
    /// Checks started per second, over all domains; requested ones come first.
    pub checks_per_second: u32,
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Sends everything through this relay instead of the recipients' MX.
    pub relay: Option<Relay>,
    /// The port of MX hosts: 25, except in tests and the sandbox.
    pub smtp_port: u16,
    /// Addresses outside the public ranges that may be dialled, as CIDR: `["127.0.0.0/8"]`.
    pub allow_networks: AllowedNetworks,
    /// PEM file with trusted roots in addition to the system's.
    pub extra_roots: Option<PathBuf>,
    /// Undelivered mail bounces after this time.
    pub expire_after: HumanDuration,
    /// After this time a sender is sent a report that the mail is delayed, once; 0: never.
    pub delay_notice_after: HumanDuration,
    /// Pauses between attempts; the last one repeats.
    pub retry_pauses: Vec<HumanDuration>,
    /// Concurrent deliveries.
    pub concurrency: usize,
    /// Received fields a message may have before it counts as a loop (RFC 5321 §6.3).
    pub hop_limit: usize,
}

/// `[queue.relay]`. With a password, or at port 465, mail goes there only over verified TLS; otherwise TLS is used if offered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Its host name, which its certificate must have if TLS is verified.
    pub host: String,
    /// 465 means implicit TLS, others STARTTLS.
    pub port: u16,
    /// User name, with `password`.
    pub username: Option<String>,
    /// Sent only over verified TLS.
    pub password: Option<Secret>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A tracing filter: `info`, `inboxlayer::smtp=debug,info`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A listener's address, or `"off"`.
fn listener<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "off" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            serde::de::Error::custom(format!(
                "{text:?} is not an address to listen at: write IP:port, like \"0.0.0.0:25\" or \"[::]:25\", or \"off\""
            ))
        }),
    }
}

/// The data directory; by default `/var/lib/inboxlayer`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_well_formed() {
        let config = Config::default();
        assert_eq!(config.records.mx_host.as_str(), "smtp.inboxlayer.dev");
        assert_eq!(config.verification.window, HumanDuration::hours(72));
    }
}
