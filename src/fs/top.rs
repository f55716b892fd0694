//! The top of the mount: what carries its attributes. Of a mounted prefix that is the prefix's marker, as of any directory;
//! of a whole bucket, which is no object, an empty object of its own that the mount does not show.

use super::tree::{Marker, ROOT};
use super::{FileSystem, FsError};
use crate::object::ObjectKey;
use crate::store::StoreErrorKind;

/// The key of the object whose metadata are the attributes of a bucket's top. It is there once somebody has set some.
pub(super) const TOP_OBJECT: &str = ".cosmount-root";

impl FileSystem {
    /// Learns what the top's object says, with a HEAD once in the life of the mount. Where it may not be read there is none.
    pub(super) async fn learn_top(&self) -> Result<(), FsError> {
        if self.tree().marker(ROOT).is_some() {
            return Ok(());
        }
        let marker = match self.store.head(&self.marker_key("")?).await {
            Ok(head) => Box::new(Marker { attributes: head.attributes, last_modified: head.last_modified }),
            Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Denied) => Marker::absent(),
            Err(error) => return Err(self.told(error)),
        };
        self.tree().learn_top(marker);
        Ok(())
    }

    /// The key of the object that carries the attributes of the directory at `path`, which is empty or ends in `/`.
    pub(super) fn marker_key(&self, path: &str) -> Result<ObjectKey, FsError> {
        if path.is_empty() && self.options.prefix.is_empty() {
            return ObjectKey::new(TOP_OBJECT).map_err(|_| FsError::NameInvalid);
        }
        self.key(path)
    }

    /// Whether `name` at the top of the mount is not for others because it carries the top's attributes.
    pub(super) fn is_top_object(&self, name: &str) -> bool {
        name == TOP_OBJECT && self.options.prefix.is_empty()
    }
}
