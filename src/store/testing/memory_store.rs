//! A bucket in memory that keeps the service's rules and remembers what it was asked.
//!
//! For tests of the layers above, and the simplest reading of what [`ObjectStore`] promises. Bytes are copied in, as a
//! socket would take them: it never holds on to a caller's buffers. Every call answers at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use super::memory_bucket::MemoryBucket;
use crate::clock::Clock;
use crate::object::time::whole_seconds;
use crate::object::{
    ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Tags, UploadId, UploadedPart,
};
use crate::store::{
    Body, Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedPart, ListedUpload, ObjectStore, Op,
    Overwrite, Published, Reading, Source, StoreError, StoreErrorKind,
};

/// Bytes of one piece of a body that is read; small, so that readers meet pieces that fit nothing of theirs.
const PIECE_BYTES: usize = 60_000;
/// Keys of one Delete Multiple Objects (`cos-api.md` 3.5).
const DELETE_KEYS_MAX: usize = 1000;

/// One bucket in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    /// Std mutex: never held across an await, sections copy one body at most. Level 8 in the order of locks.
    state: Arc<Mutex<State>>,
}

struct State {
    bucket: MemoryBucket,
    requests: Vec<LoggedRequest>,
    /// Whether it holds to what a write may replace, as services of S3 do.
    keeps_conditions: bool,
}

impl State {
    /// Refuses a write that would replace something else than it may. A bucket that keeps no conditions looks past them.
    fn check(&self, op: Op, key: &ObjectKey, overwrite: &Overwrite) -> Result<(), StoreError> {
        let is_there = self.bucket.objects().contains_key(key.as_str());
        match overwrite {
            Overwrite::OnlyOf(etag) if self.keeps_conditions => self.bucket.find(op, key, Some(etag)).map(drop),
            Overwrite::IfAbsent if self.keeps_conditions && is_there => {
                Err(StoreError::new(StoreErrorKind::Changed, op, key.as_str(), "there is an object"))
            }
            _ => Ok(()),
        }
    }
}

/// One request that a store was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// What was asked.
    pub op: Op,
    /// About which key or prefix; empty for the bucket.
    pub key: String,
    /// The number of the part that was sent or copied.
    pub part: Option<PartNumber>,
    /// The range that was read or copied from, as it was asked.
    pub range: Option<ByteRange>,
    /// Payload bytes of the request.
    pub bytes_in: u64,
}

impl MemoryStore {
    /// An empty bucket with the limits of COS and the machine's clock.
    pub fn new() -> MemoryStore {
        MemoryStore::with(Limits::COS, Clock::System)
    }

    /// An empty bucket with other limits, for tests with small parts.
    pub fn with(limits: Limits, clock: Clock) -> MemoryStore {
        let state = State { bucket: MemoryBucket::new(limits), requests: Vec::new(), keeps_conditions: false };
        MemoryStore { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// From now on writes are held to what they may replace.
    pub fn keep_conditions(&self) {
        self.state().keeps_conditions = true;
    }

    /// Puts an object there without a request. Panics where the service would refuse it.
    pub fn insert(&self, key: &str, bytes: impl Into<Bytes>) {
        self.insert_with(key, bytes, &ObjectAttributes::default());
    }

    /// The same with metadata.
    pub fn insert_with(&self, key: &str, bytes: impl Into<Bytes>, attributes: &ObjectAttributes) {
        let key = ObjectKey::new(key).expect("the caller names a legal key");
        let put = self.state().bucket.put(Op::PutObject, &key, bytes.into(), attributes, self.clock.now());
        put.expect("the caller gives bytes that fit one request");
    }

    /// Gives an object tags, which change neither its version nor its time, without a request.
    pub fn tag(&self, key: &str, tags: Tags) {
        self.state().bucket.tag(key, tags);
    }

    /// Removes an object without a request.
    pub fn remove(&self, key: &str) {
        self.state().bucket.delete(key);
    }

    /// All keys in order.
    pub fn keys(&self) -> Vec<String> {
        self.state().bucket.objects().keys().cloned().collect()
    }

    /// The bytes of an object.
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.state().bucket.objects().get(key).map(|object| object.bytes.clone())
    }

    /// What is kept beside an object.
    pub fn object_head(&self, key: &str) -> Option<ObjectHead> {
        self.state().bucket.objects().get(key).map(|object| object.head.clone())
    }

    /// All uploads that were begun and neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> Vec<ListedUpload> {
        self.state().bucket.uploads()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state().requests.clone()
    }

    /// The operations of every request so far, in order.
    pub fn ops(&self) -> Vec<Op> {
        self.state().requests.iter().map(|request| request.op).collect()
    }

    /// How many requests of one kind there were.
    pub fn count(&self, op: Op) -> usize {
        self.state().requests.iter().filter(|request| request.op == op).count()
    }

    /// Begins the record of requests anew.
    pub fn forget_requests(&self) {
        self.state().requests.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked in a section must not hide its own message behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and gives the state to serve it from.
    fn begin(&self, op: Op, key: &str) -> MutexGuard<'_, State> {
        self.note(LoggedRequest { op, key: key.to_owned(), part: None, range: None, bytes_in: 0 })
    }

    fn note(&self, request: LoggedRequest) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.requests.push(request);
        state
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.keys().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn limits(&self) -> Limits {
        self.state().bucket.limits()
    }

    async fn keeps_conditions(&self, _op: Op, _trial: &ObjectKey) -> bool {
        self.state().keeps_conditions
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        drop(self.begin(Op::HeadBucket, ""));
        Ok(())
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        let state = self.begin(Op::HeadObject, key.as_str());
        let told_at = Some(whole_seconds(self.clock.now()));
        state.bucket.find(Op::HeadObject, key, None).map(|object| ObjectHead { told_at, ..object.told() })
    }

    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError> {
        let state = self.begin(Op::GetObjectTagging, key.as_str());
        state.bucket.find(Op::GetObjectTagging, key, None).map(|object| object.head.attributes.tags.clone())
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        let state = self.note(LoggedRequest {
            op: Op::GetObject,
            key: request.key.as_str().to_owned(),
            part: None,
            range: request.range,
            bytes_in: 0,
        });
        let (head, bytes) = state.bucket.read(Op::GetObject, &request.key, request.if_match.as_ref(), request.range)?;
        let head = ObjectHead { told_at: Some(whole_seconds(self.clock.now())), ..head };
        Ok(Reading { head, body: futures_util::stream::iter(pieces(bytes)).map(Ok).boxed() })
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let bytes_in = body.len();
        let mut state =
            self.note(LoggedRequest { op: Op::PutObject, key: key.to_string(), part: None, range: None, bytes_in });
        let bytes = copied(&body);
        // As the service does where the client vouches for the bytes: what is damaged replaces nothing.
        verify(Op::PutObject, key, Some(crc64), Some(Crc64::of(&bytes)))?;
        state.check(Op::PutObject, key, overwrite)?;
        let head = state.bucket.put(Op::PutObject, key, bytes, attributes, self.clock.now())?;
        Ok(Published { etag: head.etag, crc64: head.crc64 })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.begin(Op::DeleteObject, key.as_str()).bucket.delete(key.as_str());
        Ok(())
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        for chunk in keys.chunks(DELETE_KEYS_MAX) {
            let mut state = self.begin(Op::DeleteMultipleObjects, "");
            for key in chunk {
                state.bucket.delete(key.as_str());
            }
        }
        Ok(Vec::new())
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        let mut state = self.begin(Op::CopyObject, request.key.as_str());
        let head = state.bucket.copy(&request, self.clock.now())?;
        Ok(Copied { etag: head.etag, crc64: head.crc64, last_modified: head.last_modified })
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        Ok(self.begin(Op::ListObjects, &request.prefix).bucket.list(&request))
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let mut state = self.begin(Op::InitiateMultipartUpload, key.as_str());
        let upload = state.bucket.initiate(key, attributes, self.clock.now());
        Ok(Initiated { upload, may_be_doubled: false })
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        let op = Op::UploadPart;
        let request = LoggedRequest { op, key: key.to_string(), part: Some(number), range: None, bytes_in: body.len() };
        let part = self.note(request).bucket.put_part(op, key, upload, number, copied(&body))?;
        verify(op, key, Some(crc64), part.crc64)?;
        Ok(part)
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        let op = Op::UploadPartCopy;
        let request = LoggedRequest { op, key: key.to_string(), part: Some(number), range: Some(range), bytes_in: 0 };
        let mut state = self.note(request);
        let (head, bytes) = state.bucket.read(op, &source.key, source.if_match.as_ref(), Some(range))?;
        if range.end() > head.size {
            return Err(StoreError::new(StoreErrorKind::InvalidRange, op, key.as_str(), "beyond the source"));
        }
        state.bucket.put_part(op, key, upload, number, bytes)
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
        let op = Op::CompleteMultipartUpload;
        let mut state = self.begin(op, key.as_str());
        state.check(op, key, overwrite)?;
        let (published, published_bytes) = state.bucket.complete(key, upload, parts, self.clock.now())?;
        drop(state);
        verify(op, key, crc64, published.crc64)?;
        if size != published_bytes {
            let message = format!("the object has {published_bytes} bytes instead of {size}");
            return Err(StoreError::new(StoreErrorKind::Corrupted, op, key.as_str(), message));
        }
        Ok(published)
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        self.begin(Op::AbortMultipartUpload, key.as_str()).bucket.abort(key, upload);
        Ok(())
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        let uploads = self.begin(Op::ListMultipartUploads, prefix).bucket.uploads();
        Ok(uploads.into_iter().filter(|upload| upload.key.starts_with(prefix)).collect())
    }

    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        self.begin(Op::ListParts, key.as_str()).bucket.parts(key, upload)
    }

    fn service_time(&self) -> SystemTime {
        self.clock.now()
    }
}

/// The same bytes in memory of their own.
fn copied(body: &Body) -> Bytes {
    let mut bytes = Vec::with_capacity(usize::try_from(body.len()).unwrap_or(0));
    for piece in body.pieces() {
        bytes.extend_from_slice(piece);
    }
    bytes.into()
}

fn pieces(mut bytes: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(bytes.len() / PIECE_BYTES + 1);
    while bytes.len() > PIECE_BYTES {
        pieces.push(bytes.split_to(PIECE_BYTES));
    }
    if !bytes.is_empty() {
        pieces.push(bytes);
    }
    pieces
}

/// Compares the checksum that the caller has with the one that the service has, where both are known.
pub(super) fn verify(
    op: Op,
    key: &ObjectKey,
    expected: Option<Crc64>,
    answered: Option<Crc64>,
) -> Result<(), StoreError> {
    let (Some(expected), Some(answered)) = (expected, answered) else { return Ok(()) };
    if expected == answered {
        return Ok(());
    }
    let message = format!("checksum {answered} at the service, {expected} here");
    Err(StoreError::new(StoreErrorKind::Corrupted, op, key.as_str(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Limits = Limits {
        part_bytes_min: 4,
        part_bytes_max: 8,
        part_count_max: 3,
        put_bytes_max: 16,
        object_bytes_max: 24,
        ..Limits::COS
    };

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    async fn put(store: &MemoryStore, name: &str, text: &'static str) -> Result<Published, StoreError> {
        let body = Body::from(Bytes::from(text));
        store.put(&key(name), body, Crc64::of(text.as_bytes()), &ObjectAttributes::default()).await
    }

    async fn send(store: &MemoryStore, id: &UploadId, number: u64, text: &'static str) -> Result<ETag, StoreError> {
        let number = PartNumber::new(number).unwrap();
        let body = Body::from(Bytes::from(text));
        store.upload_part(&key("m"), id, number, body, Crc64::of(text.as_bytes())).await.map(|part| part.etag)
    }

    #[tokio::test]
    async fn limits_are_those_that_were_given() {
        let store = MemoryStore::with(TINY, Clock::manual(1));
        assert_eq!(put(&store, "a", "seventeen bytes..").await.unwrap_err().kind, StoreErrorKind::TooLarge);
        let id = store.initiate(&key("m"), &ObjectAttributes::default()).await.unwrap().upload;
        assert_eq!(send(&store, &id, 1, "123456789").await.unwrap_err().kind, StoreErrorKind::TooLarge);
        assert_eq!(send(&store, &id, 4, "1234").await.unwrap_err().kind, StoreErrorKind::TooManyParts);
        let short = [send(&store, &id, 1, "123").await.unwrap(), send(&store, &id, 2, "4").await.unwrap()];
        let error = store.complete(&key("m"), &id, &short, 4, None).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (StoreErrorKind::Invalid, "EntityTooSmall"));
    }

    #[tokio::test]
    async fn every_request_is_remembered_in_order() {
        let store = MemoryStore::with(TINY, Clock::manual(1));
        store.insert("seed", "unasked");
        put(&store, "a", "12").await.unwrap();
        let id = store.initiate(&key("m"), &ObjectAttributes::default()).await.unwrap().upload;
        send(&store, &id, 2, "12345").await.unwrap();
        assert_eq!(store.ops(), [Op::PutObject, Op::InitiateMultipartUpload, Op::UploadPart]);
        let last = store.requests().pop().unwrap();
        assert_eq!((last.key.as_str(), last.part, last.bytes_in), ("m", PartNumber::new(2), 5));
        assert_eq!(store.unfinished_uploads().len(), 1);
        assert_eq!(store.keys(), ["a", "seed"]);
        store.forget_requests();
        assert_eq!(store.count(Op::UploadPart), 0);
    }
}
