//! `/healthz`: 200 while the store answers, for load balancers and service managers.

use super::HttpContext;
use super::problem::Problem;
use axum::Json;
use axum::extract::State;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

pub(super) async fn show(State(context): State<HttpContext>) -> Result<Json<Health>, Problem> {
    context.store.account_list(None, 1).await?;
    Ok(Json(Health { status: "ok" }))
}
