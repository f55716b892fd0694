//! Whose requests these are: where credentials are looked for, and in which order.
//!
//! A secret is never taken from a flag. The order, the first that has any wins: a credentials file or a machine's role that was
//! named; the environment (ours, Tencent Cloud's, cosfs's names, or AWS's over S3); the configuration file, the bucket's section first; the files
//! of other tools, those for COS alone first; the role of a workload, by its token. `--secret-id` passes over those that have
//! another id. Where the environment names a role for the key that was found, that is assumed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::coscmd::CoscmdFile;
use super::file::ConfigFile;
use super::secret::{Readers, read_private};
use super::{ConfigError, Environment, Settings, ini, passwd};
use crate::wire::issued::Issued;
use crate::wire::sign::Credentials;

/// What one source has; any of it may be missing. Has no `Debug`, because it holds a secret.
#[derive(Default)]
pub(super) struct Candidate {
    pub(super) origin: String,
    pub(super) secret_id: Option<String>,
    pub(super) secret_key: Option<String>,
    pub(super) token: Option<String>,
    pub(super) expires: Option<SystemTime>,
    /// A program that tells the key, in the place of one.
    pub(super) command: Option<String>,
    /// Whether it may be another one when it is looked at again.
    pub(super) may_change: bool,
}

/// Where to look, apart from the environment.
pub(super) struct Sources<'a> {
    pub(super) environment: &'a Environment,
    /// Configuration files and their places, the best first.
    pub(super) configs: &'a [(PathBuf, ConfigFile)],
    pub(super) coscmd: &'a CoscmdFile,
}

/// Names of id, key and token in the environment, the first set first (`cos-api.md` 7.6).
const VARIABLES: [(&str, &str, &[&str]); 3] = [
    ("COS_SECRETID", "COS_SECRETKEY", &["COS_SECURITYTOKEN"]),
    (
        "TENCENTCLOUD_SECRET_ID",
        "TENCENTCLOUD_SECRET_KEY",
        &["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SECURITY_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"],
    ),
    ("COSACCESSKEYID", "COSSECRETACCESSKEY", &[]),
];

/// The same for S3.
const AWS_VARIABLES: (&str, &str, &[&str]) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", &["AWS_SESSION_TOKEN"]);

/// What was found, and where.
pub(super) enum Found {
    /// A key.
    Key {
        /// The key, and when it ends.
        issued: Issued,
        /// Where.
        origin: String,
        /// Whether it may be another one when it is looked at again.
        may_change: bool,
    },
    /// A program that tells the key.
    Command {
        /// For a shell.
        command: String,
        /// The file that names it.
        origin: String,
    },
}

/// Finds the credentials for `bucket`. `None` where there are none and no reason to complain yet.
pub(super) fn find(sources: &Sources<'_>, settings: &Settings, bucket: &str) -> Result<Option<Found>, ConfigError> {
    match find_named(sources, settings, bucket)? {
        Some(found) => Ok(Some(found)),
        None => find_in_files(sources, settings, bucket),
    }
}

/// The same among those that are for this program or for this process: a file that was named, the environment, the configuration.
pub(super) fn find_named(
    sources: &Sources<'_>,
    settings: &Settings,
    bucket: &str,
) -> Result<Option<Found>, ConfigError> {
    let wanted = settings.secret_id.as_deref();
    if let Some(path) = &settings.credentials_file {
        let candidate = passwd::read(path, Readers::OwnerOnly, bucket)?
            .ok_or_else(|| ConfigError::file(path, "is missing: it was named as the file with credentials"))?;
        return candidate.complete(wanted)?.map(Some).ok_or_else(|| none_found(wanted));
    }
    let is_s3 = settings.s3 == Some(true);
    let known = from_environment(sources.environment, is_s3)
        .into_iter()
        .chain(sources.configs.iter().flat_map(|(path, config)| config.candidates(path, bucket)))
        .chain([sources.coscmd.candidate()]);
    for candidate in known {
        if let Some(found) = candidate.complete(wanted)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The same among the files of other tools.
pub(super) fn find_in_files(
    sources: &Sources<'_>,
    settings: &Settings,
    bucket: &str,
) -> Result<Option<Found>, ConfigError> {
    let (wanted, is_s3) = (settings.secret_id.as_deref(), settings.s3 == Some(true));
    let files = match is_s3 {
        true => files_of_aws(sources.environment, settings.profile.as_deref()),
        false => files_of_others(sources.environment),
    };
    for (path, form) in files {
        let Some(candidate) = form.read(&path, bucket)? else { continue };
        if let Some(found) = candidate.complete(wanted)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The file with a token and the role of a profile of AWS that has these two.
pub(super) fn web_identity_of_profile(
    environment: &Environment,
    settings: &Settings,
) -> Result<Option<(String, String)>, ConfigError> {
    for (path, form) in files_of_aws(environment, settings.profile.as_deref()) {
        let Form::Aws(section) = form else { continue };
        let Some(file) = read_private(&path)? else { continue };
        let mut values = ini::section(&file.text, &section);
        let token = values.remove("web_identity_token_file");
        if let Some(found) = token.zip(values.remove("role_arn")) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Why nothing was found.
pub(super) fn nothing_found(environment: &Environment, settings: &Settings) -> ConfigError {
    let unread = environment.unread_credentials();
    match settings.secret_id.as_deref() {
        None if !unread.is_empty() => ConfigError::OtherCredentials { names: unread.join(", ") },
        wanted => none_found(wanted),
    }
}

/// The key of a service of one's own, if the environment has one: COS_SECRETID and COS_SECRETKEY. The other names are
/// those of tools for the real service, whose keys have no business here.
pub fn service_credentials(environment: &Environment) -> Result<Option<Credentials>, ConfigError> {
    let ours = from_environment(environment, false).into_iter().next().unwrap_or_default();
    Ok(match ours.complete(None)? {
        Some(Found::Key { issued, .. }) => Some(issued.credentials),
        Some(Found::Command { .. }) | None => None,
    })
}

fn none_found(wanted: Option<&str>) -> ConfigError {
    wanted.map_or(ConfigError::NoCredentials, |id| ConfigError::NoKeyForId(id.to_owned()))
}

fn from_environment(environment: &Environment, is_s3: bool) -> Vec<Candidate> {
    let read = |name: &&str| environment.get(name).map(str::to_owned);
    let candidate = |(id, key, tokens): &(&str, &str, &[&str])| Candidate {
        origin: format!("environment ({id})"),
        secret_id: read(id),
        secret_key: read(key),
        token: tokens.iter().find_map(read),
        ..Candidate::default()
    };
    if is_s3 { vec![candidate(&AWS_VARIABLES)] } else { VARIABLES.iter().map(candidate).collect() }
}

/// How a file of another tool is written.
enum Form {
    Passwd(Readers),
    /// tccli's JSON.
    Json,
    /// Tencent Cloud's INI.
    Ini,
    /// AWS's INI, with the section of a profile.
    Aws(String),
}

/// The files of AWS: credentials, then what else there is of a profile.
fn files_of_aws(environment: &Environment, profile: Option<&str>) -> Vec<(PathBuf, Form)> {
    let profile = profile.or_else(|| environment.get("AWS_PROFILE")).unwrap_or("default");
    let place = |variable: &str, usual: &str| {
        let named = environment.get(variable).map(PathBuf::from);
        named.or_else(|| Some(environment.home()?.join(usual)))
    };
    let section = if profile == "default" { profile.to_owned() } else { format!("profile {profile}") };
    let credentials = place("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config = place("AWS_CONFIG_FILE", ".aws/config");
    let files = [credentials.zip(Some(profile.to_owned())), config.zip(Some(section))];
    files.into_iter().flatten().map(|(path, section)| (path, Form::Aws(section))).collect()
}

/// The files of other tools: those that cosfs looks for, then those for all of Tencent Cloud.
fn files_of_others(environment: &Environment) -> Vec<(PathBuf, Form)> {
    let named = environment.get("COS_CREDENTIAL_FILE").map(PathBuf::from);
    let own = environment.home().map(|home| home.join(".passwd-cosfs"));
    let mut files: Vec<_> =
        [named, own].into_iter().flatten().map(|path| (path, Form::Passwd(Readers::OwnerOnly))).collect();
    let system = environment.system_directory();
    files.push((system.join("passwd-cosfs"), Form::Passwd(Readers::OwnerAndGroup)));
    if let Some(home) = environment.home() {
        let profile = environment.get("TCCLI_PROFILE").unwrap_or("default");
        files.push((home.join(".tccli").join(format!("{profile}.credential")), Form::Json));
    }
    files.extend(environment.get("TENCENTCLOUD_CREDENTIALS_FILE").map(|path| (PathBuf::from(path), Form::Ini)));
    files.extend(environment.home().map(|home| (home.join(".tencentcloud/credentials"), Form::Ini)));
    files.push((system.join("tencentcloud/credentials"), Form::Ini));
    files
}

impl Form {
    fn read(self, path: &Path, bucket: &str) -> Result<Option<Candidate>, ConfigError> {
        let text = match self {
            Form::Passwd(readers) => return passwd::read(path, readers, bucket),
            // As their tools do, these are read whoever else can read them.
            Form::Json | Form::Ini | Form::Aws(_) => match read_private(path)? {
                Some(file) => file.text,
                None => return Ok(None),
            },
        };
        let origin = path.display().to_string();
        Ok(match self {
            Form::Aws(section) => {
                let mut values = ini::section(&text, &section);
                let mut value = |name: &str| values.remove(name);
                let (secret_id, secret_key) = (value("aws_access_key_id"), value("aws_secret_access_key"));
                let (token, command) = (value("aws_session_token"), value("credential_process"));
                Some(Candidate { origin, secret_id, secret_key, token, command, ..Candidate::of_file() })
            }
            Form::Ini => {
                let mut values = ini::section(&text, "default");
                let mut value = |name: &str| values.remove(name);
                let (secret_id, secret_key) = (value("secret_id"), value("secret_key"));
                let token = value("token").or_else(|| value("session_token"));
                Some(Candidate { origin, secret_id, secret_key, token, ..Candidate::of_file() })
            }
            _ if serde_json::from_str::<Value>(&text).is_err() => {
                return Err(ConfigError::file(path, "is not the JSON that tccli writes"));
            }
            // A profile without a key is for other ways to log in than those that are known here.
            _ => Issued::decode(text.as_bytes()).ok().map(|Issued { credentials, expires }| Candidate {
                origin,
                secret_id: Some(credentials.secret_id),
                secret_key: Some(credentials.secret_key),
                token: credentials.token,
                expires,
                ..Candidate::of_file()
            }),
        })
    }
}

impl Candidate {
    /// Nothing yet, of a file.
    pub(super) fn of_file() -> Candidate {
        Candidate { may_change: true, ..Candidate::default() }
    }

    /// The credentials, if they are whole and have the id that is wanted.
    fn complete(self, wanted: Option<&str>) -> Result<Option<Found>, ConfigError> {
        let half = |given, missing| Err(ConfigError::HalfCredentials { origin: self.origin.clone(), given, missing });
        let secret_id = match (self.secret_id, wanted) {
            (Some(id), Some(wanted)) if id != wanted => return Ok(None),
            (Some(id), _) => id,
            // A key alone is the key of the id that the flag names.
            (None, Some(wanted)) if self.secret_key.is_some() => wanted.to_owned(),
            (None, _) if self.secret_key.is_some() => return half("a secret key", "its id"),
            (None, _) => return Ok(self.command.map(|command| Found::Command { command, origin: self.origin })),
        };
        let Some(secret_key) = self.secret_key else { return half("a secret id", "its key") };
        let issued =
            Issued { credentials: Credentials { secret_id, secret_key, token: self.token }, expires: self.expires };
        Ok(Some(Found::Key { issued, origin: self.origin, may_change: self.may_change }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A home with every source in it; each test takes away or adds.
    struct Home {
        directory: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Home {
            Home { directory: tempfile::tempdir().unwrap() }
        }

        fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn find(&self, variables: &[(&str, &str)], settings: &Settings) -> Result<Credentials, ConfigError> {
            let home = self.directory.path();
            let home_variable = ("HOME".to_owned(), home.to_str().unwrap().to_owned());
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let environment = Environment::new(variables.chain([home_variable])).with_system_directory(home);
            let config_path = home.join("config.toml");
            let sources = Sources {
                environment: &environment,
                configs: &[(config_path.clone(), ConfigFile::read(&config_path)?)],
                coscmd: &CoscmdFile::read(&home.join(".cos.conf"))?,
            };
            match find(&sources, settings, "photos-1")? {
                Some(Found::Key { issued, .. }) => Ok(issued.credentials),
                Some(Found::Command { command, .. }) => panic!("{command}"),
                None => Err(nothing_found(&environment, settings)),
            }
        }

        fn id(&self, variables: &[(&str, &str)], settings: &Settings) -> String {
            self.find(variables, settings).unwrap().secret_id
        }
    }

    const OURS: [(&str, &str); 2] = [("COS_SECRETID", "ours"), ("COS_SECRETKEY", "k")];
    const TENCENTS: [(&str, &str); 2] = [("TENCENTCLOUD_SECRET_ID", "tencents"), ("TENCENTCLOUD_SECRET_KEY", "k")];
    const COSFSS: [(&str, &str); 2] = [("COSACCESSKEYID", "cosfss"), ("COSSECRETACCESSKEY", "k")];

    #[test]
    fn the_first_source_that_has_any_wins() {
        let home = Home::new();
        let settings = Settings::default();
        assert_eq!(home.find(&[], &settings).unwrap_err(), ConfigError::NoCredentials);
        home.write("tencentcloud/credentials", "[default]\nsecret_id=all\nsecret_key=k\n", 0o644);
        assert_eq!(home.id(&[], &settings), "all");
        home.write(".tencentcloud/credentials", "[default]\nsecret_id = \"ini\"\nsecret_key = \"k\"\n", 0o644);
        assert_eq!(home.id(&[], &settings), "ini");
        home.write(".tccli/default.credential", r#"{"secretId":"tccli","secretKey":"k"}"#, 0o644);
        assert_eq!(home.id(&[], &settings), "tccli");
        home.write(".tccli/work.credential", r#"{"secretId":"work","secretKey":"k"}"#, 0o644);
        assert_eq!(home.id(&[("TCCLI_PROFILE", "work")], &settings), "work");
        home.write("passwd-cosfs", "etc:k\n", 0o640);
        assert_eq!(home.id(&[], &settings), "etc");
        home.write(".passwd-cosfs", "home:k\n", 0o600);
        assert_eq!(home.id(&[], &settings), "home");
        let named = home.write("named", "variable:k\n", 0o600);
        assert_eq!(home.id(&[("COS_CREDENTIAL_FILE", named.to_str().unwrap())], &settings), "variable");
        home.write(".cos.conf", "[common]\nsecret_id=coscmd\nsecret_key=k\n", 0o644);
        assert_eq!(home.id(&[], &settings), "coscmd");
        home.write("config.toml", "secret_id='toml'\nsecret_key='k'\n", 0o600);
        assert_eq!(home.id(&[], &settings), "toml");
        home.write("config.toml", "[bucket.photos-1]\nsecret_id='section'\nsecret_key='k'\n", 0o600);
        assert_eq!(home.id(&[], &settings), "section");
        assert_eq!(home.id(&COSFSS, &settings), "cosfss");
        assert_eq!(home.id(&[COSFSS, TENCENTS].concat(), &settings), "tencents");
        assert_eq!(home.id(&[COSFSS, TENCENTS, OURS].concat(), &settings), "ours");
        let flag = Settings { credentials_file: Some(home.write("flag", "flag:k\n", 0o600)), ..settings };
        assert_eq!(home.id(&OURS, &flag), "flag");
    }

    #[test]
    fn a_service_of_ones_own_takes_no_key_of_the_real_one() {
        let id = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            service_credentials(&Environment::new(variables)).unwrap().map(|credentials| credentials.secret_id)
        };
        assert_eq!(id(&[OURS, TENCENTS].concat()).as_deref(), Some("ours"));
        assert_eq!(id(&[COSFSS, TENCENTS].concat()), None);
    }

    #[test]
    fn tokens_of_temporary_keys_are_taken_along() {
        let home = Home::new();
        let token = |variables: &[(&str, &str)]| home.find(variables, &Settings::default()).unwrap().token;
        assert_eq!(token(&OURS), None);
        assert_eq!(token(&[&OURS[..], &[("COS_SECURITYTOKEN", "t1")]].concat()).as_deref(), Some("t1"));
        assert_eq!(token(&[&TENCENTS[..], &[("TENCENTCLOUD_TOKEN", "t2")]].concat()).as_deref(), Some("t2"));
        assert_eq!(token(&[&TENCENTS[..], &[("TENCENTCLOUD_SECURITY_TOKEN", "t3")]].concat()).as_deref(), Some("t3"));
        assert_eq!(token(&[&TENCENTS[..], &[("TENCENTCLOUD_SESSION_TOKEN", "t4")]].concat()).as_deref(), Some("t4"));
    }

    #[test]
    fn an_id_chooses_among_the_sources() {
        let home = Home::new();
        home.write(".passwd-cosfs", "home:k\n", 0o600);
        let wanted = |id: &str| Settings { secret_id: Some(id.into()), ..Settings::default() };
        assert_eq!(home.id(&OURS, &wanted("home")), "home");
        assert_eq!(home.id(&[("COS_SECRETKEY", "k")], &wanted("mine")), "mine");
        assert_eq!(home.find(&OURS, &wanted("other")).unwrap_err(), ConfigError::NoKeyForId("other".into()));
    }

    #[test]
    fn half_a_pair_is_an_error_and_not_a_reason_to_look_further() {
        let home = Home::new();
        home.write(".passwd-cosfs", "home:k\n", 0o600);
        let error = home.find(&[("COS_SECRETID", "ours")], &Settings::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment (COS_SECRETID): a secret id is given but its key is not: give both, or neither"
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_where_its_tool_refuses_it() {
        let home = Home::new();
        home.write(".passwd-cosfs", "home:k\n", 0o644);
        assert!(matches!(home.find(&[], &Settings::default()), Err(ConfigError::Exposed { .. })));
        let named = Settings { credentials_file: Some("/nonexistent".into()), ..Settings::default() };
        assert!(home.find(&OURS, &named).unwrap_err().to_string().contains("is missing"));
    }

    #[test]
    fn debug_shows_the_id_alone() {
        let variables = [("COS_SECRETID", "ours"), ("COS_SECRETKEY", "hunter2"), ("COS_SECURITYTOKEN", "hunter2")];
        let credentials = Home::new().find(&variables, &Settings::default()).unwrap();
        let shown = format!("{credentials:?}");
        assert!(shown.contains("ours") && !shown.contains("hunter2"), "{shown}");
    }
}
