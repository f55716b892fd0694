//! What a page of a listing shows.

use std::collections::BTreeMap;

use super::{Asked, Attr, EntryKind, FileName, Ino, Kind};

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
    /// What it comes after, below the prefix of the directory, which may be another one by the time that the page is asked for.
    pub(crate) marker: Option<String>,
    pub(crate) undecided: Vec<Undecided>,
}

/// A page of a directory.
pub(crate) struct NamesPage {
    pub(crate) names: BTreeMap<FileName, EntryKind>,
    /// Whether the directory's own marker was on it.
    pub(crate) has_marker: bool,
    /// The marker of the page that follows.
    pub(crate) next: Option<String>,
}

/// An object of which a later page tells whether there is a directory of the same name.
#[derive(Clone, Debug)]
pub(crate) struct Undecided {
    pub(crate) name: FileName,
    pub(crate) what: EntryKind,
    /// When the page was asked for that told of it: what comes of it is as old as that.
    pub(crate) asked: Asked,
}

impl Undecided {
    /// Whether it still is after a page that ends with `last`, below the directory's prefix.
    pub(crate) fn is_open(name: &FileName, last: &str) -> bool {
        last.starts_with(name.as_str()) && last < format!("{name}/").as_str()
    }
}
