//! The command line.
//!
//! What each flag means when it is not given, and what it may be, is `config`'s; here are their names and their help.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args, FromArgMatches, Parser, Subcommand};

use super::terminal::Terminal;
use crate::config::{Account, ByteSize, Group, LogFormat, LogLevel, MountRequest, MountSource, Settings, Span};
use crate::wire::operation::RestoreTier;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed for a reason without a code of its own
  2  wrong usage or configuration
  3  the service refused: credentials, bucket or region, or it cannot be reached
  4  the mount point, or FUSE on this machine
  5  unmounted, but something could not be published";

const DOCTOR_EXIT_CODES: &str = "Exit codes:
  0  no failure; with warnings a mount works
  2  the first failure is of usage or configuration
  3  the first failure is of the service: credentials, bucket or region, or it cannot be reached
  4  the first failure is of the mount point, FUSE or this machine
  1  it was interrupted";

/// Mount a Tencent COS bucket as a directory.
///
/// `cosmount COMMAND -h` shows what is used most, and `cosmount COMMAND --help` everything.
#[derive(Debug, Parser)]
#[command(name = "cosmount", version, propagate_version = true, after_long_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How wide help is where nobody says.
const HELP_COLUMNS: usize = 80;
/// Longer lines are hard to read.
const HELP_COLUMNS_MAX: usize = 100;

impl Arguments {
    /// Reads a command line. Help is as wide as the terminal that it is shown on.
    pub(super) fn read(arguments: &[OsString], terminal: &Terminal) -> Result<Arguments, clap::Error> {
        let mut command = for_columns(help_columns(terminal));
        let matches = command.try_get_matches_from_mut(arguments)?;
        Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// Makes `mount -- SOURCE DIR` what it means. clap takes what comes behind the dashes for the last operand alone where the first
/// may be left out, so that they have to stand between the two: no source begins with a dash, and a directory may.
pub(super) fn with_the_last_behind_dashes(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_mount = arguments.get(1).is_some_and(|command| command == "mount");
    let dashes = arguments.iter().position(|argument| argument == "--");
    if let Some(dashes) = dashes.filter(|dashes| is_mount && arguments.len() == dashes + 3) {
        arguments.swap(dashes, dashes + 1);
    }
    arguments
}

/// The command line, for what is made of it.
pub(super) fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

fn for_columns(columns: usize) -> clap::Command {
    command().term_width(columns)
}

fn help_columns(terminal: &Terminal) -> usize {
    match terminal.columns {
        usize::MAX => HELP_COLUMNS,
        columns => columns.min(HELP_COLUMNS_MAX),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Mount(Box<MountArguments>),
    Serve(ServeArguments),
    Unmount(UnmountArguments),
    Status(StatusArguments),
    Sync(SyncArguments),
    Trace(TraceArguments),
    Log(LogArguments),
    Uploads(UploadsArguments),
    Cache(CacheArguments),
    Warm(WarmArguments),
    Restore(RestoreArguments),
    Versions(VersionsArguments),
    Doctor(Box<DoctorArguments>),
    Completions(CompletionsArguments),
}

/// Mount a bucket on a directory, and return once it answers.
///
/// Credentials come from COS_SECRETID and COS_SECRETKEY, TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY,
/// ~/.config/cosmount/config.toml, coscmd's ~/.cos.conf, cosfs's passwd file, the files of tccli, or a role; a secret is never
/// a flag.
/// Every option with a value can also be given as -o NAME=VALUE, as COSMOUNT_NAME, or in config.toml.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true, after_long_help = EXIT_CODES)]
pub(super) struct MountArguments {
    /// BUCKET-APPID, or the keys below a prefix of it
    ///
    /// May be left out with --local, or if ~/.cos.conf names a bucket.
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: Option<String>,

    /// The directory to mount on
    #[arg(value_name = "DIR", required = true)]
    pub(super) mount_point: PathBuf,

    /// Keep the objects in DATADIR on this machine
    ///
    /// They are served by this same process.
    #[arg(long, value_name = "DATADIR")]
    local: Option<PathBuf>,

    /// With --local, the address of the service [default: 127.0.0.1 and a free port]
    #[arg(long, value_name = "ADDRESS", requires = "local", hide_short_help = true)]
    listen: Option<SocketAddr>,

    /// Stay in the foreground and log to the terminal
    #[arg(long, short = 'f')]
    pub(super) foreground: bool,

    /// This process is the daemon: tell on standard output when the mount answers
    #[arg(long, hide = true)]
    pub(super) daemon: bool,

    /// mount(8) runs this process, for programs that read what it prints: a success says nothing
    #[arg(long, hide = true, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "mounts")]
    pub(super) by_mount: Option<ByMount>,

    /// Options as mount(8) has them: ro, uid=, NAME=VALUE, ...
    ///
    /// As there, several are separated by commas. Any option here with a value is one: part_size=16MiB.
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(super) mount_options: Vec<String>,

    /// Configuration file
    ///
    /// Without it ~/.config/cosmount/config.toml counts over /etc/cosmount.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,

    #[command(flatten, next_help_heading = "Transfer")]
    transfer: TransferFlags,

    #[command(flatten, next_help_heading = "Files")]
    files: FileFlags,

    #[command(flatten, next_help_heading = "Keeping")]
    keeping: KeepingFlags,

    #[command(flatten, next_help_heading = "View")]
    view: ViewFlags,

    #[command(flatten, next_help_heading = "Log")]
    log: LogFlags,
}

/// What mount(8) wants when it runs this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ByMount {
    /// A mount.
    Mounts,
    /// Nothing but that it could be asked for (`mount --fake`).
    Fakes,
}

#[derive(Clone, Debug, Args)]
struct S3Flags {
    /// The service speaks S3: AWS, or what --endpoint leads to
    #[arg(long, hide_short_help = true)]
    s3: bool,
    /// With --s3, name the bucket in the path and not by the host [default: where the endpoint is an address]
    #[arg(long, hide_short_help = true)]
    path_style: bool,
    /// With --s3, use the credentials of this profile [default: AWS_PROFILE, else default]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    profile: Option<String>,
}

#[derive(Clone, Debug, Args)]
struct ServiceFlags {
    /// Region of the bucket, as ap-guangzhou
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// URL of the service, in place of a region
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    #[command(flatten)]
    s3: S3Flags,
    /// Use the host that is reachable only inside Tencent Cloud
    #[arg(long, hide_short_help = true)]
    internal: bool,
    /// Use global acceleration, which must be switched on for the bucket
    #[arg(long, hide_short_help = true)]
    accelerate: bool,
    /// Go through this HTTP proxy; the environment is not asked for one
    #[arg(long, value_name = "URL", hide_short_help = true)]
    proxy: Option<String>,
    /// Use the credentials with this id, where several are known
    #[arg(long, value_name = "ID", hide_short_help = true)]
    secret_id: Option<String>,
    /// File with a line SECRET_ID:SECRET_KEY
    ///
    /// Its mode is 0600. The other forms of cosfs's passwd file are understood too.
    #[arg(long, alias = "passwd-file", value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Use the keys of this role of the virtual machine, or of the one that it has: auto
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    cam_role: Option<String>,
    /// Trust the authorities whose certificates are in this file (PEM), and no others
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    ca_bundle: Option<PathBuf>,
    /// Let requests go to other machines without encryption
    #[arg(long, hide_short_help = true)]
    allow_http: bool,
    /// How long a request that fails is tried again [default: 90s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    request_timeout: Option<Span>,
}

#[derive(Debug, Args)]
struct TransferFlags {
    /// Size of the first parts of an upload, 1MiB to 5GiB [default: 8MiB]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    part_size: Option<ByteSize>,
    /// Parts of one file on their way at the same time [default: 8]
    #[arg(long, value_name = "N", hide_short_help = true)]
    upload_concurrency: Option<u32>,
    /// Every buffer together [default: 512MiB or a quarter of the memory, whichever is less]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    memory: Option<ByteSize>,
    /// What is kept of names and attributes, beside what the kernel refers to [default: an eighth of --memory]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    metadata_memory: Option<ByteSize>,
    /// Keep copies of what is read in this directory, for reading it again
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    cache: Option<PathBuf>,
    /// What the copies take of the disk, of which a tenth stays free [default: 10GiB]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    cache_size: Option<ByteSize>,
    /// Fetch the rest of a file into the cache, in the background, once so much of it was read [default: never]
    #[arg(long, value_name = "PERCENT", hide_short_help = true)]
    cache_fill: Option<u32>,
    /// Whether what is written is kept in the cache, too: --cache-writes=no for what is read alone [default: yes]
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
          value_parser = clap::builder::BoolishValueParser::new(), hide_short_help = true)]
    cache_writes: Option<bool>,
    /// When somebody else has changed a file that is published: overwrite, fail or keep-both [default: overwrite]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    on_conflict: Option<crate::config::ConflictChoice>,
    /// Let closed temporary files wait for their final name: off, on, or more names to wait for, as '*.draft:*.new'
    /// [default: on]
    #[arg(long, value_name = "NAMES", hide_short_help = true)]
    hold_temporary: Option<crate::config::HoldChoice>,
    /// How long they wait at most [default: 5s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    hold_seconds: Option<Span>,
    /// Where is written down what the next mount has to end if this one is killed [default: $XDG_STATE_HOME/cosmount;
    /// without it /var/lib/cosmount for root, else ~/.local/state/cosmount]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    state_dir: Option<PathBuf>,
    /// How long an upload that a killed mount has left is kept, so that a file that is written again goes on from there
    /// [default: from 32 MiB on, ten times as long as it took, 30s to a day]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    resume_window: Option<Span>,
    /// The most that uploads take of the line, in bytes a second, all together: 20MiB
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    bandwidth_up: Option<ByteSize>,
    /// The most that reading takes of the line, in bytes a second, all together
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    bandwidth_down: Option<ByteSize>,
    /// The most requests that begin in a second, repeats included
    #[arg(long, value_name = "N", hide_short_help = true)]
    requests_per_second: Option<u32>,
    /// How long unmounting may publish what is open [default: 60s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    unmount_timeout: Option<Span>,
}

/// What objects are made with.
#[derive(Clone, Debug, Args)]
struct ObjectFlags {
    /// Storage class of new files: standard, standard_ia, intelligent_tiering, archive, deep_archive, or maz_ and one of these
    /// [default: standard]
    #[arg(long, value_name = "CLASS", hide_short_help = true)]
    storage_class: Option<crate::config::ClassChoice>,
    /// Let the service encrypt what is written: cos (its keys), kms or kms:KEYID (yours), or off [default: as the bucket does]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    sse: Option<crate::config::EncryptionChoice>,
    /// Access list of files that are written: default, private, public-read, ... [default: the bucket's]
    #[arg(long, value_name = "ACL", hide_short_help = true)]
    acl: Option<crate::config::AclChoice>,
    /// A tag of files that are written and have none; several are repeated, or k=v&k2=v2
    #[arg(long, value_name = "NAME=VALUE", hide_short_help = true)]
    tag: Vec<crate::config::TagChoice>,
    /// A header of files by their names, as '*.html: Cache-Control: no-cache'; repeatable, the last that matches counts
    #[arg(long, value_name = "GLOB: NAME: VALUE", hide_short_help = true)]
    header: Vec<crate::config::HeaderChoice>,
}

impl ObjectFlags {
    fn settings(self, others: Settings) -> Settings {
        Settings {
            storage_class: self.storage_class,
            sse: self.sse,
            acl: self.acl,
            tag: crate::config::TagChoice::all(self.tag),
            header: crate::config::HeaderChoice::all(self.header),
            ..others
        }
    }
}

#[derive(Debug, Args)]
struct FileFlags {
    /// Refuse every change through the mount
    #[arg(long, help_heading = Resettable::Reset)]
    read_only: bool,
    /// Mount a bucket that keeps versions as it was then, read-only: 2024-05-01T12:00:00Z, 2024-05-01, or '2 hours ago'
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    as_of: Option<crate::config::Moment>,
    /// Let other users use the mount
    #[arg(long, help_heading = Resettable::Reset)]
    allow_other: bool,
    /// How long names and listings are believed without asking again [default: 5s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    metadata_ttl: Option<Span>,
    /// How long it is believed that there is nothing of a name; when given, by the kernel, too [default: as --metadata-ttl,
    /// and not by the kernel]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    negative_ttl: Option<Span>,
    /// The most names that are known, beside those that the kernel refers to [default: what --metadata-memory has room for]
    #[arg(long, value_name = "N", hide_short_help = true)]
    metadata_entries: Option<u32>,
    /// The size that df shows [default: 1PiB]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    statfs_bytes: Option<ByteSize>,
    /// Where modes, owners and times come from: full (the objects), or listing (never asks for them) [default: full]
    #[arg(long, value_name = "FROM", hide_short_help = true)]
    attributes: Option<crate::fs::AttributeSource>,
    /// What a hard link is: copy (made on the service, a file of its own from then on), or refuse (an error) [default: copy]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    hard_links: Option<crate::fs::HardLinks>,
    /// Whether keys that cannot be file names, which the mount does not show, are removed along with the directory that they
    /// are in: --remove-unnameable=no keeps them, and the directory [default: yes]
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
          value_parser = clap::builder::BoolishValueParser::new(), hide_short_help = true)]
    remove_unnameable: Option<bool>,
    /// The Content-Type of new objects: by-name, or none [default: by-name]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    content_type: Option<crate::config::TypeChoice>,
    #[command(flatten)]
    objects: ObjectFlags,
    /// The user that everything belongs to, by number or name [default: what objects say, else who mounts]
    #[arg(long, value_name = "USER", hide_short_help = true)]
    uid: Option<Account>,
    /// The group that everything belongs to, by number or name [default: what objects say, else who mounts]
    #[arg(long, value_name = "GROUP", hide_short_help = true)]
    gid: Option<Group>,
    /// Permission bits that are taken from everything, in octal
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    umask: Option<crate::config::Mode>,
    /// Mode of files whose objects name none, in octal [default: 0644]
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    file_mode: Option<crate::config::Mode>,
    /// Mode of directories whose objects name none, in octal [default: 0755]
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    dir_mode: Option<crate::config::Mode>,
    /// Threads that answer the kernel
    #[arg(long, value_name = "N", hide_short_help = true)]
    threads: Option<u32>,
}

#[derive(Debug, Args)]
struct KeepingFlags {
    /// Refuse to remove what is in the bucket, and to rename it
    #[arg(long, hide_short_help = true)]
    no_delete: bool,
    /// Refuse to change or replace what is in the bucket
    #[arg(long, hide_short_help = true)]
    no_overwrite: bool,
    /// Move what is removed, replaced by a rename or cut to this directory below the mount, such as .trash
    #[arg(long, value_name = "PREFIX", hide_short_help = true)]
    trash: Option<crate::config::TrashDirectory>,
    /// Neither show nor make these names, as '.DS_Store:._*'
    #[arg(long, value_name = "NAMES", hide_short_help = true)]
    exclude: Option<crate::config::ExcludeChoice>,
}

#[derive(Debug, Args)]
struct ViewFlags {
    /// Show metrics for Prometheus and a page for people here: a port of this machine as 9464, IP:PORT, or unix:/PATH
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    metrics_listen: Option<crate::config::ListenAddress>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct LogFlags {
    /// Write log lines to this file [default: the terminal in the foreground, else syslog]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) log_file: Option<PathBuf>,
    /// off, error, warn, info, debug or trace, or a filter as RUST_LOG has it [default: RUST_LOG, else info]
    #[arg(long, value_name = "LEVEL", hide_short_help = true)]
    pub(super) log_level: Option<LogLevel>,
    /// What lines are like: text, or json with an object on each [default: text]
    #[arg(long, value_name = "FORMAT", hide_short_help = true)]
    pub(super) log_format: Option<LogFormat>,
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
    #[arg(long, conflicts_with = "in_memory", hide_short_help = true)]
    pub(super) rebuild: bool,
    /// Host and port to listen on; port 0 is any
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9444")]
    pub(super) listen: String,
    /// A bucket to have; repeatable [default: local-1250000000]
    ///
    /// It is made at the start, if it is not there.
    #[arg(long, value_name = "NAME-APPID")]
    pub(super) bucket: Vec<String>,
    /// Write one JSON line for each request to this file
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// Keep objects and index in memory, and forget them at the end
    #[arg(long)]
    pub(super) in_memory: bool,
    /// The smallest part but the last, for tests
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) min_part_bytes: Option<ByteSize>,
    /// The most parts of an upload, for tests
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) max_parts: Option<u32>,
    /// Wait this many milliseconds before every answer, for tests
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) latency_ms: Option<u64>,
    /// How long it takes to restore what is archived, for tests [default: 60s]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    pub(super) restore_delay: Option<Span>,
    /// Do wrong what this file says, for tests
    ///
    /// docs/FAULTS.md has its format.
    #[arg(long, value_name = "PLAN")]
    pub(super) faults: Option<PathBuf>,
    #[command(flatten)]
    pub(super) log: LogFlags,
}

/// Publish what is open, unmount, and wait for it.
#[derive(Debug, Args)]
#[command(visible_alias = "umount")]
pub(super) struct UnmountArguments {
    /// Only clean up what a process that has ended has left there; nothing of it is no failure
    #[arg(long)]
    pub(super) dead: bool,
    /// The directory that a bucket is mounted on
    #[arg(value_name = "DIR")]
    pub(super) mount_point: PathBuf,
}

/// Show what is open, what is not published yet, memory and errors.
///
/// How far each part of an upload is, and what was asked of the service, too.
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

/// Publish what is open or waits, and return when it is there.
///
/// A file that is being written is published as it is by now, as fsync does it; its writer goes on.
#[derive(Debug, Args)]
pub(super) struct SyncArguments {
    /// A mount, or a file or directory in one [default: all mounts of this user]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
}

/// Show each request and each call of a program as it happens.
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

/// Change what a mount logs, until it opens its log anew (SIGHUP).
#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// A directory that a bucket is mounted on, or anything in it
    #[arg(value_name = "DIR")]
    pub(super) path: PathBuf,
    /// off, error, warn, info, debug or trace, or a filter as RUST_LOG has it
    #[arg(value_name = "LEVEL")]
    pub(super) level: LogLevel,
}

/// What a trace may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TraceOnly {
    Requests,
    Calls,
}

/// Show or abort unfinished uploads, which are stored and paid for.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct UploadsArguments {
    #[command(subcommand)]
    pub(super) action: UploadsAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum UploadsAction {
    /// Show their keys, ids, ages, sizes and whose they are
    List(UploadsSelection),
    /// Abort them, but for those of mounts that live here
    ///
    /// Without a filter these are all below the prefix that no mount on this machine is about.
    Abort(UploadsSelection),
}

/// Fetch files into the cache of their mount, which has `--cache`.
///
/// Files are read until all of them is on the disk: what is there already is not asked for.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct WarmArguments {
    /// Files and directories in a mount
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// A file with more of them, one on each line; - is what comes in
    #[arg(long, value_name = "FILE")]
    pub(super) list: Option<PathBuf>,
    /// Files that are fetched at the same time
    #[arg(long, value_name = "N", default_value = "4")]
    pub(super) concurrency: std::num::NonZeroU16,
}

/// Show, remove or verify the copies that `mount --cache DIR` keeps.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct CacheArguments {
    #[command(subcommand)]
    pub(super) action: CacheAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheAction {
    /// Show how many there are, and what they take of the disk
    Status(CacheSelection),
    /// Remove them, but for those that a mount has open
    Clear(CacheSelection),
    /// Read all of them, and forget what is not what it was
    Verify(CacheSelection),
}

#[derive(Debug, Args)]
pub(super) struct CacheSelection {
    /// The directory that `mount --cache` was given
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Write a JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UploadsSelection {
    /// BUCKET-APPID[:/PREFIX]
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: String,
    /// Only those of this user's mounts on this machine
    #[arg(long)]
    pub(super) mine: bool,
    /// Only those begun so long ago, as 2h or 7d
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
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    state_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,
}

/// Objects of a bucket, and how it is reached.
#[derive(Debug, Args)]
pub(super) struct ObjectArguments {
    /// A file or directory in a mount, or BUCKET:/KEY
    ///
    /// A mount says which bucket it has and how it was told to reach that; the credentials are those of this command.
    #[arg(value_name = "PATH")]
    pub(super) object: String,
    /// Configuration file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,
}

impl ObjectArguments {
    /// What the command line says of the service, in config's words.
    pub(super) fn request(&self) -> MountRequest {
        let flags = self.service.clone().settings();
        MountRequest { config_file: self.config.clone(), flags, ..MountRequest::default() }
    }
}

/// Ask for archived files, so that they can be read for some days.
///
/// Says of each object whether it was asked for, is on its way, or is there. One that is there stays for longer.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct RestoreArguments {
    /// How long they can be read, in days
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(super) days: u32,
    /// How soon: expedited (minutes), standard (hours) or bulk
    #[arg(long, value_name = "TIER", hide_possible_values = true)]
    pub(super) tier: Option<TierChoice>,
    /// Return when all of them are there
    #[arg(long)]
    pub(super) wait: bool,
    // Behind the options of its own: its headings are for all that follows.
    #[command(flatten)]
    pub(super) objects: ObjectArguments,
}

/// Show the versions of files, in a bucket that keeps them.
///
/// Of a file, or of all files below a directory. The newest comes first: its id, when it was written, its size and ETag, and whether it is current, older, or marks that the file was
/// deleted. A file that is removed may be named as well. `cosmount mount --as-of TIME` shows what was there at a time.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct VersionsArguments {
    /// Write one JSON array
    #[arg(long)]
    pub(super) json: bool,
    // Behind the options of its own: its headings are for all that follows.
    #[command(flatten)]
    pub(super) objects: ObjectArguments,
}

/// How soon archived files are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TierChoice {
    Expedited,
    Standard,
    Bulk,
}

impl From<TierChoice> for RestoreTier {
    fn from(choice: TierChoice) -> RestoreTier {
        match choice {
            TierChoice::Expedited => RestoreTier::Expedited,
            TierChoice::Standard => RestoreTier::Standard,
            TierChoice::Bulk => RestoreTier::Bulk,
        }
    }
}

/// Write what a shell needs to complete commands and options.
///
/// The packages have it where shells look. Without them: cosmount completions bash >
/// ~/.local/share/bash-completion/completions/cosmount
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

/// Check everything that a mount needs, and say what to do.
///
/// Takes the options, files and variables that `mount` takes. Names each cause once, and leaves out what follows from it.
///
/// To try what the key may do it writes objects of 1 KiB, 1 MiB and 4 MiB below the prefix, under keys that begin with
/// `.cosmount-doctor-` and a random number, and removes them again, also when it fails or is interrupted. No other key is
/// touched. It makes a mount for a moment in a directory of its own below $TMPDIR.
#[derive(Debug, Args)]
#[command(after_long_help = DOCTOR_EXIT_CODES)]
pub(super) struct DoctorArguments {
    /// BUCKET-APPID, or the keys below a prefix of it
    ///
    /// May be left out if ~/.cos.conf names a bucket.
    #[arg(value_name = "BUCKET[:/PREFIX]")]
    pub(super) source: Option<String>,
    /// The directory to mount on, to look at that too
    #[arg(value_name = "DIR")]
    pub(super) mount_point: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Write nothing into the bucket
    ///
    /// What needs that is not tried: writing, copying, uploads, removing, and how fast bytes go.
    #[arg(long)]
    read_only: bool,
    /// As the mount would be given it: let other users use it
    #[arg(long, hide_short_help = true)]
    allow_other: bool,
    /// As the mount would be given it: every buffer together
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    memory: Option<ByteSize>,
    /// As the mount would be given it: where is written down what it begins
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    state_dir: Option<PathBuf>,
    /// Options as the mount would be given them
    #[arg(short = 'o', value_name = "OPTIONS")]
    mount_options: Vec<String>,
    /// Configuration file
    ///
    /// Without it ~/.config/cosmount/config.toml counts over /etc/cosmount.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Service")]
    service: ServiceFlags,
    #[command(flatten, next_help_heading = "Files")]
    objects: ObjectFlags,
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
                ..self.objects.clone().settings(self.service.clone().settings())
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
            s3: given(self.s3.s3),
            path_style: given(self.s3.path_style),
            profile: self.s3.profile,
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
        let MountArguments { service, transfer, files, keeping, view, log, .. } = self;
        let given = |switch: bool| switch.then_some(true);
        let flags = Settings {
            part_size: transfer.part_size,
            upload_concurrency: transfer.upload_concurrency,
            memory: transfer.memory,
            metadata_memory: transfer.metadata_memory,
            cache: transfer.cache,
            cache_size: transfer.cache_size,
            cache_fill: transfer.cache_fill,
            cache_writes: transfer.cache_writes,
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
            bandwidth_up: transfer.bandwidth_up,
            bandwidth_down: transfer.bandwidth_down,
            requests_per_second: transfer.requests_per_second,
            no_delete: given(keeping.no_delete),
            no_overwrite: given(keeping.no_overwrite),
            trash: keeping.trash,
            exclude: keeping.exclude,
            statfs_bytes: files.statfs_bytes,
            negative_ttl: files.negative_ttl,
            metadata_entries: files.metadata_entries,
            read_only: given(files.read_only),
            as_of: files.as_of,
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
            log_format: log.log_format,
            ..files.objects.settings(service.settings())
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

/// The names that mount(8) looks for in /sbin, for the types `cosmount` and `fuse.cosmount`.
const HELPERS: [&str; 2] = ["mount.cosmount", "mount.fuse.cosmount"];
/// Flags of `mount(8)` helpers that take a value, and those that do not; both say nothing to this file system.
const HELPER_FLAGS_WITH_VALUE: [&str; 2] = ["-t", "-N"];
const HELPER_FLAGS: [&str; 3] = ["-s", "-n", "-v"];
/// With this one everything is to be done but mounting.
const HELPER_FAKES: &str = "-f";

/// Makes the command line that people would type of the one that `mount(8)` calls.
///
/// For the types `cosmount` and `fuse.cosmount` it runs `mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]`
/// if that is installed. Without it the latter goes through fuse3's own helper, which runs `cosmount SOURCE DIR -o OPTIONS`; so
/// does `mount -t fuse cosmount#SOURCE DIR`. Where a file cannot be this program under another name, a script runs
/// `cosmount mount.TYPE ...`.
pub(super) fn from_mount_helper(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_name = |name: &OsString| HELPERS.iter().any(|helper| Path::new(name).file_name() == Some(helper.as_ref()));
    let is_named = arguments.get(1).is_some_and(is_name);
    if is_named {
        arguments.remove(1);
    }
    let is_helper = is_named || arguments.first().is_some_and(is_name);
    let is_bucket = |text: &OsString| {
        let text = text.to_str().unwrap_or_default();
        text.parse::<MountSource>().is_ok() || (text.starts_with("s3://") && MountSource::of_s3(text).is_ok())
    };
    if !is_helper && !arguments.get(1).is_some_and(is_bucket) {
        return arguments;
    }
    let mut rest = arguments.into_iter();
    let program = rest.next().unwrap_or_default();
    let (mut by_mount, mut typed) = ("--by-mount", Vec::new());
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => typed.extend([argument].into_iter().chain(rest.next())),
            Some(flag) if is_helper && HELPER_FLAGS_WITH_VALUE.contains(&flag) => drop(rest.next()),
            Some(flag) if is_helper && HELPER_FLAGS.contains(&flag) => {}
            Some(HELPER_FAKES) if is_helper => by_mount = "--by-mount=fakes",
            _ => typed.push(argument),
        }
    }
    [program, "mount".into(), by_mount.into()].into_iter().chain(typed).collect()
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
    fn dashes_end_the_options_and_change_nothing_else() {
        let terminal = Terminal { is_terminal: false, columns: usize::MAX, colour: false, unicode: false };
        let typed = |line: &str| with_the_last_behind_dashes(line.split(' ').map(OsString::from).collect());
        let read = |line: &str| Arguments::read(&typed(line), &terminal);
        let table = [
            ("cosmount mount -- photos-1:/a /mnt", Some("photos-1:/a"), "/mnt"),
            ("cosmount mount --read-only -o ro -- photos-1 -mnt", Some("photos-1"), "-mnt"),
            ("cosmount mount photos-1 -- -mnt", Some("photos-1"), "-mnt"),
            ("cosmount mount --local /data -- /mnt", None, "/mnt"),
            ("cosmount mount photos-1 /mnt --", Some("photos-1"), "/mnt"),
        ];
        for (line, source, mount_point) in table {
            let Command::Mount(arguments) = read(line).unwrap().command else { panic!("{line}") };
            assert_eq!((arguments.source.as_deref(), arguments.mount_point), (source, mount_point.into()), "{line}");
        }
        assert!(read("cosmount mount -- a-1 b-1 /mnt").is_err());
        let Command::Doctor(arguments) = read("cosmount doctor -- photos-1 /mnt").unwrap().command else { panic!() };
        assert_eq!((arguments.source.as_deref(), arguments.mount_point), (Some("photos-1"), Some("/mnt".into())));
        assert!(matches!(read("cosmount unmount -- -mnt").unwrap().command, Command::Unmount(_)));
    }

    #[test]
    fn a_switch_that_is_not_given_says_nothing() {
        let flags = mount_request("cosmount mount b-1 /mnt --read-only --part-size 16MiB --umask 027").flags;
        assert_eq!((flags.read_only, flags.allow_other), (Some(true), None));
        assert_eq!(flags.part_size, Some(ByteSize(16 << 20)));
        assert_eq!(flags.umask, Some(crate::config::Mode(0o027)));
    }

    /// Every command by the words that call it.
    fn commands() -> Vec<(String, clap::Command)> {
        let mut all = vec![("cosmount".to_owned(), for_columns(80))];
        let mut next = 0;
        while let Some((path, command)) = all.get_mut(next) {
            command.build();
            let path = path.clone();
            let below: Vec<_> =
                command.get_subcommands().map(|sub| (format!("{path} {}", sub.get_name()), sub.clone())).collect();
            all.extend(below.into_iter().filter(|(path, _)| !path.ends_with(" help") && !path.contains(" help ")));
            next += 1;
        }
        all
    }

    /// What is used most fits a screen of 24 lines and 80 columns, and leads to the rest.
    #[test]
    fn short_help_fits_one_screen() {
        let commands = commands();
        assert!(commands.len() >= 8, "{commands:?}");
        for (path, mut command) in commands {
            let text = command.render_help().to_string();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(text.lines().count() <= 24 && widest <= 80, "{path} -h\n{text}");
            let hides = command.get_arguments().any(clap::Arg::is_hide_short_help_set);
            assert!(!hides || text.contains("see more with '--help'"), "{path} -h\n{text}");
        }
    }

    #[test]
    fn long_help_is_complete_and_as_wide_as_the_screen() {
        for (path, mut command) in commands() {
            let text = command.render_long_help().to_string();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= 80, "{path} --help\n{text}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let flag = argument.get_long().map(|name| format!("--{name}"));
                let flag = flag.or_else(|| argument.get_short().map(|letter| format!("-{letter}"))).unwrap_or_default();
                assert!(text.contains(&flag) && argument.get_help().is_some(), "{path} --help: {flag}\n{text}");
            }
        }
    }

    #[test]
    fn help_is_as_wide_as_the_terminal_and_never_wider_than_can_be_read() {
        let terminal = |is_terminal, columns| Terminal { is_terminal, columns, colour: false, unicode: false };
        let table = [(true, 80, 80), (true, 120, 100), (true, 60, 60), (false, usize::MAX, 80), (false, 120, 100)];
        for (is_terminal, columns, expected) in table {
            assert_eq!(help_columns(&terminal(is_terminal, columns)), expected, "{is_terminal} {columns}");
        }
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
            (
                "/sbin/mount.fuse.cosmount photos-1:/a /mnt -s -v -N /proc/7/ns/mnt -t fuse.cosmount -o rw,user=alice",
                "/sbin/mount.fuse.cosmount mount --by-mount photos-1:/a /mnt -o rw,user=alice",
            ),
            ("mount.cosmount photos-1 /mnt -f -o -n", "mount.cosmount mount --by-mount=fakes photos-1 /mnt -o -n"),
            (
                "cosmount photos-1 /dev/fd/3 -o allow_other,dev",
                "cosmount mount --by-mount photos-1 /dev/fd/3 -o allow_other,dev",
            ),
            ("cosmount s3://photos/a /mnt -o rw", "cosmount mount --by-mount s3://photos/a /mnt -o rw"),
            ("cosmount mount.cosmount photos-1 /mnt -n", "cosmount mount --by-mount photos-1 /mnt"),
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
