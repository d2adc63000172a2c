//! An inbox as shown.

use super::HttpContext;
use crate::address::{DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::inbox_addresses::Addresses;
use crate::store::inboxes::Inbox;
use crate::store::{Store, StoreError};
use crate::verification::status::VerifiedStatus;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Inbox)]
pub(super) struct InboxJson {
    id: InboxId,
    account_id: AccountId,
    name: InboxName,
    /// What mail leaves under now.
    email_address: String,
    platform_address: String,
    pub(super) addresses: Vec<AddressJson>,
    /// It takes no mail, sends none, and cannot be logged in to.
    is_disabled: bool,
    /// Always true: the command line makes inboxes by the API, too.
    api_created: bool,
    default_domain_id: Option<DomainId>,
    /// File copies of sent messages in the Sent mailbox.
    save_sent: bool,
    /// Days after which messages are removed from Trash; `None`: as configured, 0: never.
    trash_days: Option<u16>,
    /// The same for Junk.
    junk_days: Option<u16>,
    /// Total octets of its messages, at most `limits.inbox_size`.
    size: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = InboxAddress)]
pub(super) struct AddressJson {
    pub(super) address: String,
    /// `None` at the platform's domain.
    custom_domain_id: Option<DomainId>,
    status: VerifiedStatus,
}

impl InboxJson {
    pub(super) fn new(inbox: Inbox, addresses: &Addresses, platform: &DomainName) -> Self {
        let platform_address = inbox.name.at(platform).to_string();
        let own =
            AddressJson { address: platform_address.clone(), custom_domain_id: None, status: VerifiedStatus::Verified };
        let custom = addresses.custom(&inbox).map(|(address, claim)| AddressJson {
            address: address.to_string(),
            custom_domain_id: Some(claim.id.clone()),
            status: claim.status,
        });
        Self {
            email_address: addresses.sender(&inbox, platform).to_string(),
            platform_address,
            addresses: std::iter::once(own).chain(custom).collect(),
            is_disabled: inbox.disabled_at.is_some(),
            api_created: true,
            id: inbox.id,
            account_id: inbox.account,
            name: inbox.name,
            default_domain_id: inbox.default_domain,
            save_sent: inbox.save_sent,
            trash_days: inbox.retention.trash_days,
            junk_days: inbox.retention.junk_days,
            size: inbox.size,
            created_at: inbox.created_at,
            updated_at: inbox.updated_at,
        }
    }

    /// One inbox with its addresses now.
    pub(super) async fn of(context: &HttpContext, store: &Store, inbox: Inbox) -> Result<Self, StoreError> {
        let addresses = store.inbox_addresses(&inbox.account, vec![inbox.id.clone()]).await?;
        Ok(Self::new(inbox, &addresses, &context.config.platform.domain))
    }
}
