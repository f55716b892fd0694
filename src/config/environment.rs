//! The process environment as a value, so that configuration is a function of what it is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigError, Settings};

/// Before the upper-case name of any setting, in the environment.
const PREFIX: &str = "COSMOUNT_";

/// Variables of this prefix that are not settings of a mount: the configuration file's own place, and services that tests
/// stand in for.
const NOT_SETTINGS: &[&str] = &["COSMOUNT_CONFIG", METADATA_URL_NAME, STS_URL_NAME];

/// Names where the metadata of a machine are, and STS.
pub(super) const METADATA_URL_NAME: &str = "COSMOUNT_METADATA_URL";
pub(super) const STS_URL_NAME: &str = "COSMOUNT_STS_URL";

/// The variables of a process and the places that follow from them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    system_directory: PathBuf,
}

impl Environment {
    /// An environment of these variables, with system-wide files in `/etc`.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        Environment { variables: variables.into_iter().collect(), system_directory: PathBuf::from("/etc") }
    }

    /// The same with system-wide files elsewhere.
    pub fn with_system_directory(mut self, directory: impl Into<PathBuf>) -> Environment {
        self.system_directory = directory.into();
        self
    }

    /// A variable's value; one that is set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's home, if it is known.
    pub(super) fn home(&self) -> Option<&Path> {
        self.get("HOME").map(Path::new)
    }

    /// `/etc`.
    pub(super) fn system_directory(&self) -> &Path {
        &self.system_directory
    }

    /// The configuration file that the environment names.
    pub(super) fn named_config_file(&self) -> Option<PathBuf> {
        self.get("COSMOUNT_CONFIG").map(PathBuf::from)
    }

    /// The user's configuration file: `cosmount/config.toml` in `$XDG_CONFIG_HOME` or `~/.config`.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        let directory = match self.get("XDG_CONFIG_HOME") {
            Some(directory) => PathBuf::from(directory),
            None => self.home()?.join(".config"),
        };
        Some(directory.join("cosmount/config.toml"))
    }

    /// Where this user's programs keep what has to outlive them: `cosmount` in `$XDG_STATE_HOME`, root's in `/var/lib`, others'
    /// in `~/.local/state`; `None` if the home is not known.
    pub(super) fn state_directory(&self, user_id: u32) -> Option<PathBuf> {
        // Relative ones are meaningless (XDG Base Directory Specification).
        let named = self.get("XDG_STATE_HOME").map(PathBuf::from).filter(|directory| directory.is_absolute());
        let usual = || match user_id {
            0 => Some(PathBuf::from("/var/lib")),
            _ => Some(self.home()?.join(".local/state")),
        };
        Some(named.or_else(usual)?.join("cosmount"))
    }

    /// Hosts that are reached without the proxy that is named elsewhere, as curl and others have it.
    pub(super) fn no_proxy(&self) -> Option<String> {
        self.get("NO_PROXY").or_else(|| self.get("no_proxy")).map(str::to_owned)
    }

    /// Variables with credentials that nothing here reads: a name that is easily mistaken for ours, and another service's.
    pub(super) fn unread_credentials(&self) -> Vec<&'static str> {
        UNREAD_CREDENTIALS.iter().copied().filter(|name| self.get(name).is_some()).collect()
    }

    /// What the environment says of settings: `COSMOUNT_PART_SIZE` and so on, and `TENCENTCLOUD_REGION`.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        if let Some(region) = self.get("TENCENTCLOUD_REGION") {
            settings.region = Some(region.to_owned());
        }
        for (variable, value) in &self.variables {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if value.is_empty() || NOT_SETTINGS.contains(&variable.as_str()) || is_of_kubernetes(name) {
                continue;
            }
            settings.set("environment", &name.to_ascii_lowercase(), value).map_err(|error| match error {
                ConfigError::UnknownSetting { origin, .. } => {
                    ConfigError::UnknownSetting { origin, name: variable.clone() }
                }
                ConfigError::InvalidSetting { origin, reason, .. } => {
                    ConfigError::InvalidSetting { origin, name: variable.clone(), reason }
                }
                other => other,
            })?;
        }
        Ok(settings)
    }
}

/// Names of credentials that people set and nothing here reads.
const UNREAD_CREDENTIALS: &[&str] = &[
    "COS_SECRET_ID",
    "COS_SECRET_KEY",
    "COS_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// Whether a variable, without its prefix, is one that Kubernetes sets in every container for a service whose name begins
/// with `cosmount`: `PORT`, `SERVICE_HOST`, `PORT_9444_TCP_ADDR`, `S3_SERVICE_PORT_HTTP` and so on.
fn is_of_kubernetes(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_service = words.windows(2).any(|pair| pair[0] == "SERVICE" && matches!(pair[1], "HOST" | "PORT"));
    let is_number = |word: &str| word.parse::<u16>().is_ok();
    let is_port = words.last() == Some(&"PORT") || words.windows(2).any(|pair| pair[0] == "PORT" && is_number(pair[1]));
    is_service || is_port
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Environment {
        Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    #[test]
    fn every_setting_has_a_variable() {
        let environment = Environment::from([("COSMOUNT_PART_SIZE", "16M"), ("COSMOUNT_REGION", "ap-beijing")]);
        let settings = environment.settings().unwrap();
        assert_eq!((settings.part_size, settings.region.as_deref()), (Some(ByteSize(16 << 20)), Some("ap-beijing")));
    }

    #[test]
    fn our_own_region_goes_before_tencents() {
        let environment = Environment::from([("TENCENTCLOUD_REGION", "sg"), ("COSMOUNT_REGION", "ap-beijing")]);
        assert_eq!(environment.settings().unwrap().region.as_deref(), Some("ap-beijing"));
        let environment = Environment::from([("TENCENTCLOUD_REGION", "sg")]);
        assert_eq!(environment.settings().unwrap().region.as_deref(), Some("sg"));
    }

    #[test]
    fn what_kubernetes_says_of_a_service_of_that_name_is_not_ours() {
        let environment = Environment::from([
            ("COSMOUNT_PORT", "tcp://10.0.0.1:9444"),
            ("COSMOUNT_SERVICE_HOST", "10.0.0.1"),
            ("COSMOUNT_SERVICE_PORT_HTTP", "9444"),
            ("COSMOUNT_PORT_9444_TCP_ADDR", "10.0.0.1"),
            ("COSMOUNT_S3_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("COSMOUNT_UMASK", "022"),
        ]);
        assert_eq!(environment.settings().unwrap().said(), ["umask"]);
        assert!(Environment::from([("COSMOUNT_PORTS", "1")]).settings().is_err());
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = Environment::from([("COSMOUNT_MEMORY", "lots")]).settings().unwrap_err();
        assert!(error.to_string().starts_with("environment: COSMOUNT_MEMORY: \"lots\" is not a size"), "{error}");
    }

    #[test]
    fn the_file_is_looked_for_where_the_desktop_standard_says() {
        let table = [
            (Environment::from([("HOME", "/h")]), Some("/h/.config/cosmount/config.toml")),
            (Environment::from([("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some("/x/cosmount/config.toml")),
            (Environment::from([]), None),
        ];
        for (environment, expected) in table {
            assert_eq!(environment.config_file(), expected.map(PathBuf::from));
        }
    }
}
