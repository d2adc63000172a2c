//! Sessions of browsers: a cookie with the sealed API token, and the CSRF token that is made of it.
//!
//! Invariant: a cookie without its end, or one that another daemon's key has sealed, is no session; a session ends with its token.

use super::WebContext;
use super::api::Api;
use super::refusal::Refusal;
use crate::auth::login::{LoginError, Permissions, Principal, Scope};
use crate::clock::Timestamp;
use crate::in_process::{OnBehalf, encoded};
use crate::net::request::{Client, Connection};
use crate::resources::Owner;
use crate::resources::spool::ClientSpool;
use crate::resources::work::WorkPool;
use crate::secret::Secret;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tracing::Span;

/// The name has the prefix where the cookie is `Secure`, so that no other host can set it (RFC 6265bis §4.1.3.2).
const COOKIE: &str = "inboxlayer";
const SECURE_COOKIE: &str = "__Host-inboxlayer";
/// How long a session lasts; the token may end before.
pub(super) const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// What cookies are sealed for.
const PURPOSE: &str = "web session";
/// Octets of a request's cookies that are read.
const LONGEST_COOKIE: usize = 4096;

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) principal: Principal,
    /// Derived from the cookie.
    secret: [u8; 32],
    /// The API, as it answers this token.
    pub(super) api: Api,
    work: WorkPool,
    /// The sandbox's verbs, where this is the sandbox.
    pub(super) sandbox: Option<Api>,
    /// Path and query of the request.
    pub(super) uri: Uri,
}

impl Session {
    pub(super) fn may(&self, permissions: Permissions) -> bool {
        self.principal.permissions.contains(permissions)
    }

    pub(super) fn is_operator(&self) -> bool {
        self.principal.scope == Scope::Operator
    }

    /// A parameter of the request's query.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    }

    /// Whether the token is of its whole account.
    pub(super) fn is_of_account(&self) -> bool {
        matches!(self.principal.scope, Scope::Account(_))
    }

    /// Runs work on `octets` of an email, shared out by account, cancelled with the request.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        octets: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let owner = self.principal.scope.account().map_or(Owner::System, |account| Owner::Account(account.clone()));
        let done = self.work.run(&owner, octets, move |budget| budget.check().map(|()| work())).await;
        done.map_err(|error| {
            tracing::error!(listener = "http", %error, "cannot show an email");
            Refusal::unavailable()
        })
    }

    /// A CSRF token for forms, another one at each call: pages are compressed, and their length must not tell what is in them.
    pub(super) fn csrf(&self) -> String {
        let mut mask = [0; 32];
        // If that fails the mask is zero, and the token is valid.
        let _ = SystemRandom::new().fill(&mut mask);
        let masked = mask.iter().zip(self.secret).map(|(mask, octet)| mask ^ octet);
        URL_SAFE_NO_PAD.encode(mask.iter().copied().chain(masked).collect::<Vec<u8>>())
    }

    /// Whether a form's CSRF token is this session's.
    pub(super) fn is_csrf(&self, given: &str) -> bool {
        let given = URL_SAFE_NO_PAD.decode(given).unwrap_or_default();
        let Some((mask, masked)) = given.split_first_chunk::<32>() else { return false };
        let unmasked: Vec<u8> = mask.iter().zip(masked).map(|(mask, octet)| mask ^ octet).collect();
        unmasked.ct_eq(&self.secret).into()
    }

    /// A word that only this session can make, for links that do more than show a page.
    pub(super) fn word(&self, of: &str) -> String {
        let word = blake3::keyed_hash(&self.secret, of.as_bytes());
        word.as_bytes().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }

    async fn open(parts: &Parts, context: &WebContext) -> Result<Option<Self>, Refusal> {
        let Some(cookie) = cookie(&parts.headers, is_secure(parts, context)) else { return Ok(None) };
        let Some(token) = opened(context, cookie) else { return Ok(None) };
        let client = client(parts);
        let Some(principal) = principal(context, client, &token).await? else { return Ok(None) };
        let spool = context.spool.client(client);
        let spool = match &principal.scope {
            Scope::Operator => spool,
            Scope::Account(account) | Scope::Inboxes(account, _) => spool.logged_in(account),
        };
        let of = on_behalf(parts, Some(&token), spool);
        let sandbox = context.sandbox.clone().map(|verbs| Api::new(verbs, of.clone()));
        let api = Api::new(context.api.clone(), of);
        let secret = blake3::derive_key("inboxlayer 2026 CSRF token of a session", cookie.as_bytes());
        let work = context.work.clone();
        Ok(Some(Self { principal, secret, api, work, sandbox, uri: parts.uri.clone() }))
    }
}

impl FromRequestParts<WebContext> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &WebContext) -> Result<Self, Refusal> {
        Self::open(parts, context).await?.ok_or_else(|| {
            // A form that was sent is lost; its page is where to go on.
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            let target = if parts.method.is_safe() { target } else { "/" };
            Refusal::sign_in(format!("/sign-in?next={}", encoded(target)))
        })
    }
}

impl OptionalFromRequestParts<WebContext> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &WebContext) -> Result<Option<Self>, Refusal> {
        Self::open(parts, context).await
    }
}

/// Who the token is of. `None` if it is invalid.
async fn principal(context: &WebContext, client: IpAddr, token: &Secret) -> Result<Option<Principal>, Refusal> {
    match context.authenticator.bearer(client, token).await {
        Ok(principal) => Ok(Some(principal)),
        Err(LoginError::Refused) => Ok(None),
        Err(LoginError::RateLimited { retry_after }) => Err(Refusal::too_many(retry_after)),
        Err(LoginError::Unavailable(error)) => {
            tracing::error!(listener = "http", %error, "cannot check the token of a session");
            Err(Refusal::unavailable())
        }
    }
}

fn client(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Client>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
}

fn on_behalf(parts: &Parts, token: Option<&Secret>, spool: ClientSpool) -> OnBehalf {
    let authorization = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok());
    let authorization = authorization.map(|mut value| {
        value.set_sensitive(true);
        value
    });
    OnBehalf {
        authorization,
        client: parts.extensions.get().copied(),
        connection: parts.extensions.get::<Connection>().cloned(),
        spool,
        span: Span::current(),
    }
}

/// A browser that is not signed in: the API without a token.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) api: Api,
    client: IpAddr,
    /// Whether the browser speaks TLS with the daemon or with the proxy before it.
    pub(super) is_secure: bool,
}

impl FromRequestParts<WebContext> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, context: &WebContext) -> Result<Self, Self::Rejection> {
        let client = client(parts);
        let api = Api::new(context.api.clone(), on_behalf(parts, None, context.spool.client(client)));
        Ok(Self { api, client, is_secure: is_secure(parts, context) })
    }
}

impl Visitor {
    /// Refuses a token that is invalid.
    pub(super) async fn check(&self, context: &WebContext, token: &Secret) -> Result<(), Refusal> {
        principal(context, self.client, token).await?.map(drop).ok_or_else(Refusal::invalid_token)
    }
}

/// Whether the browser speaks TLS with the daemon, or says so of a proxy before it. A client that lies here harms itself alone.
fn is_secure(parts: &Parts, context: &WebContext) -> bool {
    context.config.http.tls || parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE } else { COOKIE }
}

/// The value of the session's cookie.
fn cookie(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.filter(|value| value.len() <= LONGEST_COOKIE).flat_map(|value| value.split(';'));
    let mut found = pairs.filter_map(|pair| pair.trim().split_once('='));
    found.find(|(name, _)| *name == cookie_name(is_secure)).map(|(_, value)| value)
}

/// The token of a cookie that has not ended.
fn opened(context: &WebContext, cookie: &str) -> Option<Secret> {
    let plain = context.secrets.open(PURPOSE, &URL_SAFE_NO_PAD.decode(cookie).ok()?).ok()?;
    let (end, token) = plain.reveal().split_once(' ')?;
    let is_open = context.clock.now() < Timestamp::from_millis(end.parse().ok()?);
    is_open.then(|| Secret::new(token))
}

/// `Set-Cookie` of a new session with the token.
pub(super) fn begin(context: &WebContext, visitor: &Visitor, token: &Secret) -> Result<HeaderValue, Refusal> {
    let end = context.clock.now().after(LIFETIME);
    let sealed = context.secrets.seal(PURPOSE, &format!("{} {}", end.millis(), token.reveal())).map_err(|error| {
        tracing::error!(listener = "http", %error, "cannot seal a session");
        Refusal::unavailable()
    })?;
    Ok(set_cookie(visitor, &URL_SAFE_NO_PAD.encode(sealed), LIFETIME))
}

/// `Set-Cookie` that removes the session's.
pub(super) fn end(visitor: &Visitor) -> HeaderValue {
    set_cookie(visitor, "", Duration::ZERO)
}

fn set_cookie(visitor: &Visitor, value: &str, age: Duration) -> HeaderValue {
    let (name, secure) = (cookie_name(visitor.is_secure), if visitor.is_secure { "; Secure" } else { "" });
    let cookie = format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.as_secs());
    HeaderValue::from_str(&cookie).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Links that sign in with a token, each once. Only the process that made one knows it.
#[derive(Clone, Debug, Default)]
pub struct Once(Arc<Mutex<HashMap<String, Secret>>>);

impl Once {
    /// The path of a new link.
    pub fn link(&self, code: &Secret, token: Secret) -> String {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(code.reveal().to_owned(), token);
        format!("/sign-in/once/{}", code.reveal())
    }

    /// The token of a link, which ends with this.
    pub(super) fn take(&self, code: &str) -> Option<Secret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(code)
    }
}
