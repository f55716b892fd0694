//! Calls on multipart uploads (`cos-api.md` 4.1 to 4.7).

use std::sync::Arc;

use crate::object::{Crc64, ETag, Limits, ObjectKey, PartNumber, UploadId};
use crate::wire::answer::{
    CompleteMultipartUploadResult, CopyPartResult, ErrorBody, InitiateMultipartUploadResult, ListPartsResult,
    ListedPart, PAGE_ENTRIES_MAX,
};
use crate::wire::attributes::STANDARD;
use crate::wire::code::Code;
use crate::wire::dialect::Rules;
use crate::wire::digest::ObjectDigest;
use crate::wire::escape::escape_path;
use crate::wire::operation::{
    AbortMultipartUpload, CompleteMultipartUpload, InitiateMultipartUpload, ListParts, UploadPart, UploadPartCopy,
};

use super::answer::{Answer, Payload};
use super::object_calls::{CRC64, source, stored_answer};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::service::{Service, Target, judge_passed, judge_written};
use super::storage::{CompleteLimits, CopyLimits, DigestRecord, UploadRef, time_of};

impl Service {
    pub(super) async fn initiate_multipart_upload(
        &self,
        target: &Target,
        initiate: InitiateMultipartUpload,
    ) -> Result<Answer, Refusal> {
        let attributes = judge_written(initiate.attributes, &initiate.passed)?;
        let write = self.write(target, initiate.key, initiate.overwrite)?;
        let (bucket, key) = (write.bucket.as_str().to_owned(), write.key.as_str().to_owned());
        let usual = target.rules.digest.map(|algorithm| ObjectDigest { algorithm, is_of_bytes: true });
        let digest = initiate.digest.or(usual);
        let kept = digest.map(|digest| (digest.algorithm, digest.is_of_bytes));
        let upload = self.storage.initiate(write, attributes, kept).await?;
        let mut answer = Answer::xml(InitiateMultipartUploadResult { bucket, key, upload }.encode());
        if let Some(digest) = initiate.digest {
            digest.push(&mut answer.headers);
        }
        Ok(answer)
    }

    pub(super) async fn upload_part(
        &self,
        target: &Target,
        part: UploadPart,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        if body.length.is_none() {
            return Err(Code::MissingContentLength.into());
        }
        judge_passed(&part.passed)?;
        check_number(part.number, target.rules.limits)?;
        let upload = upload_ref(target, part.key, part.upload)?;
        // Looked up before the bytes are received; the store judges it again when they are there.
        let digest = self.storage.upload(&upload)?.digest.map(|(algorithm, _)| algorithm);
        let received = body.receive(&self.storage, &part.checks, target.rules.limits.part_bytes_max, digest).await?;
        let record = self.storage.put_part(upload, part.number, received, self.clock.unix_seconds()).await?;
        let mut answer = stored_answer(&record.etag, record.crc64);
        if let Some(DigestRecord { algorithm, text, .. }) = record.digest {
            answer.set(algorithm.header(), text);
        }
        Ok(answer)
    }

    pub(super) async fn upload_part_copy(&self, target: &Target, part: UploadPartCopy) -> Result<Answer, Refusal> {
        judge_passed(&part.passed)?;
        check_number(part.number, target.rules.limits)?;
        let upload = upload_ref(target, part.key, part.upload)?;
        let source = source(part.source, part.conditions, self.clock.unix_seconds())?;
        let limits = CopyLimits { bytes_max: target.rules.limits.part_bytes_max, now: self.clock.unix_seconds() };
        let record = self.storage.copy_part(upload, part.number, source, part.range, limits).await?;
        let result = CopyPartResult {
            etag: ETag::new(&record.etag),
            crc64: Some(Crc64(record.crc64)),
            last_modified: time_of(record.modified),
        };
        Ok(Answer::xml(result.encode()))
    }

    /// Errors that show at once have their own status; the object is made after the 200 is out.
    pub(super) fn complete_multipart_upload(
        &self,
        target: &Target,
        complete: CompleteMultipartUpload,
    ) -> Result<Answer, Refusal> {
        let location = format!("http://{}/{}", target.host, escape_path(complete.key.as_str()));
        let upload = upload_ref(target, complete.key, complete.upload)?;
        let result = CompleteMultipartUploadResult {
            location: location.clone(),
            bucket: upload.bucket.as_str().to_owned(),
            key: upload.key.as_str().to_owned(),
            etag: ETag::new(""),
            digest: None,
        };
        let Rules { limits, allows_gaps, etag_of_parts, .. } = target.rules;
        let limits = CompleteLimits {
            part_bytes_min: limits.part_bytes_min,
            object_bytes_max: limits.object_bytes_max,
            overwrite: complete.overwrite,
            allows_gaps,
            etag_of_parts,
            digest: complete.digest,
        };
        let plan = self.storage.plan_complete(upload, complete.parts, limits)?;
        let (storage, now, crc64) = (Arc::clone(&self.storage), self.clock.unix_seconds(), plan.crc64);
        let task = tokio::spawn(async move {
            let xml = match storage.complete(plan, now).await {
                Ok(record) => {
                    let digest = record.digest.map(|digest| (digest.kind(), digest.text));
                    CompleteMultipartUploadResult { etag: ETag::new(&record.etag), digest, ..result }.encode()
                }
                Err(error) => late_error(Refusal::from(error), location),
            };
            without_declaration(xml).into()
        });
        let answer = Answer { payload: Payload::Slow(task), ..Answer::empty() };
        Ok(answer.with(CRC64, crc64.to_string()))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        target: &Target,
        abort: AbortMultipartUpload,
    ) -> Result<Answer, Refusal> {
        self.storage.abort(upload_ref(target, abort.key, abort.upload)?).await?;
        Ok(Answer::no_content())
    }

    pub(super) fn list_parts(&self, target: &Target, list: &ListParts) -> Result<Answer, Refusal> {
        let upload = upload_ref(target, list.key.clone(), list.upload.clone())?;
        let max_parts = list.max_parts.unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX);
        let marker = list.part_number_marker.unwrap_or(0);
        let after = u16::try_from(marker).unwrap_or(u16::MAX);
        let page = self.storage.parts(&upload, after, max_parts as usize)?;
        let last = page.parts.last().map_or(marker, |(number, _)| u32::from(number.get()));
        let listed = page.parts.into_iter().map(|(number, record)| ListedPart {
            number,
            last_modified: time_of(record.modified),
            etag: ETag::new(record.etag),
            size: record.size,
        });
        let result = ListPartsResult {
            bucket: upload.bucket.as_str().to_owned(),
            key: upload.key.as_str().to_owned(),
            owner: upload.bucket.appid().to_owned(),
            upload: upload.id,
            url_encoded: list.url_encoded,
            part_number_marker: marker,
            next_part_number_marker: page.truncated.then_some(last),
            max_parts,
            is_truncated: page.truncated,
            storage_class: page.attributes.fields.storage_class.unwrap_or_else(|| STANDARD.to_owned()),
            parts: listed.collect(),
        };
        Ok(Answer::xml(result.encode()))
    }
}

fn check_number(number: PartNumber, limits: Limits) -> Result<(), Refusal> {
    let max = limits.part_count_max;
    if u64::from(number.get()) <= max {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidArgument, format!("partNumber must be between 1 and {max}")))
}

fn upload_ref(target: &Target, key: ObjectKey, id: UploadId) -> Result<UploadRef, Refusal> {
    Ok(UploadRef { bucket: target.bucket()?.clone(), key, id })
}

/// An error that came after the 200: clients find it by the root of the body (4.4).
fn late_error(refusal: Refusal, resource: String) -> String {
    let (code, message) = (refusal.code.name().to_owned(), refusal.message);
    ErrorBody { code, message, resource, ..ErrorBody::default() }.encode()
}

/// Blanks go before this document, and after blanks a declaration is an error to strict parsers; coscmd has one.
fn without_declaration(xml: String) -> String {
    match xml.split_once("?>") {
        Some((declaration, root)) if declaration.starts_with("<?xml") => root.trim_start().to_owned(),
        _ => xml,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_declaration_is_cut_off() {
        assert_eq!(without_declaration("<?xml version=\"1.0\"?>\n<a>?></a>".to_owned()), "<a>?></a>");
        assert_eq!(without_declaration("<a>?></a>".to_owned()), "<a>?></a>");
    }
}
