//! Objects: put, look up, read, delete, copy.

use std::sync::Arc;

use std::ops::Range;

use redb::ReadableTable;

use crate::object::{BucketName, Crc64, ETag, Encryption, ObjectKey};
use crate::server::digest::hex;
use crate::wire::answer::NULL_VERSION;
use crate::wire::condition::Overwrite;

use super::content::{arrange, require_bucket, share, slices_in, take_segment, take_slices};
use super::error::Rule;
use super::index::{Snapshot, Tables};
use super::records::{
    Attributes, Content, DigestRecord, ObjectRecord, Readiness, Restoration, Slice, VersioningRecord, decode, encode,
};
use super::segments::ReaderGuard;
use super::writing::Received;
use super::{Reading, Storage, StorageError, versions};

/// Where and how an object is to be written.
#[derive(Clone, Debug)]
pub(in crate::server) struct Write {
    pub bucket: BucketName,
    pub key: ObjectKey,
    /// What it may replace.
    pub overwrite: Overwrite,
    /// Seconds after the Unix epoch.
    pub now: u64,
}

/// What is to be copied, and under which condition.
pub(in crate::server) struct CopySource {
    pub bucket: BucketName,
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
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
    /// Refused with [`Rule::NoSuchBucket`], and as [`Storage::may_write`]; the bytes are removed then.
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
        let mut record = ObjectRecord {
            size: bytes,
            etag: if is_opaque { fresh_etag() } else { hex(&digests.md5) },
            modified: write.now,
            crc64: digests.crc64.0,
            attributes,
            content: Content::Inline(slices),
            version: None,
            restoration: None,
            appendable: false,
            digest: digests.digest.map(|(algorithm, text)| DigestRecord { algorithm, text, is_of_bytes: true }),
        };
        let change = self.index.change(move |tables| {
            require_bucket(tables, write.bucket.as_str())?;
            check_overwrite(tables, &write)?;
            share(tables, &record.content)?;
            versions::replace(tables, &write, &mut record)?;
            take_segment(tables, segment, &sums)?;
            Ok(record)
        });
        change.await
    }

    /// The object under a key.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::NoSuchKey`], or [`Rule::NoSuchVersion`] and [`Rule::IsDeleted`].
    pub(in crate::server) fn object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<ObjectRecord, StorageError> {
        object_in(&self.index.snapshot()?, bucket, key, version)
    }

    /// Whether a write may replace what is there now.
    ///
    /// Refused with [`Rule::FileAlreadyExists`], [`Rule::PreconditionFailed`] and [`Rule::NoSuchKey`].
    pub(in crate::server) fn may_write(&self, write: &Write) -> Result<(), StorageError> {
        if write.overwrite == Overwrite::Allowed {
            return Ok(());
        }
        let versioning = self.bucket(&write.bucket)?.map_or(VersioningRecord::Never, |bucket| bucket.versioning);
        let current = self.object(&write.bucket, &write.key, None).ok();
        judge_overwrite(&write.overwrite, versioning, current.as_ref())
    }

    /// The object under a key and a way to read it as it is now, whatever happens to the key meanwhile.
    pub(in crate::server) fn open(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<(ObjectRecord, OpenObject), StorageError> {
        // The reader registers before the snapshot is taken, so that nothing the snapshot names can go in between.
        let guard = self.segments.reader();
        let snapshot = self.index.snapshot()?;
        let record = object_in(&snapshot, bucket, key, version)?;
        let slices = self.layouts.slices_of(&snapshot, &record.content)?;
        Ok((record, OpenObject { guard, snapshot, slices }))
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
            require_bucket(tables, write.bucket.as_str())?;
            let row = tables.objects.get((write.bucket.as_str(), write.key.as_str()))?;
            let mut record: ObjectRecord = decode(row.ok_or(Rule::NoSuchKey)?.value())?;
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

    /// Changes what an object says of itself beside its bytes, which keeps its version and its time.
    ///
    /// Refused with [`Rule::NoSuchBucket`], [`Rule::NoSuchKey`], and for another version than the newest with
    /// [`Rule::NoSuchVersion`].
    pub(in crate::server) async fn amend(
        &self,
        write: Write,
        version: Option<String>,
        change: impl FnOnce(&mut Attributes) + Send + 'static,
    ) -> Result<(), StorageError> {
        let change = self.index.change(move |tables| {
            require_bucket(tables, write.bucket.as_str())?;
            let row = (write.bucket.as_str(), write.key.as_str());
            let mut record: ObjectRecord = decode(tables.objects.get(row)?.ok_or(Rule::NoSuchKey)?.value())?;
            if version.is_some_and(|version| record.version.as_deref().unwrap_or(NULL_VERSION) != version) {
                return Err(Rule::NoSuchVersion.into());
            }
            change(&mut record.attributes);
            tables.objects.insert(row, &encode(&record)?)?;
            Ok(())
        });
        change.await
    }

    /// Makes a received body the end of an object that is `position` bytes long, or an object if that is 0 and there is none.
    ///
    /// Refused with [`Rule::NoSuchBucket`], [`Rule::NotAppendable`], [`Rule::WrongPosition`] and, over `bytes_max`,
    /// [`Rule::EntityTooLarge`]; the bytes are removed then.
    pub(in crate::server) async fn append(
        &self,
        write: Write,
        attributes: Attributes,
        position: u64,
        received: Received,
        bytes_max: u64,
    ) -> Result<ObjectRecord, StorageError> {
        let Received { segment, bytes, digests, sums } = received;
        let (layout, etag) = (self.segments.fresh_id(), fresh_etag());
        let change = self.index.change(move |tables| {
            // With versions an object does not grow.
            if versions::versioning(tables, write.bucket.as_str())? != VersioningRecord::Never {
                return Err(Rule::NotAppendable.into());
            }
            let current = tables.objects.get((write.bucket.as_str(), write.key.as_str()))?;
            let current = current.map(|row| decode::<ObjectRecord>(row.value())).transpose()?;
            let (mut slices, crc64, attributes) = match current {
                Some(record) if !record.appendable => return Err(Rule::NotAppendable.into()),
                Some(record) if record.size != position => return Err(Rule::WrongPosition.into()),
                Some(record) => (slices_in(tables, &record.content)?, Crc64(record.crc64), record.attributes),
                None if position > 0 => return Err(Rule::WrongPosition.into()),
                None => (Vec::new(), Crc64::EMPTY, attributes),
            };
            let size = position.saturating_add(bytes);
            if size > bytes_max {
                return Err(Rule::EntityTooLarge.into());
            }
            slices.extend(segment.iter().map(|segment| segment.whole(bytes, &digests)));
            take_slices(tables, &slices)?;
            let mut record = ObjectRecord {
                size,
                etag,
                modified: write.now,
                crc64: crc64.followed_by(digests.crc64, bytes).0,
                attributes,
                content: arrange(tables, slices, layout)?,
                version: None,
                restoration: None,
                appendable: true,
                digest: None,
            };
            versions::replace(tables, &write, &mut record)?;
            take_segment(tables, segment, &sums)?;
            Ok(record)
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
            let mut record = source_in(tables, &source)?;
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
            record.appendable = false;
            share(tables, &record.content)?;
            versions::replace(tables, &write, &mut record)?;
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
    version: Option<&str>,
) -> Result<ObjectRecord, StorageError> {
    if let (Some(version), true) = (version, snapshot.buckets()?.get(bucket.as_str())?.is_some()) {
        let (objects, versions) = (snapshot.objects()?, snapshot.versions()?);
        return versions::version_in(&objects, &versions, (bucket.as_str(), key.as_str()), version);
    }
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
    if write.overwrite == Overwrite::Allowed {
        return Ok(());
    }
    let versioning = versions::versioning(tables, write.bucket.as_str())?;
    let current = tables.objects.get((write.bucket.as_str(), write.key.as_str()))?;
    let current = current.map(|row| decode::<ObjectRecord>(row.value())).transpose()?;
    judge_overwrite(&write.overwrite, versioning, current.as_ref())
}

/// Whether an object may be written in the place of what is there now, in a bucket that does this with versions.
pub(super) fn judge_overwrite(
    overwrite: &Overwrite,
    versioning: VersioningRecord,
    current: Option<&ObjectRecord>,
) -> Result<(), StorageError> {
    match (overwrite, current) {
        (Overwrite::Allowed, _) | (Overwrite::Forbidden | Overwrite::IfAbsent, None) => Ok(()),
        // It has no effect once there were versions (3.10).
        (Overwrite::Forbidden, Some(_)) if versioning != VersioningRecord::Never => Ok(()),
        (Overwrite::Forbidden, Some(_)) => Err(Rule::FileAlreadyExists.into()),
        (Overwrite::IfAbsent, Some(_)) => Err(Rule::PreconditionFailed.into()),
        (Overwrite::OnlyOf(_), None) => Err(Rule::NoSuchKey.into()),
        (Overwrite::OnlyOf(etag), Some(current)) if *etag == ETag::new(&current.etag) => Ok(()),
        (Overwrite::OnlyOf(_), Some(_)) => Err(Rule::PreconditionFailed.into()),
    }
}

/// The record of a copy's source.
fn source_in(tables: &Tables<'_>, source: &CopySource) -> Result<ObjectRecord, StorageError> {
    let (bucket, key) = (source.bucket.as_str(), source.key.as_str());
    require_bucket(tables, bucket)?;
    if let Some(version) = &source.version {
        return versions::version_in(&*tables.objects, &*tables.versions, (bucket, key), version);
    }
    match tables.objects.get((bucket, key))? {
        Some(row) => decode(row.value()),
        None => Err(Rule::NoSuchKey.into()),
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
