//! The metadata of files and directories: a HEAD each, side by side, ahead of who goes through a directory.

use std::time::SystemTime;

use futures_util::stream::{self, StreamExt};

use super::answers;
use super::{AHEAD_MAX, Entry, EntryKind, FileName, Ino, Kind, LINK_BYTES_MAX, Marker, Names, ObjectStat};
use crate::fs::context::{AttributeSource, FsError};
use crate::object::{ObjectHead, ObjectKey};
use crate::store::StoreErrorKind;

/// How often metadata are asked for that others change at the same time.
pub(crate) const METADATA_ATTEMPTS: usize = 5;

impl Names {
    /// The metadata of a file or a directory where they come from the objects.
    pub(crate) async fn fetch_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        match self.context.options.attributes {
            AttributeSource::Full => self.look_for_attributes(parent, name, true).await,
            AttributeSource::Listing => Ok(()),
        }
    }

    /// The metadata of a file or a directory, from a HEAD unless this mount has been told them: what is made of them replaces those of
    /// the object.
    pub(crate) async fn fetch_all_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.tree().inodes.forget_recalled(parent, name);
        self.look_for_attributes(parent, name, false).await
    }

    /// The metadata of a file or a directory, from a HEAD unless they are known: for this version of a file, and for a
    /// directory, whose listing does not tell versions, for as long as it is known at all. What is written down beside a copy counts
    /// if it `recalls`.
    async fn look_for_attributes(&self, parent: Ino, name: &FileName, recalls: bool) -> Result<(), FsError> {
        if self.tree().inodes.lacks_attributes(parent, name) == Some(true)
            && self.find_markers_ahead(parent, name).await?
        {
            return Ok(());
        }
        self.fetch_by_head(parent, name, recalls).await
    }

    /// The same without looking around.
    async fn fetch_by_head(&self, parent: Ino, name: &FileName, recalls: bool) -> Result<(), FsError> {
        let lacks = || self.tree().inodes.lacks_attributes(parent, name);
        while lacks().is_some() {
            if let Some(_question) = self.questions.ask(parent, name).await {
                // Somebody else's answer may have come in between.
                return match lacks() {
                    Some(false) if recalls && recall(self, parent, name).await => Ok(()),
                    Some(is_directory) => self.head(parent, name, is_directory).await,
                    None => Ok(()),
                };
            }
        }
        Ok(())
    }

    async fn head(&self, parent: Ino, name: &FileName, is_directory: bool) -> Result<(), FsError> {
        let end = if is_directory { "/" } else { "" };
        let prefix = self.directory_prefix(parent)?;
        let key = ObjectKey::new(format!("{prefix}{name}{end}")).map_err(|_| FsError::NameTooLong)?;
        let mut attempts = 1;
        let (asked_at, answer) = loop {
            let asked = self.asked(parent);
            let answer = match self.context.store.head(&key).await {
                Ok(head) => Some(head),
                Err(error) if error.kind == StoreErrorKind::NotFound => None,
                Err(error) => return Err(self.context.told(error)),
            };
            let asked_at = self.tree().inodes.asked_at(parent, &asked);
            // What another mount has changed meanwhile is asked for again.
            if asked_at == asked.at || attempts == METADATA_ATTEMPTS {
                break (asked_at, answer);
            }
            attempts += 1;
        };
        self.expect_at(&self.tree(), parent, &prefix)?;
        if is_directory {
            self.take_marker(parent, name, answer);
            return Ok(());
        }
        self.take_head(parent, name, answer, asked_at)
    }

    fn take_head(
        &self,
        parent: Ino,
        name: &FileName,
        answer: Option<ObjectHead>,
        asked_at: SystemTime,
    ) -> Result<(), FsError> {
        let mut tree = self.tree();
        let Some(head) = answer else {
            // Removed since it was listed; unless somebody has made it anew since it was asked for.
            answers::take_absence(&mut tree, parent, name, asked_at);
            return Err(FsError::NotFound);
        };
        if head.size <= LINK_BYTES_MAX {
            self.questions.learn(Kind::of_object(Some(&head.attributes), head.size));
        }
        // A listing that was asked for later may have come in earlier, and tells less of the same version.
        tree.inodes.take_metadata(parent, name, &head);
        let what = EntryKind::Object(ObjectStat::told(head));
        answers::take_listed(&mut tree, parent, name.clone(), what, asked_at, self.context.options.metadata_ttl);
        tree.inodes.evict(parent, asked_at);
        Ok(())
    }

    /// Takes in what a directory's marker says; a directory that exists only as a prefix has none, and the mount's
    /// defaults are its attributes.
    fn take_marker(&self, parent: Ino, name: &FileName, answer: Option<ObjectHead>) {
        let told =
            |head: ObjectHead| Box::new(Marker { attributes: head.attributes, last_modified: head.last_modified });
        let marker = answer.map_or_else(Marker::absent, told);
        self.tree().inodes.change_entry(parent, name, |entry| {
            if entry.what == EntryKind::Directory(None) {
                entry.what = EntryKind::Directory(Some(marker));
            }
        });
    }

    /// Somebody looks a name up: asks for those that will be looked up next, if that can be foreseen.
    pub(crate) fn prefetch_next(&self, parent: Ino, name: &FileName) {
        if self.context.options.attributes == AttributeSource::Listing {
            return;
        }
        let names = self.tree().inodes.walk_to(parent, name);
        self.prefetch_attributes(parent, names);
    }

    /// Asks for the attributes of these names in the background.
    pub(crate) fn prefetch_attributes(&self, parent: Ino, names: Vec<FileName>) {
        if names.is_empty() {
            return;
        }
        let fs = self.me.clone();
        self.context.runtime.spawn(async move {
            let Some(fs) = fs.upgrade() else { return };
            // Whoever looks one up is told of its error.
            let _ = fs.fetch_attributes_of(parent, names).await;
        });
    }

    /// The attributes of many names, side by side. Returns how many could not be had, and why not the first.
    pub(crate) async fn fetch_attributes_of(&self, parent: Ino, names: Vec<FileName>) -> Option<(usize, FsError)> {
        let is_wanted = self.context.options.attributes == AttributeSource::Full;
        let fetch = |name: FileName| async move { self.fetch_by_head(parent, &name, true).await.err() };
        let fetches: Vec<_> = names.into_iter().filter(|_| is_wanted).map(fetch).collect();
        let errors: Vec<FsError> =
            stream::iter(fetches).buffer_unordered(AHEAD_MAX).filter_map(|error| async { error }).collect().await;
        let count = errors.len();
        errors.into_iter().find(|error| *error != FsError::NotFound).map(|error| (count, error))
    }

    /// Finds out what the names of a listing are: a small object may be a symbolic link, and an empty one a special file, which
    /// a listing does not tell.
    ///
    /// Where this mount has met no such thing yet, one object with content is asked for each directory, the shortest, and a few
    /// empty ones; the others are taken to be files. For a directory of more than one page that would tell nothing.
    pub(crate) async fn learn_kinds(&self, parent: Ino, names: &[FileName]) -> Option<(usize, FsError)> {
        if self.context.options.attributes == AttributeSource::Listing {
            return None;
        }
        if !self.questions.has_met_link() {
            if !self.questions.may_be_links() {
                return None;
            }
            let sample = self.tree().inodes.sample_of_unknown_kind(parent, names);
            if sample.is_empty() {
                return None;
            }
            let failed = self.fetch_attributes_of(parent, sample).await;
            if failed.is_some() {
                return failed;
            }
            if let Some(directory) = self.tree().directory_mut(parent) {
                directory.has_sampled_kinds = true;
            }
            if !self.questions.has_met_link() {
                return None;
            }
        }
        let unknown = self.tree().inodes.of_unknown_kind(parent, names);
        self.fetch_attributes_of(parent, unknown).await
    }
}

/// Takes in what the cache on disk has written down of the version of a file, where there is a copy of it. Returns whether that
/// tells its metadata.
async fn recall(names: &Names, parent: Ino, name: &FileName) -> bool {
    if names.context.readers.copies().is_none() {
        return false;
    }
    let stat = match names.tree().entry(parent, name).map(|entry| &entry.what) {
        Some(EntryKind::Object(stat)) if stat.is_exact => stat.clone(),
        _ => return false,
    };
    let key = names.directory_prefix(parent).ok().and_then(|prefix| ObjectKey::new(format!("{prefix}{name}")).ok());
    let Some(stored) = key.map(|key| stat.version.clone().under(key)) else { return false };
    let Some(description) = names.context.readers.description_of(&stored).await else { return false };
    let take = |entry: &mut Entry| match &mut entry.what {
        EntryKind::Object(now) if now.version.etag == stat.version.etag => now.take_description(description),
        _ => None,
    };
    let kind = {
        let (mut tree, now) = (names.tree(), names.context.clock.now());
        let kind = tree.inodes.change_entry(parent, name, take).flatten();
        tree.inodes.evict(parent, now);
        kind
    };
    if let Some(kind) = kind.filter(|_| stored.version.size <= LINK_BYTES_MAX) {
        names.questions.learn(kind);
    }
    kind.is_some()
}
