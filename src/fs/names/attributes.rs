//! Attributes of files, and how objects carry them: `x-cos-meta-mode`, `-uid`, `-gid` and `-mtime`, as cosfs and s3fs
//! write them (decimal numbers, the mode with its type bits, the time in seconds with an optional fraction; rclone's
//! `-mtime` is the same). Extended attributes are in `xattrs`.

use std::time::{Duration, SystemTime};

use super::Ino;
use crate::fs::context::{FsOptions, Owner, UNKNOWN_TYPE};
use crate::object::{DIRECTORY_TYPE, META_MTIME, ObjectAttributes, time};

/// What each kind's type bits are in a mode.
const TYPES: [(Kind, u32); 7] = [
    (Kind::File, 0o100_000),
    (Kind::Directory, 0o040_000),
    (Kind::Symlink, 0o120_000),
    (Kind::Fifo, 0o010_000),
    (Kind::Socket, 0o140_000),
    (Kind::BlockDevice, 0o060_000),
    (Kind::CharDevice, 0o020_000),
];
/// All type bits of a mode.
const MODE_TYPE: u32 = 0o170_000;
pub(crate) const MODE_SET_USER: u32 = 0o4000;
pub(crate) const MODE_SET_GROUP: u32 = 0o2000;
pub(crate) const MODE_STICKY: u32 = 0o1000;
const MODE_GROUP_EXECUTES: u32 = 0o010;
/// The permission bits of every symbolic link.
pub(crate) const LINK_PERMISSIONS: u32 = 0o777;
/// The bits of a mode that chmod sets.
const MODE_PERMISSIONS: u32 = 0o7777;

/// The largest object that can be a symbolic link, in bytes: the kernel takes no longer path.
pub(crate) const LINK_BYTES_MAX: u64 = 4095;

/// The metadatum of a device's number, as geesefs writes it; cosfs and s3fs keep none.
const DEVICE: &str = "rdev";

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, whose target is its object's content.
    Symlink,
    /// A named pipe. Like all that follow, an empty object with its mode.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
}

impl Kind {
    /// What an object of `size` bytes that is no directory's marker is, by its metadata. What has more content than such a
    /// thing can have, or none where it must have some, is a file, so that every byte in the bucket can be read.
    pub(crate) fn of_object(attributes: Option<&ObjectAttributes>, size: u64) -> Kind {
        match Kind::in_mode(attributes) {
            Kind::Symlink if !(1..=LINK_BYTES_MAX).contains(&size) => Kind::File,
            kind if kind.is_special() && size > 0 => Kind::File,
            kind => kind,
        }
    }

    /// What a mode says that an object is.
    fn in_mode(attributes: Option<&ObjectAttributes>) -> Kind {
        let bits = number_in(attributes, "mode").map(|mode| mode & MODE_TYPE);
        let known = TYPES.into_iter().find(|(kind, of_kind)| Some(*of_kind) == bits && *kind != Kind::Directory);
        known.map_or(Kind::File, |(kind, _)| kind)
    }

    /// Whether the kernel answers for it, and this file system only for its name and attributes.
    pub fn is_special(self) -> bool {
        matches!(self, Kind::Fifo | Kind::Socket) || self.is_device()
    }

    /// Whether it has a device's number.
    pub fn is_device(self) -> bool {
        matches!(self, Kind::BlockDevice | Kind::CharDevice)
    }

    fn type_bits(self) -> u32 {
        TYPES.into_iter().find(|(kind, _)| *kind == self).map_or(0, |(_, bits)| bits)
    }
}

/// What `stat` shows of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The inode's number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Bytes in the file; 0 for a directory.
    pub size: u64,
    /// Permission bits, at most 0o7777.
    pub permissions: u32,
    /// The owner.
    pub owner: Owner,
    /// When it was last read, as far as this mount knows.
    pub atime: SystemTime,
    /// When the content last changed.
    pub mtime: SystemTime,
    /// When anything of it last changed, as far as this mount knows.
    pub ctime: SystemTime,
    /// Names that it has: 1, or 0 for a file that was removed while it is open. 1 tells `find` that it cannot count a
    /// directory's subdirectories by links.
    pub links: u32,
    /// The number of the device that it is; 0 for what is none.
    pub device: u32,
    /// How much longer this may be believed.
    pub valid_for: Duration,
}

/// What `chmod`, `chown`, `utimens` and `truncate` ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// New permission bits.
    pub permissions: Option<u32>,
    /// New user.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of the last reading, which is kept in memory alone.
    pub atime: Option<SystemTime>,
    /// New time of the last change.
    pub mtime: Option<SystemTime>,
    /// New length in bytes.
    pub size: Option<u64>,
    /// Whether the content counts as changed even where `size` is what it was.
    pub modifies: bool,
}

impl AttrChange {
    /// Whether it asks for a change of what the object's metadata carry.
    pub(crate) fn touches_metadata(&self) -> bool {
        self.permissions.is_some() || self.uid.is_some() || self.gid.is_some() || self.mtime.is_some()
    }

    /// `attributes`, those of a file, a link or, if `is_directory`, a directory, with this change.
    pub(crate) fn apply(&self, is_directory: bool, attributes: &ObjectAttributes) -> ObjectAttributes {
        if is_directory {
            return self.apply_to(Kind::Directory, attributes);
        }
        let changed = self.apply_to(Kind::in_mode(Some(attributes)), attributes);
        // Who is given a file shall not be given its last owner's privileges.
        let changes_owner = self.uid.is_some() || self.gid.is_some();
        match number_in(Some(&changed), "mode").filter(|_| changes_owner && self.permissions.is_none()) {
            Some(mode) => without_privileges(changed, privileges_of(mode)),
            None => changed,
        }
    }

    fn apply_to(&self, kind: Kind, attributes: &ObjectAttributes) -> ObjectAttributes {
        let mut changed = attributes.clone();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                changed.user.insert(name.to_owned(), value);
            }
        };
        set("mode", self.permissions.map(|permissions| mode_text(kind, permissions)));
        set("uid", self.uid.map(|uid| uid.to_string()));
        set("gid", self.gid.map(|gid| gid.to_string()));
        set(META_MTIME, self.mtime.map(time::unix));
        changed
    }
}

/// The metadata of a file or directory that is being made.
pub(crate) fn new_attributes(kind: Kind, permissions: u32, owner: Owner) -> ObjectAttributes {
    let change = AttrChange {
        permissions: Some(permissions),
        uid: Some(owner.uid),
        gid: Some(owner.gid),
        ..AttrChange::default()
    };
    let attributes = match kind {
        Kind::Directory => unmarked_attributes(),
        _ => ObjectAttributes { content_type: Some(UNKNOWN_TYPE.to_owned()), ..ObjectAttributes::default() },
    };
    change.apply_to(kind, &attributes)
}

/// The bits of a mode that nobody keeps to whom a file is given, nor one that others change: set-user-id, and set-group-id
/// if its group may execute it.
pub(crate) fn privileges_of(mode: u32) -> u32 {
    let group_runs_it = mode & MODE_GROUP_EXECUTES != 0;
    mode & (MODE_SET_USER | if group_runs_it { MODE_SET_GROUP } else { 0 })
}

/// Whether the metadatum of a mode has a bit that somebody may lose.
pub(crate) fn shows_privileges(mode: &str) -> bool {
    mode.trim().parse::<u32>().is_ok_and(|mode| mode & (MODE_SET_USER | MODE_SET_GROUP) != 0)
}

/// The metadata of a file without the bits `taken` of its mode.
pub(crate) fn without_privileges(mut attributes: ObjectAttributes, taken: u32) -> ObjectAttributes {
    if let Some(mode) = number_in(Some(&attributes), "mode").filter(|mode| mode & taken != 0) {
        attributes.user.insert("mode".to_owned(), (mode & !taken).to_string());
    }
    attributes
}

fn number_in(attributes: Option<&ObjectAttributes>, name: &str) -> Option<u32> {
    attributes.and_then(|attributes| attributes.user.get(name)?.trim().parse::<u32>().ok())
}

/// A user or a group. The largest number is that of nobody: the kernel takes an inode that shows it for one that it must not
/// change.
fn owner_in(attributes: Option<&ObjectAttributes>, name: &str) -> Option<u32> {
    number_in(attributes, name).filter(|number| *number != u32::MAX)
}

/// The metadata of a directory whose mode and owner nobody has chosen.
pub(crate) fn unmarked_attributes() -> ObjectAttributes {
    let content_type = Some(DIRECTORY_TYPE.to_owned());
    ObjectAttributes { content_type, ..ObjectAttributes::default() }
}

/// Permission bits and owner that an object's metadata and the options give.
pub(crate) fn permissions_and_owner(
    kind: Kind,
    attributes: Option<&ObjectAttributes>,
    options: &FsOptions,
) -> (u32, Owner) {
    let default = if kind == Kind::Directory { options.dir_mode } else { options.file_mode };
    let permissions = match kind {
        // Nobody asks for a link's permissions, which are always these.
        Kind::Symlink => LINK_PERMISSIONS,
        _ => number_in(attributes, "mode").map_or(default, |mode| mode & MODE_PERMISSIONS) & !options.umask,
    };
    let own = Owner {
        uid: owner_in(attributes, "uid").unwrap_or(options.owner.uid),
        gid: owner_in(attributes, "gid").unwrap_or(options.owner.gid),
    };
    (permissions, if options.owner_is_forced { options.owner } else { own })
}

fn mode_text(kind: Kind, permissions: u32) -> String {
    (kind.type_bits() | permissions & MODE_PERMISSIONS).to_string()
}

/// The metadata of what is opened as a file: whatever its mode says, it stays one, however short it becomes.
pub(crate) fn of_file(mut attributes: ObjectAttributes) -> ObjectAttributes {
    if let Some(mode) = number_in(Some(&attributes), "mode").filter(|_| Kind::in_mode(Some(&attributes)) != Kind::File)
    {
        attributes.user.insert("mode".to_owned(), mode_text(Kind::File, mode));
    }
    attributes
}

/// The metadata of a device that is being made, with its number as the kernel writes it.
pub(crate) fn with_device(mut attributes: ObjectAttributes, device: u32) -> ObjectAttributes {
    attributes.user.insert(DEVICE.to_owned(), device.to_string());
    attributes
}

/// The number of the device that something is.
pub(crate) fn device_of(kind: Kind, attributes: Option<&ObjectAttributes>) -> u32 {
    number_in(attributes, DEVICE).filter(|_| kind.is_device()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_owner_does_not_get_the_privileges_of_the_old_one() {
        let owner = Owner { uid: 7, gid: 8 };
        for (before, after) in [(0o6755, 0o755), (0o4700, 0o700), (0o2745, 0o2745), (0o2755, 0o755), (0o644, 0o644)] {
            let change = AttrChange { uid: Some(9), ..AttrChange::default() };
            let changed = change.apply(false, &new_attributes(Kind::File, before, owner));
            assert_eq!(permissions_and_owner(Kind::File, Some(&changed), &FsOptions::default()).0, after, "{before:o}");
            let chmod = AttrChange { permissions: Some(before), ..change };
            let changed = chmod.apply(false, &new_attributes(Kind::File, 0, owner));
            assert_eq!(permissions_and_owner(Kind::File, Some(&changed), &FsOptions::default()).0, before);
        }
    }

    #[test]
    fn what_has_more_content_than_its_kind_can_have_is_a_file() {
        let owner = Owner { uid: 7, gid: 8 };
        for (kind, bits) in TYPES.into_iter().filter(|(kind, _)| *kind != Kind::Directory) {
            let attributes = new_attributes(kind, 0o640, owner);
            assert_eq!(attributes.user["mode"], (bits | 0o640).to_string());
            let empty = if kind == Kind::Symlink { Kind::File } else { kind };
            assert_eq!(Kind::of_object(Some(&attributes), 0), empty);
            let with_a_byte = if kind.is_special() { Kind::File } else { kind };
            assert_eq!(Kind::of_object(Some(&attributes), 1), with_a_byte);
            assert_eq!(Kind::of_object(Some(&attributes), LINK_BYTES_MAX + 1), Kind::File);
        }
        let like_a_marker = new_attributes(Kind::Directory, 0o755, owner);
        assert_eq!(Kind::of_object(Some(&like_a_marker), 0), Kind::File, "its key says that it is no directory");
    }

    #[test]
    fn a_device_has_its_number_and_nothing_else_has_one() {
        let numbered = with_device(ObjectAttributes::default(), 0x0801);
        assert_eq!(device_of(Kind::BlockDevice, Some(&numbered)), 0x0801);
        assert_eq!((device_of(Kind::Fifo, Some(&numbered)), device_of(Kind::CharDevice, None)), (0, 0));
    }

    #[test]
    fn a_mode_is_written_with_its_type_and_read_without() {
        let owner = Owner { uid: 7, gid: 8 };
        let attributes = new_attributes(Kind::File, 0o640, owner);
        assert_eq!(attributes.user.get("mode").map(String::as_str), Some("33184"));
        let options = FsOptions::default();
        assert_eq!(permissions_and_owner(Kind::File, Some(&attributes), &options), (0o640, owner));
        assert_eq!(permissions_and_owner(Kind::File, None, &options), (0o644, options.owner));
        for nobody in ["4294967295", "4294967296", "99999999999999999999", "-1", "root"] {
            let mut attributes = attributes.clone();
            attributes.user.insert("uid".into(), nobody.into());
            attributes.user.insert("gid".into(), nobody.into());
            let (_, shown) = permissions_and_owner(Kind::File, Some(&attributes), &options);
            assert_eq!(shown, options.owner, "{nobody}");
        }
        let link = new_attributes(Kind::Symlink, LINK_PERMISSIONS, owner);
        assert_eq!(link.user.get("mode").map(String::as_str), Some("41471"), "as cosfs writes it");
        for (size, kind) in [(0, Kind::File), (1, Kind::Symlink), (4095, Kind::Symlink), (4096, Kind::File)] {
            assert_eq!(Kind::of_object(Some(&link), size), kind, "{size}");
        }
        assert_eq!((Kind::of_object(Some(&attributes), 1), Kind::of_object(None, 1)), (Kind::File, Kind::File));
        let forced = FsOptions { umask: 0o077, owner_is_forced: true, ..options };
        assert_eq!(permissions_and_owner(Kind::File, Some(&attributes), &forced), (0o600, forced.owner));
    }
}
