//! Inodes that somebody refers to, and what their entries cost.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Budget, Cost, Directory, Entry, EntryKind, FileName, INODE_BYTES, Ino, ObjectStat, OpenState, ROOT, Times,
};
use crate::object::{ETag, ObjectAttributes, Version};

/// A table of inodes with room for no more than so many is not made smaller.
const ROOM_MIN: usize = 4096;

/// All inodes.
#[derive(Debug)]
pub(crate) struct Inodes {
    /// INVARIANT: the parent of every linked inode is in here and is a directory whose entry of that name has its number.
    /// Boxed, because a table keeps room for twice as many.
    pub(super) nodes: HashMap<Ino, Box<Node>>,
    pub(super) budget: Budget,
    next_ino: u64,
}

/// An inode that somebody refers to. Small, because the kernel refers to as many as it has memory for.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) parent: Ino,
    /// `None` only for the root.
    pub(crate) name: Option<FileName>,
    /// How often the kernel was told of it and did not forget it.
    pub(super) lookups: u64,
    /// What it was when it lost its name, for whoever has it open still.
    pub(super) removed: Option<Box<Entry>>,
    pub(super) times: Option<Box<Times>>,
    /// INVARIANT: how many inodes have their names in this one. A directory stays for as long as there are any.
    pub(super) named_here: u32,
    pub(super) body: Body,
}

const _: () =
    assert!(size_of::<Node>() + 2 * size_of::<(Ino, Box<Node>)>() < INODE_BYTES, "what an inode is said to cost");

#[derive(Debug)]
pub(super) enum Body {
    Directory(Box<Directory>),
    /// What is open of a file.
    File(Option<Arc<dyn OpenState>>),
}

impl Node {
    pub(super) fn directory(parent: Ino, name: Option<FileName>) -> Node {
        Node::new(parent, name, Body::Directory(Box::new(Directory::new(None))))
    }

    pub(super) fn file(parent: Ino, name: FileName) -> Node {
        Node::new(parent, Some(name), Body::File(None))
    }

    fn new(parent: Ino, name: Option<FileName>, body: Body) -> Node {
        Node { parent, name, lookups: 0, removed: None, times: None, named_here: 0, body }
    }
}

impl Inodes {
    pub(super) fn new(limit_bytes: usize) -> Inodes {
        let mut root = Node::directory(ROOT, None);
        root.lookups = 1;
        let (nodes, budget) = (HashMap::from([(ROOT, Box::new(root))]), Budget::new(limit_bytes));
        Inodes { nodes, budget, next_ino: ROOT.0 + 1 }
    }

    pub(super) fn new_ino(&mut self) -> Ino {
        let ino = Ino(self.next_ino);
        self.next_ino += 1;
        ino
    }

    pub(super) fn directory(&self, ino: Ino) -> Option<&Directory> {
        match &self.nodes.get(&ino)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }

    pub(super) fn directory_mut(&mut self, ino: Ino) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(&ino)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }

    pub(super) fn open_state(&self, ino: Ino) -> Option<&Arc<dyn OpenState>> {
        match &self.nodes.get(&ino)?.body {
            Body::File(opened) => opened.as_ref(),
            Body::Directory(_) => None,
        }
    }

    pub(super) fn entry(&self, parent: Ino, name: &FileName) -> Option<&Entry> {
        self.directory(parent)?.children().get(name).map(|entry| &**entry)
    }

    /// The entry of an inode; `None` for the root and for what has lost its name.
    pub(super) fn entry_of(&self, ino: Ino) -> Option<&Entry> {
        let node = self.nodes.get(&ino)?;
        self.entry(node.parent, node.name.as_ref()?).filter(|entry| entry.ino == ino)
    }

    /// Where an inode is.
    pub(super) fn place(&self, ino: Ino) -> Option<(Ino, FileName)> {
        let node = self.nodes.get(&ino)?;
        Some((node.parent, node.name.clone()?))
    }

    /// Where an inode is that has its name still: what is known of the name now is of no other.
    pub(super) fn linked_place(&self, ino: Ino) -> Option<(Ino, FileName)> {
        self.entry_of(ino)?;
        self.place(ino)
    }

    /// Changes what is known of a directory's entries, and keeps account of what they cost.
    pub(super) fn change_directory<T>(&mut self, ino: Ino, change: impl FnOnce(&mut Directory) -> T) -> Option<T> {
        let Body::Directory(directory) = &mut self.nodes.get_mut(&ino)?.body else { return None };
        self.budget.used -= directory.cost;
        let changed = change(directory);
        self.budget.used += directory.cost;
        Some(changed)
    }

    /// Changes an entry.
    pub(super) fn change_entry<T>(
        &mut self,
        parent: Ino,
        name: &FileName,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let (changed, is_told) = self.change_directory(parent, |directory| {
            directory.change(name, |entry| {
                let had_attributes = entry.what.attributes().is_some();
                let changed = change(entry);
                (changed, !had_attributes && entry.what.attributes().is_some())
            })
        })??;
        if is_told {
            self.note_attributes(parent, name);
        }
        Some(changed)
    }

    /// Puts an entry into a directory. Returns the one that had its name.
    pub(super) fn insert_entry(&mut self, parent: Ino, name: FileName, entry: Entry) -> Option<Entry> {
        let has_attributes = entry.what.attributes().is_some();
        let replaced = self.change_directory(parent, |directory| directory.insert(name.clone(), entry)).flatten();
        if has_attributes && replaced.as_ref().is_none_or(|replaced| replaced.what.attributes().is_none()) {
            self.note_attributes(parent, &name);
        }
        replaced
    }

    /// Takes an entry out of a directory.
    pub(super) fn remove_entry(&mut self, parent: Ino, name: &FileName) -> Option<Entry> {
        self.change_directory(parent, |directory| directory.remove(name)).flatten()
    }

    /// A file that has lost its name was this then, which was not published.
    pub(crate) fn keep_unpublished(&mut self, ino: Ino, size: u64, attributes: ObjectAttributes) {
        if let Some(removed) = self.nodes.get_mut(&ino).and_then(|node| node.removed.as_deref_mut()) {
            // No object ever was this version.
            let version = Version { etag: ETag::new(""), size, checksum: None };
            removed.what = EntryKind::Object(ObjectStat::made(version, attributes, removed.seen_at));
        }
    }

    /// An inode that has a name in `parent` from now on, or has none there any more.
    pub(super) fn count_in(&mut self, parent: Ino, is_named: bool) {
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.named_here = if is_named { parent.named_here + 1 } else { parent.named_here.saturating_sub(1) };
        }
    }

    /// Drops an inode, and if it is a directory all that is known of its entries.
    pub(super) fn remove(&mut self, ino: Ino) -> Option<Box<Node>> {
        let node = self.nodes.remove(&ino)?;
        if node.removed.is_none() {
            self.count_in(node.parent, false);
        }
        if self.nodes.len() < self.nodes.capacity() / 4 && self.nodes.capacity() > ROOM_MIN {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
        if let Body::Directory(directory) = &node.body {
            self.budget.forget(ino, directory.cost);
        }
        Some(node)
    }

    /// Panics unless what must always hold does.
    pub(super) fn expect_consistent(&self) {
        let mut cost = Cost::default();
        let mut named: HashMap<Ino, u32> = HashMap::new();
        let have_names = self.nodes.iter().filter(|(ino, node)| **ino != ROOT && node.removed.is_none());
        have_names.for_each(|(_, node)| *named.entry(node.parent).or_default() += 1);
        for (ino, node) in &self.nodes {
            assert_eq!(node.named_here, named.remove(ino).unwrap_or_default(), "inodes with names in {ino:?}");
            if let Body::Directory(directory) = &node.body {
                cost += directory.expect_consistent();
            }
            let is_linked = *ino == ROOT || node.removed.is_some() || self.entry_of(*ino).is_some();
            assert!(is_linked, "{ino:?} is neither linked nor removed: {node:?}");
            let is_below_directory = node.removed.is_some() || self.directory(node.parent).is_some();
            assert!(is_below_directory, "the parent of {ino:?} is gone");
        }
        assert_eq!(cost, self.budget.used, "the running sum of what names cost");
    }
}
