//! The bucket as the file system sees it: keys of paths, and what the errors of the service mean.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::{Deletes, FsError, FsOptions, Others, Overwrites, UNKNOWN_TYPE, type_of_name};
use crate::clock::Clock;
use crate::journal::{Inherited, hidden_prefix};
use crate::memory::Memory;
use crate::object::ObjectAttributes;
use crate::object::ObjectKey;
use crate::object::key::KeyError;
use crate::read::Readers;
use crate::stats::Stats;
use crate::store::{JournaledStore, ObjectStore, StoreError, StoreErrorKind};
use crate::upload::Uploader;

/// What waited and is published in the background, at once.
pub(crate) const BACKGROUND_MAX: usize = 64;

/// The key of the object whose metadata are the attributes of a bucket's top. It is there once somebody has set some.
pub(crate) const TOP_OBJECT: &str = ".cosmount-root";

/// Where files live that were removed while they are open, below the top of the mount. Nobody sees it there.
pub(crate) use crate::journal::HIDDEN_DIRECTORY;

/// What every part of the file system works with.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The part of it that writes down what is begun.
    pub(crate) journaled: Arc<JournaledStore>,
    /// What dead mounts have left, until it is ended. Std mutex: taken whole, once. Level 8 in the order of locks.
    pub(crate) left: Mutex<Vec<Inherited>>,
    pub(crate) options: FsOptions,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<Stats>,
    pub(crate) memory: Memory,
    pub(crate) uploader: Arc<Uploader>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Other mounts of the bucket on this machine; `None` if nobody is to know of this one.
    pub(crate) others: Option<Arc<Others>>,
    /// A permit for each publishing in the background, 2 in the order of locks. Who has one waits for answers alone, or for
    /// those who do: taken before anything else that somebody may wait for.
    pub(crate) background: Semaphore,
}

impl Context {
    /// The key of a path below the mount.
    pub(crate) fn key(&self, path: &str) -> Result<ObjectKey, FsError> {
        if path.strip_prefix(HIDDEN_DIRECTORY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(FsError::NotPermitted);
        }
        if self.is_top_object(path) || self.options.excluded.includes_some_of(path) {
            return Err(FsError::NotPermitted);
        }
        ObjectKey::new(format!("{}{path}", self.options.prefix)).map_err(|error| match error {
            KeyError::TooLong => FsError::NameTooLong,
            KeyError::Empty | KeyError::Forbidden => FsError::NameInvalid,
        })
    }

    /// The key of the object that carries the attributes of the directory at `path`, which is empty or ends in `/`.
    pub(crate) fn marker_key(&self, path: &str) -> Result<ObjectKey, FsError> {
        if path.is_empty() && self.options.prefix.is_empty() {
            return ObjectKey::new(TOP_OBJECT).map_err(|_| FsError::NameInvalid);
        }
        self.key(path)
    }

    /// Whether `name` at the top of the mount is not for others because it carries the top's attributes.
    pub(crate) fn is_top_object(&self, name: &str) -> bool {
        name == TOP_OBJECT && self.options.prefix.is_empty()
    }

    /// A key that nobody else uses, in a directory that the mount does not show.
    pub(crate) fn hidden_key(&self) -> ObjectKey {
        let hidden = hidden_prefix(&self.options.prefix, self.journaled.journal().mount());
        let path = format!("{hidden}{:016x}", fastrand::u64(..));
        ObjectKey::new(path).unwrap_or_else(|_| unreachable!("prefixes leave room for names"))
    }

    pub(crate) fn refuse_if_read_only(&self) -> Result<(), FsError> {
        if self.options.read_only { Err(FsError::ReadOnly) } else { Ok(()) }
    }

    /// An error where what is in the bucket is not to be removed.
    pub(crate) fn refuse_if_deletes_are(&self) -> Result<(), FsError> {
        if self.options.deletes == Deletes::Refused { Err(FsError::NotPermitted) } else { Ok(()) }
    }

    /// An error where what is in the bucket is not to be replaced.
    pub(crate) fn refuse_if_overwrites_are(&self) -> Result<(), FsError> {
        if self.options.overwrites == Overwrites::Refused { Err(FsError::NotPermitted) } else { Ok(()) }
    }

    /// The meaning of an error of the service. In a call it is logged with the call's failure; where no call waits, here.
    pub(crate) fn told(&self, error: StoreError) -> FsError {
        if !super::cause::note(&error) && error.kind != StoreErrorKind::NotFound {
            log::error!("{error}");
        }
        error.into()
    }

    /// The same of an object that is being read: one that vanished under a reader is stale, not missing.
    pub(crate) fn lost(&self, error: StoreError) -> FsError {
        match self.told(error) {
            FsError::NotFound => FsError::Stale,
            other => other,
        }
    }

    /// Removes an object, after letting go on their way whoever wants to copy from it.
    pub(crate) async fn remove_object(&self, key: &ObjectKey) -> Result<(), FsError> {
        self.uploader.release_source(key, None).await;
        self.store.delete(key).await.map_err(|error| self.told(error))
    }

    /// What is said of a new file of this name that no caller says.
    pub(crate) fn furnished(&self, attributes: ObjectAttributes, name: &str) -> ObjectAttributes {
        let (storage_class, tags) = (self.options.objects.storage_class.clone(), self.options.objects.tags.clone());
        ObjectAttributes { content_type: Some(self.type_of(name).to_owned()), storage_class, tags, ..attributes }
    }

    /// The metadata of a file that moves: where nobody has chosen others than its old name's, those of its new one.
    pub(crate) fn retyped(&self, attributes: ObjectAttributes, old: &str, new: &str) -> ObjectAttributes {
        let objects = &self.options.objects;
        let mut attributes = objects.renamed(attributes, old, new);
        let is_of_name = attributes.content_type.as_deref().is_none_or(|known| known == self.type_of(old));
        if is_of_name && (self.options.types_by_name || objects.has_type_for([old, new])) {
            attributes.content_type = Some(self.type_of(new).to_owned());
        }
        attributes
    }

    /// The content type of a file of this name.
    fn type_of<'a>(&'a self, name: &str) -> &'a str {
        let by_name = if self.options.types_by_name { type_of_name(name) } else { UNKNOWN_TYPE };
        self.options.objects.content_type(name).unwrap_or(by_name)
    }
}
