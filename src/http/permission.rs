//! Which permissions a request needs, by its method and path.

use super::problem::Problem;
use crate::auth::login::Permissions;
use axum::http::{Method, StatusCode};

/// The path of the MCP server. A token needs no permission for it.
pub const MCP: &str = "/mcp";

/// What a token with a list of permissions needs for the route, a path with its `{…}`. A path without a rule needs all of them.
pub fn needed(method: &Method, path: &str) -> Permissions {
    // The requests that its tools make are checked one by one.
    if path == MCP {
        return Permissions::empty();
    }
    let reads = method.is_safe();
    let by_method = |read, write| if reads { read } else { write };
    let path = path.strip_prefix("/api/v1/").unwrap_or_default().trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let messages_or = |write| by_method(Permissions::MESSAGES_READ, write);
    match parts.as_slice() {
        ["auth" | "me" | "password"] => Permissions::empty(),
        ["accounts", ..] => by_method(Permissions::empty(), Permissions::all()),
        ["custom_domains" | "dkim_zone", ..] => by_method(Permissions::DOMAINS_READ, Permissions::DOMAINS_WRITE),
        [.., "drafts", _, "send"] => Permissions::MESSAGES_SEND,
        ["drafts", ..] | ["inboxes", _, "drafts", ..] => messages_or(Permissions::DRAFTS_WRITE),
        ["emails", "send"] | ["emails", _, "reply" | "forward"] | ["queue", ..] => {
            messages_or(Permissions::MESSAGES_SEND)
        }
        ["inboxes", _, "stream" | "wait" | "mailboxes"] | ["events" | "statistics", ..] => Permissions::MESSAGES_READ,
        ["inboxes", _, "import"] => Permissions::MESSAGES_WRITE,
        ["inboxes" | "access_entries", ..] => by_method(Permissions::INBOXES_READ, Permissions::INBOXES_WRITE),
        ["emails", _, "drafts" | "cancel"] => Permissions::MESSAGES_SEND.union(Permissions::DRAFTS_WRITE),
        ["emails", _, "attachments", ..] => Permissions::MESSAGES_READ,
        ["emails" | "mailbox_labels" | "email_threads", ..] => messages_or(Permissions::MESSAGES_WRITE),
        ["tokens" | "users", ..] => Permissions::TOKENS_WRITE,
        ["webhook_subscriptions" | "notification_tokens", ..] => {
            by_method(Permissions::WEBHOOKS_READ, Permissions::WEBHOOKS_WRITE)
        }
        _ => Permissions::all(),
    }
}

/// 403 if the token's permissions are not enough. Decided before anything is looked up.
pub(super) fn check(method: &Method, path: &str, permissions: Permissions) -> Result<(), Problem> {
    suffice(permissions, needed(method, path))
}

/// The same for what a request names.
pub(super) fn suffice(permissions: Permissions, needed: Permissions) -> Result<(), Problem> {
    let missing = needed.difference(permissions);
    if missing.is_empty() {
        return Ok(());
    }
    let words = missing.words().collect::<Vec<_>>().join(", ");
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "insufficient_permission",
        "The token's permissions are insufficient",
        format!("This request needs a token with the permission {words}."),
        "Use a token with that permission, or one without a list of permissions.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_needs_what_it_does() {
        for (method, path, words) in [
            ("GET", "/api/v1/me", ""),
            ("POST", "/mcp", ""),
            ("GET", "/api/v1/accounts/{id}", ""),
            ("POST", "/api/v1/custom_domains/", "domains:write"),
            ("HEAD", "/api/v1/custom_domains/{id}", "domains:read"),
            ("POST", "/api/v1/custom_domains/{id}/verify", "domains:write"),
            ("GET", "/api/v1/inboxes/{id}", "inboxes:read"),
            ("DELETE", "/api/v1/inboxes/{id}/aliases/{alias}", "inboxes:write"),
            ("POST", "/api/v1/access_entries", "inboxes:write"),
            ("GET", "/api/v1/inboxes/{id}/stream", "messages:read"),
            ("GET", "/api/v1/inboxes/{id}/wait", "messages:read"),
            ("POST", "/api/v1/inboxes/{id}/import", "messages:write"),
            ("GET", "/api/v1/events/stream", "messages:read"),
            ("GET", "/api/v1/statistics", "messages:read"),
            ("PATCH", "/api/v1/inboxes/{inbox_id}/drafts/{id}", "drafts:write"),
            ("POST", "/api/v1/drafts/{id}/send", "messages:send"),
            ("POST", "/api/v1/inboxes/{inbox_id}/drafts/{id}/send", "messages:send"),
            ("GET", "/api/v1/drafts", "messages:read"),
            ("GET", "/api/v1/emails/search", "messages:read"),
            ("POST", "/api/v1/emails", "messages:write"),
            ("POST", "/api/v1/emails/send", "messages:send"),
            ("POST", "/api/v1/emails/{id}/forward", "messages:send"),
            ("PATCH", "/api/v1/emails/{id}/actions", "messages:write"),
            ("POST", "/api/v1/emails/{id}/attachments/{number}/link", "messages:read"),
            ("GET", "/api/v1/tokens", "tokens:write"),
            ("POST", "/api/v1/queue/{id}/retry", "messages:send"),
            ("DELETE", "/api/v1/webhook_subscriptions/{id}", "webhooks:write"),
            ("GET", "/api/v1/webhook_subscriptions/{id}/deliveries", "webhooks:read"),
        ] {
            let method = method.parse().unwrap();
            assert_eq!(needed(&method, path).words().collect::<Vec<_>>().join(" "), words, "{method} {path}");
        }
        // What is new is closed to limited tokens.
        assert_eq!(needed(&Method::GET, "/api/v1/something_new"), Permissions::all());
    }
}
