//! Request bodies as the document has them. Handlers read them field by field ([`Fields`](crate::http::fields::Fields)), so that an
//! answer names every wrong field; a test holds that they read these fields and no others.
#![expect(dead_code, reason = "read by the derives alone")]

use crate::access::{Action, Direction};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::events::PublicType;
use crate::id::{AccountId, DomainId, InboxId, SubmissionId, WebhookDeliveryId};
use crate::store::queue::{QueueAction, QueueStatus};
use crate::verification::status::OnUnverified;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Bodies, and the name of the resource that they may be wrapped in.
pub(super) const WRAPPERS: [(&str, &str); 25] = [
    ("AccessEntryInput", "access_entry"),
    ("AccountInput", "account"),
    ("AliasInput", "alias"),
    ("DomainUpdate", "custom_domain"),
    ("DomainInput", "custom_domain"),
    ("DraftInput", "draft"),
    ("EmailAction", "email"),
    ("EmailUpdate", "email"),
    ("ForwardInput", "email"),
    ("InboxUpdate", "inbox"),
    ("InboxInput", "inbox"),
    ("IngestInput", "email"),
    ("LabelUpdate", "mailbox_label"),
    ("LabelInput", "mailbox_label"),
    ("LogInInput", "user"),
    ("NotificationTokenInput", "notification_token"),
    ("PasswordUpdate", "user"),
    ("PasswordInput", "user"),
    ("ReplyInput", "email"),
    ("SendInput", "email"),
    ("TokenInput", "token"),
    ("UserUpdate", "user"),
    ("UserInput", "user"),
    ("WebhookUpdate", "webhook_subscription"),
    ("WebhookInput", "webhook_subscription"),
];

/// What a draft that answers an email begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::EnumString, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DraftKind {
    Reply,
    ReplyAll,
    Forward,
}

/// One, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// A request body: a struct that no other fields than its own may be sent for.
macro_rules! bodies {
    ($($(#[$on:meta])* $name:ident { $($fields:tt)* })*) => {$(
        $(#[$on])*
        #[derive(Serialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $($fields)* }
    )*};
}

/// The same with the parts of a message.
macro_rules! messages {
    ($($(#[$on:meta])* $name:ident { $($fields:tt)* })*) => { bodies! {$(
        $(#[$on])*
        $name {
            $($fields)*
            /// An address of the inbox, or a name and `<address>`; its platform address where it is left out.
            from: Option<String>,
            to: Option<OneOrMore>,
            cc: Option<OneOrMore>,
            bcc: Option<OneOrMore>,
            reply_to: Option<OneOrMore>,
            subject: Option<String>,
            text_body: Option<String>,
            html_body: Option<String>,
            /// Other header fields by their names.
            headers: Option<BTreeMap<String, String>>,
            attachments: Option<Vec<AttachmentInput>>,
        }
    )*} };
}

bodies! {
    /// Without `inbox_id`, of all inboxes of the account.
    AccessEntryInput {
        direction: Direction,
        action: Action,
        /// An address, a domain with those below it, or `*`.
        pattern: String,
        inbox_id: Option<InboxId>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    AccountInput { name: String, }

    /// An address at a custom domain of the account.
    AliasInput { address: String, }

    /// A message with what its mailbox notes of it.
    ImportedEmail {
        /// A whole message (RFC 5322) in base64, in either alphabet of RFC 4648.
        raw: String,
        /// As in answers: `\\Seen`, `\\Answered`, `\\Flagged`, `\\Deleted`, `\\Draft`, and keywords of IMAP.
        flags: Option<Vec<String>>,
        /// When the message came in; now where it is left out.
        received_at: Option<Timestamp>,
    }

    /// At most 500 emails, and twice as many octets as one may have.
    ImportInput {
        /// The mailbox that the emails are put in, which is created where it is missing; its levels are separated by `/`.
        mailbox: String,
        emails: Option<Vec<ImportedEmail>>,
    }

    /// A file of a message.
    AttachmentInput {
        #[schema(min_length = 1, max_length = 255)]
        filename: String,
        /// `application/octet-stream` where it is left out.
        content_type: Option<String>,
        /// Base64, in either alphabet of RFC 4648.
        content: String,
        /// Of an image that `html_body` shows: `<img src="cid:…">`.
        content_id: Option<String>,
    }

    /// What a draft begins as.
    DraftOf {
        kind: DraftKind,
        /// A reply also to an automatic email, to a list, or to the inbox itself.
        force: Option<bool>,
    }

    DraftSending {
        /// At most 7 days from now.
        send_at: Option<Timestamp>,
    }

    DomainInput {
        domain: String,
        /// The client's own name for it: creating it again answers the domain that is there.
        #[schema(min_length = 1, max_length = 128)]
        client_id: Option<String>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
        /// The service makes the records: left out, empty, or as it makes them. So are the three below.
        dkim_host: Option<String>,
        dkim_value: Option<String>,
        spf_host: Option<String>,
        spf_value: Option<String>,
    }

    /// What is left out stays.
    DomainUpdate {
        /// May be repeated, and not changed.
        domain: Option<DomainName>,
        /// The inbox that gets mail for unknown local parts; null for none.
        catch_all_inbox_id: Option<InboxId>,
        is_default: Option<bool>,
        on_unverified: Option<OnUnverified>,
        /// The label of the subdomain for bounces; null for none.
        return_path: Option<String>,
        /// May be repeated, and not changed. So may the three below.
        dkim_host: Option<String>,
        dkim_value: Option<String>,
        spf_host: Option<String>,
        spf_value: Option<String>,
    }

    /// What is given replaces all labels but the mailbox.
    EmailUpdate {
        add_labels: Option<OneOrMore>,
        remove_labels: Option<OneOrMore>,
        labels: Option<OneOrMore>,
    }

    EmailAction {
        add_labels: Option<OneOrMore>,
        remove_labels: Option<OneOrMore>,
        labels: Option<OneOrMore>,
        mark_read: Option<bool>,
        /// `inbox`, `sent`, `drafts`, `trash`, `junk`, `archive`, or the name of a mailbox.
        move_to: Option<String>,
    }

    InboxInput {
        /// The local part of its address.
        name: String,
        /// The domain that the address is at; then it is the inbox's default.
        custom_domain_id: Option<DomainId>,
        /// The domain that its mail leaves under while that is verified.
        default_domain_id: Option<DomainId>,
        /// Whether copies of what it sends are put into Sent: true where it is left out.
        save_sent: Option<bool>,
        /// The client's own name for it: creating it again answers the inbox that is there.
        #[schema(min_length = 1, max_length = 128)]
        client_id: Option<String>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    /// What is left out stays.
    InboxUpdate {
        /// Null for none.
        default_domain_id: Option<DomainId>,
        save_sent: Option<bool>,
        /// While true, it takes no mail (450 4.2.1), sends none, and cannot be logged in to over SMTP and IMAP.
        is_disabled: Option<bool>,
        /// Days until messages are removed from Trash: 0 for never, null for the configured default.
        #[schema(maximum = 3650)]
        trash_days: Option<u16>,
        /// The same for Junk.
        #[schema(maximum = 3650)]
        junk_days: Option<u16>,
    }

    LabelInput {
        #[schema(min_length = 1, max_length = 100)]
        name: String,
        /// The IMAP keyword; made of the name where it is left out.
        slug: Option<String>,
        color: Option<String>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    /// What is left out stays.
    LabelUpdate {
        #[schema(min_length = 1, max_length = 100)]
        name: Option<String>,
        color: Option<String>,
        /// May be repeated, and not changed.
        slug: Option<String>,
    }

    LinkInput {
        /// Seconds that the link works: 3600 where it is left out.
        #[schema(minimum = 1, maximum = 604800)]
        expires_in: Option<u64>,
    }

    LogInInput { email: String, password: String, }

    /// A device token for push notifications.
    NotificationTokenInput {
        #[schema(min_length = 1, max_length = 4096)]
        token: String,
        /// For example `ios`, `android` or `web`.
        #[schema(min_length = 1, max_length = 50)]
        platform: String,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    PasswordUpdate {
        current_password: String,
        #[schema(min_length = 8, max_length = 1000)]
        password: String,
        /// The same once more.
        password_confirmation: String,
    }

    PasswordInput {
        /// One is made where it is left out.
        #[schema(min_length = 8, max_length = 1000)]
        password: Option<String>,
    }

    /// Deliveries that match all that is given.
    QueueActionInput {
        action: QueueAction,
        /// Of one message: its own id, or that of its copy in Sent.
        id: Option<String>,
        /// The sender's.
        inbox_id: Option<InboxId>,
        /// Of the recipient.
        domain: Option<DomainName>,
        status: Option<QueueStatus>,
        /// Seconds since the message was accepted.
        older_than: Option<u64>,
        /// A part of the last reply, in any case of letters.
        #[schema(max_length = 1000)]
        error: Option<String>,
        /// True where nothing else is given: all that the token sees.
        all: Option<bool>,
        /// Counts what matches, and changes nothing.
        dry_run: Option<bool>,
        /// `next_cursor` of the answer before.
        cursor: Option<SubmissionId>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    TokenInput {
        name: Option<String>,
        /// `account`, `inboxes` or, by operators, `operator`.
        scope: Option<String>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
        /// The inboxes that it is limited to.
        inbox_ids: Option<Vec<InboxId>>,
        /// What it may do: all that the token of the request may where it is left out.
        permissions: Option<Vec<String>>,
        expires_at: Option<Timestamp>,
    }

    RedeliverInput {
        /// One delivery.
        delivery_id: Option<WebhookDeliveryId>,
        /// Those of all events since this time.
        since: Option<Timestamp>,
    }

    WebhookInput {
        /// Where events are sent to, by HTTPS.
        #[schema(max_length = 2000)]
        url: String,
        /// All types where it is left out.
        events: Option<Vec<PublicType>>,
        /// True where it is left out.
        active: Option<bool>,
        /// For operator tokens: whose.
        account_id: Option<AccountId>,
    }

    /// What is left out stays.
    WebhookUpdate {
        #[schema(max_length = 2000)]
        url: Option<String>,
        events: Option<Vec<PublicType>>,
        active: Option<bool>,
    }

    UserInput {
        /// Whose.
        account_id: AccountId,
        email: String,
        first_name: Option<String>,
        last_name: Option<String>,
        /// One is made where it is left out.
        #[schema(min_length = 8, max_length = 1000)]
        password: Option<String>,
    }

    /// What is left out stays.
    UserUpdate {
        first_name: Option<String>,
        last_name: Option<String>,
        disabled: Option<bool>,
    }
}

messages! {
    /// What is left out of a change stays.
    DraftInput {
        /// Needed where the token sees more than one inbox, and the path names none.
        inbox_id: Option<InboxId>,
        /// The ids of its attachments that stay; then `attachments` are added. Left out, `attachments` replace all of them.
        keep_attachments: Option<Vec<String>>,
    }

    /// `raw`, or the parts of a message.
    IngestInput {
        /// Needed where the token sees more than one inbox.
        inbox_id: Option<InboxId>,
        /// A whole message (RFC 5322).
        raw: Option<String>,
    }

    /// `raw`, or the parts of a message.
    SendInput {
        /// Needed where the token sees more than one inbox.
        inbox_id: Option<InboxId>,
        /// A whole message (RFC 5322).
        raw: Option<String>,
        /// A line that is kept with the email.
        #[schema(max_length = 100)]
        message_type: Option<String>,
        /// An object of at most 16 KiB that is kept with the email.
        #[schema(value_type = Option<Object>)]
        metadata: Option<Value>,
        /// At most 7 days from now.
        send_at: Option<Timestamp>,
    }

    /// What is left out comes from the email.
    ReplyInput {
        /// May be repeated: the inbox of the email.
        inbox_id: Option<InboxId>,
        /// To all others who got the email, too.
        reply_all: Option<bool>,
        /// Replies to what a program or a mailing list sent, or to the inbox itself, too: otherwise that is 409.
        force: Option<bool>,
        /// A line that is kept with the email.
        #[schema(max_length = 100)]
        message_type: Option<String>,
        /// An object of at most 16 KiB that is kept with the email.
        #[schema(value_type = Option<Object>)]
        metadata: Option<Value>,
        /// At most 7 days from now.
        send_at: Option<Timestamp>,
    }

    /// What is left out comes from the email.
    ForwardInput {
        /// May be repeated: the inbox of the email.
        inbox_id: Option<InboxId>,
        /// A line that is kept with the email.
        #[schema(max_length = 100)]
        message_type: Option<String>,
        /// An object of at most 16 KiB that is kept with the email.
        #[schema(value_type = Option<Object>)]
        metadata: Option<Value>,
        /// At most 7 days from now.
        send_at: Option<Timestamp>,
    }
}
