//! Multipart uploads: initiate, parts, complete, abort.

use std::ops::{Bound, Range};
use std::sync::Arc;

use redb::ReadableTable;

use crate::object::{BucketName, ByteRange, Crc64, ETag, ObjectKey, PartNumber, UploadId};
use crate::server::digest::hex;
use crate::wire::condition::Overwrite;
use crate::wire::digest::DigestAlgorithm;
use crate::wire::operation::CompletedPart;

use super::content::{arrange, crc64_of, give_up_slices, require_bucket, take_segment, take_slices};
use super::error::Rule;
use super::index::{Bytewise, Tables};
use super::objects::{check_overwrite, fresh_etag, judge_overwrite, object_in};
use super::reading::{checksum_of, clip};
use super::records::{
    Attributes, BucketRecord, DigestRecord, ObjectRecord, PartRecord, Slice, UploadRecord, VersioningRecord, decode,
    encode,
};
use super::segments::ReaderGuard;
use super::writing::Received;
use super::{CopySource, Storage, StorageError, Write, versions};

/// Which upload a request means. Key and id have to belong together.
#[derive(Clone, Debug)]
pub(in crate::server) struct UploadRef {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub id: UploadId,
}

/// A Complete that was found to be in order, and what it will make.
#[derive(Clone, Debug)]
pub(in crate::server) struct CompletePlan {
    /// CRC-64 of the object.
    pub crc64: Crc64,
    /// ETag of the object.
    pub etag: ETag,
    /// What the object is vouched for by.
    pub digest: Option<DigestRecord>,
    upload: UploadRef,
    parts: Vec<CompletedPart>,
    limits: CompleteLimits,
}

/// Parts of one upload, in order.
pub(in crate::server) struct PartPage {
    pub attributes: Attributes,
    pub parts: Vec<(PartNumber, PartRecord)>,
    /// Whether more parts follow.
    pub truncated: bool,
}

impl UploadRef {
    fn row(&self) -> (&str, &str, &str) {
        (self.bucket.as_str(), self.key.as_str(), self.id.as_str())
    }
}

impl Storage {
    /// Begins an upload. The id is 10 digits of time and 64 hexadecimal ones, as the service's are.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::FileAlreadyExists`].
    pub(in crate::server) async fn initiate(
        &self,
        write: Write,
        attributes: Attributes,
        digest: Option<(DigestAlgorithm, bool)>,
    ) -> Result<UploadId, StorageError> {
        let unguessable = [fastrand::u128(..).to_be_bytes(), fastrand::u128(..).to_be_bytes()].concat();
        let id = UploadId::new(format!("{:010}{}", write.now, hex(&unguessable)));
        let record = encode(&UploadRecord { initiated: write.now, attributes, digest })?;
        let change = self.index.change(move |tables| {
            require_bucket(tables, write.bucket.as_str())?;
            check_overwrite(tables, &write)?;
            let row = (write.bucket.as_str(), write.key.as_str(), id.as_str());
            tables.uploads.insert(row, &record)?;
            Ok(id)
        });
        change.await
    }

    /// The upload that a request means.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::NoSuchUpload`].
    pub(in crate::server) fn upload(&self, upload: &UploadRef) -> Result<UploadRecord, StorageError> {
        let snapshot = self.index.snapshot()?;
        if let Some(row) = snapshot.uploads()?.get(upload.row())? {
            return decode(row.value());
        }
        match snapshot.buckets()?.get(upload.bucket.as_str())? {
            Some(_) => Err(Rule::NoSuchUpload.into()),
            None => Err(Rule::NoSuchBucket.into()),
        }
    }

    /// Makes a received body a part, in place of an older one of that number.
    ///
    /// Refused with [`Rule::NoSuchUpload`]; the bytes are removed then.
    pub(in crate::server) async fn put_part(
        &self,
        upload: UploadRef,
        number: PartNumber,
        received: Received,
        now: u64,
    ) -> Result<PartRecord, StorageError> {
        let Received { segment, bytes, digests, sums } = received;
        let slices = segment.iter().map(|segment| segment.whole(bytes, &digests)).collect();
        let (etag, crc64) = (hex(&digests.md5), digests.crc64.0);
        let digest = digests.digest.map(|(algorithm, text)| DigestRecord { algorithm, text, is_of_bytes: true });
        let record = PartRecord { size: bytes, etag, modified: now, crc64, slices, digest };
        let change = self.index.change(move |tables| {
            require_upload(tables, &upload)?;
            store_part(tables, &upload, number, &record)?;
            take_segment(tables, segment, &sums)?;
            Ok(record)
        });
        change.await
    }

    /// Makes a range of an object a part, without moving bytes. They are read only as far as a cut through a segment
    /// leaves bytes without a known checksum.
    ///
    /// Refused with [`Rule::NoSuchUpload`], [`Rule::NoSuchBucket`], [`Rule::NoSuchKey`],
    /// [`Rule::PreconditionFailed`], [`Rule::InvalidRange`] for a range that the source does not cover, and
    /// [`Rule::EntityTooLarge`] over `bytes_max`.
    pub(in crate::server) async fn copy_part(
        &self,
        upload: UploadRef,
        number: PartNumber,
        source: CopySource,
        range: Option<ByteRange>,
        limits: CopyLimits,
    ) -> Result<PartRecord, StorageError> {
        loop {
            // Registered before the snapshot: what it names stays readable while checksums are taken.
            let guard = self.segments.reader();
            let (record, whole) = self.copy_source(&upload, &source)?;
            let (start, end) = range.map_or((0, record.size), |range| (range.start(), range.end()));
            if end > record.size {
                return Err(Rule::InvalidRange.into());
            }
            if end - start > limits.bytes_max {
                return Err(Rule::EntityTooLarge.into());
            }
            let slices = self.cut_slices(&guard, &whole, start..end).await?;
            let crc64 = crc64_of(&slices).0;
            let part =
                PartRecord { size: end - start, etag: fresh_etag(), modified: limits.now, crc64, slices, digest: None };
            if let Some(part) = self.store_copied_part(upload.clone(), number, part).await? {
                return Ok(part);
            }
            // The source went away meanwhile, so it is looked up anew: it may be gone or another object.
        }
    }

    /// The source of a part copy and its slices, once upload and conditions were found to be in order.
    fn copy_source(
        &self,
        upload: &UploadRef,
        source: &CopySource,
    ) -> Result<(ObjectRecord, Arc<[Slice]>), StorageError> {
        self.upload(upload)?;
        let snapshot = self.index.snapshot()?;
        let record = object_in(&snapshot, &source.bucket, &source.key, source.version.as_deref())?;
        if !(source.holds)(&record) {
            return Err(Rule::PreconditionFailed.into());
        }
        record.require_readable(source.now)?;
        let slices = self.layouts.slices_of(&snapshot, &record.content)?;
        Ok((record, slices))
    }

    /// The slices of a range. Those that were cut out of longer ones get the checksum of their own bytes.
    async fn cut_slices(
        &self,
        guard: &ReaderGuard,
        whole: &[Slice],
        range: Range<u64>,
    ) -> Result<Vec<Slice>, StorageError> {
        let snapshot = self.index.snapshot()?;
        let mut slices = Vec::new();
        for cut in clip(whole, range.start, range.end) {
            let mut slice = cut.slice;
            if !cut.is_whole() {
                slice.crc64 = checksum_of(guard.segments.reader(), &snapshot, cut).await?.0;
            }
            slices.push(slice);
        }
        Ok(slices)
    }

    /// Makes slices of another object a part; `None` if one of their segments has gone.
    async fn store_copied_part(
        &self,
        upload: UploadRef,
        number: PartNumber,
        part: PartRecord,
    ) -> Result<Option<PartRecord>, StorageError> {
        let change = self.index.change(move |tables| {
            require_upload(tables, &upload)?;
            for slice in &part.slices {
                if tables.segment_users.get(slice.segment)?.is_none() {
                    return Ok(None);
                }
            }
            store_part(tables, &upload, number, &part)?;
            Ok(Some(part))
        });
        change.await
    }

    /// Judges a Complete by what is stored now.
    ///
    /// Refused with [`Rule::NoSuchBucket`], [`Rule::NoSuchUpload`], [`Rule::InvalidPartOrder`],
    /// [`Rule::InvalidPart`], [`Rule::EntityTooSmall`], [`Rule::EntityTooLarge`] and [`Rule::FileAlreadyExists`].
    pub(in crate::server) fn plan_complete(
        &self,
        upload: UploadRef,
        parts: Vec<CompletedPart>,
        limits: CompleteLimits,
    ) -> Result<CompletePlan, StorageError> {
        let UploadRecord { digest: wanted, .. } = self.upload(&upload)?;
        let snapshot = self.index.snapshot()?;
        let rows = snapshot.parts()?;
        let judged = judge_parts(&rows, &upload.id, &parts, &limits)?;
        let versioning =
            snapshot.buckets()?.get(upload.bucket.as_str())?.map(|row| decode::<BucketRecord>(row.value()));
        let versioning = versioning.transpose()?.map_or(VersioningRecord::Never, |record| record.versioning);
        let object = snapshot.objects()?.get((upload.bucket.as_str(), upload.key.as_str()))?;
        let object = object.map(|row| decode::<ObjectRecord>(row.value())).transpose()?;
        judge_overwrite(&limits.overwrite, versioning, object.as_ref())?;
        let crc64 = judged.crc64();
        let etags: Vec<ETag> = parts.iter().map(|part| part.etag.clone()).collect();
        let etag = (limits.etag_of_parts)(&etags);
        let etag = etag.unwrap_or_else(|| ETag::new(format!("{}-{}", fresh_etag(), parts.len())));
        let digest = judged.digest(wanted);
        if limits.digest.as_ref().is_some_and(|promised| {
            digest.as_ref().is_some_and(|digest| promised.0 == digest.algorithm && promised.1 != digest.text)
        }) {
            return Err(Rule::BadDigest.into());
        }
        Ok(CompletePlan { crc64, etag, digest, upload, parts, limits })
    }

    /// Makes the object. Everything is judged once more, because much may have happened since the plan was made.
    pub(in crate::server) async fn complete(&self, plan: CompletePlan, now: u64) -> Result<ObjectRecord, StorageError> {
        let layout = self.segments.fresh_id();
        let change = self.index.change(move |tables| {
            let upload = &plan.upload;
            let record = require_upload(tables, upload)?;
            let judged = judge_parts(&*tables.parts, &upload.id, &plan.parts, &plan.limits)?;
            let write = Write {
                bucket: upload.bucket.clone(),
                key: upload.key.clone(),
                overwrite: plan.limits.overwrite.clone(),
                now,
            };
            check_overwrite(tables, &write)?;
            remove_parts(tables, &upload.id, |number| {
                plan.parts.binary_search_by_key(&number, |part| part.number.get()).is_err()
            })?;
            tables.uploads.remove(upload.row())?;
            let (size, crc64) = (judged.size, judged.crc64().0);
            let content = arrange(tables, judged.slices, layout)?;
            let etag = plan.etag.to_string();
            let mut record = ObjectRecord {
                size,
                etag,
                modified: now,
                crc64,
                attributes: record.attributes,
                content,
                version: None,
                restoration: None,
                appendable: false,
                digest: plan.digest.clone(),
            };
            versions::replace(tables, &write, &mut record)?;
            Ok(record)
        });
        change.await
    }

    /// Gives an upload and its parts up.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::NoSuchUpload`].
    pub(in crate::server) async fn abort(&self, upload: UploadRef) -> Result<(), StorageError> {
        let change = self.index.change(move |tables| {
            require_upload(tables, &upload)?;
            give_up(tables, &upload)
        });
        change.await
    }

    /// Up to `count_max` parts after the number `after`.
    ///
    /// Refused with [`Rule::NoSuchBucket`] and [`Rule::NoSuchUpload`].
    pub(in crate::server) fn parts(
        &self,
        upload: &UploadRef,
        after: u16,
        count_max: usize,
    ) -> Result<PartPage, StorageError> {
        let UploadRecord { attributes, .. } = self.upload(upload)?;
        let rows = self.index.snapshot()?.parts()?;
        let id = upload.id.as_str();
        let mut parts = Vec::new();
        for row in rows.range::<(&str, u16)>((Bound::Excluded((id, after)), Bound::Included((id, u16::MAX))))? {
            let (row_id, record) = row?;
            if parts.len() == count_max {
                return Ok(PartPage { attributes, parts, truncated: true });
            }
            if let Some(number) = PartNumber::new(u64::from(row_id.value().1)) {
                parts.push((number, decode(record.value())?));
            }
        }
        Ok(PartPage { attributes, parts, truncated: false })
    }
}

/// What bounds a part copy.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct CopyLimits {
    /// The largest part, in bytes.
    pub bytes_max: u64,
    /// Seconds after the Unix epoch.
    pub now: u64,
}

/// What bounds a Complete, and what it is to make.
#[derive(Clone, Debug)]
pub(in crate::server) struct CompleteLimits {
    /// The smallest part but the last, in bytes.
    pub part_bytes_min: u64,
    /// The largest object, in bytes.
    pub object_bytes_max: u64,
    /// What the object may replace.
    pub overwrite: Overwrite,
    /// Whether parts may be left out.
    pub allows_gaps: bool,
    /// The object's version by those of its parts, where it follows from them.
    pub etag_of_parts: fn(&[ETag]) -> Option<ETag>,
    /// What the object was promised to be.
    pub digest: Option<(DigestAlgorithm, String)>,
}

/// The parts of a Complete, found to be in order.
struct JudgedParts {
    slices: Vec<Slice>,
    size: u64,
    /// The digest of each part, and its length in bytes.
    digests: Vec<(Option<DigestRecord>, u64)>,
}

impl JudgedParts {
    fn crc64(&self) -> Crc64 {
        crc64_of(&self.slices)
    }

    /// The digest of the object, if all parts have one by the algorithm that is wanted.
    fn digest(&self, wanted: Option<(DigestAlgorithm, bool)>) -> Option<DigestRecord> {
        let (algorithm, is_of_bytes) = wanted?;
        let of_parts = self.digests.iter().map(|(digest, bytes)| {
            let digest = digest.as_ref().filter(|digest| digest.algorithm == algorithm)?;
            Some((digest.text.as_str(), *bytes))
        });
        let of_parts: Vec<(&str, u64)> = of_parts.collect::<Option<_>>()?;
        let text = if is_of_bytes {
            algorithm.joined(of_parts)
        } else {
            algorithm.of_digests(of_parts.into_iter().map(|(digest, _)| digest))
        };
        Some(DigestRecord { algorithm, text: text?, is_of_bytes })
    }
}

/// The rules of Complete (`cos-api.md` 4.4): ascending, 1..=N without a gap unless S3 is spoken, each there under the ETag that was
/// named, none but the last too small.
fn judge_parts(
    rows: &impl ReadableTable<(&'static str, u16), Bytewise>,
    id: &UploadId,
    named: &[CompletedPart],
    limits: &CompleteLimits,
) -> Result<JudgedParts, StorageError> {
    if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Rule::InvalidPartOrder.into());
    }
    let has_gap = || named.iter().zip(1..).any(|(part, number)| part.number.get() != number);
    if named.is_empty() || !limits.allows_gaps && has_gap() {
        return Err(Rule::InvalidPart.into());
    }
    let mut judged =
        JudgedParts { slices: Vec::with_capacity(named.len()), size: 0, digests: Vec::with_capacity(named.len()) };
    for (index, part) in named.iter().enumerate() {
        let row = rows.get((id.as_str(), part.number.get()))?.ok_or(Rule::InvalidPart)?;
        let record: PartRecord = decode(row.value())?;
        if record.etag != *part.etag.text() {
            return Err(Rule::InvalidPart.into());
        }
        if record.size < limits.part_bytes_min && index + 1 < named.len() {
            return Err(Rule::EntityTooSmall.into());
        }
        judged.size += record.size;
        judged.slices.extend(record.slices);
        judged.digests.push((record.digest, record.size));
    }
    if judged.size > limits.object_bytes_max {
        return Err(Rule::EntityTooLarge.into());
    }
    Ok(judged)
}

/// The unfinished uploads of a bucket.
pub(super) fn of_bucket(tables: &Tables<'_>, bucket: &BucketName) -> Result<Vec<UploadRef>, StorageError> {
    let mut uploads = Vec::new();
    for row in tables.uploads.range((bucket.as_str(), "", "")..)? {
        let (id, _) = row?;
        let (of, key, id) = id.value();
        if of != bucket.as_str() {
            break;
        }
        let key = ObjectKey::new(key).map_err(|error| StorageError::failed("read the key of an upload", error))?;
        uploads.push(UploadRef { bucket: bucket.clone(), key, id: UploadId::new(id) });
    }
    Ok(uploads)
}

/// Removes an upload and its parts.
pub(super) fn give_up(tables: &mut Tables<'_>, upload: &UploadRef) -> Result<(), StorageError> {
    remove_parts(tables, &upload.id, |_| true)?;
    tables.uploads.remove(upload.row())?;
    Ok(())
}

fn require_upload(tables: &Tables<'_>, upload: &UploadRef) -> Result<UploadRecord, StorageError> {
    require_bucket(tables, upload.bucket.as_str())?;
    match tables.uploads.get(upload.row())? {
        Some(row) => decode(row.value()),
        None => Err(Rule::NoSuchUpload.into()),
    }
}

/// Writes a part, counts its segments, and gives up the part that bore its number.
fn store_part(
    tables: &mut Tables<'_>,
    upload: &UploadRef,
    number: PartNumber,
    record: &PartRecord,
) -> Result<(), StorageError> {
    take_slices(tables, &record.slices)?;
    let bytes = encode(record)?;
    let replaced = tables.parts.insert((upload.id.as_str(), number.get()), &bytes)?;
    let replaced: Option<PartRecord> = replaced.map(|row| decode(row.value())).transpose()?;
    match replaced {
        Some(replaced) => give_up_slices(tables, &replaced.slices),
        None => Ok(()),
    }
}

/// Removes the rows of all parts of an upload, and gives up the bytes of those that `unused` picks.
fn remove_parts(tables: &mut Tables<'_>, id: &UploadId, unused: impl Fn(u16) -> bool) -> Result<(), StorageError> {
    let (mut numbers, mut given_up) = (Vec::new(), Vec::new());
    for row in tables.parts.range::<(&str, u16)>((id.as_str(), 0)..=(id.as_str(), u16::MAX))? {
        let (row_id, record) = row?;
        let (_, number) = row_id.value();
        if unused(number) {
            given_up.extend(decode::<PartRecord>(record.value())?.slices);
        }
        numbers.push(number);
    }
    for number in numbers {
        tables.parts.remove((id.as_str(), number))?;
    }
    give_up_slices(tables, &given_up)
}
