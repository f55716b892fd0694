//! What the service keeps: buckets, objects, unfinished uploads, on disk or in memory.
//!
//! Every change is atomic and, on disk, durable before it is answered; a killed process leaves what was acknowledged
//! and nothing half-written. Bytes live in immutable segments, so completing an upload, copying an object and copying
//! a part move no bytes. The rules that depend on what is stored are checked in the transaction that changes it; what
//! a request alone can tell is checked before, by the service.

mod content;
mod directory;
mod error;
mod index;
mod journal;
mod listing;
mod objects;
mod opening;
mod reading;
mod records;
mod rows;
mod segments;
mod sums;
mod uploads;
mod versions;
mod writing;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::ReadableTable;

use crate::object::BucketName;
use crate::server::digest::Wanted;
use cosmount_digests::Md5Lanes;

pub use error::Unusable;
pub(super) use error::{Rule, StorageError};
pub(super) use listing::{ListQuery, ListedUpload, UploadQuery};
pub(super) use objects::{CopySource, Replacement, Write};
pub(super) use reading::Reading;
pub(super) use records::{Attributes, BucketRecord, DigestRecord, ObjectRecord, Readiness, VersioningRecord, time_of};
pub(super) use uploads::{CompleteLimits, CopyLimits, UploadRef};
pub(super) use versions::{Deletion, VersionQuery, VersionRecord};
pub(super) use writing::{Received, SegmentWriter};

use content::LatestLayout;
use directory::Directory;
use index::{DataBase, Index};
use records::{decode, encode};
use segments::Segments;

/// The store of one service.
pub(super) struct Storage {
    segments: Arc<Segments>,
    index: Index,
    md5_lanes: Arc<Md5Lanes>,
    layouts: LatestLayout,
    /// `None` in memory.
    directory: Option<Directory>,
}

impl Storage {
    /// Opens what is kept in `directory`, which is made if it is missing, and removes what a crash left there. With
    /// `rebuild` an index that is missing or damaged is made anew. `others` are files that may be in a new directory.
    pub(super) fn on_disk(directory: &Path, rebuild: bool, others: &[PathBuf]) -> Result<Storage, StorageError> {
        Storage::of(Directory::take(directory, others)?, rebuild)
    }

    /// An empty store that ends with the process.
    pub(super) fn in_memory() -> Result<Storage, StorageError> {
        let segments = Arc::new(Segments::in_memory());
        let database = DataBase::open(None)?;
        database.prepare()?;
        let index = Index::start(database, None, Arc::clone(&segments))?;
        Ok(Storage { segments, index, md5_lanes: md5_lanes()?, layouts: LatestLayout::default(), directory: None })
    }

    /// Ids go on after the largest that the index names.
    fn continue_ids(&self) -> Result<(), StorageError> {
        let snapshot = self.index.snapshot()?;
        let segment = snapshot.segment_users()?.last()?.map_or(0, |(id, _)| id.value());
        let layout = snapshot.layouts()?.last()?.map_or(0, |(id, _)| id.value());
        self.segments.continue_after(segment.max(layout));
        Ok(())
    }

    /// Starts to receive a body.
    pub(super) fn receive(&self, wanted: Wanted) -> Result<SegmentWriter, StorageError> {
        SegmentWriter::create(&self.segments, &self.md5_lanes, wanted)
    }

    /// The bucket of that name, if it exists.
    pub(super) fn bucket(&self, bucket: &BucketName) -> Result<Option<BucketRecord>, StorageError> {
        let row = self.index.snapshot()?.buckets()?.get(bucket.as_str())?;
        row.map(|row| decode(row.value())).transpose()
    }

    /// All buckets by name.
    pub(super) fn buckets(&self) -> Result<Vec<(BucketName, BucketRecord)>, StorageError> {
        let mut buckets = Vec::new();
        for row in self.index.snapshot()?.buckets()?.iter()? {
            let (name, record) = row?;
            // All that COS takes S3 takes, too, but for the shortest.
            let name = BucketName::new(name.value())
                .or_else(|_| BucketName::of_s3(name.value()))
                .map_err(|error| StorageError::failed("read the name of a bucket", error))?;
            buckets.push((name, decode(record.value())?));
        }
        Ok(buckets)
    }

    /// Makes a bucket.
    ///
    /// Refused with [`Rule::BucketExists`] if it is there.
    pub(super) async fn create_bucket(&self, bucket: &BucketName, now: u64) -> Result<(), StorageError> {
        let bucket = bucket.clone();
        let record = encode(&BucketRecord {
            created: now,
            versioning: VersioningRecord::Never,
            configurations: BTreeMap::new(),
        })?;
        let change = self.index.change(move |tables| {
            if tables.buckets.get(bucket.as_str())?.is_some() {
                return Err(Rule::BucketExists.into());
            }
            tables.buckets.insert(bucket.as_str(), &record)?;
            Ok(())
        });
        change.await
    }

    /// Keeps what a bucket is told under a name, or forgets it.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(super) async fn configure(
        &self,
        bucket: &BucketName,
        name: &'static str,
        document: Option<String>,
    ) -> Result<(), StorageError> {
        let bucket = bucket.clone();
        let change = self.index.change(move |tables| {
            let row = tables.buckets.get(bucket.as_str())?.ok_or(Rule::NoSuchBucket)?;
            let mut record: BucketRecord = decode(row.value())?;
            drop(row);
            match document {
                Some(document) => record.configurations.insert(name.to_owned(), document),
                None => record.configurations.remove(name),
            };
            tables.buckets.insert(bucket.as_str(), &encode(&record)?)?;
            Ok(())
        });
        change.await
    }

    /// Deletes an empty bucket.
    ///
    /// Refused with [`Rule::NoSuchBucket`], or with [`Rule::BucketNotEmpty`] for as long as there are objects or, if they
    /// `keep` it, unfinished uploads; these are given up otherwise.
    pub(super) async fn delete_bucket(&self, bucket: &BucketName, uploads_keep: bool) -> Result<(), StorageError> {
        let bucket = bucket.clone();
        let change = self.index.change(move |tables| {
            let name = bucket.as_str();
            content::require_bucket(tables, name)?;
            let first_object = tables.objects.range((name, "")..)?.next().transpose()?;
            let first_version = tables.versions.range((name, "", 0)..)?.next().transpose()?;
            let occupied = first_object.is_some_and(|(id, _)| id.value().0 == name)
                || first_version.as_ref().is_some_and(|(id, _)| id.value().0 == name);
            drop(first_version);
            let uploads = uploads::of_bucket(tables, &bucket)?;
            if occupied || uploads_keep && !uploads.is_empty() {
                return Err(Rule::BucketNotEmpty.into());
            }
            for upload in &uploads {
                uploads::give_up(tables, upload)?;
            }
            tables.buckets.remove(name)?;
            Ok(())
        });
        change.await
    }

    /// Finishes what was handed over and closes the store in order.
    pub(super) fn close(self) -> Result<(), StorageError> {
        let Storage { segments, index, md5_lanes, directory, .. } = self;
        drop(index);
        drop(segments);
        drop(md5_lanes);
        let Some(directory) = directory else { return Ok(()) };
        let mark = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(directory.clean_mark());
        mark.map_err(|error| StorageError::io("mark the orderly end", error))?;
        directory.sync()
    }
}

fn md5_lanes() -> Result<Arc<Md5Lanes>, StorageError> {
    let lanes =
        Md5Lanes::start().map_err(|error| StorageError::failed("start the thread that digests bodies", error))?;
    Ok(Arc::new(lanes))
}

#[cfg(test)]
mod tests;
