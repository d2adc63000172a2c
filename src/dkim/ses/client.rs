//! Calls of the Amazon SES API v2. <https://docs.aws.amazon.com/ses/latest/APIReference-V2/>
//!
//! Invariant: no call takes longer than its time limit, including the SDK's retry; every failure is a [`SesError`], so
//! that other code is independent of the SDK.

use crate::address::DomainName;
use crate::config::Config;
use crate::secret::Secret;
use crate::store::ses::{MailFrom, SesReply};
use aws_config::BehaviorVersion;
use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::config::timeout::TimeoutConfig;
use aws_sdk_sesv2::config::{HttpClient, ProvideCredentials, Region, SharedCredentialsProvider};
use aws_sdk_sesv2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::types::{
    BehaviorOnMxFailure, DkimAttributes, DkimSigningAttributes, DkimSigningAttributesOrigin, DkimSigningKeyLength,
    DkimStatus, MailFromAttributes, MailFromDomainStatus, Tag,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use std::time::Duration;

/// The tag of identities created by this program.
const TAG: &str = "inboxlayer";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SesError {
    #[error("Amazon SES has no such identity")]
    NotFound,
    #[error("Amazon SES has this identity already")]
    AlreadyExists,
    /// Too many calls: 429.
    #[error("Amazon SES: too many requests")]
    Throttled,
    /// The credentials are missing, invalid, or lack permission.
    #[error("Amazon SES refuses our credentials: {0}")]
    Denied(String),
    /// The limit of identities is reached.
    #[error("the limit of this AWS account is reached: {0}")]
    Limit(String),
    #[error("Amazon SES did not answer in time")]
    TimedOut,
    /// The identity cannot be used here.
    #[error("the identity at Amazon SES cannot be used: {0}")]
    Unusable(String),
    /// Any other error; a retry may succeed.
    #[error("Amazon SES failed: {0}")]
    Failed(String),
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    sdk: aws_sdk_sesv2::Client,
    credentials: Option<SharedCredentialsProvider>,
    region: String,
    zone: DomainName,
}

impl Client {
    /// With the credentials that AWS's tools would use, loaded at the first call.
    pub(super) async fn open(config: &Config, time_limit: Duration) -> Self {
        let loader = aws_config::defaults(BehaviorVersion::latest());
        Self::load(config, time_limit, loader).await
    }

    /// With credentials for tests.
    #[cfg(test)]
    pub(super) async fn for_tests(config: &Config, time_limit: Duration) -> Self {
        let credentials = aws_credential_types::Credentials::new("AKIDTEST", "secret", None, None, "tests");
        let loader = aws_config::defaults(BehaviorVersion::latest()).credentials_provider(credentials);
        Self::load(config, time_limit, loader).await
    }

    async fn load(config: &Config, time_limit: Duration, loader: aws_config::ConfigLoader) -> Self {
        let region = config.ses.region.clone().unwrap_or_default();
        // One retry, with both attempts limited to fit into the time limit.
        let attempt = time_limit * 2 / 5;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(time_limit)
            .build();
        let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(time_limit / 10);
        let mut loader = loader
            .http_client(https())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(endpoint) = &config.ses.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let loaded = loader.load().await;
        let (sdk, credentials) = (aws_sdk_sesv2::Client::new(&loaded), loaded.credentials_provider());
        Self { sdk, credentials, region, zone: config.dkim.zone.clone() }
    }

    /// `CreateEmailIdentity`: Easy DKIM with RSA-2048, tagged with `mark`.
    pub(super) async fn create(&self, name: &DomainName, mark: &str) -> Result<SesReply, SesError> {
        let tag = Tag::builder().key(TAG).value(mark).build().map_err(|e| SesError::Failed(e.to_string()))?;
        let call = self.sdk.create_email_identity().email_identity(name.as_str()).tags(tag);
        let made = call.dkim_signing_attributes(easy_dkim()).send().await.map_err(classified)?;
        self.reply(name, made.dkim_attributes(), made.verified_for_sending_status(), true)
    }

    /// `GetEmailIdentity`; ours if it is tagged with `mark`.
    pub(super) async fn get(&self, name: &DomainName, mark: &str) -> Result<SesReply, SesError> {
        let found = self.sdk.get_email_identity().email_identity(name.as_str()).send().await.map_err(classified)?;
        let is_ours = bears(found.tags(), mark);
        let reply = self.reply(name, found.dkim_attributes(), found.verified_for_sending_status(), is_ours)?;
        Ok(SesReply { mail_from: found.mail_from_attributes().and_then(mail_from), ..reply })
    }

    /// `GetEmailIdentity`: whether it is tagged with `mark`, even if it is unusable.
    pub(super) async fn is_marked(&self, name: &DomainName, mark: &str) -> Result<bool, SesError> {
        let found = self.sdk.get_email_identity().email_identity(name.as_str()).send().await.map_err(classified)?;
        Ok(bears(found.tags(), mark))
    }

    /// `DeleteEmailIdentity`; succeeds if it does not exist.
    pub(super) async fn delete(&self, name: &DomainName) -> Result<(), SesError> {
        match self.sdk.delete_email_identity().email_identity(name.as_str()).send().await.map_err(classified) {
            Ok(_) | Err(SesError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `PutEmailIdentityDkimSigningAttributes`: Easy DKIM again, which restarts SES's search for the records after it
    /// has given up.
    pub(super) async fn look_anew(&self, name: &DomainName) -> Result<(), SesError> {
        let call = self.sdk.put_email_identity_dkim_signing_attributes().email_identity(name.as_str());
        let call = call.signing_attributes_origin(DkimSigningAttributesOrigin::AwsSes);
        call.signing_attributes(easy_dkim()).send().await.map_err(classified)?;
        Ok(())
    }

    /// `PutEmailIdentityDkimAttributes`: turns signing back on.
    pub(super) async fn sign(&self, name: &DomainName) -> Result<(), SesError> {
        let call = self.sdk.put_email_identity_dkim_attributes().email_identity(name.as_str());
        call.signing_enabled(true).send().await.map_err(classified)?;
        Ok(())
    }

    /// `PutEmailIdentityMailFromAttributes`: SES uses this envelope sender domain once it has found its MX record, and
    /// its own domain until then. `None`: always its own.
    pub(super) async fn set_mail_from(&self, name: &DomainName, to: Option<&DomainName>) -> Result<(), SesError> {
        let call = self.sdk.put_email_identity_mail_from_attributes().email_identity(name.as_str());
        let call = call.set_mail_from_domain(to.map(ToString::to_string));
        let call = call.behavior_on_mx_failure(BehaviorOnMxFailure::UseDefaultValue);
        call.send().await.map_err(classified)?;
        Ok(())
    }

    /// User name and password for the region's relay, derived from the access key.
    pub(super) async fn relay_login(&self) -> Result<(String, Secret), SesError> {
        let none = || SesError::Denied("there are no credentials".into());
        let provider = self.credentials.as_ref().ok_or_else(none)?;
        let found = provider.provide_credentials().await;
        let found = found.map_err(|error| SesError::Denied(DisplayErrorContext(error).to_string()))?;
        if found.session_token().is_some() {
            let text =
                "temporary credentials cannot log in at the relay: give [queue.relay] with SMTP credentials of SES";
            return Err(SesError::Denied(text.into()));
        }
        let password = super::smtp_password::of(found.secret_access_key(), &self.region);
        Ok((found.access_key_id().to_owned(), password))
    }

    /// Interprets a response: the identity has to have three Easy DKIM tokens with keys in our zone.
    fn reply(
        &self,
        name: &DomainName,
        dkim: Option<&DkimAttributes>,
        sending: bool,
        is_ours: bool,
    ) -> Result<SesReply, SesError> {
        let dkim = dkim.ok_or_else(|| SesError::Unusable(format!("{name} has no DKIM attributes")))?;
        if dkim.signing_attributes_origin() == Some(&DkimSigningAttributesOrigin::External) {
            return Err(SesError::Unusable(format!("{name} signs with its own key there (BYODKIM)")));
        }
        if let Some(zone) = dkim.signing_hosted_zone().filter(|zone| !zone.eq_ignore_ascii_case(self.zone.as_str())) {
            return Err(SesError::Unusable(format!("{name} has its keys in {zone}: set dkim.zone to that")));
        }
        let tokens: [String; 3] = dkim.tokens().to_vec().try_into().map_err(|given: Vec<String>| {
            SesError::Unusable(format!("{name} has {} DKIM tokens, not three", given.len()))
        })?;
        // They become DNS names, and are stored separated by spaces.
        let is_name = |token: &str| DomainName::parse(&format!("{token}.{}", self.zone)).is_ok();
        let fits = |token: &String| !token.contains('.') && is_name(token);
        if !tokens.iter().all(fits) {
            return Err(SesError::Unusable(format!("the DKIM tokens of {name} are not valid labels")));
        }
        let signs = dkim.signing_enabled();
        // A domain may be verified for sending without DKIM records; its mail is then unsigned.
        let sending = sending && signs && dkim.status() == Some(&DkimStatus::Success);
        let dkim_status = dkim.status().map(|status| status.as_str().to_owned()).unwrap_or_default();
        Ok(SesReply { is_ours, tokens, dkim_status, signs, sending, mail_from: None })
    }
}

/// HTTPS with rustls and ring, this program's only TLS provider.
fn https() -> impl HttpClient + 'static {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn bears(tags: &[Tag], mark: &str) -> bool {
    tags.iter().any(|tag| tag.key() == TAG && tag.value() == mark)
}

fn easy_dkim() -> DkimSigningAttributes {
    DkimSigningAttributes::builder().next_signing_key_length(DkimSigningKeyLength::Rsa2048Bit).build()
}

/// The MAIL FROM domain of an identity; `None` if the attributes have only the behaviour without an MX record.
fn mail_from(attributes: &MailFromAttributes) -> Option<MailFrom> {
    let domain = DomainName::parse(attributes.mail_from_domain()).ok()?;
    let status = attributes.mail_from_domain_status();
    let (in_use, given_up) = (*status == MailFromDomainStatus::Success, *status == MailFromDomainStatus::Failed);
    Some(MailFrom { domain, in_use, given_up })
}

type Response = aws_sdk_sesv2::config::http::HttpResponse;

fn classified<E>(error: SdkError<E, Response>) -> SesError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if matches!(error, SdkError::TimeoutError(_)) {
        return SesError::TimedOut;
    }
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    // Older API versions return a BadRequestException.
    let exists = code == "AlreadyExistsException"
        || (code == "BadRequestException" && message.to_ascii_lowercase().contains("already exist"));
    match (code, status) {
        _ if exists => SesError::AlreadyExists,
        ("NotFoundException", _) => SesError::NotFound,
        ("LimitExceededException", _) => SesError::Limit(message.to_owned()),
        ("TooManyRequestsException" | "ThrottlingException" | "Throttling", _) | (_, 429) => SesError::Throttled,
        (_, 401 | 403) => SesError::Denied(format!("{code}: {message}")),
        _ if !code.is_empty() => SesError::Failed(format!("{status} {code}: {message}")),
        _ => SesError::Failed(DisplayErrorContext(error).to_string()),
    }
}
