//! Which bytes an object has, and under which key they are.
//!
//! Whatever is read or copied is pinned to a version, so that two of them are never mixed.

use super::{Checksum, ETag, ObjectKey};

/// One version of an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its ETag, which every read and copy of it is pinned to.
    pub etag: ETag,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, where it is known.
    pub checksum: Option<Checksum>,
}

impl Version {
    /// This version as it is under `key`.
    pub fn under(self, key: ObjectKey) -> StoredObject {
        StoredObject { key, version: self }
    }
}

/// A version of an object under its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredObject {
    /// Where it is.
    pub key: ObjectKey,
    /// What is there.
    pub version: Version,
}
