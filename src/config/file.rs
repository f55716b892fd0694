//! `config.toml`: settings and credentials, for every bucket and for single ones.
//!
//! ```toml
//! secret_id = "AKIDexample"
//! secret_key = "..."
//! region = "ap-guangzhou"
//!
//! [bucket.photos-1250000000]
//! region = "ap-beijing"
//! read_only = true
//! ```
//!
//! Both may have a table with prices ([`super::prices`]).
//!
//! A file that holds a secret and that others can read is refused, and so is one that others could write a command into.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::credentials::Candidate;
use super::prices::SaidPrices;
use super::secret::{PrivateFile, Readers, read_private};
use super::{ConfigError, Settings};

/// What the configuration file says.
#[derive(Default)]
pub(super) struct ConfigFile {
    all: Section,
    buckets: BTreeMap<String, Section>,
}

/// What it says for all buckets, or for one.
#[derive(Clone, Default)]
struct Section {
    settings: Settings,
    secret_id: Option<String>,
    secret_key: Option<String>,
    token: Option<String>,
    credential_process: Option<String>,
    prices: SaidPrices,
}

impl ConfigFile {
    /// Reads the file; one that is not there says nothing.
    pub(super) fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
        match read_private(path)? {
            Some(file) => ConfigFile::parse(&file),
            None => Ok(ConfigFile::default()),
        }
    }

    /// Reads a file that somebody has named, which must be there.
    pub(super) fn read_named(path: &Path) -> Result<ConfigFile, ConfigError> {
        match read_private(path)? {
            Some(file) => ConfigFile::parse(&file),
            None => Err(ConfigError::file(path, "is missing: it was named as the configuration file")),
        }
    }

    /// Reads the file for the whole machine. One that this user may not read is for others.
    pub(super) fn read_system(path: &Path) -> Result<ConfigFile, ConfigError> {
        let may_read =
            !std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        if may_read { ConfigFile::read(path) } else { Ok(ConfigFile::default()) }
    }

    /// The names of all sections for buckets.
    pub(super) fn bucket_sections(&self) -> impl Iterator<Item = &str> {
        self.buckets.keys().map(String::as_str)
    }

    pub(super) fn parse(file: &PrivateFile) -> Result<ConfigFile, ConfigError> {
        let path = &file.path;
        let mut table: Table = file.text.parse().map_err(|error| syntax_error(path, &file.text, &error))?;
        let buckets = table.remove("bucket");
        let mut config = ConfigFile { all: Section::read(path, &table)?, buckets: BTreeMap::new() };
        match buckets {
            None => {}
            Some(Value::Table(buckets)) => {
                for (name, section) in buckets {
                    let Value::Table(section) = section else {
                        return Err(ConfigError::file(path, format!("needs a table for [bucket.{name}]")));
                    };
                    config.buckets.insert(name, Section::read(path, &section)?);
                }
            }
            Some(_) => return Err(ConfigError::file(path, "needs a table for [bucket.NAME]")),
        }
        if config.buckets.values().chain([&config.all]).any(Section::has_secret) {
            file.allow_only(Readers::OwnerOnly)?;
        }
        if config.buckets.values().chain([&config.all]).any(|section| section.credential_process.is_some()) {
            file.allow_only_owner_to_write()?;
        }
        Ok(config)
    }

    /// The settings for one bucket.
    pub(super) fn settings(&self, bucket: &str) -> Settings {
        match self.buckets.get(bucket) {
            Some(section) => section.settings.clone().over(self.all.settings.clone()),
            None => self.all.settings.clone(),
        }
    }

    /// The prices for one bucket.
    pub(super) fn prices(&self, bucket: &str) -> SaidPrices {
        match self.buckets.get(bucket) {
            Some(section) => section.prices.clone().over(self.all.prices.clone()),
            None => self.all.prices.clone(),
        }
    }

    /// The credentials that may be used for one bucket, the best first.
    pub(super) fn candidates(&self, path: &Path, bucket: &str) -> Vec<Candidate> {
        let sections = [self.buckets.get(bucket), Some(&self.all)];
        let candidate = |section: &Section| Candidate {
            origin: path.display().to_string(),
            secret_id: section.secret_id.clone(),
            secret_key: section.secret_key.clone(),
            token: section.token.clone(),
            command: section.credential_process.clone(),
            ..Candidate::of_file()
        };
        sections.into_iter().flatten().map(candidate).collect()
    }
}

impl Section {
    fn has_secret(&self) -> bool {
        self.secret_key.is_some() || self.token.is_some()
    }

    fn read(path: &Path, table: &Table) -> Result<Section, ConfigError> {
        let origin = path.display().to_string();
        let mut section = Section::default();
        for (name, value) in table {
            if let ("prices", Value::Table(prices)) = (name.as_str(), value) {
                section.prices = SaidPrices::read(prices).map_err(|(name, reason)| ConfigError::InvalidSetting {
                    origin: origin.clone(),
                    name,
                    reason,
                })?;
                continue;
            }
            if let Value::Table(_) = value {
                let sections = format!("there is no section [{name}]; did you mean {}?", nearest_section(name));
                return Err(ConfigError::file(path, sections));
            }
            // Elements are said one after the other. Not of what may be a secret.
            if let (Value::Array(elements), "tag" | "header") = (value, name.as_str()) {
                for element in elements {
                    let Value::String(text) = element else {
                        let (origin, name) = (origin.clone(), name.clone());
                        let reason = "needs a list of texts in quotes".to_owned();
                        return Err(ConfigError::InvalidSetting { origin, name, reason });
                    };
                    section.settings.set(&origin, name, text)?;
                }
                continue;
            }
            // The value is never shown: it may be a secret under a misspelt name.
            let Some(text) = text_of(name, value) else {
                let reason = "needs a text in quotes, for example \"0022\"";
                let (origin, name) = (origin.clone(), name.clone());
                return Err(ConfigError::InvalidSetting { origin, name, reason: reason.into() });
            };
            match name.replace('-', "_").as_str() {
                "secret_id" => section.secret_id = Some(text),
                "secret_key" => section.secret_key = Some(text),
                "token" | "security_token" => section.token = Some(text),
                "credential_process" => section.credential_process = Some(text),
                _ => section.settings.set(&origin, name, &text)?,
            }
        }
        Ok(section)
    }
}

/// The section that a name was most likely meant to be.
fn nearest_section(name: &str) -> &'static str {
    let distance = |section: &str| strsim::damerau_levenshtein(name, section);
    if distance("prices") < distance("bucket") { "[prices]" } else { "[bucket.NAME-APPID]" }
}

/// The value as the text that other sources would give. A mode must be a text: `umask = 22` could be octal or not.
fn text_of(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Boolean(yes) => Some(yes.to_string()),
        Value::Integer(_) if name.ends_with("mask") || name.ends_with("mode") => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Says what and where, but not the line itself, which may hold a secret.
fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError::file(path, format!("line {line}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<ConfigFile, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        ConfigFile::read(&path)
    }

    #[test]
    fn a_bucket_has_its_own_settings_over_the_common_ones() {
        let config = read(
            "region = 'ap-guangzhou'\nmetadata_ttl = 7\n[bucket.photos-1]\nregion = 'ap-beijing'\nread_only = true\n",
            0o644,
        )
        .unwrap();
        let photos = config.settings("photos-1");
        assert_eq!((photos.region.as_deref(), photos.read_only), (Some("ap-beijing"), Some(true)));
        assert_eq!(photos.metadata_ttl.unwrap().0.as_secs(), 7);
        assert_eq!(config.settings("other-1").region.as_deref(), Some("ap-guangzhou"));
    }

    #[test]
    fn a_file_with_secrets_must_be_private_and_one_without_need_not() {
        assert!(read("secret_id = 'a'\nsecret_key = 'b'\n", 0o600).is_ok());
        let refused = read("secret_id = 'a'\nsecret_key = 'b'\n", 0o644).err().unwrap();
        assert!(matches!(refused, ConfigError::Exposed { mode: 0o644, .. }), "{refused}");
        let refused = read("[bucket.b-1]\nsecret_key = 'b'\n", 0o640).err().unwrap();
        assert!(matches!(refused, ConfigError::Exposed { mode: 0o640, .. }), "{refused}");
        assert!(read("region = 'sg'\n", 0o644).is_ok());
    }

    #[test]
    fn errors_say_where_and_show_no_values() {
        let table = [
            ("region = 'sg'\nsecret_key = hunter2\n", "line 2: "),
            ("secrt_key = 'hunter2'\n", "there is no option \"secrt_key\""),
            ("umask = 22\n", "umask: needs a text in quotes"),
            ("secret_key = ['hunter2']\n", "secret_key: needs a text in quotes"),
            ("bucket = 'hunter2'\n", "needs a table for [bucket.NAME]"),
            ("[bukcet.a-1]\nregion = 'hunter2'\n", "no section [bukcet]; did you mean [bucket.NAME-APPID]?"),
            ("[price]\ncurrency = 'hunter2'\n", "no section [price]; did you mean [prices]?"),
        ];
        for (text, expected) in table {
            let error = read(text, 0o600).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_may_be_said_several_times_may_be_a_list() {
        let listed = "tag = ['a=1', 'b=2&c=3']\nheader = ['*.a: Expires: x, y', '*: Cache-Control: z']\n";
        let lines = "tag = 'a=1&b=2&c=3'\nheader = \"\"\"\n*.a: Expires: x, y\n*: Cache-Control: z\n\"\"\"\n";
        let settings = |text: &str| read(text, 0o644).unwrap().settings("b-1");
        assert_eq!(settings(listed), settings(lines));
        assert_eq!(settings(listed).header.unwrap().0.len(), 2);
        let error = read("tag = [1]\n", 0o644).err().unwrap().to_string();
        assert!(error.ends_with("tag: needs a list of texts in quotes"), "{error}");
        assert!(read("region = ['sg']\n", 0o644).is_err());
    }

    #[test]
    fn a_missing_file_says_nothing() {
        let config = ConfigFile::read(Path::new("/nonexistent/config.toml")).unwrap();
        assert_eq!(config.settings("a-1"), Settings::default());
    }
}
