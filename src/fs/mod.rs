//! The file system: names, inodes, open files and attributes over a bucket. Knows nothing of FUSE, errno or HTTP.
//!
//! Every call is a method of [`FileSystem`]; those that may need the service are `async`, and none blocks. A future
//! that has begun must run to its end: whoever stops waiting leaves it to a task.

mod change;
mod context;
mod file_system;
mod locks;
mod markers;
mod names;
mod open;
mod recovery;
mod state;
mod traffic;

pub use change::{Asker, Attributes, Special, XattrMode};
pub use context::byte_locks::LockKind;
pub use context::cause::{FailedCall, with_cause, with_cause_at_once};
pub use context::error::FsError;
pub use context::excluded::Excluded;
pub use context::handles::HandleId;
pub use context::options::{AttributeSource, Deletes, FsOptions, HardLinks, Overwrites, Owner};
pub use context::others::Others;
pub use context::temporary::Temporary;
pub use file_system::{FileSystem, FileSystemParts};
pub use locks::{FileLocks, LockFamily, LockInTheWay, LockRequest};
pub use names::attributes::{Attr, AttrChange, Kind};
pub use names::listed::DirEntryPlus;
pub use names::{DirEntry, FileName, Ino, ROOT};
pub use open::{Allocation, BackingFile, Holder, OpenMode, Opened, Passthrough, SeekTo, WriteOutcome};
pub use recovery::{Inheritance, Recovery};
pub use state::{FileState, FsState, MemoryState};
