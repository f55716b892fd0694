//! The keys of the role that a virtual machine has, told by its metadata (`cos-api.md` 7.1).

use async_trait::async_trait;

use super::http::NetworkOptions;
use super::provider::{CredentialProvider, ProviderError};
use super::question::{Questions, Reply};
use super::{Body, StoreError};
use crate::clock::Clock;
use crate::wire::escape::escape_path;
use crate::wire::issued::Issued;
use crate::wire::request::Method;

/// Where the metadata of every virtual machine is.
pub const METADATA_URL: &str = "http://metadata.tencentyun.com/latest/meta-data/";

/// Below it, the roles and their keys.
const ROLES: &str = "cam/security-credentials/";

/// The role of this machine.
#[derive(Debug)]
pub struct InstanceRole {
    questions: Questions,
    /// Ends in a slash.
    url: String,
    /// `None` for the one that the machine has.
    role: Option<String>,
}

impl InstanceRole {
    /// A role by its name, or the first that the machine has.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn new(url: &str, role: Option<String>, clock: Clock) -> Result<InstanceRole, StoreError> {
        // The metadata are on the machine's own network, to which no proxy leads.
        let questions = Questions::new(url.starts_with("https://"), &NetworkOptions::default(), clock)?;
        Ok(InstanceRole { questions, url: format!("{}/", url.trim_end_matches('/')), role })
    }

    async fn get(&self, what: &str) -> Result<Reply, ProviderError> {
        let url = format!("{}{ROLES}{}", self.url, escape_path(what));
        let reply = self.questions.ask(Method::Get, url, Vec::new(), Body::empty()).await?;
        match (reply.status, what) {
            (200, _) => Ok(reply),
            (404, "") => Err(ProviderError::lasting("this machine has no role: attach one to it")),
            (404, role) => Err(ProviderError::lasting(format!("this machine does not have the role {role}"))),
            (status, _) => Err(ProviderError::passing(format!("the metadata answer with status {status}"))),
        }
    }

    async fn name(&self) -> Result<String, ProviderError> {
        if let Some(role) = &self.role {
            return Ok(role.clone());
        }
        let reply = self.get("").await?;
        let text = String::from_utf8_lossy(&reply.body);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        first.map(str::to_owned).ok_or_else(|| ProviderError::lasting("this machine has no role: attach one to it"))
    }
}

#[async_trait]
impl CredentialProvider for InstanceRole {
    fn origin(&self) -> String {
        self.role
            .as_ref()
            .map_or_else(|| "the role of this machine".into(), |role| format!("this machine's role {role}"))
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        let reply = self.get(&self.name().await?).await?;
        let issued = Issued::decode(&reply.body).map_err(|error| ProviderError::passing(error.to_string()))?;
        Ok(reply.ahead.undone(issued))
    }
}
