//! What mounts that died have left in the bucket beside uploads: objects that nobody sees, and directories that were being
//! renamed.
//!
//! Nothing is removed that has not an equal at the other end of the rename, so that nothing is lost whatever anybody has
//! made of the two directories since.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::fs::change::objects_below;
use crate::fs::context::Context;
use crate::fs::file_system::FileSystem;
use crate::fs::traffic::Traffic;
use crate::journal::{Entry, Inherited, Journal, Unfinished, UnfinishedRename};
use crate::object::ObjectKey;
use crate::store::{ListedObject, ObjectStore, ResumeWindow, StoreError, StoreErrorKind};

/// Where a mount writes down what it begins, and what it takes over from dead ones.
pub struct Inheritance {
    /// The journal of this mount.
    pub journal: Arc<Journal>,
    /// What dead mounts have left.
    pub left: Vec<Inherited>,
    /// How long their uploads are kept for files to be written again.
    pub window: ResumeWindow,
}

impl Inheritance {
    /// Nothing is written down, and nothing taken over.
    pub fn none() -> Inheritance {
        Inheritance { journal: Journal::none(), left: Vec::new(), window: ResumeWindow::ByWorth }
    }
}

/// Ends what dead mounts have left.
#[derive(Clone)]
pub struct Recovery {
    context: Arc<Context>,
    traffic: Arc<Traffic>,
}

impl Recovery {
    /// That of this mount.
    pub fn of(fs: &FileSystem) -> Recovery {
        Recovery { context: fs.context.clone(), traffic: fs.traffic.clone() }
    }

    /// Ends renames that were cut off and removes what is hidden of dead mounts. What cannot be ended now, the next mount
    /// ends. Before anybody uses the mount, or nobody can know which of two directories is meant.
    pub async fn run(&self) {
        let left = std::mem::take(&mut *self.context.left.lock().unwrap_or_else(PoisonError::into_inner));
        for (entry, what) in left {
            let ended = match &what {
                Unfinished::Rename(rename) => self.end_rename(rename).await,
                Unfinished::Hidden(prefix) => self.remove_hidden(prefix).await,
                Unfinished::Upload(_) => Ok(()),
            };
            match ended {
                Ok(()) => self.ended(entry),
                Err(error) => log::warn!("what a mount that is dead has left is left to the next one: {error}"),
            }
        }
    }

    /// The mount ends, and `is_clean` says whether nothing of what it has hidden is left: ends the uploads that are left, and
    /// the journal. The caller says how long that may take, and what is left then is the next mount's to end.
    pub async fn end(&self, is_clean: bool, time_is_up: impl Future<Output = ()>) {
        let are_ended = tokio::select! {
            are_ended = self.context.journaled.end_orphans() => are_ended,
            () = time_is_up => false,
        };
        self.context.journaled.journal().close(is_clean && are_ended);
    }

    /// Uploads that are in the bucket because of this mount, or of a dead one, and are no object yet: key and id.
    pub fn unfinished_uploads(&self) -> Vec<String> {
        self.context.journaled.unfinished_uploads()
    }

    fn ended(&self, entry: Entry) {
        self.context.journaled.journal().ended(entry);
    }

    async fn remove_hidden(&self, prefix: &str) -> Result<(), StoreError> {
        let objects = objects_below(&*self.context.store, prefix).await?;
        let count = objects.len();
        self.remove(objects).await?;
        if count > 0 {
            log::info!("removed {count} objects of files without a name, whose mount is dead");
        }
        Ok(())
    }

    async fn end_rename(&self, rename: &UnfinishedRename) -> Result<(), StoreError> {
        let store = &*self.context.store;
        let UnfinishedRename { from, to, replaces, has_arrived } = rename;
        let (old, new) = (by_name(store, from).await?, by_name(store, to).await?);
        let (goes, stays) = if *has_arrived { (old, new) } else { (new, old) };
        // The marker of the new name was made by the rename where there was no directory, and stays where there was.
        let is_marker_of_new = |name: &str| name.is_empty() && !*has_arrived;
        let mut doomed = Vec::new();
        for (name, object) in goes {
            let goes = match stays.get(&name) {
                _ if is_marker_of_new(&name) => !*replaces,
                Some(other) => are_equal(store, &object, other).await?,
                None => false,
            };
            if goes {
                doomed.push(object);
            }
        }
        log::info!(
            "a rename of {from} to {to} was cut off, and is {}: {} objects go",
            if *has_arrived { "ended" } else { "taken back" },
            doomed.len()
        );
        self.remove(doomed).await
    }

    async fn remove(&self, objects: Vec<ListedObject>) -> Result<(), StoreError> {
        let keys: Vec<ObjectKey> = objects.into_iter().filter_map(|object| ObjectKey::new(object.key).ok()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        for key in &keys {
            self.traffic.cleanups.stop(key.as_str()).await;
        }
        match self.context.store.delete_many(&keys).await?.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// The objects below a prefix by what follows it in their keys.
async fn by_name(store: &dyn ObjectStore, prefix: &str) -> Result<HashMap<String, ListedObject>, StoreError> {
    let objects = objects_below(store, prefix).await?;
    let named = |object: ListedObject| Some((object.key.strip_prefix(prefix)?.to_owned(), object));
    Ok(objects.into_iter().filter_map(named).collect())
}

/// Whether two objects have the same bytes. One copied in parts has another ETag than its source, and the same checksum.
async fn are_equal(store: &dyn ObjectStore, one: &ListedObject, other: &ListedObject) -> Result<bool, StoreError> {
    if one.size != other.size {
        return Ok(false);
    }
    if one.etag == other.etag || one.size == 0 {
        return Ok(true);
    }
    let mut checksums = Vec::new();
    for object in [one, other] {
        let Ok(key) = ObjectKey::new(&object.key) else { return Ok(false) };
        match store.head(&key).await {
            Ok(head) => checksums.push(head.crc64),
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(checksums[0].is_some() && checksums[0] == checksums[1])
}
