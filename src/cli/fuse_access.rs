//! Whether this machine lets this user mount with FUSE at all.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::diagnosis::Diagnosis;
use super::failure::{Exit, Failure};
use super::topic::Topic;

const DEVICE: &str = "/dev/fuse";
/// The number of the device, as the kernel's list of devices has it.
const DEVICE_NUMBER: (u32, u32) = (10, 229);

/// By this program ordinary users mount.
const HELPER: &str = "fusermount3";
const HELPER_CONFIGURATION: &str = "/etc/fuse.conf";
/// The line of it that lets ordinary users let others in.
const OTHERS_ALLOWED: &str = "user_allow_other";

/// Whether everything is there. `search_path` is `$PATH`.
pub(super) fn check(search_path: &str, allow_other: bool) -> Result<(), Failure> {
    device()?;
    if is_root() {
        return Ok(());
    }
    helper(search_path)?;
    if allow_other { others() } else { Ok(()) }.map_err(Failure::from)
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn refused(topic: Topic, cause: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
    Diagnosis::new(topic, cause, remedy).ending(Exit::MountPoint)
}

/// Whether a file of this mode and device number is the kernel's device.
pub(super) fn is_device(mode: u32, device: u64) -> bool {
    let number = (rustix::fs::major(device), rustix::fs::minor(device));
    FileType::from_raw_mode(mode) == FileType::CharacterDevice && number == DEVICE_NUMBER
}

/// Whether the kernel's device is there and can be opened.
pub(super) fn device() -> Result<(), Diagnosis> {
    let missing = |told: Option<io::Error>| {
        let told = told.map(|error| error.to_string());
        let cause = format!("{DEVICE} is missing");
        let remedy = "load the module with modprobe fuse, or give the container the device, --device /dev/fuse";
        Diagnosis { evidence: told, ..refused(Topic::Fuse, cause, remedy) }
    };
    let metadata = match fs::metadata(DEVICE) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(None)),
        Err(error) => return Err(missing(Some(error))),
    };
    if !is_device(metadata.mode(), metadata.rdev()) {
        let (major, minor) = DEVICE_NUMBER;
        let cause = format!("{DEVICE} is something else than the kernel's device");
        return Err(refused(Topic::Fuse, cause, format!("make it anew: mknod -m 666 {DEVICE} c {major} {minor}")));
    }
    let Err(error) = fs::File::options().read(true).write(true).open(DEVICE) else { return Ok(()) };
    let (cause, remedy) = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ACCESS) => {
            (format!("{DEVICE} cannot be opened by this user"), format!("ask the administrator for chmod 666 {DEVICE}"))
        }
        Some(rustix::io::Errno::PERM) => (
            format!("{DEVICE} must not be opened in this container"),
            "start it with --device /dev/fuse --cap-add SYS_ADMIN".to_owned(),
        ),
        Some(rustix::io::Errno::NODEV | rustix::io::Errno::NXIO) => {
            ("the kernel has no FUSE behind its device".to_owned(), "load the module with modprobe fuse".to_owned())
        }
        _ => (format!("{DEVICE} cannot be opened"), "look into the kernel's log: dmesg".to_owned()),
    };
    Err(refused(Topic::Fuse, cause, remedy).with(error.to_string()))
}

/// The program by which ordinary users mount, if it is there and may do so.
pub(super) fn helper(search_path: &str) -> Result<PathBuf, Diagnosis> {
    let found = search_path.split(':').map(|directory| Path::new(directory).join(HELPER)).find(|path| path.is_file());
    let Some(path) = found else {
        let cause = format!("ordinary users mount through {HELPER}, which is not installed");
        return Err(refused(Topic::Fusermount, cause, "apt install fuse3"));
    };
    let is_privileged =
        fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o4000 != 0 && found.uid() == 0);
    // Where it is not root's by its mode, a capability in its attributes does as well.
    let has_capability = || rustix::fs::getxattr(&path, "security.capability", &mut [0u8; 64][..]).is_ok();
    if is_privileged || has_capability() {
        return Ok(path);
    }
    let shown = path.display();
    let cause = format!("{shown} is not installed as root's (mode 4755), and cannot mount for ordinary users");
    Err(refused(Topic::Fusermount, cause, format!("ask the administrator for chown root {shown}; chmod 4755 {shown}")))
}

/// Whether ordinary users may let others use their mounts.
pub(super) fn others() -> Result<(), Diagnosis> {
    let configuration = fs::read_to_string(HELPER_CONFIGURATION).unwrap_or_default();
    if configuration.lines().any(|line| line.trim() == OTHERS_ALLOWED) {
        return Ok(());
    }
    let cause = format!("--allow-other is for root alone until {HELPER_CONFIGURATION} has the line {OTHERS_ALLOWED}");
    let remedy = format!("ask the administrator for echo {OTHERS_ALLOWED} >> {HELPER_CONFIGURATION}");
    Err(refused(Topic::AllowOther, cause, remedy))
}
