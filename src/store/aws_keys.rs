//! Keys that AWS's platforms give to whoever runs on them: the role of a machine (IMDSv2), that of a container, and that of a
//! workload with a token (AssumeRoleWithWebIdentity).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt;

use super::http::NetworkOptions;
use super::provider::{CredentialProvider, ProviderError};
use super::question::{Questions, Reply};
use super::{Body, StoreError};
use crate::clock::Clock;
use crate::wire::escape::{escape, escape_path};
use crate::wire::issued::{IssueError, Issued};
use crate::wire::request::{HeaderPair, Method};

/// Where the metadata of a machine are that runs at AWS.
pub const AWS_METADATA_URL: &str = "http://169.254.169.254";
/// Where those of a container are whose address is told without a host.
pub const AWS_CONTAINER_URL: &str = "http://169.254.170.2";

/// Below the metadata, the roles and their keys.
const ROLES: &str = "latest/meta-data/iam/security-credentials/";
/// How long the token for the metadata shall be good, in seconds: for the two questions that follow.
const TOKEN_SECONDS: u64 = 60;
/// How long one question to the metadata may take: they are one hop away, or not there at all.
const METADATA_DEADLINE: Duration = Duration::from_secs(1);
/// The largest token that is read from a file, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Who gives the keys.
#[derive(Clone, PartialEq, Eq)]
pub enum AwsPlatform {
    /// The metadata of the machine.
    Instance {
        /// Where they are.
        url: String,
        /// `None` for the role that the machine has.
        role: Option<String>,
        /// Whether somebody has asked for this. If not, it is what is left where nothing else was found.
        is_wanted: bool,
    },
    /// Those of the container.
    Container {
        /// Where they are.
        url: String,
        /// What is told to them, a secret.
        token: Option<String>,
        /// Where that is, which is read anew each time.
        token_file: Option<PathBuf>,
    },
    /// STS, which believes the token in a file.
    WebIdentity {
        /// Where STS is.
        url: String,
        /// Which role.
        role_arn: String,
        /// What the session is called in the account's records.
        session_name: String,
        /// Where the token is, which its issuer renews.
        file: PathBuf,
    },
}

impl AwsPlatform {
    fn url(&self) -> &str {
        match self {
            AwsPlatform::Instance { url, .. }
            | AwsPlatform::Container { url, .. }
            | AwsPlatform::WebIdentity { url, .. } => url,
        }
    }

    fn origin(&self) -> String {
        match self {
            AwsPlatform::Instance { role: Some(role), .. } => format!("this machine's role {role}"),
            AwsPlatform::Instance { role: None, .. } => "the role of this machine".into(),
            AwsPlatform::Container { .. } => "the role of this container".into(),
            AwsPlatform::WebIdentity { role_arn, file, .. } => {
                format!("the role {role_arn}, assumed by the token in {}", file.display())
            }
        }
    }
}

/// Without the token.
impl fmt::Debug for AwsPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsPlatform").field("origin", &self.origin()).field("url", &self.url()).finish_non_exhaustive()
    }
}

/// Keys of a platform, asked for again for each.
#[derive(Debug)]
pub struct AwsKeys {
    questions: Questions,
    platform: AwsPlatform,
}

impl AwsKeys {
    /// The keys of `platform`. `network` is the way to STS; metadata are on the machine's own network, to which no proxy leads.
    ///
    /// # Errors
    /// Where no client can be made: a proxy that is no URL, or no certificates on this machine.
    pub fn new(platform: AwsPlatform, network: &NetworkOptions, clock: Clock) -> Result<AwsKeys, StoreError> {
        let is_secure = platform.url().starts_with("https://");
        let questions = match &platform {
            AwsPlatform::WebIdentity { .. } => Questions::new(is_secure, network, clock)?,
            _ => Questions::new(is_secure, &NetworkOptions::default(), clock)?.within(METADATA_DEADLINE),
        };
        Ok(AwsKeys { questions, platform })
    }

    async fn ask(&self, method: Method, url: String, headers: Vec<HeaderPair>) -> Result<Reply, ProviderError> {
        self.questions.ask(method, url, headers, Body::empty()).await
    }

    async fn of_instance(&self, url: &str, role: Option<&str>, is_wanted: bool) -> Result<Issued, ProviderError> {
        let url = url.trim_end_matches('/');
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds".into(), TOKEN_SECONDS.to_string());
        let asked = self.ask(Method::Put, format!("{url}/latest/api/token"), vec![lifetime]).await;
        let reply = asked.map_err(|error| match is_wanted {
            true => error,
            // This machine is not one of AWS's, and no other will be asked.
            false => ProviderError::lasting(format!(
                "no keys are in the environment or in a file, and this machine has no metadata of AWS: {error}"
            )),
        })?;
        let headers: Vec<HeaderPair> = match reply.status {
            200 => {
                let token = String::from_utf8_lossy(&reply.body).trim().to_owned();
                vec![("x-aws-ec2-metadata-token".into(), token)]
            }
            // Metadata of the first version know no token.
            403..=405 => Vec::new(),
            status => return Err(ProviderError::passing(format!("the metadata answer with status {status}"))),
        };
        let get = async |what: &str| {
            let reply = self.ask(Method::Get, format!("{url}/{ROLES}{}", escape_path(what)), headers.clone()).await?;
            match (reply.status, what) {
                (200, _) => Ok(reply),
                (404, "") => Err(ProviderError::lasting("this machine has no role: attach one to it")),
                (404, role) => Err(ProviderError::lasting(format!("this machine does not have the role {role}"))),
                (status, _) => Err(ProviderError::passing(format!("the metadata answer with status {status}"))),
            }
        };
        let role = match role {
            Some(role) => role.to_owned(),
            None => {
                let roles = get("").await?;
                let text = String::from_utf8_lossy(&roles.body);
                let first = text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
                first.ok_or_else(|| ProviderError::lasting("this machine has no role: attach one to it"))?
            }
        };
        issued(&get(&role).await?)
    }

    async fn of_container(
        &self,
        url: &str,
        token: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Issued, ProviderError> {
        let token = match file {
            Some(file) => Some(token_in(file).await?),
            None => token.cloned(),
        };
        let headers = token.map(|token| ("authorization".into(), token)).into_iter().collect();
        let reply = self.ask(Method::Get, url.to_owned(), headers).await?;
        match reply.status {
            200 => issued(&reply),
            status => Err(ProviderError::passing(format!("the metadata of the container answer with status {status}"))),
        }
    }

    async fn of_web_identity(
        &self,
        url: &str,
        role_arn: &str,
        session_name: &str,
        file: &PathBuf,
    ) -> Result<Issued, ProviderError> {
        let token = token_in(file).await?;
        let form = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
            escape(role_arn),
            escape(session_name),
            escape(&token)
        );
        let headers = vec![
            ("content-type".into(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".into(), "application/xml".to_owned()),
        ];
        let url = format!("{}/", url.trim_end_matches('/'));
        let reply = self.questions.ask(Method::Post, url, headers, Body::from(form.into_bytes())).await?;
        match Issued::decode_xml(&reply.body) {
            Ok(issued) => Ok(reply.ahead.undone(issued)),
            // What STS says of who asks, or of what they ask for, is so the next time too. A token that is over is renewed.
            Err(error @ IssueError::Refused { .. }) => {
                let passes = matches!(&error, IssueError::Refused { code, .. } if code == "ExpiredTokenException" || code == "IDPCommunicationError" || code == "Throttling");
                Err(ProviderError { message: format!("STS refuses: {error}"), is_lasting: !passes })
            }
            Err(error) => Err(ProviderError::passing(format!("STS answers with status {}: {error}", reply.status))),
        }
    }
}

fn issued(reply: &Reply) -> Result<Issued, ProviderError> {
    let issued = Issued::decode(&reply.body).map_err(|error| ProviderError::passing(error.to_string()))?;
    Ok(reply.ahead.undone(issued))
}

async fn token_in(file: &PathBuf) -> Result<String, ProviderError> {
    let failed = |error: std::io::Error| {
        ProviderError::passing(format!("the token in {} cannot be read: {error}", file.display()))
    };
    let mut token = String::new();
    let opened = tokio::fs::File::open(file).await.map_err(failed)?;
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut token).await.map_err(failed)?;
    Ok(token.trim().to_owned())
}

#[async_trait]
impl CredentialProvider for AwsKeys {
    fn origin(&self) -> String {
        self.platform.origin()
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        match &self.platform {
            AwsPlatform::Instance { url, role, is_wanted } => self.of_instance(url, role.as_deref(), *is_wanted).await,
            AwsPlatform::Container { url, token, token_file } => {
                self.of_container(url, token.as_ref(), token_file.as_ref()).await
            }
            AwsPlatform::WebIdentity { url, role_arn, session_name, file } => {
                self.of_web_identity(url, role_arn, session_name, file).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_platform_that_is_shown_is_a_secret() {
        let token = Some("hunter2".to_owned());
        let container = AwsPlatform::Container { url: "http://localhost/x".into(), token, token_file: None };
        let shown = format!("{container:?}");
        assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
    }
}
