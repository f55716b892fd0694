//! What a flat listing has said of directories that nobody has listed yet.

use std::collections::BTreeMap;

use super::{EntryKind, FileName};

/// What a flat listing said of one directory.
#[derive(Debug, Default)]
pub(super) struct Stashed {
    pub(super) names: BTreeMap<FileName, EntryKind>,
    pub(super) has_marker: bool,
    /// Something is in it that cannot have a name.
    pub(super) has_nameless: bool,
}

#[cfg(test)]
impl Stashed {
    /// What is said of a directory without a marker.
    pub(super) fn of(names: BTreeMap<FileName, EntryKind>) -> Stashed {
        Stashed { names, ..Stashed::default() }
    }
}
