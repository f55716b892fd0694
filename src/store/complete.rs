//! Completing a multipart upload, and never guessing what became of it.
//!
//! A Complete is not the same the second time: once it has worked, the upload is gone. So where an attempt may have
//! worked although its answer was lost, the object itself is asked, and only its checksum and size decide
//! (`cos-api.md` 4.4). The answer to one that worked is verified by checksum too.

use super::session::{Done, Failed, Request, Session};
use super::vouching::Voucher;
use super::{Op, Published, StoreError, StoreErrorKind};
use crate::object::{Crc64, ETag, ObjectHead, ObjectKey, PartNumber, UploadId};
use crate::wire::answer::{CompleteMultipartUploadResult, decode_head, header_crc64};
use crate::wire::condition::Overwrite;
use crate::wire::digest::DigestAlgorithm;
use crate::wire::operation::{CompleteMultipartUpload, CompletedPart, HeadObject, ListParts, Operation};
use crate::wire::request::Headers;

/// What the object must be once it is complete.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) size: u64,
    pub(super) crc64: Option<Crc64>,
    /// The version, where the dialect tells it of the parts.
    pub(super) etag: Option<ETag>,
}

/// Makes the object of the parts 1 to `etags.len()`.
pub(super) async fn complete(
    session: &Session,
    key: &ObjectKey,
    upload: &UploadId,
    etags: &[ETag],
    (expected, overwrite): (Expected, &Overwrite),
) -> Result<Published, StoreError> {
    let digest = match session.vouching().voucher() {
        Voucher::Digest(algorithm) => expected.crc64.and_then(|crc64| Some((algorithm, algorithm.of_crc64(crc64)?))),
        Voucher::Md5 | Voucher::Both(_) => None,
    };
    let request = request(key, upload, etags, (overwrite, digest))?;
    let expected = Expected { etag: session.dialect().etag_of_parts(etags), ..expected };
    let mut tries = session.tries();
    let mut perhaps_done = false;
    loop {
        let failed = match attempt(session, &request).await {
            Ok(published) => return verify(session, &request, key, published, expected).await,
            Err(failed) => failed,
        };
        // Whether or not an answer of ours was lost: a request may be carried out twice on its way, too.
        if failed.error.kind == StoreErrorKind::NoSuchUpload {
            return settle(session, key, upload, expected, failed.error).await;
        }
        perhaps_done |= failed.done == Done::Perhaps;
        let Err(error) = tries.again(failed).await else { continue };
        return if perhaps_done { settle(session, key, upload, expected, error).await } else { Err(error) };
    }
}

fn request(
    key: &ObjectKey,
    upload: &UploadId,
    etags: &[ETag],
    (overwrite, digest): (&Overwrite, Option<(DigestAlgorithm, String)>),
) -> Result<Request, StoreError> {
    let op = Op::CompleteMultipartUpload;
    let invalid = |message| StoreError::new(StoreErrorKind::Invalid, op, key.as_str(), message);
    if etags.is_empty() {
        return Err(invalid("an upload without parts"));
    }
    let mut parts = Vec::with_capacity(etags.len());
    for (index, etag) in etags.iter().enumerate() {
        let number = PartNumber::new(index as u64 + 1).ok_or_else(|| invalid("more parts than an upload can have"))?;
        parts.push(CompletedPart { number, etag: etag.clone() });
    }
    let (key, upload) = (key.clone(), upload.clone());
    let complete = CompleteMultipartUpload { key, upload, parts, overwrite: overwrite.clone(), digest };
    Ok(Request::new(&Operation::CompleteMultipartUpload(complete)))
}

async fn attempt(session: &Session, request: &Request) -> Result<Published, Failed> {
    let answer = session.exchange(request).await?;
    // The service answers 200 before it knows whether the merge will work; the root of the body decides.
    match CompleteMultipartUploadResult::decode(&answer.body) {
        Ok(result) => {
            let told = header_crc64(Headers(&answer.headers.lines()));
            // S3 tells it in the body.
            let of_bytes = result
                .digest
                .filter(|(kind, _)| kind.is_of_bytes && session.dialect().digest() == Some(kind.algorithm));
            let crc64 = told.or_else(|| of_bytes.and_then(|(kind, digest)| kind.algorithm.crc64(&digest)));
            Ok(Published { etag: result.etag, crc64 })
        }
        Err(error) => Err(session.unexpected(request, &answer, error)),
    }
}

/// Compares what was published with what should have been. An answer without a checksum costs one HEAD, unless the version is made of
/// the digests of all parts; at a service that tells no checksums it costs that as well, because there a part that was copied may have
/// come out shorter than what was asked for.
pub(super) async fn verify(
    session: &Session,
    request: &Request,
    key: &ObjectKey,
    published: Published,
    expected: Expected,
) -> Result<Published, StoreError> {
    if let (Some(answered), Some(crc64)) = (published.crc64, expected.crc64) {
        return if answered == crc64 { Ok(published) } else { Err(corrupted(request, answered, crc64)) };
    }
    let is_of_parts = expected.etag.as_ref() == Some(&published.etag);
    if is_of_parts && session.vouching().is_known() != Some(false) {
        return Ok(Published { crc64: published.crc64.or(expected.crc64), ..published });
    }
    let head = head(session, key).await?;
    if head.etag != published.etag {
        // Somebody has written the key since, so nobody can tell any more; the service said that ours was complete.
        return Ok(published);
    }
    if head.size != expected.size {
        let message = format!("the object has {} bytes instead of {}", head.size, expected.size);
        return Err(request.error(StoreErrorKind::Corrupted, message));
    }
    match (head.crc64, expected.crc64) {
        (Some(answered), Some(crc64)) if answered != crc64 => Err(corrupted(request, answered, crc64)),
        (answered, ours) => Ok(Published { crc64: answered.or(ours.filter(|_| is_of_parts)), ..published }),
    }
}

/// Finds out whether an attempt has worked whose answer was lost; `error` is what to say if it has not.
async fn settle(
    session: &Session,
    key: &ObjectKey,
    upload: &UploadId,
    expected: Expected,
    error: StoreError,
) -> Result<Published, StoreError> {
    // Without a checksum or a version there is nothing that would tell our object from another one of its size.
    if expected.crc64.is_none() && expected.etag.is_none() {
        return Err(error);
    }
    let is_ours = |head: &ObjectHead| {
        let has_sum = expected.crc64.is_some() && head.crc64 == expected.crc64;
        (has_sum || expected.etag.as_ref() == Some(&head.etag)) && head.size == expected.size
    };
    let session = &session.to_settle();
    match head(session, key).await {
        Ok(head) if is_ours(&head) => {
            // The object that was there before may have had the same bytes, and other metadata.
            if error.kind != StoreErrorKind::NoSuchUpload && !is_gone(session, key, upload).await {
                return Err(error);
            }
            log::info!("{error}; but the object is there, as {}", head.etag);
            Ok(Published { etag: head.etag, crc64: head.crc64 })
        }
        _ => Err(error),
    }
}

/// Whether the service does not know an upload any more, as after its Complete.
async fn is_gone(session: &Session, key: &ObjectKey, upload: &UploadId) -> bool {
    let parts = ListParts { max_parts: Some(1), ..ListParts::new(key.clone(), upload.clone()) };
    let answer = session.answer(&Request::new(&Operation::ListParts(parts))).await;
    answer.is_err_and(|error| error.kind == StoreErrorKind::NoSuchUpload)
}

fn corrupted(request: &Request, answered: Crc64, expected: Crc64) -> StoreError {
    request.error(StoreErrorKind::Corrupted, format!("checksum {answered} at the service, {expected} here"))
}

/// Size, version and metadata of an object.
pub(super) async fn head(session: &Session, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
    head_version(session, key, None).await
}

/// The same of a version; `None` is the newest.
pub(super) async fn head_version(
    session: &Session,
    key: &ObjectKey,
    version: Option<&str>,
) -> Result<ObjectHead, StoreError> {
    let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
    let with_digest = session.vouching().digest().is_some();
    let request =
        Request::new(&Operation::HeadObject(HeadObject { version, with_digest, ..HeadObject::new(key.clone()) }));
    let answer = session.answer(&request).await?;
    let head = decode_head(Headers(&answer.headers.lines()));
    head.map_err(|error| session.unexpected(&request, &answer, error).error)
}
