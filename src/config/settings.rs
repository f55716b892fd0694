//! Every setting of a mount, once: its name, its type, and how it is read from text.
//!
//! The file, the environment, `-o` and the flags each give one [`Settings`], in which what is not said is `None`;
//! [`Settings::over`] lays one upon another. What a setting means when nobody says it is not known here.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::object_choices::{AclChoice, ClassChoice, EncryptionChoice, HeaderChoice, TagChoice};
use super::{ByteSize, ConfigError, ListenAddress, Moment, Span, redacted};
use crate::fs::{AttributeSource, FileName, HardLinks};
use crate::wire::attributes::STANDARD;
use crate::wire::date::iso_milliseconds;

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:ident: $type:ty, )+) => {
        /// What one source of configuration says. `None` is what it does not say.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $name: Option<$type>, )+
        }

        impl Settings {
            /// The names of all settings, as files and `-o` write them.
            pub const NAMES: &[&str] = &[$( stringify!($name), )+];

            /// The names of those that the other one says otherwise.
            pub fn differences(&self, other: &Settings) -> Vec<&'static str> {
                let pairs = [$( (stringify!($name), self.$name == other.$name), )+];
                pairs.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
            }

            /// The names of those that are said.
            pub fn said(&self) -> Vec<&'static str> {
                self.differences(&Settings::default())
            }

            /// Those that are said, by name, with their values as text. None of them is a secret.
            pub fn shown(&self) -> BTreeMap<String, String> {
                let said = [$( self.$name.as_ref().map(|value| (stringify!($name).to_owned(), value.shown())), )+];
                said.into_iter().flatten().collect()
            }

            /// What `self` says, and where it says nothing, what `lower` says.
            pub fn over(self, lower: Settings) -> Settings {
                Settings { $( $name: self.$name.or(lower.$name), )+ }
            }

            /// Sets one setting from text. `-` and `_` in names are the same. `origin` is for the error.
            pub fn set(&mut self, origin: &str, name: &str, text: &str) -> Result<(), ConfigError> {
                let refused = |reason| ConfigError::InvalidSetting {
                    origin: origin.to_owned(),
                    name: name.to_owned(),
                    reason,
                };
                match name.replace('-', "_").as_str() {
                    $( stringify!($name) => {
                        let said = <$type>::read(text).map_err(refused)?;
                        self.$name = Some(said.after(self.$name.take()));
                    } )+
                    "secret_key" | "token" | "security_token" => {
                        return Err(ConfigError::SecretAsOption { origin: origin.to_owned(), name: name.to_owned() });
                    }
                    _ => {
                        return Err(ConfigError::UnknownSetting { origin: origin.to_owned(), name: name.to_owned() });
                    }
                }
                Ok(())
            }
        }
    };
}

settings! {
    /// The bucket's region, for example `ap-guangzhou`.
    region: String,
    /// Base URL of the service, in place of the one that follows from the region.
    endpoint: String,
    /// Whether the service speaks S3.
    s3: bool,
    /// Whether the bucket is named in the path of each request, and not by the host.
    path_style: bool,
    /// Whose credentials of AWS's files to use.
    profile: String,
    /// Whether to use the host that is reachable only inside Tencent Cloud.
    internal: bool,
    /// Whether to use global acceleration.
    accelerate: bool,
    /// URL of an HTTP proxy to go through.
    proxy: String,
    /// Which id to use, where several are known.
    secret_id: String,
    /// A file with credentials in one of cosfs's forms.
    credentials_file: PathBuf,
    /// The role of this machine whose keys to use, or `auto` for the one that it has.
    cam_role: String,
    /// A file with certificates of the authorities that are trusted, in place of the machine's.
    ca_bundle: PathBuf,
    /// Whether requests may go to other machines without encryption.
    allow_http: bool,
    /// Smallest part of an upload.
    part_size: ByteSize,
    /// Parts of one file on their way at the same time.
    upload_concurrency: u32,
    /// Every buffer of the mount together.
    memory: ByteSize,
    /// What is kept of names and attributes.
    metadata_memory: ByteSize,
    /// Where copies of what is read are kept.
    cache: PathBuf,
    /// What they may take of the disk.
    cache_size: ByteSize,
    /// Of which share of a file that was read the rest is fetched, too, in percent.
    cache_fill: u32,
    /// Whether what is written is kept, too.
    cache_writes: bool,
    /// How long names, attributes and listings are believed without asking.
    metadata_ttl: Span,
    /// How long one request may take, its repeats included.
    request_timeout: Span,
    /// What happens when somebody else has changed a file that was written here.
    on_conflict: ConflictChoice,
    /// Which temporary files wait at their close for their final name.
    hold_temporary: HoldChoice,
    /// How long they wait.
    hold_seconds: Span,
    /// Where the attributes of files come from.
    attributes: AttributeSource,
    /// What `link()` does.
    hard_links: HardLinks,
    /// Whether keys that cannot be file names go along when their directory is removed.
    remove_unnameable: bool,
    /// Where the content type of a new object comes from.
    content_type: TypeChoice,
    /// The storage class of new files.
    storage_class: ClassChoice,
    /// How everything that is written is encrypted.
    sse: EncryptionChoice,
    /// The access list of files.
    acl: AclChoice,
    /// Tags of files that have none.
    tag: TagChoice,
    /// Headers of files by their names.
    header: HeaderChoice,
    /// How long unmounting may publish what is open.
    unmount_timeout: Span,
    /// Where is kept what a mount that dies leaves to the next one.
    state_dir: PathBuf,
    /// How long uploads that a dead mount has left are kept for their files to be written again.
    resume_window: Span,
    /// The owner that everything shows.
    uid: Account,
    /// The group that everything shows.
    gid: Group,
    /// Permission bits that are taken from everything.
    umask: Mode,
    /// Permissions of files that have none.
    file_mode: Mode,
    /// Permissions of directories that have none.
    dir_mode: Mode,
    /// Whether nothing can be changed through the mount.
    read_only: bool,
    /// The moment of the past that is mounted, read-only.
    as_of: Moment,
    /// Whether other users than the one who mounts may use the mount.
    allow_other: bool,
    /// Threads that answer the kernel.
    threads: u32,
    /// Where metrics and a page tell how the mount fares.
    metrics_listen: ListenAddress,
    /// What uploads may take of a line, in a second.
    bandwidth_up: ByteSize,
    /// What reading may take of a line, in a second.
    bandwidth_down: ByteSize,
    /// Requests that may begin in a second.
    requests_per_second: u32,
    /// Whether nothing that is in the bucket can be removed.
    no_delete: bool,
    /// Whether nothing that is in the bucket can be replaced.
    no_overwrite: bool,
    /// The directory that what is removed or replaced is moved to.
    trash: TrashDirectory,
    /// Names that are neither shown nor made.
    exclude: ExcludeChoice,
    /// What `df` shows as the size.
    statfs_bytes: ByteSize,
    /// How long it is believed that there is nothing of a name.
    negative_ttl: Span,
    /// Names that are known at most.
    metadata_entries: u32,
    /// What log lines are like.
    log_format: LogFormat,
    /// Where log lines go.
    log_file: PathBuf,
    /// Which log lines are written, in `RUST_LOG`'s language.
    log_level: LogLevel,
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(Mode(bits)),
            _ => Err(format!("{text:?} is not a mode; write it in octal, for example 0644")),
        }
    }
}

/// What happens when somebody else has changed a file that was written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictChoice {
    /// `overwrite`: the last writer wins.
    Overwrite,
    /// `fail`: closing the file is an error.
    Fail,
    /// `keep-both`: the file is published under another name.
    KeepBoth,
}

impl FromStr for ConflictChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<ConflictChoice, String> {
        match text.replace('_', "-").as_str() {
            "overwrite" => Ok(ConflictChoice::Overwrite),
            "fail" => Ok(ConflictChoice::Fail),
            "keep-both" => Ok(ConflictChoice::KeepBoth),
            _ => Err(format!("{text:?} is not overwrite, fail or keep-both")),
        }
    }
}

/// Which temporary files wait at their close for their final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldChoice {
    /// `on`, those that look temporary, and names that match one of these patterns, separated by `:`.
    Also(Vec<String>),
    /// `off`: none.
    Off,
}

impl FromStr for HoldChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<HoldChoice, String> {
        match text {
            "off" | "no" | "false" | "0" => Ok(HoldChoice::Off),
            "" | "on" | "yes" | "true" | "1" => Ok(HoldChoice::Also(Vec::new())),
            _ if text.split(':').any(|pattern| pattern.is_empty() || pattern.contains('/')) => {
                Err(format!("{text:?} is not on, off, or patterns of file names with ':' between them"))
            }
            _ => Ok(HoldChoice::Also(text.split(':').map(str::to_owned).collect())),
        }
    }
}

impl FromStr for HardLinks {
    type Err = String;

    fn from_str(text: &str) -> Result<HardLinks, String> {
        match text {
            "copy" => Ok(HardLinks::Copy),
            "refuse" => Ok(HardLinks::Refuse),
            _ => Err(format!("{text:?} is not copy or refuse")),
        }
    }
}

impl FromStr for AttributeSource {
    type Err = String;

    fn from_str(text: &str) -> Result<AttributeSource, String> {
        match text {
            "full" => Ok(AttributeSource::Full),
            "listing" => Ok(AttributeSource::Listing),
            _ => Err(format!("{text:?} is not full or listing")),
        }
    }
}

/// Where the content type of a new object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeChoice {
    /// `by-name`: from the extension of its name.
    ByName,
    /// `none`: every object is `application/octet-stream`.
    None,
}

impl FromStr for TypeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<TypeChoice, String> {
        match text.replace('_', "-").as_str() {
            "by-name" => Ok(TypeChoice::ByName),
            "none" => Ok(TypeChoice::None),
            _ => Err(format!("{text:?} is not by-name or none")),
        }
    }
}

/// A directory below the mount, without slashes at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashDirectory(pub String);

impl FromStr for TrashDirectory {
    type Err = String;

    fn from_str(text: &str) -> Result<TrashDirectory, String> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_path = path.split('/').all(|name| FileName::new(name).is_some());
        let is_ours = path.split('/').next().is_some_and(|first| first.starts_with(".cosmount"));
        if is_path && !is_ours {
            Ok(TrashDirectory(path.to_owned()))
        } else {
            Err(format!("{text:?} is not a directory below the mount; write for example .trash"))
        }
    }
}

/// Names that are neither shown nor made, as patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcludeChoice(pub Vec<String>);

impl FromStr for ExcludeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<ExcludeChoice, String> {
        if text.split(':').any(|pattern| pattern.is_empty() || pattern.contains('/')) {
            return Err(format!("{text:?} is not patterns of file names with ':' between them, as .DS_Store:._*"));
        }
        Ok(ExcludeChoice(text.split(':').map(str::to_owned).collect()))
    }
}

/// What log lines are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: for people.
    #[default]
    Text,
    /// `json`: an object on each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is not text or json")),
        }
    }
}

/// The number that stands for no user and no group (chown(2)).
const NOBODY: u32 = u32::MAX;

/// A user, by number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account(pub u32);

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Account, String> {
        let named = || nix::unistd::User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
        id(text, named, "user").map(Account)
    }
}

/// A group, by number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub u32);

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Group, String> {
        let named = || nix::unistd::Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
        id(text, named, "group").map(Group)
    }
}

fn id(text: &str, named: impl FnOnce() -> Option<u32>, what: &str) -> Result<u32, String> {
    let id = text.parse().ok().or_else(named);
    id.filter(|id| *id != NOBODY).ok_or_else(|| format!("{text:?} is not the name or number of a {what}"))
}

/// Which log lines are written: a level, or a filter as `RUST_LOG` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(pub String);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        let is_level = |word: &str| word.trim().parse::<log::LevelFilter>().is_ok();
        // What follows a slash is looked for in the lines.
        let directives = text.split('/').next().unwrap_or(text);
        let is_directive = |directive: &str| match directive.split_once('=') {
            Some((target, level)) => !target.trim().is_empty() && is_level(level),
            None => is_level(directive),
        };
        if directives.split(',').all(is_directive) {
            Ok(LogLevel(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a log level; write off, error, warn, info, debug or trace, or a filter such as info,hyper=debug"
            ))
        }
    }
}

/// A value that can be read from text.
trait Value: Sized + std::fmt::Debug {
    fn read(text: &str) -> Result<Self, String>;

    /// What holds when the same source has said `earlier` before: mostly the last word, and both where there may be several.
    fn after(self, _earlier: Option<Self>) -> Self {
        self
    }

    /// As text for people, near to what was read.
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

impl Value for String {
    fn read(text: &str) -> Result<String, String> {
        if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
    }

    /// The URL of a proxy may hold a password.
    fn shown(&self) -> String {
        redacted(self).into_owned()
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> Result<PathBuf, String> {
        String::read(text).map(PathBuf::from)
    }

    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Value for bool {
    /// The name alone, as in `-o allow_other`, is a yes.
    fn read(text: &str) -> Result<bool, String> {
        match text {
            "" | "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

impl Value for u32 {
    fn read(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| format!("{text:?} is not a number"))
    }
}

macro_rules! parsed_values {
    ($( $type:ty: $shown:expr, )+) => {
        $( impl Value for $type {
            fn read(text: &str) -> Result<$type, String> {
                parsed(text)
            }

            fn shown(&self) -> String {
                let shown: fn(&$type) -> String = $shown;
                shown(self)
            }
        } )+
    };
}

parsed_values! {
    ByteSize: ToString::to_string,
    Span: |span| format!("{:?}", span.0),
    ConflictChoice: |choice| kebab(&format!("{choice:?}")),
    Mode: |mode| format!("{:04o}", mode.0),
    HoldChoice: |choice| match choice {
        HoldChoice::Off => "off".to_owned(),
        HoldChoice::Also(patterns) if patterns.is_empty() => "on".to_owned(),
        HoldChoice::Also(patterns) => patterns.join(":"),
    },
    AttributeSource: |source| kebab(&format!("{source:?}")),
    HardLinks: |links| kebab(&format!("{links:?}")),
    TypeChoice: |choice| kebab(&format!("{choice:?}")),
    TrashDirectory: |directory| directory.0.clone(),
    ExcludeChoice: |choice| choice.0.join(":"),
    LogFormat: |format| kebab(&format!("{format:?}")),
    Moment: |moment| iso_milliseconds(moment.0),
    ClassChoice: |class| class.0.as_deref().unwrap_or(STANDARD).to_ascii_lowercase(),
    EncryptionChoice: ToString::to_string,
    AclChoice: |acl| acl.0.clone().unwrap_or_else(|| "default".to_owned()),
    Account: |account| account.0.to_string(),
    Group: |group| group.0.to_string(),
    LogLevel: |level| level.0.clone(),
    ListenAddress: ToString::to_string,
}

macro_rules! repeatable_values {
    ($( $type:ty, )+) => {
        $( impl Value for $type {
            fn read(text: &str) -> Result<$type, String> {
                parsed(text)
            }

            fn after(self, earlier: Option<$type>) -> $type {
                self.joined(earlier.unwrap_or_default())
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        } )+

        $( impl $type {
            /// All that was said one after the other; `None` if nothing was.
            pub fn all(said: Vec<$type>) -> Option<$type> {
                said.into_iter().reduce(|earlier, later| later.joined(earlier))
            }
        } )+
    };
}

repeatable_values! {
    TagChoice,
    HeaderChoice,
}

/// The name of a choice as it is written in configurations: `KeepBoth` is `keep-both`.
fn kebab(name: &str) -> String {
    let dashed = |(index, letter): (usize, char)| {
        let dash = (index > 0 && letter.is_ascii_uppercase()).then_some('-');
        dash.into_iter().chain([letter.to_ascii_lowercase()])
    };
    name.chars().enumerate().flat_map(dashed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_comes_from_below() {
        let upper = Settings { region: Some("ap-beijing".into()), ..Settings::default() };
        let lower = Settings { region: Some("sg".into()), uid: Some(Account(7)), ..Settings::default() };
        let both = upper.over(lower);
        assert_eq!((both.region.as_deref(), both.uid, both.gid), (Some("ap-beijing"), Some(Account(7)), None));
    }

    #[test]
    fn a_setting_is_read_by_name() {
        let mut settings = Settings::default();
        for (name, text) in [("part-size", "16M"), ("metadata_ttl", "500ms"), ("umask", "027"), ("read_only", "")] {
            settings.set("-o", name, text).unwrap();
        }
        assert_eq!(settings.part_size, Some(ByteSize(16 << 20)));
        assert_eq!(settings.metadata_ttl, Some(Span(std::time::Duration::from_millis(500))));
        assert_eq!(settings.umask, Some(Mode(0o027)));
        assert_eq!(settings.read_only, Some(true));
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_origin() {
        let table = [
            ("colour", "red", "-o: there is no option \"colour\"; cosmount mount --help has all of them"),
            ("alow_other", "", "-o: there is no option \"alow_other\"; did you mean allow_other?"),
            ("uid", "me?", "-o: uid: \"me?\" is not the name or number of a user"),
            ("gid", "4294967295", "-o: gid: \"4294967295\" is not the name or number of a group"),
            (
                "log_level",
                "loud",
                "-o: log_level: \"loud\" is not a log level; write off, error, warn, info, debug or trace, or a filter such \
                 as info,hyper=debug",
            ),
            ("umask", "0888", "-o: umask: \"0888\" is not a mode; write it in octal, for example 0644"),
            ("region", "", "-o: region: is empty"),
            ("internal", "perhaps", "-o: internal: \"perhaps\" is neither true nor false"),
        ];
        for (name, text, expected) in table {
            assert_eq!(Settings::default().set("-o", name, text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn users_and_groups_have_names_and_times_have_units() {
        let mut settings = Settings::default();
        for (name, text) in
            [("uid", "root"), ("gid", "0"), ("hold_seconds", "500ms"), ("log_level", "info,hyper=debug")]
        {
            settings.set("-o", name, text).unwrap();
        }
        assert_eq!((settings.uid, settings.gid), (Some(Account(0)), Some(Group(0))));
        assert_eq!(settings.hold_seconds, Some(Span(std::time::Duration::from_millis(500))));
        settings.set("-o", "hold_seconds", "7").unwrap();
        assert_eq!(settings.hold_seconds, Some(Span(std::time::Duration::from_secs(7))));
        assert_eq!(settings.said(), ["hold_seconds", "uid", "gid", "log_level"]);
    }

    #[test]
    fn a_secret_is_never_an_option() {
        let error = Settings::default().set("-o", "secret_key", "hunter2").unwrap_err();
        assert!(matches!(error, ConfigError::SecretAsOption { .. }));
        assert!(!error.to_string().contains("hunter2"));
    }
}
