//! Objects: put, look up, read, delete, copy.

use std::sync::Arc;

use std::ops::Range;

use redb::ReadableTable;

use crate::object::{BucketName, Encryption, ObjectKey};
use crate::server::digest::hex;

use super::content::{give_up, require_bucket, share, take_segment};
use super::error::Rule;
use super::index::{Snapshot, Tables};
use super::records::{Attributes, Content, ObjectRecord, Readiness, Restoration, Slice, decode, encode};
use super::segments::ReaderGuard;
use super::writing::Received;
use super::{Reading, Storage, StorageError};

/// Where and how an object is to be written.
#[derive(Clone, Debug)]
pub(in crate::server) struct Write {
    pub bucket: BucketName,
    pub key: ObjectKey,
    /// `x-cos-forbid-overwrite`.
    pub forbid_overwrite: bool,
    /// Seconds after the Unix epoch.
    pub now: u64,
}

/// What is to be copied, and under which condition.
pub(in crate::server) struct CopySource {
    pub bucket: BucketName,
    pub key: ObjectKey,
    /// The conditions on the source, judged in the transaction that copies.
    pub holds: Box<dyn Fn(&ObjectRecord) -> bool + Send + Sync>,
    /// Seconds after the Unix epoch.
    pub now: u64,
}

/// What a copy does with the source's attributes (`cos-api.md` 3.6).
pub(in crate::server) struct Replacement {
    /// `Replaced`: the full new set. `None` is `Copy`.
    pub attributes: Option<Attributes>,
    /// The class of the copy; the source's own does not count, and neither do its encryption and its access list.
    pub storage_class: Option<String>,
    /// How the copy is encrypted.
    pub encryption: Option<Encryption>,
    /// The access list of the copy.
    pub acl: Option<String>,
    /// The tags of the copy, if they are not the source's.
    pub tagging: Option<Option<String>>,
}

impl Storage {
    /// Makes a received body an object, in place of an older one.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::FileAlreadyExists`]; the bytes are removed then.
    pub(in crate::server) async fn put_object(
        &self,
        write: Write,
        attributes: Attributes,
        received: Received,
    ) -> Result<ObjectRecord, StorageError> {
        let Received { segment, bytes, digests, sums } = received;
        let slices: Vec<_> = segment.iter().map(|segment| segment.whole(bytes, &digests)).collect();
        // The service tells the digest of what it keeps, and not of what was sent (3.1).
        let is_opaque = attributes.fields.encryption.as_ref().is_some_and(|encryption| !encryption.tells_md5());
        let record = ObjectRecord {
            size: bytes,
            etag: if is_opaque { fresh_etag() } else { hex(&digests.md5) },
            modified: write.now,
            crc64: digests.crc64.0,
            attributes,
            content: Content::Inline(slices),
            restoration: None,
        };
        let change = self.index.change(move |tables| {
            require_bucket(tables, write.bucket.as_str())?;
            check_overwrite(tables, &write)?;
            share(tables, &record.content)?;
            store(tables, &write, &record)?;
            take_segment(tables, segment, &sums)?;
            Ok(record)
        });
        change.await
    }

    /// The object under a key.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::NoSuchKey`].
    pub(in crate::server) fn object(&self, bucket: &BucketName, key: &ObjectKey) -> Result<ObjectRecord, StorageError> {
        object_in(&self.index.snapshot()?, bucket, key)
    }

    /// The object under a key and a way to read it as it is now, whatever happens to the key meanwhile.
    pub(in crate::server) fn open(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<(ObjectRecord, OpenObject), StorageError> {
        // The reader registers before the snapshot is taken, so that nothing the snapshot names can go in between.
        let guard = self.segments.reader();
        let snapshot = self.index.snapshot()?;
        let record = object_in(&snapshot, bucket, key)?;
        let slices = self.layouts.slices_of(&snapshot, &record.content)?;
        Ok((record, OpenObject { guard, snapshot, slices }))
    }

    /// Deletes the object under a key, if there is one.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) async fn delete_objects(
        &self,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
    ) -> Result<(), StorageError> {
        let bucket = bucket.clone();
        let change = self.index.change(move |tables| {
            require_bucket(tables, bucket.as_str())?;
            for key in keys {
                let removed = tables.objects.remove((bucket.as_str(), key.as_str()))?;
                let removed: Option<ObjectRecord> = removed.map(|row| decode(row.value())).transpose()?;
                if let Some(removed) = removed {
                    give_up(tables, &removed.content)?;
                }
            }
            Ok(())
        });
        change.await
    }

    /// Begins to restore an archived object, which can be read `delay_seconds` later for `days`. Returns whether it can be read
    /// already: then its end moves.
    ///
    /// Refused with [`Rule::NoSuchBucket`], [`Rule::NoSuchKey`], [`Rule::NotArchived`] and [`Rule::BeingRestored`].
    pub(in crate::server) async fn restore(
        &self,
        write: Write,
        days: u32,
        delay_seconds: u64,
    ) -> Result<bool, StorageError> {
        const DAY_SECONDS: u64 = 86_400;
        let change = self.index.change(move |tables| {
            let mut record = source_in(tables, write.bucket.as_str(), write.key.as_str())?;
            let (now, span) = (write.now, u64::from(days) * DAY_SECONDS);
            let is_there = match record.readiness(now) {
                Readiness::Always => return Err(Rule::NotArchived.into()),
                Readiness::OnItsWay => return Err(Rule::BeingRestored.into()),
                Readiness::Archived => false,
                Readiness::Until(_) => true,
            };
            let ready = if is_there { now } else { now + delay_seconds };
            record.restoration = Some(Restoration { ready, end: ready + span });
            // Its content stays counted as it is.
            tables.objects.insert((write.bucket.as_str(), write.key.as_str()), &encode(&record)?)?;
            Ok(is_there)
        });
        change.await
    }

    /// Copies an object without moving its bytes.
    ///
    /// Refused with [`Rule::NoSuchBucket`], [`Rule::NoSuchKey`] for a source that is missing,
    /// [`Rule::PreconditionFailed`], [`Rule::EntityTooLarge`] over `bytes_max`, [`Rule::FileAlreadyExists`], and
    /// [`Rule::CopyChangesNothing`].
    pub(in crate::server) async fn copy_object(
        &self,
        source: CopySource,
        write: Write,
        replacement: Replacement,
        bytes_max: u64,
    ) -> Result<ObjectRecord, StorageError> {
        let etag_of_copy = fresh_etag();
        let change = self.index.change(move |tables| {
            require_bucket(tables, write.bucket.as_str())?;
            let mut record = source_in(tables, source.bucket.as_str(), source.key.as_str())?;
            if !(source.holds)(&record) {
                return Err(Rule::PreconditionFailed.into());
            }
            record.require_readable(source.now)?;
            if record.size > bytes_max {
                return Err(Rule::EntityTooLarge.into());
            }
            check_overwrite(tables, &write)?;
            let onto_itself = source.bucket == write.bucket && source.key == write.key;
            let fields = &record.attributes.fields;
            let is_kept_alike = fields.storage_class == replacement.storage_class
                && fields.encryption == replacement.encryption
                && replacement.acl.is_none();
            if onto_itself && is_kept_alike && replacement.attributes.is_none() && replacement.tagging.is_none() {
                return Err(Rule::CopyChangesNothing.into());
            }
            replace_attributes(&mut record, replacement);
            // The ETag of a multipart object is not a property of its bytes, so a copy has its own (4.5).
            if record.etag.contains('-') {
                record.etag = etag_of_copy;
            }
            record.modified = write.now;
            record.restoration = None;
            share(tables, &record.content)?;
            store(tables, &write, &record)?;
            Ok(record)
        });
        change.await
    }
}

/// An object that stays readable as it was when it was opened.
pub(in crate::server) struct OpenObject {
    guard: ReaderGuard,
    snapshot: Snapshot,
    slices: Arc<[Slice]>,
}

impl OpenObject {
    /// Reads the bytes `range` of the object.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if they are not what was stored.
    pub(in crate::server) async fn read(self, range: Range<u64>) -> Result<Reading, StorageError> {
        Reading::begin(self.guard, &self.snapshot, &self.slices, range).await
    }
}

/// The object under a key, as a snapshot has it.
pub(super) fn object_in(
    snapshot: &Snapshot,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<ObjectRecord, StorageError> {
    if let Some(row) = snapshot.objects()?.get((bucket.as_str(), key.as_str()))? {
        return decode(row.value());
    }
    match snapshot.buckets()?.get(bucket.as_str())? {
        Some(_) => Err(Rule::NoSuchKey.into()),
        None => Err(Rule::NoSuchBucket.into()),
    }
}

/// An ETag in the form of a digest that no bytes have.
pub(super) fn fresh_etag() -> String {
    hex(&fastrand::u128(..).to_be_bytes())
}

pub(super) fn check_overwrite(tables: &Tables<'_>, write: &Write) -> Result<(), StorageError> {
    if !write.forbid_overwrite {
        return Ok(());
    }
    match tables.objects.get((write.bucket.as_str(), write.key.as_str()))? {
        Some(_) => Err(Rule::FileAlreadyExists.into()),
        None => Ok(()),
    }
}

/// The record of a copy's source.
fn source_in(tables: &Tables<'_>, bucket: &str, key: &str) -> Result<ObjectRecord, StorageError> {
    require_bucket(tables, bucket)?;
    match tables.objects.get((bucket, key))? {
        Some(row) => decode(row.value()),
        None => Err(Rule::NoSuchKey.into()),
    }
}

/// Writes the record of an object whose content is counted already, and gives up what it takes the place of.
pub(super) fn store(tables: &mut Tables<'_>, write: &Write, record: &ObjectRecord) -> Result<(), StorageError> {
    let bytes = encode(record)?;
    let replaced = tables.objects.insert((write.bucket.as_str(), write.key.as_str()), &bytes)?;
    let replaced: Option<ObjectRecord> = replaced.map(|row| decode(row.value())).transpose()?;
    match replaced {
        Some(replaced) => give_up(tables, &replaced.content),
        None => Ok(()),
    }
}

fn replace_attributes(record: &mut ObjectRecord, replacement: Replacement) {
    let tagging_of_source = record.attributes.tagging.take();
    if let Some(attributes) = replacement.attributes {
        record.attributes = attributes;
    }
    record.attributes.tagging = replacement.tagging.unwrap_or(tagging_of_source);
    record.attributes.fields.storage_class = replacement.storage_class;
    record.attributes.fields.encryption = replacement.encryption;
    record.attributes.acl = replacement.acl;
}
