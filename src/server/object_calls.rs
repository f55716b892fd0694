//! Calls on one object (`cos-api.md` 3.1 to 3.6).

use crate::object::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey};
use crate::wire::answer::{ContentRange, CopyObjectResult, encode_head};
use crate::wire::code::Code;
use crate::wire::condition::{Conditions, Verdict};
use crate::wire::copy_source;
use crate::wire::escape::header_value;
use crate::wire::operation::{CopyObject, DeleteObject, GetObject, HeadObject, MetadataDirective, PutObject};

use super::answer::{Answer, Payload};
use super::bucket_calls::is_unversioned;
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::service::{Service, Target, judge_passed, tags_of};
use super::storage::{Attributes, CopySource, ObjectRecord, Replacement, Rule, StorageError, Write, time_of};

/// The header with the CRC-64 of an object or part.
pub(super) const CRC64: &str = "x-cos-hash-crc64ecma";

/// The type of an object whose writer named none.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

impl Service {
    pub(super) async fn put_object(
        &self,
        target: &Target,
        put: PutObject,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        // Chunked bodies are allowed for this call alone (3.1).
        if body.length.is_none() && !body.chunked {
            return Err(Code::MissingContentLength.into());
        }
        let attributes = stored(put.attributes, judge_passed(&put.passed)?);
        let write = self.write(target, put.key, put.forbid_overwrite)?;
        self.require_bucket(target)?;
        // Looked up before the bytes are received; the store judges it again when they are there.
        if put.forbid_overwrite && self.storage.object(&write.bucket, &write.key).is_ok() {
            return Err(StorageError::from(Rule::FileAlreadyExists).into());
        }
        let received = body.receive(&self.storage, &put.checks, self.limits.put_bytes_max).await?;
        let record = self.storage.put_object(write, attributes, received).await?;
        Ok(stored_answer(&record.etag, record.crc64))
    }

    pub(super) fn head_object(&self, target: &Target, head: &HeadObject) -> Result<Answer, Refusal> {
        require_unversioned(head.version.as_deref())?;
        let record = self.storage.object(target.bucket()?, &head.key)?;
        match judge_conditions(&head.conditions, &record)? {
            Some(not_modified) => Ok(not_modified),
            None => Ok(Answer { payload: Payload::Head { bytes: record.size }, ..described(&record) }),
        }
    }

    pub(super) async fn get_object(&self, target: &Target, get: &GetObject) -> Result<Answer, Refusal> {
        require_unversioned(get.version.as_deref())?;
        let (record, open) = self.storage.open(target.bucket()?, &get.key)?;
        if let Some(not_modified) = judge_conditions(&get.conditions, &record)? {
            return Ok(not_modified);
        }
        let mut answer = described(&record);
        for (name, value) in get.overrides.headers() {
            answer.set(name, header_value(value));
        }
        let (mut start, mut end) = (0, record.size);
        if let Some(spec) = get.range {
            let range: ByteRange = spec.resolve(record.size).ok_or(Code::InvalidRange)?;
            (start, end) = (range.start(), range.end());
            answer.status = 206;
            answer.set("content-range", ContentRange { range, size: record.size }.header());
        }
        let bytes = end - start;
        let reading = open.read(start..end).await?;
        Ok(Answer { payload: Payload::Object { reading, bytes }, ..answer })
    }

    pub(super) async fn delete_object(&self, target: &Target, delete: DeleteObject) -> Result<Answer, Refusal> {
        // A version that never was is deleted like a key that never was.
        let keys = if is_unversioned(delete.version.as_deref()) { vec![delete.key] } else { Vec::new() };
        self.storage.delete_objects(target.bucket()?, keys).await?;
        Ok(Answer::no_content())
    }

    pub(super) async fn copy_object(&self, target: &Target, copy: CopyObject) -> Result<Answer, Refusal> {
        let tagging = judge_passed(&copy.passed)?;
        let storage_class = copy.attributes.storage_class.clone();
        let replaced = copy.directive == MetadataDirective::Replaced;
        let replacement = Replacement {
            attributes: replaced.then(|| stored(copy.attributes, None)),
            storage_class,
            tagging: copy
                .passed
                .get("x-cos-tagging-directive")
                .is_some_and(|directive| directive.to_ascii_lowercase().starts_with("replace"))
                .then_some(tagging),
        };
        let write = self.write(target, copy.key, copy.forbid_overwrite)?;
        let source = source(copy.source, copy.conditions)?;
        let copied = self.storage.copy_object(source, write, replacement, self.limits.put_bytes_max).await?;
        let result = CopyObjectResult {
            etag: ETag::new(&copied.etag),
            crc64: Some(Crc64(copied.crc64)),
            last_modified: time_of(copied.modified),
            version: None,
        };
        Ok(Answer::xml(result.encode()))
    }

    /// A write to the target's bucket, now.
    pub(super) fn write(&self, target: &Target, key: ObjectKey, forbid_overwrite: bool) -> Result<Write, Refusal> {
        Ok(Write { bucket: target.bucket()?.clone(), key, forbid_overwrite, now: self.clock.unix_seconds() })
    }
}

/// The source of a copy for the store. Conditions on it fail with 412 alone (3.6).
pub(super) fn source(named: copy_source::CopySource, conditions: Conditions) -> Result<CopySource, Refusal> {
    require_unversioned(named.version.as_deref())?;
    let holds = move |record: &ObjectRecord| conditions.all_hold(&ETag::new(&record.etag), time_of(record.modified));
    Ok(CopySource { bucket: named.bucket, key: named.key, holds: Box::new(holds) })
}

/// Attributes as they are stored.
pub(super) fn stored(attributes: ObjectAttributes, tagging: Option<String>) -> Attributes {
    Attributes { fields: attributes.into(), tagging }
}

/// The answer to bytes that were stored.
pub(super) fn stored_answer(etag: &str, crc64: u64) -> Answer {
    Answer::empty().with("etag", ETag::new(etag).quoted()).with(CRC64, crc64.to_string())
}

/// What HEAD and GET both say of an object.
fn described(record: &ObjectRecord) -> Answer {
    let mut answer = Answer { headers: encode_head(&record.head()), ..Answer::empty() };
    if record.attributes.fields.content_type.is_none() {
        answer.set("content-type", DEFAULT_CONTENT_TYPE);
    }
    let tag_count =
        record.attributes.tagging.as_deref().and_then(|tagging| tags_of(tagging).ok()).map(|tags| tags.len());
    if let Some(count) = tag_count {
        answer.set("x-cos-tagging-count", count.to_string());
    }
    answer
}

/// `None` to go on, or the 304 that is the answer.
fn judge_conditions(conditions: &Conditions, record: &ObjectRecord) -> Result<Option<Answer>, Refusal> {
    match conditions.verdict(&ETag::new(&record.etag), time_of(record.modified)) {
        Verdict::Proceed => Ok(None),
        Verdict::NotModified => Ok(Some(Answer { status: 304, ..stored_answer(&record.etag, record.crc64) })),
        Verdict::Failed => Err(Code::PreconditionFailed.into()),
    }
}

fn require_unversioned(version: Option<&str>) -> Result<(), Refusal> {
    if is_unversioned(version) { Ok(()) } else { Err(Code::NoSuchVersion.into()) }
}
