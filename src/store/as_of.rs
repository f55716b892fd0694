//! A bucket as it was at a moment.
//!
//! A bucket that keeps versions has its past in it: at any moment the newest version of each key that was there by then, unless
//! that marks a deletion. Listings of versions take the place of listings, and every object is read by its version, so that what
//! somebody does to the bucket meanwhile is not seen. The past does not change, and what was found out once is remembered.
//!
//! A common prefix of such a listing may be there for later versions alone, so each is asked for something that was there. Nothing
//! can be changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::layered::LayeredStore;
use super::versions::{ListedVersion, VersionMarker, VersionedObject, VersionsRequest};
use super::{
    Body, Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedObject, ObjectStore, Op, Overwrite,
    Published, Reading, StoreError, StoreErrorKind,
};
use crate::object::{Crc64, ObjectAttributes, ObjectHead, ObjectKey};

/// Prefixes that are asked about at once.
const CONCURRENCY: usize = 8;
/// Keys and prefixes that are remembered; with more the memory starts anew. Some 200 bytes each.
const REMEMBERED_MAX: usize = 100_000;

/// A bucket as it was at a moment. Read only.
pub struct AsOf {
    inner: Arc<dyn ObjectStore>,
    at: SystemTime,
    /// Std mutex: single lookups. Level 8 in the order of locks.
    known: Mutex<Known>,
}

/// What has been found out of the past.
#[derive(Default)]
struct Known {
    /// The version of a key; `None` where there was none.
    versions: HashMap<String, Option<String>>,
    /// Whether there was anything below a prefix.
    prefixes: HashMap<String, bool>,
}

impl Known {
    fn note_version(&mut self, key: &str, version: Option<String>) {
        if self.versions.len() >= REMEMBERED_MAX {
            self.versions.clear();
        }
        self.versions.insert(key.to_owned(), version);
    }

    fn note_prefix(&mut self, prefix: &str, was_there: bool) {
        if self.prefixes.len() >= REMEMBERED_MAX {
            self.prefixes.clear();
        }
        self.prefixes.insert(prefix.to_owned(), was_there);
    }
}

/// What was there of the keys of a page.
#[derive(Default)]
struct Past {
    objects: Vec<ListedObject>,
    prefixes: Vec<String>,
    next: Option<VersionMarker>,
}

impl AsOf {
    /// `inner` as it was at `at`.
    pub fn new(inner: Arc<dyn ObjectStore>, at: SystemTime) -> AsOf {
        AsOf { inner, at, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was there of the next keys, at least one unless there are no more.
    async fn past(&self, mut wanted: VersionsRequest) -> Result<Past, StoreError> {
        let mut past = Past::default();
        // The key whose version at that moment is known: all others of it are older.
        let mut decided: Option<String> = None;
        loop {
            let page = self.inner.list_versions(&wanted).await?;
            for version in page.versions {
                if decided.as_deref() == Some(&version.key) || version.last_modified > self.at {
                    continue;
                }
                decided = Some(version.key.clone());
                let ListedVersion { key, version, last_modified, object, .. } = version;
                self.known().note_version(&key, object.is_some().then_some(version));
                let Some(VersionedObject { size, etag, storage_class }) = object else { continue };
                past.objects.push(ListedObject { key, size, etag, last_modified, storage_class });
            }
            let asked = page.prefixes.into_iter().map(|prefix| async move {
                self.was_there(&prefix).await.map(|was_there| was_there.then_some(prefix))
            });
            let asked: Vec<_> = asked.collect();
            let there: Vec<Option<String>> = stream::iter(asked).buffered(CONCURRENCY).try_collect().await?;
            past.prefixes.extend(there.into_iter().flatten());
            let Some(next) = page.next else { return Ok(past) };
            let is_cut = next.version.is_some() && decided.as_deref() != Some(&next.key);
            let after_key = VersionMarker { key: next.key.clone(), version: None };
            let is_empty = past.objects.is_empty() && past.prefixes.is_empty();
            if !is_cut && !is_empty {
                past.next = Some(after_key);
                return Ok(past);
            }
            wanted.after = Some(if is_cut { next } else { after_key });
        }
    }

    /// Whether there was anything below a prefix.
    async fn was_there(&self, prefix: &str) -> Result<bool, StoreError> {
        if let Some(known) = self.known().prefixes.get(prefix) {
            return Ok(*known);
        }
        let wanted = VersionsRequest { prefix: prefix.to_owned(), ..VersionsRequest::default() };
        // Without a delimiter it has no prefixes to ask about in turn.
        let was_there = !Box::pin(self.past(wanted)).await?.objects.is_empty();
        self.known().note_prefix(prefix, was_there);
        Ok(was_there)
    }

    /// The version of a key at that moment.
    async fn version(&self, key: &ObjectKey, op: Op) -> Result<String, StoreError> {
        let missing = || StoreError::new(StoreErrorKind::NotFound, op, key.as_str(), "it was not there at that time");
        if let Some(known) = self.known().versions.get(key.as_str()) {
            return known.clone().ok_or_else(missing);
        }
        let mut wanted = VersionsRequest { prefix: key.as_str().to_owned(), ..VersionsRequest::default() };
        loop {
            let page = self.inner.list_versions(&wanted).await?;
            // The key itself sorts before all that begin with it.
            let of_key = |version: &&ListedVersion| version.key == key.as_str();
            let found = page.versions.iter().filter(of_key).find(|version| version.last_modified <= self.at);
            let goes_on =
                page.next.filter(|next| found.is_none() && next.key == key.as_str() && next.version.is_some());
            if goes_on.is_some() {
                wanted.after = goes_on;
                continue;
            }
            let version = found.filter(|found| found.object.is_some()).map(|found| found.version.clone());
            self.known().note_version(key.as_str(), version.clone());
            return version.ok_or_else(missing);
        }
    }

    fn refused<T>(op: Op, key: &ObjectKey) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unsupported, op, key.as_str(), "the past cannot be changed"))
    }
}

#[async_trait]
impl LayeredStore for AsOf {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        let version = self.version(key, Op::HeadObject).await?;
        self.inner.head_version(key, &version).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        let version = self.version(&request.key, Op::GetObject).await?;
        self.inner.get_version(request, &version).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let after = request.marker.map(|key| VersionMarker { key, version: None });
        let Past { mut objects, mut prefixes, next } =
            self.past(VersionsRequest { prefix: request.prefix, delimited: request.delimited, after }).await?;
        let mut next_marker = next.map(|next| next.key);
        // Who asks for few keys gets no more.
        if let Some(most) = request.max_keys.map(usize::from) {
            let mut names: Vec<String> =
                objects.iter().map(|object| object.key.clone()).chain(prefixes.iter().cloned()).collect();
            names.sort_unstable();
            if let Some(last) = names.get(most.saturating_sub(1)).filter(|_| names.len() > most).cloned() {
                objects.retain(|object| object.key <= last);
                prefixes.retain(|prefix| *prefix <= last);
                next_marker = Some(last);
            }
        }
        Ok(ListPage { objects, prefixes, next_marker })
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        _: Body,
        _: Crc64,
        _: &ObjectAttributes,
        _: &Overwrite,
    ) -> Result<Published, StoreError> {
        AsOf::refused(Op::PutObject, key)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        AsOf::refused(Op::DeleteObject, key)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        keys.first().map_or(Ok(Vec::new()), |key| AsOf::refused(Op::DeleteMultipleObjects, key))
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        AsOf::refused(Op::CopyObject, &request.key)
    }

    async fn initiate(&self, key: &ObjectKey, _: &ObjectAttributes) -> Result<Initiated, StoreError> {
        AsOf::refused(Op::InitiateMultipartUpload, key)
    }
}
