//! Calls on one object (`cos-api.md` 3.1 to 3.6).

use crate::object::{ByteRange, Crc64, ETag, ObjectKey, Protection};
use crate::wire::answer::{ContentRange, CopyObjectResult, DELETE_MARKER, RESTORE, VERSION_ID, encode_head};
use crate::wire::attributes::TAG_COUNT;
use crate::wire::code::Code;
use crate::wire::condition::{Conditions, Overwrite, Verdict};
use crate::wire::copy_source;
use crate::wire::date;
use crate::wire::dialect::Rules;
use crate::wire::digest::CHECKSUM_TYPE;
use crate::wire::escape::header_value;
use crate::wire::operation::{
    CopyObject, DeleteObject, GetObject, HeadObject, MetadataDirective, PutObject, TAGGING_DIRECTIVE,
};

use super::answer::{Answer, Payload};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::service::{Service, Target, judge_written, tags_of};
use super::storage::{
    Attributes, CopySource, Deletion, DigestRecord, ObjectRecord, Readiness, Replacement, Write, time_of,
};

/// The header with the CRC-64 of an object or part.
pub(super) const CRC64: &str = "x-cos-hash-crc64ecma";

/// The headers by which an object is told that grows, and where.
const OBJECT_TYPE: &str = "x-cos-object-type";
pub(super) const NEXT_APPEND_POSITION: &str = "x-cos-next-append-position";

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
        let attributes = judge_written(put.attributes, &put.passed)?;
        let write = self.write(target, put.key, put.overwrite)?;
        self.require_bucket(target)?;
        // Looked up before the bytes are received; the store judges it again when they are there.
        self.storage.may_write(&write)?;
        let Rules { limits, digest, .. } = target.rules;
        let received = body.receive(&self.storage, &put.checks, limits.put_bytes_max, digest).await?;
        let record = self.storage.put_object(write, attributes, received).await?;
        let answer = with_digest(stored_answer(&record.etag, record.crc64), record.digest.as_ref());
        Ok(with_version(with_encryption(answer, &record), &record))
    }

    pub(super) fn head_object(&self, target: &Target, head: &HeadObject) -> Result<Answer, Refusal> {
        let record = self.storage.object(target.bucket()?, &head.key, head.version.as_deref())?;
        match judge_conditions(&head.conditions, &record)? {
            Some(not_modified) => Ok(not_modified),
            None => {
                let described = self.described(target, &head.key, &record);
                let described =
                    if head.with_digest { with_digest(described, record.digest.as_ref()) } else { described };
                Ok(Answer { payload: Payload::Head { bytes: record.size }, ..described })
            }
        }
    }

    pub(super) async fn get_object(&self, target: &Target, get: &GetObject) -> Result<Answer, Refusal> {
        let (record, open) = self.storage.open(target.bucket()?, &get.key, get.version.as_deref())?;
        if let Some(not_modified) = judge_conditions(&get.conditions, &record)? {
            return Ok(not_modified);
        }
        record.require_readable(self.clock.unix_seconds())?;
        let mut answer = self.described(target, &get.key, &record);
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
        if get.with_digest && get.range.is_none() {
            answer = with_digest(answer, record.digest.as_ref());
        }
        let reading = open.read(start..end).await?;
        Ok(Answer { payload: Payload::Object { reading, bytes }, ..answer })
    }

    pub(super) async fn delete_object(&self, target: &Target, delete: DeleteObject) -> Result<Answer, Refusal> {
        let (bucket, now) = (target.bucket()?, self.clock.unix_seconds());
        let deleted = self.storage.delete(bucket, vec![(delete.key, delete.version)], now).await?;
        let Deletion { is_mark, version } = deleted.into_iter().next().unwrap_or_default();
        let mut answer = Answer::no_content();
        if is_mark {
            answer.set(DELETE_MARKER, "true");
        }
        if let Some(version) = version {
            answer.set(VERSION_ID, version);
        }
        Ok(answer)
    }

    pub(super) async fn copy_object(&self, target: &Target, copy: CopyObject) -> Result<Answer, Refusal> {
        let replaced = copy.directive == MetadataDirective::Replaced;
        let Attributes { fields, tagging, acl } = judge_written(copy.attributes, &copy.passed)?;
        let directive = copy.passed.get(TAGGING_DIRECTIVE).map(|directive| directive.to_ascii_lowercase());
        let replacement = Replacement {
            storage_class: fields.storage_class.clone(),
            encryption: fields.encryption.clone(),
            acl,
            attributes: replaced.then_some(Attributes { fields, ..Attributes::default() }),
            tagging: directive.is_some_and(|directive| directive.starts_with("replace")).then_some(tagging),
        };
        let write = self.write(target, copy.key, copy.overwrite)?;
        let source = source(copy.source, copy.conditions, self.clock.unix_seconds())?;
        let copied = self.storage.copy_object(source, write, replacement, target.rules.limits.put_bytes_max).await?;
        let result = CopyObjectResult {
            etag: ETag::new(&copied.etag),
            crc64: Some(Crc64(copied.crc64)),
            last_modified: time_of(copied.modified),
            version: copied.version.clone(),
        };
        Ok(with_encryption(Answer::xml(result.encode()), &copied))
    }

    /// What HEAD and GET both say of an object.
    pub(super) fn described(&self, target: &Target, key: &ObjectKey, record: &ObjectRecord) -> Answer {
        let mut answer = with_version(Answer { headers: encode_head(&record.head()), ..Answer::empty() }, record);
        if record.attributes.fields.content_type.is_none() {
            answer.set("content-type", (target.rules.type_of)(key.as_str()));
        }
        let tags = record.attributes.tagging.as_deref().and_then(|tagging| tags_of(tagging).ok());
        if let Some(tags) = tags {
            answer.set(TAG_COUNT, tags.len().to_string());
        }
        if record.appendable {
            answer.set(OBJECT_TYPE, "appendable");
            answer.set(NEXT_APPEND_POSITION, record.size.to_string());
        }
        match record.readiness(self.clock.unix_seconds()) {
            Readiness::Always | Readiness::Archived => {}
            Readiness::OnItsWay => answer.set(RESTORE, "ongoing-request=\"true\""),
            Readiness::Until(end) => {
                let end = date::http(time_of(end));
                answer.set(RESTORE, format!("ongoing-request=\"false\", expiry-date=\"{end}\""));
            }
        }
        answer
    }

    /// A write to the target's bucket, now.
    pub(super) fn write(&self, target: &Target, key: ObjectKey, overwrite: Overwrite) -> Result<Write, Refusal> {
        Ok(Write { bucket: target.bucket()?.clone(), key, overwrite, now: self.clock.unix_seconds() })
    }
}

/// The source of a copy for the store. Conditions on it fail with 412 alone (3.6).
pub(super) fn source(named: copy_source::CopySource, conditions: Conditions, now: u64) -> Result<CopySource, Refusal> {
    let holds = move |record: &ObjectRecord| conditions.all_hold(&ETag::new(&record.etag), time_of(record.modified));
    let copy_source::CopySource { bucket, key, version, .. } = named;
    Ok(CopySource { bucket, key, version, holds: Box::new(holds), now })
}

/// The answer to bytes that were stored.
pub(super) fn stored_answer(etag: &str, crc64: u64) -> Answer {
    Answer::empty().with("etag", ETag::new(etag).quoted()).with(CRC64, crc64.to_string())
}

/// An answer that tells the digest of an object or part, where it has one.
pub(super) fn with_digest(mut answer: Answer, digest: Option<&DigestRecord>) -> Answer {
    if let Some(digest) = digest {
        answer.set(digest.algorithm.header(), digest.text.clone());
        answer.set(CHECKSUM_TYPE, digest.kind().type_name());
    }
    answer
}

/// An answer that tells the version, if it is one among others.
fn with_version(mut answer: Answer, record: &ObjectRecord) -> Answer {
    if let Some(version) = &record.version {
        answer.set(VERSION_ID, version.clone());
    }
    answer
}

/// An answer that tells how the object is encrypted (`cos-api.md` 3.13).
fn with_encryption(mut answer: Answer, record: &ObjectRecord) -> Answer {
    let encryption = record.attributes.fields.encryption.clone();
    Protection { acl: None, encryption }.push_headers(&mut answer.headers);
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
