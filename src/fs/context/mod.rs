//! What every part of the file system works with: the bucket, the options, the clock, the budget, and what failures mean.

pub(super) mod byte_locks;
pub(super) mod cause;
pub(super) mod content_type;
pub(super) mod error;
pub(super) mod excluded;
pub(super) mod handles;
pub(super) mod options;
pub(super) mod others;
pub(super) mod service;
pub(super) mod temporary;

pub(super) use byte_locks::{LockKind, Range};
pub(super) use cause::{called_by, caller};
pub(super) use content_type::UNKNOWN_TYPE;
use content_type::type_of_name;
pub(super) use error::FsError;
pub(super) use excluded::Excluded;
pub(super) use handles::{HandleId, Handles};
pub(super) use options::{AttributeSource, Deletes, FsOptions, HardLinks, Overwrites, Owner};
pub(super) use others::Others;
pub(super) use service::{BACKGROUND_MAX, Context, HIDDEN_DIRECTORY};
pub(super) use temporary::CreateFlags;

use byte_locks::try_lock;
use temporary::Temporary;
