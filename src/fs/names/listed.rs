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

/// Takes out of the `names` of a page, which ends with `last`, those that a later one may tell to be directories. Returns what is
/// undecided then, and what of the `earlier` pages is decided now, which this page does not tell to be directories.
pub(crate) fn decide(
    names: &mut BTreeMap<FileName, EntryKind>,
    earlier: Vec<Undecided>,
    last: Option<&str>,
    asked: &Asked,
) -> (Vec<Undecided>, Vec<Undecided>) {
    // Only what the page's last key begins with can have its directory behind that key.
    let is_open = |name: &FileName| {
        last.is_some_and(|last| last.starts_with(name.as_str()) && last < format!("{name}/").as_str())
    };
    let earlier = earlier.into_iter().filter(|one| !names.contains_key(&one.name));
    let (mut left, decided): (Vec<_>, Vec<_>) = earlier.partition(|one| is_open(&one.name));
    names.retain(|name, what| {
        let is_undecided = !what.is_directory() && is_open(name);
        if is_undecided {
            left.push(Undecided { name: name.clone(), what: what.clone(), asked: asked.clone() });
        }
        !is_undecided
    });
    (left, decided)
}
