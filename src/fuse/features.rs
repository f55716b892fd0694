//! What a mount uses of the kernel where the kernel has it, and a mount for a moment that finds out.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use fuser::{Filesystem, InitFlags, KernelConfig, Request};
use rustix::mount::UnmountFlags;

use super::session::{self, FuseOptions, MountError};

/// Something that newer kernels can do.
pub(super) struct Feature {
    pub(super) flag: InitFlags,
    /// What people know it by.
    name: &'static str,
    /// What a mount has to do without on a kernel that lacks it.
    without: &'static str,
}

const fn feature(flag: InitFlags, name: &'static str, without: &'static str) -> Feature {
    Feature { flag, name, without }
}

/// All of them. Without them everything works, slower or with more requests.
pub(super) const FEATURES: [Feature; 7] = [
    feature(InitFlags::FUSE_ATOMIC_O_TRUNC, "atomic O_TRUNC", "an open that empties a file is two calls"),
    feature(InitFlags::FUSE_PARALLEL_DIROPS, "parallel directory operations", "lookups in one directory queue"),
    feature(InitFlags::FUSE_DO_READDIRPLUS, "READDIRPLUS", "ls -l asks for each file by itself"),
    feature(InitFlags::FUSE_READDIRPLUS_AUTO, "adaptive READDIRPLUS", "ls without -l reads attributes too"),
    feature(InitFlags::FUSE_HANDLE_KILLPRIV_V2, "KILLPRIV_V2", "each write asks for the setuid bits"),
    feature(
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        "mmap beside direct I/O",
        "files that are read unbuffered cannot be mapped",
    ),
    feature(InitFlags::FUSE_AUTO_INVAL_DATA, "automatic invalidation", "pages of changed files stay for longer"),
];

/// What a mount found that was there for a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// What the kernel can do, by name.
    pub used: Vec<&'static str>,
    /// What it cannot, by name, and what that costs.
    pub missed: Vec<(&'static str, &'static str)>,
}

/// A file system that is only asked how it wants to be spoken to.
struct Asked(Sender<Trial>);

impl Filesystem for Asked {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut trial = Trial::default();
        for Feature { flag, name, without } in FEATURES {
            match config.add_capabilities(flag) {
                Ok(()) => trial.used.push(name),
                Err(_) => trial.missed.push((name, without)),
            }
        }
        // Nobody hears it who has given up meanwhile.
        let _ = self.0.send(trial);
        Ok(())
    }
}

/// Mounts on a directory, as a mount of a bucket does it, and unmounts at once. Nothing is served.
///
/// # Errors
/// What the kernel or fusermount3 said.
pub fn try_mount(mountpoint: &Path, options: &FuseOptions) -> Result<Trial, MountError> {
    let (sender, found) = channel();
    let session = session::open(Asked(sender), mountpoint, options);
    let session = session.map_err(|source| MountError { mountpoint: mountpoint.to_owned(), source })?;
    // What root mounts itself the library does not unmount.
    let _ = rustix::mount::unmount(mountpoint, UnmountFlags::DETACH);
    drop(session);
    Ok(found.try_recv().unwrap_or_default())
}
