//! The file system: names, inodes, open files and attributes over a bucket. Knows nothing of FUSE, errno or HTTP.
//!
//! Every call is a method of [`FileSystem`]; those that may need the service are `async`, and none blocks. A future
//! that has begun must run to its end: whoever stops waiting leaves it to a task.

mod attributes;
mod byte_locks;
mod cause;
mod changes;
mod closing;
mod error;
mod files;
mod flat;
mod handles;
mod hard_links;
mod heads;
mod holding;
mod leases;
mod listing;
mod locks;
mod moving_directories;
mod name;
mod options;
mod others;
mod privileges;
mod ranges;
mod reading_directories;
mod refresh;
mod renaming;
mod special_files;
mod state;
mod temporary;
mod times;
mod top;
mod traffic;
mod tree;
mod unnameable;
mod xattrs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use attributes::{Attr, AttrChange, Kind};
pub use byte_locks::LockKind;
pub use cause::{FailedCall, with_cause, with_cause_at_once};
pub use closing::Holder;
pub use error::FsError;
pub use files::{OpenMode, Opened, WriteOutcome};
pub use handles::HandleId;
pub use locks::{LockFamily, LockInTheWay, LockRequest};
pub use name::FileName;
pub use options::{AttributeSource, FsOptions, HardLinks, Owner};
pub use others::Others;
pub use privileges::Asker;
pub use ranges::{Allocation, SeekTo};
pub use reading_directories::DirEntry;
pub use special_files::Special;
pub use state::{FsState, OpenFileState};
pub use temporary::Temporary;
pub use tree::{Ino, ROOT};
pub use xattrs::XattrMode;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::memory::Memory;
use crate::read::{ReadOptions, Readers};
use crate::stats::Stats;
use crate::store::{ChangeNotifier, ObjectStore};
use crate::upload::{UploadOptions, Uploader};
use handles::Handles;
use heads::Heads;
use leases::Leases;
use locks::Locks;
use moving_directories::Cleanings;
use traffic::Traffic;
use tree::Tree;

/// A bucket, or a part of one, as a file system.
pub struct FileSystem {
    store: Arc<dyn ObjectStore>,
    options: FsOptions,
    clock: Clock,
    stats: Arc<Stats>,
    memory: Memory,
    uploader: Arc<Uploader>,
    readers: Arc<Readers>,
    /// Std mutex: guards all names and inodes. Sections are a few map operations, but for the taking in of a listing's
    /// page of 1,000 names; never held across an await, and never while an open file's lock is taken for a write.
    tree: Mutex<Tree>,
    handles: Handles,
    traffic: Arc<Traffic>,
    leases: Leases,
    heads: Heads,
    others: Option<Arc<Others>>,
    /// Of files, shared with the others.
    locks: Option<Locks>,
    runtime: tokio::runtime::Handle,
    /// For tasks that do what waits.
    me: Weak<FileSystem>,
    /// A permit for each publishing in the background. Who has one waits for answers alone, or for those who do: taken before
    /// anything else that somebody may wait for.
    background: Semaphore,
    cleanings: Cleanings,
}

/// What a file system is made of.
pub struct FileSystemParts {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Names and attributes.
    pub options: FsOptions,
    /// How files are uploaded.
    pub upload: UploadOptions,
    /// How files are read.
    pub read: ReadOptions,
    /// The budget of all buffers.
    pub memory: Memory,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where transfers run.
    pub runtime: tokio::runtime::Handle,
    /// Other mounts of the bucket on this machine; `None` if nobody is to know of this one.
    pub others: Option<Arc<Others>>,
}

impl FileSystem {
    /// A file system over a bucket. Makes no request.
    pub fn new(parts: FileSystemParts) -> Arc<FileSystem> {
        let FileSystemParts { store, options, upload, read, memory, clock, stats, runtime, others } = parts;
        let store: Arc<dyn ObjectStore> = match &others {
            Some(others) => Arc::new(ChangeNotifier::new(store, others.clone())),
            None => store,
        };
        let uploader =
            Uploader::new(store.clone(), memory.clone(), upload, clock.clone(), stats.clone(), runtime.clone());
        uploader.hide_under(format!("{}{}/", options.prefix, tree::HIDDEN_DIRECTORY));
        let readers = Readers::new(store.clone(), memory.clone(), read, runtime.clone());
        let tree = Mutex::new(Tree::new());
        let locks = others.as_deref().map(Locks::new);
        Arc::new_cyclic(|me| FileSystem {
            store,
            options,
            clock,
            stats,
            memory,
            uploader,
            readers,
            tree,
            handles: Handles::default(),
            traffic: Arc::default(),
            leases: Leases::default(),
            heads: Heads::default(),
            others,
            locks,
            runtime,
            me: me.clone(),
            background: Semaphore::new(holding::BACKGROUND_MAX),
            cleanings: Cleanings::default(),
        })
    }

    /// The options it was made with.
    pub fn options(&self) -> &FsOptions {
        &self.options
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
