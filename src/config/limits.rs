//! `[limits]`: what anybody, an account or an inbox may take of the daemon.

use super::HumanDuration;
use crate::net::connections::Capacity;
use serde::Deserialize;

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Octets of one message.
    pub message_size: usize,
    /// Levels of nested parts that are parsed of a message.
    pub message_nesting: usize,
    /// Parts that are parsed of a message.
    pub message_parts: usize,
    /// Octets that are parsed of a header block.
    pub message_header_size: usize,
    /// Fields that are parsed of a header block.
    pub message_fields: usize,
    /// Recipients of one message.
    pub recipients: usize,
    /// Concurrent connections from one address, per listener.
    pub connections_per_address: usize,
    /// Concurrent connections from one network, per listener.
    pub connections_per_network: usize,
    /// Concurrent connections, per listener.
    pub connections: usize,
    /// Concurrent sessions logged in to one account, over SMTP and IMAP together.
    pub connections_per_account: usize,
    /// Streams of events and requests that wait for an email, at a time.
    pub streams: usize,
    /// Of these, for one account.
    pub streams_per_account: usize,
    /// Failed log-ins in ten minutes, per address and per account.
    pub failed_logins: u32,
    /// Messages that an account may submit per hour.
    pub messages_per_hour: u32,
    /// Recipients that an account may submit to per hour.
    pub recipients_per_hour: u32,
    /// Messages that an inbox may send per hour in a thread that it has already.
    pub thread_messages_per_hour: u32,
    /// Messages that one address (an IPv6 /64) may deliver at the MX per hour.
    pub mx_messages_per_hour: u32,
    /// Recipients of those messages.
    pub mx_recipients_per_hour: u32,
    /// Inboxes of one account.
    pub inboxes: u32,
    /// Inbox names that an account may ever use, deleted inboxes included.
    pub inbox_names: u32,
    /// Custom domains of one account.
    pub domains: u32,
    /// Domain names that an account may ever claim, deleted claims included.
    pub domain_names: u32,
    /// Aliases of one account.
    pub aliases: u32,
    /// Entries of one account's allow and block lists.
    pub access_entries: u32,
    /// Webhook subscriptions of one account.
    pub webhook_subscriptions: u32,
    /// Waiting deliveries of one webhook subscription.
    pub webhook_deliveries: u32,
    /// Octets that are kept for one account's webhooks: compressed events, and 2 KiB for each delivery.
    pub webhook_octets: u64,
    /// Live API tokens of one account.
    pub tokens: u32,
    /// Inboxes that one API token may name.
    pub token_inboxes: usize,
    /// Inboxes, aliases and API tokens that an account may create per hour.
    pub creations_per_hour: u32,
    /// Idempotency keys that an account may use in 24 hours.
    pub idempotency_keys: u32,
    /// Custom domains that an account may claim per hour, deleted claims included.
    pub claims_per_hour: u32,
    /// Octets stored for one inbox.
    pub inbox_size: u64,
    /// Octets of one account's messages in the queue.
    pub queue_size: u64,
    /// Octets of disk kept free: with less, no new mail is accepted.
    pub free_disk: u64,
    /// Octets of memory for data from and to clients: messages, commands, bodies, responses.
    pub memory: usize,
    /// Of these, for one account.
    pub memory_per_account: usize,
    /// Of these, for one address (an IPv6 /64).
    pub memory_per_address: usize,
    /// Octets on disk of incoming messages and bodies: a quarter for one account, an eighth for one address.
    pub spool: usize,
    /// Octets per second at which a client must send a message and read a response, over `minimum_rate_period`; 0: any.
    pub minimum_rate: u64,
    /// The period of `minimum_rate`; the first one is twice as long.
    pub minimum_rate_period: HumanDuration,
    /// Messages of one inbox.
    pub messages: u64,
    /// Keywords of one message.
    pub keywords_per_message: usize,
    /// Different keywords in one mailbox.
    pub keywords_per_mailbox: usize,
    /// Octets of one keyword.
    pub keyword_length: usize,
    /// Metadata entries of one inbox and its mailboxes (RFC 5464).
    pub metadata_entries: u32,
    /// Octets of one metadata value.
    pub metadata_value_size: usize,
    /// Idle timeout of SMTP sessions (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub smtp_timeout: HumanDuration,
    /// Idle timeout of IMAP sessions (RFC 3501 §5.4: at least 30 minutes).
    pub imap_timeout: HumanDuration,
    /// Idle timeout of HTTP clients, between requests and within one.
    pub http_timeout: HumanDuration,
    /// Idle timeout of connections without a log-in while a listener is over three quarters full.
    pub idle_timeout_under_load: HumanDuration,
}

impl Limits {
    /// The connection limits of each listener.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            total: self.connections,
            per_address: self.connections_per_address,
            per_network: self.connections_per_network,
            idle_under_load: self.idle_timeout_under_load.0,
        }
    }
}
