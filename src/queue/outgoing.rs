//! The header block a message leaves with: rewritten for its identity and signed as it.
//!
//! Invariant: what leaves was made for one identity, and signed by that identity's domain: at once, or where its key is
//! still being made, by the attempt that sends it. Taking a message in and a later loss of its domain go through the same
//! function.

use crate::address::{Address, InboxName};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::dkim::{SignError, Signer};
use crate::id::SubmissionId;
use crate::identity::{Choice, SendIdentity};
use crate::message::{self, Outgoing};
use crate::store::senders::Sender;
use bytes::Bytes;
use std::net::IpAddr;

/// What a header block is made with.
#[derive(Debug)]
pub(crate) struct Composing<'a> {
    /// Under which address.
    pub choice: &'a Choice,
    /// The sender's inbox.
    pub inbox: &'a InboxName,
    /// Its aliases and domains.
    pub sender: &'a Sender,
    /// The queue id.
    pub id: &'a SubmissionId,
    /// How the message came.
    pub protocol: &'a str,
    /// From where, if Received is to show it.
    pub client: Option<IpAddr>,
    /// When: real time.
    pub arrived_at: Timestamp,
}

/// A header block as it leaves, but for its signature.
#[derive(Debug)]
pub(crate) struct Composed {
    /// The header block.
    pub header: Vec<u8>,
    /// The final From.
    pub from: Address,
    /// The client's fields of blind copies, which do not leave.
    pub blind_copies: Vec<u8>,
}

/// The header block for the message. Work that grows with it is done in the signer's pool.
pub(crate) async fn compose(
    config: &Config,
    signer: &Signer,
    with: &Composing<'_>,
    header: &Bytes,
) -> Result<Composed, SignError> {
    let identity = &with.choice.identity;
    let (aliases, own_domains) =
        (with.sender.aliases_at(identity.custom_domain()), with.sender.own_domains(&config.platform.domain));
    let (choice, inbox, platform) = (with.choice.clone(), with.inbox.clone(), config.platform.clone());
    let (id, protocol) = (with.id.clone(), with.protocol.to_owned());
    let (client, now, header) = (with.client, with.arrived_at, header.clone());
    let written = signer.run(header.len(), move || {
        let outgoing = Outgoing {
            choice: &choice,
            inbox: &inbox,
            aliases: &aliases,
            own_domains: &own_domains,
            platform: &platform.domain,
            hostname: &platform.hostname,
            queue_id: id.as_str(),
            protocol: &protocol,
            client,
            now,
            message_id: id.as_str(),
        };
        let blind_copies = message::blind_copies(&header);
        let (header, from) = message::outgoing(&header, &outgoing);
        Composed { header, from, blind_copies }
    });
    written.await
}

/// A header block that is to leave.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The header block.
    pub header: Vec<u8>,
    /// The identity's domain has no key yet: it is signed before it leaves.
    pub is_unsigned: bool,
}

/// Signs as the identity, if there is a key yet.
pub(crate) async fn sign(
    signer: &Signer,
    identity: &SendIdentity,
    header: Vec<u8>,
    body: &[u8],
) -> Result<Signed, SignError> {
    match signer.sign(identity, &header, body).await {
        Ok(signature) => Ok(Signed { header: [signature, header].concat(), is_unsigned: false }),
        Err(SignError::NoKey(_)) => Ok(Signed { header, is_unsigned: true }),
        Err(error) => Err(error),
    }
}
