//! Files that are open: their handles, what is being written of them, and what publishes it.

pub(super) mod backing;
pub(super) mod closing;
pub(super) mod content;
pub(super) mod files;
pub(super) mod handles;
pub(super) mod holding;
pub(super) mod inode;
pub(super) mod linked;
pub(super) mod passing;
pub(super) mod publisher;
pub(super) mod ranges;
pub(super) mod reading;
pub(super) mod writing;

pub use backing::{BackingFile, Passthrough};
pub use closing::Holder;
pub use files::Opened;
pub use handles::OpenMode;
pub use ranges::{Allocation, SeekTo};
pub use writing::WriteOutcome;

pub(super) use content::Writing;
pub(super) use files::Files;
pub(super) use inode::{is_open, is_open_for_writing, lock_inode, open_inode, writing_of, writings_below};
pub(super) use linked::{looks_like, note_link};
pub(super) use publisher::Publisher;

use handles::FileHandle;
use inode::{Inode, inode_of, waiting_in, writings};
use linked::Linked;
