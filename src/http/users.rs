//! `/api/v1/users`: the users of accounts. Operators make them, since an email belongs to one user of all accounts; a token of an
//! account changes its own.

use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::{PasswordInput, UserInput, UserUpdate};
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::reply::{Created, CreatedSecret, Secretive};
use super::version::{IfMatch, Versioned, changed_since};
use super::{Context, HttpContext, Id};
use crate::address::Address;
use crate::auth::passwords::{self, HashError, Passwords};
use crate::clock::Timestamp;
use crate::id::{AccountId, UserId};
use crate::resources::Owner;
use crate::resources::spool::ClientSpool;
use crate::secret::Secret;
use crate::store::users::{ChangeUserError, CreateUserError, NewUser, User, UserChange};
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// Characters of a password.
const SHORTEST: usize = 8;
const LONGEST: usize = 1000;
/// Maximum characters of a first or last name.
const NAME_LENGTH: usize = 100;

#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserJson {
    /// The number that the published API knows it by.
    id: u64,
    user_id: UserId,
    account_id: AccountId,
    email: String,
    first_name: String,
    last_name: String,
    /// Since when the user cannot log in.
    disabled_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Shown once, if it was generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    password: Option<String>,
}

impl From<User> for UserJson {
    fn from(user: User) -> Self {
        let User { id, account, email, first_name, last_name, disabled_at, created_at, updated_at, .. } = user;
        Self {
            id: id.number(),
            user_id: id,
            account_id: account,
            email,
            first_name,
            last_name,
            disabled_at,
            created_at,
            updated_at,
            password: None,
        }
    }
}

/// A first or last name.
fn name(fields: &mut Fields, field: &'static str) -> Option<String> {
    let text = fields.text(field)?;
    if text.chars().count() > NAME_LENGTH || text.chars().any(char::is_control) {
        fields.fault(field, format!("must be one line of at most {NAME_LENGTH} characters"));
        return None;
    }
    Some(text)
}

/// A password that is to be set.
pub(super) fn new_password(fields: &mut Fields) -> Option<Secret> {
    let text = fields.text("password").map(Secret::new)?;
    if !(SHORTEST..=LONGEST).contains(&text.reveal().chars().count()) {
        fields.fault("password", format!("must have {SHORTEST} to {LONGEST} characters"));
        return None;
    }
    Some(text)
}

/// The hash of a password, computed within the client's share of memory.
pub(super) async fn hashed(context: &HttpContext, spool: &ClientSpool, password: Secret) -> Result<Secret, Problem> {
    let mut memory = spool.claim();
    memory.grow_to(passwords::MEMORY).map_err(super::body::no_room)?;
    context.passwords.hash(&Owner::System, memory, password).await.map_err(|error| not_hashed(&error))
}

fn not_hashed(error: &HashError) -> Problem {
    tracing::error!(listener = "http", %error, "cannot hash a password");
    Problem::unavailable()
}

/// The password that is set, and the one to show: a generated one.
fn chosen(given: Option<Secret>) -> Result<(Secret, Option<String>), Problem> {
    match given {
        Some(password) => Ok((password, None)),
        None => {
            let password = Passwords::generate().map_err(|error| not_hashed(&error.into()))?;
            let shown = password.reveal().to_owned();
            Ok((password, Some(shown)))
        }
    }
}

/// Creates a user
///
/// For operators. A password is made where none is given.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "Users", request_body = UserInput,
    responses((status = 201, body = UserJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<CreatedSecret<UserJson>, Problem> {
    caller.operator()?;
    let mut fields = body.fields(&caller.spool, "user").await?;
    let account = fields.parsed("account_id");
    let email = fields.required_text("email").map(|email| email.trim().to_lowercase());
    if let Some(email) = &email
        && let Err(error) = Address::parse(email)
    {
        fields.fault("email", error);
    }
    let (first_name, last_name) = (name(&mut fields, "first_name"), name(&mut fields, "last_name"));
    let given = new_password(&mut fields);
    fields.finish()?;
    let account = caller.account(account)?;
    let (password, shown) = chosen(given)?;
    let new = NewUser {
        account,
        email: email.unwrap_or_default(),
        first_name: first_name.unwrap_or_default(),
        last_name: last_name.unwrap_or_default(),
        password: hashed(&context, &caller.spool, password).await?,
    };
    let made = context.store.user_create(new, context.clock.now()).await.map_err(|error| match error {
        CreateUserError::UnknownAccount => Problem::invalid_field("account_id", "is not the id of an account"),
        CreateUserError::Exists(id) => Problem::conflict(
            "user_exists",
            "There is a user with this email.",
            "Use the user that `existing_id` names, or another email.",
            Some(id.as_str()),
        ),
        CreateUserError::Store(error) => error.into(),
    })?;
    tracing::info!(user = %made.id, account = %made.account, by = %caller.principal.token, "user created");
    let location = format!("/api/v1/users/{}", made.id);
    Ok(CreatedSecret(Created { location, body: UserJson { password: shown, ..made.into() } }))
}

/// Users of the account
///
/// With an operator token all, or those of `account_id`.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "Users", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<UserJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<UserJson>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<UserId>();
    parameters.finish()?;
    let account = match (caller.whole_account()?, request) {
        (None, None) => None,
        (_, request) => Some(caller.account(request)?),
    };
    let rows = context.store.user_list(account.as_ref(), page.after.as_ref(), page.rows()).await?;
    Ok(page.list(rows, |user| user.id.to_string(), UserJson::from))
}

/// A user
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "Users", params(("id" = UserId, Path)),
    responses((status = 200, body = UserJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<UserJson>, Problem> {
    found(&caller, &context, &id).await.map(versioned)
}

fn versioned(user: User) -> Versioned<UserJson> {
    Versioned { version: user.updated_at, body: user.into() }
}

pub(super) fn not_changed(error: ChangeUserError) -> Problem {
    match error {
        ChangeUserError::NotFound => Problem::not_found(),
        ChangeUserError::Changed => changed_since(),
        ChangeUserError::Store(error) => error.into(),
    }
}

/// The user of an id in a path, if the caller may see it.
async fn found(caller: &Caller, context: &HttpContext, id: &str) -> Result<User, Problem> {
    let own = caller.whole_account()?;
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    let user = caller.store(context).user_get(&id).await?;
    user.filter(|user| own.is_none_or(|own| user.account == *own)).ok_or_else(Problem::not_found)
}

/// Changes what is given
///
/// Disabling a user revokes the user's tokens.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "Users", params(("id" = UserId, Path)), request_body = UserUpdate,
    responses((status = 200, body = UserJson), (status = 412))
)]
pub(super) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<UserJson>, Problem> {
    let id = found(&caller, &context, &id).await?.id;
    let mut fields = body.fields(&caller.spool, "user").await?;
    let (first_name, last_name) = (name(&mut fields, "first_name"), name(&mut fields, "last_name"));
    let change = UserChange { first_name, last_name, is_disabled: fields.flag("disabled"), password: None, versions };
    fields.finish()?;
    let changed = context.store.user_change(&id, change, context.clock.now()).await.map_err(not_changed)?;
    tracing::info!(user = %id, by = %caller.principal.token, disabled = changed.disabled_at.is_some(), "user changed");
    Ok(versioned(changed))
}

/// Sets a password
///
/// One is made where none is given. The user's tokens are revoked.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/password", tag = "Users", params(("id" = UserId, Path)),
    request_body = Option<PasswordInput>, responses((status = 200, body = UserJson))
)]
pub(super) async fn set_password(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Secretive<UserJson>, Problem> {
    let id = found(&caller, &context, &id).await?.id;
    let mut fields = body.optional(&caller.spool).await?.unwrapped("user");
    let given = new_password(&mut fields);
    fields.finish()?;
    let (password, shown) = chosen(given)?;
    let hash = hashed(&context, &caller.spool, password).await?;
    let change = UserChange { password: Some((hash, None)), ..UserChange::default() };
    let changed = context.store.user_change(&id, change, context.clock.now()).await.map_err(not_changed)?;
    tracing::info!(user = %id, by = %caller.principal.token, "password set");
    Ok(Secretive { of: Some(id.to_string()), body: UserJson { password: shown, ..changed.into() } })
}
