//! A running multipart upload.

use tokio::sync::OnceCell;

use super::error::UploadError;
use super::hedge::Hedges;
use crate::object::{Limits, ObjectAttributes, ObjectKey, PartNumber, UploadId};

/// A running multipart upload. Whoever has a request of it on its way holds a clone of its `Arc`, which keeps it from
/// being aborted meanwhile.
pub(super) struct Session {
    pub(super) key: ObjectKey,
    /// Its id, once it was begun at the service. Who needs it first begins it, and others wait for that: level 4 in the order
    /// of locks, held over that request alone.
    pub(super) upload: OnceCell<UploadId>,
    /// What is sent with Initiate.
    pub(super) attributes: ObjectAttributes,
    /// Parts that are sent twice.
    pub(super) hedges: Hedges,
}

impl Session {
    /// The number of the part with 0-based `index`.
    pub(super) fn number(&self, index: usize, limits: &Limits) -> Result<PartNumber, UploadError> {
        PartNumber::new(index as u64 + 1)
            .ok_or_else(|| UploadError::TooLarge { key: self.key.to_string(), bytes_max: limits.object_bytes_max })
    }
}
