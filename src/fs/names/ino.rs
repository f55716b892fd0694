//! Numbers of inodes.

/// The number of an inode; stable for as long as anybody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

/// The top directory of the mount.
pub const ROOT: Ino = Ino(1);
