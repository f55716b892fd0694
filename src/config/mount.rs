//! One mount, fully decided: every source laid over the defaults, every value checked.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::coscmd::CoscmdFile;
use super::credentials::{self, Found, Sources};
use super::file::ConfigFile;
use super::memory::{available_memory_bytes, default_memory_bytes};
use super::{
    Account, ByteSize, ConfigError, ConflictChoice, Environment, Group, HoldChoice, LogLevel, Mode, MountSource,
    Settings, Span, TypeChoice, mount_options,
};
use crate::fs::{FsOptions, Owner, Temporary};
use crate::fuse::FuseOptions;
use crate::object::BucketName;
use crate::read::ReadOptions;
use crate::store::{ResumeWindow, RetryOptions};
use crate::upload::{OnConflict, UploadOptions};
use crate::wire::address::{Endpoint, EndpointError};
use crate::wire::sign::Credentials;

/// The bucket of the local service when none is named.
pub const LOCAL_BUCKET: &str = "local-1250000000";

/// How long unmounting may publish what is open, unless told otherwise: systemd kills what has not ended 90 s after it
/// was asked to, and what could not be published has to be told before that.
const UNMOUNT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Only this machine can reach a mount's own service, on a port that nobody else has.
const LOCAL_LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// What a command line says of one mount.
#[derive(Clone, Debug, Default)]
pub struct MountRequest {
    /// `BUCKET[:/PREFIX]`.
    pub source: Option<String>,
    /// The directory of the local service, for a mount that brings its own.
    pub local: Option<PathBuf>,
    /// Where that service listens, if not where the system chooses.
    pub local_listen: Option<SocketAddr>,
    /// Where to mount.
    pub mount_point: PathBuf,
    /// The directory that relative paths are meant from; empty for the present one.
    pub directory: PathBuf,
    /// The configuration file, where it is not the usual one.
    pub config_file: Option<PathBuf>,
    /// The texts of all `-o`.
    pub mount_options: Vec<String>,
    /// The flags.
    pub flags: Settings,
}

/// One mount, fully decided.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// What is mounted.
    pub source: MountSource,
    /// Where.
    pub mount_point: PathBuf,
    /// Where the bucket is.
    pub service: Service,
    /// The region, where one was given; for messages.
    pub region: Option<String>,
    /// The URL of an HTTP proxy.
    pub proxy: Option<String>,
    /// How long requests are tried again.
    pub retry: RetryOptions,
    /// Every buffer of the mount together, in bytes.
    pub memory_bytes: u64,
    /// How files are uploaded.
    pub upload: UploadOptions,
    /// How files are read.
    pub read: ReadOptions,
    /// Names and attributes.
    pub fs: FsOptions,
    /// The kernel's side.
    pub fuse: FuseOptions,
    /// How long unmounting may publish what is open.
    pub unmount_timeout: Duration,
    /// Where is kept what a mount that dies leaves to the next one; `None` where nothing can be.
    pub state_dir: Option<PathBuf>,
    /// How long uploads that a dead mount has left are kept for their files to be written again.
    pub resume_window: ResumeWindow,
    /// Where log lines go, if not to the usual place.
    pub log_file: Option<PathBuf>,
    /// Which log lines are written, if not the usual ones.
    pub log_level: Option<LogLevel>,
    /// What is worth a line in the log once it is open: whose credentials are used, and files that others can read.
    pub remarks: Vec<String>,
    /// What was asked for and is not done, for whoever mounts.
    pub warnings: Vec<String>,
    /// Everything that was said, by whatever source.
    pub settings: Settings,
}

/// Where the bucket is.
#[derive(Clone, Debug)]
pub enum Service {
    /// Somewhere else.
    Remote {
        /// Where.
        endpoint: Endpoint,
        /// Who asks.
        credentials: Credentials,
    },
    /// In a directory of this machine, served by this process.
    Local {
        /// The directory.
        directory: PathBuf,
        /// Where the service listens.
        listen: SocketAddr,
    },
}

impl MountConfig {
    /// Decides a mount: defaults < file < environment < `-o` < flags.
    ///
    /// Reads the configuration files and nothing else. coscmd's file fills in what nobody else says.
    pub fn build(request: MountRequest, environment: &Environment) -> Result<MountConfig, ConfigError> {
        let directory = request.directory.clone();
        let configs = read_configs(&request, environment)?;
        let coscmd = match environment.home() {
            Some(home) if request.local.is_none() => CoscmdFile::read(&home.join(".cos.conf"))?,
            _ => CoscmdFile::default(),
        };
        let default_bucket = if request.local.is_some() { Some(LOCAL_BUCKET.to_owned()) } else { coscmd.bucket() };
        let source: MountSource = with_bucket(request.source, default_bucket)?.parse()?;

        let typed = request.flags.over(mount_options::parse(&request.mount_options)?);
        let mut warnings = unused(&typed, request.local.is_some());
        warnings.extend(configs.iter().flat_map(|(path, config)| unused_sections(path, config, &source)));
        let mut settings = typed.over(environment.settings()?);
        for (_, config) in &configs {
            settings = settings.over(config.settings(source.bucket.as_str()));
        }
        for path in
            [&mut settings.credentials_file, &mut settings.log_file, &mut settings.state_dir].into_iter().flatten()
        {
            *path = directory.join(&path);
        }
        check(&settings)?;
        warnings.extend(limited(&settings));
        let mut remarks = Vec::new();
        let service = match request.local {
            Some(data) => Service::Local {
                directory: directory.join(data),
                listen: request.local_listen.unwrap_or(LOCAL_LISTEN_DEFAULT),
            },
            None => {
                if settings.endpoint.is_none() && settings.region.is_none() {
                    settings.endpoint = coscmd.endpoint();
                    settings.region = coscmd.region.clone();
                }
                let endpoint = endpoint(&settings)?;
                let sources = Sources { environment, configs: &configs, coscmd: &coscmd };
                let Found { credentials, origin } = credentials::find(&sources, &settings, source.bucket.as_str())?;
                remarks.push(format!("using the id {} from {origin}", credentials.secret_id));
                if coscmd.is_exposed {
                    remarks
                        .push("~/.cos.conf holds a secret and others can read it; run: chmod 600 ~/.cos.conf".into());
                }
                warnings.extend(unread_credentials(environment));
                if endpoint.is_open_to_others() {
                    let origin = endpoint.route(&source.bucket).origin;
                    warnings.push(format!(
                        "{origin} is another machine and what goes there is not encrypted: objects can be read and changed on \
                         the way; use https"
                    ));
                }
                Service::Remote { endpoint, credentials }
            }
        };
        let mount_point = directory.join(request.mount_point);
        let state_dir = settings.state_dir.clone();
        let state_dir = state_dir.or_else(|| environment.state_directory(rustix::process::geteuid().as_raw()));
        let config = MountConfig::of(settings, source, mount_point, service);
        Ok(MountConfig { state_dir, remarks, warnings, ..config })
    }

    /// Fills every layer's options in.
    fn of(settings: Settings, source: MountSource, mount_point: PathBuf, service: Service) -> MountConfig {
        let (upload, retry) = (UploadOptions::default(), RetryOptions::default());
        let memory_bytes = settings.memory.map_or_else(default_memory_bytes, |size| size.0);
        MountConfig {
            upload: UploadOptions {
                part_bytes: settings.part_size.map_or(upload.part_bytes, |size| size.0),
                concurrency: settings.upload_concurrency.map_or(upload.concurrency, |count| count as usize),
                on_conflict: settings.on_conflict.map_or(upload.on_conflict, on_conflict),
            },
            retry: RetryOptions { deadline: settings.request_timeout.map_or(retry.deadline, |span| span.0), ..retry },
            memory_bytes,
            read: ReadOptions::default(),
            fs: fs_options(&settings, &source, memory_bytes),
            fuse: fuse_options(&settings, &source, memory_bytes),
            unmount_timeout: settings.unmount_timeout.map_or(UNMOUNT_TIMEOUT_DEFAULT, |span| span.0),
            state_dir: None,
            resume_window: settings.resume_window.map_or(ResumeWindow::ByWorth, |span| ResumeWindow::For(span.0)),
            region: settings.region.clone(),
            proxy: settings.proxy.clone(),
            log_file: settings.log_file.clone(),
            log_level: settings.log_level.clone(),
            source,
            mount_point,
            service,
            remarks: Vec::new(),
            warnings: Vec::new(),
            settings,
        }
    }
}

/// The configuration files, the best first: one that was named, or the user's; then the machine's.
fn read_configs(request: &MountRequest, environment: &Environment) -> Result<Vec<(PathBuf, ConfigFile)>, ConfigError> {
    let named = request.config_file.clone().or_else(|| environment.named_config_file());
    let mut configs = Vec::new();
    match named {
        Some(path) => {
            let path = request.directory.join(path);
            configs.push((path.clone(), ConfigFile::read_named(&path)?));
        }
        None => {
            if let Some(path) = environment.config_file() {
                configs.push((path.clone(), ConfigFile::read(&path)?));
            }
        }
    }
    let path = environment.system_directory().join("cosmount.toml");
    configs.push((path.clone(), ConfigFile::read_system(&path)?));
    Ok(configs)
}

/// Settings that choose a service and its credentials, which a mount that brings its own has no use for.
const OF_A_SERVICE: [&str; 7] =
    ["region", "endpoint", "internal", "accelerate", "proxy", "secret_id", "credentials_file"];

/// What was typed and has no meaning here.
fn unused(typed: &Settings, is_local: bool) -> Vec<String> {
    let said = typed.said().into_iter().filter(|name| is_local && OF_A_SERVICE.contains(name));
    said.map(|name| format!("--{} is not used, because --local brings its own service", name.replace('_', "-")))
        .collect()
}

/// Sections of a configuration file that no mount, or not this one, has a use for.
fn unused_sections(path: &Path, config: &ConfigFile, source: &MountSource) -> Vec<String> {
    let bucket = source.bucket.as_str();
    let names: Vec<&str> = config.bucket_sections().collect();
    let nobodys = |name: &&&str| BucketName::new(**name).is_err();
    let mut told: Vec<String> = names
        .iter()
        .filter(nobodys)
        .map(|name| {
            format!(
                "{} has a section [bucket.{name}] that nothing uses: the full name of a bucket is NAME-APPID",
                path.display()
            )
        })
        .collect();
    if told.is_empty() && !names.is_empty() && !names.contains(&bucket) {
        told.push(format!("{} has sections for {}, and none for {bucket}", path.display(), names.join(", ")));
    }
    told
}

/// Sizes that are said and cannot be honoured.
fn limited(settings: &Settings) -> Vec<String> {
    let memory = settings.memory.map_or_else(default_memory_bytes, |size| size.0);
    let (eighth, available) = (memory / 8 / MIB * MIB, available_memory_bytes());
    let mut told = Vec::new();
    if let Some(size) = settings.part_size.filter(|size| size.0 > eighth) {
        let (used, memory) = (ByteSize(eighth), ByteSize(memory / MIB * MIB));
        told.push(format!("part_size {size} is above an eighth of the memory, {memory}: first parts have {used}"));
    }
    if let Some(size) = settings.memory.filter(|size| size.0 > available) {
        let available = ByteSize(available / MIB * MIB);
        told.push(format!("memory {size} is more than the {available} that there are for this process"));
    }
    told
}

const MIB: u64 = 1 << 20;

/// Credentials of the environment that look as if they were used.
fn unread_credentials(environment: &Environment) -> Option<String> {
    let names = environment.unread_credentials();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let told = format!("{} of the environment {verb} not read; COS_SECRETID and COS_SECRETKEY are", names.join(", "));
    (!names.is_empty()).then_some(told)
}

/// `:/PREFIX` and nothing at all stand for the default bucket.
fn with_bucket(source: Option<String>, default_bucket: Option<String>) -> Result<String, ConfigError> {
    match source {
        Some(source) if !source.starts_with(':') => Ok(source),
        other => {
            let bucket = default_bucket.ok_or(ConfigError::NoBucket)?;
            Ok(bucket + other.as_deref().unwrap_or_default())
        }
    }
}

/// A URL goes before everything that follows from a region.
fn endpoint(settings: &Settings) -> Result<Endpoint, ConfigError> {
    let refused = |name: &'static str| move |error: EndpointError| invalid(name, error.to_string());
    if let Some(url) = &settings.endpoint {
        return Endpoint::custom(url).map_err(refused("endpoint"));
    }
    let (internal, accelerate) = (settings.internal == Some(true), settings.accelerate == Some(true));
    match (&settings.region, internal, accelerate) {
        (_, true, true) => Ok(Endpoint::accelerate_internal()),
        (_, false, true) => Ok(Endpoint::accelerate()),
        (Some(region), true, false) => Endpoint::internal(region).map_err(refused("region")),
        (Some(region), false, false) => Endpoint::region(region).map_err(refused("region")),
        (None, _, false) => Err(ConfigError::NoRegion),
    }
}

fn fs_options(settings: &Settings, source: &MountSource, memory_bytes: u64) -> FsOptions {
    let default = FsOptions::default();
    let bits = |mode: Option<Mode>, default: u32| mode.map_or(default, |mode| mode.0);
    FsOptions {
        prefix: source.prefix.clone(),
        metadata_bytes: usize::try_from(settings.metadata_memory.map_or(memory_bytes / 8, |size| size.0))
            .unwrap_or(usize::MAX),
        metadata_ttl: settings.metadata_ttl.map_or(default.metadata_ttl, |Span(ttl)| ttl),
        owner: Owner {
            uid: settings.uid.map_or_else(|| rustix::process::geteuid().as_raw(), |Account(uid)| uid),
            gid: settings.gid.map_or_else(|| rustix::process::getegid().as_raw(), |Group(gid)| gid),
        },
        // As mount(8) says of `uid=` and `gid=`: the owner of all files.
        owner_is_forced: settings.uid.is_some() || settings.gid.is_some(),
        file_mode: bits(settings.file_mode, default.file_mode),
        dir_mode: bits(settings.dir_mode, default.dir_mode),
        umask: bits(settings.umask, default.umask),
        read_only: settings.read_only.unwrap_or(default.read_only),
        temporary: match &settings.hold_temporary {
            Some(HoldChoice::Off) => Temporary::none(),
            Some(HoldChoice::Also(patterns)) => Temporary::and(patterns.iter().map(String::as_str)),
            None => default.temporary,
        },
        hold_for: settings.hold_seconds.map_or(default.hold_for, |Span(span)| span),
        gather_for: default.gather_for,
        attributes: settings.attributes.unwrap_or(default.attributes),
        hard_links: settings.hard_links.unwrap_or(default.hard_links),
        remove_unnameable: settings.remove_unnameable.unwrap_or(default.remove_unnameable),
        types_by_name: settings.content_type.map_or(default.types_by_name, |choice| choice == TypeChoice::ByName),
    }
}

fn on_conflict(choice: ConflictChoice) -> OnConflict {
    match choice {
        ConflictChoice::Overwrite => OnConflict::Overwrite,
        ConflictChoice::Fail => OnConflict::Fail,
        ConflictChoice::KeepBoth => {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            OnConflict::KeepBoth { host: name }
        }
    }
}

fn fuse_options(settings: &Settings, source: &MountSource, memory_bytes: u64) -> FuseOptions {
    let default = FuseOptions::default();
    FuseOptions {
        source: source.to_string(),
        read_only: settings.read_only.unwrap_or(default.read_only),
        allow_other: settings.allow_other.unwrap_or(default.allow_other),
        request_bytes_max: FuseOptions::request_bytes_for(memory_bytes),
        threads: settings.threads.map_or(default.threads, |threads| threads as usize),
    }
}

fn invalid(name: &str, reason: String) -> ConfigError {
    ConfigError::InvalidSetting { origin: "configuration".into(), name: name.into(), reason }
}

/// Checks what a type alone cannot.
fn check(settings: &Settings) -> Result<(), ConfigError> {
    if let Some(size) = settings.part_size {
        let (least, most) = (ByteSize(UploadOptions::PART_BYTES_MIN), ByteSize(UploadOptions::PART_BYTES_MAX));
        if size < least || size > most {
            let reason = format!("{size} is outside {least} to {most}, what the service takes");
            return Err(invalid("part_size", reason));
        }
    }
    if let Some(size) = settings.memory
        && size < MEMORY_MIN
    {
        return Err(invalid("memory", format!("{size} is too little to work with; the least is {MEMORY_MIN}")));
    }
    if let Some(size) = settings.metadata_memory
        && size < METADATA_MEMORY_MIN
    {
        let reason = format!("{size} is too little to work with; the least is {METADATA_MEMORY_MIN}");
        return Err(invalid("metadata_memory", reason));
    }
    let counts = [
        ("upload_concurrency", settings.upload_concurrency, UPLOAD_CONCURRENCY_MAX),
        ("threads", settings.threads, THREADS_MAX),
    ];
    for (name, value, most) in counts {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            return Err(invalid(name, format!("{value} is outside 1 to {most}")));
        }
    }
    Ok(())
}

/// Parts are held to an eighth of the memory, and the service takes none below 1 MiB; twice that leaves room to read.
const MEMORY_MIN: ByteSize = ByteSize(16 << 20);
/// A few pages of listings.
const METADATA_MEMORY_MIN: ByteSize = ByteSize(1 << 20);
/// More connections than this for one file only queue in the network.
const UPLOAD_CONCURRENCY_MAX: u32 = 256;
/// Threads answer the kernel and never wait, so more than there are cores in any machine help nobody.
const THREADS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::from([("COS_SECRETID", "id"), ("COS_SECRETKEY", "key"), ("COSMOUNT_PART_SIZE", "2M")])
            .with_system_directory("/nonexistent")
    }

    fn request() -> MountRequest {
        MountRequest {
            source: Some("photos-125:/a".into()),
            mount_point: "/mnt".into(),
            flags: Settings { region: Some("ap-beijing".into()), ..Settings::default() },
            ..MountRequest::default()
        }
    }

    #[test]
    fn each_source_goes_over_the_one_below_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "part_size = '1M'\nuid = 1\ngid = 1\nupload_concurrency = 1\n").unwrap();
        let mut environment = Environment::from([
            ("COS_SECRETID", "id"),
            ("COS_SECRETKEY", "key"),
            ("COSMOUNT_PART_SIZE", "2M"),
            ("COSMOUNT_UID", "2"),
            ("COSMOUNT_GID", "2"),
        ]);
        environment = environment.with_system_directory("/nonexistent");
        let mut request = request();
        request.config_file = Some(path);
        request.mount_options = vec!["part_size=3M,uid=3".into()];
        request.flags.part_size = Some(ByteSize(4 << 20));

        let config = MountConfig::build(request, &environment).unwrap();
        assert_eq!((config.upload.part_bytes, config.upload.concurrency), (4 << 20, 1));
        assert_eq!((config.fs.owner, config.fs.owner_is_forced), (Owner { uid: 3, gid: 2 }, true));
        assert_eq!((config.fs.prefix.as_str(), config.fs.file_mode), ("a/", 0o644));
        assert_eq!(config.unmount_timeout, UNMOUNT_TIMEOUT_DEFAULT);
    }

    #[test]
    fn values_outside_what_can_work_are_refused() {
        let table = [
            ("part_size=1000", "part_size: 1000 is outside 1MiB to 5GiB"),
            ("part_size=6GiB", "part_size: 6GiB is outside"),
            ("memory=1M", "memory: 1MiB is too little"),
            ("upload_concurrency=0", "upload_concurrency: 0 is outside 1 to"),
            ("threads=1000", "threads: 1000 is outside 1 to 64"),
        ];
        for (option, expected) in table {
            let mut request = request();
            request.mount_options = vec![option.into()];
            let error = MountConfig::build(request, &environment()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_asked_for_and_not_done_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = directory.path().join("config.toml");
            std::fs::write(&path, text).unwrap();
            path
        };
        let warnings = |config: &str, options: &str, variables: &[(&str, &str)], local: Option<&str>| {
            let mut request = request();
            (request.config_file, request.mount_options) = (Some(file(config)), vec![options.into()]);
            request.local = local.map(PathBuf::from);
            if local.is_some() {
                request.flags = Settings::default();
            }
            let ours = [("COS_SECRETID", "id"), ("COS_SECRETKEY", "key")];
            let all = ours.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let environment = Environment::new(all).with_system_directory("/nonexistent");
            MountConfig::build(request, &environment).unwrap().warnings
        };
        let nothing: [&str; 0] = [];
        assert_eq!(warnings("[bucket.photos-125]\npart_size = '1M'", "memory=16M", &[], None), nothing);
        let table = [
            (
                "",
                "part_size=64M,memory=256M",
                None,
                "part_size 64MiB is above an eighth of the memory, 256MiB: first parts have 32MiB",
            ),
            ("", "memory=900T", None, "memory 900TiB is more than the "),
            ("", "region=sg", Some("/data"), "--region is not used, because --local brings its own service"),
            (
                "[bucket.photos]",
                "ro",
                None,
                "[bucket.photos] that nothing uses: the full name of a bucket is NAME-APPID",
            ),
            (
                "",
                "url=http://192.0.2.7:9444",
                None,
                "http://192.0.2.7:9444 is another machine and what goes there is not encrypted",
            ),
            ("[bucket.photo-125]", "ro", None, "has sections for photo-125, and none for photos-125"),
        ];
        for (config, options, local, expected) in table {
            let told = warnings(config, options, &[], local);
            assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
        }
        let told = warnings("", "ro", &[("COS_SECRET_ID", "x"), ("AWS_ACCESS_KEY_ID", "y")], None);
        assert_eq!(
            told,
            ["COS_SECRET_ID, AWS_ACCESS_KEY_ID of the environment are not read; COS_SECRETID and COS_SECRETKEY are"]
        );
    }

    #[test]
    fn credentials_that_are_not_read_are_named_where_there_are_no_others() {
        let environment = Environment::from([("AWS_ACCESS_KEY_ID", "y")]).with_system_directory("/nonexistent");
        let error = MountConfig::build(request(), &environment).unwrap_err().to_string();
        assert!(error.starts_with("no credentials found: AWS_ACCESS_KEY_ID of the environment is not read"), "{error}");
    }

    #[test]
    fn a_configuration_file_that_was_named_must_be_there() {
        let mut named = request();
        named.config_file = Some("none.toml".into());
        named.directory = "/nonexistent".into();
        let error = MountConfig::build(named, &environment()).unwrap_err().to_string();
        assert_eq!(error, "/nonexistent/none.toml is missing: it was named as the configuration file");
        let by_variable = Environment::from([("COSMOUNT_CONFIG", "/nonexistent/c.toml")]);
        assert!(
            MountConfig::build(request(), &by_variable).unwrap_err().to_string().contains("/nonexistent/c.toml is")
        );
    }

    #[test]
    fn the_machines_file_is_below_the_users() {
        let (etc, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(etc.path().join("cosmount.toml"), "region = 'sg'\npart_size = '1M'\n").unwrap();
        std::fs::create_dir(home.path().join("cosmount")).unwrap();
        std::fs::write(home.path().join("cosmount/config.toml"), "part_size = '2M'\n").unwrap();
        let variables =
            [("COS_SECRETID", "i"), ("COS_SECRETKEY", "k"), ("XDG_CONFIG_HOME", home.path().to_str().unwrap())];
        let environment = Environment::from(variables).with_system_directory(etc.path());
        let config =
            MountConfig::build(MountRequest { flags: Settings::default(), ..request() }, &environment).unwrap();
        assert_eq!((config.region.as_deref(), config.upload.part_bytes), (Some("sg"), 2 << 20));
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let mut no_region = request();
        no_region.flags.region = None;
        assert_eq!(MountConfig::build(no_region, &environment()).unwrap_err(), ConfigError::NoRegion);
        let mut no_bucket = request();
        no_bucket.source = None;
        assert_eq!(MountConfig::build(no_bucket, &environment()).unwrap_err(), ConfigError::NoBucket);
        let nothing = Environment::from([]).with_system_directory("/nonexistent");
        assert_eq!(MountConfig::build(request(), &nothing).unwrap_err(), ConfigError::NoCredentials);
    }

    #[test]
    fn a_local_mount_needs_nothing() {
        let request = MountRequest { local: Some("/data".into()), mount_point: "/mnt".into(), ..Default::default() };
        let nothing = Environment::from([]).with_system_directory("/nonexistent");
        let config = MountConfig::build(request, &nothing).unwrap();
        assert_eq!(config.source.to_string(), LOCAL_BUCKET);
        assert!(matches!(config.service, Service::Local { directory, .. } if directory.as_os_str() == "/data"));
    }

    #[test]
    fn coscmds_file_fills_in_what_nobody_says() {
        let home = tempfile::tempdir().unwrap();
        let text = "[common]\nsecret_id = cid\nsecret_key = ckey\nbucket = photos-125\nregion = ap-beijing\n";
        std::fs::write(home.path().join(".cos.conf"), text).unwrap();
        let environment =
            Environment::from([("HOME", home.path().to_str().unwrap())]).with_system_directory("/nonexistent");
        let request = MountRequest { source: Some(":/x".into()), mount_point: "/mnt".into(), ..Default::default() };

        let config = MountConfig::build(request, &environment).unwrap();
        assert_eq!(config.source.to_string(), "photos-125:/x");
        assert_eq!(config.remarks.len(), 2, "{:?}", config.remarks);
        assert!(config.remarks[0].starts_with("using the id cid from ") && config.remarks[1].contains("chmod 600"));
        let Service::Remote { endpoint, credentials } = config.service else { panic!("not remote") };
        assert_eq!((endpoint, credentials.secret_id.as_str()), (Endpoint::region("ap-beijing").unwrap(), "cid"));
    }

    #[test]
    fn the_endpoint_follows_from_region_and_switches_unless_a_url_is_given() {
        let region = || Some("ap-beijing".to_owned());
        let settings = Settings::default;
        let table = [
            (Settings { region: region(), ..settings() }, Endpoint::region("ap-beijing")),
            (Settings { region: region(), internal: Some(true), ..settings() }, Endpoint::internal("ap-beijing")),
            (Settings { accelerate: Some(true), ..settings() }, Ok(Endpoint::accelerate())),
            (
                Settings { accelerate: Some(true), internal: Some(true), ..settings() },
                Ok(Endpoint::accelerate_internal()),
            ),
            (
                Settings { endpoint: Some("http://127.0.0.1:1".into()), region: region(), ..settings() },
                Endpoint::custom("http://127.0.0.1:1"),
            ),
        ];
        for (settings, expected) in table {
            assert_eq!(endpoint(&settings).unwrap(), expected.unwrap(), "{settings:?}");
        }
        let wrong = Settings { endpoint: Some("ftp://x".into()), ..settings() };
        assert!(endpoint(&wrong).unwrap_err().to_string().starts_with("configuration: endpoint: \"ftp://x\""));
    }
}
