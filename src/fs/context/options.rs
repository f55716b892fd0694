//! What can be chosen about names and attributes.

use std::time::Duration;

use super::{Excluded, Temporary};
use crate::store::ObjectOptions;

/// Options of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsOptions {
    /// The part of the bucket that is mounted: empty, or a prefix that ends in `/`.
    pub prefix: String,
    /// How long names and attributes are believed without asking again.
    pub metadata_ttl: Duration,
    /// What is kept of names and attributes at most, in bytes, beside what the kernel refers to. A name costs some 240 bytes,
    /// and its attributes 800 more (`names/cost.rs`).
    pub metadata_bytes: usize,
    /// How many names are known at most, beside those that the kernel refers to.
    pub metadata_entries: usize,
    /// How long it is believed that there is nothing of a name, where that is not as long as `metadata_ttl`. The kernel believes
    /// it as long, then.
    pub negative_ttl: Option<Duration>,
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
    /// What removing does.
    pub deletes: Deletes,
    /// What changing does.
    pub overwrites: Overwrites,
    /// What `statfs` tells as the size, in bytes, all of it free.
    pub statfs_bytes: u64,
    /// Names that are neither shown nor made.
    pub excluded: Excluded,
    /// Which new files are taken for temporary, and wait at their close for the name they will be given.
    pub temporary: Temporary,
    /// How long a temporary file waits for its name.
    pub hold_for: Duration,
    /// How long changes of attributes wait for more of them.
    pub gather_for: Duration,
    /// Where attributes come from.
    pub attributes: AttributeSource,
    /// What `link()` does.
    pub hard_links: HardLinks,
    /// Whether keys that cannot be file names go along when the directory that they are in is removed.
    pub remove_unnameable: bool,
    /// Whether a new object's content type is that of its name's extension.
    pub types_by_name: bool,
    /// What objects are made with beside that.
    pub objects: ObjectOptions,
}

/// What becomes of an object that somebody removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Deletes {
    /// It is gone.
    #[default]
    Allowed,
    /// It stays, and so does its name.
    Refused,
    /// It moves to this directory below the mount, whose name has no slash at its ends. So does what a rename replaces and what
    /// is about to be cut.
    ToTrash(String),
}

/// What becomes of an object that somebody changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrites {
    /// Another one takes its place.
    #[default]
    Allowed,
    /// It stays: only its attributes can be changed.
    Refused,
}

/// Where the attributes of files come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeSource {
    /// From the objects' metadata, which takes a HEAD for every file that is looked at.
    #[default]
    Full,
    /// From listings alone: sizes and times of the last change; for the rest the mount's defaults.
    Listing,
}

/// What a hard link is, where an object has one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HardLinks {
    /// An error.
    Refuse,
    /// A copy, made on the service.
    #[default]
    Copy,
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
            metadata_bytes: 64 << 20,
            metadata_entries: usize::MAX,
            negative_ttl: None,
            owner: Owner { uid: 0, gid: 0 },
            owner_is_forced: false,
            file_mode: 0o644,
            dir_mode: 0o755,
            umask: 0,
            read_only: false,
            deletes: Deletes::Allowed,
            overwrites: Overwrites::Allowed,
            // So that installers are content.
            statfs_bytes: 1 << 50,
            excluded: Excluded::default(),
            temporary: Temporary::usual(),
            // The tools that rename do it at once; a person who looks into the bucket does not notice.
            hold_for: Duration::from_secs(5),
            gather_for: Duration::from_secs(1),
            attributes: AttributeSource::Full,
            hard_links: HardLinks::Copy,
            remove_unnameable: true,
            types_by_name: true,
            objects: ObjectOptions::default(),
        }
    }
}
