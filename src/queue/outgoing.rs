//! The outgoing header block: rewritten for its identity and signed by its domain.
//!
//! Invariant: a message leaves with a header block made for one identity, and signed by that identity's domain: at once, or if its key
//! is still being generated, by the attempt that sends it. Acceptance and a later change of identity use the same function.

use crate::address::Address;
use crate::config::Config;
use crate::dkim::{SignError, Signer};
use crate::identity::SendIdentity;
use crate::message::{self, Outgoing, Submitted};
use crate::store::senders::Sender;
use bytes::Bytes;

/// An outgoing header block without signature.
#[derive(Debug)]
pub(crate) struct Composed {
    pub header: Vec<u8>,
    pub from: Address,
    /// The client's Bcc fields, which are removed.
    pub blind_copies: Vec<u8>,
}

/// The header block of a message from `sender`. Work that grows with it is done in the signer's pool.
pub(crate) async fn compose(
    config: &Config,
    signer: &Signer,
    sender: &Sender,
    message: Submitted,
    header: &Bytes,
) -> Result<Composed, SignError> {
    let identity = &message.choice.identity;
    let aliases = sender.aliases_at(identity.custom_domain());
    let own_domains = sender.own_domains(&config.platform.domain);
    let (platform, header) = (config.platform.clone(), header.clone());
    let written = signer.run(header.len(), move || {
        let outgoing = Outgoing {
            message: &message,
            aliases: &aliases,
            own_domains: &own_domains,
            platform: &platform.domain,
            hostname: &platform.hostname,
        };
        let blind_copies = message::blind_copies(&header);
        let (header, from) = message::outgoing(&header, &outgoing);
        Composed { header, from, blind_copies }
    });
    written.await
}

/// An outgoing header block.
#[derive(Debug)]
pub(crate) struct Signed {
    pub header: Vec<u8>,
    /// The identity's domain has no key yet: it will be signed when it is sent.
    pub is_unsigned: bool,
}

/// Signs as the identity, if its domain has a key.
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
