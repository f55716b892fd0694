//! What every part of the file system works with: the bucket, the options, the clock, the budget, and what failures mean.

pub(super) mod byte_locks;
pub(super) mod cause;
pub(super) mod content_type;
pub(super) mod error;
pub(super) mod handles;
pub(super) mod options;
pub(super) mod others;
pub(super) mod service;
pub(super) mod temporary;
