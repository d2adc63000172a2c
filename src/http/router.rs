//! All routes, in one table.

use super::body::counted;
use super::idempotency::idempotent;
use super::problem::{Problem, ProblemCode};
use super::rate_limit::rate_limited;
use super::serve::Client;
use super::{
    HttpContext, accounts, aliases, cors, custom_domains, dkim_keys, dkim_zone, domain_history, drafts, email_threads,
    emails, health, inboxes, log_in, mailbox_labels, queue, send, sending_identity, tokens, users,
};
use crate::message::decode::unescape;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use tokio::task::AbortHandle;
use tracing::Instrument;

pub fn router(context: HttpContext) -> Router {
    let routes = [
        ("/healthz", get(health::show)),
        ("/readyz", get(health::ready)),
        ("/api/v1/custom_domains", get(custom_domains::list).post(custom_domains::create)),
        (
            "/api/v1/custom_domains/{id}",
            get(custom_domains::show)
                .patch(custom_domains::change)
                .put(custom_domains::change)
                .delete(custom_domains::delete),
        ),
        ("/api/v1/custom_domains/{id}/verify", post(custom_domains::verify)),
        ("/api/v1/custom_domains/{id}/zone_file", get(custom_domains::zone_file)),
        ("/api/v1/custom_domains/{id}/checks", get(domain_history::checks)),
        ("/api/v1/custom_domains/{id}/events", get(domain_history::events)),
        ("/api/v1/custom_domains/{id}/dkim_keys", get(dkim_keys::list)),
        ("/api/v1/custom_domains/{id}/rotate_key", post(dkim_keys::rotate)),
        ("/api/v1/auth", post(log_in::log_in).delete(log_in::log_out)),
        ("/api/v1/me", get(log_in::me)),
        ("/api/v1/password", patch(log_in::change_password).put(log_in::change_password)),
        ("/api/v1/users", get(users::list).post(users::create)),
        ("/api/v1/users/{id}", get(users::show).patch(users::change)),
        ("/api/v1/users/{id}/password", post(users::set_password)),
        ("/api/v1/accounts", get(accounts::list).post(accounts::create)),
        ("/api/v1/accounts/{id}", get(accounts::show)),
        ("/api/v1/tokens", get(tokens::list).post(tokens::create)),
        ("/api/v1/tokens/{id}", get(tokens::show).delete(tokens::revoke)),
        ("/api/v1/inboxes", get(inboxes::list).post(inboxes::create)),
        ("/api/v1/inboxes/{id}", get(inboxes::show).patch(inboxes::change).delete(inboxes::delete)),
        ("/api/v1/inboxes/{id}/warmup", get(inboxes::warmup)),
        ("/api/v1/inboxes/{id}/aliases", get(aliases::list).post(aliases::create)),
        ("/api/v1/inboxes/{id}/aliases/{alias}", delete(aliases::delete)),
        ("/api/v1/emails", get(emails::list).post(emails::ingest)),
        ("/api/v1/emails/send", post(send::send)),
        ("/api/v1/emails/{id}", get(emails::show).patch(emails::change).put(emails::change).delete(emails::delete)),
        ("/api/v1/emails/search", get(emails::search)),
        ("/api/v1/emails/{id}/reply", post(emails::reply)),
        ("/api/v1/emails/{id}/forward", post(emails::forward)),
        ("/api/v1/drafts", get(drafts::list).post(drafts::create)),
        ("/api/v1/inboxes/{id}/drafts", get(drafts::list_in).post(drafts::create_in)),
        ("/api/v1/drafts/{id}", one_draft()),
        ("/api/v1/inboxes/{id}/drafts/{draft}", one_draft()),
        ("/api/v1/drafts/{id}/send", post(drafts::send)),
        ("/api/v1/inboxes/{id}/drafts/{draft}/send", post(drafts::send)),
        ("/api/v1/emails/{id}/raw", get(emails::raw)),
        ("/api/v1/emails/{id}/actions", patch(emails::act)),
        ("/api/v1/emails/{id}/restore", post(emails::restore)),
        ("/api/v1/emails/{id}/attachments/{number}", get(emails::download)),
        ("/api/v1/emails/{id}/attachments/{number}/link", post(emails::link)),
        ("/api/v1/attachments/{link}", get(emails::follow)),
        ("/api/v1/email_threads", get(email_threads::list)),
        ("/api/v1/email_threads/{id}", get(email_threads::show)),
        ("/api/v1/mailbox_labels", get(mailbox_labels::list).post(mailbox_labels::create)),
        (
            "/api/v1/mailbox_labels/{id}",
            patch(mailbox_labels::change).put(mailbox_labels::change).delete(mailbox_labels::delete),
        ),
        ("/api/v1/inboxes/{id}/sending_identity", get(sending_identity::show)),
        ("/api/v1/queue", get(queue::list)),
        ("/api/v1/queue/{id}", get(queue::show).delete(queue::drop)),
        ("/api/v1/queue/{id}/retry", post(queue::retry)),
        ("/api/v1/dkim_zone", get(dkim_zone::show)),
    ];
    // A slash at the end is accepted.
    let with_slash = |router: Router<HttpContext>, (path, methods): (&str, MethodRouter<HttpContext>)| {
        router.route(&format!("{path}/"), methods.clone()).route(path, methods)
    };
    let cors = cors::layer(&context.config.http.cors_origins);
    let router = routes
        .into_iter()
        .fold(Router::new(), with_slash)
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async |method: Method| match method {
            // The methods are in `Allow` (RFC 9110 §9.3.7).
            Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
            _ => Problem::method_not_allowed().into_response(),
        })
        .layer(from_fn_with_state(context.clone(), idempotent))
        .layer(from_fn(decodable))
        .layer(from_fn(rate_limited))
        .layer(from_fn(never_cached))
        .layer(from_fn(counted))
        .layer(from_fn(to_completion))
        .with_state(context);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

fn one_draft() -> MethodRouter<HttpContext> {
    get(drafts::show).patch(drafts::change).put(drafts::change).delete(drafts::delete)
}

/// Refuses a path whose percent-encoding is not UTF-8, before a handler takes an id from it.
async fn decodable(request: Request, next: Next) -> Response {
    let mut path = Vec::new();
    unescape(request.uri().path().as_bytes(), b'%', &mut path);
    match std::str::from_utf8(&path) {
        Ok(_) => next.run(request).await,
        Err(_) => Problem::malformed("The path is not URL-encoded UTF-8.").into_response(),
    }
}

/// Responses contain mail and addresses, so no cache may store them (RFC 9111 §5.2.2.5).
async fn never_cached(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Runs a request in its own task. A client that hangs up cannot interrupt a change between its commit and its events;
/// a panic fails only this request, as a temporary fault. Every refusal is logged.
async fn to_completion(request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let client = request.extensions().get::<Client>().map(|Client(address)| address.to_string()).unwrap_or_default();
    let is_read = request.method().is_safe();
    let running = tokio::spawn(next.run(request).in_current_span());
    // Requests that only read are cancelled when the client hangs up.
    let _ends_with_client = is_read.then(|| running.abort_handle()).map(AbortOnDrop);
    match running.await {
        Ok(response) => {
            if response.status().is_client_error() {
                let code = response.extensions().get::<ProblemCode>().map_or("-", |ProblemCode(code)| code);
                tracing::info!(listener = "http", client, what, status = response.status().as_u16(), code, "refused");
            }
            response
        }
        Err(error) => {
            tracing::error!(listener = "http", %what, %error, "internal error: a request panicked");
            Problem::unavailable().into_response()
        }
    }
}

/// Aborts a task when dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::World;
    use crate::id::AccountId;
    use crate::resources::Owner;
    use crate::resources::work::{WorkBudget, WorkPool};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc::unbounded_channel;

    #[tokio::test]
    async fn a_read_request_is_cancelled_and_its_slot_freed_when_the_client_hangs_up() {
        // One slot per account.
        let pool = WorkPool::new(2);
        let (owner, (tell, mut logged)) = (Owner::Account(AccountId::new()), unbounded_channel());
        let (work, of) = (pool.clone(), owner.clone());
        let endless = move || {
            let (work, of, tell) = (work.clone(), of.clone(), tell.clone());
            async move {
                let endless = move |budget: &WorkBudget| {
                    tell.send("begun").unwrap();
                    while budget.check().is_ok() {
                        std::thread::yield_now();
                    }
                    tell.send("ended").unwrap();
                    budget.check()
                };
                work.run(&of, usize::MAX, endless).await.map_err(|_| Problem::unavailable())
            }
        };
        let router = Router::new().route("/endless", get(endless)).layer(from_fn(to_completion));
        let world = World::serving(|_| router).await;
        for _ in 0..5 {
            let mut client = TcpStream::connect(world.address).await.unwrap();
            client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert_eq!(logged.recv().await, Some("begun"));
            drop(client);
            assert_eq!(logged.recv().await, Some("ended"));
        }
        assert_eq!(pool.run(&owner, usize::MAX, |_| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_a_temporary_fault() {
        async fn buggy() -> Problem {
            panic!("a bug")
        }
        let router = Router::new().route("/buggy", get(buggy)).layer(from_fn(to_completion));
        let world = World::serving(|_| router).await;
        let answer = world.get("", "/buggy").await;
        assert_eq!((answer.status, answer.code()), (503, "unavailable"));
        assert!(answer.header("retry-after").is_some());
    }
}
