//! Copies of objects on this machine's disk, for reading them again.
//!
//! Pure of any protocol: a [`DiskCache`] knows what a file is a copy of by its [`Identity`], and holds as much of it as somebody
//! has read. Several mounts may share a directory, and it outlives all of them: nothing that a crash leaves behind is believed
//! without its checksum.
//!
//! Beside the bytes of a version is its [`Description`]: metadata that a listing does not tell.
//!
//! A cache never makes anything fail. What it cannot read is absent, and what it cannot write it does not keep.

mod data_file;
mod description;
mod directory;
mod draft;
mod entry;
mod filling;
mod header;
mod proof;
mod space;
#[cfg(test)]
mod tests;

pub use description::Description;
pub use directory::{CacheCounts, CacheOptions, Contents, DiskCache, Verified};
pub use draft::Draft;
pub use entry::{Entry, Look, Waits};
pub use filling::{Announced, Filling, Patience};
pub use header::Identity;
pub use space::has_room;

/// The least that is kept and verified, in bytes: the kernel's page.
pub const GRAIN_BYTES: u64 = 4096;
