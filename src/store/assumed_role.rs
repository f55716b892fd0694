//! The keys of a role that STS lets somebody assume, by another key or by a token of an identity provider (`cos-api.md` 7.2).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::http::NetworkOptions;
use super::provider::{CredentialProvider, ProviderError};
use super::question::{Ahead, Questions, Reply};
use super::{Body, StoreError};
use crate::clock::Clock;
use crate::wire::issued::{IssueError, Issued};
use crate::wire::request::{HeaderPair, Method};
use crate::wire::sign::Credentials;
use crate::wire::sign::tc3::{Tc3Request, authorization};

/// Where STS is; and where within Tencent Cloud's own network.
pub const STS_URL: &str = "https://sts.tencentcloudapi.com";
/// See [`STS_URL`].
pub const STS_URL_INTERNAL: &str = "https://sts.internal.tencentcloudapi.com";

const VERSION: &str = "2018-08-13";
const CONTENT_TYPE: &str = "application/json";
/// How long the keys shall last, in seconds: what the official clients ask for.
const DURATION_SECONDS: u64 = 7200;
/// The largest token of an identity provider that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// STS refuses clocks that are more than 5 minutes off; a smaller difference is not the reason.
const CLOCK_GAP_SECONDS: u64 = 30;

/// What is asked of STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleOptions {
    /// Base URL of STS.
    pub url: String,
    /// The region that the question goes to.
    pub region: String,
    /// Which role.
    pub role_arn: String,
    /// What the session is called in the account's records.
    pub session_name: String,
}

/// How somebody shows who they are.
#[derive(Clone, Debug)]
pub enum Identity {
    /// By a key (AssumeRole).
    Key(Arc<dyn CredentialProvider>),
    /// By a token in a file, which its issuer renews (AssumeRoleWithWebIdentity).
    Token {
        /// The identity provider, by the name that the account knows it by.
        provider_id: String,
        /// The file.
        file: PathBuf,
    },
}

/// A role that is assumed again for each key.
#[derive(Debug)]
pub struct AssumedRole {
    questions: Questions,
    options: RoleOptions,
    identity: Identity,
    clock: Clock,
    /// Seconds that the clock of STS is ahead of ours, once it has refused our time.
    offset: AtomicI64,
}

impl AssumedRole {
    /// A role, and who assumes it.
    ///
    /// # Errors
    /// Where no client can be made: a proxy that is no URL, or no certificates on this machine.
    pub fn new(
        options: RoleOptions,
        identity: Identity,
        network: &NetworkOptions,
        clock: Clock,
    ) -> Result<AssumedRole, StoreError> {
        let questions = Questions::new(options.url.starts_with("https://"), network, clock.clone())?;
        Ok(AssumedRole { questions, options, identity, clock, offset: AtomicI64::new(0) })
    }

    async fn ask(&self) -> Result<Reply, ProviderError> {
        let RoleOptions { role_arn, session_name, .. } = &self.options;
        let role = json!({ "RoleArn": role_arn, "RoleSessionName": session_name, "DurationSeconds": DURATION_SECONDS });
        match &self.identity {
            Identity::Key(base) => {
                let own =
                    |error: ProviderError| ProviderError { message: format!("{}: {error}", base.origin()), ..error };
                let key = base.provide().await.map_err(own)?.credentials;
                self.call("AssumeRole", role.to_string(), Some(&key)).await
            }
            Identity::Token { provider_id, file } => {
                let failed = |error: std::io::Error| {
                    ProviderError::passing(format!("the token in {} cannot be read: {error}", file.display()))
                };
                let mut token = String::new();
                let opened = tokio::fs::File::open(file).await.map_err(failed)?;
                opened.take(TOKEN_BYTES_MAX).read_to_string(&mut token).await.map_err(failed)?;
                let mut whole = role;
                whole["ProviderId"] = json!(provider_id);
                whole["WebIdentityToken"] = json!(token.trim());
                self.call("AssumeRoleWithWebIdentity", whole.to_string(), None).await
            }
        }
    }

    /// One call. The token of an identity provider is what STS believes, and such a call is not signed.
    async fn call(&self, action: &str, body: String, key: Option<&Credentials>) -> Result<Reply, ProviderError> {
        let RoleOptions { url, region, .. } = &self.options;
        let origin = url.trim_end_matches('/');
        let host = origin.split_once("://").map_or(origin, |(_, host)| host).to_owned();
        let timestamp = self.clock.unix_seconds().saturating_add_signed(self.offset.load(Ordering::Relaxed));
        let request = Tc3Request {
            method: "POST",
            query: "",
            content_type: CONTENT_TYPE,
            host: &host,
            service: "sts",
            body: body.as_bytes(),
            timestamp,
        };
        let signature = key.map_or_else(|| "SKIP".to_owned(), |key| authorization(&request, key));
        let mut headers: Vec<HeaderPair> = vec![
            ("content-type".into(), CONTENT_TYPE.to_owned()),
            ("x-tc-action".into(), action.to_owned()),
            ("x-tc-version".into(), VERSION.to_owned()),
            ("x-tc-timestamp".into(), timestamp.to_string()),
            ("x-tc-region".into(), region.clone()),
            ("authorization".into(), signature),
        ];
        headers.extend(key.and_then(|key| key.token.clone()).map(|token| ("x-tc-token".into(), token)));
        headers.insert(0, ("host".into(), host));
        self.questions.ask(Method::Post, format!("{origin}/"), headers, Body::from(Bytes::from(body))).await
    }
}

#[async_trait]
impl CredentialProvider for AssumedRole {
    fn origin(&self) -> String {
        let role = &self.options.role_arn;
        match &self.identity {
            Identity::Key(base) => format!("the role {role}, assumed by {}", base.origin()),
            Identity::Token { file, .. } => format!("the role {role}, assumed by the token in {}", file.display()),
        }
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        let mut reply = self.ask().await?;
        let mut decoded = Issued::decode(&reply.body);
        let known = Ahead { seconds: self.offset.load(Ordering::Relaxed) };
        let is_apart = reply.ahead.seconds.abs_diff(known.seconds) >= CLOCK_GAP_SECONDS;
        if is_apart && decoded.as_ref().is_err_and(is_of_clock) {
            self.offset.store(reply.ahead.seconds, Ordering::Relaxed);
            reply = self.ask().await?;
            decoded = Issued::decode(&reply.body);
        }
        match decoded {
            Ok(issued) => Ok(reply.ahead.undone(issued)),
            Err(error) => Err(refused(&error, reply.status)),
        }
    }
}

fn is_of_clock(error: &IssueError) -> bool {
    matches!(error, IssueError::Refused { code, .. } if code.starts_with("AuthFailure.Signature"))
}

/// What STS says of who asks, or of what they ask for, is so the next time too.
fn refused(error: &IssueError, status: u16) -> ProviderError {
    const LASTING: [&str; 5] =
        ["AuthFailure", "InvalidParameter", "MissingParameter", "ResourceNotFound", "UnauthorizedOperation"];
    match error {
        IssueError::Refused { code, .. } if LASTING.iter().any(|word| code.starts_with(word)) => {
            ProviderError::lasting(format!("STS refuses: {error}"))
        }
        IssueError::Refused { .. } => ProviderError::passing(format!("STS refuses: {error}")),
        IssueError::Malformed(_) => ProviderError::passing(format!("STS answers with status {status}: {error}")),
    }
}
