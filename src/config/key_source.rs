//! Where a mount has its keys from, decided: a value, of which a provider is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::aws_platform;
use super::credentials::{self, Found, Sources};
use super::environment::{METADATA_URL_NAME, STS_URL_NAME};
use super::key_process::KeyProcess;
use super::{ConfigError, Environment, MountConfig, MountRequest, Service, Settings};
use crate::clock::Clock;
use crate::store::{
    AssumedRole, AwsKeys, AwsPlatform, CredentialProvider, FixedKey, Identity, InstanceRole, METADATA_URL,
    NetworkOptions, ProviderError, RoleOptions, STS_URL, STS_URL_INTERNAL, StoreError,
};
use crate::wire::address::Endpoint;
use crate::wire::issued::Issued;
use crate::wire::sign::Credentials;

/// How often files are looked at. Whoever puts a new key there keeps the older one good for longer than this.
const FILES_EVERY: Duration = Duration::from_secs(10);

/// What the session of a role is called where nobody says.
const SESSION_NAME: &str = "cosmount";

/// The region that STS is asked in where nobody says. It has the same roles in each.
const STS_REGION: &str = "ap-guangzhou";

/// Where keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// From the environment, which does not change.
    Fixed {
        /// The key.
        credentials: Credentials,
        /// Which variable.
        origin: String,
    },
    /// From a file, which may.
    File(Box<KeyFile>),
    /// From a program.
    Process(KeyProcess),
    /// From the role of this machine.
    InstanceRole {
        /// Where the metadata are.
        url: String,
        /// `None` for the one that the machine has.
        role: Option<String>,
    },
    /// From the platform of AWS that this runs on.
    Aws(AwsPlatform),
    /// From a role that is assumed with a key.
    AssumedRole {
        /// Where that key comes from.
        base: Box<KeySource>,
        /// Which role.
        role: RoleOptions,
    },
    /// From a role that is assumed with a token.
    Workload {
        /// Which role.
        role: RoleOptions,
        /// Who has issued the token.
        provider_id: String,
        /// Where it is.
        file: PathBuf,
    },
}

/// A key in a file, and how it was found there.
#[derive(Clone, PartialEq)]
pub struct KeyFile {
    issued: Issued,
    origin: String,
    request: MountRequest,
    environment: Environment,
}

/// Without the environment, which may hold secrets.
impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("issued", &self.issued).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What a source is decided by.
pub(super) struct Deciding<'a> {
    pub(super) request: &'a MountRequest,
    pub(super) sources: &'a Sources<'a>,
    pub(super) settings: &'a Settings,
    pub(super) bucket: &'a str,
}

impl KeySource {
    /// Decides where the keys of a mount come from.
    pub(super) fn decide(deciding: &Deciding<'_>) -> Result<KeySource, ConfigError> {
        let Deciding { sources, settings, bucket, .. } = deciding;
        let environment = sources.environment;
        let is_named = settings.credentials_file.is_some();
        let is_s3 = settings.s3 == Some(true);
        if let Some(role) = settings.cam_role.as_ref().filter(|_| !is_named) {
            if is_s3 {
                return Ok(KeySource::Aws(aws_platform::named_role(environment, role)));
            }
            let url = environment.get(METADATA_URL_NAME).unwrap_or(METADATA_URL).to_owned();
            return Ok(KeySource::InstanceRole { url, role: (role != "auto").then(|| role.clone()) });
        }
        if is_s3 {
            return KeySource::of_s3(deciding);
        }
        let workload = Workload::of(environment);
        let Some(found) = credentials::find(sources, settings, bucket)? else {
            return match workload {
                Some(workload) => workload.source(environment, settings),
                None => {
                    Err(Workload::missing(environment)
                        .unwrap_or_else(|| credentials::nothing_found(environment, settings)))
                }
            };
        };
        let source = KeySource::of(found, deciding);
        match environment.get("TENCENTCLOUD_ROLE_ARN") {
            // A role beside a token is for the token.
            Some(role) if !is_named && workload.is_none() => {
                let role = role_options(role, environment, settings)?;
                Ok(KeySource::AssumedRole { base: Box::new(source), role })
            }
            _ => Ok(source),
        }
    }

    /// In the order of AWS's own clients.
    fn of_s3(deciding: &Deciding<'_>) -> Result<KeySource, ConfigError> {
        let Deciding { sources, settings, bucket, .. } = deciding;
        let environment = sources.environment;
        if let Some(found) = credentials::find_named(sources, settings, bucket)? {
            return Ok(KeySource::of(found, deciding));
        }
        // A profile that was named goes before what the platform has set.
        let workload = if settings.profile.is_none() { aws_platform::workload(environment, settings)? } else { None };
        if let Some(workload) = workload {
            return Ok(KeySource::Aws(workload));
        }
        if let Some(found) = credentials::find_in_files(sources, settings, bucket)? {
            return Ok(KeySource::of(found, deciding));
        }
        if let Some((file, role_arn)) = credentials::web_identity_of_profile(environment, settings)? {
            let platform = aws_platform::web_identity(environment, settings, &file, &role_arn)?;
            return Ok(KeySource::Aws(platform));
        }
        let rest = if settings.secret_id.is_none() { aws_platform::rest(environment)? } else { None };
        rest.map(KeySource::Aws).ok_or_else(|| credentials::nothing_found(environment, settings))
    }

    fn of(found: Found, deciding: &Deciding<'_>) -> KeySource {
        match found {
            Found::Command { command, origin } => KeySource::Process(KeyProcess { command, origin }),
            Found::Key { issued, origin, may_change: false } => {
                KeySource::Fixed { credentials: issued.credentials, origin }
            }
            Found::Key { issued, origin, may_change: true } => KeySource::File(Box::new(KeyFile {
                issued,
                origin,
                request: deciding.request.clone(),
                environment: deciding.sources.environment.clone(),
            })),
        }
    }

    /// What gives the keys.
    ///
    /// # Errors
    /// Where no client can be made for those that are asked for over the network.
    pub fn provider(&self, network: &NetworkOptions) -> Result<Arc<dyn CredentialProvider>, StoreError> {
        let clock = Clock::System;
        Ok(match self {
            KeySource::Fixed { credentials, origin } => Arc::new(FixedKey::new(credentials.clone(), origin.clone())),
            KeySource::File(file) => Arc::new(KeyFile::clone(file)),
            KeySource::Process(process) => Arc::new(process.clone()),
            KeySource::Aws(platform) => Arc::new(AwsKeys::new(platform.clone(), network, clock)?),
            KeySource::InstanceRole { url, role } => Arc::new(InstanceRole::new(url, role.clone(), clock)?),
            KeySource::AssumedRole { base, role } => {
                let identity = Identity::Key(base.provider(network)?);
                Arc::new(AssumedRole::new(role.clone(), identity, network, clock)?)
            }
            KeySource::Workload { role, provider_id, file } => {
                let identity = Identity::Token { provider_id: provider_id.clone(), file: file.clone() };
                Arc::new(AssumedRole::new(role.clone(), identity, network, clock)?)
            }
        })
    }

    /// The key in a file that this is, or begins with.
    fn into_file(self) -> Option<KeyFile> {
        match self {
            KeySource::File(file) => Some(*file),
            KeySource::AssumedRole { base, .. } => base.into_file(),
            _ => None,
        }
    }
}

/// Variables of workloads, the first set first. Tools differ in the names, and so does the documentation of one of them.
const ROLE_ARNS: &[&str] = &["TKE_ROLE_ARN", "TENCENTCLOUD_ROLE_ARN"];
const PROVIDER_IDS: &[&str] = &["TKE_PROVIDER_ID", "TENCENTCLOUD_PROVIDER_ID"];
const TOKEN_FILES: &[&str] = &[
    "TKE_WEB_IDENTITY_TOKEN_FILE",
    "TKE_IDENTITY_TOKEN_FILE",
    "TENCENTCLOUD_WEB_IDENTITY_TOKEN_FILE",
    "TENCENTCLOUD_IDENTITY_TOKEN_FILE",
];

fn first<'a>(environment: &'a Environment, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| environment.get(name))
}

/// A workload that its platform has given a token and the name of a role.
struct Workload<'a> {
    role_arn: &'a str,
    provider_id: &'a str,
    file: &'a str,
}

impl<'a> Workload<'a> {
    fn of(environment: &'a Environment) -> Option<Workload<'a>> {
        Some(Workload {
            role_arn: first(environment, ROLE_ARNS)?,
            provider_id: first(environment, PROVIDER_IDS)?,
            file: first(environment, TOKEN_FILES)?,
        })
    }

    /// What is not there beside the token of one.
    fn missing(environment: &Environment) -> Option<ConfigError> {
        first(environment, TOKEN_FILES)?;
        let missing = [ROLE_ARNS, PROVIDER_IDS].into_iter().find(|names| first(environment, names).is_none())?[0];
        Some(ConfigError::HalfCredentials { origin: "environment".into(), given: "a file with a token", missing })
    }

    fn source(&self, environment: &Environment, settings: &Settings) -> Result<KeySource, ConfigError> {
        let role = role_options(self.role_arn, environment, settings)?;
        let (provider_id, file) = (self.provider_id.to_owned(), PathBuf::from(self.file));
        Ok(KeySource::Workload { role, provider_id, file })
    }
}

fn role_options(role_arn: &str, environment: &Environment, settings: &Settings) -> Result<RoleOptions, ConfigError> {
    let first = |names: &[&str]| first(environment, names).map(str::to_owned);
    let usual = if settings.internal == Some(true) { STS_URL_INTERNAL } else { STS_URL };
    let url = environment.get(STS_URL_NAME).unwrap_or(usual).to_owned();
    let invalid = |reason: String| ConfigError::InvalidSetting {
        origin: "environment".into(),
        name: STS_URL_NAME.into(),
        reason,
    };
    let is_open = Endpoint::custom(&url).map_err(|error| invalid(error.to_string()))?.is_open_to_others();
    if is_open && settings.allow_http != Some(true) {
        return Err(invalid(
            "keys would go over the network without encryption; use https, or give --allow-http".into(),
        ));
    }
    Ok(RoleOptions {
        url,
        region: first(&["TKE_REGION", "TENCENTCLOUD_REGION"])
            .or_else(|| settings.region.clone())
            .unwrap_or_else(|| STS_REGION.to_owned()),
        role_arn: role_arn.to_owned(),
        // The second is how one of the official clients spells it.
        session_name: first(&["TENCENTCLOUD_ROLE_SESSION_NAME", "TENCENTCLOUD_ROLE_SESSSION_NAME"])
            .unwrap_or_else(|| SESSION_NAME.to_owned()),
    })
}

#[async_trait]
impl CredentialProvider for KeyFile {
    fn origin(&self) -> String {
        self.origin.clone()
    }

    /// Looks again, in the same way. A file that is gone does not make another one count.
    async fn provide(&self) -> Result<Issued, ProviderError> {
        let (request, environment, origin) = (self.request.clone(), self.environment.clone(), self.origin.clone());
        let looked = tokio::task::spawn_blocking(move || match MountConfig::build(request, &environment)?.service {
            Service::Remote { keys, .. } => Ok(keys.into_file().filter(|file| file.origin == origin)),
            Service::Local { .. } => Ok(None),
        });
        let failed = |error: ConfigError| ProviderError::passing(error.to_string());
        match looked.await {
            Ok(found) => found
                .map_err(failed)?
                .map(|file| file.issued)
                .ok_or_else(|| ProviderError::passing(format!("{} has no key any more", self.origin))),
            Err(error) => Err(ProviderError::passing(error.to_string())),
        }
    }

    fn ask_every(&self) -> Option<Duration> {
        Some(FILES_EVERY)
    }
}
