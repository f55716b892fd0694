//! The one trait that every store implements, and the nouns of its calls.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::versions::{VersionsPage, VersionsRequest};
use super::{Body, Op, Overwrite, StoreError, StoreErrorKind};
use crate::object::{
    ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Protection, StoredObject,
    Tags, UploadId, UploadedPart,
};
pub use crate::wire::answer::ListedPart;
use crate::wire::attributes::STANDARD;

/// One bucket of an object store. Every call is one request (repeats aside), and is cancelled by dropping its future.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// What the service takes.
    fn limits(&self) -> Limits;

    /// Whether the service has told to slow down lately, so that nothing should be asked for that need not be.
    fn is_slowed(&self) -> bool {
        false
    }

    /// Whether the service holds to what a write of this kind, [`Op::PutObject`] or [`Op::CompleteMultipartUpload`], may replace.
    ///
    /// Where that is not known it is tried out with a few requests about `trial`, a key that nobody uses, and known from then on.
    async fn keeps_conditions(&self, _op: Op, _trial: &ObjectKey) -> bool {
        false
    }

    /// Asks whether the bucket is there and may be used.
    async fn head_bucket(&self) -> Result<(), StoreError>;

    /// Size, version and metadata of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError>;

    /// The tags of an object.
    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError>;

    /// Opens an object or a range of it for reading.
    ///
    /// The stream gives exactly the bytes asked for (a range that ends after the object is clipped) or ends in an
    /// error; a connection that breaks in the middle is taken up again where it broke, pinned to the same version.
    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError>;

    /// Stores an object of at most [`Limits::put_bytes_max`] bytes. `crc64` is the checksum of the body: an answer
    /// with another one is [`super::StoreErrorKind::Corrupted`].
    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
    ) -> Result<Published, StoreError> {
        self.put_over(key, body, crc64, attributes, &Overwrite::Allowed).await
    }

    /// The same unless it would replace something else than it may: [`StoreErrorKind::Changed`], or
    /// [`StoreErrorKind::NotFound`] where the version that it may replace is gone. Only where the service
    /// [holds to that](ObjectStore::keeps_conditions).
    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError>;

    /// Removes an object; removing what is not there succeeds.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Removes objects, up to 1,000 with each request, and returns those that could not be removed.
    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError>;

    /// Copies an object of at most [`Limits::put_bytes_max`] bytes on the service.
    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError>;

    /// One page of keys in UTF-8 byte order.
    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError>;

    /// Begins a multipart upload. What the object's metadata will be is fixed here.
    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError>;

    /// Goes on with an upload of `key` that was begun before and cut off, if one is known, which is the caller's then as one
    /// that it has initiated.
    async fn resume(&self, _key: &ObjectKey) -> Option<Resumed> {
        None
    }

    /// Uploads a part; the same number again overwrites. `crc64` as in [`ObjectStore::put`].
    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError>;

    /// Makes a part of a range of an object, on the service.
    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError>;

    /// Makes the object of the parts 1 to `parts.len()`, in that order.
    ///
    /// `crc64` and `size` are what the object must have: a lost answer is settled by HEAD and these two, and an answer
    /// with another checksum is [`super::StoreErrorKind::Corrupted`]. `crc64` is `None` only where a part's is unknown.
    async fn complete(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
    ) -> Result<Published, StoreError> {
        self.complete_over(key, upload, parts, size, crc64, &Overwrite::Allowed).await
    }

    /// The same unless it would replace something else than it may, as [`ObjectStore::put_over`]. The upload is there yet then.
    #[allow(clippy::too_many_arguments, reason = "those of `complete` and one more")]
    async fn complete_over(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError>;

    /// Gives up a multipart upload and frees its parts; one that is not known counts as given up.
    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError>;

    /// The unfinished uploads whose keys begin with `prefix`, by key.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError>;

    /// The parts that an upload has, by number.
    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError>;

    /// One page of versions, for a bucket that keeps them.
    async fn list_versions(&self, request: &VersionsRequest) -> Result<VersionsPage, StoreError> {
        Err(without_versions(Op::ListObjectVersions, &request.prefix))
    }

    /// Size, version and metadata of a version of an object, by its id.
    async fn head_version(&self, key: &ObjectKey, _version: &str) -> Result<ObjectHead, StoreError> {
        Err(without_versions(Op::HeadObject, key.as_str()))
    }

    /// Opens a version of an object for reading, as [`ObjectStore::get`].
    async fn get_version(&self, request: GetRequest, _version: &str) -> Result<Reading, StoreError> {
        Err(without_versions(Op::GetObject, request.key.as_str()))
    }

    /// What the service's clock says, as far as its answers have told.
    fn service_time(&self) -> SystemTime;
}

fn without_versions(op: Op, key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, op, key, "there are no versions here")
}

/// What the service answered when it was asked to begin an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiated {
    /// The upload.
    pub upload: UploadId,
    /// Whether it was asked before and the answer was lost: there may be another upload then, whose id nobody knows.
    pub may_be_doubled: bool,
}

/// An upload that was cut off and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The upload.
    pub upload: UploadId,
    /// The metadata that the object will have.
    pub attributes: ObjectAttributes,
    /// Parts that are at the service.
    pub parts: BTreeMap<PartNumber, UploadedPart>,
}

/// What a listing of unfinished uploads says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUpload {
    /// The key that the upload would write, as listed.
    pub key: String,
    /// Its id.
    pub upload: UploadId,
    /// When it was begun, by the service's clock.
    pub initiated: SystemTime,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct GetRequest {
    /// The object.
    pub key: ObjectKey,
    /// The bytes wanted; `None` for all of them. Must be `None` for an object known to be empty.
    pub range: Option<ByteRange>,
    /// The version that is wanted; another one is [`super::StoreErrorKind::Changed`].
    pub if_match: Option<ETag>,
}

impl GetRequest {
    /// Asks for a range of this version.
    pub fn of(object: &StoredObject, range: Option<ByteRange>) -> GetRequest {
        GetRequest { key: object.key.clone(), range, if_match: Some(object.version.etag.clone()) }
    }
}

/// An object that is being read.
pub struct Reading {
    /// The whole object's size, version and metadata.
    pub head: ObjectHead,
    /// The bytes, in order, in pieces as they arrive.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// What the service answered for an object it stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The new version.
    pub etag: ETag,
    /// Its checksum where the service gave one. Equal to the caller's where the caller had one.
    pub crc64: Option<Crc64>,
}

/// The object that a copy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its key, in the same bucket.
    pub key: ObjectKey,
    /// The version it must have; another one is [`super::StoreErrorKind::Changed`].
    pub if_match: Option<ETag>,
}

impl Source {
    /// This version and no other.
    pub fn of(object: &StoredObject) -> Source {
        Source { key: object.key.clone(), if_match: Some(object.version.etag.clone()) }
    }
}

/// What to copy.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// What is read.
    pub source: Source,
    /// The key that is written; may be the source's own if `replace` is given.
    pub key: ObjectKey,
    /// New metadata in place of the source's, the storage class among them.
    pub replace: Option<ObjectAttributes>,
    /// The class of a copy that keeps the metadata of its source; `None` for that of every day. The service keeps it never.
    pub storage_class: Option<String>,
    /// The encryption and access list of a copy that keeps the metadata of its source. The service keeps neither.
    pub protection: Protection,
    /// Bytes in the source, where they are known: a small copy is not waited for as long as a large one may take.
    pub bytes: Option<u64>,
}

impl CopyRequest {
    /// A copy that keeps the metadata of its source, but for what the service does not keep.
    pub fn new(source: Source, key: ObjectKey) -> CopyRequest {
        CopyRequest { source, key, replace: None, storage_class: None, protection: Protection::default(), bytes: None }
    }
}

/// What the service answered for a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The version of the copy.
    pub etag: ETag,
    /// The checksum of the copy, where the service gave one.
    pub crc64: Option<Crc64>,
    /// When the copy was written.
    pub last_modified: SystemTime,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Whether keys that have a `/` after the prefix are gathered into common prefixes.
    pub delimited: bool,
    /// Only keys and common prefixes after this one.
    pub marker: Option<String>,
    /// The most keys and common prefixes together, 1 to 1,000; `None` is 1,000.
    pub max_keys: Option<u16>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, by key.
    pub objects: Vec<ListedObject>,
    /// The common prefixes, each ending in `/`.
    pub prefixes: Vec<String>,
    /// The marker of the next page; `None` on the last one.
    pub next_marker: Option<String>,
}

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The key as listed. Not an [`ObjectKey`]: a bucket may hold keys that this client would not make.
    pub key: String,
    /// Bytes in the object.
    pub size: u64,
    /// Its version.
    pub etag: ETag,
    /// When it was last written.
    pub last_modified: SystemTime,
    /// Its storage class, for example `STANDARD` or `ARCHIVE`.
    pub storage_class: String,
}

impl ListedObject {
    /// The class that a copy has to be given so that it has this one's; `None` for that of every day.
    pub fn class_to_ask_for(&self) -> Option<String> {
        let is_of_every_day = self.storage_class.is_empty() || self.storage_class.eq_ignore_ascii_case(STANDARD);
        (!is_of_every_day).then(|| self.storage_class.clone())
    }
}
