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
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    pub(crate) marker: Option<String>,
    pub(crate) undecided: Undecided,
}

/// A page of a directory.
pub(crate) struct NamesPage {
    pub(crate) names: BTreeMap<FileName, EntryKind>,
    /// Whether the directory's own marker was on it.
    pub(crate) has_marker: bool,
    /// The marker of the page that follows.
    pub(crate) next: Option<String>,
    pub(crate) undecided: Undecided,
}

/// Objects of which a later page tells whether there is a directory of the same name.
pub(crate) type Undecided = Vec<(FileName, EntryKind)>;
