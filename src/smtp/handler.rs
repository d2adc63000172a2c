//! What differs between the submission server and the MX server: who may send, to whom, and what becomes of a message.

use super::codec::data::BareLf;
use crate::address::{Address, AddressError, DomainName, ReversePath};
use crate::auth::sasl::Credentials;
use crate::auth::session::AuthSession;
use crate::envelope::{MailParameters, RecipientParameters, Recipients, Reply};
use crate::id::AccountId;
use crate::resources::Owner;
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;

/// One of the two servers: who may send, and to whom.
pub(super) trait SmtpHandler: Send + Sync + Sized + 'static {
    /// The submission server makes one from a log-in only.
    type Client: Send + Sync;
    /// The MX server makes one for an inbox here only.
    type Recipient: Send;
    /// The listener in the log.
    const NAME: &'static str;
    const OFFERS_AUTH: bool;
    /// Delivery status notifications (RFC 3461).
    const OFFERS_DSN: bool;
    /// What becomes of an LF on its own in a message.
    const BARE_LF: BareLf;

    /// A client that has not logged in, if such clients may send.
    fn anonymous() -> Option<Self::Client>;

    /// The envelope sender; the server decides whether an invalid one matters.
    fn sender(from: Result<ReversePath, AddressError>) -> Result<ReversePath, Reply>;

    fn log_in(
        &self,
        peer: SocketAddr,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Self::Client, Reply>> + Send;

    /// Looks up a recipient for a message of `size` octets (0: not announced). `owner` is the client's account or network.
    fn recipient(
        &self,
        client: Option<&Self::Client>,
        owner: Owner,
        address: Address,
        size: usize,
    ) -> impl Future<Output = Result<Self::Recipient, Reply>> + Send;

    /// Stores a message: it is on disk if the reply is positive.
    fn store(
        &self,
        peer: SocketAddr,
        client: &Self::Client,
        mail: Mail<Self::Recipient>,
    ) -> impl Future<Output = Reply> + Send;

    /// The account of a client that has logged in.
    fn account(client: &Self::Client) -> Option<&AccountId>;

    /// The session of a client that has logged in.
    fn session(client: &mut Self::Client) -> Option<&mut AuthSession>;
}

/// The configuration of sessions.
#[derive(Debug)]
pub(super) struct Rules {
    pub hostname: DomainName,
    /// The domain of `<postmaster>`.
    pub platform: DomainName,
    /// In octets.
    pub message_size: usize,
    /// Per message.
    pub recipients: usize,
}

/// A whole message with its envelope.
pub(super) struct Mail<R> {
    pub mail_from: ReversePath,
    pub parameters: MailParameters,
    pub recipients: Recipients<Addressee<R>>,
    pub message: Bytes,
    /// The name in the client's EHLO or HELO.
    pub helo: String,
    /// RFC 3848.
    pub protocol: &'static str,
}

/// A recipient that has been accepted.
#[derive(Debug)]
pub(super) struct Addressee<R> {
    pub recipient: R,
    pub parameters: RecipientParameters,
}
