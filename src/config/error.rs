//! Why a configuration is refused, each in one sentence that says what to do.

use std::path::{Path, PathBuf};

/// Why a configuration is refused. The texts never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting that does not exist.
    #[error("{origin}: there is no option {name:?}")]
    UnknownSetting {
        /// Where it was found.
        origin: String,
        /// Its name there.
        name: String,
    },
    /// A setting whose value does not fit.
    #[error("{origin}: {name}: {reason}")]
    InvalidSetting {
        /// Where it was found.
        origin: String,
        /// Its name.
        name: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// A secret where everybody who lists processes or mounts would see it.
    #[error(
        "{origin}: {name} would be seen by everybody in the process list; \
         set COS_SECRETKEY in the environment, or put it into ~/.config/cosmount/config.toml"
    )]
    SecretAsOption {
        /// Where it was found.
        origin: String,
        /// Its name.
        name: String,
    },
    /// A file that cannot be used.
    #[error("{} {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with secrets that others can get at.
    #[error("{} holds secrets but others can read it (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Half of a pair of credentials.
    #[error("{origin}: {given} is given but {missing} is not")]
    HalfCredentials {
        /// Where the half was found.
        origin: String,
        /// The half that is there.
        given: &'static str,
        /// The half that is not.
        missing: &'static str,
    },
    /// No source had credentials.
    #[error(
        "no credentials found: set COS_SECRETID and COS_SECRETKEY in the environment, or put secret_id and secret_key \
         into ~/.config/cosmount/config.toml (mode 0600), or give --credentials-file FILE, or --cam-role auto on a virtual \
         machine that has a role"
    )]
    NoCredentials,
    /// No source had credentials, but another program's are there.
    #[error(
        "no credentials found: {names} of the environment is not read; set COS_SECRETID and COS_SECRETKEY, or put \
         secret_id and secret_key into ~/.config/cosmount/config.toml (mode 0600)"
    )]
    OtherCredentials {
        /// What there is.
        names: String,
    },
    /// No source had the secret key of the id that was asked for.
    #[error(
        "no secret key found for the id {0}: set COS_SECRETKEY in the environment, or put both into \
         ~/.config/cosmount/config.toml (mode 0600)"
    )]
    NoKeyForId(String),
    /// Requests would go to another machine without encryption.
    #[error(
        "{origin} is another machine and what goes there is not encrypted: use https, or give --allow-http if the way to it is \
         your own"
    )]
    Unencrypted {
        /// The service.
        origin: String,
    },
    /// Neither a region nor an endpoint.
    #[error("which region is the bucket in? Give --region (for example --region ap-guangzhou), or --endpoint URL")]
    NoRegion,
    /// No bucket on the command line, and none in coscmd's file.
    #[error("which bucket? Give BUCKET-APPID[:/PREFIX] before the mount point, for example photos-1250000000:/2024")]
    NoBucket,
    /// What to mount is not a bucket and a prefix.
    #[error("{text:?} is not what to mount: {reason}")]
    Source {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn file(path: &Path, reason: impl Into<String>) -> ConfigError {
        ConfigError::File { path: path.to_owned(), reason: reason.into() }
    }
}
