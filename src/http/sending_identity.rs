//! `GET …/inboxes/{id}/sending_identity`: the address a message sent now would leave under, and how a receiver would
//! evaluate it. A dry run of the same choice that sending makes; nothing is sent.

use super::caller::Caller;
use super::document::parameters::LoginQuery;
use super::problem::Problem;
use super::query::Parameters;
use super::{Context, Id};
use crate::address::{Address, DomainName};
use crate::config::Provider;
use crate::id::{DomainId, InboxId};
use crate::identity::{Choice, Fallback, Unverified};
use crate::registry::CustomDomain;
use crate::verification::alignment::{Found, Prospect, Seen, prospect};
use crate::verification::judge::{Code, RecordStatus};
use crate::verification::records::{Expected, Purpose};
use crate::verification::report::DomainRecord;
use crate::verification::rotation::Role;
use crate::verification::status::{OnUnverified, VerifiedStatus};
use crate::verification::tag_list::is_dmarc;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = SendingIdentity)]
pub(super) struct IdentityJson {
    login: Address,
    from: Address,
    mail_from: Address,
    custom_domain_id: Option<DomainId>,
    reason: &'static str,
    explanation: String,
    fallback: Option<FallbackJson>,
    #[serde(flatten)]
    prospect: Prospect,
}

#[derive(Serialize, ToSchema)]
#[schema(as = IdentityFallback)]
struct FallbackJson {
    from: Address,
    reason: VerifiedStatus,
    on_unverified: OnUnverified,
}

/// What mail sent now would leave under
///
/// A dry run, with the results that receivers are expected to have for SPF, DKIM and DMARC.
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/sending_identity", tag = "Inboxes", params(("id" = InboxId, Path), LoginQuery),
    responses((status = 200, body = IdentityJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Json<IdentityJson>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let platform = &context.config.platform.domain;
    let wanted = parameters.take::<String>("login");
    parameters.finish()?;
    let wanted = wanted.map(|text| login_address(&text, platform)).transpose()?;
    let login = context.authenticator.log_in_as(&caller.principal, &inbox, wanted).await?;
    let login = login.ok_or_else(|| not_of_the_inbox("login"))?;
    let (sender, choice) = context.submission.identity(&login).await?;

    let id = choice.identity.custom_domain();
    let domain = match id {
        Some(id) => context.registry.get(&login.account, id).await?,
        None => None,
    };
    let from = choice.identity.address();
    let mail_from = sender.envelope(id, &from);
    // The envelope sender that receivers see: Amazon SES sets its own.
    let amazons = match context.config.dkim.provider {
        Provider::Local => None,
        Provider::Ses => context.config.ses.mail_from(),
    };
    let envelope = amazons.as_ref().map_or(&mail_from.domain, |default| sender.mail_from(id, default));
    let keys = match id {
        Some(id) => context.rotation.show(id).await?.unwrap_or_default(),
        None => Vec::new(),
    };
    let signs = keys.iter().find(|key| key.role == Some(Role::Signing)).map(|key| key.token.as_str());
    let seen = domain.as_ref().map(|domain| seen(domain, envelope, signs)).unwrap_or_default();
    let (reason, explanation) = why(&choice, &login.address, platform);
    Ok(Json(IdentityJson {
        prospect: prospect(&from.domain, envelope, &from.domain, &seen),
        login: login.address,
        custom_domain_id: id.cloned(),
        from,
        mail_from,
        reason,
        explanation,
        fallback: choice.fallback.map(|Fallback { from, reason, on_unverified }| FallbackJson {
            from,
            reason,
            on_unverified,
        }),
    }))
}

/// The error for an address that does not belong to the inbox.
pub(super) fn not_of_the_inbox(field: &str) -> Problem {
    Problem::invalid_field(
        field,
        "must be an address of this inbox: its name or one of its aliases, at the platform's domain or at a custom domain of the account",
    )
}

/// As at the SMTP server, a bare name is at the platform domain.
fn login_address(text: &str, platform: &DomainName) -> Result<Address, Problem> {
    let whole = if text.contains('@') { text.to_owned() } else { format!("{text}@{platform}") };
    Address::parse(&whole.to_ascii_lowercase()).map_err(|error| Problem::invalid_field("login", error.to_string()))
}

/// The records that a receiver looks at; `signs` is the selector in use, where it is known.
fn seen(domain: &CustomDomain, envelope: &DomainName, signs: Option<&str>) -> Seen {
    let of = |purpose| domain.records.iter().filter(move |record| record.expected.purpose == purpose);
    let is_spf = |record: &&DomainRecord| {
        let Expected { purpose, name, .. } = &record.expected;
        matches!(purpose, Purpose::Spf | Purpose::ReturnPathSpf) && name == envelope.as_str()
    };
    let spf = domain.records.iter().find(is_spf);
    // Receivers ignore a record that is duplicate or malformed; they use one that is weaker than requested.
    let is_used = |record: &&DomainRecord| match record.status {
        RecordStatus::Valid => true,
        _ => record.error.as_ref().is_some_and(|error| error.code == Code::DmarcWeaker),
    };
    let dmarc = of(Purpose::Dmarc).find(is_used);
    Seen {
        spf: spf.map(found),
        dkim: selectors(of(Purpose::Dkim), signs),
        dmarc: dmarc.and_then(|record| record.observed.iter().find(|text| is_dmarc(text))).cloned(),
        inherited: dmarc.is_some_and(|record| record.observed_name.is_some()),
    }
}

/// The selector that signs or, if its record is definitely wrong, the others, one of which takes over.
fn selectors<'a>(records: impl Iterator<Item = &'a DomainRecord>, signs: Option<&str>) -> Vec<Found> {
    let of = |record: &&DomainRecord| signs.is_none_or(|token| record.expected.name.split('.').next() == Some(token));
    let (signing, others): (Vec<_>, Vec<_>) = records.partition(of);
    let gone = |record: &&DomainRecord| matches!(record.status, RecordStatus::Missing | RecordStatus::Mismatch);
    let able = if signing.iter().all(gone) && !others.is_empty() { others } else { signing };
    able.into_iter().map(found).collect()
}

fn found(record: &DomainRecord) -> Found {
    Found { status: record.status, code: record.error.as_ref().map(|error| error.code) }
}

/// A stable code for programs and a sentence for people.
fn why(choice: &Choice, login: &Address, platform: &DomainName) -> (&'static str, String) {
    let from = choice.identity.address();
    let Some(fallback @ Fallback { reason, on_unverified, .. }) = &choice.fallback else {
        return match (choice.identity.custom_domain(), login.domain == *platform) {
            (Some(_), false) => {
                ("login_domain_verified", format!("{} is verified, so mail leaves as {from}.", login.domain))
            }
            (Some(_), true) => (
                "default_domain_verified",
                format!("{} is the default domain and verified, so mail leaves as {from}.", from.domain),
            ),
            (None, _) => ("platform", format!("No default domain is verified, so mail leaves as {from}.")),
        };
    };
    let word = match reason {
        VerifiedStatus::Pending => "login_domain_pending",
        VerifiedStatus::Verified | VerifiedStatus::Failed => "login_domain_failed",
    };
    let consequence = match fallback.decision() {
        Unverified::FallsBack => format!("mail leaves as {from}"),
        Unverified::IsRefused => format!("mail is rejected (on_unverified is {on_unverified})"),
        Unverified::IsHeld => "mail is held until it is verified (on_unverified is hold)".to_owned(),
    };
    (word, format!("{} is {reason} and not verified, so {consequence}.", login.domain))
}
