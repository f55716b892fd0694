//! The versions of objects, in a bucket that keeps them.

use std::time::SystemTime;

use super::session::{Request, Session};
use super::{StoreError, StoreErrorKind};
use crate::object::ETag;
use crate::wire::answer::ListVersionsResult;
use crate::wire::operation::{ListObjectVersions, Operation};

/// Which versions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsRequest {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Whether keys that have a `/` after the prefix are gathered into common prefixes.
    pub delimited: bool,
    /// Only what comes after this.
    pub after: Option<VersionMarker>,
}

/// A place in a listing of versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionMarker {
    /// After this key or common prefix.
    pub key: String,
    /// Or after this version of it, with the older ones of the key still to come.
    pub version: Option<String>,
}

/// One page of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// By key, and then from the newest on.
    pub versions: Vec<ListedVersion>,
    /// The common prefixes, each ending in `/`.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<VersionMarker>,
}

/// What a listing says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// The key as listed.
    pub key: String,
    /// Its id; empty in a bucket that never kept versions.
    pub version: String,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// When it was written, or deleted.
    pub last_modified: SystemTime,
    /// The object; `None` where it was deleted.
    pub object: Option<VersionedObject>,
}

/// What a listing says of a version that is an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedObject {
    /// Bytes in it.
    pub size: u64,
    /// Its ETag.
    pub etag: ETag,
    /// Its storage class.
    pub storage_class: String,
}

/// One page of versions.
pub(super) async fn page(session: &Session, wanted: &VersionsRequest) -> Result<VersionsPage, StoreError> {
    let after = wanted.after.clone();
    let (key_marker, version_id_marker) = after.map_or_else(Default::default, |after| (after.key, after.version));
    let operation = Operation::ListObjectVersions(ListObjectVersions {
        prefix: wanted.prefix.clone(),
        delimiter: if wanted.delimited { "/".to_owned() } else { String::new() },
        key_marker,
        version_id_marker: version_id_marker.unwrap_or_default(),
        max_keys: None,
        url_encoded: true,
    });
    let request = Request::new(&operation).about(&wanted.prefix);
    let result = session.ask(&request, ListVersionsResult::decode).await?;
    let next = match (result.is_truncated, result.next_key_marker) {
        (false, _) => None,
        (true, Some(key)) => Some(VersionMarker { key, version: result.next_version_id_marker }),
        (true, None) => return Err(request.error(StoreErrorKind::Protocol, "a page of versions that leads nowhere")),
    };
    // Versions of a key come in no order of their ids, so that a key alone tells whether the listing gets on.
    let has_got_on =
        |next: &VersionMarker| wanted.after.as_ref().is_none_or(|after| next.key > after.key || next != after);
    if next.as_ref().is_some_and(|next| !has_got_on(next)) {
        return Err(request.error(StoreErrorKind::Protocol, "a page of versions that leads nowhere"));
    }
    let versions = result.versions.into_iter().map(|entry| ListedVersion {
        key: entry.key,
        version: entry.version,
        is_latest: entry.is_latest,
        last_modified: entry.last_modified,
        object: entry.object.map(|object| VersionedObject {
            size: object.size,
            etag: object.etag,
            storage_class: object.storage_class,
        }),
    });
    Ok(VersionsPage { versions: versions.collect(), prefixes: result.common_prefixes, next })
}
