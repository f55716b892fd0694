//! A store that fails on cue.
//!
//! [`FaultStore`] wraps any [`ObjectStore`] and lets the [`Fault`]s it was given strike. Without faults the wrapper
//! changes nothing.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::fault::{Effect, Fault};
use crate::object::{
    ByteRange, Crc64, ETag, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, Tags, UploadId, UploadedPart,
};
use crate::store::layered::LayeredStore;
use crate::store::{
    Body, Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedPart, ListedUpload, ObjectStore, Op,
    Overwrite, Published, Reading, Source, StoreError, StoreErrorKind,
};

/// An [`ObjectStore`] that does what another one does, except where a fault strikes.
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    /// Std mutex: never held across an await, sections only count. Level 8 in the order of locks.
    faults: Mutex<Vec<Fault>>,
}

impl FaultStore {
    /// Wraps a store. No fault strikes until [`FaultStore::inject`].
    pub fn new(inner: impl ObjectStore) -> FaultStore {
        FaultStore::over(Arc::new(inner))
    }

    /// Wraps a store that others use too.
    pub fn over(inner: Arc<dyn ObjectStore>) -> FaultStore {
        FaultStore { inner, faults: Mutex::new(Vec::new()) }
    }

    /// Wraps a store together with faults.
    pub fn with(inner: impl ObjectStore, faults: impl IntoIterator<Item = Fault>) -> FaultStore {
        let store = FaultStore::new(inner);
        faults.into_iter().for_each(|fault| store.inject(fault));
        store
    }

    /// Adds a fault; it counts calls from now on.
    pub fn inject(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Takes back all faults. Calls that stand at a gate stay there.
    pub fn heal(&self) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Finds what strikes this call and lets it take its course up to the store.
    async fn call(&self, op: Op, key: &str, part: Option<PartNumber>) -> Result<Call, StoreError> {
        let faults: Vec<Fault> = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let struck = faults.iter_mut().filter_map(|fault| fault.strikes(op, key, part).then(|| fault.clone()));
            struck.collect()
        };
        let call = Call { op, key: key.to_owned(), faults };
        call.strike(false).await?;
        Ok(call)
    }
}

/// One call on its way, with the faults that strike it.
struct Call {
    op: Op,
    key: String,
    faults: Vec<Fault>,
}

impl Call {
    async fn strike(&self, after: bool) -> Result<(), StoreError> {
        for fault in self.faults.iter().filter(|fault| fault.after == after) {
            if let Some(gate) = &fault.gate {
                gate.pass().await;
            }
            if let Effect::Fail(kind) = fault.effect {
                return Err(self.error(kind));
            }
        }
        Ok(())
    }

    fn error(&self, kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, self.op, self.key.as_str(), "injected fault")
    }

    fn has(&self, effect: impl Fn(Effect) -> bool) -> bool {
        self.faults.iter().any(|fault| effect(fault.effect))
    }

    fn sent(&self, body: Body) -> Body {
        if self.has(|effect| matches!(effect, Effect::DamageSent)) { damaged_body(&body) } else { body }
    }

    /// What the caller gets of a call that the store has answered.
    async fn answer<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let answer = answer?;
        self.strike(true).await?;
        Ok(answer)
    }

    /// The same for calls whose implementation compares the checksum of the answer.
    async fn compared<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let answer = self.answer(answer).await?;
        if self.answer_is_damaged() { Err(self.error(StoreErrorKind::Corrupted)) } else { Ok(answer) }
    }

    fn answer_is_damaged(&self) -> bool {
        self.has(|effect| matches!(effect, Effect::DamageAnswer))
    }

    fn checksum(&self, crc64: Option<Crc64>) -> Option<Crc64> {
        if self.answer_is_damaged() { crc64.map(|crc64| Crc64(crc64.0 ^ 1)) } else { crc64 }
    }

    fn read(&self, mut reading: Reading) -> Reading {
        reading.head.crc64 = self.checksum(reading.head.crc64);
        if self.has(|effect| matches!(effect, Effect::DamageRead)) {
            reading.body = reading
                .body
                .enumerate()
                .map(|(index, piece)| if index == 0 { piece.map(|piece| damaged(&piece)) } else { piece })
                .boxed();
        }
        for fault in &self.faults {
            if let Effect::BreakRead { after_bytes, kind } = fault.effect {
                reading.body = broken(reading.body, after_bytes, self.error(kind));
            }
        }
        reading
    }
}

/// The same bytes with one bit of the first flipped.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    bytes.into()
}

fn damaged_body(body: &Body) -> Body {
    let pieces = body.pieces().iter().enumerate();
    pieces.map(|(index, piece)| if index == 0 { damaged(piece) } else { piece.clone() }).collect()
}

type Pieces = BoxStream<'static, Result<Bytes, StoreError>>;

/// The first `after_bytes` bytes of a stream, and then an error.
fn broken(pieces: Pieces, after_bytes: u64, error: StoreError) -> Pieces {
    let kept = pieces.scan(after_bytes, |left, piece| {
        let piece = piece.map(|piece| piece.slice(..piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX))));
        if let Ok(piece) = &piece {
            *left -= piece.len() as u64;
        }
        let some = !matches!(&piece, Ok(piece) if piece.is_empty());
        std::future::ready(some.then_some(piece))
    });
    kept.chain(futures_util::stream::once(std::future::ready(Err(error)))).boxed()
}

#[async_trait]
impl LayeredStore for FaultStore {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        let call = self.call(Op::HeadBucket, "", None).await?;
        call.answer(self.inner.head_bucket().await).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        let call = self.call(Op::HeadObject, key.as_str(), None).await?;
        let mut head = call.answer(self.inner.head(key).await).await?;
        head.crc64 = call.checksum(head.crc64);
        Ok(head)
    }

    async fn tags(&self, key: &ObjectKey) -> Result<Tags, StoreError> {
        let call = self.call(Op::GetObjectTagging, key.as_str(), None).await?;
        call.answer(self.inner.tags(key).await).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        let call = self.call(Op::GetObject, request.key.as_str(), None).await?;
        let reading = call.answer(self.inner.get(request).await).await?;
        Ok(call.read(reading))
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let call = self.call(Op::PutObject, key.as_str(), None).await?;
        call.compared(self.inner.put_over(key, call.sent(body), crc64, attributes, overwrite).await).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let call = self.call(Op::DeleteObject, key.as_str(), None).await?;
        call.answer(self.inner.delete(key).await).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let call = self.call(Op::DeleteMultipleObjects, "", None).await?;
        call.answer(self.inner.delete_many(keys).await).await
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        let call = self.call(Op::CopyObject, request.key.as_str(), None).await?;
        let mut copied = call.answer(self.inner.copy(request).await).await?;
        copied.crc64 = call.checksum(copied.crc64);
        Ok(copied)
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let call = self.call(Op::ListObjects, &request.prefix, None).await?;
        call.answer(self.inner.list(request).await).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let call = self.call(Op::InitiateMultipartUpload, key.as_str(), None).await?;
        call.answer(self.inner.initiate(key, attributes).await).await
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        let call = self.call(Op::UploadPart, key.as_str(), Some(number)).await?;
        call.compared(self.inner.upload_part(key, upload, number, call.sent(body), crc64).await).await
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        let call = self.call(Op::UploadPartCopy, key.as_str(), Some(number)).await?;
        let mut part = call.answer(self.inner.upload_part_copy(key, upload, number, source, range).await).await?;
        part.crc64 = call.checksum(part.crc64);
        Ok(part)
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
        let call = self.call(Op::CompleteMultipartUpload, key.as_str(), None).await?;
        call.compared(self.inner.complete_over(key, upload, parts, size, crc64, overwrite).await).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        let call = self.call(Op::AbortMultipartUpload, key.as_str(), None).await?;
        call.answer(self.inner.abort(key, upload).await).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        let call = self.call(Op::ListMultipartUploads, prefix, None).await?;
        call.answer(self.inner.list_uploads(prefix).await).await
    }

    async fn list_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<Vec<ListedPart>, StoreError> {
        let call = self.call(Op::ListParts, key.as_str(), None).await?;
        call.answer(self.inner.list_parts(key, upload).await).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;
    use crate::store::testing::{Gate, MemoryStore};

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    async fn put(store: &dyn ObjectStore, name: &str) -> Result<Published, StoreErrorKind> {
        let body = Body::from_iter([Bytes::from("abc"), Bytes::from("def")]);
        let answer = store.put(&key(name), body, Crc64::of(b"abcdef"), &ObjectAttributes::default()).await;
        answer.map_err(|error| error.kind)
    }

    async fn read(store: &dyn ObjectStore, name: &str) -> (Vec<u8>, Option<StoreErrorKind>) {
        let mut body = store.get(GetRequest { key: key(name), range: None, if_match: None }).await.unwrap().body;
        let mut bytes = Vec::new();
        loop {
            match body.try_next().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => return (bytes, None),
                Err(error) => return (bytes, Some(error.kind)),
            }
        }
    }

    #[tokio::test]
    async fn the_named_calls_are_lost_before_the_store_hears_of_them() {
        let memory = MemoryStore::new();
        let store =
            FaultStore::with(memory.clone(), [Fault::nth(Op::PutObject, 2, StoreErrorKind::Throttled).times(2)]);
        let mut answers = Vec::new();
        for name in ["a", "b", "c", "d"] {
            answers.push(put(&store, name).await.map(|_| ()));
        }
        assert_eq!(answers, [Ok(()), Err(StoreErrorKind::Throttled), Err(StoreErrorKind::Throttled), Ok(())]);
        assert_eq!(memory.keys(), ["a", "d"]);
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_work_done() {
        let memory = MemoryStore::new();
        let fault = Fault::every(Op::PutObject, StoreErrorKind::TimedOut).key("b").answer_lost();
        let store = FaultStore::with(memory.clone(), [fault]);
        assert!(put(&store, "a").await.is_ok());
        assert_eq!(put(&store, "b").await, Err(StoreErrorKind::TimedOut));
        assert_eq!(memory.keys(), ["a", "b"]);
        store.heal();
        assert!(put(&store, "b").await.is_ok());
    }

    #[tokio::test]
    async fn damaged_bytes_are_noticed_by_their_checksum() {
        let memory = MemoryStore::new();
        let store = FaultStore::with(memory.clone(), [Fault::damage_sent(Op::PutObject)]);
        assert_eq!(put(&store, "a").await, Err(StoreErrorKind::Corrupted));
        assert_eq!(memory.bytes("a"), None, "the service refuses what does not fit its digest");
        store.inject(Fault::damage_answer(Op::PutObject));
        assert_eq!(put(&store, "a").await, Err(StoreErrorKind::Corrupted));
        assert_eq!(memory.bytes("a").unwrap(), Bytes::from("abcdef"));
    }

    #[tokio::test]
    async fn what_is_read_breaks_or_is_damaged_where_the_fault_says() {
        let memory = MemoryStore::new();
        memory.insert("a", "abcdef");
        let store = FaultStore::with(memory, [Fault::damage_read()]);
        assert_eq!(read(&store, "a").await, (b"`bcdef".to_vec(), None));
        store.inject(Fault::break_read(4, StoreErrorKind::Unreachable));
        assert_eq!(read(&store, "a").await, (b"abcd".to_vec(), Some(StoreErrorKind::Unreachable)));
        assert_eq!(read(&store, "a").await, (b"abcdef".to_vec(), None));
    }

    #[tokio::test]
    async fn a_gate_holds_a_call_until_it_is_opened() {
        let memory = MemoryStore::new();
        let gate = Gate::new();
        let store = Arc::new(FaultStore::with(memory.clone(), [Fault::hold(Op::PutObject, &gate)]));
        let held = tokio::spawn({
            let store = store.clone();
            async move { put(&*store, "held").await }
        });
        gate.reached_by(1).await;
        assert!(put(&*store, "free").await.is_ok());
        assert_eq!(memory.keys(), ["free"]);
        gate.open();
        assert!(held.await.unwrap().is_ok());
        assert_eq!(memory.keys(), ["free", "held"]);
    }
}
