//! One bucket of a COS service, over HTTP.
//!
//! Every call makes its requests through a [`Session`], which signs and judges, and repeats them within the deadline.
//! What an answer must say to count as a success is decided here and in the files of the longer calls: reading
//! (`reading`) and completing (`complete`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::complete::{self, Expected};
use super::conditions::{self, Conditions};
use super::http::{NetworkOptions, Runtimes, Timeouts, Transport};
use super::listing::{self, Listings};
use super::retry::{self, RetryOptions};
use super::sending::is_refused_as_such;
use super::session::{Done, Request, Session};
use super::throttle::Throttle;
use super::watchdog::Watchdog;
use super::{
    Body, Copied, CopyRequest, CredentialCache, GetRequest, Initiated, ListPage, ListRequest, ListedPart, ListedUpload,
    ObjectStore, Op, Overwrite, Published, Reading, Source, StoreError, StoreErrorKind, VersionsPage, VersionsRequest,
};
use super::{BucketFacts, KnownBucket, Restoration, archive, bucket, copying, reading, sending, uploads, versions};
use crate::clock::Clock;
use crate::object::{
    BucketName, ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Tags, UploadId,
    UploadedPart,
};
use crate::stats::Stats;
use crate::wire::address::{Endpoint, Route};
use crate::wire::answer::{
    CopyPartResult, DeleteResult, InitiateMultipartUploadResult, Lifecycle, Tagging, Versioning,
};
use crate::wire::code::{Code, classify};
use crate::wire::condition::Conditions as ReadConditions;
use crate::wire::copy_source::CopySource;
use crate::wire::digest::ObjectDigest;
use crate::wire::operation::{
    AbortMultipartUpload, DeleteMultipleObjects, DeleteObject, GetObjectTagging, InitiateMultipartUpload,
    ObjectVersion, Operation, RestoreTier, UploadPart, UploadPartCopy,
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
    pub credentials: CredentialCache,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How long to try.
    pub retry: RetryOptions,
    /// How this machine reaches others.
    pub network: NetworkOptions,
    /// What the service takes.
    pub limits: Limits,
    /// Holds up what would be too much.
    pub throttle: Arc<Throttle>,
    /// Where requests and bytes are counted.
    pub stats: Arc<Stats>,
    /// The time to sign by.
    pub clock: Clock,
    /// Where connections are served, so that bytes of objects hold up nothing else; `None` is wherever the caller runs.
    pub runtimes: Option<Runtimes>,
}

impl HttpOptions {
    /// The usual options for a bucket.
    pub fn new(endpoint: Endpoint, bucket: BucketName, credentials: impl Into<CredentialCache>) -> HttpOptions {
        let limits = endpoint.dialect(&bucket).limits();
        HttpOptions {
            endpoint,
            bucket,
            credentials: credentials.into(),
            timeouts: Timeouts::default(),
            retry: RetryOptions::default(),
            network: NetworkOptions::default(),
            limits,
            throttle: Arc::default(),
            stats: Arc::default(),
            clock: Clock::System,
            runtimes: None,
        }
    }
}

/// One bucket over HTTP.
pub struct HttpStore {
    pub(super) session: Arc<Session>,
    bucket: BucketName,
    copy_domain: String,
    /// Where requests about the service itself go.
    service_route: Route,
    limits: Limits,
    listings: Arc<Listings>,
    conditions: Arc<Conditions>,
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
        let HttpOptions { endpoint, bucket, credentials, timeouts, retry, .. } = options;
        let HttpOptions { network, limits, throttle, stats, clock, runtimes, .. } = options;
        let (route, dialect) = (endpoint.route(&bucket), endpoint.dialect(&bucket));
        let secure = |url: &str| url.starts_with("https://");
        let tls = secure(&route.origin) || network.proxy.as_deref().is_some_and(secure);
        let (timeouts, watchdog) = (timeouts.within(retry.deadline), Arc::new(Watchdog::new(retry.deadline)));
        let transport = Transport::new(timeouts, tls, &network, runtimes, (watchdog, throttle)).map_err(|error| {
            let obstacle = error.obstacle;
            StoreError { obstacle, ..StoreError::new(error.kind, None, bucket.as_str(), error.message) }
        })?;
        let session = Arc::new(Session::new(transport, (route, dialect), credentials, retry, clock, stats));
        let (copy_domain, service_route) = (endpoint.copy_source_domain().to_owned(), endpoint.service_route());
        let (listings, conditions) = (Arc::default(), Arc::default());
        Ok(HttpStore { session, bucket, copy_domain, service_route, limits, listings, conditions })
    }

    /// What tells when callers have waited long enough for this service.
    pub fn watchdog(&self) -> Arc<Watchdog> {
        self.session.watchdog().clone()
    }

    /// The same bucket and connections with another deadline, for callers that would rather hear of a failure soon.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> HttpStore {
        let session = Arc::new(self.session.with_deadline(deadline));
        HttpStore {
            session,
            bucket: self.bucket.clone(),
            copy_domain: self.copy_domain.clone(),
            service_route: self.service_route.clone(),
            limits: self.limits,
            listings: self.listings.clone(),
            conditions: self.conditions.clone(),
        }
    }

    /// Asks whether the bucket is there and may be used, and what else the answer says of it.
    pub async fn bucket_facts(&self) -> Result<BucketFacts, StoreError> {
        bucket::head(&self.session).await
    }

    /// Seconds that the service's clock is ahead of this machine's, by its last answer.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.session.heard_ahead()
    }

    /// Whether the service tells checksums of whole objects by which they can be verified; `None` before anything was sent.
    pub fn tells_checksums(&self) -> Option<bool> {
        if self.session.dialect().tells_checksums() { Some(true) } else { self.session.vouching().is_known() }
    }

    /// What the bucket does by itself to objects and uploads that grow old.
    pub async fn lifecycle(&self) -> Result<Lifecycle, StoreError> {
        bucket::lifecycle(&self.session).await
    }

    /// Whether the bucket keeps older versions of its objects.
    pub async fn versioning(&self) -> Result<Versioning, StoreError> {
        bucket::versioning(&self.session).await
    }

    /// Asks for an archived object, to be there for some days.
    pub async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<Restoration, StoreError> {
        archive::restore(&self.session, key, days, tier).await
    }

    /// Whether an object can be read, and if not whether it is on its way.
    pub async fn restoration(&self, key: &ObjectKey) -> Result<Restoration, StoreError> {
        archive::restoration(&self.session, key).await
    }

    /// Switches the versions of the bucket's objects on, or suspends them.
    pub async fn set_versioning(&self, is_on: bool) -> Result<(), StoreError> {
        bucket::set_versioning(&self.session, if is_on { Versioning::Enabled } else { Versioning::Suspended }).await
    }

    /// All buckets of the account, where the key may know them.
    pub async fn known_buckets(&self) -> Result<Vec<KnownBucket>, StoreError> {
        bucket::known(&self.session, self.service_route.clone()).await
    }

    /// What requests are signed with.
    pub fn credentials(&self) -> &CredentialCache {
        self.session.credentials()
    }

    fn copy_source(&self, key: &ObjectKey) -> CopySource {
        CopySource { bucket: self.bucket.clone(), domain: self.copy_domain.clone(), key: key.clone(), version: None }
    }

    async fn delete_chunk(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let objects = keys.iter().map(|key| ObjectVersion { key: key.as_str().to_owned(), version: None }).collect();
        let request = Request::new(&Operation::DeleteMultipleObjects(DeleteMultipleObjects { quiet: true, objects }));
        let result = self.session.ask(&request, DeleteResult::decode).await?;
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

#[async_trait]
impl ObjectStore for HttpStore {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn is_slowed(&self) -> bool {
        self.session.is_slowed()
    }

    async fn keeps_conditions(&self, op: Op, trial: &ObjectKey) -> bool {
        self.session.dialect().may_keep_conditions() && conditions::keeps(self, &self.conditions, op, trial).await
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        self.bucket_facts().await.map(drop)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        complete::head(&self.session, key).await
    }

    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError> {
        let request = Request::new(&Operation::GetObjectTagging(GetObjectTagging { key: key.clone(), version: None }));
        match self.session.ask(&request, Tagging::decode).await {
            Ok(tagging) if !tagging.tags.is_empty() => Ok(Tags::Are(tagging.header())),
            Ok(_) => Ok(Tags::None),
            Err(error) if error.code == Code::NoSuchTagSet.name() => Ok(Tags::None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        reading::open(self.session.clone(), request, None).await
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        sending::put(&self.session, key, body, crc64, (attributes, overwrite)).await
    }

    async fn list_versions(&self, request: &VersionsRequest) -> Result<VersionsPage, StoreError> {
        versions::page(&self.session, request).await
    }

    async fn head_version(&self, key: &ObjectKey, version: &str) -> Result<ObjectHead, StoreError> {
        complete::head_version(&self.session, key, Some(version)).await
    }

    async fn get_version(&self, request: GetRequest, version: &str) -> Result<Reading, StoreError> {
        reading::open(self.session.clone(), request, Some(version.to_owned())).await
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
        let mut keys = std::borrow::Cow::Borrowed(keys);
        if self.session.dialect().may_keep_directories() {
            // Where a marker is a directory, it goes behind what is in it.
            keys.to_mut().sort_unstable_by(|one, next| next.cmp(one));
        }
        for chunk in keys.chunks(DELETE_KEYS_MAX) {
            failures.append(&mut self.delete_chunk(chunk).await?);
        }
        Ok(failures)
    }

    async fn copy(&self, wanted: CopyRequest) -> Result<Copied, StoreError> {
        copying::copy(&self.session, self.copy_source(&wanted.source.key), &wanted).await
    }

    async fn list(&self, wanted: ListRequest) -> Result<ListPage, StoreError> {
        listing::page(&self.session, &self.listings, wanted).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let mut initiate = InitiateMultipartUpload::new(key.clone(), attributes.clone());
        let vouching = self.session.vouching();
        initiate.digest = vouching.digest().map(|algorithm| ObjectDigest { algorithm, is_of_bytes: true });
        let mut request = Request::new(&Operation::InitiateMultipartUpload(initiate.clone()));
        let (mut tries, mut may_be_doubled) = (self.session.tries(), false);
        loop {
            let failed = match self.session.ask_once(&request, &InitiateMultipartUploadResult::decode).await {
                Ok(InitiateMultipartUploadResult { upload, .. }) => {
                    return Ok(Initiated { upload, may_be_doubled });
                }
                Err(failed) => failed,
            };
            if initiate.digest.is_some() && vouching.is_known().is_none() && is_refused_as_such(&failed.error) {
                vouching.note(false);
                initiate.digest = None;
                request = Request::new(&Operation::InitiateMultipartUpload(initiate.clone()));
                continue;
            }
            may_be_doubled |= failed.done == Done::Perhaps;
            tries.again(failed).await?;
        }
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
        let part = UploadPart::new(key.clone(), upload.clone(), number);
        let published = sending::part(&self.session, part, body, crc64).await.map_err(about_the_number)?;
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
            conditions: ReadConditions::matching(source.if_match.clone()),
            passed: BTreeMap::new(),
        }));
        let result = self.session.ask(&request, CopyPartResult::decode).await.map_err(about_the_number)?;
        copying::expect_pinned(&self.session, Op::UploadPartCopy, source, None).await?;
        let crc64 = self.session.dialect().own_checksum(result.crc64);
        Ok(UploadedPart { etag: result.etag, size: range.len(), crc64 })
    }

    async fn complete_over(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let expected = Expected { size, crc64, etag: None };
        complete::complete(&self.session, key, upload, parts, (expected, overwrite)).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        let abort = AbortMultipartUpload { key: key.clone(), upload: upload.clone() };
        let operation = Operation::AbortMultipartUpload(abort);
        match self.session.answer(&Request::new(&operation)).await {
            Err(error) if error.kind != StoreErrorKind::NoSuchUpload => Err(error),
            _ => Ok(()),
        }
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        uploads::listed(&self.session, prefix).await
    }

    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        uploads::parts(&self.session, key, upload).await
    }

    fn service_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.session.service_seconds())
    }
}

/// A refusal of a part that is about its number says so in its own kind: there is something to be done about it. The
/// documentation names no code for it (`cos-api.md` 4.2), so the message has to tell.
fn about_the_number(error: StoreError) -> StoreError {
    let message = error.message.to_ascii_lowercase().replace(' ', "");
    let is_about_number = error.kind == StoreErrorKind::Invalid && message.contains("partnumber");
    if is_about_number { StoreError { kind: StoreErrorKind::TooManyParts, ..error } } else { error }
}
