//! Where keys come from, as whoever signs sees it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::wire::issued::Issued;
use crate::wire::sign::Credentials;

/// Gives keys, again and again.
#[async_trait]
pub trait CredentialProvider: fmt::Debug + Send + Sync {
    /// Where the keys come from, for messages. Holds no secret.
    fn origin(&self) -> String;

    /// Gives the key that is good now, with its end by the clock of this machine. Ends within some seconds, whatever happens.
    async fn provide(&self) -> Result<Issued, ProviderError>;

    /// How often to ask although no key is about to end: for keys that are replaced without a word. `None` for those whose
    /// end is told.
    fn ask_every(&self) -> Option<Duration> {
        None
    }

    /// Whether there is any use in asking twice.
    fn can_renew(&self) -> bool {
        true
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// A sentence without its full stop. Never holds a secret.
    pub message: String,
    /// Whether asking again at once is of no use: a role that is not there, for example.
    pub is_lasting: bool,
}

impl ProviderError {
    /// One that may pass by itself.
    pub fn passing(message: impl Into<String>) -> ProviderError {
        ProviderError { message: message.into(), is_lasting: false }
    }

    /// One that does not.
    pub fn lasting(message: impl Into<String>) -> ProviderError {
        ProviderError { message: message.into(), is_lasting: true }
    }
}

/// A key that is what it is, for as long as the process lives.
#[derive(Debug)]
pub struct FixedKey {
    credentials: Credentials,
    origin: String,
}

impl FixedKey {
    /// The key, and where it was found.
    pub fn new(credentials: Credentials, origin: impl Into<String>) -> FixedKey {
        FixedKey { credentials, origin: origin.into() }
    }
}

#[async_trait]
impl CredentialProvider for FixedKey {
    fn origin(&self) -> String {
        self.origin.clone()
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        Ok(self.credentials.clone().into())
    }

    fn can_renew(&self) -> bool {
        false
    }
}
