//! One mount, fully decided: every source laid over the defaults, every value checked.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::coscmd::CoscmdFile;
use super::credentials::Sources;
use super::file::ConfigFile;
use super::key_source::{Deciding, KeySource};
use super::memory::{available_memory_bytes, default_memory_bytes};
use super::prices::SaidPrices;
use super::{
    Account, Aspect, ByteSize, ConfigError, ConflictChoice, Environment, Group, HoldChoice, ListenAddress, LogFormat,
    LogLevel, Mode, MountSource, Notice, Prices, Settings, Span, TagChoice, TrashDirectory, TypeChoice, mount_options,
};
use crate::cache::CacheOptions;
use crate::fs::{Deletes, Excluded, FsOptions, Overwrites, Owner, Temporary};
use crate::fuse::FuseOptions;
use crate::object::{BucketName, Protection};
use crate::read::ReadOptions;
use crate::store::{BYTES_PER_SECOND_MIN, NetworkOptions, ObjectOptions, Rates, ResumeWindow, RetryOptions};
use crate::upload::{OnConflict, UploadOptions};
use crate::wire::address::{Endpoint, EndpointError};

/// The bucket of the local service when none is named.
pub const LOCAL_BUCKET: &str = "local-1250000000";

/// What may wait for the disk at most, in bytes.
const CACHE_WAITING_BYTES_MAX: u64 = 64 << 20;

/// The smallest cache on disk, in bytes.
const CACHE_BYTES_MIN: u64 = 64 << 20;

/// What copies on disk take where nobody says: 10 GiB.
const CACHE_BYTES_DEFAULT: u64 = 10 << 30;

/// A share of a file that never has come, in percent.
const CACHE_FILL_NEVER: u32 = 101;

/// How long unmounting may publish what is open, unless told otherwise: systemd kills what has not ended 90 s after it
/// was asked to, and what could not be published has to be told before that.
const UNMOUNT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Only this machine can reach a mount's own service, on a port that nobody else has.
const LOCAL_LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// What a command line says of one mount.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// How this machine reaches others.
    pub network: NetworkOptions,
    /// How long requests are tried again.
    pub retry: RetryOptions,
    /// How many requests and bytes there may be in a second.
    pub rates: Rates,
    /// Every buffer of the mount together, in bytes.
    pub memory_bytes: u64,
    /// How files are uploaded.
    pub upload: UploadOptions,
    /// How files are read.
    pub read: ReadOptions,
    /// Where copies of what is read are kept, if anywhere.
    pub cache: Option<CacheOptions>,
    /// Of which share of an object that has come the rest is fetched, too, in percent; more than 100 for never.
    pub cache_fill_percent: u32,
    /// Whether what is written is kept there, too.
    pub cache_writes: bool,
    /// Names and attributes.
    pub fs: FsOptions,
    /// The moment of the past that is mounted, if it is not the present.
    pub as_of: Option<SystemTime>,
    /// The kernel's side.
    pub fuse: FuseOptions,
    /// How long unmounting may publish what is open.
    pub unmount_timeout: Duration,
    /// Where is kept what a mount that dies leaves to the next one; `None` where nothing can be.
    pub state_dir: Option<PathBuf>,
    /// How long uploads that a dead mount has left are kept for their files to be written again.
    pub resume_window: ResumeWindow,
    /// Where metrics and a page tell how the mount fares, if anywhere.
    pub metrics_listen: Option<ListenAddress>,
    /// What requests cost, where somebody has said it.
    pub prices: Option<Prices>,
    /// Where log lines go, if not to the usual place.
    pub log_file: Option<PathBuf>,
    /// Which log lines are written, if not the usual ones.
    pub log_level: Option<LogLevel>,
    /// What they are like.
    pub log_format: LogFormat,
    /// What is worth a line in the log once it is open: files that others can read.
    pub remarks: Vec<Notice>,
    /// What was asked for and is not done, for whoever mounts.
    pub warnings: Vec<Notice>,
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
        keys: KeySource,
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
        let (directory, before) = (request.directory.clone(), request.clone());
        let configs = read_configs(&request, environment)?;
        let coscmd = match environment.home() {
            Some(home) if request.local.is_none() => CoscmdFile::read(&home.join(".cos.conf"))?,
            _ => CoscmdFile::default(),
        };
        let default_bucket = if request.local.is_some() { Some(LOCAL_BUCKET.to_owned()) } else { coscmd.bucket() };
        let named = with_bucket(request.source, default_bucket)?;
        let typed = request.flags.over(mount_options::parse(&request.mount_options)?);
        let mut warnings = about(Aspect::Configuration, unused(&typed, request.local.is_some()));
        let mut settings = typed.over(environment.settings()?);
        // What a file says is said of a bucket by its name, and it may be the file that says which kind of name that is.
        let bucket = MountSource::bucket_in(&named);
        let mut prices = SaidPrices::default();
        for (_, config) in &configs {
            settings = settings.over(config.settings(bucket));
            prices = prices.over(config.prices(bucket));
        }
        if request.local.is_some() {
            settings.s3 = None;
        } else if named.starts_with("s3://") {
            settings.s3 = settings.s3.or(Some(true));
        }
        let source = if settings.s3 == Some(true) { MountSource::of_s3(&named)? } else { named.parse()? };
        let sections = configs.iter().flat_map(|(path, config)| unused_sections(path, config, &settings, bucket));
        warnings.extend(about(Aspect::Configuration, sections));
        let prices = prices.decided().map_err(|reason| invalid("prices", reason))?;
        let Settings { credentials_file, ca_bundle, log_file, state_dir, cache, .. } = &mut settings;
        for path in [credentials_file, ca_bundle, log_file, state_dir, cache] {
            *path = path.take().map(|path| directory.join(path));
        }
        if let Some(ListenAddress::Unix(path)) = &mut settings.metrics_listen {
            *path = directory.join(&*path);
        }
        check(&settings)?;
        warnings.extend(about(Aspect::Memory, limited(&settings)));
        warnings.extend(about(Aspect::Configuration, settings.metrics_listen.as_ref().and_then(shown_to_others)));
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
                let (request, sources) = (&before, &sources);
                let bucket = source.bucket.as_str();
                let keys = KeySource::decide(&Deciding { request, sources, settings: &settings, bucket })?;
                if coscmd.is_exposed {
                    let cause = "~/.cos.conf holds a secret and others can read it";
                    remarks.push(Notice::mended_by(Aspect::Credentials, cause, "chmod 600 ~/.cos.conf"));
                }
                if settings.s3 != Some(true) {
                    warnings.extend(about(Aspect::Credentials, unread_credentials(environment)));
                }
                if endpoint.is_open_to_others() {
                    let told = open_to_others(&settings, endpoint.route(&source.bucket).origin)?;
                    warnings.push(Notice::new(Aspect::Encryption, told));
                }
                Service::Remote { endpoint, keys }
            }
        };
        let mount_point = directory.join(request.mount_point);
        if let Some(cache) = settings.cache.as_deref().filter(|cache| is_below(cache, &mount_point)) {
            let told = format!("{} is in the mount itself: name a directory on a disk", cache.display());
            return Err(invalid("cache", told));
        }
        let state_dir = settings.state_dir.clone();
        let state_dir = state_dir.or_else(|| environment.state_directory(rustix::process::geteuid().as_raw()));
        let authorities = settings.ca_bundle.as_deref().map(authorities).transpose()?;
        let decided = MountConfig::of(settings, source, mount_point, service);
        let network = NetworkOptions { authorities, no_proxy: environment.no_proxy(), ..decided.network };
        Ok(MountConfig { state_dir, remarks, warnings, network, prices, ..decided })
    }

    /// Fills every layer's options in.
    fn of(settings: Settings, source: MountSource, mount_point: PathBuf, service: Service) -> MountConfig {
        let (upload, retry) = (UploadOptions::default(), RetryOptions::default());
        let memory_bytes = settings.memory.map_or_else(default_memory_bytes, |size| size.0);
        MountConfig {
            upload: UploadOptions {
                part_bytes: settings.part_size.map_or(upload.part_bytes, |size| size.0),
                concurrency: settings.upload_concurrency.map_or(upload.concurrency, |count| count as usize),
                on_conflict: settings
                    .on_conflict
                    .or(implied_conflict(&settings))
                    .map_or(upload.on_conflict, on_conflict),
            },
            retry: RetryOptions { deadline: settings.request_timeout.map_or(retry.deadline, |span| span.0), ..retry },
            rates: rates(&settings),
            memory_bytes,
            read: ReadOptions::default(),
            cache: settings.cache.clone().map(|directory| CacheOptions {
                directory,
                bytes_max: settings.cache_size.map_or(CACHE_BYTES_DEFAULT, |size| size.0),
                // A disk that is slow must not keep the memory from those who read and write.
                waiting_bytes_max: (memory_bytes / 8).min(CACHE_WAITING_BYTES_MAX),
            }),
            cache_fill_percent: settings.cache_fill.unwrap_or(CACHE_FILL_NEVER),
            cache_writes: settings.cache_writes.unwrap_or(true),
            fs: fs_options(&settings, &source, memory_bytes),
            as_of: settings.as_of.map(|moment| moment.0),
            fuse: fuse_options(&settings, &source, memory_bytes),
            unmount_timeout: settings.unmount_timeout.map_or(UNMOUNT_TIMEOUT_DEFAULT, |span| span.0),
            state_dir: None,
            resume_window: settings.resume_window.map_or(ResumeWindow::ByWorth, |span| ResumeWindow::For(span.0)),
            region: settings.region.clone(),
            network: NetworkOptions { proxy: settings.proxy.clone(), ..NetworkOptions::default() },
            metrics_listen: settings.metrics_listen.clone(),
            prices: None,
            log_file: settings.log_file.clone(),
            log_level: settings.log_level.clone(),
            log_format: settings.log_format.unwrap_or_default(),
            source,
            mount_point,
            service,
            remarks: Vec::new(),
            warnings: Vec::new(),
            settings,
        }
    }
}

fn about(aspect: Aspect, sentences: impl IntoIterator<Item = String>) -> Vec<Notice> {
    sentences.into_iter().map(|sentence| Notice::new(aspect, sentence)).collect()
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
pub const OF_A_SERVICE: [&str; 13] = [
    "region",
    "endpoint",
    "s3",
    "path_style",
    "profile",
    "internal",
    "accelerate",
    "proxy",
    "secret_id",
    "credentials_file",
    "cam_role",
    "ca_bundle",
    "allow_http",
];

/// What was typed and has no meaning here.
fn unused(typed: &Settings, is_local: bool) -> Vec<String> {
    let said = typed.said().into_iter().filter(|name| is_local && OF_A_SERVICE.contains(name));
    said.map(|name| format!("--{} is not used, because --local brings its own service", name.replace('_', "-")))
        .collect()
}

/// Sections of a configuration file that no mount, or not this one, has a use for.
fn unused_sections(path: &Path, config: &ConfigFile, settings: &Settings, bucket: &str) -> Vec<String> {
    let names: Vec<&str> = config.bucket_sections().collect();
    // One that COS cannot have may be one of S3, where the configuration is for both.
    let is_s3 = |name: &str| settings.s3 == Some(true) || config.settings(name).s3 == Some(true);
    let nobodys = |name: &&&str| BucketName::new(**name).is_err() && !is_s3(name);
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

/// What signatures name where nobody says: services of one's own take it, and AWS's oldest region is called so.
const S3_REGION: &str = "us-east-1";

const MIB: u64 = 1 << 20;

/// What to say of a page that other machines can get at.
fn shown_to_others(address: &ListenAddress) -> Option<String> {
    address.is_open_to_others().then(|| {
        format!(
            "the metrics and the page on {address} ask nobody who they are: every machine that gets there sees names of \
             files and failures"
        )
    })
}

/// What to say of a service that is reached without encryption, where that is allowed at all.
fn open_to_others(settings: &Settings, origin: String) -> Result<String, ConfigError> {
    if settings.allow_http == Some(true) {
        let what = "what goes there is not encrypted: objects can be read and changed on the way";
        return Ok(format!("{origin} is another machine and {what}; use https"));
    }
    Err(ConfigError::Unencrypted { origin })
}

/// Certificates of authorities in PEM.
fn authorities(path: &Path) -> Result<Arc<[u8]>, ConfigError> {
    const BUNDLE_BYTES_MAX: u64 = 4 << 20;
    let failed = |error: std::io::Error| ConfigError::file(path, format!("cannot be read: {error}"));
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(BUNDLE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    const BEGINNING: &[u8] = b"-----BEGIN CERTIFICATE-----";
    if !text.windows(BEGINNING.len()).any(|window| window == BEGINNING) {
        return Err(ConfigError::file(
            path,
            "holds no certificate: it was named as the file with those of authorities (PEM)",
        ));
    }
    Ok(text.into())
}

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
    if settings.s3 == Some(true) {
        let region = settings.region.as_deref().unwrap_or(S3_REGION);
        return Endpoint::s3(settings.endpoint.as_deref(), region, settings.path_style == Some(true))
            .map_err(refused("endpoint"));
    }
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

/// Whether a path, which need not be there, is a directory or below it.
fn is_below(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| {
        let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.map_or(path.to_owned(), |(above, real)| real.join(path.strip_prefix(above).unwrap_or(Path::new(""))))
    };
    path.starts_with(directory) || real(path).starts_with(real(directory))
}

fn fs_options(settings: &Settings, source: &MountSource, memory_bytes: u64) -> FsOptions {
    let default = FsOptions::default();
    let bits = |mode: Option<Mode>, default: u32| mode.map_or(default, |mode| mode.0);
    FsOptions {
        prefix: source.prefix.clone(),
        metadata_bytes: usize::try_from(settings.metadata_memory.map_or(memory_bytes / 8, |size| size.0))
            .unwrap_or(usize::MAX),
        metadata_ttl: settings.metadata_ttl.map_or(default.metadata_ttl, |Span(ttl)| ttl),
        metadata_entries: settings.metadata_entries.map_or(default.metadata_entries, |count| count as usize),
        negative_ttl: settings.negative_ttl.map(|Span(ttl)| ttl),
        owner: Owner {
            uid: settings.uid.map_or_else(|| rustix::process::geteuid().as_raw(), |Account(uid)| uid),
            gid: settings.gid.map_or_else(|| rustix::process::getegid().as_raw(), |Group(gid)| gid),
        },
        // As mount(8) says of `uid=` and `gid=`: the owner of all files.
        owner_is_forced: settings.uid.is_some() || settings.gid.is_some(),
        file_mode: bits(settings.file_mode, default.file_mode),
        dir_mode: bits(settings.dir_mode, default.dir_mode),
        umask: bits(settings.umask, default.umask),
        read_only: is_read_only(settings),
        deletes: match &settings.trash {
            _ if settings.no_delete == Some(true) => Deletes::Refused,
            Some(TrashDirectory(directory)) => Deletes::ToTrash(directory.clone()),
            None => default.deletes,
        },
        overwrites: match settings.no_overwrite {
            Some(true) => Overwrites::Refused,
            _ => default.overwrites,
        },
        statfs_bytes: settings.statfs_bytes.map_or(default.statfs_bytes, |size| size.0),
        excluded: settings
            .exclude
            .as_ref()
            .map_or(default.excluded, |choice| Excluded::of(choice.0.iter().map(String::as_str))),
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
        objects: object_options(settings),
    }
}

/// The past cannot be changed.
fn is_read_only(settings: &Settings) -> bool {
    settings.as_of.is_some() || settings.read_only.unwrap_or(false)
}

fn object_options(settings: &Settings) -> ObjectOptions {
    ObjectOptions {
        storage_class: settings.storage_class.clone().and_then(|choice| choice.0),
        protection: Protection {
            acl: settings.acl.clone().and_then(|choice| choice.0),
            encryption: settings.sse.clone().and_then(|choice| choice.0),
        },
        tags: settings.tag.as_ref().map(TagChoice::tags).unwrap_or_default(),
        headers: settings.header.clone().unwrap_or_default().0,
    }
}

/// What was made elsewhere meanwhile is not replaced either, where nothing is.
fn implied_conflict(settings: &Settings) -> Option<ConflictChoice> {
    (settings.no_overwrite == Some(true)).then_some(ConflictChoice::Fail)
}

fn rates(settings: &Settings) -> Rates {
    Rates {
        requests: settings.requests_per_second.and_then(NonZeroU32::new),
        up: settings.bandwidth_up.map(|size| size.0),
        down: settings.bandwidth_down.map(|size| size.0),
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
        read_only: is_read_only(settings),
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
    let of_cache = [
        ("cache_size", settings.cache_size.is_some()),
        ("cache_fill", settings.cache_fill.is_some()),
        ("cache_writes", settings.cache_writes.is_some()),
    ];
    if let Some((name, _)) = of_cache.into_iter().find(|(_, is_said)| *is_said && settings.cache.is_none()) {
        return Err(invalid(name, "there is no cache: name a directory for it with --cache".to_owned()));
    }
    if let Some(size) = settings.cache_size.filter(|size| size.0 < CACHE_BYTES_MIN) {
        return Err(invalid("cache_size", format!("{size} is less than a cache is good for: at least 64MiB")));
    }
    if let Some(percent) = settings.cache_fill.filter(|percent| !(1..=100).contains(percent)) {
        return Err(invalid("cache_fill", format!("{percent} is no share of a file: 1 to 100 percent")));
    }
    let rates = [("bandwidth_up", settings.bandwidth_up), ("bandwidth_down", settings.bandwidth_down)];
    for (name, rate) in rates {
        if let Some(rate) = rate.filter(|rate| rate.0 < BYTES_PER_SECOND_MIN) {
            let least = ByteSize(BYTES_PER_SECOND_MIN);
            return Err(invalid(name, format!("{rate} a second is too little to work with; the least is {least}")));
        }
    }
    if settings.requests_per_second == Some(0) {
        return Err(invalid("requests_per_second", "0 is none at all; the least is 1".to_owned()));
    }
    if let Some(size) = settings.statfs_bytes.filter(|size| *size < MEMORY_MIN) {
        return Err(invalid("statfs_bytes", format!("{size} is too little to work with; the least is {MEMORY_MIN}")));
    }
    if settings.no_delete == Some(true) && settings.trash.is_some() {
        let reason = "nothing comes there where no_delete is said, too: leave one of them out".to_owned();
        return Err(invalid("trash", reason));
    }
    let counts = [
        ("metadata_entries", settings.metadata_entries, u32::MAX),
        ("upload_concurrency", settings.upload_concurrency, UPLOAD_CONCURRENCY_MAX),
        ("threads", settings.threads, THREADS_MAX),
    ];
    for (name, value, most) in counts {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            return Err(invalid(name, format!("{value} is outside 1 to {most}")));
        }
    }
    if let Some(flaw) = settings.tag.as_ref().and_then(TagChoice::flaw) {
        return Err(invalid("tag", flaw));
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
            MountConfig::build(request, &environment)
                .unwrap()
                .warnings
                .iter()
                .map(Notice::to_string)
                .collect::<Vec<_>>()
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
                "url=http://192.0.2.7:9444,allow_http",
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

    /// Who says that the service speaks S3 decides what a bucket may be called, wherever it is said.
    #[test]
    fn a_bucket_of_s3_is_one_wherever_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let built = |config: &str, variable: &str, options: &str, source: &str| {
            let path = directory.path().join("config.toml");
            std::fs::write(&path, config).unwrap();
            let keys = [
                ("COS_SECRETID", "i"),
                ("COS_SECRETKEY", "k"),
                ("AWS_ACCESS_KEY_ID", "i"),
                ("AWS_SECRET_ACCESS_KEY", "k"),
            ];
            let said =
                keys.into_iter().chain([("COSMOUNT_S3", variable)]).map(|(name, value)| (name.into(), value.into()));
            let environment = Environment::new(said).with_system_directory("/nonexistent");
            let mount_options = vec![options.to_owned()];
            let request =
                MountRequest { source: Some(source.into()), config_file: Some(path), mount_options, ..request() };
            MountConfig::build(request, &environment)
        };
        let of_s3 = [
            ("s3 = true", "", "rw", "photos:/a"),
            ("[bucket.photos]\ns3 = true", "", "rw", "photos:/a"),
            ("[bucket.photos]\ns3 = true", "", "rw", "s3://photos/a"),
            ("", "true", "rw", "photos:/a"),
            ("", "", "s3", "photos:/a"),
            ("s3 = false", "", "s3", "photos:/a"),
            ("", "", "rw", "s3://photos/a"),
        ];
        for (config, variable, options, source) in of_s3 {
            let decided = built(config, variable, options, source).unwrap();
            assert_eq!(
                (decided.source.to_string().as_str(), decided.settings.s3),
                ("photos:/a", Some(true)),
                "{config}"
            );
            assert!(decided.warnings.is_empty(), "{config}: {:?}", decided.warnings);
            let Service::Remote { endpoint, .. } = decided.service else { panic!("not remote") };
            assert_eq!(endpoint, Endpoint::s3(None, "ap-beijing", false).unwrap(), "{config}");
        }
        let of_cos = [
            ("", "", "rw"),
            ("[bucket.films]\ns3 = true", "", "rw"),
            ("s3 = true", "", "s3=no"),
            ("s3 = true", "false", "rw"),
        ];
        for (config, variable, options) in of_cos {
            let refused = built(config, variable, options, "photos:/a").unwrap_err();
            assert!(matches!(refused, ConfigError::Source { .. }), "{config}: {refused}");
            assert!(built(config, variable, options, "photos-125:/a").is_ok());
        }
        assert!(built("", "", "s3=no", "s3://photos/a").is_err());
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
    fn what_is_not_encrypted_stays_on_this_machine_unless_somebody_allows_it() {
        let built = |url: &str, allow_http| {
            let flags = Settings { endpoint: Some(url.into()), allow_http, ..Settings::default() };
            MountConfig::build(MountRequest { flags, ..request() }, &environment())
        };
        let refused = built("http://192.0.2.7:9444", None).unwrap_err().to_string();
        assert!(refused.starts_with("http://192.0.2.7:9444 is another machine") && refused.contains("--allow-http"));
        assert!(built("http://cos.ap-beijing.myqcloud.com", None).is_err());
        assert!(built("http://192.0.2.7:9444", Some(true)).is_ok());
        assert!(built("http://127.0.0.1:9444", None).is_ok() && built("https://192.0.2.7", None).is_ok());
    }

    #[test]
    fn certificates_of_authorities_are_read_and_looked_at() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("none.pem"), "hello").unwrap();
        std::fs::write(place.path().join("one.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        let built = |name: &str| {
            let flags = Settings { ca_bundle: Some(place.path().join(name)), ..request().flags };
            MountConfig::build(MountRequest { flags, ..request() }, &environment())
        };
        assert!(built("none.pem").unwrap_err().to_string().contains("holds no certificate"));
        assert!(built("missing.pem").unwrap_err().to_string().contains("cannot be read"));
        assert!(built("one.pem").unwrap().network.authorities.is_some());
    }

    /// A home, the environment and what comes of it: where keys come from, as it is shown.
    fn source_of_keys(home: &Path, variables: &[(&str, &str)], options: &str) -> Result<String, ConfigError> {
        let all = [("HOME", home.to_str().unwrap())].into_iter().chain(variables.iter().copied());
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::new(all).with_system_directory("/nonexistent");
        let request = MountRequest { mount_options: vec![options.to_owned()], ..request() };
        match MountConfig::build(request, &environment)?.service {
            Service::Remote { keys, .. } => Ok(keys.provider(&NetworkOptions::default()).unwrap().origin()),
            Service::Local { .. } => panic!("not remote"),
        }
    }

    const A_KEY: [(&str, &str); 2] = [("TENCENTCLOUD_SECRET_ID", "i"), ("TENCENTCLOUD_SECRET_KEY", "k")];

    #[test]
    fn a_role_comes_after_keys_unless_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let tke = [("TKE_ROLE_ARN", "arn"), ("TKE_PROVIDER_ID", "p"), ("TKE_WEB_IDENTITY_TOKEN_FILE", "/t")];
        let others = [
            ("TENCENTCLOUD_ROLE_ARN", "arn"),
            ("TENCENTCLOUD_PROVIDER_ID", "p"),
            ("TENCENTCLOUD_WEB_IDENTITY_TOKEN_FILE", "/t"),
        ];
        let mut older = tke;
        older[2].0 = "TKE_IDENTITY_TOKEN_FILE";
        let source = |variables: &[(&str, &str)], options| source_of_keys(home.path(), variables, options).unwrap();
        for workload in [tke, others, older] {
            assert_eq!(source(&workload, "rw"), "the role arn, assumed by the token in /t");
            let with_key = [&workload[..], &A_KEY].concat();
            assert_eq!(source(&with_key, "rw"), "environment (TENCENTCLOUD_SECRET_ID)");
            assert_eq!(source(&with_key, "cam_role=writer"), "this machine's role writer");
        }
        let half = source_of_keys(home.path(), &tke[1..], "rw").unwrap_err().to_string();
        assert_eq!(half, "environment: a file with a token is given but TKE_ROLE_ARN is not: give both, or neither");
        assert_eq!(source(&[], "cam_role=auto"), "the role of this machine");
        let assumed = [&A_KEY[..], &[("TENCENTCLOUD_ROLE_ARN", "arn")]].concat();
        assert_eq!(source(&assumed, "rw"), "the role arn, assumed by environment (TENCENTCLOUD_SECRET_ID)");
        assert_eq!(source(&assumed, "cam_role=writer"), "this machine's role writer");
        let elsewhere = [&assumed[..], &[("COSMOUNT_STS_URL", "http://192.0.2.7")]].concat();
        assert!(source_of_keys(home.path(), &elsewhere, "rw").unwrap_err().to_string().contains("without encryption"));
    }

    #[test]
    fn a_program_tells_the_key_where_the_configuration_names_one() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".config/cosmount/config.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "credential_process = 'key-of cosmount'\n").unwrap();
        let source = |variables: &[(&str, &str)]| source_of_keys(home.path(), variables, "rw");
        let told = format!("the credential_process of {}", file.display());
        assert_eq!(source(&[]).unwrap(), told);
        assert_eq!(source(&A_KEY).unwrap(), "environment (TENCENTCLOUD_SECRET_ID)");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert!(source(&[]).unwrap_err().to_string().contains("names a command and others can change it"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let named = source_of_keys(home.path(), &[], "credential_process=key-of").unwrap_err();
        assert!(named.to_string().contains("there is no option"), "only a file may name a program: {named}");
    }

    /// A key that takes the place of another in its file is found; a file that is gone lets no other one count.
    #[tokio::test]
    async fn a_key_in_a_file_is_read_again_where_it_was_found() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, id: &str| {
            std::fs::write(home.path().join(name), format!("[common]\nsecret_id={id}\nsecret_key=k\n")).unwrap();
        };
        write(".cos.conf", "first");
        let environment =
            Environment::from([("HOME", home.path().to_str().unwrap())]).with_system_directory("/nonexistent");
        let Service::Remote { keys, .. } = MountConfig::build(request(), &environment).unwrap().service else {
            panic!("not remote")
        };
        let provider = keys.provider(&NetworkOptions::default()).unwrap();
        let id = async || provider.provide().await.map(|issued| issued.credentials.secret_id);
        assert_eq!(id().await.unwrap(), "first");
        write(".cos.conf", "second");
        assert_eq!(id().await.unwrap(), "second");
        std::fs::remove_file(home.path().join(".cos.conf")).unwrap();
        std::fs::create_dir(home.path().join(".tccli")).unwrap();
        let other = r#"{"secretId":"other","secretKey":"k"}"#;
        std::fs::write(home.path().join(".tccli/default.credential"), other).unwrap();
        assert!(id().await.unwrap_err().message.ends_with(".cos.conf has no key any more"));
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
        assert!(
            config.remarks.len() == 1 && config.remarks[0].fix.as_deref() == Some("chmod 600 ~/.cos.conf"),
            "{:?}",
            config.remarks
        );
        let Service::Remote { endpoint, keys } = config.service else { panic!("not remote") };
        assert_eq!(endpoint, Endpoint::region("ap-beijing").unwrap());
        assert!(format!("{keys:?}").contains("cid") && !format!("{keys:?}").contains("ckey"), "{keys:?}");
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
