//! Copies that look like the file that they were made of for a moment, as hard links would.

use std::time::{Duration, SystemTime};

use super::{lock_inode, open_inode};
use crate::fs::names::{EntryKind, Ino, Tree};
use crate::object::ETag;

/// How long a copy looks like the file that it was made of: who wants to know looks at once.
const LOOKS_LIKE_FOR: Duration = Duration::from_secs(1);

/// What a copy was made of, and when.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    source: Ino,
    source_is: Unchanged,
    copy_is: Unchanged,
    at: SystemTime,
}

/// What is the same for as long as nobody changes a file's content: its version, or the hold that a write ends.
#[derive(Clone, Debug, PartialEq)]
enum Unchanged {
    Version(ETag),
    Hold(u64),
}

impl Linked {
    /// Whether it was made just now.
    pub(crate) fn is_new(&self, now: SystemTime) -> bool {
        now.duration_since(self.at).is_ok_and(|age| age < LOOKS_LIKE_FOR)
    }
}

/// What would be another if somebody changed the file; `None` where somebody has it open to do so.
fn unchanged(tree: &Tree, ino: Ino) -> Option<Unchanged> {
    let inode = open_inode(tree, ino);
    let inode = inode.as_ref().map(|inode| inode.lock());
    if inode.as_ref().is_some_and(|inode| inode.writers > 0) {
        return None;
    }
    match (&tree.entry_of(ino)?.what, inode.as_ref().and_then(|inode| inode.writing.as_ref())) {
        (EntryKind::Object(stat), None) => Some(Unchanged::Version(stat.version.etag.clone())),
        (_, Some(writing)) => writing.current_hold().map(Unchanged::Hold),
        _ => None,
    }
}

/// The file that a copy of it looks like right now.
pub(crate) fn looks_like(tree: &Tree, ino: Ino, now: SystemTime) -> Option<Ino> {
    let linked = open_inode(tree, ino)?.lock().linked.clone().filter(|linked| linked.is_new(now))?;
    let is_same = unchanged(tree, ino).as_ref() == Some(&linked.copy_is)
        && unchanged(tree, linked.source).as_ref() == Some(&linked.source_is);
    is_same.then_some(linked.source)
}

/// A copy was made of a file at `now`.
pub(crate) fn note_link(tree: &mut Tree, source: Ino, copy: Ino, now: SystemTime) {
    let Some((source_is, copy_is)) = unchanged(tree, source).zip(unchanged(tree, copy)) else { return };
    if let Some(mut inode) = lock_inode(tree, copy) {
        inode.linked = Some(Linked { source, source_is, copy_is, at: now });
    }
}
