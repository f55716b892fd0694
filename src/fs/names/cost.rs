//! What it costs to know a name.

use std::ops::{AddAssign, SubAssign};

use super::{Entry, FileName};
use crate::object::ObjectAttributes;

/// What a name costs without its characters and attributes, in bytes: the entry, its place in a tree whose nodes are half
/// full, and what an allocator adds to each.
pub(super) const NAME_BYTES: usize = 224;

/// What an inode costs that the kernel or a handle refers to, in bytes, beside its name and what is open of it: itself, what an
/// allocator adds, and its place in a table that may be half full. That is not in [`Cost`]: no eviction gives it back.
pub(crate) const INODE_BYTES: usize = 128;

/// What attributes cost beside their text: six standard ones, a tree of the others, and what an allocator adds.
pub(super) const ATTRIBUTES_BYTES: usize = 720;

/// What is known of a directory's names costs so much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Of memory.
    pub(super) bytes: usize,
    /// Entries.
    pub(super) names: usize,
    /// Entries with attributes.
    pub(super) with_attributes: usize,
}

impl Cost {
    /// What an entry costs under its name.
    pub(super) fn of(name: &FileName, entry: &Entry) -> Cost {
        let attributes = entry.what.attributes();
        let bytes = NAME_BYTES + name.as_str().len() + attributes.map_or(0, attributes_bytes);
        Cost { bytes, names: 1, with_attributes: usize::from(attributes.is_some()) }
    }

    /// What so many names cost of which little is known.
    pub(super) fn of_names(count: usize) -> Cost {
        Cost { bytes: count * NAME_BYTES, names: count, with_attributes: 0 }
    }
}

impl Cost {
    /// Whether it is more than that, in memory or in names.
    pub(super) fn exceeds(&self, limit: Cost) -> bool {
        self.bytes > limit.bytes || self.names > limit.names
    }

    /// Seven eighths of it.
    pub(super) fn but_an_eighth(self) -> Cost {
        Cost { bytes: self.bytes - self.bytes / 8, names: self.names - self.names / 8, with_attributes: 0 }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.bytes += other.bytes;
        self.names += other.names;
        self.with_attributes += other.with_attributes;
    }
}

impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Cost) {
        self.bytes -= other.bytes;
        self.names -= other.names;
        self.with_attributes -= other.with_attributes;
    }
}

fn attributes_bytes(attributes: &ObjectAttributes) -> usize {
    let text: usize = attributes.user.iter().map(|(name, value)| name.len() + value.len()).sum();
    ATTRIBUTES_BYTES + text
}
