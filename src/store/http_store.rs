//! One bucket of a COS service, over HTTP.
//!
//! Every call makes its requests through a [`Session`], which signs and judges, and repeats them within the deadline.
//! What an answer must say to count as a success is decided here and in the files of the longer calls: reading
//! (`reading`) and completing (`complete`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::complete::{self, Expected};
use super::http::{Runtimes, Timeouts, Transport};
use super::reading;
use super::retry::{self, Remedy, RetryOptions};
use super::session::{Answer, Done, Failed, Request, Session};
use super::{
    Body, Copied, CopyRequest, GetRequest, ListPage, ListRequest, ListedObject, ListedUpload, ObjectStore, Published,
    Reading, Source, StoreError, StoreErrorKind,
};
use crate::clock::Clock;
use crate::stats::Stats;
use crate::wire::address::Endpoint;
use crate::wire::answer::{
    AnswerError, CopyObjectResult, CopyPartResult, DeleteResult, InitiateMultipartUploadResult, ListBucketResult,
    ListMultipartUploadsResult, header_crc64,
};
use crate::wire::code::classify;
use crate::wire::condition::Conditions;
use crate::wire::copy_source::CopySource;
use crate::wire::escape::UNREADABLE;
use crate::wire::operation::{
    AbortMultipartUpload, CopyObject, DeleteMultipleObjects, DeleteObject, InitiateMultipartUpload,
    ListMultipartUploads, ListObjects, MetadataDirective, ObjectVersion, Operation, PutObject, UploadPart,
    UploadPartCopy,
};
use crate::wire::request::Headers;
use crate::wire::sign::Credentials;
use crate::wire::{
    BucketName, ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, UploadId,
    UploadedPart,
};

/// Keys of one Delete Multiple Objects (`cos-api.md` 3.5).
const DELETE_KEYS_MAX: usize = 1000;

/// What it takes to reach a bucket. Cannot be shown, because a proxy's URL may hold a password.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where the service is.
    pub endpoint: Endpoint,
    /// The bucket.
    pub bucket: BucketName,
    /// Who asks.
    pub credentials: Credentials,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How long to try.
    pub retry: RetryOptions,
    /// The URL of an HTTP proxy to go through. The environment is not asked.
    pub proxy: Option<String>,
    /// What the service takes.
    pub limits: Limits,
    /// Where requests and bytes are counted.
    pub stats: Arc<Stats>,
    /// The time to sign by.
    pub clock: Clock,
    /// Where connections are served, so that bytes of objects hold up nothing else; `None` is wherever the caller runs.
    pub runtimes: Option<Runtimes>,
}

impl HttpOptions {
    /// The usual options for a bucket.
    pub fn new(endpoint: Endpoint, bucket: BucketName, credentials: Credentials) -> HttpOptions {
        HttpOptions {
            endpoint,
            bucket,
            credentials,
            timeouts: Timeouts::default(),
            retry: RetryOptions::default(),
            proxy: None,
            limits: Limits::COS,
            stats: Arc::default(),
            clock: Clock::System,
            runtimes: None,
        }
    }
}

/// One bucket over HTTP.
pub struct HttpStore {
    session: Arc<Session>,
    bucket: BucketName,
    copy_domain: String,
    limits: Limits,
}

impl fmt::Debug for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStore").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl HttpStore {
    /// Prepares the way to a bucket. Makes no connection.
    ///
    /// # Errors
    /// `Invalid` for a proxy that is no URL, or where TLS finds no certificates on this machine.
    pub fn new(options: HttpOptions) -> Result<HttpStore, StoreError> {
        let HttpOptions { endpoint, bucket, credentials, timeouts, retry, proxy, limits, stats, clock, runtimes } =
            options;
        let route = endpoint.route(&bucket);
        let secure = |url: &str| url.starts_with("https://");
        let tls = secure(&route.origin) || proxy.as_deref().is_some_and(secure);
        let transport = Transport::new(timeouts.within(retry.deadline), tls, proxy.as_deref(), runtimes)
            .map_err(|error| StoreError::new(error.kind, "connect", bucket.as_str(), error.message))?;
        let session = Arc::new(Session::new(transport, route, credentials, retry, clock, stats));
        Ok(HttpStore { session, bucket, copy_domain: endpoint.copy_source_domain().to_owned(), limits })
    }

    /// The same bucket and connections with another deadline, for callers that would rather hear of a failure soon.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> HttpStore {
        let session = Arc::new(self.session.with_deadline(deadline));
        HttpStore { session, bucket: self.bucket.clone(), copy_domain: self.copy_domain.clone(), limits: self.limits }
    }

    /// Sends an object's bytes and compares the checksum that the service has of them.
    async fn send(&self, request: &Request, crc64: Crc64) -> Result<Published, StoreError> {
        let mut tries = self.session.tries();
        loop {
            let failed = match self.session.exchange(request).await {
                Ok(answer) => match stored(request, &answer, crc64) {
                    Ok(published) => return Ok(published),
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            tries.again(failed).await?;
        }
    }

    /// Makes a request until its answer can be decoded.
    async fn ask<T>(
        &self,
        request: &Request,
        decode: impl Fn(&[u8]) -> Result<T, AnswerError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut tries = self.session.tries();
        loop {
            let failed = match self.ask_once(request, &decode).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            tries.again(failed).await?;
        }
    }

    async fn ask_once<T>(
        &self,
        request: &Request,
        decode: &(impl Fn(&[u8]) -> Result<T, AnswerError> + Send + Sync),
    ) -> Result<T, Failed> {
        let answer = self.session.exchange(request).await?;
        decode(&answer.body).map_err(|error| self.session.unexpected(request, &answer, error))
    }

    fn copy_source(&self, key: &ObjectKey) -> CopySource {
        CopySource { bucket: self.bucket.clone(), domain: self.copy_domain.clone(), key: key.clone(), version: None }
    }

    async fn delete_chunk(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let objects = keys.iter().map(|key| ObjectVersion { key: key.as_str().to_owned(), version: None }).collect();
        let request = Request::new(&Operation::DeleteMultipleObjects(DeleteMultipleObjects { quiet: true, objects }));
        let result = self.ask(&request, DeleteResult::decode).await?;
        let mut failures = Vec::with_capacity(result.errors.len());
        for failure in result.errors {
            // Whatever else the service complains about is nothing that was asked for.
            let Some(key) = keys.iter().find(|key| key.as_str() == failure.key) else { continue };
            let meaning = classify(200, &failure.code, &failure.message).meaning;
            let mut error = StoreError::new(retry::kind(meaning), request.op, key.as_str(), failure.message);
            error.code = failure.code;
            failures.push((key.clone(), error));
        }
        Ok(failures)
    }
}

/// What the answer to a body says. Damaged bytes are worth sending again.
fn stored(request: &Request, answer: &Answer, crc64: Crc64) -> Result<Published, Failed> {
    let lines = answer.headers.lines();
    let headers = Headers(&lines);
    let Some(etag) = headers.get("etag").map(ETag::new) else {
        return Err(request.protocol_error(&answer.headers, "an answer without ETag"));
    };
    let answered = header_crc64(headers);
    if answered.is_some_and(|answered| answered != crc64) {
        let mut failed = request.protocol_error(&answer.headers, "the service has another checksum than was sent");
        failed.error.kind = StoreErrorKind::Corrupted;
        failed.remedy = Remedy::Resend;
        return Err(failed);
    }
    Ok(Published { etag, crc64: answered })
}

#[async_trait]
impl ObjectStore for HttpStore {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        let answer = self.session.answer(&Request::new(&Operation::HeadBucket)).await;
        match answer {
            Ok(_) => Ok(()),
            // A HEAD has no body to tell what is missing, but here it can only be the bucket.
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Err(StoreError { kind: StoreErrorKind::NoSuchBucket, ..error })
            }
            Err(error) => Err(error),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        complete::head(&self.session, key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        reading::open(self.session.clone(), request).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
    ) -> Result<Published, StoreError> {
        let size = body.len();
        let operation = Operation::PutObject(PutObject::new(key.clone(), attributes.clone()));
        let request = Request::with_body(&operation, body);
        let published = self.send(&request, crc64).await?;
        if published.crc64.is_some() {
            return Ok(published);
        }
        let expected = Expected { size, crc64: Some(crc64) };
        complete::verify(&self.session, &request, key, published, expected).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let operation = Operation::DeleteObject(DeleteObject { key: key.clone(), version: None });
        match self.session.answer(&Request::new(&operation)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let mut failures = Vec::new();
        for chunk in keys.chunks(DELETE_KEYS_MAX) {
            failures.append(&mut self.delete_chunk(chunk).await?);
        }
        Ok(failures)
    }

    async fn copy(&self, wanted: CopyRequest) -> Result<Copied, StoreError> {
        let CopyRequest { source, key, replace, bytes } = wanted;
        let mut copy = CopyObject::new(key.clone(), self.copy_source(&source.key));
        copy.conditions = Conditions::matching(source.if_match.clone());
        if let Some(attributes) = &replace {
            copy.directive = MetadataDirective::Replaced;
            copy.attributes = attributes.clone();
        }
        let request = Request::new(&Operation::CopyObject(copy)).of_size(bytes);
        let mut tries = self.session.tries();
        let mut perhaps_done = false;
        loop {
            let failed = match self.ask_once(&request, &CopyObjectResult::decode).await {
                Ok(CopyObjectResult { etag, crc64, last_modified, .. }) => {
                    return Ok(Copied { etag, crc64, last_modified });
                }
                Err(failed) => failed,
            };
            // A copy onto itself may have changed the version that its repeat is pinned to.
            if perhaps_done && source.key == key && failed.error.kind == StoreErrorKind::Changed {
                let head = self.head(&key).await?;
                let ours = replace.as_ref().is_some_and(|attributes| attributes.user == head.attributes.user);
                let copied = Copied { etag: head.etag, crc64: head.crc64, last_modified: head.last_modified };
                return if ours { Ok(copied) } else { Err(failed.error) };
            }
            perhaps_done |= failed.done == Done::Perhaps;
            tries.again(failed).await?;
        }
    }

    async fn list(&self, wanted: ListRequest) -> Result<ListPage, StoreError> {
        let operation = Operation::ListObjects(ListObjects {
            prefix: wanted.prefix.clone(),
            delimiter: if wanted.delimited { "/".to_owned() } else { String::new() },
            marker: wanted.marker.clone().unwrap_or_default(),
            max_keys: wanted.max_keys.map(u32::from),
            url_encoded: true,
        });
        let request = Request::new(&operation).about(&wanted.prefix);
        let result = self.ask(&request, ListBucketResult::decode).await?;
        let mut next_marker = None;
        if result.is_truncated {
            let keys = result.contents.iter().map(|object| &object.key).chain(&result.common_prefixes);
            let last_key = keys.filter(|key| !key.contains(UNREADABLE)).max();
            next_marker = result.next_marker.or_else(|| last_key.cloned());
            // A listing that does not get on would be asked for without end.
            if next_marker.is_none() || next_marker <= wanted.marker {
                return Err(request.error(StoreErrorKind::Protocol, "a page of a listing that leads nowhere"));
            }
        }
        let objects = result.contents.into_iter().map(|object| ListedObject {
            key: object.key,
            size: object.size,
            etag: object.etag,
            last_modified: object.last_modified,
            storage_class: object.storage_class,
        });
        Ok(ListPage { objects: objects.collect(), prefixes: result.common_prefixes, next_marker })
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<UploadId, StoreError> {
        let initiate = InitiateMultipartUpload::new(key.clone(), attributes.clone());
        let request = Request::new(&Operation::InitiateMultipartUpload(initiate));
        let result = self.ask(&request, InitiateMultipartUploadResult::decode).await?;
        Ok(result.upload)
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        let size = body.len();
        let operation = Operation::UploadPart(UploadPart::new(key.clone(), upload.clone(), number));
        let published = self.send(&Request::with_body(&operation, body), crc64).await.map_err(about_the_number)?;
        Ok(UploadedPart { etag: published.etag, size, crc64: published.crc64 })
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        let request = Request::new(&Operation::UploadPartCopy(UploadPartCopy {
            key: key.clone(),
            upload: upload.clone(),
            number,
            source: self.copy_source(&source.key),
            range: Some(range),
            conditions: Conditions::matching(source.if_match.clone()),
            passed: BTreeMap::new(),
        }));
        let result = self.ask(&request, CopyPartResult::decode).await.map_err(about_the_number)?;
        Ok(UploadedPart { etag: result.etag, size: range.len(), crc64: result.crc64 })
    }

    async fn complete(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
    ) -> Result<Published, StoreError> {
        complete::complete(&self.session, key, upload, parts, Expected { size, crc64 }).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        let (key, upload) = (key.clone(), upload.clone());
        let operation = Operation::AbortMultipartUpload(AbortMultipartUpload { key, upload });
        match self.session.answer(&Request::new(&operation)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NoSuchUpload => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        let mut listed = Vec::new();
        let mut page = ListMultipartUploads { prefix: prefix.to_owned(), ..ListMultipartUploads::default() };
        loop {
            let request = Request::new(&Operation::ListMultipartUploads(page.clone())).about(prefix);
            let result = self.ask(&request, ListMultipartUploadsResult::decode).await?;
            listed.extend(result.uploads.into_iter().map(|upload| ListedUpload {
                key: upload.key,
                upload: upload.upload,
                initiated: upload.initiated,
            }));
            if !result.is_truncated {
                return Ok(listed);
            }
            let next = (result.next_key_marker.unwrap_or_default(), result.next_upload_id_marker.unwrap_or_default());
            // Ids are opaque, so only standing still is certain to lead nowhere.
            if next.0 < page.key_marker || next == (page.key_marker.clone(), page.upload_id_marker.clone()) {
                return Err(request.error(StoreErrorKind::Protocol, "a page of a listing that leads nowhere"));
            }
            (page.key_marker, page.upload_id_marker) = next;
        }
    }
}

/// A refusal of a part that is about its number says so in its own kind: there is something to be done about it. The
/// documentation names no code for it (`cos-api.md` 4.2), so the message has to tell.
fn about_the_number(error: StoreError) -> StoreError {
    let message = error.message.to_ascii_lowercase().replace(' ', "");
    let is_about_number = error.kind == StoreErrorKind::Invalid && message.contains("partnumber");
    if is_about_number { StoreError { kind: StoreErrorKind::TooManyParts, ..error } } else { error }
}
