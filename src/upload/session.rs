//! A running multipart upload: begun for the file, or gone on with where a mount that died has left it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::OnceCell;

use super::error::UploadError;
use super::hedge::Hedges;
use crate::object::{Checksum, Limits, ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};
use crate::store::{ObjectStore, Resumed, StoreError};

/// A running multipart upload. Whoever has a request of it on its way holds a clone of its `Arc`, which keeps it from
/// being aborted meanwhile.
pub(super) struct Session {
    pub(super) key: ObjectKey,
    /// What it is at the service, once it is. Who needs it first begins it, and others wait for that: level 4 in the order of
    /// locks, held over that request alone.
    pub(super) upload: OnceCell<Upload>,
    /// What is sent with Initiate.
    pub(super) attributes: ObjectAttributes,
    /// Parts that are sent twice.
    pub(super) hedges: Hedges,
    /// When its first part was about to be sent.
    pub(super) began: SystemTime,
    /// How often a request of it was repeated, or a part sent over another connection as well.
    pub(super) repeats: Arc<AtomicU64>,
}

impl Session {
    /// The number of the part with 0-based `index`.
    pub(super) fn number(&self, index: usize, limits: &Limits) -> Result<PartNumber, UploadError> {
        PartNumber::new(index as u64 + 1)
            .ok_or_else(|| UploadError::TooLarge { key: self.key.to_string(), bytes_max: limits.object_bytes_max })
    }
}

/// An upload at the service.
pub(super) struct Upload {
    pub(super) id: UploadId,
    /// The metadata that the object will have.
    pub(super) attributes: ObjectAttributes,
    /// Whether it was begun by a mount that is dead, at another time.
    pub(super) is_resumed: bool,
    /// Parts that this mount has not sent and that nothing was sent over. Std mutex: one lookup. Level 8 in the order of
    /// locks.
    landed: Mutex<BTreeMap<PartNumber, UploadedPart>>,
}

impl Upload {
    /// Goes on with an upload of the key where there is one, and begins one otherwise.
    pub(super) async fn begin(
        store: &dyn ObjectStore,
        key: &ObjectKey,
        attributes: &ObjectAttributes,
    ) -> Result<Upload, StoreError> {
        if let Some(Resumed { upload, attributes, parts }) = store.resume(key).await {
            return Ok(Upload { id: upload, attributes, is_resumed: true, landed: Mutex::new(parts) });
        }
        let id = store.initiate(key, attributes).await?.upload;
        Ok(Upload { id, attributes: attributes.clone(), is_resumed: false, landed: Mutex::default() })
    }

    /// The part of that number that is at the service already, as long as nothing is sent over it, which the caller is about
    /// to do unless it is the same.
    pub(super) fn take_landed(&self, number: PartNumber) -> Option<UploadedPart> {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

/// Whether `part` has these bytes.
pub(super) fn is_same(part: &UploadedPart, size: u64, checksum: Checksum) -> bool {
    part.size == size && part.crc64 == Some(checksum)
}
