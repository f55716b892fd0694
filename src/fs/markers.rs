//! Markers: the objects that directories are in a bucket. They carry a directory's attributes, which wait a moment for more of
//! them, and keep it there when nothing is in it.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt};

use crate::fs::context::cause::{FailedCall, with_cause};
use crate::fs::context::{BACKGROUND_MAX, Context, FsError};
use crate::fs::names::{Claim, Directory, EntryKind, FileName, Ino, Marker, Names, unmarked_attributes};
use crate::fs::traffic::Traffic;
use crate::object::{ObjectAttributes, ObjectKey};
use crate::store::{Body, CopyRequest, Source};

/// The directories' own objects.
pub(crate) struct Markers {
    context: Arc<Context>,
    names: Arc<Names>,
    traffic: Arc<Traffic>,
    /// For tasks that publish what has waited.
    me: Weak<Markers>,
}

impl Markers {
    pub(crate) fn new(context: Arc<Context>, names: Arc<Names>, traffic: Arc<Traffic>) -> Arc<Markers> {
        Arc::new_cyclic(|me| Markers { context, names, traffic, me: me.clone() })
    }

    /// Publishes attributes that are waiting of directories, of all whose paths are wanted.
    pub(crate) async fn save_directories(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, FailedCall)> {
        let unsaved: Vec<_> = {
            let tree = self.names.tree();
            let is_wanted = |ino: &Ino| tree.directory_path(*ino).is_none_or(|path| is_wanted(&path));
            tree.unsaved_directories().into_iter().filter(is_wanted).collect()
        };
        let save = |ino: Ino| async move {
            let path = self.names.directory_prefix(ino).unwrap_or_default();
            with_cause(self.save_directory(ino)).await.err().map(|failed| (path, failed))
        };
        let saves: Vec<_> = unsaved.into_iter().map(save).collect();
        stream::iter(saves).buffer_unordered(BACKGROUND_MAX).filter_map(|error| async { error }).collect().await
    }

    /// Publishes attributes that are waiting of a directory and those below it, none of which moves.
    pub(crate) async fn save_directories_below(&self, top: Ino) -> Result<(), FsError> {
        let unsaved = {
            let tree = self.names.tree();
            let is_below = |ino: &Ino| *ino == top || tree.ancestors(*ino).any(|above| above == top);
            tree.unsaved_directories().into_iter().filter(is_below).collect::<Vec<_>>()
        };
        let saves: Vec<_> = unsaved.into_iter().map(|ino| self.save_marker(ino)).collect();
        let saved: Vec<_> = stream::iter(saves).buffer_unordered(BACKGROUND_MAX).collect().await;
        saved.into_iter().collect()
    }

    /// What the marker of a directory says, asked for where it is not known.
    pub(crate) async fn marker_of(&self, ino: Ino) -> Result<Box<Marker>, FsError> {
        let Some((parent, name)) = self.names.tree().place(ino) else {
            self.names.learn_top().await?;
            return self.names.tree().marker(ino).map(|marker| Box::new(marker.clone())).ok_or(FsError::Stale);
        };
        self.marker_at((parent, &name)).await
    }

    /// What the marker of a directory says, asked for where it is not known.
    pub(crate) async fn marker_at(&self, place: (Ino, &FileName)) -> Result<Box<Marker>, FsError> {
        self.names.fetch_all_attributes(place.0, place.1).await?;
        match self.names.tree().entry(place.0, place.1).map(|entry| &entry.what) {
            Some(EntryKind::Directory(Some(marker))) => Ok(marker.clone()),
            _ => Err(FsError::Stale),
        }
    }

    pub(crate) async fn change_directory(
        &self,
        ino: Ino,
        change: impl Fn(&ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.marker_of(ino).await?;
        {
            let mut tree = self.names.tree();
            let shown = tree.directory_mtime(ino, tree.marker(ino));
            // Whoever sets other attributes leaves the time what it is shown to be.
            let told = tree.marker(ino).ok_or(FsError::Stale)?.attributes.clone();
            let mut before = told.clone();
            if shown != SystemTime::UNIX_EPOCH {
                before.set_mtime(shown);
            }
            let changed = change(&before)?;
            if changed == before {
                return Ok(());
            }
            let changed = changed.with_mtime_or(self.context.clock.now());
            // The time of a directory that was filled is set back to what the marker tells: nothing to be saved.
            let is_told = told == changed;
            tree.change_marker(ino, |marker| marker.attributes = changed);
            let Some(directory) = tree.directory_mut(ino) else { return Err(FsError::Stale) };
            directory.modified_at = None;
            if is_told {
                return Ok(());
            }
            if std::mem::replace(&mut directory.marker.is_unsaved, true) {
                return Ok(());
            }
        }
        let fs = self.me.clone();
        let span = self.context.options.gather_for;
        self.context.runtime.spawn(async move {
            tokio::time::sleep(span).await;
            let Some(fs) = fs.upgrade() else { return };
            if let Err(error) = fs.save_directory(ino).await {
                log::error!("the attributes of a directory could not be published and are lost: {error}");
            }
        });
        Ok(())
    }

    /// Publishes attributes of a directory that are waiting, if there are any.
    pub(crate) async fn save_directory(&self, ino: Ino) -> Result<(), FsError> {
        // It must not land behind the end of the directory.
        let ((), _stays) = self.traffic.claim(&[], |_| Ok(((), vec![Claim::Stay(ino)]))).await?;
        self.save_marker(ino).await
    }

    /// The same of one that does not move.
    async fn save_marker(&self, ino: Ino) -> Result<(), FsError> {
        let marking = self.names.tree().directory(ino).map(|directory| directory.marker.writing.clone());
        let Some(marking) = marking else { return Ok(()) };
        // Whoever saves it already comes to the end of that first.
        drop(marking.lock().await);
        if !self.names.tree().directory(ino).is_some_and(|directory| directory.marker.is_unsaved) {
            return Ok(());
        }
        // The permit comes first: those who have one may wait for a file that is being removed, whose removal waits for the
        // marker of its directory.
        let _permit = self.context.background.acquire().await;
        let _one_at_a_time = marking.lock().await;
        let (path, attributes, has_marker) = {
            let mut tree = self.names.tree();
            let path = tree.directory_path(ino);
            let attributes = tree.marker(ino).map(|marker| (marker.attributes.clone(), marker.is_there()));
            let Some(directory) = tree.directory_mut(ino).filter(|directory| directory.marker.is_unsaved) else {
                return Ok(());
            };
            directory.marker.is_unsaved = false;
            // It may have been removed since.
            let Some((path, (attributes, is_there))) = path.zip(attributes) else { return Ok(()) };
            (path, attributes, is_there)
        };
        let key = self.context.marker_key(&path)?;
        if !has_marker {
            let put = self.put_marker(&key, &attributes).await;
            let mut tree = self.names.tree();
            match &put {
                Ok(()) => tree.note_marker(ino, self.context.clock.now()),
                Err(_) => tree.invalidate_marker(ino),
            }
            return put;
        }
        // A marker has no bytes that another version of it could differ in.
        let source = Source { key: key.clone(), if_match: None };
        let copy = CopyRequest { replace: Some(attributes), bytes: Some(0), ..CopyRequest::new(source, key) };
        let copied = self.context.store.copy(copy).await;
        if copied.is_err() {
            self.names.tree().invalidate_marker(ino);
        }
        copied.map(drop).map_err(|error| self.context.told(error))
    }

    pub(crate) async fn put_marker(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<(), FsError> {
        let attributes = attributes.clone().with_mtime_or(self.context.clock.now());
        let put =
            self.context.store.put(key, Body::empty(), self.context.store.limits().checksum.empty(), &attributes).await;
        put.map(|_| ()).map_err(|error| self.context.told(error))
    }

    /// The name `going`, which the caller has claimed, is about to go: where it is the last entry of a directory that exists
    /// only as a prefix, a marker keeps the directory. `staying` is claimed, too, and has an object by now.
    pub(crate) async fn keep_directory(
        &self,
        (parent, going): (Ino, &FileName),
        staying: Option<(Ino, &FileName)>,
    ) -> Result<(), FsError> {
        let is_kept = |directory: &Directory| {
            // Those that others have claimed may be about to go, too, and each would count on the other.
            let claimed = self.names.claims.names_in(parent);
            let stays = |name: &FileName| staying == Some((parent, name)) || !claimed.contains(name);
            directory.marker.is_there
                || staying.is_some_and(|(directory, _)| directory == parent)
                || directory
                    .children()
                    .iter()
                    .any(|(name, entry)| name != going && entry.what != EntryKind::New && stays(name))
        };
        let marking = {
            let tree = self.names.tree();
            let directory = tree.directory(parent).ok_or(FsError::Stale)?;
            if is_kept(directory) {
                return Ok(());
            }
            directory.marker.writing.clone()
        };
        let _one_at_a_time = marking.lock().await;
        let path = {
            let tree = self.names.tree();
            if tree.directory(parent).is_none_or(|directory| directory.marker.is_there) {
                return Ok(());
            }
            tree.directory_path(parent).ok_or(FsError::Stale)?
        };
        // The top of a mounted prefix is a directory without any object's help.
        if !path.is_empty() {
            self.put_marker(&self.context.key(&path)?, &unmarked_attributes()).await?;
        }
        if let Some(directory) = self.names.tree().directory_mut(parent) {
            directory.marker.is_there = true;
        }
        Ok(())
    }
}
