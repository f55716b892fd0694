//! Why a configuration is refused, each in one sentence that says what to do.

use std::path::{Path, PathBuf};

use super::Settings;
use super::notice::{Aspect, without_fix};

/// What to do for a secret to be found.
const KEEP_A_SECRET: &str = "set COS_SECRETKEY in the environment, or put it into ~/.config/cosmount/config.toml";
const KEEP_A_KEY: &str = "set COS_SECRETID and COS_SECRETKEY in the environment, or put secret_id and secret_key \
    into ~/.config/cosmount/config.toml (mode 0600), or give --credentials-file FILE, or --cam-role auto on a virtual \
    machine that has a role";
const KEEP_OUR_KEY: &str = "set COS_SECRETID and COS_SECRETKEY, or put secret_id and secret_key into \
    ~/.config/cosmount/config.toml (mode 0600)";
const KEEP_BOTH: &str =
    "set COS_SECRETKEY in the environment, or put both into ~/.config/cosmount/config.toml (mode 0600)";
const GIVE_BOTH: &str = "give both, or neither";
const ENCRYPT: &str = "use https, or give --allow-http if the way to it is your own";
const GIVE_REGION: &str = "Give --region (for example --region ap-guangzhou), or --endpoint URL";
const GIVE_BUCKET: &str = "Give BUCKET-APPID[:/PREFIX] before the mount point, for example photos-1250000000:/2024";

/// Why a configuration is refused. The texts never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting that does not exist.
    #[error("{origin}: there is no option {name:?}; {}", nearest(name))]
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
    #[error("{origin}: {name} would be seen by everybody in the process list; {}", KEEP_A_SECRET)]
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
    /// A file that names a command and that others can change.
    #[error("{} names a command and others can change it (mode {mode:04o}); run: chmod go-w {}", path.display(), path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
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
    #[error("{origin}: {given} is given but {missing} is not: {}", GIVE_BOTH)]
    HalfCredentials {
        /// Where the half was found.
        origin: String,
        /// The half that is there.
        given: &'static str,
        /// The half that is not.
        missing: &'static str,
    },
    /// No source had credentials.
    #[error("no credentials found: {}", KEEP_A_KEY)]
    NoCredentials,
    /// No source had credentials, but another program's are there.
    #[error("no credentials found: {names} of the environment is not read; {}", KEEP_OUR_KEY)]
    OtherCredentials {
        /// What there is.
        names: String,
    },
    /// No source had the secret key of the id that was asked for.
    #[error("no secret key found for the id {0}: {advice}", advice = KEEP_BOTH)]
    NoKeyForId(String),
    /// Requests would go to another machine without encryption.
    #[error("{origin} is another machine and what goes there is not encrypted: {}", ENCRYPT)]
    Unencrypted {
        /// The service.
        origin: String,
    },
    /// Neither a region nor an endpoint.
    #[error("which region is the bucket in? {}", GIVE_REGION)]
    NoRegion,
    /// No bucket on the command line, and none in coscmd's file.
    #[error("which bucket? {}", GIVE_BUCKET)]
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

/// What was meant by an option that does not exist.
fn nearest(name: &str) -> String {
    let plain = name.trim_start_matches("COSMOUNT_").to_ascii_lowercase().replace('-', "_");
    match nearest_of(&plain, Settings::NAMES) {
        Some(known) => format!("did you mean {known}?"),
        None => "cosmount mount --help has all of them".to_owned(),
    }
}

/// Which of `known` was meant, if it can be seen.
pub(super) fn nearest_of<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&&str| strsim::damerau_levenshtein(known, text);
    // A few slips of the finger.
    known.iter().min_by_key(distance).filter(|known| distance(known) <= 1 + text.len() / 4).copied()
}

impl ConfigError {
    /// What it is about.
    pub fn aspect(&self) -> Aspect {
        match self {
            ConfigError::InvalidSetting { name, .. } if name == "region" => Aspect::Region,
            ConfigError::InvalidSetting { name, .. } if name == "memory" => Aspect::Memory,
            ConfigError::UnknownSetting { .. }
            | ConfigError::InvalidSetting { .. }
            | ConfigError::File { .. }
            | ConfigError::Writable { .. } => Aspect::Configuration,
            ConfigError::SecretAsOption { .. }
            | ConfigError::Exposed { .. }
            | ConfigError::HalfCredentials { .. }
            | ConfigError::NoCredentials
            | ConfigError::OtherCredentials { .. }
            | ConfigError::NoKeyForId(_) => Aspect::Credentials,
            ConfigError::Unencrypted { .. } => Aspect::Encryption,
            ConfigError::NoRegion => Aspect::Region,
            ConfigError::NoBucket | ConfigError::Source { .. } => Aspect::Bucket,
        }
    }

    /// What to do about it, where the sentence ends with that.
    pub fn fix(&self) -> Option<String> {
        let advice = match self {
            ConfigError::Exposed { path, .. } => return Some(format!("chmod 600 {}", path.display())),
            ConfigError::Writable { path, .. } => return Some(format!("chmod go-w {}", path.display())),
            ConfigError::SecretAsOption { .. } => KEEP_A_SECRET,
            ConfigError::NoCredentials => KEEP_A_KEY,
            ConfigError::OtherCredentials { .. } => KEEP_OUR_KEY,
            ConfigError::NoKeyForId(_) => KEEP_BOTH,
            ConfigError::Unencrypted { .. } => ENCRYPT,
            ConfigError::NoRegion => GIVE_REGION,
            ConfigError::NoBucket => GIVE_BUCKET,
            ConfigError::UnknownSetting { name, .. } => return Some(nearest(name)),
            ConfigError::HalfCredentials { .. } => GIVE_BOTH,
            ConfigError::InvalidSetting { .. } | ConfigError::File { .. } | ConfigError::Source { .. } => return None,
        };
        Some(advice.to_owned())
    }

    /// What is wrong, without what to do about it.
    pub fn cause(&self) -> String {
        without_fix(&self.to_string(), self.fix().as_deref()).to_owned()
    }

    pub(super) fn file(path: &Path, reason: impl Into<String>) -> ConfigError {
        ConfigError::File { path: path.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_what_is_wrong_and_what_to_do_about_it() {
        let path = PathBuf::from("/h/config.toml");
        let table = [
            (
                ConfigError::Exposed { path: path.clone(), mode: 0o644 },
                "/h/config.toml holds secrets but others can read it (mode 0644)",
                Some("chmod 600 /h/config.toml"),
            ),
            (
                ConfigError::Writable { path: path.clone(), mode: 0o666 },
                "/h/config.toml names a command and others can change it (mode 0666)",
                Some("chmod go-w /h/config.toml"),
            ),
            (ConfigError::NoCredentials, "no credentials found", Some(KEEP_A_KEY)),
            (ConfigError::NoRegion, "which region is the bucket in?", Some(GIVE_REGION)),
            (ConfigError::file(&path, "is not a regular file"), "/h/config.toml is not a regular file", None),
        ];
        for (error, cause, fix) in table {
            assert_eq!((error.cause().as_str(), error.fix().as_deref()), (cause, fix));
        }
    }
}
