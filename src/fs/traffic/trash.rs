//! The trash: what is removed, replaced or cut is copied there before.

use super::Traffic;
use crate::fs::context::{Deletes, FsError};
use crate::fs::names::{EntryKind, Ino, forget_listings_to, is_at_or_below};
use crate::object::{ObjectKey, time};
use crate::store::{CopyRequest, Source, StoreErrorKind};
use crate::upload::copy_object;

impl Traffic {
    /// Copies the object of a key to the trash, if there is one, and if there is an object. `bytes` are in it, where that is
    /// known. What is in the trash already is not kept twice.
    pub(crate) async fn keep_in_trash(&self, key: &ObjectKey, bytes: Option<u64>) -> Result<(), FsError> {
        let Deletes::ToTrash(directory) = &self.context.options.deletes else { return Ok(()) };
        let prefix = &*self.context.options.prefix;
        let path = key.as_str().strip_prefix(prefix).unwrap_or(key.as_str());
        if is_at_or_below(path, directory) {
            return Ok(());
        }
        let Some(kept) = self.place_in_trash(directory, path).await? else { return Ok(()) };
        let store = &*self.context.store;
        let copied = if bytes.is_some_and(|bytes| bytes > store.limits().put_bytes_max) {
            let head = store.head(key).await.map_err(|error| self.context.told(error))?;
            copy_object(store, &head.version().under(key.clone()), &kept, &head.attributes).await.map(drop)
        } else {
            let source = Source { key: key.clone(), if_match: None };
            let copy = CopyRequest { bytes, ..CopyRequest::new(source, kept.clone()) };
            store.copy(copy).await.map(drop)
        };
        match copied {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(()),
            copied => copied.map_err(|error| self.context.told(error))?,
        }
        forget_listings_to(&mut self.names.tree(), kept.as_str().strip_prefix(prefix).unwrap_or_default());
        log::debug!("{key} is kept as {kept}");
        Ok(())
    }

    /// The same of a file of which less than what is in the bucket is to be left.
    pub(crate) async fn keep_before_cut(&self, ino: Ino, size: u64) -> Result<(), FsError> {
        if !matches!(self.context.options.deletes, Deletes::ToTrash(_)) {
            return Ok(());
        }
        let found = {
            let tree = self.names.tree();
            let published = match tree.entry_of(ino).map(|entry| &entry.what) {
                Some(EntryKind::Object(stat)) if stat.version.size > size => Some(stat.version.size),
                _ => None,
            };
            published
                .zip(tree.place(ino))
                .and_then(|(bytes, (parent, name))| Some((format!("{}{name}", tree.directory_path(parent)?), bytes)))
        };
        match found {
            Some((path, bytes)) => self.keep_in_trash(&self.context.key(&path)?, Some(bytes)).await,
            None => Ok(()),
        }
    }

    /// A key in the trash that nothing has, for what was at `path`. `None` for a directory that is there already.
    async fn place_in_trash(&self, directory: &str, path: &str) -> Result<Option<ObjectKey>, FsError> {
        let usual = self.context.key(&format!("{directory}/{path}"))?;
        match self.context.store.head(&usual).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Some(usual)),
            Err(error) => return Err(self.context.told(error)),
            Ok(_) if path.ends_with('/') => return Ok(None),
            Ok(_) => {}
        }
        let now = time::compact(self.context.clock.now());
        self.context.key(&format!("{directory}/{path}.{now}-{:04x}", fastrand::u16(..))).map(Some)
    }
}
