//! Reading published objects: ahead of a reader who goes in order, exactly what was asked for otherwise.
//!
//! A [`Reader`] reads one version of one object and is pinned to it: a version that changes under it is an error,
//! never a mixture. Blocks come from the mount's memory budget and make way whenever somebody needs it more.

mod blocks;
mod checksums;
mod grain;
mod reader;
mod window;

pub use reader::{Object, ReadBytes, ReadOptions, Reader, Readers, Version};
