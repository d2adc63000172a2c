//! All routes, in one table. A route can be added only with its description, of which the document is made.

use super::body::counted;
use super::document::{self, Document, Lazily, below_inbox};
use super::idempotency::idempotent;
use super::problem::{Problem, ProblemCode};
use super::rate_limit::rate_limited;
use super::{
    HttpContext, access, accounts, aliases, cors, custom_domains, dkim_keys, dkim_zone, domain_check, domain_history,
    drafts, email_threads, emails, events, health, inboxes, log_in, mailbox_labels, mailboxes, notification_tokens,
    queue, send, sending_identity, statistics, tokens, users, webhook_deliveries, webhooks,
};
use crate::message::decode::unescape;
use crate::net::request::Client;
use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;
use tokio::task::AbortHandle;
use tracing::Instrument;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

type Route = UtoipaMethodRouter<HttpContext>;

/// The document of all routes.
static DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::of(routes().into_iter().map(|(schemas, paths, _)| (schemas, paths))));

/// Each handler has its path, its methods and what the document says of it beside it.
fn routes() -> Vec<Route> {
    let mut routes = vec![
        routes!(document::json),
        routes!(document::html),
        routes!(health::show),
        routes!(health::ready),
        routes!(health::self_check),
        routes!(custom_domains::list, custom_domains::create),
        routes!(custom_domains::show, custom_domains::change, custom_domains::delete),
        routes!(custom_domains::verify),
        routes!(custom_domains::zone_file),
        routes!(domain_check::show),
        routes!(domain_check::stream),
        routes!(domain_history::checks),
        routes!(domain_history::events),
        routes!(dkim_keys::list),
        routes!(dkim_keys::rotate),
        routes!(log_in::log_in, log_in::log_out),
        routes!(log_in::me),
        routes!(log_in::change_password),
        routes!(users::list, users::create),
        routes!(users::show, users::change),
        routes!(users::set_password),
        routes!(accounts::list, accounts::create),
        routes!(accounts::show),
        routes!(tokens::list, tokens::create),
        routes!(tokens::show, tokens::revoke),
        routes!(inboxes::list, inboxes::create),
        routes!(inboxes::show, inboxes::change, inboxes::delete),
        routes!(inboxes::warmup),
        routes!(mailboxes::list),
        routes!(emails::import::import),
        routes!(sending_identity::show),
        routes!(aliases::list, aliases::create),
        routes!(aliases::delete),
        routes!(access::list, access::create),
        routes!(access::delete),
        routes!(emails::list, emails::ingest::ingest),
        routes!(emails::search::search),
        routes!(emails::show, emails::actions::change, emails::actions::delete),
        routes!(emails::raw),
        routes!(emails::actions::act),
        routes!(emails::actions::restore),
        routes!(emails::attachments::download),
        routes!(emails::attachments::link),
        routes!(emails::attachments::follow),
        routes!(send::send),
        routes!(emails::answers::reply),
        routes!(emails::answers::forward),
        routes!(drafts::begun::begin),
        routes!(drafts::begun::cancel),
        routes!(email_threads::list),
        routes!(email_threads::show),
        routes!(emails::wait::wait),
        routes!(events::list),
        routes!(statistics::show),
        routes!(events::stream::stream),
        routes!(events::stream::open),
        routes!(mailbox_labels::list, mailbox_labels::create),
        routes!(mailbox_labels::show, mailbox_labels::change, mailbox_labels::delete),
        routes!(notification_tokens::list, notification_tokens::create),
        routes!(notification_tokens::delete),
        routes!(webhooks::list, webhooks::create),
        routes!(webhooks::show, webhooks::change, webhooks::delete),
        routes!(webhooks::test),
        routes!(webhooks::rotate_secret),
        routes!(webhook_deliveries::list),
        routes!(webhook_deliveries::redeliver),
        routes!(queue::list),
        routes!(queue::act),
        routes!(queue::show, queue::drop),
        routes!(queue::retry),
        routes!(dkim_zone::show),
    ];
    routes.extend(drafts());
    // The same below an inbox.
    let below = |(schemas, paths, methods): Route| (schemas, below_inbox(paths, DRAFTS, INBOX_DRAFTS), methods);
    routes.extend(drafts().into_iter().map(below));
    routes
}

const DRAFTS: &str = "/api/v1/drafts";
const INBOX_DRAFTS: &str = "/api/v1/inboxes/{inbox_id}/drafts";

fn drafts() -> [Route; 3] {
    [
        routes!(drafts::list, drafts::create),
        routes!(drafts::show, drafts::change, drafts::delete),
        routes!(drafts::send),
    ]
}

/// What `/openapi.json` answers.
pub fn document() -> serde_json::Value {
    DOCUMENT.value()
}

pub fn router(context: HttpContext) -> Router {
    // A slash at the end is accepted.
    let with_slash = |router: Router<HttpContext>, (_, paths, methods): Route| {
        let add = |router: Router<_>, path: &String| {
            router.route(&format!("{path}/"), methods.clone()).route(path, methods.clone())
        };
        paths.paths.keys().fold(router, add)
    };
    let cors = cors::layer(&context.config.http.cors_origins);
    let router = routes()
        .into_iter()
        .fold(Router::new(), with_slash)
        .layer(Extension(Lazily(&DOCUMENT)))
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
pub(super) async fn never_cached(request: Request, next: Next) -> Response {
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
            log_refusal(&client, &what, &response);
            response
        }
        Err(error) => {
            tracing::error!(listener = "http", %what, %error, "internal error: a request panicked");
            Problem::unavailable().into_response()
        }
    }
}

pub(super) fn log_refusal(client: &str, what: &str, response: &Response) {
    if response.status().is_client_error() {
        let code = response.extensions().get::<ProblemCode>().map_or("-", |ProblemCode(code)| code);
        tracing::info!(listener = "http", client, what, status = response.status().as_u16(), code, "refused");
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
    use axum::routing::get;
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
