//! The cache of names: a tree of what is known, bounded by bytes, and what asks the service for the rest. One request for
//! each question, however many wait for its answer.

use std::sync::{Arc, PoisonError, Weak};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::answers;
use super::{Claims, Ino, Kind, MODE_SET_GROUP, Questions, Tree, new_attributes};
use crate::fs::context::{Context, Owner};
use crate::object::ObjectAttributes;

/// All names of the mount.
pub(crate) struct Names {
    pub(crate) context: Arc<Context>,
    /// Std mutex, 6 in the order of locks: guards all names and inodes, and what is open of files. Sections are a few map
    /// operations, but for the taking in of a listing's page of 1,000 names.
    tree: Mutex<Tree>,
    /// Which call has which of them to itself.
    pub(crate) claims: Arc<Claims>,
    pub(crate) questions: Questions,
    /// For tasks that ask ahead.
    pub(crate) me: Weak<Names>,
}

impl Names {
    pub(crate) fn new(context: Arc<Context>) -> Arc<Names> {
        let mut tree = Tree::new(context.options.metadata_bytes);
        tree.negative_ttl = context.options.negative_ttl;
        tree.inodes.set_entries_max(context.options.metadata_entries);
        let tree = Mutex::new(tree);
        Arc::new_cyclic(|me| Names {
            context,
            tree,
            claims: Arc::default(),
            questions: Questions::default(),
            me: me.clone(),
        })
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of names and attributes costs so many bytes, and so many inodes are referred to.
    pub(crate) fn held(&self) -> (usize, usize) {
        let tree = self.tree();
        (tree.inodes.budget.used.bytes, tree.inodes.nodes.len())
    }

    /// Panics unless what must always hold of names does. For tests; takes time in proportion to all that is known.
    pub(crate) fn expect_consistent(&self) {
        self.tree().inodes.expect_consistent();
    }

    /// Looks whether others have changed a directory since this was last asked, and believes nothing of it then.
    pub(crate) fn revalidate(&self, ino: Ino) {
        let Some(others) = self.context.others.as_ref().filter(|others| others.are_there()) else { return };
        let Ok(prefix) = self.directory_prefix(ino) else { return };
        let changes = others.changes(&prefix);
        answers::revalidate(&mut self.tree(), ino, changes);
    }

    /// Anything but the content of an inode has changed just now.
    pub(crate) fn note_change_of(&self, ino: Ino) {
        let now = self.context.clock.now();
        if let Some(times) = self.tree().times_mut(ino) {
            times.note_change(now);
        }
    }

    /// An inode is being read.
    pub(crate) fn note_read_of(&self, ino: Ino) {
        if self.context.options.read_only {
            return;
        }
        let now = self.context.clock.now();
        let mut tree = self.tree();
        if let Some(attr) = tree.attr(ino, &self.context.options, now)
            && let Some(times) = tree.times_mut(ino)
        {
            times.note_read(attr.mtime, now);
        }
    }

    /// The metadata of what is about to be made in `parent`. In a directory with the set-group-id bit it belongs to the
    /// directory's group, and a directory passes the bit on.
    pub(crate) fn attributes_of_new(
        &self,
        parent: Ino,
        kind: Kind,
        permissions: u32,
        owner: Owner,
    ) -> ObjectAttributes {
        let parent = self.tree().attr(parent, &self.context.options, self.context.clock.now());
        let Some(parent) = parent.filter(|parent| parent.permissions & MODE_SET_GROUP != 0) else {
            return new_attributes(kind, permissions, owner);
        };
        let inherited = if kind == Kind::Directory { MODE_SET_GROUP } else { 0 };
        new_attributes(kind, permissions | inherited, Owner { gid: parent.owner.gid, ..owner })
    }
}
