//! Locks of files, by `flock` and by `fcntl`, between all mounts of a bucket by one user on this machine.

pub(super) mod file_locks;
pub(super) mod table;

pub use file_locks::FileLocks;
pub use table::{LockFamily, LockInTheWay, LockRequest};

use table::{LOOK_EVERY, Locks, Waiting};
