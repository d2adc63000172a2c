//! What a user has to know when they log in: `* OK [ALERT]` (RFC 9051 §7.1).

use super::server::ImapServer;
use crate::auth::login::Login;
use crate::identity::{Fallback, Unverified};

/// Sending as the address logged in with is not possible now, since its domain is not verified: what happens instead.
pub(super) async fn degraded_sending(server: &ImapServer, login: &Login) -> Option<String> {
    // Mail at the platform's domain always leaves.
    login.domain.as_ref()?;
    let store = server.store.for_account(&login.account);
    let sender = match store.sender(login.account.clone(), Some(login.inbox.clone())).await {
        Ok(sender) => sender,
        Err(error) => {
            tracing::warn!(listener = "imap", inbox = %login.inbox, %error, "could not read what mail is sent under");
            return None;
        }
    };
    let platform = &server.config.platform.domain;
    let choice = sender.choose(&login.inbox_name, platform, &login.address, login.domain.as_ref());
    choice.fallback.map(|fallback| alert(&fallback, &choice.identity.address().to_string()))
}

fn alert(fallback: &Fallback, instead: &str) -> String {
    let domain = &fallback.from.domain;
    let outcome = match fallback.decision() {
        Unverified::FallsBack => format!("mail you send leaves as {instead}"),
        Unverified::IsHeld => "mail you send is held until it is".to_owned(),
        Unverified::IsRefused => "mail you send is refused".to_owned(),
    };
    format!("the domain {domain} is not verified: {outcome}")
}
