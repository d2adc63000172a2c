//! `data` of an event, by what the event is about.

use crate::address::DomainName;
use crate::events::{DeliveryAttempt, Event};
use crate::id::MessageId;
use crate::registry::CustomDomain;
use crate::store::event_subjects::EmailSubject;
use crate::store::inboxes::Inbox;
use crate::store::messages::MessageSummary;
use crate::views::labels;
use serde_json::{Map, Value, json};

/// Members of a custom domain that an event leaves out: they are at its `url`.
const LEFT_OUT: [&str; 5] = ["records", "warnings", "dkim_tokens", "dkim_host", "dkim_value"];

/// Sets a member of an object.
pub(super) fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The path of an email.
pub(super) fn email_url(id: &MessageId) -> String {
    format!("/api/v1/emails/{id}")
}

/// Of an email that is in no mailbox.
pub(super) fn gone_email(email: &EmailSubject) -> Value {
    let mut data = json!({"id": email.id, "inbox_id": email.inbox, "deleted": true});
    if let Some(sent) = &email.sent {
        put(&mut data, "status", json!(sent.status()));
        put(&mut data, "recipients", json!(sent.recipients));
    }
    data
}

pub(super) fn labels(event: &Event, emails: &[MessageSummary], is_cut: bool) -> Value {
    // A large copy or move publishes all of its emails at once, under older numbers.
    let is_unlisted = emails.is_empty() && matches!(event, Event::MessagesAdded { .. });
    let shown = emails.iter().map(|email| json!({"id": email.id, "labels": labels::of(email)}));
    json!({"emails": shown.collect::<Vec<_>>(), "truncated": is_cut || is_unlisted})
}

pub(super) fn domain(event: &Event, domain: Option<CustomDomain>) -> Result<Value, serde_json::Error> {
    let mut data = match (domain, event) {
        (Some(domain), _) => {
            let url = format!("/api/v1/custom_domains/{}", domain.id);
            let mut data = serde_json::to_value(domain)?;
            if let Some(members) = data.as_object_mut() {
                LEFT_OUT.iter().for_each(|name| drop(members.remove(*name)));
            }
            put(&mut data, "url", url.into());
            data
        }
        (None, Event::DomainCreated { domain_id, domain }) => {
            json!({"id": domain_id, "domain": domain.as_str(), "deleted": true})
        }
        (None, Event::DomainDeleted { domain_id, domain }) => {
            json!({"id": domain_id, "domain": domain.as_ref().map(DomainName::as_str), "deleted": true})
        }
        (None, event) => json!({"id": event.domain(), "deleted": true}),
    };
    if let Event::DomainStatusChanged { from, to, cause, .. } = event {
        put(&mut data, "change", json!({"from": from, "to": to, "cause": cause}));
    }
    Ok(data)
}

pub(super) fn inbox(event: &Event, inbox: Option<&Inbox>, platform: &DomainName) -> Value {
    match inbox {
        Some(inbox) => json!({
            "id": inbox.id,
            "name": inbox.name.to_string(),
            "platform_address": inbox.name.at(platform).to_string(),
            "url": format!("/api/v1/inboxes/{}", inbox.id),
        }),
        None => json!({"id": event.inbox(), "deleted": true}),
    }
}

/// Of an event that has all of it.
pub(super) fn of_event(event: &Event) -> Value {
    match event {
        Event::EmailDelivered(attempt) | Event::EmailDeferred(attempt) | Event::EmailBounced(attempt) => {
            of_attempt(attempt)
        }
        Event::InboxDeleted { inbox_id } => json!({"id": inbox_id, "deleted": true}),
        Event::WebhookDisabled { subscription_id, reason } => json!({
            "webhook_subscription_id": subscription_id,
            "reason": reason,
            "url": format!("/api/v1/webhook_subscriptions/{subscription_id}"),
        }),
        _ => Value::Object(Map::new()),
    }
}

fn of_attempt(attempt: &DeliveryAttempt) -> Value {
    let email = MessageId::of_sent(&attempt.submission_id);
    json!({
        "email_id": email,
        "submission_id": attempt.submission_id,
        "delivery_id": attempt.delivery_id,
        "recipient": attempt.recipient.to_string(),
        "reply": attempt.reply,
        "mx": attempt.mx,
        "url": email_url(&email),
    })
}
