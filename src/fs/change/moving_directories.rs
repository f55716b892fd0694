//! Renaming directories: on a service that has none, a copy of every object below, then the removal of the old ones.
//!
//! All copies come first. If one fails, those that were made are removed again, and everything is where it was; once all
//! are there the directory has its new name, whatever becomes of the removal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

use super::{Changes, RenamePath};
use crate::fs::context::FsError;
use crate::fs::names::{Claim, Claimed, CopyOf, Directory, Entry, EntryKind, FileName, Ino, ObjectStat};
use crate::fs::open::{Writing, open_inode, writings_below};
use crate::journal::Entry as JournalEntry;
use crate::object::{ETag, ObjectKey, Version};
use crate::store::{CopyRequest, ListRequest, ListedObject, ObjectStore, Source, StoreError};
use crate::upload::copy_object;

/// Copies that are made at once.
const COPY_CONCURRENCY: usize = 64;

/// How often what was put into the directory during its copy is looked for. Each time there is less.
const PASSES_MAX: usize = 4;

/// How often copies that are not wanted any more are tried to be removed, with pauses that double from a second.
const REMOVALS_MAX: u32 = 10;

/// A directory on its way.
struct Move<'a> {
    fs: &'a Changes,
    /// The keys' beginnings, each ending in `/`.
    old: String,
    new: String,
    /// What has been copied, by old key.
    copied: HashMap<ObjectKey, CopyOf>,
    /// Copies that failed, by old key: nobody knows whether they are there, or will be.
    doubtful: Vec<ObjectKey>,
    /// Files with content that is being written, which have moved, and whether their object is under its old key still.
    moved: Vec<(Ino, bool, Arc<Writing>)>,
    /// Their contents, held so that none is published and forgotten while its key and its name do not agree.
    held: Vec<(Ino, Arc<Writing>)>,
}

/// An object of which there is no copy yet, with its old key and its new one.
type Missing = (ObjectKey, ObjectKey, ListedObject);

impl Changes {
    pub(crate) async fn rename_directory(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        replaces: bool,
        mut claimed: Claimed,
    ) -> Result<(), FsError> {
        self.context.refuse_if_deletes_are()?;
        // What waits of it and of directories below goes with their markers.
        self.markers.save_directories_below(source.ino).await?;
        let old = format!("{}{}/", self.names.directory_prefix(from.0)?, from.1);
        let new =
            self.context.key(&format!("{}{}/", self.names.tree().directory_path(to.0).ok_or(FsError::Stale)?, to.1))?;
        let replaced = if replaces { Some(self.attributes_of_empty(to).await?) } else { None };
        let target = self.names.tree().entry(to.0, to.1).map(|target| target.ino);
        claimed.claim_too(&self.names, target.map(Claim::Empty).into_iter().collect()).await;
        self.traffic.cleanups.stop(new.as_str()).await;
        let marker = self.markers.marker_at(from).await?;
        let mut moving = Move {
            fs: self,
            old,
            new: new.to_string(),
            copied: HashMap::new(),
            doubtful: Vec::new(),
            moved: Vec::new(),
            held: Vec::new(),
        };
        let journal = self.context.journaled.journal();
        let entry = journal.renaming(&moving.old, &moving.new, replaced.is_some()).await;
        let copied = match moving.copy_all(source.ino, &mut claimed).await {
            Ok(()) if moving.has_marker() => Ok(()),
            Ok(()) => self.markers.put_marker(&new, &marker.attributes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            log::error!("{} could not be renamed to {}, and keeps its name: {error}", moving.old, moving.new);
            let held = std::mem::take(&mut moving.held);
            moving.take_back(replaced.is_none(), entry).await;
            self.let_go_of_moved(held).await;
            if let Some(target) = target {
                // It never had what may have been told of it meanwhile.
                let (now, ttl) = (self.context.clock.now(), self.context.options.metadata_ttl);
                self.names.tree().touch_upwards(target, now, ttl);
            }
            if let Some(attributes) = replaced {
                self.markers.put_marker(&new, &attributes).await?;
            }
            return Err(error);
        }
        journal.arrived(entry).await;
        moving.arrive((from, to), Entry { what: EntryKind::Directory(Some(marker)), ..source });
        self.let_go_of_moved(std::mem::take(&mut moving.held)).await;
        // Under the old name nothing is made before what was there is gone.
        claimed.keep(|claim| *claim == Claim::Name(from.0, from.1.clone()));
        let removed = moving.remove_old((from, to)).await;
        // Where it failed the caller is told, and has both directories from now on.
        journal.ended(entry);
        removed
    }

    /// Files have the names that go with their keys again: what was closed meanwhile is published.
    async fn let_go_of_moved(&self, held: Vec<(Ino, Arc<Writing>)>) {
        for (ino, writing) in held {
            if let Err(error) = self.publisher.let_go(ino, &writing).await {
                log::error!("{}: lost after its last close: {error}", writing.file.key());
            }
        }
    }

    /// The attributes of a directory that is to be replaced, which must be empty.
    async fn attributes_of_empty(&self, place: (Ino, &FileName)) -> Result<crate::object::ObjectAttributes, FsError> {
        let prefix = format!("{}{}/", self.names.directory_prefix(place.0)?, place.1);
        let ino = self.names.tree().entry(place.0, place.1).ok_or(FsError::NotFound)?.ino;
        // Before the service is asked, which does not tell of what is published while its answer is on its way.
        if self.names.tree().directory(ino).is_some_and(Directory::holds_new) {
            return Err(FsError::NotEmpty);
        }
        let below = ListRequest { prefix: prefix.clone(), max_keys: Some(2), ..ListRequest::default() };
        let page = self.context.store.list(below).await.map_err(|error| self.context.told(error))?;
        if page.objects.iter().any(|object| object.key != prefix) {
            return Err(FsError::NotEmpty);
        }
        Ok(self.markers.marker_at(place).await?.attributes)
    }
}

impl Move<'_> {
    /// Brings everything below to the new keys, beside the old ones: most of it while others go on working below, and what
    /// they have changed meanwhile, or are writing, once they wait. They do for as long as `claimed` is there.
    async fn copy_all(&mut self, ino: Ino, claimed: &mut Claimed) -> Result<(), FsError> {
        let missing = self.missing(ino).await?;
        self.copy(missing).await?;
        claimed.claim_too(&self.fs.names, vec![Claim::Alone(ino)]).await;
        for _ in 0..PASSES_MAX {
            self.move_written(ino).await?;
            let missing = self.missing(ino).await?;
            if missing.is_empty() {
                return Ok(());
            }
            self.copy(missing).await?;
        }
        // Another mount puts in files faster than they can be moved.
        Err(FsError::Remote(crate::store::StoreErrorKind::Busy))
    }

    /// The objects below of which there is no copy yet, with their old keys and their new ones. Those of files that are being
    /// written move with these.
    async fn missing(&mut self, ino: Ino) -> Result<Vec<Missing>, FsError> {
        let objects =
            objects_below(&*self.fs.context.store, &self.old).await.map_err(|error| self.fs.context.told(error))?;
        self.take_back_removed(&objects).await?;
        let keys: Vec<ObjectKey> =
            writings_below(&self.fs.names.tree(), ino).iter().map(|(_, _, writing)| writing.file.key()).collect();
        let moved = self.moved.iter().map(|(_, _, writing)| writing.file.key());
        let written: HashSet<ObjectKey> =
            keys.into_iter().chain(moved).map(|key| self.new_key(&key).unwrap_or(key)).collect();
        let mut missing = Vec::new();
        for object in objects {
            let key = ObjectKey::new(&object.key).map_err(|_| FsError::NameInvalid)?;
            let new = self.new_key(&key)?;
            let is_current = self.copied.get(&key).is_some_and(|copy| copy.is_of(&object));
            if !is_current && !written.contains(&new) {
                missing.push((key, new, object));
            }
        }
        Ok(missing)
    }

    fn new_key(&self, old: &ObjectKey) -> Result<ObjectKey, FsError> {
        let rest = old.as_str().strip_prefix(&self.old).ok_or(FsError::Stale)?;
        ObjectKey::new(format!("{}{rest}", self.new)).map_err(|_| FsError::NameTooLong)
    }

    /// Moves the files below that are being written, or that wait to be published.
    async fn move_written(&mut self, ino: Ino) -> Result<(), FsError> {
        let below = writings_below(&self.fs.names.tree(), ino);
        for (ino, is_new, _) in below {
            let Some(writing) = self.fs.publisher.hold_writing(ino) else { continue };
            self.held.push((ino, writing.clone()));
            if writing.file.is_nameless() || !writing.file.key().as_str().starts_with(&self.old) {
                continue;
            }
            let old = writing.file.key();
            let new = self.new_key(&old)?;
            if is_new && self.copied.contains_key(&old) {
                // It was made anew since. The copy of what had its name goes before anything of it can be at the new key.
                self.fs.context.store.delete(&new).await.map_err(|error| self.fs.context.told(error))?;
                self.copied.remove(&old);
            }
            let leaves_object = self.fs.rekey(ino, &writing, is_new, &new).await?;
            self.moved.push((ino, leaves_object, writing));
        }
        Ok(())
    }

    async fn copy(&mut self, missing: Vec<Missing>) -> Result<(), FsError> {
        let store = &*self.fs.context.store;
        // After a failure no more are begun; those on their way come to their end, so that none lands behind its removal.
        let has_failed = &AtomicBool::new(false);
        // Made one by one, because a directory may have more objects than there is memory for their copies.
        let copy = |(old, new, object): Missing| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let is_wanted = !has_failed.load(Ordering::Relaxed);
                let copied = if is_wanted { Some(copy_listed(store, &old, &new, &object).await) } else { None };
                (copied, old, object)
            })
        };
        let mut copies = stream::iter(missing.into_iter().map(copy)).buffer_unordered(COPY_CONCURRENCY);
        let mut failure = None;
        while let Some((copied, old, object)) = copies.next().await {
            match copied {
                Some(Ok(copied)) => {
                    let ListedObject { etag, last_modified, size, .. } = object;
                    self.copied.insert(old, CopyOf { etag, last_modified, size, copied });
                }
                // It was replaced or removed since it was listed, and nothing was copied. The next pass sees what there is.
                Some(Err(error)) if error.is_of_version_gone() => {}
                Some(Err(error)) => {
                    has_failed.store(true, Ordering::Relaxed);
                    self.doubtful.push(old);
                    failure = failure.or(Some(error));
                }
                None => {}
            }
        }
        failure.map_or(Ok(()), |error| Err(self.fs.context.told(error)))
    }

    /// Removes copies of what has been removed since.
    async fn take_back_removed(&mut self, objects: &[ListedObject]) -> Result<(), FsError> {
        let listed: HashSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let gone: Vec<ObjectKey> = self.copied.keys().filter(|key| !listed.contains(key.as_str())).cloned().collect();
        for old in gone {
            self.fs.context.store.delete(&self.new_key(&old)?).await.map_err(|error| self.fs.context.told(error))?;
            self.copied.remove(&old);
        }
        Ok(())
    }

    fn has_marker(&self) -> bool {
        self.copied.keys().any(|key| key.as_str() == self.old)
    }

    /// Removes what was made under the new name.
    async fn take_back(self, with_marker: bool, entry: JournalEntry) {
        // What was published there since its copy was made may be nowhere else.
        let mut stays = HashSet::new();
        for (ino, has_object, writing) in &self.moved {
            let key = writing.file.key();
            let back = key.as_str().strip_prefix(&self.new).map(|rest| ObjectKey::new(format!("{}{rest}", self.old)));
            let Some(Ok(old)) = back else { continue };
            match self.fs.rekey(*ino, writing, !has_object, &old).await {
                Ok(_) => self.fs.settle_moved(*ino, writing),
                Err(error) => {
                    log::error!("{key} could not be moved back to {old}, and stays: {error}");
                    stays.insert(key);
                }
            }
        }
        let written = self.moved.iter().filter_map(|(_, _, writing)| self.new_key(&writing.file.key()).ok());
        let copies: Vec<ObjectKey> =
            self.copied.keys().chain(&self.doubtful).filter_map(|old| self.new_key(old).ok()).chain(written).collect();
        // The marker is put, and not copied, where there was none.
        let is_unwanted = |key: &ObjectKey| (with_marker || key.as_str() != self.new) && !stays.contains(key);
        let copies = copies.into_iter().chain(ObjectKey::new(&self.new)).filter(is_unwanted).collect();
        remove_persistently(self.fs, self.new.clone(), copies, entry).await;
    }

    /// Everything is at its new keys: gives the directory its new name.
    fn arrive(&self, (from, to): RenamePath<'_>, mut entry: Entry) {
        let ino = entry.ino;
        if let Some(EntryKind::Directory(Some(marker))) = self.fs.names.tree().entry_of(ino).map(|entry| &entry.what) {
            // Attributes may have been set meanwhile.
            entry.what = EntryKind::Directory(Some(marker.clone()));
        }
        self.fs.move_entry(from, to, entry);
        {
            let mut tree = self.fs.names.tree();
            let now = self.fs.context.clock.now();
            tree.note_marker(ino, now);
            for (old, copy) in &self.copied {
                if let Ok(key) = self.new_key(old)
                    && let Some(rest) = old.as_str().strip_prefix(&self.old)
                {
                    let moved = tree.take_copy(ino, rest, copy, now);
                    if let Some(inode) = moved.and_then(|ino| open_inode(&tree, ino)) {
                        inode.lock().object_moved(&copy.etag, &key, &copy.copied);
                    }
                }
            }
        }
        for (ino, _, writing) in &self.moved {
            self.fs.settle_moved(*ino, writing);
        }
    }

    /// Removes the objects that the directory had under its old name.
    async fn remove_old(self, (from, to): RenamePath<'_>) -> Result<(), FsError> {
        let mut old_keys: Vec<ObjectKey> = self.copied.keys().cloned().collect();
        for (_, leaves_object, writing) in &self.moved {
            let back = writing.file.key();
            let rest = back.as_str().strip_prefix(&self.new).unwrap_or_default();
            if *leaves_object && let Ok(old) = ObjectKey::new(format!("{}{rest}", self.old)) {
                old_keys.push(old);
            }
        }
        for key in &old_keys {
            self.fs.context.uploader.release_source(key, None).await;
        }
        self.fs.markers.keep_directory(from, Some(to)).await?;
        let failed = self.fs.context.store.delete_many(&old_keys).await.map_err(|error| self.fs.context.told(error))?;
        match failed.into_iter().next() {
            None => {
                let (now, ttl) = (self.fs.context.clock.now(), self.fs.context.options.metadata_ttl);
                let mut tree = self.fs.names.tree();
                if let Some(directory) = tree.directory_mut(from.0) {
                    directory.note_removal(from.1, now, ttl);
                }
                tree.touch_upwards(from.0, now, ttl);
                Ok(())
            }
            Some((key, error)) => {
                log::error!("{key} could not be removed after its directory was renamed to {}", self.new);
                Err(self.fs.context.told(error))
            }
        }
    }
}

impl CopyOf {
    fn is_of(&self, object: &ListedObject) -> bool {
        self.etag == object.etag && self.last_modified == object.last_modified
    }
}

impl Changes {
    /// A file was given another key while it had the old name, or the other way round: takes note of what was published in
    /// between.
    fn settle_moved(&self, ino: Ino, writing: &Writing) {
        let now = self.context.clock.now();
        let mut tree = self.names.tree();
        if let Some(published) = writing.file.published() {
            tree.change_entry_of(ino, |entry| {
                if published.serial > 0 || entry.what == EntryKind::New {
                    entry.what = EntryKind::Object(ObjectStat::published(published, now));
                }
            });
            tree.touch_upwards(ino, now, self.context.options.metadata_ttl);
        }
    }

    /// Gives the content that is being written of a file another key, without a request if the file is not in the bucket yet.
    /// Returns whether there is an object under the old key now.
    async fn rekey(&self, ino: Ino, writing: &Writing, is_new: bool, key: &ObjectKey) -> Result<bool, FsError> {
        if is_new {
            let _still = writing.file.hold_still().await;
            if writing.file.rename_unpublished(key) {
                return Ok(false);
            }
        }
        let before = writing.file.published();
        writing.file.move_to(key).await?;
        // Its last writer may have gone since it was found, so that others read the object itself.
        if let Some((before, now)) = before.zip(writing.file.published())
            && let Some(inode) = open_inode(&self.names.tree(), ino)
        {
            inode.lock().object_moved(&before.object.version.etag, &now.object.key, &now.object.version.etag);
        }
        Ok(true)
    }
}

async fn copy_listed(
    store: &dyn ObjectStore,
    old: &ObjectKey,
    new: &ObjectKey,
    object: &ListedObject,
) -> Result<ETag, StoreError> {
    if object.size <= store.limits().put_bytes_max {
        let source = Source { key: old.clone(), if_match: Some(object.etag.clone()) };
        let storage_class = object.class_to_ask_for();
        let copy = CopyRequest { storage_class, bytes: Some(object.size), ..CopyRequest::new(source, new.clone()) };
        return Ok(store.copy(copy).await?.etag);
    }
    let head = store.head(old).await?;
    let version = Version { etag: object.etag.clone(), size: object.size, checksum: head.crc64 };
    copy_object(store, &version.under(old.clone()), new, &head.attributes).await
}

/// Removes copies below `prefix` that are not wanted. Goes on in the background if the service does not let it, and until
/// none of them comes up any more: one whose answer was lost may be made after its removal.
async fn remove_persistently(fs: &Changes, prefix: String, copies: HashSet<ObjectKey>, entry: JournalEntry) {
    let store = fs.context.store.clone();
    let left = remove(&*store, copies.iter().cloned().collect()).await;
    if !left.is_empty() {
        log::warn!("{} copies of a directory that was not renamed could not be removed yet", left.len());
    }
    let (context, traffic) = (fs.context.clone(), fs.traffic.clone());
    let cleaning = fs.traffic.cleanups.begin(prefix);
    fs.context.runtime.spawn(async move {
        let mut left = left;
        for attempt in 0..REMOVALS_MAX {
            tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
            let is_over = cleaning.is_over.lock().await;
            if *is_over {
                return context.journaled.journal().ended(entry);
            }
            left = remove(&*store, left).await;
            if left.is_empty() {
                left = still_there(&*store, &cleaning.prefix, &copies).await.unwrap_or_default();
                if left.is_empty() && attempt > 0 {
                    context.journaled.journal().ended(entry);
                    return traffic.cleanups.end(&cleaning);
                }
            }
        }
        traffic.cleanups.end(&cleaning);
        let some: Vec<&str> = left.iter().take(10).map(ObjectKey::as_str).collect();
        log::error!("{} copies stay that may be removed by hand: {}", left.len(), some.join(", "));
    });
}

/// Removes what can be removed, and returns the rest.
async fn remove(store: &dyn ObjectStore, keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
    if keys.is_empty() {
        return keys;
    }
    match store.delete_many(&keys).await {
        Ok(failed) => failed.into_iter().map(|(key, _)| key).collect(),
        Err(_) => keys,
    }
}

/// Which of the copies are in the bucket.
async fn still_there(
    store: &dyn ObjectStore,
    prefix: &str,
    copies: &HashSet<ObjectKey>,
) -> Result<Vec<ObjectKey>, StoreError> {
    let keys = objects_below(store, prefix).await?.into_iter().filter_map(|object| ObjectKey::new(&object.key).ok());
    Ok(keys.filter(|key| copies.contains(key)).collect())
}

/// Every object whose key begins with `prefix`, all pages.
pub(crate) async fn objects_below(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
    let (mut objects, mut marker) = (Vec::new(), None);
    loop {
        let page = store.list(ListRequest { prefix: prefix.to_owned(), marker, ..ListRequest::default() }).await?;
        objects.extend(page.objects);
        marker = page.next_marker;
        if marker.is_none() {
            return Ok(objects);
        }
    }
}
