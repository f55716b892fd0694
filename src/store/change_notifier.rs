//! A store that tells of every object that it changes.
//!
//! What is told is told before the caller has the answer, so that whoever hears of the answer from him and looks finds that
//! something has changed. Calls that leave all objects as they are, those of an upload before its end among them, are told
//! to nobody.

use std::sync::Arc;

use async_trait::async_trait;

use super::layered::LayeredStore;
use super::{Body, Copied, CopyRequest, ObjectStore, Overwrite, Published, StoreError};
use crate::object::{Crc64, ETag, ObjectAttributes, ObjectKey, UploadId};

/// Who is told of changes.
pub trait ChangeObserver: Send + Sync + 'static {
    /// The object under `key` was made, replaced or removed, or may have been. The call waits for this to return.
    fn object_changed(&self, key: &ObjectKey);
}

/// A store that tells an observer of every change.
pub struct ChangeNotifier {
    inner: Arc<dyn ObjectStore>,
    observer: Arc<dyn ChangeObserver>,
}

impl ChangeNotifier {
    /// Tells `observer` of what is changed through this store; what others change in the bucket it does not see.
    pub fn new(inner: Arc<dyn ObjectStore>, observer: Arc<dyn ChangeObserver>) -> ChangeNotifier {
        ChangeNotifier { inner, observer }
    }

    /// Also of a call that failed: nobody knows what of it was done.
    fn told<T>(&self, key: &ObjectKey, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.observer.object_changed(key);
        answer
    }
}

#[async_trait]
impl LayeredStore for ChangeNotifier {
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
        let answer = self.inner.put_over(key, body, crc64, attributes, overwrite).await;
        self.told(key, answer)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let answer = self.inner.delete(key).await;
        self.told(key, answer)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let answer = self.inner.delete_many(keys).await;
        keys.iter().for_each(|key| self.observer.object_changed(key));
        answer
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        let key = request.key.clone();
        let answer = self.inner.copy(request).await;
        self.told(&key, answer)
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
        let answer = self.inner.complete_over(key, upload, parts, size, crc64, overwrite).await;
        self.told(key, answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;
    use crate::object::PartNumber;
    use crate::store::testing::{Fault, FaultStore, MemoryStore};
    use crate::store::{GetRequest, ListRequest, Op, Source, StoreErrorKind};

    /// What was told since it was asked last.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl ChangeObserver for Told {
        fn object_changed(&self, key: &ObjectKey) {
            self.0.lock().unwrap().push(key.to_string());
        }
    }

    impl Told {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    async fn put(store: &dyn ObjectStore, name: &str) -> Result<Published, StoreError> {
        let body = Body::from(Bytes::from("bytes"));
        store.put(&key(name), body, Crc64::of(b"bytes"), &ObjectAttributes::default()).await
    }

    #[tokio::test]
    async fn what_changes_an_object_is_told_and_nothing_else() {
        let told = Arc::new(Told::default());
        let notifier = ChangeNotifier::new(Arc::new(MemoryStore::new()), told.clone());
        let store: &dyn ObjectStore = &notifier;
        put(store, "a").await.unwrap();
        assert_eq!(told.take(), ["a"]);
        let source = Source { key: key("a"), if_match: None };
        store.copy(CopyRequest::new(source, key("b"))).await.unwrap();
        assert_eq!(told.take(), ["b"]);
        store.delete(&key("a")).await.unwrap();
        store.delete_many(&[key("b"), key("c")]).await.unwrap();
        assert_eq!(told.take(), ["a", "b", "c"]);

        let upload = store.initiate(&key("d"), &ObjectAttributes::default()).await.unwrap().upload;
        let (body, crc64) = (Body::from(Bytes::from("part")), Crc64::of(b"part"));
        let part = store.upload_part(&key("d"), &upload, PartNumber::FIRST, body, crc64).await.unwrap();
        assert!(told.take().is_empty(), "an upload is nothing before its end");
        store.complete(&key("d"), &upload, &[part.etag], 4, Some(crc64)).await.unwrap();
        assert_eq!(told.take(), ["d"]);

        store.head(&key("d")).await.unwrap();
        store.get(GetRequest { key: key("d"), range: None, if_match: None }).await.unwrap();
        store.list(ListRequest::default()).await.unwrap();
        store.abort(&key("d"), &upload).await.unwrap();
        assert!(told.take().is_empty());
    }

    #[tokio::test]
    async fn a_call_that_failed_may_have_changed_something() {
        let told = Arc::new(Told::default());
        let lost = Fault::nth(Op::PutObject, 1, StoreErrorKind::TimedOut).answer_lost();
        let store = ChangeNotifier::new(Arc::new(FaultStore::with(MemoryStore::new(), [lost])), told.clone());
        assert!(put(&store, "a").await.is_err());
        assert_eq!(told.take(), ["a"]);
    }
}
