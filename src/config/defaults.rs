//! The defaults: the values of the public documentation and of the RFCs.

use super::{
    DataDir, Dkim, Dns, Engine, Http, HumanDuration, Imap, Limits, Log, LogFormat, Platform, Provider, Queue, Records,
    Required, Smtp, Store, StoreTls, Verification,
};
use crate::address::DomainName;
use crate::message::ReadLimits;
use crate::net::ranges::{AllowedNetworks, Networks};
use std::net::{Ipv4Addr, SocketAddr};

impl Default for DataDir {
    fn default() -> Self {
        Self("/var/lib/inboxlayer".into())
    }
}

/// A literal of this file.
fn name(text: &str) -> DomainName {
    #[expect(clippy::expect_used, reason = "a literal of this file; a test reads every default")]
    DomainName::parse(text).expect("a literal domain name")
}

fn everywhere(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

impl Default for Store {
    fn default() -> Self {
        Self {
            engine: Engine::Sqlite,
            url: None,
            tls: StoreTls::Require,
            extra_roots: None,
            read_connections: 8,
            write_connections: 8,
            event_retention: HumanDuration::hours(7 * 24),
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            domain: name("inboxlayer.dev"),
            hostname: name("smtp.inboxlayer.dev"),
            allow_special_use: Vec::new(),
            received_shows_client: false,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 8080).into(), tls: false, cors_origins: Vec::new() }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            mx: Some(everywhere(25)),
            submission: Some(everywhere(587)),
            submissions: Some(everywhere(465)),
            trusted_relays: Networks::default(),
        }
    }
}

impl Default for Imap {
    fn default() -> Self {
        Self { imap: Some(everywhere(143)), imaps: Some(everywhere(993)) }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            authoritative_port: 53,
            allow_networks: AllowedNetworks::default(),
            timeout: HumanDuration::seconds(5),
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self {
            mx_host: name("smtp.inboxlayer.dev"),
            mx_priority: 10,
            spf: "v=spf1 include:amazonses.com ~all".into(),
            dmarc: "v=DMARC1; p=none;".into(),
            required: vec![Required::Dkim],
        }
    }
}

impl Default for Dkim {
    fn default() -> Self {
        Self {
            provider: Provider::Local,
            zone: name("dkim.inboxlayer.dev"),
            listen: None,
            name_server: name("ns.inboxlayer.dev"),
            name_server_addresses: Vec::new(),
            platform_selector: "inboxlayer".into(),
            rotate_every: Some(HumanDuration::hours(90 * 24)),
            publish_before: HumanDuration::hours(24),
            // The queue's five days, and two for late verification.
            retire_after: HumanDuration::hours(7 * 24),
        }
    }
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            window: HumanDuration::hours(72),
            grace: HumanDuration::hours(72),
            recheck: HumanDuration::hours(24),
            first_pause: HumanDuration::seconds(30),
            longest_pause: HumanDuration::hours(1),
            concurrency: 32,
            checks_per_second: 50,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            relay: None,
            smtp_port: 25,
            allow_networks: AllowedNetworks::default(),
            extra_roots: None,
            expire_after: HumanDuration::hours(5 * 24),
            delay_notice_after: HumanDuration::hours(4),
            // RFC 5321 §4.5.4.1: soon at first, then at least half an hour apart.
            retry_pauses: [300, 900, 1800, 3600, 7200, 14_400].map(HumanDuration::seconds).to_vec(),
            concurrency: 64,
            hop_limit: 50,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let reading = ReadLimits::default();
        Self {
            message_size: 25 * 1024 * 1024,
            message_nesting: reading.nesting,
            message_parts: reading.parts,
            message_header_size: reading.header_size,
            message_fields: reading.fields,
            recipients: 100,
            connections_per_address: 50,
            connections_per_network: 250,
            connections: 2000,
            connections_per_account: 1000,
            streams: 1000,
            streams_per_account: 100,
            failed_logins: 20,
            messages_per_hour: 1000,
            recipients_per_hour: 5000,
            thread_messages_per_hour: 20,
            // Big providers send from few addresses.
            mx_messages_per_hour: 20_000,
            mx_recipients_per_hour: 100_000,
            inboxes: 1000,
            inbox_names: 2000,
            domains: 100,
            domain_names: 2000,
            aliases: 5000,
            access_entries: 5000,
            webhook_subscriptions: 20,
            webhook_deliveries: 10_000,
            webhook_octets: 64 * 1024 * 1024,
            tokens: 1000,
            token_inboxes: 100,
            creations_per_hour: 1000,
            idempotency_keys: 10_000,
            claims_per_hour: 100,
            inbox_size: 2 * 1024 * 1024 * 1024,
            queue_size: 1024 * 1024 * 1024,
            free_disk: 256 * 1024 * 1024,
            memory: 512 * 1024 * 1024,
            memory_per_account: 192 * 1024 * 1024,
            memory_per_address: 128 * 1024 * 1024,
            spool: 4 * 1024 * 1024 * 1024,
            minimum_rate: 500,
            minimum_rate_period: HumanDuration::seconds(60),
            messages: 1_000_000,
            keywords_per_message: 32,
            keywords_per_mailbox: 128,
            keyword_length: 64,
            metadata_entries: 500,
            metadata_value_size: 16 * 1024,
            smtp_timeout: HumanDuration::seconds(300),
            imap_timeout: HumanDuration::seconds(1800),
            http_timeout: HumanDuration::seconds(60),
            idle_timeout_under_load: HumanDuration::seconds(10),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}
