//! The command line.
//!
//! What each flag means when it is not given, and what it may be, is `config`'s; here are their names and their help.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{Account, ByteSize, Group, LogLevel, MountRequest, Settings, Span};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed for a reason without a code of its own
  2  wrong usage or configuration
  3  the service refused: credentials, bucket or region, or it cannot be reached
  4  the mount point, or FUSE on this machine
  5  unmounted, but something could not be published";

/// Mount a Tencent COS bucket as a directory.
#[derive(Debug, Parser)]
#[command(name = "cosmount", version, propagate_version = true, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Mount(Box<MountArguments>),
    Serve(ServeArguments),
    Unmount(UnmountArguments),
    Status(StatusArguments),
    Sync(SyncArguments),
    Trace(TraceArguments),
    Uploads(UploadsArguments),
    Doctor(Box<DoctorArguments>),
}

/// Mount a bucket on a directory, and return once it answers.
///
/// Credentials come from COS_SECRETID and COS_SECRETKEY, TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY,
/// ~/.config/cosmount/config.toml, coscmd's ~/.cos.conf, cosfs's passwd file, the files of tccli, or a role; a secret is never
/// a flag.
/// Every option with a value can also be given as -o NAME=VALUE, as COSMOUNT_NAME, or in config.toml.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true, after_help = EXIT_CODES)]
pub(super) struct MountArguments {
    /// BUCKET-APPID[:/PREFIX]; may be left out with --local, or if ~/.cos.conf names a bucket
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: Option<String>,

    /// The directory to mount on
    #[arg(value_name = "DIR", required = true)]
    pub(super) mount_point: PathBuf,

    /// Keep the objects in DATADIR on this machine, served by this same process
    #[arg(long, value_name = "DATADIR")]
    local: Option<PathBuf>,

    /// With --local, the address of the service [default: 127.0.0.1 and a free port]
    #[arg(long, value_name = "ADDRESS", requires = "local")]
    listen: Option<SocketAddr>,

    /// Stay in the foreground and log to the terminal
    #[arg(long, short = 'f')]
    pub(super) foreground: bool,

    /// This process is the daemon: tell on standard output when the mount answers
    #[arg(long, hide = true)]
    pub(super) daemon: bool,

    /// mount(8) runs this process, for programs that read what it prints: a success says nothing
    #[arg(long, hide = true)]
    pub(super) by_mount: bool,

    /// Mount options as mount(8) has them: ro, allow_other, uid=, gid=, umask=, ... or any option here
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(super) mount_options: Vec<String>,

    /// Configuration file [default: ~/.config/cosmount/config.toml over /etc/cosmount.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,

    #[command(flatten, next_help_heading = "Transfer")]
    transfer: TransferFlags,

    #[command(flatten, next_help_heading = "Files")]
    files: FileFlags,

    #[command(flatten, next_help_heading = "View")]
    view: ViewFlags,

    #[command(flatten, next_help_heading = "Log")]
    log: LogFlags,
}

#[derive(Clone, Debug, Args)]
struct ServiceFlags {
    /// Region of the bucket, for example ap-guangzhou
    #[arg(long)]
    region: Option<String>,
    /// Base URL of the service, in place of the one that follows from the region
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Use the host that is reachable only inside Tencent Cloud
    #[arg(long)]
    internal: bool,
    /// Use global acceleration, which must be switched on for the bucket
    #[arg(long)]
    accelerate: bool,
    /// Go through this HTTP proxy; the environment is not asked for one
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Use the credentials with this id, where several are known
    #[arg(long, value_name = "ID")]
    secret_id: Option<String>,
    /// Take the credentials from this file, in one of cosfs's forms (mode 0600)
    #[arg(long, alias = "passwd-file", value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Use the keys of this role of the virtual machine, or of the one that it has: auto
    #[arg(long, value_name = "NAME")]
    cam_role: Option<String>,
    /// Trust the authorities whose certificates are in this file (PEM), and no others
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Let requests go to other machines without encryption
    #[arg(long)]
    allow_http: bool,
    /// How long a request that fails is tried again [default: 90s]
    #[arg(long, value_name = "TIME")]
    request_timeout: Option<Span>,
}

#[derive(Debug, Args)]
struct TransferFlags {
    /// Size of the first parts of an upload, 1MiB to 5GiB [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    part_size: Option<ByteSize>,
    /// Parts of one file on their way at the same time [default: 8]
    #[arg(long, value_name = "N")]
    upload_concurrency: Option<u32>,
    /// Every buffer together [default: 512MiB or a quarter of the memory, whichever is less]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// What is kept of names and attributes, beside what the kernel refers to [default: an eighth of --memory]
    #[arg(long, value_name = "SIZE")]
    metadata_memory: Option<ByteSize>,
    /// When somebody else has changed a file that is published: overwrite, fail or keep-both [default: overwrite]
    #[arg(long, value_name = "HOW")]
    on_conflict: Option<crate::config::ConflictChoice>,
    /// Let closed temporary files wait for their final name: off, on, or more names to wait for, as '*.draft:*.new'
    /// [default: on]
    #[arg(long, value_name = "NAMES")]
    hold_temporary: Option<crate::config::HoldChoice>,
    /// How long they wait at most [default: 5s]
    #[arg(long, value_name = "TIME")]
    hold_seconds: Option<Span>,
    /// Where is written down what the next mount has to end if this one is killed [default: $XDG_STATE_HOME/cosmount;
    /// without it /var/lib/cosmount for root, else ~/.local/state/cosmount]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long an upload that a killed mount has left is kept, so that a file that is written again goes on from there
    /// [default: from 32 MiB on, ten times as long as it took, 30s to a day]
    #[arg(long, value_name = "TIME")]
    resume_window: Option<Span>,
    /// How long unmounting may publish what is open [default: 60s]
    #[arg(long, value_name = "TIME")]
    unmount_timeout: Option<Span>,
}

#[derive(Debug, Args)]
struct FileFlags {
    /// Refuse every change through the mount
    #[arg(long)]
    read_only: bool,
    /// Let other users use the mount
    #[arg(long)]
    allow_other: bool,
    /// How long names and listings are believed without asking again [default: 5s]
    #[arg(long, value_name = "TIME")]
    metadata_ttl: Option<Span>,
    /// Where modes, owners and times come from: full (the objects), or listing (never asks for them) [default: full]
    #[arg(long, value_name = "FROM")]
    attributes: Option<crate::fs::AttributeSource>,
    /// What a hard link is: copy (made on the service, a file of its own from then on), or refuse (an error) [default: copy]
    #[arg(long, value_name = "HOW")]
    hard_links: Option<crate::fs::HardLinks>,
    /// Whether keys that cannot be file names, which the mount does not show, are removed along with the directory that they
    /// are in: --remove-unnameable=no keeps them, and the directory [default: yes]
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
          value_parser = clap::builder::BoolishValueParser::new())]
    remove_unnameable: Option<bool>,
    /// The Content-Type of new objects: by-name, or none [default: by-name]
    #[arg(long, value_name = "HOW")]
    content_type: Option<crate::config::TypeChoice>,
    /// The user that everything belongs to, by number or name [default: what objects say, else who mounts]
    #[arg(long, value_name = "USER")]
    uid: Option<Account>,
    /// The group that everything belongs to, by number or name [default: what objects say, else who mounts]
    #[arg(long, value_name = "GROUP")]
    gid: Option<Group>,
    /// Permission bits that are taken from everything, in octal
    #[arg(long, value_name = "MODE")]
    umask: Option<crate::config::Mode>,
    /// Mode of files whose objects name none, in octal [default: 0644]
    #[arg(long, value_name = "MODE")]
    file_mode: Option<crate::config::Mode>,
    /// Mode of directories whose objects name none, in octal [default: 0755]
    #[arg(long, value_name = "MODE")]
    dir_mode: Option<crate::config::Mode>,
    /// Threads that answer the kernel
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
}

#[derive(Debug, Args)]
struct ViewFlags {
    /// Show metrics for Prometheus and a page for people here: a port of this machine as 9464, IP:PORT, or unix:/PATH
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<crate::config::ListenAddress>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct LogFlags {
    /// Write log lines to this file [default: the terminal in the foreground, else syslog]
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// off, error, warn, info, debug or trace, or a filter as RUST_LOG has it [default: RUST_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<LogLevel>,
}

/// Run a COS service on this machine, with its data in a directory.
///
/// Credentials are COS_SECRETID and COS_SECRETKEY of the environment; without them a pair is made at the first start and
/// kept in DIR/credentials.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Where objects and their index are kept
    #[arg(value_name = "DIR", required_unless_present = "in_memory")]
    pub(super) directory: Option<PathBuf>,
    /// If the index in DIR is missing or damaged, make it anew from the journal
    #[arg(long, conflicts_with = "in_memory")]
    pub(super) rebuild: bool,
    /// Host and port to listen on; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9444")]
    pub(super) listen: String,
    /// A bucket that is there from the start; may be repeated [default: local-1250000000]
    #[arg(long, value_name = "NAME-APPID")]
    pub(super) bucket: Vec<String>,
    /// Write one JSON line for each request to this file
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// Keep objects and index in memory, and forget them at the end
    #[arg(long)]
    pub(super) in_memory: bool,
    /// The smallest part but the last, for tests
    #[arg(long, value_name = "N")]
    pub(super) min_part_bytes: Option<ByteSize>,
    /// The most parts of an upload, for tests
    #[arg(long, value_name = "N")]
    pub(super) max_parts: Option<u32>,
    /// Wait this many milliseconds before every answer, for tests
    #[arg(long, value_name = "N")]
    pub(super) latency_ms: Option<u64>,
    /// Do wrong on purpose what this file says, for tests (docs/FAULTS.md)
    #[arg(long, value_name = "PLAN")]
    pub(super) faults: Option<PathBuf>,
    #[command(flatten)]
    pub(super) log: LogFlags,
}

/// Publish what is open, unmount, and wait until all of it is done.
#[derive(Debug, Args)]
#[command(visible_alias = "umount")]
pub(super) struct UnmountArguments {
    /// The directory that a bucket is mounted on
    #[arg(value_name = "DIR")]
    pub(super) mount_point: PathBuf,
}

/// Show how mounts fare: what is open, what is not published yet and how far it is, memory, requests, the last errors.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// A directory that a bucket is mounted on, or anything in it [default: all mounts of this user]
    #[arg(value_name = "DIR")]
    pub(super) mount_point: Option<PathBuf>,
    /// Write JSON: one object with DIR, an array without; with --watch an object on each line
    #[arg(long)]
    pub(super) json: bool,
    /// Go on showing it until Ctrl-C
    #[arg(long, short = 'w')]
    pub(super) watch: bool,
}

/// Publish what is open or waits, and return when it is in the bucket.
///
/// A file that is being written is published as it is by now, as fsync does it; its writer goes on.
#[derive(Debug, Args)]
pub(super) struct SyncArguments {
    /// A mount, or a file or directory in one [default: all mounts of this user]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
}

/// Show each request to the service and each call of a program as it happens.
#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    /// A mount, or a file or directory in one to hear of that alone
    #[arg(value_name = "DIR")]
    pub(super) path: PathBuf,
    /// Only requests to the service, or only calls of programs
    #[arg(long, value_name = "WHAT")]
    pub(super) only: Option<TraceOnly>,
    /// Only operations and calls of this name, with * and ?; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) operation: Vec<String>,
    /// Only keys and paths that match, with * and ?
    #[arg(long, value_name = "GLOB")]
    pub(super) key: Option<String>,
    /// Only calls of this process
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Only what took longer than this, for example 100ms
    #[arg(long, value_name = "TIME")]
    pub(super) slower_than: Option<Span>,
    /// Only what failed
    #[arg(long)]
    pub(super) failed: bool,
    /// Write a JSON object on each line
    #[arg(long)]
    pub(super) json: bool,
}

/// What a trace may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TraceOnly {
    Requests,
    Calls,
}

/// Show or abort unfinished multipart uploads, whose parts are stored and paid for.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct UploadsArguments {
    #[command(subcommand)]
    pub(super) action: UploadsAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum UploadsAction {
    /// Show them: key, id, age, parts, bytes, and whose they are
    List(UploadsSelection),
    /// Abort them, but for those of mounts that live on this machine; without a filter, all below the prefix
    Abort(UploadsSelection),
}

#[derive(Debug, Args)]
pub(super) struct UploadsSelection {
    /// BUCKET-APPID[:/PREFIX]
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: String,
    /// Only those that mounts of this user on this machine have begun
    #[arg(long)]
    pub(super) mine: bool,
    /// Only those that were begun so long ago, for example 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub(super) older_than: Option<Span>,
    /// Only keys that match, with * and ?
    #[arg(long, value_name = "GLOB")]
    pub(super) key: Option<String>,
    /// Abort nothing, only show what would be
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write one JSON array
    #[arg(long)]
    pub(super) json: bool,
    /// Where mounts of this user write down what they begin
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,
}

/// Check everything that a mount needs, and name what is wrong and what to do about it.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// BUCKET-APPID[:/PREFIX]; may be left out if ~/.cos.conf names a bucket
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: Option<String>,
    /// The directory to mount on, if that shall be looked at too
    #[arg(value_name = "DIR")]
    pub(super) mount_point: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Write nothing into the bucket, and so do not try what needs that
    #[arg(long)]
    read_only: bool,
    /// What the mount would be given: let other users use it
    #[arg(long)]
    allow_other: bool,
    /// What the mount would be given: every buffer together
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// What the mount would be given: where is written down what it begins
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Options as the mount would be given them: allow_other, memory=, ...
    #[arg(short = 'o', value_name = "OPTIONS")]
    mount_options: Vec<String>,
    /// Configuration file [default: ~/.config/cosmount/config.toml over /etc/cosmount.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,
}

impl DoctorArguments {
    /// What the command line says, in config's words.
    pub(super) fn request(&self) -> MountRequest {
        MountRequest {
            source: self.source.clone(),
            mount_point: self.mount_point.clone().unwrap_or_default(),
            config_file: self.config.clone(),
            mount_options: self.mount_options.clone(),
            flags: Settings {
                state_dir: self.state_dir.clone(),
                memory: self.memory,
                allow_other: self.allow_other.then_some(true),
                ..self.service.clone().settings()
            },
            ..MountRequest::default()
        }
    }

    /// Whether the bucket shall stay as it is.
    pub(super) fn writes_nothing(&self) -> bool {
        self.read_only
    }
}

impl UploadsSelection {
    /// What the command line says of the service, in config's words.
    pub(super) fn request(&self) -> MountRequest {
        MountRequest {
            source: Some(self.source.clone()),
            config_file: self.config.clone(),
            flags: Settings { state_dir: self.state_dir.clone(), ..self.service.clone().settings() },
            ..MountRequest::default()
        }
    }
}

impl ServiceFlags {
    fn settings(self) -> Settings {
        // A switch that is not given says nothing, so that a file may still say yes.
        let given = |switch: bool| switch.then_some(true);
        Settings {
            region: self.region,
            endpoint: self.endpoint,
            internal: given(self.internal),
            accelerate: given(self.accelerate),
            proxy: self.proxy,
            secret_id: self.secret_id,
            credentials_file: self.credentials_file,
            cam_role: self.cam_role,
            ca_bundle: self.ca_bundle,
            allow_http: given(self.allow_http),
            request_timeout: self.request_timeout,
            ..Settings::default()
        }
    }
}

impl MountArguments {
    /// Whether `mount(8)` asks to change the options of a mount that is there, and if so whether it shall be read-only.
    pub(super) fn remounts(&self) -> Option<bool> {
        let options = || self.mount_options.iter().flat_map(|text| text.split(','));
        let is_read_only = options().rfind(|option| ["ro", "rw"].contains(option)) == Some("ro");
        options().any(|option| option == "remount").then_some(is_read_only || self.files.read_only)
    }

    /// What the command line says, in config's words.
    pub(super) fn request(self) -> MountRequest {
        let MountArguments { service, transfer, files, view, log, .. } = self;
        let given = |switch: bool| switch.then_some(true);
        let flags = Settings {
            part_size: transfer.part_size,
            upload_concurrency: transfer.upload_concurrency,
            memory: transfer.memory,
            metadata_memory: transfer.metadata_memory,
            on_conflict: transfer.on_conflict,
            hold_temporary: transfer.hold_temporary,
            hold_seconds: transfer.hold_seconds,
            attributes: files.attributes,
            hard_links: files.hard_links,
            remove_unnameable: files.remove_unnameable,
            content_type: files.content_type,
            unmount_timeout: transfer.unmount_timeout,
            state_dir: transfer.state_dir,
            resume_window: transfer.resume_window,
            read_only: given(files.read_only),
            allow_other: given(files.allow_other),
            metadata_ttl: files.metadata_ttl,
            uid: files.uid,
            gid: files.gid,
            umask: files.umask,
            file_mode: files.file_mode,
            dir_mode: files.dir_mode,
            threads: files.threads,
            metrics_listen: view.metrics_listen,
            log_file: log.log_file,
            log_level: log.log_level,
            ..service.settings()
        };
        MountRequest {
            source: self.source,
            local: self.local,
            local_listen: self.listen,
            mount_point: self.mount_point,
            directory: PathBuf::new(),
            config_file: self.config,
            mount_options: self.mount_options,
            flags,
        }
    }
}

/// What people take for flags and is none, because everybody who lists processes would see the value.
const SECRET_FLAGS: [&str; 4] = ["--secret-key", "--secret_key", "--token", "--security-token"];

/// The flag with a secret that is among the arguments, if there is one.
pub(super) fn secret_flag(arguments: &[OsString]) -> Option<&'static str> {
    let is_it = |argument: &OsString, flag: &str| {
        argument
            .to_str()
            .and_then(|text| text.strip_prefix(flag))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    SECRET_FLAGS.into_iter().find(|flag| arguments.iter().any(|argument| is_it(argument, flag)))
}

/// Flags of `mount(8)` helpers that take a value, and those that do not; both say nothing to this file system.
const HELPER_FLAGS_WITH_VALUE: [&str; 2] = ["-t", "-N"];
const HELPER_FLAGS: [&str; 3] = ["-s", "-n", "-v"];

/// Makes the command line that people would type of the one that `mount(8)` calls.
///
/// For the type `fuse.cosmount` it runs `cosmount SOURCE DIR -o OPTIONS`, for the type `cosmount` it runs
/// `mount.cosmount SOURCE DIR [-snv] [-t TYPE] [-o OPTIONS]`.
pub(super) fn from_mount_helper(arguments: Vec<OsString>) -> Vec<OsString> {
    let program = arguments.first().and_then(|name| Path::new(name).file_name());
    let is_helper = program.is_some_and(|name| name == "mount.cosmount");
    let is_bucket =
        |text: &OsString| text.to_str().is_some_and(|text| text.parse::<crate::config::MountSource>().is_ok());
    if !is_helper && !arguments.get(1).is_some_and(is_bucket) {
        return arguments;
    }
    let mut rest = arguments.into_iter();
    let mut typed = vec![rest.next().unwrap_or_default(), "mount".into(), "--by-mount".into()];
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some(flag) if is_helper && HELPER_FLAGS_WITH_VALUE.contains(&flag) => drop(rest.next()),
            Some(flag) if is_helper && HELPER_FLAGS.contains(&flag) => {}
            _ => typed.push(argument),
        }
    }
    typed
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    fn mount_request(line: &str) -> MountRequest {
        match parse(line).command {
            Command::Mount(arguments) => arguments.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn one_place_is_the_mount_point_and_two_are_source_and_mount_point() {
        let request = mount_request("cosmount mount photos-1:/a /mnt");
        assert_eq!((request.source.as_deref(), request.mount_point), (Some("photos-1:/a"), "/mnt".into()));
        let request = mount_request("cosmount mount --local /data /mnt");
        assert_eq!((request.source, request.mount_point), (None, PathBuf::from("/mnt")));
        assert_eq!(request.local, Some("/data".into()));
        assert!(Arguments::try_parse_from(["cosmount", "mount"]).is_err());
    }

    #[test]
    fn a_switch_that_is_not_given_says_nothing() {
        let flags = mount_request("cosmount mount b-1 /mnt --read-only --part-size 16MiB --umask 027").flags;
        assert_eq!((flags.read_only, flags.allow_other), (Some(true), None));
        assert_eq!(flags.part_size, Some(ByteSize(16 << 20)));
        assert_eq!(flags.umask, Some(crate::config::Mode(0o027)));
    }

    #[test]
    fn every_setting_has_a_flag() {
        let command = Arguments::command();
        let mount = command.find_subcommand("mount").unwrap();
        for name in Settings::NAMES {
            let flag = name.replace('_', "-");
            assert!(mount.get_arguments().any(|argument| argument.get_long() == Some(&flag)), "--{flag}");
        }
    }

    #[test]
    fn there_is_no_flag_for_a_secret() {
        for flag in ["--secret-key", "--token"] {
            assert!(Arguments::try_parse_from(["cosmount", "mount", "b-1", "/mnt", flag, "x"]).is_err());
        }
    }

    #[test]
    fn a_secret_among_the_arguments_is_noticed() {
        let found = |line: &str| secret_flag(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(found("cosmount mount b-1 /mnt --secret-key x"), Some("--secret-key"));
        assert_eq!(found("cosmount mount b-1 /mnt --token=x"), Some("--token"));
        assert_eq!(found("cosmount mount b-1 /mnt --secret-keys x"), None);
    }

    #[test]
    fn every_subcommand_tells_the_version() {
        for name in ["mount", "serve", "unmount"] {
            let error = Arguments::try_parse_from(["cosmount", name, "--version"]).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::DisplayVersion, "{name}");
        }
    }

    /// The table of flags in README.md and the flags are the same.
    #[test]
    fn the_readme_lists_every_flag_and_no_other() {
        let readme = include_str!("../../README.md");
        let listed = |subcommand: &str, from: &str, to: &str| {
            let start = readme.find(from).unwrap();
            let text = &readme[start..start + readme[start..].find(to).unwrap()];
            let first_cells = text.lines().filter_map(|line| line.strip_prefix("| `--")?.split('|').next());
            let words = first_cells.flat_map(|cell| cell.split('`')).filter_map(|word| word.split([' ', '[']).next());
            // The first word of a cell has lost its dashes with the beginning of the row.
            let names = words.map(|word| word.trim_start_matches("--"));
            let mut flags: Vec<String> =
                names.filter(|name| name.len() > 1 && !name.starts_with(['-', ','])).map(str::to_owned).collect();
            flags.sort();
            flags.dedup();
            let command = Arguments::command();
            let known = command.find_subcommand(subcommand).unwrap();
            let mut expected: Vec<String> = known
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
                .filter_map(|argument| argument.get_long().map(str::to_owned))
                .filter(|flag| !["help", "version"].contains(&flag.as_str()))
                .collect();
            expected.sort();
            (flags, expected)
        };
        let (flags, expected) = listed("mount", "### Configuration", "Sizes are");
        assert_eq!(flags, expected);
        let (flags, expected) = listed("serve", "## A COS service of your own", "## What it promises");
        assert_eq!(flags, expected);
    }

    #[test]
    fn mount_8_may_call_in_both_its_ways() {
        let table = [
            ("cosmount photos-1 /mnt -o ro,dev", "cosmount mount --by-mount photos-1 /mnt -o ro,dev"),
            (
                "/sbin/mount.cosmount photos-1:/a /mnt -n -t cosmount -o rw,_netdev",
                "/sbin/mount.cosmount mount --by-mount photos-1:/a /mnt -o rw,_netdev",
            ),
            ("cosmount mount photos-1 /mnt", "cosmount mount photos-1 /mnt"),
            ("cosmount serve /data", "cosmount serve /data"),
            ("cosmount", "cosmount"),
        ];
        for (called, typed) in table {
            let called = called.split(' ').map(OsString::from).collect();
            assert_eq!(from_mount_helper(called).join(&OsString::from(" ")), typed);
        }
    }

    #[test]
    fn a_service_needs_a_directory_unless_it_forgets() {
        assert!(Arguments::try_parse_from(["cosmount", "serve"]).is_err());
        assert!(Arguments::try_parse_from(["cosmount", "serve", "--in-memory"]).is_ok());
    }
}
