//! The metadata of files and directories: a HEAD each, side by side, ahead of who goes through a directory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use super::attributes::{Kind, LINK_BYTES_MAX};
use super::files::METADATA_ATTEMPTS;
use super::name::FileName;
use super::tree::AHEAD_MAX;
use super::tree::{Facts, Ino, Marker, Tree, What};
use super::{AttributeSource, FileSystem, FsError};
use crate::object::{ObjectHead, ObjectKey};
use crate::store::StoreErrorKind;

/// Questions that are on their way, and what has been learned from the answers.
#[derive(Default)]
pub(super) struct Heads {
    /// Std mutex: map operations only.
    asked: Mutex<HashMap<(Ino, FileName), Arc<Notify>>>,
    /// Some small object was a symbolic link or a special file.
    has_met_link: AtomicBool,
}

/// One question on its way; dropping it lets those go on who wait for the answer.
struct Question<'a> {
    heads: &'a Heads,
    about: (Ino, FileName),
}

impl Heads {
    fn asked(&self) -> MutexGuard<'_, HashMap<(Ino, FileName), Arc<Notify>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a question, or waits until somebody else's is answered, and returns `None` then.
    async fn ask(&self, parent: Ino, name: &FileName) -> Option<Question<'_>> {
        let about = (parent, name.clone());
        let answered = {
            let mut asked = self.asked();
            let Some(answered) = asked.get(&about).cloned() else {
                asked.insert(about.clone(), Arc::default());
                return Some(Question { heads: self, about });
            };
            // Registered under the lock, so that an answer that comes right now is not missed.
            answered.notified_owned()
        };
        answered.await;
        None
    }

    /// Takes note of what a small object was.
    pub(super) fn learn(&self, kind: Kind) {
        if kind != Kind::File {
            self.has_met_link.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(answered) = self.heads.asked().remove(&self.about) {
            answered.notify_waiters();
        }
    }
}

impl FileSystem {
    /// The metadata of a file or a directory where they come from the objects.
    pub(super) async fn fetch_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        match self.options.attributes {
            AttributeSource::Full => self.fetch_all_attributes(parent, name).await,
            AttributeSource::Listing => Ok(()),
        }
    }

    /// The metadata of a file or a directory, from a HEAD unless they are known: for this version of a file, and for a
    /// directory, whose listing does not tell versions, for as long as it is known at all.
    pub(super) async fn fetch_all_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        if self.tree().lacks_attributes(parent, name) == Some(true) && self.find_markers_ahead(parent, name).await? {
            return Ok(());
        }
        self.fetch_by_head(parent, name).await
    }

    /// The same without looking around.
    async fn fetch_by_head(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        let lacks = || self.tree().lacks_attributes(parent, name);
        while lacks().is_some() {
            if let Some(_question) = self.heads.ask(parent, name).await {
                // Somebody else's answer may have come in between.
                return match lacks() {
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
            let answer = match self.store.head(&key).await {
                Ok(head) => Some(head),
                Err(error) if error.kind == StoreErrorKind::NotFound => None,
                Err(error) => return Err(self.told(error)),
            };
            let asked_at = self.tree().asked_at(parent, asked);
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
            tree.take_absence(parent, name, asked_at);
            return Err(FsError::NotFound);
        };
        if head.size <= LINK_BYTES_MAX {
            self.heads.learn(Kind::of_object(Some(&head.attributes), head.size));
        }
        // A listing that was asked for later may have come in earlier, and tells less of the same version.
        tree.take_metadata(parent, name, &head);
        let what = What::Object(Facts::told(head));
        tree.take_listed(parent, name.clone(), what, asked_at, self.options.metadata_ttl);
        tree.evict(parent, asked_at);
        Ok(())
    }

    /// Takes in what a directory's marker says; a directory that exists only as a prefix has none, and the mount's
    /// defaults are its attributes.
    fn take_marker(&self, parent: Ino, name: &FileName, answer: Option<ObjectHead>) {
        let told =
            |head: ObjectHead| Box::new(Marker { attributes: head.attributes, last_modified: head.last_modified });
        let marker = answer.map_or_else(Marker::absent, told);
        self.tree().change_entry(parent, name, |entry| {
            if entry.what == What::Directory(None) {
                entry.what = What::Directory(Some(marker));
            }
        });
    }

    /// Somebody looks a name up: asks for those that will be looked up next, if that can be foreseen.
    pub(super) fn look_ahead(&self, parent: Ino, name: &FileName) {
        if self.options.attributes == AttributeSource::Listing {
            return;
        }
        let names = self.tree().walk_to(parent, name);
        self.ask_ahead(parent, names);
    }

    /// Asks for the attributes of these names in the background.
    pub(super) fn ask_ahead(&self, parent: Ino, names: Vec<FileName>) {
        if names.is_empty() {
            return;
        }
        let fs = self.me.clone();
        self.runtime.spawn(async move {
            let Some(fs) = fs.upgrade() else { return };
            // Whoever looks one up is told of its error.
            let _ = fs.fetch_attributes_of(parent, names).await;
        });
    }

    /// The attributes of many names, side by side. Returns how many could not be had, and why not the first.
    pub(super) async fn fetch_attributes_of(&self, parent: Ino, names: Vec<FileName>) -> Option<(usize, FsError)> {
        let is_wanted = self.options.attributes == AttributeSource::Full;
        let fetch = |name: FileName| async move { self.fetch_by_head(parent, &name).await.err() };
        let fetches: Vec<_> = names.into_iter().filter(|_| is_wanted).map(fetch).collect();
        let errors: Vec<FsError> =
            stream::iter(fetches).buffer_unordered(AHEAD_MAX).filter_map(|error| async { error }).collect().await;
        let count = errors.len();
        errors.into_iter().find(|error| *error != FsError::NotFound).map(|error| (count, error))
    }

    /// Finds out what the names of a listing are: a small object may be a symbolic link, and an empty one a special file, which
    /// a listing does not tell.
    ///
    /// Where this mount has met no such thing yet, one object is asked for each directory, the shortest, and the others are taken
    /// to be what it is. For a directory of more than one page one object would tell nothing.
    pub(super) async fn learn_kinds(&self, parent: Ino, names: &[FileName]) -> Option<(usize, FsError)> {
        if self.options.attributes == AttributeSource::Listing {
            return None;
        }
        if !self.heads.has_met_link.load(Ordering::Relaxed) {
            let sample = self.tree().sample_of_unknown_kind(parent, names)?;
            let failed = self.fetch_attributes_of(parent, vec![sample]).await;
            if failed.is_some() || !self.heads.has_met_link.load(Ordering::Relaxed) {
                return failed;
            }
        }
        let unknown = self.tree().of_unknown_kind(parent, names);
        self.fetch_attributes_of(parent, unknown).await
    }
}

impl Tree {
    /// Of these names those whose kind is not known.
    fn of_unknown_kind(&self, parent: Ino, names: &[FileName]) -> Vec<FileName> {
        let is_unknown = |name: &&FileName| match self.entry(parent, name).map(|entry| &entry.what) {
            Some(What::Object(facts)) => facts.kind.is_none() && facts.version.size <= LINK_BYTES_MAX,
            _ => false,
        };
        names.iter().filter(is_unknown).cloned().collect()
    }

    /// The one of them that is likeliest to be a symbolic link, unless what another small object of the directory is has been
    /// asked for already.
    fn sample_of_unknown_kind(&mut self, parent: Ino, names: &[FileName]) -> Option<FileName> {
        if self.directory(parent).is_none_or(|directory| directory.is_large || directory.has_sampled_kinds) {
            return None;
        }
        let size = |name: &FileName| match self.entry(parent, name).map(|entry| &entry.what) {
            Some(What::Object(facts)) if facts.version.size > 0 => facts.version.size,
            _ => u64::MAX,
        };
        let sample = self.of_unknown_kind(parent, names).into_iter().min_by_key(size)?;
        self.directory_mut(parent)?.has_sampled_kinds = true;
        Some(sample)
    }
}
