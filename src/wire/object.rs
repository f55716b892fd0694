//! What the service keeps beside an object's bytes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Crc64, ETag};

/// The metadata that a writer gives an object and that a copy with `Replaced` gives anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Expires`.
    pub expires: Option<String>,
    /// `x-cos-storage-class`; `None` is `STANDARD`.
    pub storage_class: Option<String>,
    /// `x-cos-meta-*`, by lower-case suffix (`cos-api.md` 3.12).
    pub user: BTreeMap<String, String>,
}

/// What HEAD and GET say of an object (`cos-api.md` 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes in the object.
    pub size: u64,
    /// The version of the bytes.
    pub etag: ETag,
    /// When the object was last written, in whole seconds.
    pub last_modified: SystemTime,
    /// CRC-64 of the whole object, also on the answer to a range; `None` for objects older than the feature.
    pub crc64: Option<Crc64>,
    /// The metadata that the writer gave.
    pub attributes: ObjectAttributes,
}
