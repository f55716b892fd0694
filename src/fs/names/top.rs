//! The top of the mount: what carries its attributes. Of a mounted prefix that is the prefix's marker, as of any directory;
//! of a whole bucket, which is no object, an empty object of its own that the mount does not show.

use super::{Marker, Names, ROOT};
use crate::fs::context::FsError;
use crate::store::StoreErrorKind;

impl Names {
    /// Learns what the top's object says, with a HEAD once in the life of the mount. Where it may not be read there is none.
    pub(crate) async fn learn_top(&self) -> Result<(), FsError> {
        if self.tree().marker(ROOT).is_some() {
            return Ok(());
        }
        let marker = match self.context.store.head(&self.context.marker_key("")?).await {
            Ok(head) => Box::new(Marker { attributes: head.attributes, last_modified: head.last_modified }),
            Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Denied) => Marker::absent(),
            Err(error) => return Err(self.context.told(error)),
        };
        self.tree().learn_top(marker);
        Ok(())
    }
}
