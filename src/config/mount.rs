//! One mount, fully decided: every source laid over the defaults, every value checked.

use std::path::PathBuf;
use std::time::Duration;

use super::coscmd::CoscmdFile;
use super::credentials::{self, Credentials, Sources};
use super::file::ConfigFile;
use super::memory::default_memory_bytes;
use super::{ByteSize, ConfigError, Environment, MountSource, Settings, mount_options};
use crate::wire::Limits;

/// The bucket of the local service when none is named.
pub const LOCAL_BUCKET: &str = "local-1250000000";

/// How long unmounting may publish what is open, unless told otherwise: systemd kills what has not ended 90 s after it
/// was asked to, and what could not be published has to be told before that.
const UNMOUNT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// What a command line says of one mount.
#[derive(Clone, Debug, Default)]
pub struct MountRequest {
    /// `BUCKET[:/PREFIX]`.
    pub source: Option<String>,
    /// The directory of the local service, for a mount that brings its own.
    pub local: Option<PathBuf>,
    /// Where to mount.
    pub mount_point: PathBuf,
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
    /// What was said of everything else, all sources together.
    pub settings: Settings,
    /// Every buffer of the mount together, in bytes.
    pub memory_bytes: u64,
    /// How long unmounting may publish what is open.
    pub unmount_timeout: Duration,
}

/// Where the bucket is.
#[derive(Clone, Debug)]
pub enum Service {
    /// Somewhere else, spoken to with these credentials.
    Remote(Credentials),
    /// In this directory, served by this process.
    Local(PathBuf),
}

impl MountConfig {
    /// Decides a mount: defaults < file < environment < `-o` < flags.
    ///
    /// Reads the configuration files and nothing else. coscmd's file fills in what nobody else says.
    pub fn build(request: MountRequest, environment: &Environment) -> Result<MountConfig, ConfigError> {
        let config_path = request.config_file.or_else(|| environment.config_file()).unwrap_or_default();
        let config = ConfigFile::read(&config_path)?;
        let coscmd = match environment.home() {
            Some(home) if request.local.is_none() => CoscmdFile::read(&home.join(".cos.conf"))?,
            _ => CoscmdFile::default(),
        };
        let default_bucket = if request.local.is_some() { Some(LOCAL_BUCKET.to_owned()) } else { coscmd.bucket() };
        let source: MountSource = with_bucket(request.source, default_bucket)?.parse()?;

        let mut settings = request
            .flags
            .over(mount_options::parse(&request.mount_options)?)
            .over(environment.settings()?)
            .over(config.settings(source.bucket.as_str()));
        check(&settings)?;
        let service = match request.local {
            Some(directory) => Service::Local(directory),
            None => {
                fill_in_address(&mut settings, &coscmd)?;
                let sources = Sources { environment, config_path: &config_path, config: &config, coscmd: &coscmd };
                Service::Remote(credentials::find(&sources, &settings, source.bucket.as_str())?)
            }
        };
        Ok(MountConfig {
            source,
            mount_point: request.mount_point,
            service,
            memory_bytes: settings.memory.map_or_else(default_memory_bytes, |ByteSize(bytes)| bytes),
            unmount_timeout: settings.unmount_timeout.map_or(UNMOUNT_TIMEOUT_DEFAULT, |span| span.0),
            settings,
        })
    }
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

fn fill_in_address(settings: &mut Settings, coscmd: &CoscmdFile) -> Result<(), ConfigError> {
    if settings.endpoint.is_none() && settings.region.is_none() {
        settings.endpoint = coscmd.endpoint();
        settings.region = coscmd.region.clone();
    }
    let accelerated = settings.accelerate == Some(true);
    if settings.endpoint.is_none() && settings.region.is_none() && !accelerated {
        return Err(ConfigError::NoRegion);
    }
    Ok(())
}

/// Checks what a type alone cannot.
fn check(settings: &Settings) -> Result<(), ConfigError> {
    let refuse = |name: &str, reason: String| {
        Err(ConfigError::InvalidSetting { origin: "configuration".into(), name: name.into(), reason })
    };
    let limits = Limits::COS;
    if let Some(size) = settings.part_size {
        let (least, most) = (ByteSize(limits.part_bytes_min), ByteSize(limits.part_bytes_max));
        if size < least || size > most {
            return refuse("part_size", format!("{size} is outside {least} to {most}, what the service takes"));
        }
    }
    if let Some(size) = settings.memory
        && size < MEMORY_MIN
    {
        return refuse("memory", format!("{size} is too little to work with; the least is {MEMORY_MIN}"));
    }
    for (name, value, most) in [
        ("upload_concurrency", settings.upload_concurrency, UPLOAD_CONCURRENCY_MAX),
        ("threads", settings.threads, THREADS_MAX),
    ] {
        if let Some(value) = value
            && !(1..=most).contains(&value)
        {
            return refuse(name, format!("{value} is outside 1 to {most}"));
        }
    }
    Ok(())
}

/// A part of the smallest size for each of a few writers, and a reader's first window.
const MEMORY_MIN: ByteSize = ByteSize(16 << 20);
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
        std::fs::write(&path, "part_size = '1M'\nuid = 1\ngid = 1\nthreads = 1\nupload_concurrency = 1\n").unwrap();
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
        assert_eq!(config.settings.part_size, Some(ByteSize(4 << 20)));
        assert_eq!((config.settings.uid, config.settings.gid), (Some(3), Some(2)));
        assert_eq!((config.settings.threads, config.settings.upload_concurrency), (Some(1), Some(1)));
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
        assert!(matches!(config.service, Service::Local(directory) if directory.as_os_str() == "/data"));
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
        assert_eq!(config.settings.region.as_deref(), Some("ap-beijing"));
        assert!(matches!(config.service, Service::Remote(credentials) if credentials.secret_id == "cid"));
    }
}
