//! `/api/v1/custom_domains`. The history is in [`super::domain_history`].

use super::caller::Caller;
use super::client_id::{client_id, client_id_used};
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::{DomainInput, DomainUpdate};
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, Parameters};
use super::reply::{Created, put};
use super::version::{IfMatch, Versioned, changed_since};
use super::{Context, HttpContext, Id};
use crate::address::DomainName;
use crate::id::{AccountId, DomainId};
use crate::registry::{Answered, CreateError, CustomDomain, LONGEST_WAIT, PatchError, VerifyError};
use crate::store::domains::DomainPatch;
use crate::verification::records::{Expected, HostLabel, Purpose};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// RFC 7240 §2 and §3.
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

fn not_created(error: CreateError) -> Problem {
    match error {
        CreateError::Refused(why) => Problem::invalid_field("domain", why.to_string())
            .with_code(why.code())
            .with_fix("Claim a domain that you have registered yourself, or a name under it."),
        CreateError::Exists(id) => Problem::conflict(
            "domain_exists",
            "The account has already claimed this domain.",
            "Use the custom domain that `existing_id` names.",
            Some(id.as_str()),
        ),
        CreateError::ClientIdUsed(id) => client_id_used(id.as_str()),
        CreateError::Full { limit } => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} custom domains, which is the limit."),
            "Delete a custom domain, or ask the operator for a higher limit.",
        ),
        CreateError::NamesUsedUp { limit } => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has claimed {limit} domain names, which is the limit; deleted claims count."),
            "Claim a name that the account has claimed before, or ask the operator for a higher limit.",
        ),
        CreateError::RateLimited(exceeded) => Problem::too_many(
            format!("The account has claimed {} domains in the last hour, which is the limit.", exceeded.limit),
            exceeded.retry_after,
        ),
        CreateError::Provider(error) => {
            tracing::error!(listener = "http", %error, "cannot claim a domain");
            Problem::unavailable().with_code("signing_provider_unavailable")
        }
        CreateError::Store(error) => error.into(),
    }
}

/// Fields of the published API that repeat a record, and the values that ours have: the service makes the records.
fn repeat_records(fields: &mut Fields, ours: &[(&'static str, Vec<&str>)]) {
    for (field, ours) in ours {
        let Some(text) = fields.text(field).filter(|text| !text.is_empty()) else { continue };
        if !ours.iter().any(|ours| text.trim_end_matches('.').eq_ignore_ascii_case(ours)) {
            fields.fault(field, "is made by the service: leave it out, or repeat the value that `records` shows");
        }
    }
}

/// Claims a domain
#[utoipa::path(
    post, path = "/api/v1/custom_domains", tag = "Custom domains", request_body = DomainInput,
    responses((status = 201, body = CustomDomain))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<CustomDomain>, Problem> {
    caller.whole_account()?;
    let mut fields = body.fields(&caller.spool, "custom_domain").await?;
    let account = fields.parsed("account_id");
    let client_id = client_id(&mut fields);
    let domain = fields.required_text("domain");
    let (name, spf) = (domain.clone().unwrap_or_default(), context.config.records.spf.as_str());
    let ours =
        [("dkim_host", vec![]), ("dkim_value", vec![]), ("spf_host", vec![name.as_str()]), ("spf_value", vec![spf])];
    repeat_records(&mut fields, &ours);
    fields.finish()?;
    let account = caller.account(account)?;
    if caller.operator().is_ok() && context.store.account_get(&account).await?.is_none() {
        return Err(Problem::invalid_field("account_id", "is not the id of an account"));
    }
    let made = context.registry.create(&account, &domain.unwrap_or_default(), client_id).await;
    let _ = caller.charged.set(vec![context.registry.quota(&account)]);
    let made = made.map_err(not_created)?;
    Ok(Created { location: format!("/api/v1/custom_domains/{}", made.id), body: made })
}

/// Custom domains of the account
#[utoipa::path(
    get, path = "/api/v1/custom_domains", tag = "Custom domains", params(AccountQuery, PageQuery),
    responses((status = 200, body = Vec<CustomDomain>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<Vec<CustomDomain>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<DomainId>();
    parameters.finish()?;
    let account = caller.account(request)?;
    let rows = context.registry.list(&account, page.after.as_ref(), page.rows()).await?;
    Ok(page.list(rows, |domain| domain.id.to_string(), |domain| domain).array())
}

/// The id in a path and the account that owns the claim, if the caller may see it.
pub(super) async fn claim(caller: &Caller, context: &HttpContext, id: &str) -> Result<(AccountId, DomainId), Problem> {
    caller.whole_account()?;
    let id: DomainId = id.parse().map_err(|_| Problem::not_found())?;
    Ok((caller.account_of_domain(context, &id).await?, id))
}

/// A custom domain
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 200, body = CustomDomain))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<CustomDomain>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    context.registry.get(&account, &id).await?.map(versioned).ok_or_else(Problem::not_found)
}

fn versioned(domain: CustomDomain) -> Versioned<CustomDomain> {
    Versioned { version: domain.updated_at, body: domain }
}

/// Its records as a zone file
///
/// For import at a DNS provider, in BIND's syntax (RFC 1035 §5).
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/zone_file", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn zone_file(caller: Caller, State(context): Context, Path(id): Id) -> Result<Response, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let file = context.registry.zone_file(&account, &id).await?.ok_or_else(Problem::not_found)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], file).into_response())
}

/// Changes what is given
///
/// What is left out stays. `domain` and the fields of the records may be repeated.
#[utoipa::path(
    method(patch, put), path = "/api/v1/custom_domains/{id}", tag = "Custom domains",
    params(("id" = DomainId, Path)), request_body = DomainUpdate,
    responses((status = 200, body = CustomDomain), (status = 412))
)]
pub(super) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<CustomDomain>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let current = context.registry.get(&account, &id).await?.ok_or_else(Problem::not_found)?;
    let mut fields = body.fields(&caller.spool, "custom_domain").await?;
    repeat_records(&mut fields, &records_of(&current));
    if fields.parsed::<DomainName>("domain").is_some_and(|domain| domain != current.domain) {
        fields.fault("domain", "cannot be changed: claim the other name, and delete this domain");
    }
    let catch_all = fields.change("catch_all_inbox_id");
    let is_default = fields.flag("is_default");
    let on_unverified = fields.parsed("on_unverified");
    let return_path = fields.change::<HostLabel>("return_path");
    fields.finish()?;
    let return_path = return_path.map(|label| label.map(|label| label.as_str().to_owned()));
    let patch = DomainPatch { catch_all, is_default, on_unverified, return_path, versions };
    let changed = context.registry.patch(&account, &id, patch).await.map_err(|error| match error {
        PatchError::NotFound => Problem::not_found(),
        PatchError::UnknownInbox => {
            Problem::invalid_field("catch_all_inbox_id", "is not the id of an inbox of the account")
        }
        PatchError::Changed => changed_since(),
        PatchError::ReturnPath(_) => Problem::invalid_field("return_path", error.to_string()),
        PatchError::Store(error) => error.into(),
    })?;
    Ok(versioned(changed))
}

fn records_of(domain: &CustomDomain) -> [(&'static str, Vec<&str>); 4] {
    let of = |purpose, part: fn(&Expected) -> &str| {
        let records = domain.records.iter().map(|record| &record.expected);
        records.filter(|record| record.purpose == purpose).map(part).collect()
    };
    [
        ("dkim_host", of(Purpose::Dkim, |record| &record.name)),
        ("dkim_value", of(Purpose::Dkim, |record| &record.value)),
        ("spf_host", of(Purpose::Spf, |record| &record.name)),
        ("spf_value", of(Purpose::Spf, |record| &record.value)),
    ]
}

/// Deletes a claim
///
/// Messages stay in their inboxes.
#[utoipa::path(
    delete, path = "/api/v1/custom_domains/{id}", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    if context.registry.delete(&account, &id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found()) }
}

/// Checks the records now
///
/// Answers at once, while the check goes on; with `Prefer: wait=N` (RFC 7240) as soon as it has settled, or after N seconds, at most 30.
/// Without `Preference-Applied` in the answer the account has too many requests waiting.
#[utoipa::path(
    post, path = "/api/v1/custom_domains/{id}/verify", tag = "Custom domains",
    params(("id" = DomainId, Path), ("prefer" = Option<String>, Header, description = "`wait=30`")),
    responses((status = 200, body = CustomDomain))
)]
pub(super) async fn verify(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    if context.registry.get(&account, &id).await?.is_none() {
        return Err(Problem::not_found());
    }
    body.optional(&caller.spool).await?.finish()?;
    let wait = preferred_wait(&headers);
    let request = context.registry.verify(&account, &id, wait).await.map_err(|error| match error {
        VerifyError::NotFound => Problem::not_found(),
        VerifyError::RateLimited { retry_after } => Problem::too_many(
            "A domain is checked at most once every 10 seconds, and this one was checked just now.",
            retry_after,
        ),
        VerifyError::Store(error) => error.into(),
    });
    let (domain, answered) = request?;
    let mut response = Json(domain).into_response();
    if let Some(wait) = wait.filter(|_| answered != Answered::AtOnce) {
        put(&mut response, PREFERENCE_APPLIED, &format!("wait={}", wait.as_secs()));
    }
    Ok(response)
}

/// `wait` of RFC 7240 §4.3, capped at the maximum; an invalid preference is ignored (§2).
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let preferences = lines.flat_map(|line| line.split(','));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds).min(LONGEST_WAIT))
    });
    // The first one counts (§2).
    waits.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::{KeysError, ProviderError};

    #[test]
    fn the_wait_preference_follows_rfc_7240() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, line.parse().unwrap());
            }
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        for (lines, seconds) in [
            (&["wait=5"][..], Some(5)),
            (&["respond-async, Wait = \"7\"; x=y"], Some(7)),
            (&["respond-async", "wait=9, wait=1"], Some(9)),
            (&["wait=3600"], Some(30)),
            (&["wait=soon"], None),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&[], None),
        ] {
            assert_eq!(read(lines), seconds, "{lines:?}");
        }
    }

    #[test]
    fn a_provider_without_tokens_is_a_temporary_fault() {
        let error = CreateError::Provider(ProviderError::Keys(KeysError::Generate("of the test".into())));
        let response = not_created(error).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }
}
