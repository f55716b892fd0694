//! Mounting, waiting for the end, and unmounting.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, Filesystem, MountOption, Session, SessionACL};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Handle;

use super::adapter::{Adapter, Device, Notices};
use crate::fs::FileSystem;
use crate::store::Watchdog;

/// How far the kernel reads ahead, in KiB: four requests of the largest size. More is slower, because the pages leave
/// the cache before they are read. Only root may set it.
const READ_AHEAD_KIB: u32 = 4096;

/// How the file system is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuseOptions {
    /// What `mount` and `df` show as the source.
    pub source: String,
    /// Whether other users may enter.
    pub allow_other: bool,
    /// Whether the kernel refuses changes.
    pub read_only: bool,
    /// The largest write or read that the kernel sends at once, in bytes, 128 KiB to 1 MiB.
    pub request_bytes_max: u32,
    /// Threads that take requests, at least 1. One stream gains nothing from a second; several do.
    pub threads: usize,
}

impl Default for FuseOptions {
    fn default() -> FuseOptions {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        FuseOptions {
            source: "cosmount".to_owned(),
            allow_other: false,
            read_only: false,
            request_bytes_max: REQUEST_BYTES_MAX,
            threads: cores.clamp(2, 4),
        }
    }
}

/// The largest request that is asked for, in bytes. Larger ones are slower, because they leave the cache of the core
/// between the kernel's copy and ours.
const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// The smallest limit that is asked for, in bytes; the kernel's own default.
const REQUEST_BYTES_MIN: u32 = 128 << 10;

impl FuseOptions {
    /// The largest request for a mount with a budget of `memory_bytes`. A writer who waits for memory holds one request
    /// outside of the budget, so that 64 of them may hold a quarter of it.
    pub fn request_bytes_for(memory_bytes: u64) -> u32 {
        let share = (memory_bytes / 256).next_power_of_two();
        u32::try_from(share).unwrap_or(u32::MAX).clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX)
    }
}

/// Where a file system is to be found.
#[derive(Debug)]
pub enum Place {
    /// On this directory, once it is mounted there.
    Directory(PathBuf),
    /// Where somebody else has mounted it already.
    Given(GivenDevice),
}

/// A mount that somebody else has made, and that nobody has answered for yet.
#[derive(Debug)]
pub struct GivenDevice {
    /// The kernel's device, as it was mounted.
    pub device: OwnedFd,
    /// The directory that it is mounted on, where this process sees that, else what stands for it.
    pub known_as: PathBuf,
    /// The minor number of the mounted device, whose major one is 0, where the kernel tells it.
    pub connection: Option<u32>,
}

impl Place {
    /// What it is called in messages.
    pub fn known_as(&self) -> &Path {
        match self {
            Place::Directory(directory) => directory,
            Place::Given(given) => &given.known_as,
        }
    }
}

/// Why a directory could not be mounted on.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount on {}: {source}", mountpoint.display())]
pub struct MountError {
    /// The directory, or what stands for it.
    pub mountpoint: PathBuf,
    /// What the kernel or fusermount3 said.
    pub source: io::Error,
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted {
    session: BackgroundSession,
    mountpoint: PathBuf,
    device: Device,
}

/// Mounts a file system, if nobody has yet, and begins to answer for it. The kernel has agreed when this returns. `watchdog` tells
/// when calls have waited long enough for the service behind it.
pub fn mount(
    fs: Arc<FileSystem>,
    place: Place,
    options: &FuseOptions,
    runtime: Handle,
    watchdog: Arc<Watchdog>,
) -> Result<Mounted, MountError> {
    let mountpoint = place.known_as().to_owned();
    let failed = |source| MountError { mountpoint: mountpoint.clone(), source };
    let (device, notices) = (Device::default(), Notices::default());
    let adapter = Adapter::new(fs, runtime, options.request_bytes_max, device.clone(), notices.clone(), watchdog);
    let session = match place {
        Place::Directory(directory) => open(adapter, &directory, options),
        Place::Given(given) => {
            let _ = given.connection.is_some_and(|minor| device.set((0, minor)).is_ok());
            open_given(adapter, given.device, options)
        }
    };
    let session = session.map_err(failed)?;
    let _ = notices.set(session.notifier());
    let session = session.spawn().map_err(failed)?;
    Ok(Mounted { session, mountpoint, device })
}

/// Agrees with the kernel on how to speak of a mount that is there.
fn open_given<F: Filesystem>(filesystem: F, device: OwnedFd, options: &FuseOptions) -> io::Result<Session<F>> {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(1));
    // Each thread has a descriptor of its own where the device can be opened; otherwise they share this one.
    config.clone_fd = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).is_ok();
    // Who may enter is decided: the kernel lets nobody else in.
    Session::from_fd(filesystem, device, SessionACL::All, config)
}

/// The kernel's device.
const DEVICE: &str = "/dev/fuse";

/// Makes the mount and agrees with the kernel on how to speak.
pub(super) fn open<F: Filesystem>(filesystem: F, mountpoint: &Path, options: &FuseOptions) -> io::Result<Session<F>> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::Subtype("cosmount".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    if options.read_only {
        config.mount_options.push(MountOption::RO);
    }
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    match mount_directly(mountpoint, options) {
        Ok(device) => Session::from_fd(filesystem, device, config.acl, config.clone()).inspect_err(|_| {
            let _ = rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH);
        }),
        // Ordinary users mount through fusermount3.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Session::new(filesystem, mountpoint, &config),
        Err(error) => Err(error.into()),
    }
}

/// Mounts as root, with the type that fusermount3 gives mounts too: `mount` and `findmnt` find them by it, and `mount -o
/// remount` finds this program. fuser alone mounts with the type `fuse`.
fn mount_directly(mountpoint: &Path, options: &FuseOptions) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::MountFlags;

    let root_mode = rustix::fs::stat(mountpoint)?.st_mode;
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let allow_other = if options.allow_other { ",allow_other" } else { "" };
    let data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={},default_permissions{allow_other}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let data = CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    let flags = if options.read_only { flags | MountFlags::RDONLY } else { flags };
    rustix::mount::mount(options.source.as_str(), mountpoint, "fuse.cosmount", flags, data.as_c_str())?;
    Ok(device)
}

impl Mounted {
    /// Learns the device's number, and lets the kernel read further ahead of sequential readers. Asks the mount for its
    /// attributes if the number is not known, and so must not run on a thread that answers for it.
    pub fn settle_in(&self) {
        let number = match self.device.get() {
            Some(number) => Ok(*number),
            None => std::fs::metadata(&self.mountpoint).map(|metadata| {
                let device = metadata.dev();
                *self.device.get_or_init(|| (rustix::fs::major(device), rustix::fs::minor(device)))
            }),
        };
        let result = number.and_then(|(major, minor)| {
            std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB.to_string())
        });
        if let Err(error) = result {
            log::debug!("the kernel's read-ahead stays at its default: {error}");
        }
    }

    /// Waits until the file system is unmounted and every request is answered.
    pub fn wait(self) -> io::Result<()> {
        self.session.join()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_budget_asks_for_small_requests() {
        let mib = 1 << 20;
        let table: [(u64, u32); 6] = [
            (1, 128 << 10),
            (32 * mib, 128 << 10),
            (64 * mib, 256 << 10),
            (128 * mib, 512 << 10),
            (512 * mib, 1 << 20),
            (u64::MAX / 2, 1 << 20),
        ];
        for (memory_bytes, expected) in table {
            assert_eq!(FuseOptions::request_bytes_for(memory_bytes), expected, "{memory_bytes}");
        }
    }
}
