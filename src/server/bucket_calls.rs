//! Calls on the service and on buckets (`cos-api.md` 3.5, 4.8, 5).

use crate::object::{BucketName, ETag, ObjectKey, UploadId};
use crate::wire::answer::{
    BucketEntry, Contents, DeleteResult, Deleted, ListAllMyBucketsResult, ListBucketResult, ListMultipartUploadsResult,
    ListVersionsResult, Location, NULL_VERSION, PAGE_ENTRIES_MAX, Upload, VersionEntry, VersionObject, Versioning,
};
use crate::wire::attributes::STANDARD;
use crate::wire::code::Code;
use crate::wire::operation::{
    DeleteMultipleObjects, ListMultipartUploads, ListObjectVersions, ListObjects, ObjectVersion, PutBucketVersioning,
    asks_for_place_alone,
};

use super::answer::{Answer, Payload};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::service::{Service, Target};
use super::storage::{
    ListQuery, ListedUpload, ObjectRecord, Rule, StorageError, UploadQuery, VersionQuery, VersionRecord,
    VersioningRecord, time_of,
};

/// The header that names the region of a bucket.
const BUCKET_REGION: &str = "x-cos-bucket-region";

impl Service {
    pub(super) fn get_service(&self, target: &Target) -> Result<Answer, Refusal> {
        let buckets = self.storage.buckets()?;
        let owner = buckets.first().map(|(bucket, _)| bucket.appid().to_owned()).unwrap_or_default();
        let entry = |(bucket, record): (BucketName, super::storage::BucketRecord)| BucketEntry {
            name: bucket.as_str().to_owned(),
            location: target.region.clone(),
            created: time_of(record.created),
        };
        let buckets = buckets.into_iter().map(entry).collect();
        Ok(Answer::xml(ListAllMyBucketsResult { owner, buckets }.encode()))
    }

    /// A body would ask for several zones or for metadata acceleration, which this service has not.
    pub(super) async fn put_bucket(&self, target: &Target, body: &mut RequestBody) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        if !asks_for_place_alone(&body.xml(&body.checks()).await?)? {
            return Err(Refusal::new(Code::NotImplemented, "buckets here have no configuration"));
        }
        self.storage.create_bucket(bucket, self.clock.unix_seconds()).await?;
        Ok(Answer::empty())
    }

    pub(super) fn head_bucket(&self, target: &Target) -> Result<Answer, Refusal> {
        self.require_bucket(target)?;
        Ok(Answer::empty().with(BUCKET_REGION, &target.region))
    }

    pub(super) async fn delete_bucket(&self, target: &Target) -> Result<Answer, Refusal> {
        self.storage.delete_bucket(target.bucket()?, target.rules.uploads_keep_buckets).await?;
        Ok(Answer::no_content())
    }

    pub(super) fn get_bucket_location(&self, target: &Target) -> Result<Answer, Refusal> {
        self.require_bucket(target)?;
        Ok(Answer::xml(Location(target.region.clone()).encode()))
    }

    pub(super) fn get_bucket_versioning(&self, target: &Target) -> Result<Answer, Refusal> {
        let record = self.storage.bucket(target.bucket()?)?.ok_or(StorageError::from(Rule::NoSuchBucket))?;
        let versioning = match record.versioning {
            VersioningRecord::Never => Versioning::Never,
            VersioningRecord::Enabled => Versioning::Enabled,
            VersioningRecord::Suspended => Versioning::Suspended,
        };
        Ok(Answer::xml(versioning.encode()))
    }

    pub(super) async fn put_bucket_versioning(
        &self,
        target: &Target,
        put: PutBucketVersioning,
    ) -> Result<Answer, Refusal> {
        let versioning = match put.versioning {
            Versioning::Enabled => VersioningRecord::Enabled,
            Versioning::Suspended | Versioning::Never => VersioningRecord::Suspended,
        };
        self.storage.set_versioning(target.bucket()?, versioning).await?;
        Ok(Answer::empty())
    }

    pub(super) fn list_object_versions(&self, target: &Target, list: &ListObjectVersions) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        let max_keys = list.max_keys.unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX);
        let query = VersionQuery {
            prefix: list.prefix.clone(),
            delimiter: list.delimiter.clone(),
            key_marker: list.key_marker.clone(),
            version_id_marker: list.version_id_marker.clone(),
            count_max: max_keys as usize,
        };
        let has_ids = self.storage.bucket(bucket)?.is_some_and(|record| record.versioning != VersioningRecord::Never);
        let page = self.storage.list_versions(bucket, &query)?;
        let (next_key_marker, next_version) = page.next.unzip();
        let owner = bucket.appid();
        let entry = |(key, is_latest, record)| version_entry(key, is_latest, record, has_ids, owner);
        let result = ListVersionsResult {
            bucket: bucket.as_str().to_owned(),
            prefix: query.prefix,
            delimiter: query.delimiter,
            key_marker: query.key_marker,
            version_id_marker: query.version_id_marker,
            max_keys,
            url_encoded: list.url_encoded,
            is_truncated: next_key_marker.is_some(),
            next_key_marker,
            next_version_id_marker: next_version.filter(|version| !version.is_empty()),
            versions: page.versions.into_iter().map(entry).collect(),
            common_prefixes: page.common_prefixes,
        };
        Ok(Answer::xml(result.encode()))
    }

    pub(super) fn list_objects(&self, target: &Target, list: &ListObjects) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        let max_keys = list.max_keys.unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX);
        let query = ListQuery {
            prefix: list.prefix.clone(),
            delimiter: list.delimiter.clone(),
            marker: list.marker.clone(),
            count_max: max_keys as usize,
        };
        let page = self.storage.list(bucket, &query)?;
        let owner = bucket.appid();
        let result = ListBucketResult {
            bucket: bucket.as_str().to_owned(),
            prefix: query.prefix,
            marker: query.marker,
            max_keys,
            delimiter: query.delimiter,
            url_encoded: list.url_encoded,
            is_truncated: page.next_marker.is_some(),
            next_marker: page.next_marker,
            common_prefixes: page.common_prefixes,
            contents: page.objects.into_iter().map(|(key, record)| contents(key, record, owner)).collect(),
        };
        let payload = Payload::Listing(Box::new(result));
        Ok(Answer { payload, ..Answer::empty() }.with(BUCKET_REGION, &target.region))
    }

    pub(super) fn list_multipart_uploads(
        &self,
        target: &Target,
        list: &ListMultipartUploads,
    ) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        let max_uploads = list.max_uploads.unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX);
        let query = UploadQuery {
            prefix: list.prefix.clone(),
            delimiter: list.delimiter.clone(),
            key_marker: list.key_marker.clone(),
            upload_id_marker: list.upload_id_marker.clone(),
            count_max: max_uploads as usize,
        };
        let page = self.storage.list_uploads(bucket, &query)?;
        let (next_key_marker, next_upload_id_marker) = page.next.unzip();
        let owner = bucket.appid();
        let result = ListMultipartUploadsResult {
            bucket: bucket.as_str().to_owned(),
            prefix: query.prefix,
            delimiter: query.delimiter,
            key_marker: query.key_marker,
            upload_id_marker: query.upload_id_marker,
            max_uploads,
            url_encoded: list.url_encoded,
            is_truncated: next_key_marker.is_some(),
            next_key_marker,
            next_upload_id_marker,
            uploads: page.uploads.into_iter().map(|listed| upload(listed, owner)).collect(),
            common_prefixes: page.common_prefixes,
        };
        Ok(Answer::xml(result.encode()))
    }

    /// A key that cannot be one names nothing, and deleting nothing succeeds.
    pub(super) async fn delete_multiple_objects(
        &self,
        target: &Target,
        delete: DeleteMultipleObjects,
    ) -> Result<Answer, Refusal> {
        let bucket = target.bucket()?;
        let doomed = |object: &ObjectVersion| Some((ObjectKey::new(&object.key).ok()?, object.version.clone()));
        let doomed: Vec<_> = delete.objects.iter().filter_map(doomed).collect();
        let mut deletions = self.storage.delete(bucket, doomed, self.clock.unix_seconds()).await?.into_iter();
        let deleted = delete.objects.into_iter().map(|ObjectVersion { key, version }| {
            let deletion = ObjectKey::new(&key).ok().and_then(|_| deletions.next()).unwrap_or_default();
            let marker = deletion.version.filter(|_| deletion.is_mark && version.is_none());
            Deleted { key, version, marker }
        });
        let result =
            DeleteResult { deleted: if delete.quiet { Vec::new() } else { deleted.collect() }, errors: Vec::new() };
        Ok(Answer::xml(result.encode()))
    }

    pub(super) fn require_bucket(&self, target: &Target) -> Result<(), Refusal> {
        match self.storage.bucket(target.bucket()?)? {
            Some(_) => Ok(()),
            None => Err(StorageError::from(Rule::NoSuchBucket).into()),
        }
    }
}

fn contents(key: String, record: ObjectRecord, owner: &str) -> Contents {
    Contents {
        key,
        last_modified: time_of(record.modified),
        etag: ETag::new(record.etag),
        size: record.size,
        owner: owner.to_owned(),
        storage_class: record.attributes.fields.storage_class.unwrap_or_else(|| STANDARD.to_owned()),
    }
}

fn version_entry(key: String, is_latest: bool, record: VersionRecord, has_ids: bool, owner: &str) -> VersionEntry {
    let version = if has_ids { record.version().unwrap_or(NULL_VERSION).to_owned() } else { String::new() };
    let (modified, object) = match record {
        VersionRecord::Deleted { modified, .. } => (modified, None),
        VersionRecord::Object(record) => {
            let storage_class = record.attributes.fields.storage_class.unwrap_or_else(|| STANDARD.to_owned());
            (record.modified, Some(VersionObject { etag: ETag::new(record.etag), size: record.size, storage_class }))
        }
    };
    VersionEntry { key, version, is_latest, last_modified: time_of(modified), owner: owner.to_owned(), object }
}

fn upload(listed: ListedUpload, owner: &str) -> Upload {
    Upload {
        key: listed.key,
        upload: UploadId::new(listed.id),
        storage_class: listed.record.attributes.fields.storage_class.unwrap_or_else(|| STANDARD.to_owned()),
        owner: owner.to_owned(),
        initiated: time_of(listed.record.initiated),
    }
}
