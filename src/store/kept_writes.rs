//! A store that keeps what is written, so that reading it again costs no request.
//!
//! What is put whole is kept once it is there. What goes in parts is put down as it goes: where a part begins follows from the sizes of
//! those before it, which begin to be sent before it does. What is copied on the service never comes here, and is missing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::layered::LayeredStore;
use super::{Body, Initiated, ObjectStore, Overwrite, Published, Source, StoreError};
use crate::cache::{DiskCache, Draft, Filling, GRAIN_BYTES, Identity, Patience};
use crate::object::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};

/// Uploads that are kept at the same time. Beyond it stays what is lost of uploads that nobody ends.
const UPLOADS_MAX: usize = 128;

/// A store that keeps what is written in a cache on disk.
pub struct KeptWrites {
    inner: Arc<dyn ObjectStore>,
    cache: Arc<DiskCache>,
    /// Where the bucket is.
    origin: String,
    /// Std mutex, 8 in the order of locks: map operations only.
    uploads: Mutex<HashMap<UploadId, Upload>>,
}

/// An upload in parts that is on its way.
struct Upload {
    draft: Arc<Draft>,
    /// The bytes of each part that was begun, and their checksum where they were seen; `None` once one has become another.
    parts: Option<BTreeMap<u16, (u64, Option<Crc64>)>>,
    patience: Patience,
}

impl Upload {
    fn new(draft: Arc<Draft>) -> Upload {
        Upload { draft, parts: Some(BTreeMap::new()), patience: Patience::new() }
    }

    /// A part of so many bytes is sent, or copied on the service. Returns where it begins, if that is known.
    fn begin(&mut self, number: PartNumber, bytes: u64, checksum: Option<Crc64>) -> Option<u64> {
        let parts = self.parts.as_mut()?;
        let is_other = |before: (u64, Option<Crc64>)| before != (bytes, checksum);
        if parts.insert(number.get(), (bytes, checksum)).is_some_and(is_other) {
            // What was put down of it, or behind it, is not what will be there.
            self.parts = None;
            return None;
        }
        let before = usize::from(number.get()) - 1;
        let is_known = parts.keys().take(before).copied().eq(1..number.get());
        is_known.then(|| parts.values().take(before).map(|(bytes, _)| bytes).sum())
    }

    /// The copy, if it has all these parts where they belong.
    fn finish(self, parts: usize, size: u64) -> Option<Arc<Draft>> {
        let begun = self.parts?;
        let is_all = begun.len() == parts && begun.values().map(|(bytes, _)| bytes).sum::<u64>() == size;
        is_all.then_some(self.draft)
    }
}

/// A body, in one piece once somebody asks for that.
struct Whole(Body, OnceLock<Bytes>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.1.get_or_init(|| self.0.to_bytes())
    }
}

impl KeptWrites {
    /// Keeps in `cache` what is put into the bucket at `origin`.
    pub fn new(inner: Arc<dyn ObjectStore>, cache: Arc<DiskCache>, origin: String) -> KeptWrites {
        KeptWrites { inner, cache, origin, uploads: Mutex::default() }
    }

    fn identity(&self, key: &ObjectKey, etag: &ETag, size: u64) -> Identity {
        Identity { origin: self.origin.clone(), key: key.as_str().to_owned(), etag: etag.clone(), size }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<UploadId, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a part down that is about to be sent.
    async fn keep_part(&self, upload: &UploadId, number: PartNumber, body: &Body, crc64: Crc64) {
        let begun = {
            let mut uploads = self.uploads();
            let Some(upload) = uploads.get_mut(upload) else { return };
            upload
                .begin(number, body.len(), Some(crc64))
                .map(|start| (start, upload.draft.clone(), upload.patience.left()))
        };
        let Some((mut start, draft, patience)) = begun else { return };
        let began = Instant::now();
        self.cache.until_room(body.len(), patience).await;
        if let Some(upload) = self.uploads().get_mut(upload) {
            upload.patience.note(began);
        }
        let is_of_grains = |bytes: &Bytes| (bytes.len() as u64).is_multiple_of(GRAIN_BYTES);
        let (_, but_last) = body.pieces().split_last().unwrap_or((&Bytes::new(), &[]));
        if !but_last.iter().all(is_of_grains) {
            let whole = Arc::new(Whole(body.clone(), OnceLock::new()));
            return self.cache.fill(Filling::of_draft(draft, start, (whole, body.len())));
        }
        for piece in body.pieces() {
            let len = piece.len() as u64;
            self.cache.fill(Filling::of_draft(draft.clone(), start, (Arc::new(piece.clone()), len)));
            start += len;
        }
    }
}

#[async_trait]
impl LayeredStore for KeptWrites {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let kept = body.clone();
        let published = self.inner.put_over(key, body, crc64, attributes, overwrite).await?;
        if !kept.is_empty() {
            let identity = self.identity(key, &published.etag, kept.len());
            let (len, algorithm) = (kept.len(), self.inner.limits().checksum);
            let whole = Arc::new(Whole(kept, OnceLock::new()));
            self.cache.fill(Filling::of_whole(identity, algorithm, (whole, len), crc64));
        }
        Ok(published)
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<Initiated, StoreError> {
        let initiated = self.inner.initiate(key, attributes).await?;
        let draft = self.cache.draft(self.inner.limits().checksum);
        let mut uploads = self.uploads();
        if uploads.len() < UPLOADS_MAX {
            uploads.insert(initiated.upload.clone(), Upload::new(draft));
        }
        Ok(initiated)
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        self.keep_part(upload, number, &body, crc64).await;
        self.inner.upload_part(key, upload, number, body, crc64).await
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        if let Some(upload) = self.uploads().get_mut(upload) {
            upload.begin(number, range.len(), None);
        }
        self.inner.upload_part_copy(key, upload, number, source, range).await
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
        let published = self.inner.complete_over(key, upload, parts, size, crc64, overwrite).await?;
        let kept = self.uploads().remove(upload);
        if let Some(kept) = kept {
            let draft = kept.draft.clone();
            match kept.finish(parts.len(), size) {
                Some(draft) => {
                    let identity = self.identity(key, &published.etag, size);
                    self.cache.fill(Filling::adopted(draft, identity, crc64));
                }
                None => let_go(draft),
            }
        }
        Ok(published)
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        if let Some(kept) = self.uploads().remove(upload) {
            let_go(kept.draft);
        }
        self.inner.abort(key, upload).await
    }
}

/// Nothing becomes of a draft. Its file goes with it, which may be a large one: that is for a thread that may wait.
fn let_go(draft: Arc<Draft>) {
    drop(tokio::task::spawn_blocking(move || drop(draft)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_begins_follows_from_those_before() {
        let home = tempfile::tempdir().unwrap();
        let options = crate::cache::CacheOptions {
            directory: home.path().into(),
            bytes_max: 1 << 20,
            waiting_bytes_max: 1 << 20,
        };
        let cache = DiskCache::open(&options).unwrap();
        let new = || Upload::new(cache.draft(crate::object::ChecksumAlgorithm::Crc64Xz));
        let part = |number| PartNumber::new(number).unwrap();
        let mut upload = new();
        assert_eq!((upload.begin(part(1), 8, None), upload.begin(part(2), 9, None)), (Some(0), Some(8)));
        assert_eq!(upload.begin(part(4), 5, None), None, "the third is not known");
        assert_eq!((upload.begin(part(3), 7, None), upload.begin(part(4), 5, None)), (Some(17), Some(24)));
        assert_eq!(upload.begin(part(2), 9, None), Some(8), "sent once more");
        assert!(upload.finish(4, 29).is_some());
        let mut upload = new();
        upload.begin(part(1), 8, Some(Crc64::of(b"one")));
        assert_eq!(upload.begin(part(1), 8, Some(Crc64::of(b"two"))), None);
        assert!(upload.finish(1, 8).is_none(), "the first part is another now");
        let mut upload = new();
        upload.begin(part(1), 8, None);
        assert!(upload.finish(2, 8).is_none(), "a part was sent by somebody else");
        let mut upload = new();
        upload.begin(part(1), 8, None);
        upload.begin(part(2), 9, None);
        assert_eq!(upload.begin(part(1), 7, None), None);
        assert!(upload.finish(2, 16).is_none(), "the second lies where it does not belong");
    }
}
