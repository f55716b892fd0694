//! What the names have to know of a file that somebody has open.

use std::any::Any;
use std::fmt::Debug;
use std::time::SystemTime;

use crate::object::ObjectAttributes;

/// What is open of a file, as its inode sees it. Who opens files knows more of it.
///
/// Asked, and changed, under the lock of the names.
pub(crate) trait OpenState: Any + Debug + Send + Sync {
    /// Whether somebody has it open, or something of it waits to be published.
    fn is_in_use(&self) -> bool;

    /// Whether there is nothing to be remembered of it.
    fn is_idle(&self) -> bool;

    /// Whether this mount has content or attributes of it that are not in the bucket yet.
    fn is_unpublished(&self) -> bool;

    /// Whether the kernel reads it by itself, so that this inode cannot become another version.
    fn is_read_by_kernel(&self) -> bool;

    /// What these are.
    fn unpublished(&self) -> Option<Unpublished>;

    /// Whether `stat` may show it as another file for a moment.
    fn looks_like_another(&self, now: SystemTime) -> bool;
}

/// What a file is while something of it is not in the bucket.
pub(crate) struct Unpublished {
    pub(crate) attributes: ObjectAttributes,
    pub(crate) size: u64,
    pub(crate) has_name: bool,
    /// The time of its last change may be an earlier one once it is published.
    pub(crate) may_tell_another_time: bool,
}
