//! What a page of a listing shows.

use std::collections::BTreeMap;

use super::{Attr, EntryKind, FileName, Ino, Kind};

/// One entry of a directory as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its inode.
    pub ino: Ino,
    /// Its name.
    pub name: FileName,
    /// What it is.
    pub kind: Kind,
}

/// An entry with its attributes, where its name is still there.
pub type DirEntryPlus = (DirEntry, Option<Attr>);

/// Where a page begins.
#[derive(Clone, Default)]
pub(in crate::fs) struct Start {
    pub(in crate::fs) marker: Option<String>,
    pub(in crate::fs) undecided: Undecided,
}

/// A page of a directory.
pub(in crate::fs) struct NamesPage {
    pub(in crate::fs) names: BTreeMap<FileName, EntryKind>,
    /// Whether the directory's own marker was on it.
    pub(in crate::fs) has_marker: bool,
    /// The marker of the page that follows.
    pub(in crate::fs) next: Option<String>,
    pub(in crate::fs) undecided: Undecided,
}

/// Objects of which a later page tells whether there is a directory of the same name.
pub(in crate::fs) type Undecided = Vec<(FileName, EntryKind)>;
