//! Directories and what is mounted on them, as the kernel tells it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failure::{Exit, Failure};
use super::given_mount;

/// The types that the kernel shows for our mounts: what root mounts itself has no subtype, what fusermount3 mounts has.
const FS_TYPES: [&str; 2] = ["fuse", "fuse.cosmount"];

/// One mount, as far as we care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountEntry {
    pub(super) mount_point: PathBuf,
    /// The number of the mounted device, as `0:53`.
    pub(super) device: String,
    pub(super) fs_type: String,
    pub(super) source: String,
    /// Who mounted it, for FUSE.
    pub(super) user_id: Option<u32>,
}

impl MountEntry {
    /// Whether it may be a mount of ours. Another program's without a subtype looks the same.
    pub(super) fn may_be_ours(&self) -> bool {
        FS_TYPES.contains(&self.fs_type.as_str())
    }
}

/// Whether a bucket can be mounted here; gives the directory's real path. `warn` hears what is worth knowing.
pub(super) fn check(mount_point: &Path, warn: impl FnOnce(&str)) -> Result<PathBuf, Failure> {
    let shown = mount_point.display();
    let refuse = |sentence: String| Err(Failure::new(Exit::MountPoint, sentence));
    let real = real_path(mount_point);
    if let Some(entry) = real.as_deref().and_then(mounted_at)
        && entry.fs_type.starts_with("fuse")
    {
        if is_dead(mount_point) {
            return refuse(format!(
                "{shown} is a mount whose process has ended; clean it up with: cosmount unmount {shown}"
            ));
        }
        return refuse(format!(
            "mount point {shown} is busy: {} is already mounted there; unmount that first with: cosmount unmount {shown}",
            entry.source
        ));
    }
    match fs::metadata(mount_point) {
        Ok(metadata) if !metadata.is_dir() => {
            return refuse(format!("mount point {shown} is not a directory: name one, or make one with mkdir"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse(format!("mount point {shown} does not exist; make it with: mkdir -p {shown}"));
        }
        Err(error) => return refuse(format!("mount point {shown} cannot be used: {error}")),
    }
    if fs::read_dir(mount_point).is_ok_and(|mut entries| entries.next().is_some()) {
        warn(&format!("{shown} is not empty: what is in it is hidden while the bucket is mounted"));
    }
    match mount_point.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) => refuse(format!("mount point {shown} cannot be used: {error}")),
    }
}

/// The real path of a mount point, found without asking the file system that is mounted there, which may be dead.
pub(super) fn real_path(mount_point: &Path) -> Option<PathBuf> {
    // One that was given to its process, which has this name wherever it is.
    if given_mount::number(mount_point).is_some() {
        return Some(mount_point.to_owned());
    }
    let absolute = std::path::absolute(mount_point).ok()?;
    if let Ok(metadata) = fs::symlink_metadata(&absolute)
        && metadata.is_symlink()
    {
        return absolute.canonicalize().ok();
    }
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Some(parent.canonicalize().ok()?.join(name)),
        _ => absolute.canonicalize().ok(),
    }
}

/// Whether the process behind a mount has gone away. Attributes may come from the kernel's cache, statistics never do.
pub(super) fn is_dead(mount_point: &Path) -> bool {
    rustix::fs::statfs(mount_point).is_err_and(|error| error == rustix::io::Errno::NOTCONN)
}

/// Takes a mount out of the tree of names at once, whatever still uses it.
pub(super) fn detach(mount_point: &Path) -> Result<(), Failure> {
    let failed = |reason: String| {
        let shown = mount_point.display();
        let sentence = format!("{shown} cannot be unmounted: {reason}; as root, umount -l {shown} takes it away");
        Failure::new(Exit::MountPoint, sentence)
    };
    match rustix::mount::unmount(mount_point, rustix::mount::UnmountFlags::DETACH) {
        Ok(()) => return Ok(()),
        // Ordinary users unmount as they mounted, through the helper that is allowed to.
        Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    let output = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(mount_point)
        .output()
        .map_err(|error| failed(format!("fusermount3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Makes a mount read-only, or writable again. Everything else of a mount is decided when it is made.
pub(super) fn remount(mount_point: &Path, read_only: bool) -> Result<(), Failure> {
    use rustix::mount::MountFlags;

    let shown = mount_point.display();
    let refuse = |reason: &dyn std::fmt::Display| {
        Failure::new(
            Exit::MountPoint,
            format!("{shown} cannot be mounted with other options: {reason}; or unmount it, and mount it anew"),
        )
    };
    let entry = real_path(mount_point).as_deref().and_then(mounted_at).filter(MountEntry::may_be_ours);
    let entry =
        entry.ok_or_else(|| refuse(&"no bucket is mounted there; see what is with findmnt -t fuse.cosmount"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    let flags = if read_only { flags | MountFlags::RDONLY } else { flags };
    rustix::mount::mount_remount(&entry.mount_point, flags, c"").map_err(|error| refuse(&error))
}

/// The mounts below a path, the outermost first.
pub(super) fn mounted_below(real_path: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut below: Vec<PathBuf> = table
        .lines()
        .filter_map(parse_entry)
        .map(|entry| entry.mount_point)
        .filter(|mount_point| mount_point != real_path && mount_point.starts_with(real_path))
        .collect();
    below.sort();
    below.dedup();
    below
}

/// The topmost mount on exactly this path.
pub(super) fn mounted_at(real_path: &Path) -> Option<MountEntry> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table.lines().rev().filter_map(parse_entry).find(|entry| entry.mount_point == real_path)
}

/// Every mount that this process sees.
pub(super) fn all() -> Vec<MountEntry> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse_entry).collect()
}

/// One line of `/proc/self/mountinfo`, see proc(5): six fields, optional ones, a `-`, type, source and options.
fn parse_entry(line: &str) -> Option<MountEntry> {
    let (mount, rest) = line.split_once(" - ")?;
    let device = mount.split(' ').nth(2)?.to_owned();
    let mount_point = unescape(mount.split(' ').nth(4)?);
    let mut rest = rest.split(' ');
    let fs_type = rest.next()?.to_owned();
    let source = unescape(rest.next()?).to_string_lossy().into_owned();
    let options = rest.next().unwrap_or_default();
    let user_id = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    Some(MountEntry { mount_point: mount_point.into(), device, fs_type, source, user_id })
}

/// Blanks, tabs, newlines and backslashes stand there as `\` and three octal digits.
fn unescape(field: &str) -> OsString {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo_are_understood() {
        let line = r"36 25 0:31 / /mnt/my\040files rw,nosuid,nodev shared:7 - fuse.cosmount photos-1:/a\040b rw,user_id=1000,group_id=100,allow_other";
        let expected = MountEntry {
            mount_point: "/mnt/my files".into(),
            device: "0:31".into(),
            fs_type: "fuse.cosmount".into(),
            source: "photos-1:/a b".into(),
            user_id: Some(1000),
        };
        assert_eq!(parse_entry(line), Some(expected.clone()));
        assert!(expected.may_be_ours());
        let root = parse_entry("1 0 8:1 / / rw - ext4 /dev/sda1 rw").unwrap();
        assert_eq!((root.may_be_ours(), root.user_id), (false, None));
        assert_eq!(parse_entry("nonsense"), None);
    }

    #[test]
    fn escapes_at_the_edge_of_a_field_do_no_harm() {
        for (field, expected) in [(r"a\134b", r"a\b"), (r"a\04", r"a\04"), (r"\", r"\"), (r"\999", r"\999"), ("", "")] {
            assert_eq!(unescape(field), expected, "{field:?}");
        }
    }

    #[test]
    fn a_mount_point_must_be_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(directory.path(), |_| ()).unwrap(), directory.path().canonicalize().unwrap());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check(&file, |_| ()).unwrap_err().sentence.contains("is not a directory: name one"));
        let missing = check(&directory.path().join("none"), |_| ()).unwrap_err();
        assert_eq!(missing.exit, Exit::MountPoint);
        assert!(missing.sentence.contains("does not exist; make it with: mkdir -p"), "{}", missing.sentence);
    }

    #[test]
    fn the_root_is_mounted_and_a_fresh_directory_is_not() {
        assert_eq!(mounted_at(Path::new("/")).unwrap().mount_point, Path::new("/"));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(mounted_at(&real_path(directory.path()).unwrap()), None);
    }
}
