//! What can be chosen about names and attributes.

use std::time::Duration;

/// Options of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsOptions {
    /// The part of the bucket that is mounted: empty, or a prefix that ends in `/`.
    pub prefix: String,
    /// How long names and attributes are believed without asking again.
    pub metadata_ttl: Duration,
    /// The owner of files that do not say, and of the root.
    pub owner: Owner,
    /// Whether every file shows `owner`, whatever its object says.
    pub owner_is_forced: bool,
    /// Permission bits of files that do not say.
    pub file_mode: u32,
    /// Permission bits of directories that do not say.
    pub dir_mode: u32,
    /// Permission bits that are taken from every file and directory.
    pub umask: u32,
    /// Whether every change is refused.
    pub read_only: bool,
}

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Default for FsOptions {
    fn default() -> FsOptions {
        FsOptions {
            prefix: String::new(),
            // Long enough that one tool's run asks once, short enough that a person does not notice.
            metadata_ttl: Duration::from_secs(5),
            owner: Owner { uid: 0, gid: 0 },
            owner_is_forced: false,
            file_mode: 0o644,
            dir_mode: 0o755,
            umask: 0,
            read_only: false,
        }
    }
}
