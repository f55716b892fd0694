//! Stores in front of other stores.
//!
//! A layer says what is behind it, and of the calls those that it does not pass on as they are. With that it is an
//! [`ObjectStore`] like the one behind it.

use std::time::SystemTime;

use async_trait::async_trait;

use super::{
    Body, Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedPart, ListedUpload, ObjectStore, Op,
    Overwrite, Published, Reading, Resumed, Source, StoreError,
};
use crate::object::{
    ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Tags, UploadId, UploadedPart,
};

/// A store that changes some calls of the one behind it. Each call is that of [`ObjectStore`] and passes on what it got.
#[async_trait]
pub(super) trait LayeredStore: Send + Sync + 'static {
    /// The store behind this one.
    fn inner(&self) -> &dyn ObjectStore;

    async fn head_bucket(&self) -> Result<(), StoreError> {
        self.inner().head_bucket().await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        self.inner().head(key).await
    }

    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError> {
        self.inner().tags(key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        self.inner().get(request).await
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        self.inner().put_over(key, body, crc64, attributes, overwrite).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner().delete(key).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        self.inner().delete_many(keys).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        self.inner().copy(request).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        self.inner().list(request).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        self.inner().initiate(key, attributes).await
    }

    async fn resume(&self, key: &ObjectKey) -> Option<Resumed> {
        self.inner().resume(key).await
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        self.inner().upload_part(key, upload, number, body, crc64).await
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        self.inner().upload_part_copy(key, upload, number, source, range).await
    }

    async fn complete_over(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        self.inner().complete_over(key, upload, parts, size, crc64, overwrite).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        self.inner().abort(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        self.inner().list_uploads(prefix).await
    }

    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        self.inner().list_parts(key, upload).await
    }
}

#[async_trait]
impl<L: LayeredStore> ObjectStore for L {
    fn limits(&self) -> Limits {
        self.inner().limits()
    }

    fn is_slowed(&self) -> bool {
        self.inner().is_slowed()
    }

    async fn keeps_conditions(&self, op: Op, trial: &ObjectKey) -> bool {
        self.inner().keeps_conditions(op, trial).await
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        LayeredStore::head_bucket(self).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        LayeredStore::head(self, key).await
    }

    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError> {
        LayeredStore::tags(self, key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        LayeredStore::get(self, request).await
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        LayeredStore::put_over(self, key, body, crc64, attributes, overwrite).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        LayeredStore::delete(self, key).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        LayeredStore::delete_many(self, keys).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        LayeredStore::copy(self, request).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        LayeredStore::list(self, request).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        LayeredStore::initiate(self, key, attributes).await
    }

    async fn resume(&self, key: &ObjectKey) -> Option<Resumed> {
        LayeredStore::resume(self, key).await
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        LayeredStore::upload_part(self, key, upload, number, body, crc64).await
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        LayeredStore::upload_part_copy(self, key, upload, number, source, range).await
    }

    async fn complete_over(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        LayeredStore::complete_over(self, key, upload, parts, size, crc64, overwrite).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        LayeredStore::abort(self, key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        LayeredStore::list_uploads(self, prefix).await
    }

    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        LayeredStore::list_parts(self, key, upload).await
    }

    fn service_time(&self) -> SystemTime {
        self.inner().service_time()
    }
}
